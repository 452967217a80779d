//! What is not carried out, and in which words; and failures that come after all.

mod support;

use serde_json::{Value, json};
use support::*;
use tollgate_sdk_protocol::{
    Protocol, failure,
    inference::{Event, ModelInfo, ServerInfo, Task},
    testing::{Answer, ClientOutcome, Pace, Upstream, Worker, context},
    types::{Context, Cut, FailureKind},
};

const GENERATE: &str = "/api/v1/task/text-generation";
const STREAM: &str = "/api/v1/task/server-streaming-text-generation";

/// Kinds and places of the problems of a body.
fn problems(path: &'static str, body: &str) -> Vec<Value> {
    let outcome = Ask::rest(path, &Value::from(body)).told(Vec::new());
    assert_eq!(outcome.head.as_ref().unwrap().status, 422, "{body}");
    let json = support::body(&outcome);
    assert_eq!(json["code"], 422);
    assert_eq!(json["id"], "0123456789abcdef");
    assert_eq!(json["details"], json["additional_info"][0]["msg"]);
    let all = json["additional_info"].as_array().unwrap().iter();
    all.map(|it| json!([it["type"], it["loc"]])).collect()
}

#[test]
fn a_body_is_checked_at_its_top_at_once_and_inside_when_it_is_taken_apart() {
    let object = json!([["model_type", []]]);
    for (path, body, wanted) in [
        (GENERATE, "{bad", json!([["json_invalid", []]])),
        (GENERATE, "[1]", object.clone()),
        (GENERATE, " null", object),
        (
            GENERATE,
            r#"{"model_id":7}"#,
            json!([["string_type", ["model_id"]]]),
        ),
        (
            GENERATE,
            r#"{"x":1,"model_id":"m","y":{}}"#,
            json!([["extra_forbidden", ["x"]], ["extra_forbidden", ["y"]]]),
        ),
        (
            GENERATE,
            r#"{"inputs":5}"#,
            json!([["string_type", ["inputs"]]]),
        ),
        (
            GENERATE,
            r#"{"inputs":"a","parameters":[]}"#,
            json!([["model_type", ["parameters"]]]),
        ),
        (
            GENERATE,
            r#"{"inputs":"a","parameters":{"foo":1,"max_new_tokens":"x","exponential_decay_length_penalty":{"z":1}}}"#,
            json!([
                ["int_parsing", ["parameters", "max_new_tokens"]],
                [
                    "extra_forbidden",
                    ["parameters", "exponential_decay_length_penalty", "z"]
                ],
                ["extra_forbidden", ["parameters", "foo"]],
            ]),
        ),
        (
            "/api/v1/task/embedding-tasks",
            r#"{"inputs":{"texts":["a"]}}"#,
            json!([["list_type", ["inputs"]]]),
        ),
        (
            "/api/v1/task/embedding-tasks",
            r#"{"inputs":["a",5]}"#,
            json!([["string_type", ["inputs", 1]]]),
        ),
        (
            "/api/v1/task/sentence-similarity",
            r#"{"inputs":"a"}"#,
            json!([["model_type", ["inputs"]]]),
        ),
        (
            "/api/v1/task/rerank",
            r#"{"inputs":{"query":"a","documents":["x"]}}"#,
            json!([["dict_type", ["inputs", "documents", 0]]]),
        ),
        (
            "/api/v1/task/rerank",
            r#"{"inputs":{"query":"a","documents":[{}],"x":1}}"#,
            json!([["extra_forbidden", ["inputs", "x"]]]),
        ),
        (
            "/api/v1/task/rerank-tasks",
            r#"{"inputs":{"queries":"a"},"parameters":{"return_query":true}}"#,
            json!([
                ["list_type", ["inputs", "queries"]],
                ["extra_forbidden", ["parameters", "return_query"]]
            ]),
        ),
        (
            "/api/v1/task/tokenization",
            r#"{"inputs":"a","parameters":{"x":1}}"#,
            json!([["extra_forbidden", ["parameters"]]]),
        ),
    ] {
        assert_eq!(Value::from(problems(path, body)), wanted, "{body}");
    }
    // Before the stream there is no stream.
    assert_eq!(problems(STREAM, r#"{"inputs":"a","z":1}"#).len(), 1);
}

#[test]
fn the_media_type_is_exactly_json() {
    for media_type in ["application/json; charset=utf-8", "multipart/form-data", ""] {
        let mut ask = Ask::rest(GENERATE, &json!({"model_id": "m", "inputs": "a"}));
        ask.headers = vec![("content-type", media_type.to_owned())];
        let failed = ask.told(Vec::new()).refused.unwrap();
        assert_eq!(failed.kind, FailureKind::UnsupportedMediaType);
        assert_eq!(
            failed.message,
            format!("Unsupported media type: {media_type}.")
        );
    }
}

fn refused(outcome: &ClientOutcome) -> (&FailureKind, &str) {
    let failed = outcome.refused.as_ref().expect("refused");
    (&failed.kind, &failed.message)
}

#[test]
fn classification_has_bounds() {
    const PATHS: [&str; 2] = [
        "/api/v1/task/text-classification",
        "/api/v1/task/token-classification",
    ];
    let asked = |path, len: usize| {
        let inputs = "\u{1}".repeat(len);
        Ask::rest(path, &json!({"model_id": "m", "inputs": inputs}))
    };
    let entity = json!({"start": 0, "end": 1, "word": null, "entity": "x", "score": 0.5});
    for (path, one) in PATHS
        .into_iter()
        .zip([json!({"label": "a", "score": 0.5}), entity])
    {
        let long = asked(path, (1 << 18) + 1);
        assert_eq!(*refused(&long.told(vec![])).0, FailureKind::PayloadTooLarge);
        let ask = asked(path, 1);
        let asked = ask.told(vec![]);
        let said = |count: usize| {
            let results = vec![one.clone(); count];
            let worker = Worker {
                answer: rest_answer(&json!({ "results": results })),
                sources: asked.sources.0.clone(),
            };
            let members = vec![asked.calls[0].1.clone()];
            let attempt =
                plugin("")
                    .0
                    .attempt(context(), support::worker("caikit-rest", ""), members);
            worker
                .play(attempt, Pace::Whole)
                .told
                .0
                .swap_remove(0)
                .event
        };
        assert!(matches!(said(1 << 12), Event::Other(_)));
        // The model has them: its worker did nothing wrong.
        let failed = said((1 << 12) + 1);
        assert!(
            matches!(&failed, Event::Failed(it) if it.kind == FailureKind::Unprocessable),
            "{path}"
        );
    }
}

#[test]
fn a_required_argument_must_say_something() {
    for (path, body, name) in [
        (GENERATE, r#"{"model_id":"m"}"#, "text"),
        (GENERATE, r#"{"inputs":""}"#, "text"),
        (GENERATE, r#"{"inputs":null,"parameters":null}"#, "text"),
        ("/api/v1/task/embedding-tasks", r#"{"inputs":[]}"#, "texts"),
        (
            "/api/v1/task/sentence-similarity",
            r#"{"inputs":{"source_sentence":"a"}}"#,
            "sentences",
        ),
        ("/api/v1/task/sentence-similarity", "{}", "source_sentence"),
        (
            "/api/v1/task/rerank",
            r#"{"inputs":{"documents":[{}]}}"#,
            "query",
        ),
        (
            "/api/v1/task/rerank-tasks",
            r#"{"inputs":{"queries":["a"]}}"#,
            "documents",
        ),
    ] {
        let outcome = Ask::rest(path, &Value::from(body)).told(Vec::new());
        let message = format!("missing 1 required positional argument: '{name}'");
        assert_eq!(
            refused(&outcome),
            (&FailureKind::InvalidArgument, message.as_str()),
            "{body}"
        );
    }
    // Over gRPC an empty text is a text.
    let ask = Ask::grpc("TextGenerationTaskPredict", &json!({}));
    assert_eq!(ask.told(vec![]).calls.len(), 1);
    for name in ["EmbeddingTasksPredict", "SentenceSimilarityTasksPredict"] {
        assert_eq!(code(&Ask::grpc(name, &json!({})).told(vec![])), 3);
    }
    let ask = Ask::grpc("RerankTaskPredict", &json!({"query": "q"}));
    let message = "missing 1 required positional argument: 'documents'";
    assert_eq!(refused(&ask.told(vec![])).1, message);
    let message = "value check failed: Cannot rerank without a query and at least one document";
    let inputs = json!({"query": "q", "documents": []});
    for ask in [
        Ask::grpc("RerankTaskPredict", &json!({"documents": [{"text": "x"}]})),
        Ask::rest(
            "/api/v1/task/rerank",
            &json!({"model_id": "m", "inputs": inputs}),
        ),
    ] {
        assert_eq!(refused(&ask.told(vec![])).1, message);
    }
}

#[test]
fn the_modules_own_rules_hold_for_what_is_translated() {
    let sampling = "sampling parameters (temperature/top_k/top_p/typical_p/seed) aren't applicable \
                    in greedy decoding mode";
    for (parameters, message) in [
        (json!({"temperature": 0.5}), sampling),
        (json!({"temperature": 0}), sampling),
        (json!({"decoding_method": "GREEDY", "seed": 3}), sampling),
        (json!({"top_k": 3}), sampling),
        (
            json!({"decoding_method": "BEAM"}),
            "Decoding method [BEAM] not in valid decoding methods: [['GREEDY', 'SAMPLING']]",
        ),
        (
            json!({"decoding_method": "SAMPLING", "temperature": 0.01}),
            "temperature must be >= 0.05",
        ),
        (
            json!({"decoding_method": "SAMPLING", "top_p": 1.5}),
            "top_p must be > 0.0 and <= 1.0",
        ),
        (
            json!({"decoding_method": "SAMPLING", "top_k": -1}),
            "top_k must be strictly positive",
        ),
        (
            json!({"decoding_method": "SAMPLING", "typical_p": 2}),
            "typical_p must be <= 1.0",
        ),
        (
            json!({"repetition_penalty": -1}),
            "repetition_penalty must be > 0.0",
        ),
        (
            json!({"max_new_tokens": 5, "min_new_tokens": 6}),
            "Maximum new tokens [5] has to be greater than minimum new tokens [6]",
        ),
        (
            json!({"min_new_tokens": 21}),
            "Maximum new tokens [20] has to be greater than minimum new tokens [21]",
        ),
        (json!({"max_new_tokens": -1}), "max_new_tokens must be >= 0"),
        (
            json!({"max_new_tokens": 1_i64 << 40}),
            "max_new_tokens is out of range",
        ),
        (
            json!({"exponential_decay_length_penalty": {"start_index": 1, "decay_factor": 0.5}}),
            "decay_factor in exponential_decay_length_penalty must be >= 1.0 and <= 10.0",
        ),
    ] {
        let body = json!({"model_id": "m", "inputs": "a", "parameters": parameters});
        let ask = Ask::rest(GENERATE, &body);
        let refused = ask.told(vec![]).refused.unwrap().message;
        let refused = refused
            .strip_prefix("value check failed: ")
            .unwrap_or(&refused);
        assert_eq!(refused, message, "{parameters}");
        assert_eq!(ask.told(vec![]).cancelled, [0]);
        // A passed one is judged by its worker.
        let passed = ask.passed(Upstream::rest(400, "", "{}"));
        assert_eq!(passed.passed.len(), 1);
    }
    // Neutral values of sampling do no harm.
    for neutral in [
        json!({"temperature": 1, "top_k": 0, "top_p": 1.0, "seed": 0}),
        json!({"decoding_method": "SAMPLING", "temperature": 0, "top_p": 0, "repetition_penalty": 0}),
    ] {
        let body = json!({"model_id": "m", "inputs": "a", "parameters": neutral});
        let outcome = Ask::rest(GENERATE, &body).told(vec![]);
        let Task::Generate(generate) = &outcome.calls[0].1.task else {
            panic!("{:?}", outcome.calls)
        };
        // Zero is how these modules write that nothing is set: it must not become greedy.
        let sampling = &generate.settings.sampling;
        assert_eq!((sampling.temperature, sampling.top_p), (None, None));
        assert_eq!(sampling.greedy, neutral["decoding_method"].is_null());
    }
}

#[test]
fn two_names_are_refused_whichever_a_worker_would_read() {
    let body = r#"{"model_id":"mine","inputs":"a","model_id":"yours"}"#;
    let outcome = Ask::rest(GENERATE, &Value::from(body)).told(vec![]);
    assert_eq!(refused(&outcome).1, "model_id is given more than once");
    assert!(outcome.intents.is_empty());
}

#[test]
fn a_model_must_be_named_where_the_route_has_none() {
    let (plugin, claims) = plugin("");
    let nameless = || Context {
        default_model: None,
        ..context()
    };
    for (ask, message) in [
        (
            Ask::rest(GENERATE, &json!({"inputs": "a"})),
            "Please provide model_id in payload",
        ),
        (
            Ask::rest(GENERATE, &json!({"model_id": ""})),
            "Missing required model ID",
        ),
        (
            Ask {
                headers: Vec::new(),
                ..Ask::grpc("TextGenerationTaskPredict", &json!({"text": "a"}))
            },
            "Missing required model ID",
        ),
    ] {
        let headers: Vec<_> = ask.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let exchange = plugin.exchange(nameless(), head(&claims, ask.door, "", &headers));
        let way = tollgate_sdk_protocol::frontend::Way::Translate(
            tollgate_sdk_protocol::frontend::TranslateTo {
                model: SERVED.to_owned(),
            },
        );
        let outcome = ask.client(way).play(exchange, ONCE);
        assert_eq!(refused(&outcome), (&FailureKind::InvalidArgument, message));
    }
}

#[test]
fn a_stream_tells_its_failure_as_an_event() {
    let ask = Ask::rest(STREAM, &json!({"model_id": "m", "inputs": "a"}));
    let failed = failure::of(FailureKind::NotFound, "Model \"m\" is ü");
    let outcome = ask.told(vec![Event::Failed(failed.clone())]);
    let head = outcome.head.as_ref().unwrap();
    assert_eq!(head.status, 200);
    let event = json!({"details": "Model \"m\" is ü", "code": 404, "id": "0123456789abcdef"});
    assert_eq!(events(&outcome), [("error".to_owned(), event)]);
    assert!(outcome.text().contains("\\u00fc"));
    // The unary form leaves the wording to the host.
    let ask = Ask::rest(GENERATE, &json!({"model_id": "m", "inputs": "a"}));
    assert_eq!(
        refused(&ask.told(vec![Event::Failed(failed)])).0,
        &FailureKind::NotFound
    );
}

#[test]
fn a_workers_stream_that_breaks_or_fails_ends_as_a_failure() {
    let piece = json!({"generated_text": "ab", "details": {"finish_reason": "NOT_FINISHED",
                       "generated_tokens": 1, "input_token_count": 3}});
    let error = json!({"details": "it broke", "code": 500, "id": "x"});
    let rest = |events: &[(&str, Value)]| sse_answer(events);
    let ask = Ask::rest(STREAM, &json!({"model_id": "m", "inputs": "a"}));
    for (answer, details, status) in [
        (
            rest(&[("message", piece.clone()), ("error", error)]),
            "it broke",
            500,
        ),
        (
            rest(&[("message", piece.clone())]),
            "the worker's stream ended without a reason to stop",
            502,
        ),
        (
            rest(&[("message", piece.clone())]).cut(Cut::Closed),
            "the worker broke off its answer",
            502,
        ),
        (
            rest(&[("message", piece.clone())]).cut(Cut::Deadline),
            "the worker did not answer in time",
            504,
        ),
    ] {
        let (_, outcome) = ask.through("caikit-rest", answer);
        let told = events(&outcome);
        assert_eq!(told[0].0, "message");
        let (name, last) = told.last().unwrap();
        assert_eq!(
            (name.as_str(), &last["details"], &last["code"]),
            ("error", &json!(details), &json!(status))
        );
    }
    let ask = Ask::grpc(
        "ServerStreamingTextGenerationTaskPredict",
        &json!({"text": "a"}),
    );
    let (_, outcome) = ask.through("caikit-rest", rest(&[("message", piece)]));
    assert_eq!(outcome.messages.len(), 2);
    assert_eq!(code(&outcome), 14);
}

#[test]
fn a_workers_refusal_keeps_its_meaning() {
    let ask = Ask::rest(GENERATE, &json!({"model_id": "m", "inputs": "a"}));
    let details = |text: &str| json!({"details": text, "code": 1, "id": "x"}).to_string();
    for (dialect, answer, kind) in [
        (
            "caikit-rest",
            Answer::rest(404, "", details("no")),
            FailureKind::NotFound,
        ),
        (
            "caikit-rest",
            Answer::rest(400, "", details("no")),
            FailureKind::InvalidArgument,
        ),
        (
            "caikit-rest",
            Answer::rest(400, "", details("Model is overloaded")),
            FailureKind::Overloaded,
        ),
        (
            "caikit-rest",
            Answer::rest(422, "", details("no")),
            FailureKind::Unprocessable,
        ),
        (
            "caikit-rest",
            Answer::rest(500, "text/html", "<"),
            FailureKind::Internal,
        ),
        (
            "caikit-rest",
            Answer::rest(200, "", "<"),
            FailureKind::UpstreamInvalid,
        ),
        // Another task's result, which some modules give to whatever they are asked.
        (
            "caikit-rest",
            rest_answer(&json!({"result": {"data": {"values": [1.0]}}})),
            FailureKind::UpstreamInvalid,
        ),
        (
            "caikit-rest",
            rest_answer(&json!({"generated_text": "a", "finish_reason": "NOT_FINISHED"})),
            FailureKind::UpstreamInvalid,
        ),
        (
            "caikit-rest",
            rest_answer(&json!({"generated_text": "a", "finish_reason": "ERROR"})),
            FailureKind::Internal,
        ),
        (
            "caikit-rest",
            rest_answer(&json!({"generated_text": "a", "finish_reason": "BORED"})),
            FailureKind::UpstreamInvalid,
        ),
        (
            "caikit",
            Answer::grpc(vec![], 5, Some("no")),
            FailureKind::NotFound,
        ),
        (
            "caikit",
            Answer::grpc(vec![], 14, Some("no")),
            FailureKind::Overloaded,
        ),
        (
            "caikit",
            Answer::grpc(vec![], 3, Some("Server too busy")),
            FailureKind::Overloaded,
        ),
        (
            "caikit",
            Answer::grpc(vec![], 0, None),
            FailureKind::UpstreamInvalid,
        ),
        (
            "caikit",
            Answer::grpc(vec![vec![0xff]], 0, None),
            FailureKind::UpstreamInvalid,
        ),
        (
            "caikit",
            Answer::grpc(vec![vec![]], 0, None),
            FailureKind::UpstreamInvalid,
        ),
        (
            "caikit",
            Answer::grpc(vec![vec![], vec![]], 0, None),
            FailureKind::UpstreamInvalid,
        ),
    ] {
        let (_, outcome) = ask.through(dialect, answer.clone());
        assert_eq!(refused(&outcome).0, &kind, "{dialect} {answer:?}");
    }
}

#[test]
fn an_incomplete_answer_is_none() {
    let similarity = Ask::rest(
        "/api/v1/task/sentence-similarity",
        &json!({"model_id": "m", "inputs": {"source_sentence": "a", "sentences": ["x", "y"]}}),
    );
    let rerank = Ask::rest(
        "/api/v1/task/rerank",
        &json!({"model_id": "m", "inputs": {"query": "a", "documents": [{"text": "x"}, {"text": "y"}]}}),
    );
    let scored = |index: i64| json!({"result": {"scores": [{"index": index, "score": 1.0}]}});
    for (ask, answer) in [
        (&similarity, json!({"result": {"scores": [1.0]}})),
        (&similarity, json!({"result": {"scores": [1.0, 1.0, 1.0]}})),
        (&rerank, scored(0)),
        (&rerank, scored(2)),
        (&rerank, scored(-1)),
    ] {
        let (_, outcome) = ask.through("caikit-rest", rest_answer(&answer));
        let kind = refused(&outcome).0;
        let upstream = [
            FailureKind::UpstreamInvalid,
            FailureKind::UpstreamUnavailable,
        ];
        assert!(upstream.contains(kind), "{answer}: {kind:?}");
    }
}

fn known(name: &str, extensions: Vec<tollgate_sdk_protocol::types::Extension>) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        versions: Vec::new(),
        max_length: Some(64),
        max_new_tokens: None,
        parent: None,
        tasks: Vec::new(),
        ready: true,
        platform: String::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        extensions,
    }
}

/// A model as a probe of a worker told it.
fn probed() -> ModelInfo {
    use tollgate_sdk_protocol::backend::ProbeResponse;
    let answer = |body: Vec<u8>| ProbeResponse {
        status: 200,
        code: None,
        headers: Vec::new(),
        body,
    };
    let list = json!({"models": [model_json("served")]}).to_string();
    let (plugin, _) = plugin("");
    let worker = worker("caikit-rest", "");
    assert_eq!(plugin.probe(&worker).len(), 2);
    let mut health = plugin.judge(
        &worker,
        vec![answer(b"OK".to_vec()), answer(list.into_bytes())],
    );
    health.models.remove(0)
}

fn get(path: &'static str, query: &str, events: Vec<Event>) -> ClientOutcome {
    let ask = Ask {
        query: query.to_owned(),
        ..Ask::rest(path, &Value::Null)
    };
    let (_, claims) = plugin("");
    assert!(claims.len() > 20);
    let client = tollgate_sdk_protocol::testing::Client {
        events,
        request: vec![Vec::new()],
        ..ask.client(tollgate_sdk_protocol::frontend::Way::Translate(
            tollgate_sdk_protocol::frontend::TranslateTo {
                model: String::new(),
            },
        ))
    };
    client.play(ask.exchange(), ONCE)
}

#[test]
fn models_are_told_as_their_worker_told_them_by_the_names_of_here() {
    let alias = ModelInfo {
        name: "asked".to_owned(),
        ..probed()
    };
    let models = || Event::Models(vec![alias.clone(), known("vllm", Vec::new())]);
    let outcome = get("/info/models", "", vec![models(), Event::End]);
    let foreign = json!({"model_path": "", "name": "vllm", "size": 0,
        "metadata": {"max_seq_length": 64}, "loaded": true, "module_id": "", "module_metadata": {}});
    assert_eq!(
        body(&outcome),
        json!({"models": [model_json("asked"), foreign]})
    );
    let outcome = get(
        "/info/models",
        "model_ids=vllm&model_ids=asked",
        vec![models(), Event::End],
    );
    assert_eq!(body(&outcome)["models"][1]["name"], "asked");
    let outcome = get(
        "/info/models",
        "model_ids=n%6Fpe",
        vec![models(), Event::End],
    );
    assert_eq!(
        refused(&outcome),
        (&FailureKind::NotFound, "Model nope is not loaded")
    );

    let ask = Ask::grpc("GetModelsInfo", &json!({"modelIds": ["asked"]}));
    let outcome = ask.told(vec![models(), Event::End]);
    let message = message(&outcome, ask.door);
    assert_eq!(message["models"][0]["size"], "3");
    assert_eq!(message["models"][0]["metadata"]["max_seq_length"], 64.0);
    assert_eq!(message["models"].as_array().unwrap().len(), 1);
    let ask = Ask::grpc("GetModelsInfo", &json!({"modelIds": ["nope"]}));
    assert_eq!(code(&ask.told(vec![models(), Event::End])), 5);
}

#[test]
fn version_and_health_are_the_proxys() {
    let server = || {
        Event::Metadata(ServerInfo {
            name: "tollgate".to_owned(),
            version: "1.2.3".to_owned(),
            features: Vec::new(),
            facts: Vec::new(),
        })
    };
    for path in ["/info/version", "/info/runtime"] {
        let outcome = get(path, "", vec![server(), Event::End]);
        assert_eq!(
            outcome.text(),
            r#"{"runtime_version":"1.2.3","python_packages":{}}"#
        );
    }
    let ask = Ask {
        options: r#"{"runtime-version": "0.27"}"#.to_owned(),
        ..Ask::grpc("GetRuntimeInfo", &json!({}))
    };
    let outcome = ask.told(vec![server(), Event::End]);
    assert_eq!(
        message(&outcome, ask.door),
        json!({"runtimeVersion": "0.27"})
    );

    let outcome = get("/health", "", vec![Event::Ready(true), Event::End]);
    assert_eq!(outcome.text(), "OK");
    assert_eq!(
        outcome.head.unwrap().headers[0].value,
        "text/plain; charset=utf-8"
    );
    let outcome = get("/health", "", vec![Event::Ready(false), Event::End]);
    assert_eq!(refused(&outcome).0, &FailureKind::Overloaded);
}
