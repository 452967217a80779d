//! Sessions, stepped as the proxy steps them.

use tollgate_example_echo::Plugin;
use tollgate_sdk_worker::{
    Worker, event,
    inference::{Call, Event, FinishReason, Task},
    serving::Progress,
    testing,
};

fn run(call: Call) -> Vec<Event> {
    let plugin = Plugin::configure("").expect("no options are good");
    let mut session = plugin.session(testing::context(), call);
    let mut events = Vec::new();
    for _ in 0..100 {
        let stepped = session.step();
        events.extend(stepped.events);
        if matches!(stepped.progress, Progress::Done) {
            return events;
        }
    }
    panic!("it does not end: {events:?}");
}

#[test]
fn the_prompt_comes_back_word_by_word() {
    assert_eq!(
        run(testing::generate("echo", "to and fro", None)),
        [
            event::delta("to "),
            event::delta("and "),
            event::delta("fro"),
            event::finished(FinishReason::EndOfSequence),
            event::usage(3, 3),
            Event::End,
        ]
    );
}

#[test]
fn a_limit_of_tokens_ends_it() {
    let events = run(testing::generate("echo", "to and fro", Some(1)));
    assert_eq!(
        events[..2],
        [
            event::delta("to "),
            event::finished(FinishReason::MaxTokens)
        ]
    );
}

#[test]
fn what_it_cannot_do_is_a_failure() {
    let mut call = testing::generate("echo", "to", None);
    call.task = Task::ListModels;
    assert!(matches!(run(call)[..], [Event::Failed(_)]));
}

#[test]
fn options_are_checked() {
    let named = Plugin::configure(r#"{"model": "parrot"}"#).ok().unwrap();
    assert_eq!(named.models()[0].name, "parrot");
    for bad in ["3", r#"{"model": ""}"#, r#"{"colour": 1}"#] {
        assert!(Plugin::configure(bad).is_err(), "{bad}");
    }
}
