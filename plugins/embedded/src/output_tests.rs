use proptest::prelude::*;

use super::*;

fn run(stops: &[&str], include: bool, pieces: &[&[u8]]) -> (Vec<String>, Option<String>) {
    let stops = stops.iter().map(|&stop| stop.to_owned()).collect();
    let mut output = Output::new(stops, include, false);
    let mut texts = Vec::new();
    for piece in pieces {
        let out = output.push(piece, true);
        texts.push(out.text);
        if out.stop.is_some() {
            return (texts, out.stop);
        }
    }
    texts.push(output.flush());
    (texts, None)
}

#[test]
fn what_may_become_a_stop_is_held_until_it_cannot() {
    let (texts, stop) = run(&["STOP"], false, &[b"a S", b"TO", b"RY", b" ST"]);
    assert_eq!(texts, ["a ", "", "STORY", " ", "ST"]);
    assert_eq!(stop, None);
}

#[test]
fn a_stop_over_several_tokens_ends_the_text_before_or_after_it() {
    let pieces: [&[u8]; 3] = [b"one.", b"\n", b"\ntwo"];
    let (texts, stop) = run(&["\n\n"], false, &pieces);
    assert_eq!(
        (texts.concat().as_str(), stop.as_deref()),
        ("one.", Some("\n\n"))
    );
    let (texts, _) = run(&["\n\n"], true, &pieces);
    assert_eq!(texts.concat(), "one.\n\n");
}

#[test]
fn of_several_stops_the_first_to_end_counts() {
    let (texts, stop) = run(&["bcd", "c", "bc"], false, &[b"abcd"]);
    assert_eq!(
        (texts.concat().as_str(), stop.as_deref()),
        ("a", Some("bc"))
    );
}

#[test]
fn a_stop_that_overlaps_itself_is_found() {
    let (texts, stop) = run(&["aab"], false, &[b"a", b"a", b"a", b"b"]);
    assert_eq!(
        (texts.concat().as_str(), stop.as_deref()),
        ("a", Some("aab"))
    );
}

#[test]
fn characters_leave_whole() {
    let (texts, _) = run(&[], false, &[b"x\xE2", b"\x82", b"\xAC", b"\xF0\x9F"]);
    assert_eq!(texts, ["x", "", "\u{20AC}", "", "\u{FFFD}"]);
}

#[test]
fn the_space_before_an_answer_is_dropped_and_no_other() {
    let mut output = Output::new(Vec::new(), false, true);
    assert_eq!(output.push(b" The", true).text, "The");
    assert_eq!(output.push(b" gate", true).text, " gate");
}

#[test]
fn unwatched_text_is_no_part_of_a_match() {
    let mut output = Output::new(vec!["ab".into()], false, false);
    assert_eq!(
        output.push(b"ab a", false),
        Let {
            text: "ab a".into(),
            stop: None
        }
    );
    assert_eq!(
        output.push(b"b", true),
        Let {
            text: "b".into(),
            stop: None
        }
    );
    assert_eq!(output.push(b"ab", true).stop.as_deref(), Some("ab"));
}

proptest! {
    /// However a text is split, what leaves is what stands before the first stop.
    #[test]
    fn splits_do_not_matter(
        text in "[ab\u{e9}]{0,24}",
        stops in prop::collection::vec("[ab\u{e9}]{1,4}", 0..3),
        cuts in prop::collection::vec(0..48usize, 0..10),
    ) {
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let names: Vec<&str> = stops.iter().map(String::as_str).collect();
        let (texts, stop) = run(&names, false, &pieces);
        let mut expected: Option<(usize, usize)> = None;
        for name in &names {
            if let Some(start) = text.find(name) {
                let end = start + name.len();
                if expected.is_none_or(|(e, s)| (end, start) < (e, s)) {
                    expected = Some((end, start));
                }
            }
        }
        match expected {
            Some((_, start)) => {
                prop_assert!(stop.is_some());
                prop_assert_eq!(texts.concat(), &text[..start]);
            }
            None => prop_assert_eq!((texts.concat(), stop), (text, None)),
        }
    }
}
