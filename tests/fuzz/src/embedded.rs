//! The embedded models: texts survive the tokenizer, splits do not matter to stop sequences, and
//! a session comes to one end whatever it is asked.

use std::sync::OnceLock;

use tollgate_plugin_embedded::bpe::pieces as words;
use tollgate_plugin_embedded::hash::{DIMENSIONS, embed};
use tollgate_plugin_embedded::model::Model;
use tollgate_plugin_embedded::output::Output;

use crate::input::{mix, parts, pieces};

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(Model::load)
}

/// Parts: the output, then a stop sequence.
pub(crate) fn embedded(data: &[u8]) {
    let parts = parts(data);
    stopped(parts[0], parts.get(1).copied().unwrap_or_default());
    let Ok(text) = std::str::from_utf8(parts[0]) else {
        return;
    };
    let joined: String = words(text).collect();
    assert_eq!(joined, text);
    let vocabulary = model().vocabulary();
    let tokens = vocabulary.encode(text);
    assert_eq!(vocabulary.decode(&tokens), text);
    assert!(tokens.len() <= text.len());
    for token in &tokens {
        assert_eq!(vocabulary.token(u32::from(*token)), Some(*token));
        assert!(!vocabulary.bytes(*token).is_empty());
    }
    let _ = vocabulary.token(mix(data) as u32);
    embedding(text);
    follows(&tokens);
}

fn embedding(text: &str) {
    let dimensions = 1 + mix(text.as_bytes()) as usize % DIMENSIONS;
    let vector = embed(text, dimensions);
    assert_eq!(vector.len(), dimensions);
    let length: f32 = vector.iter().map(|number| number * number).sum();
    assert!(
        length.is_finite() && (length == 0.0 || (length - 1.0).abs() < 1e-3),
        "{length}"
    );
}

/// What comes next is a distribution.
fn follows(tokens: &[u16]) {
    let last = &tokens[tokens.len().saturating_sub(8)..];
    let probabilities = model().distribution(last);
    assert_eq!(probabilities.len(), model().vocabulary().size());
    assert!(probabilities.iter().all(|p| p.is_finite() && *p >= 0.0));
    let sum: f64 = probabilities.iter().sum();
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
}

/// Text that was let out, and the stop sequence that ended it.
fn let_out(pieces: &[&[u8]], stop: &str, include: bool) -> (String, Option<String>) {
    let stops = Vec::from_iter((!stop.is_empty()).then(|| stop.to_owned()));
    let mut output = Output::new(stops, include, false);
    let mut text = String::new();
    for piece in pieces {
        let out = output.push(piece, true);
        text.push_str(&out.text);
        if out.stop.is_some() {
            return (text, out.stop);
        }
    }
    text.push_str(&output.flush());
    (text, None)
}

fn stopped(data: &[u8], stop: &[u8]) {
    let stop = String::from_utf8_lossy(stop);
    for include in [false, true] {
        let whole = let_out(&[data], &stop, include);
        assert_eq!(let_out(&pieces(data), &stop, include), whole);
        // As a plain search has it.
        let at = (!stop.is_empty())
            .then(|| {
                data.windows(stop.len())
                    .position(|window| window == stop.as_bytes())
            })
            .flatten();
        let end = at.map_or(data.len(), |at| at + if include { stop.len() } else { 0 });
        assert_eq!(whole.1.is_some(), at.is_some());
        assert_eq!(whole.0, String::from_utf8_lossy(&data[..end]));
    }
}
