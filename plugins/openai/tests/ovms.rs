//! OpenVINO Model Server as a worker: calls of other protocols' frontends, and what no transcript of
//! this API brings about.

mod support;

use serde_json::{Value, json};
use support::{answered, attempt, check_json, plugin, taken_apart, worker};
use tollgate_sdk_protocol::{
    Protocol,
    backend::{MemberEvent, Surface},
    failure,
    inference::{
        Call, Chat, Constraint, Content, Embed, Event, FinishReason, Generate, LengthPenalty,
        Message, Prompt, Settings, Task, Tokenize, Tokenized, Truncation, TruncationSide,
    },
    testing::Memory,
    types::Text,
};

fn script(endpoint: &str, request: Value) -> Value {
    json!({"endpoint": endpoint, "request": request})
}

fn inline(text: &str) -> Text {
    Text::Inline(text.to_owned())
}

/// A neutral generation, changed as a test needs it.
fn generate(change: impl FnOnce(&mut Generate)) -> Call {
    let script = script(
        "POST /v1/completions",
        json!({"prompt": "a", "max_tokens": 8}),
    );
    let (mut call, _) = taken_apart(&script).expect("a call");
    if let Task::Generate(generate) = &mut call.task {
        generate.prompts = vec![Prompt::Text(inline("a"))];
        change(generate);
    }
    call
}

fn call(task: Task) -> Call {
    Call {
        task,
        ..generate(|_| {})
    }
}

/// An answer of this worker.
fn said(answer: Value) -> Value {
    json!({"worker": {"dialect": "openai-ovms"}, "answer": answer})
}

/// What it was asked: path and body; and what was told.
fn asked(script: &Value, call: Call) -> (String, Vec<u8>, Vec<Event>) {
    let outcome = attempt(script, &[call], Memory::default());
    assert!(outcome.finished);
    let events = outcome.of(0);
    let request = outcome
        .request
        .unwrap_or_else(|| panic!("nothing was asked: {events:?}"));
    let Surface::Rest(rest) = request.surface else {
        panic!("REST")
    };
    (
        format!("{} {}", rest.method, rest.path),
        request.body,
        events,
    )
}

/// The name that a refusal is of.
fn refused(call: Call) -> (String, Option<String>) {
    let outcome = attempt(&said(json!({})), &[call], Memory::default());
    assert_eq!(outcome.request, None);
    match &outcome.of(0)[..] {
        [Event::Failed(failed)] => (
            failure::label(&failed.kind).to_owned(),
            failed.param.clone(),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_it_has_no_word_for_is_refused_by_name() {
    let of = |change: fn(&mut Settings)| {
        let (kind, param) = refused(generate(|it| change(&mut it.settings)));
        assert_eq!(kind, "invalid-argument");
        param.unwrap_or_default()
    };
    assert_eq!(of(|it| it.sampling.typical_p = Some(0.5)), "typical_p");
    let decays = LengthPenalty {
        start_index: 1,
        decay_factor: 1.5,
    };
    let (_, param) = refused(generate(|it| {
        it.settings.sampling.length_penalty = Some(decays)
    }));
    assert_eq!(param.as_deref(), Some("length_penalty"));
    assert_eq!(of(|it| it.stopping.min_tokens = Some(1)), "min_tokens");
    assert_eq!(
        of(|it| it.truncate = Some(Truncation {
            tokens: 1,
            side: None
        })),
        "truncate_input_tokens"
    );
    assert_eq!(
        of(|it| it.constraint = Some(Constraint::JsonObject)),
        "json_object"
    );
    assert_eq!(
        of(|it| it.constraint = Some(Constraint::Choice(vec!["a".to_owned()]))),
        "choice"
    );
    assert_eq!(of(|it| it.sampling.min_p = Some(1.0)), "min_p");
    assert_eq!(of(|it| it.sampling.seed = Some(1 << 32)), "seed");

    let tokenize = |change: fn(&mut Tokenize)| {
        let mut tokenize = Tokenize {
            inputs: vec![inline("a")],
            add_special_tokens: None,
            tokens: true,
            offsets: false,
            truncate: None,
            extras: Vec::new(),
        };
        change(&mut tokenize);
        refused(call(Task::Tokenize(tokenize)))
    };
    assert_eq!(
        tokenize(|it| it.offsets = true).1.as_deref(),
        Some("return_offsets")
    );
    assert_eq!(tokenize(|it| it.inputs.push(inline("b"))).0, "unsupported");
    let left = tokenize(|it| {
        it.truncate = Some(Truncation {
            tokens: 1,
            side: Some(TruncationSide::Left),
        });
    });
    assert_eq!(left.1.as_deref(), Some("truncate_input_tokens"));
}

#[test]
fn what_changes_nothing_is_left_out() {
    let neutral = generate(|it| {
        it.settings.sampling.typical_p = Some(1.0);
        it.settings.stopping.min_tokens = Some(0);
        // Of the prompt's tokens nothing is told: they stay empty.
        it.settings.detail.input_tokens = true;
        it.settings.detail.ranks = true;
        it.settings.stopping.stop_sequences = vec![String::new()];
    });
    let (path, body, _) = asked(&said(json!({"body": {}})), neutral);
    assert_eq!(path, "POST /v3/completions");
    let wanted = json!({"model": "served", "prompt": "a", "temperature": 1.0, "top_p": 1.0,
        "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "frequency_penalty": 0.0,
        "presence_penalty": 0.0, "max_tokens": 8, "stream": false});
    check_json("body", &wanted, &body);
}

#[test]
fn a_schema_is_kept_in_chat() {
    let Task::Generate(Generate { mut settings, .. }) = generate(|_| {}).task else {
        panic!("a generation")
    };
    settings.constraint = Some(Constraint::JsonSchema(r#"{"b":1,"a":2}"#.to_owned()));
    let chat = Chat {
        messages: vec![Message {
            role: "user".to_owned(),
            content: vec![Content::Text(inline("q"))],
            name: None,
            tool_calls: None,
            tool_call_id: None,
        }],
        settings,
        tools: Some(r#"[{"type":"function"}]"#.to_owned()),
        tool_choice: Some("\"auto\"".to_owned()),
    };
    let (path, body, _) = asked(&said(json!({"body": {}})), call(Task::Chat(chat)));
    assert_eq!(path, "POST /v3/chat/completions");
    let text = String::from_utf8(body).unwrap();
    assert!(
        text.contains(r#""json_schema":{"name":"answer","schema":{"b":1,"a":2}}"#),
        "the order of its properties stays: {text}"
    );
    assert!(
        text.contains(r#""tools":[{"type":"function"}],"tool_choice":"auto""#),
        "{text}"
    );
}

#[test]
fn a_limit_of_time_ends_a_stream_with_what_was_held_back() {
    let limited = generate(|it| {
        it.settings.stopping.time_limit_ms = Some(5);
        it.settings.stopping.stop_sequences = vec!["END".to_owned()];
    });
    let chunk = json!({"choices": [{"index": 0, "text": "one EN", "finish_reason": null}]});
    let answer = json!({"events": [chunk], "cut": "deadline"});
    let (_, body, events) = asked(&said(answer), limited);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["stream"], &body["include_stop_str_in_output"]),
        (&json!(true), &json!(true))
    );
    let text: String = events
        .iter()
        .filter_map(|event| match event {
            Event::Delta(delta) => Some(delta.text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(text, "one EN");
    let reason = events.iter().find_map(|event| match event {
        Event::Finished(finished) => Some(finished.reason.clone()),
        _ => None,
    });
    assert_eq!(reason, Some(FinishReason::TimeLimit));
}

#[test]
fn only_embeddings_share_a_request() {
    let facts = worker(&said(json!({})));
    let key = |call: &Call| plugin(&json!({})).batch_key(&facts, call);
    assert_eq!(key(&generate(|_| {})), None);
    let embed = |text: &str| {
        call(Task::Embed(Embed {
            inputs: vec![Prompt::Text(inline(text))],
            dimensions: None,
            truncate: None,
            extras: Vec::new(),
        }))
    };
    assert!(key(&embed("a")).is_some() && key(&embed("a")) == key(&embed("b")));
    let answer = said(
        json!({"body": {"object": "list", "usage": {"prompt_tokens": 2, "total_tokens": 2},
        "data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [2.0]}]}}),
    );
    let outcome = attempt(&answer, &[embed("a"), embed("b")], Memory::default());
    let body = outcome.request.as_ref().map(|request| request.body.clone());
    let wanted = json!({"model": "served", "input": ["a", "b"], "encoding_format": "base64"});
    check_json("body", &wanted, &body.expect("a request"));
    for member in 0..2 {
        assert!(matches!(
            outcome.of(member)[..],
            [Event::Embeddings(_), Event::Usage(_), Event::End]
        ));
    }
}

#[test]
fn what_it_is_and_has_is_asked_on_its_own_paths() {
    let list = json!({"data": [{"id": "served", "object": "model", "created": 1, "owned_by": "OVMS"}],
        "object": "list"});
    for (task, path, body) in [
        (Task::ListModels, "GET /v3/models", list.clone()),
        (Task::ModelReady, "GET /v3/models", list),
        (Task::ServerLive, "GET /v2/health/live", Value::Null),
        (Task::ServerReady, "GET /v2/health/ready", Value::Null),
        (
            Task::ServerMetadata,
            "GET /v2",
            json!({"name": "OpenVINO Model Server", "version": "2026.2", "extensions": []}),
        ),
    ] {
        let (asked, _, events) = asked(&said(json!({"body": body})), call(task));
        assert_eq!(asked, path);
        assert!(
            matches!(events.last(), Some(Event::End)),
            "{path}: {events:?}"
        );
        match &events[0] {
            Event::Metadata(server) => assert_eq!(server.name, "OpenVINO Model Server"),
            Event::Ready(ready) => assert!(ready),
            Event::Models(models) => assert_eq!(models[0].platform, "OpenVINO"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_client_of_it_is_told_tokens_only_where_there_are_ids() {
    let mut script = script("POST /v3/tokenize", json!({"text": ["a", "b"]}));
    script["options"] = json!({"ovms-paths": true});
    let (call, _) = taken_apart(&script).expect("a call");
    let Task::Tokenize(tokenize) = &call.task else {
        panic!("{call:?}")
    };
    assert_eq!(tokenize.inputs.len(), 2);
    let told = |ids: [Vec<u32>; 2]| {
        let all = ids
            .into_iter()
            .enumerate()
            .rev()
            .map(|(item, ids)| Tokenized {
                item: item as u32,
                count: 2,
                ids,
                texts: Vec::new(),
                offsets: Vec::new(),
            });
        let events = [Event::Tokenized(all.collect()), Event::End];
        let events = events.map(|event| MemberEvent { member: 0, event });
        answered(&script, events.into(), Memory::default())
    };
    let outcome = told([vec![1, 2], vec![3, 4]]);
    assert_eq!(outcome.text(), r#"{"tokens":[[1,2],[3,4]]}"#);
    let outcome = told([vec![1, 2], Vec::new()]);
    let refused = outcome.refused.expect("a refusal");
    assert_eq!(failure::label(&refused.kind), "unsupported");
}

#[test]
fn its_paths_are_served_only_where_the_options_say_so() {
    let paths = |options: &str| {
        let (_, claims) = tollgate_plugin_openai::OpenAi::configure(options)
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        let of_v3 = claims.into_iter().filter_map(|claim| match claim.surface {
            tollgate_sdk_protocol::plugin::Surface::Rest(rest) if rest.path.starts_with("/v3/") => {
                let dialect = claim.extensions.into_iter().find(|it| it.name == "dialect");
                assert_eq!(dialect.expect("one").payload, b"openai-ovms");
                Some(rest.path)
            }
            _ => None,
        });
        of_v3.collect::<Vec<_>>()
    };
    assert_eq!(paths("{}"), Vec::<String>::new());
    assert_eq!(paths(r#"{"ovms-paths":true}"#).len(), 13);
    let few = paths(r#"{"ovms-paths":true,"relayed":["responses"]}"#);
    assert_eq!(few.len(), 8, "{few:?}");
    // Who is a client of it, its path says, and nothing else.
    let problem = tollgate_plugin_openai::OpenAi::configure(r#"{"clients":"ovms"}"#);
    assert!(problem.is_err());
}
