//! The Open Inference Protocol, as Triton words it: `{"error": …}` over HTTP, a status over gRPC.

use serde_json::{Value, json};
use tollgate_tests::{
    fake::http1 as fake_http1,
    inference::{ModelInferRequest, ModelMetadataRequest},
    standin::{
        tensor::{self, Tensor},
        triton,
    },
};

use super::*;

const LIMITS: &str = "limits: { body: 64KiB, message: 64KiB, timeout: 2s }";

async fn before(workers: &str, names: &str, auth: &str) -> Proxy {
    let yaml = format!(
        "
plugins: {{ kserve: {{ source: \"bundled:kserve\" }} }}
workers:
{workers}
routes:
  - {{ name: all, frontends: [kserve], workers: [{names}], auth: {auth}, default-model: m, {LIMITS} }}
"
    );
    Proxy::start(&yaml).await
}

fn worker(name: &str, scheme: &str, address: std::net::SocketAddr, models: &str) -> String {
    let dialect = if scheme == "grpc" { "grpc" } else { "rest" };
    format!(
        "  - {{ name: {name}, address: \"{scheme}://{address}\", protocol: kserve, probe: off, \
         options: {{ dialect: kserve-{dialect} }}, models: [{models}] }}\n"
    )
}

const MODELS: &str = "{ name: m, served-as: served }, { name: broken }, { name: ghost }";

fn one() -> Vec<Tensor> {
    vec![Tensor {
        name: "IN".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1],
        raw: 1.5_f32.to_le_bytes().to_vec(),
    }]
}

fn input() -> Value {
    json!({"name": "IN", "datatype": "FP32", "shape": [1], "data": [1.5]})
}

fn infer(model: &str, body: &Value) -> Request {
    Request::post(&format!("/v2/models/{model}/infer"), body)
}

fn told<'a>(what: &'a str, status: u16, words: &'a str) -> Told<'a> {
    Told {
        what,
        status,
        kind: "application/json",
        members: &["error"],
        message: ("error", words),
    }
}

#[tokio::test]
async fn what_a_worker_refuses_has_the_same_words_from_either_form() {
    let (rest, grpc) = (triton::rest().await, triton::grpc().await);
    for (scheme, address) in [("http", rest.address), ("grpc", grpc.address)] {
        let proxy = before(&worker("w0", scheme, address, MODELS), "w0", "open").await;
        let good = json!({"inputs": [input()]});
        let unlike = json!({"inputs": [
            {"name": "IN", "datatype": "FP32", "shape": [2], "data": ["x", 1]}]});
        for (what, request, status, words) in [
            ("a worker's error", infer("broken", &good), 500, "it broke"),
            (
                "a model that the worker has not",
                infer("ghost", &good),
                400,
                "unknown model",
            ),
            (
                "a model that nobody has",
                infer("nobody", &good),
                400,
                "nobody",
            ),
            ("no element of its type", infer("m", &unlike), 400, ""),
        ] {
            let what = format!("{what}, {scheme}");
            told(&what, status, words).check(&ask(&proxy, &request).await);
        }
        for (what, model, told) in [
            ("a worker's error", "broken", (13, "it broke")),
            ("a model that nobody has", "nobody", (5, "nobody")),
        ] {
            let what = format!("{what}, {scheme}");
            let message = tensor::message(model, &one(), false);
            fails(&proxy, &what, &rpc("ModelInfer"), &message, told).await;
        }
        // Triton has two codes for it: its own where it is passed on.
        let message = tensor::message("ghost", &one(), false);
        let code = if scheme == "grpc" { 3 } else { 5 };
        let words = (code, "unknown model");
        fails(
            &proxy,
            "a model that the worker has not",
            &rpc("ModelInfer"),
            &message,
            words,
        )
        .await;
    }
}

fn rpc(method: &str) -> Request {
    grpc::request(&format!("inference.GRPCInferenceService/{method}"))
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_before_anybody_is_asked() {
    let grpc = triton::grpc().await;
    let proxy = before(&worker("w0", "grpc", grpc.address, MODELS), "w0", "open").await;
    let with = |key: &str, value: Value| {
        let mut body = json!({"inputs": [input()]});
        body[key] = value;
        body
    };
    let shared = json!({"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1],
        "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 4}}]});
    let of = |changes: Value| {
        let mut input = input();
        for (name, value) in changes.as_object().expect("an object") {
            input[name] = value.clone();
        }
        json!({"inputs": [input]})
    };
    let large = format!(r#"{{"inputs": [], "id": "{}"}}"#, "x".repeat(80 << 10));
    for (what, request, status, words) in [
        (
            "no JSON",
            Request::post_bytes("/v2/models/m/infer", "{"),
            400,
            "JSON",
        ),
        ("no inputs", infer("m", &json!({})), 400, "inputs"),
        (
            "a bad parameter",
            infer("m", &with("parameters", json!({"x": []}))),
            400,
            "`x`",
        ),
        (
            "parameters that are no object",
            infer("m", &with("parameters", json!(3))),
            400,
            "object",
        ),
        (
            "an unknown datatype",
            infer("m", &of(json!({"datatype": "FP31"}))),
            400,
            "FP31",
        ),
        (
            "a shape of nothing",
            infer("m", &of(json!({"shape": [-1]}))),
            400,
            "shape",
        ),
        (
            "more elements than the shape has",
            infer("m", &of(json!({"data": [1, 2]}))),
            400,
            "IN",
        ),
        ("shared memory", infer("m", &shared), 400, "shared memory"),
        (
            "a bad length of the JSON",
            infer("m", &with("id", json!("x"))).header("inference-header-content-length", "many"),
            400,
            "Inference-Header-Content-Length",
        ),
        (
            "too large",
            Request::post_bytes("/v2/models/m/infer", large),
            413,
            "",
        ),
        (
            "a wrong method",
            Request::get("/v2/models/m/infer"),
            405,
            "",
        ),
        ("an unknown path", Request::get("/v2/nothing"), 404, ""),
        (
            "no worker for it",
            Request::get("/v2/models/m/config"),
            501,
            "",
        ),
    ] {
        told(what, status, words).check(&ask(&proxy, &request).await);
    }
    let mut both = tensor::message("m", &one(), true);
    both.raw_input_contents = vec![vec![0; 4]];
    let mut short = tensor::message("m", &one(), false);
    short.raw_input_contents.clear();
    let large = ModelInferRequest {
        id: "x".repeat(80 << 10),
        ..tensor::message("m", &one(), false)
    };
    for (what, message, told) in [
        ("both contents", both, (3, "raw_input_contents")),
        ("too large", large, (8, "")),
    ] {
        fails(&proxy, what, &rpc("ModelInfer"), &message, told).await;
    }
    // Passed on, it is the worker that counts them.
    fails(
        &proxy,
        "no contents",
        &rpc("ModelInfer"),
        &short,
        (3, "number of"),
    )
    .await;
    let asked = ModelMetadataRequest {
        name: "nobody".to_owned(),
        version: String::new(),
    };
    fails(
        &proxy,
        "metadata of nobody",
        &rpc("ModelMetadata"),
        &asked,
        (5, "nobody"),
    )
    .await;
    fails(
        &proxy,
        "an unknown method",
        &rpc("ModelGuess"),
        &asked,
        (12, ""),
    )
    .await;
    assert_eq!(
        grpc.journal.requests(),
        1,
        "only what was passed on reached it"
    );
}

#[tokio::test]
async fn a_worker_that_is_gone_or_late_or_makes_no_sense_is_told_from_its_errors() {
    let good = json!({"inputs": [input()]});
    let message = tensor::message("m", &one(), false);
    for scheme in ["http", "grpc"] {
        let proxy = before(&worker("w0", scheme, nobody(), MODELS), "w0", "open").await;
        let what = format!("nobody listens, {scheme}");
        told(&what, 502, "").check(&ask(&proxy, &infer("m", &good)).await);
        fails(&proxy, &what, &rpc("ModelInfer"), &message, (14, "")).await;
    }
    let odd = fake_http1::Worker::start(|received| {
        let path = received.head.line.split(' ').nth(1).unwrap_or_default();
        match path {
            "/v2/models/late/infer" => vec![fake_http1::Act::Hold],
            "/v2/models/busy/infer" => vec![fake_http1::json(503, &json!({"error": "busy"}))],
            "/v2/models/html/infer" => vec![fake_http1::answer(500, "text/html", "<h1>no</h1>")],
            "/v2/models/long/infer" => {
                vec![fake_http1::json(
                    400,
                    &json!({"error": "the prompt is too long: 9 tokens"}),
                )]
            }
            _ => vec![fake_http1::json(200, &json!({"outputs": "none"}))],
        }
    })
    .await;
    let models = "{ name: m }, { name: late }, { name: busy }, { name: html }, { name: long }, { name: senseless }";
    let proxy = before(&worker("w0", "http", odd.address, models), "w0", "open").await;
    for (model, code, words) in [
        ("late", 4, ""),
        ("busy", 14, "busy"),
        ("html", 13, ""),
        ("long", 3, "too long"),
        ("senseless", 13, ""),
    ] {
        let message = tensor::message(model, &one(), false);
        fails(&proxy, model, &rpc("ModelInfer"), &message, (code, words)).await;
    }
    for (model, status, words) in [
        ("late", 504, ""),
        ("busy", 503, "busy"),
        ("long", 400, "long"),
    ] {
        told(model, status, words).check(&ask(&proxy, &infer(model, &good)).await);
    }
}

#[tokio::test]
async fn a_token_is_asked_for_in_the_same_words() {
    let grpc = triton::grpc().await;
    let yaml = format!(
        "
tokens: {{ file: tokens.yaml }}
plugins: {{ kserve: {{ source: \"bundled:kserve\" }} }}
workers:
{}
routes:
  - {{ name: all, frontends: [kserve], workers: [w0], default-model: m, {LIMITS} }}
",
        worker("w0", "grpc", grpc.address, MODELS)
    );
    let file = tollgate_tests::tokens::file(&[tollgate_tests::tokens::entry(
        "some",
        "a-token-for-one-model",
        "models: [m]",
    )]);
    let proxy = tollgate_tests::Setup::new(&yaml)
        .file("tokens.yaml", file)
        .start()
        .await;
    let request = infer("m", &json!({"inputs": [input()]}));
    let response = ask(&proxy, &request).await;
    told("no token", 401, "").check(&response);
    assert!(
        response.header("www-authenticate").is_some(),
        "{response:?}"
    );
    let message = tensor::message("m", &one(), false);
    fails(&proxy, "no token", &rpc("ModelInfer"), &message, (16, "")).await;
    let message = tensor::message("broken", &one(), false);
    let known = rpc("ModelInfer").token("a-token-for-one-model");
    let got = ask(
        &proxy,
        &infer("broken", &json!({"inputs": [input()]})).token("a-token-for-one-model"),
    )
    .await;
    assert!([403, 400, 404].contains(&got.status), "{got:?}");
    assert!(got.json()["error"].is_string());
    let (answers, status) =
        grpc::ask::<tollgate_tests::inference::ModelInferResponse>(proxy.http(), &known, &message)
            .await;
    assert!(
        answers.is_empty() && [5, 7].contains(&status.code),
        "{status:?}"
    );
}
