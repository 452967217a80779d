//! What the proxy answers by itself, of all models that a token may see, and which worker is asked
//! what.

use prost::Message;
use serde_json::{Value, json};
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, Response, grpc, http1},
    fake::http1::{Act, Received, Worker, json as answer},
    tokens,
};

const PLUGINS: &str = r#"
plugins:
  openai: { source: "bundled:openai" }
  caikit: { source: "bundled:caikit" }
  kserve: { source: "bundled:kserve" }
"#;

const ALL: &str = "a-long-and-random-token-of-all";
const ONE: &str = "a-long-and-random-token-of-one";

async fn ask(proxy: &Proxy, request: Request) -> Response {
    http1::ask(proxy.http(), &request).await
}

/// Names in a list, in order.
fn names(list: &Value, member: &str) -> Vec<String> {
    let all = list.as_array().expect("a list").iter();
    all.map(|one| one[member].as_str().expect("a name").to_owned())
        .collect()
}

/// A wrong method is told by whose path it is, also where another frontend is listed first.
#[tokio::test]
async fn a_wrong_method_is_told_in_the_words_of_whose_path_it_is() {
    let yaml = format!(
        "{PLUGINS}
workers:
  - {{ name: w0, address: \"http://127.0.0.1:1\", protocol: openai, probe: off, models: [{{ name: a }}] }}
routes:
  - {{ name: all, frontends: [openai, caikit, kserve], workers: [w0], auth: open }}
"
    );
    let proxy = Setup::new(&yaml).start().await;
    let get = async |path: &str| {
        ask(&proxy, Request::get(path))
            .await
            .with_status(405)
            .json()
    };

    let openai = get("/v1/completions").await;
    assert_eq!(openai["error"]["type"], "Method Not Allowed", "{openai}");
    let caikit = get("/api/v1/task/text-generation").await;
    assert!(caikit["detail"].is_string(), "{caikit}");
    let tensors = get("/v2/models/a/infer").await;
    assert!(tensors["error"].is_string(), "{tensors}");
}

#[tokio::test]
async fn lists_and_readiness_are_of_the_models_that_a_token_may_see() {
    let worker = Worker::start(|_| vec![answer(404, &json!({}))]).await;
    let at = worker.address;
    let yaml = format!(
        "{PLUGINS}
tokens: {{ file: tokens.yaml }}
workers:
  - {{ name: w0, address: \"http://{at}\", protocol: openai, probe: off, models: [{{ name: a }}] }}
  - {{ name: w1, address: \"http://{at}\", protocol: kserve, probe: off, models: [{{ name: b }}] }}
  - {{ name: w2, address: \"http://127.0.0.1:1\", protocol: caikit, probe: {{ interval: 1h }}, models: [{{ name: c }}] }}
routes:
  - {{ name: all, frontends: [openai, caikit, kserve], workers: [w0, w1, w2] }}
"
    );
    let file = tokens::file(&[
        tokens::entry("all", ALL, "models: [\"*\"]"),
        tokens::entry("one", ONE, "models: [c]"),
    ]);
    let proxy = Setup::new(&yaml).file("tokens.yaml", file).start().await;
    let get = async |path: &str, token: &str| ask(&proxy, Request::get(path).token(token)).await;

    for (token, seen) in [(ALL, ["a", "b", "c"].as_slice()), (ONE, &["c"])] {
        let list = get("/v1/models", token).await.with_status(200).json();
        assert_eq!(names(&list["data"], "id"), seen);
        let list = get("/info/models", token).await.with_status(200).json();
        assert_eq!(names(&list["models"], "name"), seen);
        let list = get("/v2/models", token).await.with_status(200).json();
        assert_eq!(list["models"], json!(seen));
        let index = Request::post_bytes("/v2/repository/index", "").token(token);
        let list = ask(&proxy, index).await.with_status(200).json();
        assert_eq!(names(&list, "name"), seen);
    }
    let one = get("/v1/models/a", ALL).await.with_status(200).json();
    assert_eq!(one["id"], "a");
    get("/v1/models/a", ONE).await.with_status(404);
    // Nobody is where the third worker should be, and so its model is not ready.
    get("/health", ALL).await.with_status(200);
    get("/health", ONE).await.with_status(503);
    get("/v2/health/live", ONE).await.with_status(200);
    get("/v2/models/a/ready", ALL).await.with_status(200);
    assert_ne!(get("/v2/models/c/ready", ONE).await.status, 200);
    let path = "/info/models?model_ids=c";
    let told = get(path, ONE).await.with_status(200).json();
    assert_eq!(told["models"][0]["loaded"], false);
}

fn reranker(received: &Received) -> Vec<Act> {
    if received.head.line.starts_with("POST /v1/rerank ") {
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        assert_eq!(asked["documents"], json!(["x", "y"]));
        let results = json!([{"index": 1, "relevance_score": 0.75},
            {"index": 0, "relevance_score": 0.25}]);
        let usage = json!({"prompt_tokens": 6, "total_tokens": 6});
        return vec![answer(
            200,
            &json!({"id": "r", "model": "served", "results": results, "usage": usage}),
        )];
    }
    if received.head.line.starts_with("POST /api/v1/task/rerank ") {
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        assert_eq!(
            asked["inputs"]["documents"],
            json!([{"text": "x"}, {"text": "y"}])
        );
        let scores = json!([{"index": 1, "score": 0.75, "document": null, "text": null},
            {"index": 0, "score": 0.25, "document": null, "text": null}]);
        return vec![answer(
            200,
            &json!({"result": {"query": null, "scores": scores}, "producer_id": null,
                "input_token_count": 6}),
        )];
    }
    vec![answer(
        404,
        &json!({"error": {"message": "Not Found", "code": 404}}),
    )]
}

#[tokio::test]
async fn a_model_is_asked_what_its_configuration_says_and_reranks_cross_protocols() {
    let worker = Worker::start(reranker).await;
    let at = worker.address;
    let yaml = format!(
        "{PLUGINS}
workers:
  - {{ name: w0, address: \"http://{at}\", protocol: openai, probe: off, models: [{{ name: r, served-as: served, tasks: [rerank] }}] }}
  - {{ name: w1, address: \"http://{at}\", protocol: caikit, options: {{ dialect: caikit-rest }}, probe: off, models: [{{ name: c, served-as: served }}] }}
routes:
  - {{ name: all, frontends: [openai, caikit], workers: [w0, w1], auth: open }}
"
    );
    let proxy = Proxy::start(&yaml).await;
    let caikit = json!({"model_id": "r", "inputs": {"query": "q",
        "documents": [{"text": "x"}, {"text": "y", "id": 7}]}});
    let got = ask(&proxy, Request::post("/api/v1/task/rerank", &caikit)).await;
    let got = got.with_status(200).json();
    let scores = &got["result"]["scores"];
    assert_eq!(
        (&scores[0]["score"], &scores[0]["index"]),
        (&json!(0.75), &json!(1))
    );
    assert_eq!(scores[0]["document"]["id"], 7, "the client's own document");

    let vllm = json!({"model": "c", "query": "q", "documents": ["x", "y"], "top_n": 1});
    for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
        let got = ask(&proxy, Request::post(path, &vllm)).await;
        let got = got.with_status(200).json();
        let wanted = json!([{"index": 1, "document": {"text": "y"}, "relevance_score": 0.75}]);
        assert_eq!(got["results"], wanted);
        assert_eq!(
            (&got["model"], &got["usage"]["total_tokens"]),
            (&json!("c"), &json!(6))
        );
    }
    let before = worker.journal.requests();
    let chat = json!({"model": "r", "messages": [{"role": "user", "content": "a"}]});
    let got = ask(&proxy, Request::post("/v1/chat/completions", &chat)).await;
    assert_eq!(got.with_status(501).json()["error"]["code"], 501);
    assert_eq!(worker.journal.requests(), before, "nobody was asked");
}

#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    platform: String,
    #[prost(message, repeated, tag = "4")]
    inputs: Vec<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
}

/// How often a worker is asked for a model's tensors when three clients are, whose gRPC it does
/// not speak.
async fn asked_for_tensors(probe: &str) -> usize {
    let worker = Worker::start(|received| {
        let tensor = |name: &str| json!({"name": name, "datatype": "FP32", "shape": [-1, 2]});
        let body = if received.head.line.contains("/v2/models/served ") {
            json!({"name": "served", "versions": ["1"], "platform": "p",
                "inputs": [tensor("x")], "outputs": [tensor("y")]})
        } else {
            json!([])
        };
        vec![answer(200, &body)]
    })
    .await;
    let at = worker.address;
    let yaml = format!(
        "{PLUGINS}
workers:
  - {{ name: w0, address: \"http://{at}\", protocol: kserve, probe: {probe}, models: [{{ name: m, served-as: served }}] }}
routes:
  - {{ name: all, frontends: [kserve], workers: [w0], auth: open }}
"
    );
    let proxy = Proxy::start(&yaml).await;
    tollgate_tests::eventually("it is ready", async || {
        let request = Request::get("/v2/models/m/ready");
        (ask(&proxy, request).await.status == 200).then_some(())
    })
    .await;
    let before = worker.journal.requests();
    for _ in 0..3 {
        let method = "inference.GRPCInferenceService/ModelMetadata";
        let asked = Asked { name: "m".into() };
        let (told, status) = grpc::ask::<Told>(proxy.http(), &grpc::request(method), &asked).await;
        assert_eq!(status.code, 0, "{status:?}");
        let told = told.first().expect("an answer");
        assert_eq!((told.name.as_str(), told.platform.as_str()), ("m", "p"));
        assert_eq!(told.inputs[0].shape, [-1, 2]);
    }
    worker.journal.requests() - before
}

#[tokio::test]
async fn tensors_are_known_from_probes_and_asked_for_without_them() {
    assert_eq!(asked_for_tensors("{ interval: 1h }").await, 0);
    assert_eq!(asked_for_tensors("off").await, 3);
}
