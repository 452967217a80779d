//! What holds for whatever is sent: nothing panics, every exchange and attempt ends, and
//! a request that was taken apart and written anew for the other surface, and taken apart
//! again there, is the same neutral call.

mod support;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};
use support::*;
use tollgate_sdk_protocol::{
    Protocol,
    backend::{Action, Input, ProbeResponse},
    frontend::{TranslateTo, Way},
    inference::{Call, Event, Prompt, Task},
    testing::{Answer, Memory, context},
    types::{Cut, Text},
};

const DIALECTS: [&str; 2] = ["caikit", "caikit-rest"];

fn path(task: &str) -> &'static str {
    format!("/api/v1/task/{task}").leak()
}

fn way() -> Way {
    Way::Translate(TranslateTo {
        model: SERVED.to_owned(),
    })
}

/// Bytes, with a preference for what looks like JSON or protocol buffers.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let word = select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"model_id\"",
        "\"inputs\"",
        "\"parameters\"",
        "\"a\"",
        "\"query\"",
        "\"documents\"",
        "\"sentences\"",
        "\"result\"",
        "\"scores\"",
        "null",
        "1",
        "-1e9",
        "true",
        " ",
        "\\",
        "\u{0}",
        "ü",
        "\n\x02hi",
        "\x12\x00",
        "data: ",
        "\r\n\r\n",
        "event: error\r\n",
        "\u{7f}",
    ]);
    prop_oneof![
        vec(any::<u8>(), 0..60),
        vec(word, 0..24).prop_map(|words| words.concat().into_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_request_panics(body in noise(), task in select(TASKS.to_vec())) {
        let rest = Ask { body: body.clone(), ..Ask::rest(path(task.0), &json!({})) };
        let grpc = Ask { body, ..Ask::grpc(task.1, &json!({})) };
        for ask in [rest, grpc] {
            let mut client = ask.client(way());
            client.request = vec![ask.body.clone()];
            client.events = vec![Event::End];
            let outcome = client.play(ask.exchange(), ONCE);
            prop_assert!(outcome.finished, "{outcome:?}");
        }
    }

    #[test]
    fn no_answer_panics(
        bodies in vec(noise(), 0..3),
        task in select(TASKS.to_vec()),
        dialect in select(DIALECTS.to_vec()),
        status in select(vec![200_u16, 404, 501]),
        events in any::<bool>(),
    ) {
        let sample = sample(task.0);
        let asked = Ask::rest(path(task.0), &sample).told(Vec::new());
        let answer = if dialect == "caikit" {
            Answer::grpc(bodies, u32::from(status == 404), None)
        } else {
            let kind = if events { "text/event-stream" } else { "application/json" };
            Answer::rest(status, kind, bodies.concat())
        };
        let outcome = attempt(dialect, "", &asked.calls, &asked, answer);
        prop_assert!(outcome.finished);
        let ends = outcome.told.0.iter().filter(|told| {
            matches!(told.event, Event::End | Event::Failed(_))
        });
        prop_assert_eq!(ends.count(), 1);
    }

    #[test]
    fn no_probe_panics(bodies in vec(noise(), 0..3), dialect in select(DIALECTS.to_vec())) {
        let (plugin, _) = plugin("");
        let answer = |body: Vec<u8>| ProbeResponse {
            status: 200,
            code: (dialect == "caikit").then_some(0),
            headers: Vec::new(),
            body,
        };
        let health = plugin.judge(&worker(dialect, ""), bodies.into_iter().map(answer).collect());
        prop_assert!(health.ready || health.reason.is_some());
    }

    #[test]
    fn a_call_is_the_same_after_both_surfaces(parameters in parameters(), text in "\\PC{1,40}") {
        let body = json!({"model_id": "m", "inputs": text, "parameters": parameters});
        for stream in [false, true] {
            let task = TASKS[usize::from(stream)].0;
            let first = Ask::rest(path(task), &body).told(Vec::new());
            let Some((_, call)) = first.calls.first() else {
                // It was refused, as it must be on the other surface.
                continue;
            };
            same_after(call, task, &first)?;
        }
    }

    #[test]
    fn vectors_scores_and_rankings_too(
        texts in vec("\\PC{1,12}", 1..4),
        truncate in option::of(-1_i64..600),
        top in option::of(1_i64..5),
        task in select(vec!["embedding-tasks", "sentence-similarity", "rerank"]),
    ) {
        let mut given = Map::new();
        given.extend(truncate.map(|n| ("truncate_input_tokens".to_owned(), n.into())));
        let inputs = match task {
            "embedding-tasks" => json!(texts),
            "sentence-similarity" => json!({"source_sentence": "q", "sentences": texts}),
            _ => {
                given.extend(top.map(|n| ("top_n".to_owned(), n.into())));
                let documents: Vec<Value> =
                    texts.iter().map(|text| json!({"text": text, "n": [1.5, null]})).collect();
                json!({"query": "q", "documents": documents})
            }
        };
        let body = json!({"model_id": "m", "inputs": inputs, "parameters": given});
        let first = Ask::rest(path(task), &body).told(Vec::new());
        // One text goes to the singular form.
        let singular = task == "embedding-tasks" && texts.len() == 1;
        same_after(&first.calls[0].1, if singular { "embedding" } else { task }, &first)?;
    }
}

/// The call, written for each kind of worker and read again as a client's request.
fn same_after(
    call: &Call,
    task: &str,
    first: &tollgate_sdk_protocol::testing::ClientOutcome,
) -> Result<(), TestCaseError> {
    let (_, method) = TASKS.iter().find(|(name, _)| *name == task).unwrap();
    for dialect in DIALECTS {
        let nothing = if dialect == "caikit" {
            Answer::grpc(Vec::new(), 14, None)
        } else {
            Answer::rest(503, "", "")
        };
        let calls = [(0, call.clone())];
        let outcome = attempt(dialect, "", &calls, first, nothing);
        let request = outcome.request.expect("a request");
        let again = if dialect == "caikit" {
            Ask {
                body: request.body,
                ..Ask::grpc(method, &json!({}))
            }
        } else {
            Ask {
                body: request.body,
                ..Ask::rest(path(task), &json!({}))
            }
        };
        let again = again.told(Vec::new());
        prop_assert_eq!(
            &without_originals(&again.calls[0].1),
            &without_originals(call)
        );
    }
    Ok(())
}

/// A document comes back with its members in another order.
fn without_originals(call: &Call) -> Call {
    let mut call = call.clone();
    if let Task::Rerank(rerank) = &mut call.task {
        for document in &mut rerank.documents {
            let original = document.original.take();
            let value: Value = serde_json::from_str(&original.unwrap()).unwrap();
            document.original = Some(value.to_string());
        }
    }
    call
}

/// A body that every task takes.
fn sample(task: &str) -> Value {
    let inputs = match task {
        "embedding-tasks" => json!(["a", "b"]),
        "sentence-similarity" => json!({"source_sentence": "a", "sentences": ["b", "c"]}),
        "sentence-similarity-tasks" => json!({"source_sentences": ["a"], "sentences": ["b"]}),
        "rerank" => json!({"query": "a", "documents": [{"text": "b"}]}),
        "rerank-tasks" => json!({"queries": ["a"], "documents": [{"text": "b"}]}),
        _ => json!("a"),
    };
    json!({"model_id": "m", "inputs": inputs})
}

/// Parameters of generation that are in their domains.
fn parameters() -> impl Strategy<Value = Value> {
    let sampling = (
        option::of(0.05_f64..4.0),
        option::of(1_i64..1000),
        option::of(0.01_f64..=1.0),
        option::of(0.01_f64..=1.0),
        option::of(any::<u64>()),
    );
    let stopping = (
        option::of(1_i64..5000),
        option::of(0_i64..2),
        option::of(0_i64..5000),
        vec("\\PC{1,6}", 0..3),
        option::of(any::<bool>()),
        option::of(1_u32..100_000),
    );
    let rest = (
        option::of(0.01_f64..3.0),
        option::of((0_i64..50, 1.0_f64..10.0)),
        vec(option::of(any::<bool>()), 5),
    );
    (option::of(sampling), stopping, rest).prop_map(|(sampling, stopping, rest)| {
        let mut all = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            all.extend(value.map(|value| (name.to_owned(), value)));
        };
        if let Some((temperature, top_k, top_p, typical_p, seed)) = sampling {
            put("decoding_method", Some("SAMPLING".into()));
            put("temperature", temperature.map(Value::from));
            put("top_k", top_k.map(Value::from));
            put("top_p", top_p.map(Value::from));
            put("typical_p", typical_p.map(Value::from));
            put("seed", seed.map(Value::from));
        }
        let (max, min, truncate, stops, include, millis) = stopping;
        put("max_new_tokens", max.map(Value::from));
        put("min_new_tokens", min.map(Value::from));
        put("truncate_input_tokens", truncate.map(Value::from));
        // Without a sequence there is none to include.
        put(
            "include_stop_sequence",
            include.filter(|_| !stops.is_empty()).map(Value::from),
        );
        put("stop_sequences", Some(json!(stops)));
        put(
            "max_time",
            millis.map(|millis| Value::from(f64::from(millis) / 1000.0)),
        );
        let (repetition, decay, flags) = rest;
        put("repetition_penalty", repetition.map(Value::from));
        put(
            "exponential_decay_length_penalty",
            decay.map(|(start, factor)| json!({"start_index": start, "decay_factor": factor})),
        );
        // Detail of tokens asks for tokens; without any there is none.
        let listed = flags[2] == Some(true) || flags[1] == Some(true);
        let names = [
            "preserve_input_text",
            "input_tokens",
            "generated_tokens",
            "token_logprobs",
            "token_ranks",
        ];
        for (at, name) in names.into_iter().enumerate() {
            let flag = flags[at].filter(|_| at < 3 || listed);
            put(name, flag.map(Value::from));
        }
        Value::Object(all)
    })
}

fn embedding(texts: &[&str]) -> Call {
    let body = json!({"model_id": "m", "inputs": texts});
    let outcome = Ask::rest(path("embedding-tasks"), &body).told(Vec::new());
    outcome.calls[0].1.clone()
}

#[test]
fn embeddings_share_a_request_and_its_tokens() {
    let (plugin, _) = plugin("");
    let worker = || worker("caikit", "");
    let calls = vec![
        embedding(&["aaaa"]),
        embedding(&["bb", "cc"]),
        embedding(&["d"]),
    ];
    let keys: Vec<_> = calls
        .iter()
        .map(|call| plugin.batch_key(&worker(), call))
        .collect();
    assert!(
        keys[0].is_some() && keys.iter().all(|key| *key == keys[0]),
        "{keys:?}"
    );
    let vectors: Vec<Value> = (0..4)
        .map(|n| json!({"dataNpfloat32sequence": {"values": [n]}}))
        .collect();
    let answer = grpc_answer(
        "EmbeddingTasksPredict",
        &[json!({"results": {"vectors": vectors}, "inputTokenCount": "10"})],
    );
    let driver = tollgate_sdk_protocol::testing::Worker::answering(answer);
    let attempt = plugin.attempt(context(), worker(), calls);
    let outcome = driver.play(attempt, ONCE);
    let (_, body, _) = asked(outcome.request.as_ref().unwrap());
    assert_eq!(body["texts"], json!(["aaaa", "bb", "cc", "d"]));
    let of = |member: u32| {
        let events = outcome.of(member);
        let vectors = events.iter().find_map(|event| match event {
            Event::Embeddings(all) => Some(all.len()),
            _ => None,
        });
        let tokens = events.iter().find_map(|event| match event {
            Event::Usage(usage) => {
                assert_eq!(usage.extensions[0].name, "apportioned");
                usage.input_tokens
            }
            _ => None,
        });
        assert_eq!(events.last(), Some(&Event::End));
        (vectors.unwrap(), tokens.unwrap())
    };
    assert_eq!([of(0), of(1), of(2)], [(1, 4), (2, 4), (1, 2)]);
}

#[test]
fn what_cannot_share_has_no_key() {
    let (plugin, _) = plugin("");
    let key = |options: &str, call: &Call| plugin.batch_key(&worker("caikit", options), call);
    let plain = embedding(&["a"]);
    assert!(key("", &plain).is_some());
    assert_eq!(key(r#"{"merge-embeddings": false}"#, &plain), None);
    let cut = |tokens: i64| {
        let body = json!({"model_id": "m", "inputs": ["a"],
                          "parameters": {"truncate_input_tokens": tokens}});
        let outcome = Ask::rest(path("embedding-tasks"), &body).told(Vec::new());
        outcome.calls[0].1.clone()
    };
    let keys = [
        key("", &plain),
        key("", &cut(5)),
        key("", &cut(6)),
        key("", &cut(-1)),
    ];
    for (at, one) in keys.iter().enumerate() {
        assert!(one.is_some() && !keys[..at].contains(one), "{keys:?}");
    }
    let mut tokens = embedding(&["a"]);
    if let Task::Embed(embed) = &mut tokens.task {
        embed.inputs = vec![Prompt::Tokens(vec![1])];
    }
    let generation = Ask::rest(path("text-generation"), &sample("")).told(Vec::new());
    for call in [&tokens, &generation.calls[0].1] {
        assert_eq!(key("", call), None);
    }
}

#[test]
fn who_has_left_is_told_nothing() {
    let (plugin, _) = plugin("");
    let calls = vec![embedding(&["a"]), embedding(&["b"])];
    let mut attempt = plugin.attempt(context(), worker("caikit", ""), calls);
    let memory = Memory::default();
    let _ = attempt.step(&memory, vec![Input::Start, Input::Left(0)]);
    let actions = attempt.step(&memory, vec![Input::Cut(Cut::Closed)]);
    let told = actions.iter().find_map(|action| match action {
        Action::Events(events) => Some(events),
        _ => None,
    });
    let told = told.unwrap();
    assert!(told.len() == 1 && told[0].member == 1);
}

#[test]
fn a_worker_refuses_by_name_what_it_has_not() {
    let generate = || {
        let outcome = Ask::rest(path("text-generation"), &sample("")).told(Vec::new());
        outcome.calls[0].1.clone()
    };
    let changed = |change: fn(&mut tollgate_sdk_protocol::inference::Generate)| {
        let mut call = generate();
        if let Task::Generate(generate) = &mut call.task {
            change(generate);
        }
        call
    };
    let unsupported = |call: Call| {
        let driver = tollgate_sdk_protocol::testing::Worker::answering(rest_answer(&json!({})));
        let (plugin, _) = plugin("");
        let attempt = plugin.attempt(context(), worker("caikit-rest", ""), vec![call]);
        let outcome = driver.play(attempt, ONCE);
        assert!(outcome.request.is_none());
        match outcome.of(0).pop() {
            Some(Event::Failed(failed)) => failed,
            other => panic!("not failed: {other:?}"),
        }
    };
    for (call, param) in [
        (changed(|it| it.settings.n = 2), "n"),
        (
            changed(|it| it.settings.sampling.min_p = Some(0.5)),
            "min_p",
        ),
        (
            changed(|it| it.settings.adapter = Some("x".to_owned())),
            "adapter",
        ),
        (
            changed(|it| it.settings.stopping.stop_sequences = vec![String::new()]),
            "stop",
        ),
        (
            changed(|it| it.settings.stopping.max_tokens = Some(0)),
            "max_tokens",
        ),
        (
            changed(|it| it.prompts = vec![Prompt::Tokens(vec![1])]),
            "prompt",
        ),
    ] {
        assert_eq!(unsupported(call).param.as_deref(), Some(param));
    }
    let two = changed(|it| it.prompts.push(Prompt::Text(Text::Inline("b".to_owned()))));
    assert!(unsupported(two).message.contains("one prompt"));
    let mut chat = generate();
    chat.task = Task::Detokenize(tollgate_sdk_protocol::inference::Detokenize { tokens: vec![1] });
    assert!(unsupported(chat).message.contains("nothing else"));
    let mut versioned = generate();
    versioned.version = Some("7".to_owned());
    assert!(unsupported(versioned).message.contains("no version 7"));
    // Neutral values do no harm, and a limit that nobody named is the worker's own.
    let call = changed(|it| {
        it.settings.stopping.max_tokens = None;
        it.settings.sampling.frequency_penalty = Some(0.0);
    });
    let calls = [(0, call)];
    let nothing = tollgate_sdk_protocol::testing::ClientOutcome::default();
    let answer = rest_answer(&json!({"generated_text": "a", "generated_tokens": 1,
        "finish_reason": "MAX_TOKENS", "input_token_count": 1}));
    let outcome = attempt(
        "caikit-rest",
        r#"{"max-new-tokens": 77}"#,
        &calls,
        &nothing,
        answer,
    );
    let (_, body, _) = asked(outcome.request.as_ref().unwrap());
    assert_eq!(body["parameters"], json!({"max_new_tokens": 77}));
    let finished = outcome.of(0).into_iter().find_map(|event| match event {
        Event::Finished(finished) => Some(finished.reason),
        _ => None,
    });
    assert_eq!(
        finished,
        Some(tollgate_sdk_protocol::inference::FinishReason::TokenLimit)
    );
}
