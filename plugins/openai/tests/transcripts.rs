//! Plays `transcripts/`, each at every pace.

mod support;

use support::{
    check_asked_path, check_intent, check_passed, check_response, pass, transcripts, translate,
};

#[test]
fn what_is_passed_goes_and_comes_as_written() {
    for (name, script) in transcripts("pass") {
        println!("{name}");
        let outcome = pass(&script);
        check_intent(&script, &outcome);
        check_passed(&script, &outcome);
        check_response(&script, &outcome);
    }
}

#[test]
fn what_is_translated_goes_and_comes_as_written() {
    for (name, script) in transcripts("translate") {
        println!("{name}");
        let (worker, outcome) = translate(&script);
        let worker = worker.expect("a call");
        check_asked_path(&script, &worker);
        check_response(&script, &outcome);
    }
}

#[test]
fn what_is_refused_says_why_and_asks_nobody() {
    for (name, script) in transcripts("refused") {
        println!("{name}");
        let (worker, outcome) = translate(&script);
        assert!(
            worker.is_none_or(|worker| worker.request.is_none()),
            "asked a worker"
        );
        check_response(&script, &outcome);
    }
}
