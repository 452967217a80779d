//! Each server of the Open Inference Protocol by its stand-in: the preset of the plugin that is
//! named after it, to clients and to the worker, over sockets; and texts as tensors, where the
//! configuration says which they are.
//!
//! What holds here holds by specification: the stand-ins say where each habit was read.

mod answers;
mod classify;
mod kserve_python;
mod mlserver;
mod modelmesh;
mod ovms;
mod sidecars;
mod texts;
mod triton;
mod v1;
mod vllm_forks;

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy,
    client::{Request, Response, grpc, http1},
    inference::{
        ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
        ModelReadyResponse,
    },
    standin::{
        computed,
        tensor::{self, Tensor, joined},
    },
};

/// A worker of a server, and its options.
struct Station {
    scheme: &'static str,
    address: std::net::SocketAddr,
    options: String,
}

fn over_rest(worker: &tollgate_tests::fake::http1::Worker, options: &str) -> Station {
    Station {
        scheme: "http",
        address: worker.address,
        options: options.to_owned(),
    }
}

fn over_grpc(worker: &tollgate_tests::fake::grpc::Worker, options: &str) -> Station {
    Station {
        scheme: "grpc",
        address: worker.address,
        options: format!(
            "dialect: kserve-grpc{}",
            match options {
                "" => String::new(),
                more => format!(", {more}"),
            }
        ),
    }
}

/// The plugin as this server, in front of a worker that is one. Without probes only what a test
/// asks reaches the worker, and every model is there that is named here.
async fn before(server: &str, station: &Station) -> Proxy {
    let models = "models: [{ name: m, served-as: served }, { name: broken }, { name: loading }, \
                  { name: ghost }], probe: off";
    started(server, station, models, "m").await
}

/// The same with what the worker tells of itself, which the proxy asks for.
async fn probing(server: &str, station: &Station) -> Proxy {
    let probe = "probe: { interval: 1s, timeout: 5s }";
    started(server, station, probe, "served").await
}

/// `worker`: more of the worker; `default`: the route's default model.
async fn started(server: &str, station: &Station, worker: &str, default: &str) -> Proxy {
    let Station {
        scheme,
        address,
        options,
    } = station;
    let yaml = format!(
        "
plugins:
  kserve: {{ source: \"bundled:kserve\", options: {{ server: {server} }} }}
workers:
  - {{ name: w0, address: \"{scheme}://{address}\", protocol: kserve, options: {{ {options} }}, {worker} }}
routes:
  - {{ name: all, frontends: [kserve], workers: [w0], auth: open, default-model: {default} }}
"
    );
    Proxy::start(&yaml).await
}

fn tensor(name: &str, datatype: &str, shape: &[i64], raw: Vec<u8>) -> Tensor {
    Tensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        raw,
    }
}

/// One of each kind: numbers with a fraction, numbers beyond those of a double, and texts.
fn inputs() -> Vec<Tensor> {
    let numbers: Vec<u8> = [1.5_f32, -0.25]
        .iter()
        .flat_map(|it| it.to_le_bytes())
        .collect();
    let large: Vec<u8> = [9_007_199_254_740_993_i64, -1]
        .iter()
        .flat_map(|it| it.to_le_bytes())
        .collect();
    let texts = joined(&["é".as_bytes(), b"toll"]);
    vec![
        tensor("IN_F", "FP32", &[1, 2], numbers),
        tensor("IN_N", "INT64", &[2], large),
        tensor("IN_T", "BYTES", &[2], texts),
    ]
}

/// Texts are base64 where it is said so.
fn says_base64(parameters: &Value) -> bool {
    parameters["content_type"] == "base64"
}

/// A request over HTTP; `binary` is both for what is sent and for what is wanted.
fn asked(path: &str, tensors: &[Tensor], binary: bool, base64: bool) -> Request {
    let (written, raw) = tensor::written(tensors, binary, base64).expect("JSON can carry them");
    let mut body = json!({"id": "one", "inputs": written});
    if binary {
        body["parameters"] = json!({"binary_data_output": true});
    }
    let text = body.to_string();
    let head = text.len().to_string();
    let request = Request::post_bytes(path, [text.into_bytes(), raw].concat());
    match binary {
        true => request.header("inference-header-content-length", &head),
        false => request,
    }
}

/// The tensors of an answer over HTTP.
fn outputs(response: Response) -> (Value, Vec<Tensor>) {
    let response = response.with_status(200);
    let head = response.header("inference-header-content-length");
    let head = head.map(|length| length.parse().expect("a length"));
    tensor::read(&response.body, head, "outputs", says_base64)
        .unwrap_or_else(|problem| panic!("{problem}: {:?}", response.body))
}

async fn ask(proxy: &Proxy, request: &Request) -> Response {
    http1::ask(proxy.http(), request).await
}

async fn get(proxy: &Proxy, path: &str) -> Response {
    ask(proxy, &Request::get(path)).await
}

fn rpc(method: &str) -> Request {
    grpc::request(&format!("inference.GRPCInferenceService/{method}"))
}

/// Metadata of a model over gRPC, or the status.
async fn metadata(proxy: &Proxy, name: &str) -> Result<ModelMetadataResponse, (u32, String)> {
    let asked = ModelMetadataRequest {
        name: name.to_owned(),
        version: String::new(),
    };
    let (mut all, status) = grpc::ask(proxy.http(), &rpc("ModelMetadata"), &asked).await;
    match status.code {
        0 => Ok(all.remove(0)),
        code => Err((code, status.message)),
    }
}

/// Readiness of a model over gRPC.
async fn is_ready(proxy: &Proxy, name: &str) -> bool {
    let asked = ModelReadyRequest {
        name: name.to_owned(),
        version: String::new(),
    };
    let (all, _) = grpc::ask::<ModelReadyResponse>(proxy.http(), &rpc("ModelReady"), &asked).await;
    all.first().is_some_and(|answer| answer.ready)
}

/// Asks in every form that clients have, and compares every element of what comes back.
async fn same_in_every_form(proxy: &Proxy, base64: bool) {
    let expected = computed(inputs());
    for binary in [false, true] {
        let request = asked("/v2/models/m/infer", &inputs(), binary, base64);
        let (json, got) = outputs(ask(proxy, &request).await);
        assert_eq!(got, expected, "binary: {binary}");
        assert_eq!(json["id"], "one");
        assert_eq!(json["model_name"], "m", "the client's name for it");
    }
    for typed in [false, true] {
        let message = tensor::message("m", &inputs(), typed);
        let (answers, status) =
            grpc::ask::<ModelInferResponse>(proxy.http(), &rpc("ModelInfer"), &message).await;
        assert_eq!(status.code, 0, "typed: {typed}: {status:?}");
        let (got, _) = tensor::of_answer(&answers[0]);
        assert_eq!(got, expected, "typed: {typed}");
        assert_eq!((&*answers[0].id, &*answers[0].model_name), ("one", "m"));
    }
}

/// The same error over HTTP, as a body with this member, and over gRPC.
async fn fails(proxy: &Proxy, model: &str, http: u16, code: u32, words: &str) {
    let one = &inputs()[..1];
    let path = format!("/v2/models/{model}/infer");
    let response = ask(proxy, &asked(&path, one, false, false)).await;
    let body = response.with_status(http).json();
    let told = body["error"].as_str().or(body["message"].as_str());
    let told = told.unwrap_or_else(|| panic!("no message: {body}"));
    assert!(told.contains(words), "{model}: {told}");
    let message = tensor::message(model, one, false);
    let (answers, status) =
        grpc::ask::<ModelInferResponse>(proxy.http(), &rpc("ModelInfer"), &message).await;
    assert_eq!(
        (answers.len(), status.code),
        (0, code),
        "{model}: {status:?}"
    );
    assert!(status.message.contains(words), "{model}: {status:?}");
}
