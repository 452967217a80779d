//! Checking JSON and finding members, held to serde_json.

use tollgate_wire::json::{MAX_DEPTH, Member, members, validate};

use crate::oracle;

const KEYS: [&str; 5] = ["model", "stream", "a", "", "é"];

/// Whether brackets are nested more deeply than the scanner goes, outside of strings. What is
/// nested too deeply is refused by both, but not by both at one depth.
fn is_deep(text: &[u8]) -> bool {
    let (mut depth, mut inside, mut escaped) = (0u32, false, false);
    for byte in text {
        match (inside, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => inside = !inside,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth >= MAX_DEPTH - 1 {
            return true;
        }
    }
    false
}

pub(crate) fn json(data: &[u8]) {
    let checked = validate(data);
    let found = members(data, &KEYS);
    for problem in [checked.as_ref().err(), found.as_ref().err()] {
        assert!(problem.is_none_or(|problem| problem.offset <= data.len() as u64));
    }
    if let Ok(found) = &found {
        assert!(checked.is_ok(), "an object that is no JSON");
        hold_to_serde_json(data, found);
    }
    if !is_deep(data) {
        assert_eq!(checked.is_ok(), oracle::is_json(data));
    }
}

fn hold_to_serde_json(data: &[u8], found: &[Member]) {
    // serde_json refuses names that are no text (`"\ud800"`); they are none of the keys.
    let Some(pairs) = oracle::object(data) else {
        return;
    };
    let text = std::str::from_utf8(data).expect("checked");
    let found: Vec<(&str, &str)> = found
        .iter()
        .map(|member| {
            let from = member.offset as usize;
            (KEYS[member.key], &text[from..from + member.len as usize])
        })
        .collect();
    let expected: Vec<(&str, &str)> = pairs
        .iter()
        .filter(|(name, _)| KEYS.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(found, expected);
}
