//! Plays `transcripts/backend`: what is asked of a worker, what it answers, what events
//! come of it. Each at every pace.

mod support;

use serde_json::{Value, json};
use support::{canonical, decode, encode, list, method, neutral, transcripts};
use tollgate_plugin_tgis::Tgis;
use tollgate_sdk_protocol::{
    Protocol,
    backend::{Action, Input, MemberEvent, Surface, Worker as WorkerFacts},
    inference::{Event, Prompt, Task},
    testing::{Answer, Memory, Pace, Worker, WorkerOutcome, context, same_at_every_pace},
    text,
    types::{Cut, Progress, Text},
};

fn plugin() -> Tgis {
    Tgis::configure("")
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .0
}

fn worker(options: &Value) -> WorkerFacts {
    WorkerFacts {
        name: "w".to_owned(),
        dialect: "tgis".to_owned(),
        options: if options.is_null() {
            String::new()
        } else {
            options.to_string()
        },
        models: Vec::new(),
    }
}

fn play(script: &Value) -> WorkerOutcome {
    let (_, output) = method(script["rpc"].as_str().unwrap_or("Generate"));
    let answer = &script["answer"];
    let messages: Vec<_> = list(answer, "messages")
        .iter()
        .map(|m| encode(&output, m))
        .collect();
    let code = u32::try_from(answer["code"].as_u64().unwrap_or(0)).unwrap();
    let longest = messages.iter().map(Vec::len).max().unwrap_or(0).max(2);
    let mut answering = Answer::grpc(messages, code, answer["message"].as_str());
    if answer["cut"] == true {
        answering = answering.cut(Cut::Closed);
    }
    let calls: Vec<_> = list(script, "calls").iter().map(neutral::call).collect();
    let driver = Worker::answering(answering);
    same_at_every_pace(longest, |pace| {
        driver.play(
            plugin().attempt(context(), worker(&script["worker"]), calls.clone()),
            pace,
        )
    })
}

#[test]
fn transcripts_end_as_they_are_written_at_every_pace() {
    for (name, script) in transcripts("backend") {
        let outcome = play(&script);
        assert!(outcome.finished, "{name}: not finished");
        let expected: Vec<_> = list(&script, "events")
            .iter()
            .map(|pair| MemberEvent {
                member: u32::try_from(pair[0].as_u64().unwrap()).unwrap(),
                event: neutral::event(&pair[1]),
            })
            .collect();
        assert_eq!(
            format!("{:#?}", outcome.events),
            format!("{expected:#?}"),
            "{name}"
        );
        let Some(rpc) = script["rpc"].as_str() else {
            assert_eq!(outcome.request, None, "{name}: nothing is asked");
            continue;
        };
        let request = outcome
            .request
            .unwrap_or_else(|| panic!("{name}: nothing was asked"));
        assert_eq!(
            request.surface,
            Surface::Grpc(format!("fmaas.GenerationService/{rpc}"))
        );
        let (input, _) = method(rpc);
        assert_eq!(
            serde_json::to_string_pretty(&decode(&input, &request.body)).unwrap(),
            serde_json::to_string_pretty(&canonical(&input, &script["request"])).unwrap(),
            "{name}"
        );
    }
}

fn generate(prompt: &str, settings: Value) -> tollgate_sdk_protocol::inference::Call {
    neutral::call(&json!({"model": "m", "generate": {"prompts": [prompt], "settings": settings}}))
}

#[test]
fn equal_settings_have_one_key_and_others_another() {
    let facts = worker(&Value::Null);
    let key = |call| plugin().batch_key(&facts, &call);
    let some = json!({"stopping": {"max-tokens": 5}});
    let one = key(generate("one", some.clone()));
    assert!(one.is_some());
    assert_eq!(one, key(generate("two", some.clone())));
    let mut others = vec![
        key(generate("one", json!({"stopping": {"max-tokens": 6}}))),
        key(generate(
            "one",
            json!({"stopping": {"max-tokens": 5}, "adapter": "a"}),
        )),
        key(generate(
            "one",
            json!({"stopping": {"max-tokens": 5}, "detail": {"echo": true}}),
        )),
    ];
    let mut elsewhere = generate("one", some.clone());
    elsewhere.model = "n".to_owned();
    others.push(key(elsewhere));
    for other in others {
        assert!(other.is_some() && other != one);
    }
    // These go alone.
    let mut streaming = generate("one", some.clone());
    streaming.streaming = true;
    let refused = generate("one", json!({"n": 2}));
    let mut two = generate("one", some);
    let Task::Generate(generation) = &mut two.task else {
        unreachable!()
    };
    generation
        .prompts
        .push(Prompt::Text(Text::Inline("two".to_owned())));
    let mut tokens = generate("one", Value::Null);
    let Task::Generate(generation) = &mut tokens.task else {
        unreachable!()
    };
    generation.prompts = vec![Prompt::Tokens(vec![1, 2])];
    for call in [streaming, refused, two, tokens] {
        assert_eq!(key(call), None);
    }
}

#[test]
fn a_held_prompt_is_converted_where_it_lies() {
    let body = br#"{"prompt": "caf\u00e9 \ud83d\ude00"}"#;
    let sources = Memory::default().with(4, body.to_vec());
    let mut call = generate("", Value::Null);
    let Task::Generate(generation) = &mut call.task else {
        unreachable!()
    };
    generation.prompts = vec![Prompt::Text(text::held_json(4, 11, body.len() as u64 - 12))];
    let (input, output) = method("Generate");
    let answer = encode(
        &output,
        &json!({"responses": [{"stopReason": "EOS_TOKEN"}]}),
    );
    let driver = Worker {
        answer: Answer::grpc(vec![answer], 0, None),
        sources,
    };
    let outcome = driver.play(
        plugin().attempt(context(), worker(&Value::Null), vec![call]),
        Pace::Whole,
    );
    let request = decode(&input, &outcome.request.unwrap().body);
    assert_eq!(request["requests"][0]["text"], "café 😀");
    assert_eq!(request["params"]["stopping"]["includeStopSequence"], false);
}

#[test]
fn prompts_of_every_size_are_framed_whether_held_or_not() {
    let (input, output) = method("Generate");
    let answer = encode(
        &output,
        &json!({"responses": [{"stopReason": "EOS_TOKEN"}]}),
    );
    // Where the length of the text, or of the message around it, takes a byte more.
    for len in [
        0_usize, 1, 123, 124, 125, 126, 127, 128, 16_379, 16_380, 16_383, 16_384,
    ] {
        let prompt = "p".repeat(len);
        let sources = Memory::default().with(4, prompt.clone());
        for text in [
            Text::Inline(prompt.clone()),
            text::held_plain(4, 0, len as u64),
        ] {
            let mut call = generate("", Value::Null);
            let Task::Generate(generation) = &mut call.task else {
                unreachable!()
            };
            generation.prompts = vec![Prompt::Text(text)];
            let answer = Answer::grpc(vec![answer.clone()], 0, None);
            let driver = Worker {
                answer,
                sources: sources.clone(),
            };
            let attempt = plugin().attempt(context(), worker(&Value::Null), vec![call]);
            let request = driver.play(attempt, Pace::Whole).request.unwrap();
            let request = decode(&input, &request.body);
            assert_eq!(
                request["requests"][0]["text"].as_str().unwrap_or(""),
                prompt
            );
            assert_eq!(request["params"]["stopping"]["maxNewTokens"], 1024);
        }
    }
}

#[test]
fn who_has_left_is_told_nothing() {
    let (_, output) = method("Generate");
    let answer = encode(
        &output,
        &json!({"responses": [{"text": "a", "stopReason": "EOS_TOKEN"},
                              {"text": "b", "stopReason": "EOS_TOKEN"}]}),
    );
    let calls = vec![generate("one", Value::Null), generate("two", Value::Null)];
    let mut attempt = plugin().attempt(context(), worker(&Value::Null), calls);
    let len = answer.len() as u64;
    let memory = Memory::default().with(9, answer);
    let _ = attempt.step(&memory, vec![Input::Start, Input::Left(0)]);
    let progress = Progress {
        source: 9,
        available: len,
        total: Some(len),
        end: true,
    };
    let actions = attempt.step(
        &memory,
        vec![Input::Message(progress), Input::Cut(Cut::Closed)],
    );
    let told: Vec<_> = actions
        .into_iter()
        .filter_map(|action| match action {
            Action::Events(events) => Some(events),
            _ => None,
        })
        .flatten()
        .collect();
    assert!(told.iter().all(|event| event.member == 1));
    assert!(matches!(told.last().unwrap().event, Event::Failed(_)));
}
