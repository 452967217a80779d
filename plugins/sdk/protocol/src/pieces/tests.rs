//! What is said, by the events that lead to it.

use super::*;

fn detail() -> Detail {
    Detail {
        echo: true,
        input_tokens: true,
        output_tokens: true,
        logprobs: false,
        ranks: false,
        top_n: 0,
    }
}

fn token(text: &str) -> Token {
    Token {
        text: text.to_owned(),
        id: None,
        logprob: None,
        rank: None,
        top: Vec::new(),
    }
}

fn started(input: Option<u32>) -> Event {
    Event::Started(Started {
        item: 0,
        input_tokens: input,
        seed: None,
        echo: Some("in".to_owned()),
        tokens: vec![token("in")],
    })
}

fn text(text: &str, tokens: &[&str]) -> Event {
    Event::Delta(Delta {
        item: 0,
        text: text.to_owned(),
        tokens: tokens.iter().map(|text| token(text)).collect(),
        output_tokens: None,
        extras: Vec::new(),
    })
}

fn finished(input: Option<u32>, output: Option<u32>) -> Event {
    Event::Finished(Finished {
        item: 0,
        reason: FinishReason::StopSequence,
        stop_sequence: Some(".".to_owned()),
        input_tokens: input,
        output_tokens: output,
        seed: None,
    })
}

fn usage(input: u64, output: u64) -> Event {
    Event::Usage(Usage {
        input_tokens: Some(input),
        output_tokens: Some(output),
        cached_tokens: None,
        extensions: Vec::new(),
    })
}

/// What each event leads to, until one breaks the answer.
fn told(pieces: &mut Pieces, events: Vec<Event>) -> Result<Vec<Vec<Piece>>, Broken> {
    let told = events.into_iter().map(|event| {
        let mut said = Vec::new();
        pieces.take(event, &mut |piece| said.push(piece))?;
        Ok(said)
    });
    told.collect()
}

fn all(detail: Detail, events: Vec<Event>) -> Result<Vec<Vec<Piece>>, Broken> {
    told(&mut Pieces::new(detail, Some(7)), events)
}

fn input(count: Option<u32>) -> [Piece; 2] {
    [
        Piece::Input {
            prompt: "in".to_owned(),
            count,
            seed: Some(7),
        },
        Piece::InputTokens(vec![token("in")]),
    ]
}

fn said(text: &str, tokens: &[&str], count: u32) -> Piece {
    Piece::Text {
        text: text.to_owned(),
        tokens: tokens.iter().map(|text| token(text)).collect(),
        count,
    }
}

fn reason(input: Option<u32>, count: u32) -> Piece {
    Piece::Reason {
        reason: FinishReason::StopSequence,
        stop_sequence: Some(".".to_owned()),
        input,
        count,
        seed: Some(7),
    }
}

#[test]
fn what_is_known_is_said_at_once_and_in_order() {
    let events = vec![
        started(Some(1)),
        text("a", &["a"]),
        text("b", &["b", "c"]),
        finished(None, Some(3)),
        usage(1, 3),
        Event::End,
    ];
    let expected = [
        input(Some(1)).to_vec(),
        vec![said("a", &["a"], 1)],
        vec![said("b", &["b", "c"], 3)],
        vec![reason(None, 3)],
        vec![],
        vec![Piece::End],
    ];
    assert_eq!(all(detail(), events).unwrap(), expected);
}

#[test]
fn the_input_waits_for_its_count_until_text_comes() {
    let events = vec![started(None), usage(2, 0), text("a", &[])];
    let expected = [vec![], input(Some(2)).to_vec(), vec![said("a", &[], 0)]];
    assert_eq!(all(detail(), events).unwrap(), expected);

    // Text comes sooner: the reason tells the count then, once the worker has.
    let events = vec![
        started(None),
        text("a", &["a"]),
        finished(None, None),
        usage(2, 1),
        Event::End,
    ];
    let mut first = input(None).to_vec();
    first.push(said("a", &["a"], 1));
    let expected = [
        vec![],
        first,
        vec![],
        vec![reason(Some(2), 1)],
        vec![Piece::End],
    ];
    assert_eq!(all(detail(), events).unwrap(), expected);
}

#[test]
fn an_end_says_what_was_held_whatever_is_known() {
    let events = vec![started(None), finished(None, None), Event::End];
    let mut last = input(None).to_vec();
    last.extend([reason(None, 0), Piece::End]);
    assert_eq!(
        all(detail(), events).unwrap(),
        [vec![], vec![], last],
        "neither count was ever told"
    );
    // A worker that says nothing of the input, and counts at the finish.
    let events = vec![finished(Some(4), Some(0)), Event::End];
    let told = all(detail(), events).unwrap();
    assert!(matches!(told[0][0], Piece::Input { count: Some(4), .. }));
    assert_eq!(told[0][1..], [reason(None, 0)]);
    assert_eq!(told[1], [Piece::End]);
}

#[test]
fn what_was_not_asked_for_is_not_said_and_yet_counted() {
    let nothing = Detail {
        echo: false,
        input_tokens: false,
        output_tokens: false,
        ..detail()
    };
    let events = vec![
        started(Some(1)),
        text("", &["a"]),
        text("b", &["b"]),
        finished(None, None),
        Event::End,
    ];
    let told = all(nothing, events).unwrap();
    let first = Piece::Input {
        prompt: String::new(),
        count: Some(1),
        seed: Some(7),
    };
    assert_eq!(told[0], [first]);
    assert_eq!(told[1], [], "a token whose text is held back");
    assert_eq!(told[2], [said("b", &[], 2)]);
    assert_eq!(told[4], [reason(None, 2), Piece::End]);
}

#[test]
fn a_workers_seed_counts_and_so_does_its_last_word() {
    let mut pieces = Pieces::new(detail(), Some(7));
    let Event::Started(mut first) = started(Some(1)) else {
        unreachable!()
    };
    first.seed = Some(9);
    let events = vec![Event::Started(first), finished(None, Some(2)), usage(5, 6)];
    let told = told(&mut pieces, events).unwrap();
    assert!(matches!(told[0][0], Piece::Input { seed: Some(9), .. }));
    assert!(matches!(told[1][0], Piece::Reason { seed: Some(9), .. }));
    let counted = pieces.usage().unwrap();
    assert_eq!(
        (counted.input_tokens, counted.output_tokens),
        (Some(5), Some(6))
    );
    assert_eq!(Pieces::new(detail(), None).usage(), None);
}

#[test]
fn what_cannot_be_completed_is_broken() {
    let stray = Event::Delta(Delta {
        item: 1,
        text: "a".to_owned(),
        tokens: Vec::new(),
        output_tokens: None,
        extras: Vec::new(),
    });
    assert_eq!(all(detail(), vec![stray]), Err(Broken::Stray));
    assert_eq!(
        all(detail(), vec![started(Some(1)), Event::End]),
        Err(Broken::Unfinished)
    );
    let Event::Finished(mut failed) = finished(None, None) else {
        unreachable!()
    };
    failed.reason = FinishReason::Error;
    assert_eq!(
        all(detail(), vec![Event::Finished(failed)]),
        Err(Broken::Failed)
    );
}
