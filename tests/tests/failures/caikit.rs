//! caikit: `{"details", "code", "id"}` without a media type from the runtime, the same with
//! `additional_info` from its check of the body, `{"detail"}` from its framework; a status over gRPC.

use prost::Message;
use serde_json::{Value, json};
use tollgate_tests::fake::{
    grpc::{self as fake_grpc, Act as GrpcAct},
    http1::{self as fake_http1, Act},
};

use super::*;

const NLP: &str = "caikit.runtime.Nlp.NlpService";
/// The runtime's: no media type at all.
const DETAILS: [&str; 3] = ["code", "details", "id"];
/// Its check of the body.
const CHECKED: [&str; 4] = ["additional_info", "code", "details", "id"];
const DETAIL: [&str; 1] = ["detail"];
const JSON: &str = "application/json";

/// `EmbeddingTaskRequest`, and what of the other requests is asked here: they begin with a text.
#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

/// What a runtime says of a model: its HTTP status, its gRPC code, its words.
fn said(model: &str) -> (u16, u32, &'static str) {
    match model {
        "broken" => (500, 13, "Unhandled exception: it broke"),
        "long" => (400, 3, "Token sequence length 70 exceeds the limit of 64"),
        // A runtime whose own worker is full says so in these words, and with this status.
        "busy" => (400, 3, "TGIS error: Model is overloaded"),
        _ => (404, 5, "Model 'ghost' not found"),
    }
}

async fn over_rest() -> fake_http1::Worker {
    fake_http1::Worker::start(|received| {
        let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        let (status, _, words) = said(asked["model_id"].as_str().unwrap_or_default());
        let id = "0".repeat(32);
        let body = json!({"details": words, "code": status, "id": id}).to_string();
        let head = format!(
            "HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        vec![Act::Write(head.into())]
    })
    .await
}

async fn over_grpc() -> fake_grpc::Worker {
    fake_grpc::Worker::start(|received| {
        let (_, code, words) = said(received.head.get("mm-model-id").unwrap_or_default());
        vec![GrpcAct::Status(code, words)]
    })
    .await
}

const MODELS: &str = "{ name: broken }, { name: long }, { name: busy }, { name: ghost }";

async fn before(scheme: &str, address: std::net::SocketAddr) -> Proxy {
    let dialect = if scheme == "grpc" {
        "caikit"
    } else {
        "caikit-rest"
    };
    let yaml = format!(
        "
plugins: {{ caikit: {{ source: \"bundled:caikit\" }} }}
workers:
  - {{ name: w0, address: \"{scheme}://{address}\", protocol: caikit, probe: off,
      options: {{ dialect: {dialect} }}, models: [{MODELS}] }}
routes:
  - {{ name: all, frontends: [caikit], workers: [w0], auth: open, default-model: broken,
      limits: {{ body: 64KiB, message: 64KiB, timeout: 5s }} }}
"
    );
    Proxy::start(&yaml).await
}

fn embedding(model: &str) -> Request {
    task(
        "embedding",
        &json!({"model_id": model, "inputs": "A ferry."}),
    )
}

fn task(name: &str, body: &Value) -> Request {
    Request::post(&format!("/api/v1/task/{name}"), body)
}

fn call(method: &str, model: &str) -> Request {
    grpc::request(&format!("{NLP}/{method}")).header("mm-model-id", model)
}

fn text() -> Text {
    Text {
        text: "A ferry.".to_owned(),
    }
}

fn told<'a>(what: &'a str, status: u16, words: &'a str) -> Told<'a> {
    Told {
        what,
        status,
        kind: "",
        members: &DETAILS,
        message: ("details", words),
    }
}

#[tokio::test]
async fn what_a_runtime_refuses_keeps_its_words_from_either_surface() {
    let (rest, grpc) = (over_rest().await, over_grpc().await);
    for (scheme, address) in [("http", rest.address), ("grpc", grpc.address)] {
        let proxy = before(scheme, address).await;
        for (model, status, code, words) in [
            ("broken", 500, 13, "it broke"),
            ("long", 400, 3, "exceeds the limit"),
            ("ghost", 404, 5, "ghost"),
            ("nobody", 404, 5, "nobody"),
        ] {
            let what = format!("{model}, {scheme}");
            told(&what, status, words).check(&ask(&proxy, &embedding(model)).await);
            let request = call("EmbeddingTaskPredict", model);
            fails(&proxy, &what, &request, &text(), (code, words)).await;
        }
        // Passed on it is the runtime's own word; translated it is what it means.
        let response = ask(&proxy, &embedding("busy")).await;
        assert!([400, 503].contains(&response.status), "{response:?}");
        assert!(
            response.json()["details"]
                .as_str()
                .unwrap()
                .contains("overloaded")
        );
    }
}

#[tokio::test]
async fn a_stream_tells_what_went_wrong_as_an_event() {
    let (rest, grpc) = (over_rest().await, over_grpc().await);
    for (scheme, address) in [("http", rest.address), ("grpc", grpc.address)] {
        let proxy = before(scheme, address).await;
        let body = json!({"model_id": "nobody", "inputs": "A ferry."});
        let response = ask(&proxy, &task("server-streaming-text-generation", &body)).await;
        let text = response.with_status(200).text();
        let data = text.lines().find_map(|line| line.strip_prefix("data: "));
        let event: Value = serde_json::from_str(data.expect("data")).expect("JSON");
        assert!(text.starts_with("event: error\r\n"), "{text}");
        assert_eq!(event["code"], 404, "{event}");
        assert_eq!(event["id"].as_str().map(str::len), Some(32), "{event}");
        let request = call("ServerStreamingTextGenerationTaskPredict", "nobody");
        fails(&proxy, "a stream", &request, &self::text(), (5, "nobody")).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_by_whoever_finds_it() {
    let grpc = over_grpc().await;
    let proxy = before("grpc", grpc.address).await;
    let good = json!({"model_id": "broken", "inputs": "A ferry."});
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let checked = |what: &'static str, words: &'static str| Told {
        what,
        status: 422,
        kind: JSON,
        members: &CHECKED,
        message: ("details", words),
    };
    let framework = |what: &'static str, status: u16, words: &'static str| Told {
        what,
        status,
        kind: JSON,
        members: &DETAIL,
        message: ("detail", words),
    };
    let generation = |body: &Value| task("text-generation", body);
    let long = with("inputs", json!("x".repeat(80 << 10)));
    for (told, request) in [
        (
            checked("an unknown member", "Extra"),
            generation(&with("x", json!(1))),
        ),
        (
            checked("another type", "string"),
            generation(&with("inputs", json!(5))),
        ),
        (
            checked("a bad parameter", "integer"),
            generation(&with("parameters", json!({"max_new_tokens": 1.5}))),
        ),
        (
            checked("an unknown parameter", "Extra"),
            generation(&with("parameters", json!({"foo": 1}))),
        ),
        (
            checked("no JSON", "JSON"),
            Request::post_bytes("/api/v1/task/text-generation", "{"),
        ),
        (
            framework("another media type", 415, "Unsupported media type"),
            Request::post("/api/v1/task/embedding", &good).header("content-type", "text/plain"),
        ),
        (
            framework("an unknown path", 404, "Not Found"),
            task("nothing", &good),
        ),
        (
            framework("a wrong method", 405, "Method Not Allowed"),
            Request::get("/api/v1/task/embedding"),
        ),
        (
            told("a text of nothing", 400, "text"),
            generation(&with("inputs", json!(""))),
        ),
        (told("a body that is too large", 413, ""), generation(&long)),
    ] {
        let mut request = request;
        // The second of two media types would be another mistake.
        if request.headers.len() > 1 {
            request.headers.remove(0);
        }
        told.check(&ask(&proxy, &request).await);
    }
    let large = Text {
        text: "x".repeat(80 << 10),
    };
    let request = call("EmbeddingTaskPredict", "broken");
    fails(&proxy, "too large", &request, &large, (8, "")).await;
    let unknown = call("GuessTaskPredict", "broken");
    fails(&proxy, "an unknown method", &unknown, &text(), (12, "")).await;
}

#[tokio::test]
async fn a_runtime_that_is_gone_is_told_from_its_errors() {
    for scheme in ["http", "grpc"] {
        let proxy = before(scheme, nobody()).await;
        let what = format!("nobody listens, {scheme}");
        told(&what, 502, "").check(&ask(&proxy, &embedding("broken")).await);
        let request = call("EmbeddingTaskPredict", "broken");
        fails(&proxy, &what, &request, &text(), (14, "")).await;
    }
}
