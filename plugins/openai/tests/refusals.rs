//! What is refused, how it is named, and what has a bound.
mod support;

use serde_json::{Value, json};
use support::{answered, attempt, plugin, taken_apart, translate};
use tollgate_sdk_protocol::{
    Protocol,
    backend::MemberEvent,
    classify::{Class, Classes, Texts},
    failure,
    inference::{Event, Extra, Task},
    testing::{Answer, Pace, Worker, context},
    types::{Failure, FailureKind},
};

fn script(endpoint: &str, request: Value) -> Value {
    json!({"endpoint": endpoint, "request": request})
}

/// The field and the text of a refusal of this body.
fn refused(endpoint: &str, body: Value) -> (String, String) {
    match taken_apart(&script(endpoint, body)) {
        Ok(_) => (String::new(), String::new()),
        Err(outcome) => told(outcome.refused.expect("a refusal")),
    }
}

fn told(failed: Failure) -> (String, String) {
    assert_eq!(failure::http_status(&failed.kind), 400, "{failed:?}");
    (failed.param.unwrap_or_default(), failed.message)
}

#[test]
fn a_conversation_has_bounds() {
    let chat = |messages: Vec<Value>| {
        let body = json!({"messages": messages});
        refused("POST /v1/chat/completions", body)
    };
    let message = json!({"role": "user", "content": "a", "reasoning": "b"});
    assert_eq!(chat(vec![message.clone(); 4096]).1, "");
    let (param, text) = chat(vec![message; 4097]);
    assert_eq!(param, "messages");
    assert!(text.contains("more than 4096 elements"), "{text}");
    let of = |parts: usize| json!({"role": "user", "content": vec!["x"; parts]});
    assert_eq!(chat(vec![of(4096); 4]).1, "");
    for many in [vec![of(4097)], vec![of(4096); 5]] {
        let (param, text) = chat(many);
        assert_eq!(param, "messages");
        assert!(text.contains("more than"), "{text}");
    }
    let (param, text) = refused("POST /v1/completions", json!({"prompt": vec!["a"; 1025]}));
    assert_eq!(param, "prompt");
    assert!(text.contains("more than 1024 elements"), "{text}");
}

#[test]
fn no_form_of_a_limit_of_tokens_makes_less_of_the_cost() {
    let costs = |endpoint: &str, body: Value, output: u32| {
        let intent = json!({"output": output});
        let script = json!({"endpoint": endpoint, "request": body, "intent": intent});
        // Whether it can be translated is another matter.
        let _ = taken_apart(&script);
    };
    let chat = |body: Value, output| costs("POST /v1/chat/completions", body, output);
    let most = u32::MAX;
    for (given, counted) in [
        (json!(7), 7),
        (json!(null), 256),
        (json!("5000"), 5000),
        (json!(9_223_372_036_854_775_808_u64), most),
        (json!(1e30), most),
        (json!(5.5), most),
        (json!({}), most),
    ] {
        chat(json!({"messages": [], "max_tokens": given}), counted);
    }
    let body = json!({"messages": [], "max_completion_tokens": 1, "max_tokens": 900});
    chat(body, 900);
    let several = |n: Value, best_of: Value, output| {
        let body = json!({"prompt": ["a", "b"], "max_tokens": 10, "n": n, "best_of": best_of});
        costs("POST /v1/completions", body, output);
    };
    several(json!(null), json!(null), 20);
    several(json!("3"), json!(null), 60);
    several(json!(2), json!(5), 100);
    several(json!(5), json!(2), 100);
    several(json!([]), json!(2), most);
}

#[test]
fn classification_has_bounds() {
    let classify = |body: Value| taken_apart(&script("POST /classify", body));
    let kind = |body: Value| classify(body).unwrap_err().refused.expect("a refusal").kind;
    let text = |len: usize| "\u{1}".repeat(len);
    assert!(classify(json!({"input": text(1 << 18)})).is_ok());
    let half = text(1 << 17);
    for body in [
        json!({"input": text((1 << 18) + 1)}),
        json!({"input": [half, half, "a"]}),
        // What changes the result is said beside each text.
        json!({"input": ["a", "b"], "mm_processor_kwargs": {"a": half}}),
    ] {
        assert_eq!(kind(body), FailureKind::PayloadTooLarge);
    }
    let (call, sources) = classify(json!({"input": "a"})).expect("a call");
    let said = |classes: usize| {
        let data = json!([{"index": 0, "label": "x", "probs": vec![0.5; classes], "num_classes": classes}]);
        let worker = Worker {
            answer: Answer::rest(200, "application/json", json!({ "data": data }).to_string()),
            sources: sources.clone(),
        };
        let script = script("POST /classify", json!({"input": "a"}));
        let attempt =
            plugin(&script).attempt(context(), support::worker(&script), vec![call.clone()]);
        worker.play(attempt, Pace::Whole).told.0
    };
    assert!(
        said(1 << 12)
            .iter()
            .any(|it| Classes::of(&it.event).is_some())
    );
    // The model has them: its worker did nothing wrong.
    let failed = said((1 << 12) + 1).pop().map(|it| it.event);
    assert!(
        matches!(&failed, Some(Event::Failed(it)) if it.kind == FailureKind::Unprocessable),
        "{failed:?}"
    );
    // Of several texts together, each of which is a call.
    let classes = Classes {
        item: 0,
        classes: vec![Class::default(); 3_000],
    };
    let events = vec![MemberEvent {
        member: 0,
        event: classes.event(),
    }];
    let script = script("POST /classify", json!({"input": ["a", "b"]}));
    let outcome = answered(&script, events, sources.clone());
    assert_eq!(
        outcome.refused.expect("too many").kind,
        FailureKind::Unprocessable
    );
}

#[test]
fn a_neutral_value_is_one_however_it_is_written() {
    let extras = |endpoint: &str, body: &str| -> Vec<String> {
        let (call, _) = taken_apart(&script(endpoint, body.into())).expect("a call");
        let names = |extras: &[Extra]| extras.iter().map(|it| it.name.clone()).collect();
        match &call.task {
            Task::Embed(embed) => names(&embed.extras),
            Task::Rerank(rerank) => names(&rerank.extras),
            task => Texts::of(task)
                .expect("texts")
                .extras
                .into_iter()
                .map(|it| it.0)
                .collect(),
        }
    };
    for (neutral, is) in [("{ }", true), ("{\n}", true), (r#"{"a":1}"#, false)] {
        for (endpoint, texts) in [
            ("POST /classify", r#""input":"a""#),
            ("POST /v1/embeddings", r#""input":"a""#),
            ("POST /rerank", r#""query":"q","documents":["a"]"#),
        ] {
            let body = format!("{{{texts},\"mm_processor_kwargs\":{neutral}}}");
            let expected = if is { 0 } else { 1 };
            assert_eq!(extras(endpoint, &body).len(), expected, "{endpoint} {body}");
        }
    }
}

#[test]
fn a_number_too_large_is_told_the_bound_that_it_passes() {
    for name in [
        "max_tokens",
        "min_tokens",
        "top_k",
        "truncate_prompt_tokens",
        "n",
    ] {
        let body = json!({"prompt": "a", name: 1_u64 << 40});
        let (param, text) = refused("POST /v1/completions", body);
        assert_eq!(param, name);
        let wanted = format!("{name} must be at most 4294967295, got 1099511627776.");
        assert_eq!(text, wanted);
    }
    let (_, text) = refused(
        "POST /v1/completions",
        json!({"prompt": "a", "max_tokens": 0}),
    );
    assert_eq!(text, "max_tokens must be at least 1, got 0.");
}

/// The field at fault and the text, when a worker's plugin refuses a setting so.
fn renamed(endpoint: &str, body: Value, param: &str, message: &str) -> (String, String) {
    let failed = failure::invalid(message, Some(param));
    let event = MemberEvent {
        member: 0,
        event: Event::Failed(failed),
    };
    let script = script(endpoint, body);
    let (_, sources) = taken_apart(&script).expect("a call");
    let outcome = answered(&script, vec![event], sources);
    told(outcome.refused.expect("a refusal"))
}

#[test]
fn a_refusal_names_the_field_that_was_sent() {
    let schema = json!({"type": "object"});
    let completions = "POST /v1/completions";
    for (body, param, wanted) in [
        (
            json!({"guided_json": schema}),
            "response_format",
            "guided_json",
        ),
        (json!({"guided_regex": "a"}), "regex", "guided_regex"),
        (
            json!({"structured_outputs": {"json": schema}}),
            "response_format",
            "structured_outputs",
        ),
        (
            json!({"guided_json": schema, "response_format": {"type": "text"}}),
            "json_schema",
            "guided_json",
        ),
        (
            json!({"truncate_prompt_tokens": 3}),
            "truncate",
            "truncate_prompt_tokens",
        ),
        (json!({"stop": ["a"]}), "stop_sequences", "stop"),
        (json!({"seed": 1}), "seed", "seed"),
        // Nothing that was sent is at fault: the name is left.
        (json!({}), "regex", "regex"),
    ] {
        let mut whole = body.clone();
        whole["prompt"] = json!("a");
        let message = format!("{param}: not here");
        let (param, text) = renamed(completions, whole, param, &message);
        assert_eq!(
            (param.as_str(), text),
            (wanted, format!("{wanted}: not here")),
            "{body}"
        );
    }
    let body = json!({"input": [[1, 2]]});
    let (param, _) = renamed("POST /v1/embeddings", body, "prompt", "takes no token ids");
    assert_eq!(param, "input");
    let body = json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 3});
    let (param, _) = renamed("POST /v1/chat/completions", body, "max_new_tokens", "no");
    assert_eq!(param, "max_tokens");
}

#[test]
fn processors_of_logits_are_for_servers_that_know_them() {
    let mut script = script(
        "POST /v1/completions",
        json!({"prompt": "a", "logits_processors": ["x.y"]}),
    );
    let (call, sources) = taken_apart(&script).expect("a call");
    let Task::Generate(generate) = &call.task else {
        panic!("{call:?}")
    };
    assert_eq!(generate.settings.extras[0].name, "logits_processors");
    script["answer"] = json!({});
    let outcome = attempt(&script, &[call], sources);
    match &outcome.of(0)[..] {
        [Event::Failed(failed)] => assert_eq!(failed.param.as_deref(), Some("logits_processors")),
        other => panic!("{other:?}"),
    }
    script["worker"] = json!({"generation": "old"});
    let (call, sources) = taken_apart(&script).expect("a call");
    let outcome = attempt(&script, &[call], sources);
    let body: Value = serde_json::from_slice(&outcome.request.unwrap().body).unwrap();
    assert_eq!(body["logits_processors"], json!(["x.y"]));
}

#[test]
fn a_stream_without_its_terminator_is_an_answer_only_behind_its_totals() {
    let counts = json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2});
    let chunk = json!({"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}]});
    let counted =
        json!({"choices": [{"index": 0, "text": "a", "finish_reason": "stop"}], "usage": counts});
    let totals = json!({"choices": [], "usage": counts});
    for (events, whole) in [
        (json!([chunk]), false),
        (json!([counted]), false),
        (json!([chunk, totals]), true),
        (json!([chunk, "[DONE]"]), true),
    ] {
        let mut script = script(
            "POST /v1/completions",
            json!({"prompt": "a", "stream": true}),
        );
        script["answer"] = json!({"events": events});
        let (worker, outcome) = translate(&script);
        let ends = worker.expect("an attempt").of(0);
        let ended = matches!(ends.last(), Some(Event::End));
        assert_eq!(ended, whole, "{events}");
        assert_eq!(!outcome.text().contains("\"error\""), whole, "{events}");
    }
}

#[test]
fn headers_that_a_server_would_trust_are_stripped() {
    let strip = tollgate_plugin_openai::OpenAi::manifest().strip_headers;
    for name in [
        "x-vllm-priority",
        "x-data-parallel-rank",
        "x-route-info",
        "mm-*",
    ] {
        assert!(strip.iter().any(|it| it == name), "{name}");
    }
}
