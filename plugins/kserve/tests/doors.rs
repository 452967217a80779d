//! What a path or a message may name, and what is only for servers that know it.

mod support;

use serde_json::{Value, json};
use support::{head, pass, plugin, translate};
use tollgate_sdk_protocol::{
    Protocol,
    frontend::Way,
    inference::Event,
    testing::{Client, ClientOutcome, Pace, Upstream, context},
    types::FailureKind,
};

const PATHS: [&str; 4] = [
    "POST /v2/models/{model}/versions/{version}/infer",
    "GET /v2/models/{model}/versions/{version}",
    "GET /v2/models/{model}/versions/{version}/ready",
    "POST /v2/models/{model}/versions/{version}/generate",
];

fn rest(
    options: &str,
    door: &str,
    names: &[(&str, &str)],
    body: &Value,
    way: Way,
) -> ClientOutcome {
    told(options, door, names, body, way, Vec::new())
}

fn told(
    options: &str,
    door: &str,
    names: &[(&str, &str)],
    body: &Value,
    way: Way,
    events: Vec<Event>,
) -> ClientOutcome {
    let (plugin, claims) = plugin(options);
    let head = head(&claims, door, names, Vec::new());
    let client = Client {
        events,
        upstream: Some(Upstream::rest(200, "application/json", b"{}".to_vec())),
        ..Client::rest(body.to_string().into_bytes(), way)
    };
    client.play(plugin.exchange(context(), head), Pace::Whole)
}

fn grpc(options: &str, method: &str, message: &[u8], way: Way) -> ClientOutcome {
    let (plugin, claims) = plugin(options);
    let head = head(&claims, method, &[], Vec::new());
    let mut upstream = Upstream::rest(200, "application/grpc", Vec::new());
    upstream.grpc = true;
    upstream.content = vec![Vec::new()];
    if let Ok(end) = &mut upstream.end {
        end.code = Some(0);
    }
    let client = Client {
        upstream: Some(upstream),
        ..Client::grpc(vec![message.to_vec()], way)
    };
    client.play(plugin.exchange(context(), head), Pace::Whole)
}

#[test]
fn a_version_is_a_number_or_nothing() {
    for door in PATHS {
        for version in ["../../other", "1/../2", "..", "1%2f2", "a", "1?x", "-1"] {
            let names = [("model", "m"), ("version", version)];
            let outcome = rest("", door, &names, &json!({}), pass("m", "kserve-rest", ""));
            assert_eq!(
                outcome.head.map(|it| it.status),
                Some(404),
                "{door} {version}"
            );
            assert!(outcome.intents.is_empty() && outcome.passed.is_empty());
        }
    }
    // Name 1, version 2 of metadata and readiness; name 1, version 2 of an inference.
    for method in [
        "ModelMetadata",
        "ModelReady",
        "ModelInfer",
        "ModelStatistics",
    ] {
        let outcome = grpc(
            "",
            method,
            b"\x0a\x01m\x12\x04../x",
            pass("m", "kserve-grpc", ""),
        );
        let failed = outcome.refused.expect(method);
        assert_eq!(failed.kind, FailureKind::NotFound, "{method}");
        assert!(outcome.intents.is_empty());
    }
}

#[test]
fn a_models_name_says_no_more_than_a_name() {
    for model in ["..", ".", "a/../b", "a?b", "a#b", "a%2fb", "a\\b", "a\nb"] {
        let door = "GET /v2/models/{model}";
        let outcome = rest("", door, &[("model", model)], &json!({}), translate("m"));
        let failed = outcome.refused.expect(model);
        assert_eq!(failed.kind, FailureKind::NotFound, "{model}");
        assert!(outcome.intents.is_empty());
    }
}

#[test]
fn no_form_of_a_limit_of_tokens_makes_less_of_a_generation_s_cost() {
    let most = u32::MAX;
    for (body, counted) in [
        (json!({"text_input": "a", "max_tokens": 7}), 7),
        (
            json!({"text_input": "a", "parameters": {"max_tokens": 7, "n": 3}}),
            21,
        ),
        (json!({"text_input": "a", "max_tokens": "5000"}), 5000),
        (
            json!({"prompt": "a", "parameters": {"max_tokens": "50", "n": 2}}),
            100,
        ),
        (json!({"text_input": "a", "max_tokens": u64::MAX}), most),
        (json!({"text_input": "a", "max_tokens": 1e30}), most),
        (json!({"text_input": "a", "max_tokens": []}), most),
        (json!({"prompt": "a"}), 0),
    ] {
        let door = "POST /v2/models/{model}/generate";
        let outcome = rest("", door, &[("model", "m")], &body, translate("m"));
        assert_eq!(outcome.intents[0].cost.output, counted, "{body}");
    }
}

#[test]
fn a_version_that_is_not_there_is_404_whatever_a_server_says_to_models() {
    let failed = |kind| vec![Event::Failed(tollgate_sdk_protocol::failure::of(kind, "x"))];
    let generate = json!({"text_input": "a"});
    let names = [("model", "m"), ("version", "7")];
    let outcome = told(
        "",
        PATHS[3],
        &names,
        &generate,
        translate("m"),
        failed(FailureKind::NotFound),
    );
    assert_eq!(outcome.head.map(|it| it.status), Some(404));
    // Of no version it is the host that words it, with the server's own status.
    let door = "POST /v2/models/{model}/generate";
    let names = [("model", "m")];
    let outcome = told(
        "",
        door,
        &names,
        &generate,
        translate("m"),
        failed(FailureKind::NotFound),
    );
    assert_eq!(
        outcome.refused.map(|it| it.kind),
        Some(FailureKind::NotFound)
    );
}

#[test]
fn settings_that_are_no_object_are_refused() {
    let door = "POST /v2/models/{model}/generate";
    let names = [("model", "m")];
    for (parameters, good) in [(json!(5), false), (json!("a"), false), (json!({}), true)] {
        let body = json!({"text_input": "a", "parameters": parameters});
        let outcome = rest("", door, &names, &body, translate("m"));
        assert_eq!(outcome.refused.is_none(), good, "{body}");
        let param = outcome.refused.and_then(|failed| failed.param);
        assert_eq!(param.as_deref(), (!good).then_some("parameters"));
    }
}

#[test]
fn a_repositorys_message_is_read_as_its_server_writes_it() {
    let triton = r#"{"admin":true}"#;
    let kserve = r#"{"admin":true,"server":"kserve-python"}"#;
    let first: &[u8] = b"\x0a\x01m";
    let second: &[u8] = b"\x12\x01m";
    let both: &[u8] = b"\x0a\x01r\x12\x01m";
    for method in ["RepositoryModelLoad", "RepositoryModelUnload"] {
        for (options, message, worker, sent) in [
            (triton, second, "", Some(&b"\x12\x06served"[..])),
            (triton, both, "", Some(b"\x0a\x01r\x12\x06served")),
            (kserve, first, "", Some(b"\x0a\x06served")),
            (
                triton,
                second,
                r#"{"server":"kserve-python"}"#,
                Some(b"\x0a\x06served"),
            ),
            (
                kserve,
                first,
                r#"{"server":"triton"}"#,
                Some(b"\x12\x06served"),
            ),
            (triton, first, "", None),
            (kserve, second, "", None),
            (kserve, both, "", None),
            (triton, both, r#"{"server":"kserve-python"}"#, None),
        ] {
            let outcome = grpc(
                options,
                method,
                message,
                pass("served", "kserve-grpc", worker),
            );
            let passed = outcome.passed.first();
            let told = passed.map(|passed| passed.body.as_slice());
            assert_eq!(told, sent, "{method} {options} {message:?} {worker}");
            assert_eq!(outcome.refused.is_none(), sent.is_some());
        }
    }
}

#[test]
fn a_stream_over_http_names_no_shared_memory() {
    let door = "POST /v2/models/{model}/infer_stream";
    let names = [("model", "m")];
    let shared = json!({"shared_memory_region": "r", "shared_memory_byte_size": 4});
    for (body, good) in [
        (
            json!({"inputs": [{"name": "a", "parameters": {"x": {"y": 1}}}]}),
            true,
        ),
        (
            json!({"inputs": [{"name": "a"}, {"name": "b", "parameters": shared}]}),
            false,
        ),
        (
            json!({"inputs": [], "outputs": [{"name": "b", "parameters": shared}]}),
            false,
        ),
    ] {
        let outcome = rest("", door, &names, &body, pass("m", "kserve-rest", ""));
        assert_eq!(outcome.refused.is_none(), good, "{body}");
        assert_eq!(outcome.passed.len(), usize::from(good));
        let allowed = r#"{"shared-memory":"pass"}"#;
        let outcome = rest(allowed, door, &names, &body, pass("m", "kserve-rest", ""));
        assert_eq!(outcome.passed.len(), 1, "{body}");
    }
}

#[test]
fn a_body_that_names_no_model_goes_on_with_the_authorized_one() {
    let door = "POST /v3/embeddings";
    for (body, passed) in [
        (json!({}), json!({"model": "served"})),
        (
            json!({"input": "a"}),
            json!({"model": "served", "input": "a"}),
        ),
        (
            json!({"input": "a", "model": "m"}),
            json!({"model": "served", "input": "a"}),
        ),
    ] {
        let way = pass("served", "kserve-rest", "");
        let outcome = rest(r#"{"server":"ovms"}"#, door, &[], &body, way);
        let [sent] = &outcome.passed[..] else {
            panic!("{body}: {:?}", outcome.refused);
        };
        let sent: Value = serde_json::from_slice(&sent.body).expect("an object");
        assert_eq!(sent, passed);
    }
}
