//! Both sides, played by the kit's own client and worker: whole, byte by byte, and cut everywhere.

use tollgate_example_quill::Plugin;
use tollgate_sdk_protocol::{
    Protocol,
    backend::Worker,
    frontend::{PassTo, RequestHead, TranslateTo, Way},
    inference::{Call, Event, FinishReason, Task},
    neutral,
    testing::{
        self, Answer, Client, ClientOutcome, Pace, Upstream, WorkerOutcome, same_at_every_pace,
    },
    types::{Cut, FailureKind, Text},
};

fn plugin() -> Plugin {
    Plugin::configure("")
        .map(|it| it.0)
        .expect("no options are good")
}

fn head(claim: u32) -> RequestHead {
    RequestHead {
        claim,
        method: "POST".to_owned(),
        path: "/quill/v1/write".to_owned(),
        query: String::new(),
        parameters: Vec::new(),
        headers: Vec::new(),
    }
}

fn translate() -> Way {
    Way::Translate(TranslateTo {
        model: "served".to_owned(),
    })
}

fn ask(body: &str, way: Way, events: &[Event], pace: Pace) -> ClientOutcome {
    let client = Client {
        events: events.to_vec(),
        upstream: Some(Upstream::rest(200, "application/json", "{}")),
        streamed: true,
        ..Client::rest(body, way)
    };
    client.play(plugin().exchange(testing::context(), head(0)), pace)
}

fn said() -> Vec<Event> {
    vec![
        neutral::started(),
        neutral::delta("Dear "),
        neutral::delta("Sir"),
        neutral::finished(FinishReason::MaxTokens),
        neutral::usage(Some(3), Some(2)),
        Event::End,
    ]
}

#[test]
fn a_request_becomes_a_call_and_events_its_answer() {
    let body = r#"{"model": "asked", "prompt": "A letter:", "temperature": 0.5}"#;
    let outcome = same_at_every_pace(body.len(), |pace| ask(body, translate(), &said(), pace));
    assert_eq!(outcome.intents[0].model.as_deref(), Some("asked"));
    let Task::Generate(task) = &outcome.calls[0].1.task else {
        panic!("{:?}", outcome.calls);
    };
    assert_eq!(outcome.calls[0].1.model, "served");
    assert_eq!(task.settings.stopping.max_tokens, Some(64), "the default");
    assert_eq!(task.settings.sampling.temperature, Some(0.5));
    assert_eq!(
        outcome.text(),
        r#"{"model":"asked","text":"Dear Sir","finish":"length","usage":{"input":3,"output":2}}"#
    );
}

#[test]
fn a_stream_is_written_as_it_comes() {
    let body = r#"{"prompt": "A letter:", "stream": true}"#;
    let outcome = same_at_every_pace(said().len(), |pace| ask(body, translate(), &said(), pace));
    assert_eq!(
        outcome.text(),
        "data: {\"text\":\"Dear \"}\n\ndata: {\"text\":\"Sir\"}\n\n\
         event: end\ndata: {\"finish\":\"length\",\"usage\":{\"input\":3,\"output\":2}}\n\n"
    );
}

#[test]
fn what_is_not_understood_is_refused() {
    for body in [
        "",
        "{",
        r#"{"prompt": 1}"#,
        r#"{"prompt": "a", "colour": "red"}"#,
    ] {
        let outcome = ask(body, translate(), &[], Pace::Whole);
        let refused = outcome.refused.expect("it is refused");
        assert_eq!(refused.kind, FailureKind::InvalidArgument, "{body}");
    }
}

#[test]
fn a_request_that_says_everything_is_passed() {
    let way = |model: &str| {
        Way::Pass(PassTo {
            model: model.to_owned(),
            dialect: "quill".to_owned(),
            options: String::new(),
        })
    };
    let body = r#"{"model": "served", "prompt": "A", "max_tokens": 2}"#;
    let passed = ask(body, way("served"), &[], Pace::Whole);
    assert_eq!(passed.passed.len(), 1);
    // Another name at the worker: it is taken apart.
    let other = ask(body, way("other"), &said(), Pace::Whole);
    assert_eq!(other.passed.len(), 0);
    assert_eq!(other.calls[0].1.model, "other");
}

fn worker() -> Worker {
    Worker {
        name: "w".to_owned(),
        dialect: "quill".to_owned(),
        options: String::new(),
        models: Vec::new(),
    }
}

fn call(streaming: bool) -> Call {
    let mut settings = neutral::settings();
    settings.stopping.max_tokens = Some(2);
    neutral::generate(
        "served".to_owned(),
        Text::Inline("A letter:".to_owned()),
        settings,
        streaming,
    )
}

fn attempt(call: &Call, answer: &Answer, pace: Pace) -> WorkerOutcome {
    let backend = plugin().attempt(testing::context(), worker(), vec![call.clone()]);
    testing::Worker::answering(answer.clone()).play(backend, pace)
}

#[test]
fn a_worker_is_asked_and_its_answer_read_at_every_pace() {
    let body =
        r#"{"model":"served","text":"Dear Sir","finish":"done","usage":{"input":3,"output":2}}"#;
    let answer = Answer::rest(200, "application/json", body);
    let outcome = same_at_every_pace(body.len(), |pace| attempt(&call(false), &answer, pace));
    assert_eq!(
        String::from_utf8(outcome.request.as_ref().unwrap().body.clone()).unwrap(),
        r#"{"model":"served","prompt":"A letter:","max_tokens":2,"stream":false}"#
    );
    assert_eq!(
        outcome.of(0),
        [
            neutral::delta("Dear Sir"),
            neutral::finished(FinishReason::EndOfSequence),
            neutral::usage(Some(3), Some(2)),
            Event::End,
        ]
    );
}

const STREAM: &str = "data: {\"text\":\"Dear \"}\n\ndata: {\"text\":\"Sir\"}\n\n\
     event: end\ndata: {\"finish\":\"length\",\"usage\":{\"input\":3,\"output\":2}}\n\n";

#[test]
fn a_stream_is_read_at_every_pace() {
    let answer = Answer::rest(200, "text/event-stream", STREAM);
    let outcome = same_at_every_pace(STREAM.len(), |pace| attempt(&call(true), &answer, pace));
    assert_eq!(
        outcome.of(0),
        [
            neutral::delta("Dear Sir"),
            neutral::finished(FinishReason::MaxTokens),
            neutral::usage(Some(3), Some(2)),
            Event::End,
        ]
    );
}

#[test]
fn an_answer_that_breaks_off_or_refuses_is_a_failure() {
    let kind = |answer: &Answer, streaming| {
        let outcome = attempt(&call(streaming), answer, Pace::Whole);
        match outcome.of(0).pop() {
            Some(Event::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    };
    for len in 0..STREAM.len() {
        let short = Answer::rest(200, "text/event-stream", &STREAM[..len]);
        assert_eq!(
            kind(&short, true).kind,
            FailureKind::UpstreamInvalid,
            "{len}"
        );
        let cut = short.cut(Cut::Closed);
        assert_eq!(
            kind(&cut, true).kind,
            FailureKind::UpstreamUnavailable,
            "{len}"
        );
    }
    let busy = r#"{"error":{"kind":"overloaded","message":"later"}}"#;
    let busy = kind(&Answer::rest(503, "application/json", busy), false);
    assert_eq!(busy.message, "later");
    let within =
        "event: error\ndata: {\"error\":{\"kind\":\"overloaded\",\"message\":\"later\"}}\n\n";
    let within = kind(&Answer::rest(200, "text/event-stream", within), true);
    assert_eq!(
        (within.kind, &*within.message),
        (FailureKind::Overloaded, "later")
    );
}

#[test]
fn what_this_protocol_cannot_say_is_named() {
    let mut asked = call(false);
    let Task::Generate(task) = &mut asked.task else {
        unreachable!()
    };
    task.settings.sampling.top_k = Some(3);
    let memory = testing::Memory::default();
    let mut backend = plugin().attempt(testing::context(), worker(), vec![asked]);
    let out = backend.step(&memory, vec![tollgate_sdk_protocol::backend::Input::Start]);
    assert!(format!("{out:?}").contains("`sampling`"), "{out:?}");
}

#[test]
fn the_house_answers_models_and_health() {
    for (claim, event, text) in [
        (
            1,
            Event::Models(vec![neutral::model("m", Vec::new())]),
            r#"{"models":["m"]}"#,
        ),
        (2, Event::Ready(true), r#"{"ready":true,"models":[]}"#),
    ] {
        let client = Client {
            events: vec![event, Event::End],
            ..Client::rest("", translate())
        };
        let exchange = plugin().exchange(testing::context(), head(claim));
        assert_eq!(client.play(exchange, Pace::Whole).text(), text);
    }
}

#[test]
fn options_are_checked() {
    assert!(Plugin::configure(r#"{"max-tokens": 3}"#).is_ok());
    for bad in ["3", r#"{"max-tokens": 0}"#, r#"{"colour": 1}"#] {
        assert!(Plugin::configure(bad).is_err(), "{bad}");
    }
}
