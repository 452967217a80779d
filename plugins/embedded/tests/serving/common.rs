//! What the tests of sessions share.

use tollgate_plugin_embedded::{Embedded, NGRAM};
use tollgate_sdk_worker::Worker;
use tollgate_sdk_worker::inference::{
    Call, Detail, Event, Generate, Prompt, Sampling, Settings, Stopping, Task,
};
use tollgate_sdk_worker::serving::Progress;
use tollgate_sdk_worker::types::{Context, Failure, Text};

pub(crate) fn worker() -> Embedded {
    Embedded::configure("").expect("no options are good options")
}

pub(crate) fn context() -> Context {
    Context {
        request_id: "r".into(),
        unix_time: 0,
        seed: 42,
        route: "test".into(),
        default_model: None,
        deadline_ms: None,
        extensions: Vec::new(),
    }
}

pub(crate) fn call(model: &str, task: Task) -> Call {
    Call {
        model: model.into(),
        version: None,
        streaming: true,
        task,
        extensions: Vec::new(),
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        sampling: Sampling {
            greedy: false,
            temperature: None,
            top_k: None,
            top_p: None,
            typical_p: None,
            min_p: None,
            seed: None,
            repetition_penalty: None,
            frequency_penalty: None,
            presence_penalty: None,
            length_penalty: None,
        },
        stopping: Stopping {
            max_tokens: Some(40),
            min_tokens: None,
            stop_sequences: Vec::new(),
            include_stop: false,
            time_limit_ms: None,
        },
        detail: Detail {
            echo: false,
            input_tokens: false,
            output_tokens: false,
            logprobs: false,
            ranks: false,
            top_n: 0,
        },
        n: 1,
        truncate: None,
        constraint: None,
        adapter: None,
        extras: Vec::new(),
    }
}

pub(crate) fn text(text: &str) -> Prompt {
    Prompt::Text(Text::Inline(text.into()))
}

pub(crate) fn generate(prompts: Vec<Prompt>, settings: Settings) -> Call {
    call(NGRAM, Task::Generate(Generate { prompts, settings }))
}

/// Steps a call to its end and checks what holds for every call: one last event, and
/// no step with more than a piece of work in it.
pub(crate) fn events(call: Call) -> Vec<Event> {
    let mut session = worker().session(context(), call);
    let mut all = Vec::new();
    for _ in 0..100_000 {
        let stepped = session.step();
        let tokens: usize = stepped
            .events
            .iter()
            .map(|event| match event {
                Event::Delta(delta) => delta.tokens.len(),
                _ => 0,
            })
            .sum();
        assert!(tokens <= 16 && stepped.events.len() <= 20);
        all.extend(stepped.events);
        if matches!(stepped.progress, Progress::Done) {
            let ends = |event: &&Event| matches!(event, Event::End | Event::Failed(_));
            assert!(all.last().as_ref().is_some_and(ends));
            assert_eq!(all.iter().filter(ends).count(), 1);
            return all;
        }
    }
    panic!("a session without an end");
}

pub(crate) fn failure(call: Call) -> Failure {
    match events(call).pop() {
        Some(Event::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// The text of one answer.
pub(crate) fn answer(events: &[Event], item: u32) -> String {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Delta(delta) if delta.item == item => Some(delta.text.as_str()),
            _ => None,
        })
        .collect()
}
