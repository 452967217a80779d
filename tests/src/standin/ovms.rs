//! OpenVINO Model Server, as openvinotoolkit/model_server has it at commit 7e4df0c7.
//!
//! * A wrong method is 406, an unknown path 400, an unknown model 404; JSON that is none is 412 on
//!   the OpenAI paths (`src/http_server.cpp`, the table of statuses; `src/status.cpp`, the texts).
//! * Answers are written with indentation, and say `application/json` also where raw tensors follow;
//!   the header with the JSON's length is in lower case (`src/rest_utils.cpp`, `PrettyWriter`;
//!   `src/http_server.cpp`).
//! * The model's name in a path is decoded (`src/http_rest_api_handler.cpp`, `urlDecode`), and a
//!   path of metadata may end with a slash (the same, `kfs_modelmetadataRegexExp`).
//! * Health has no body; the list of models is that of `/v1/config` (the same).
//! * The OpenAI API is served under `/v3`, and by later releases under `/v1` too ([`openai`]); a wrong
//!   API key is 500 there: its status is not in the table (`src/http_server.cpp`).
//! * gRPC answers always have raw contents; streams are for graphs only; parameters stop at number 3
//!   (`src/kfserving_api/grpc_predict_v2.proto`, `src/kfs_frontend/`).

pub mod openai;

use serde_json::{Value, json};

use super::{
    BROKEN, INTERNAL, INVALID_ARGUMENT, LOADING, NOT_FOUND, OfModel, SERVED, UNAVAILABLE,
    UNIMPLEMENTED, computed, described, described_json, error, head_length, inferred, line, method,
    plain_texts, status, tensor, whole,
};
use crate::{
    fake::{
        grpc::{self, Act as GrpcAct},
        http1::{self, Act, Received},
    },
    inference::{ModelInferRequest, ModelMetadataRequest, ServerReadyResponse},
};

/// The API key of its OpenAI paths.
pub const KEY: &str = "the-key-of-the-server";
/// What it says of a model that it does not have.
pub const UNKNOWN: &str = "Model with requested name is not found";
/// A name that has to be written with percent signs.
pub const SPACED: &str = "a model/with all";

/// Over HTTP; with a key if its OpenAI paths ask for one.
pub async fn rest(key: bool) -> http1::Worker {
    http1::Worker::start(move |received| answer(received, key)).await
}

/// A release that has no list of models but `/v1/config`.
pub async fn older() -> http1::Worker {
    http1::Worker::start(|received| match line(received) {
        ("GET", path) if path.starts_with("/v3/models") => error(404, UNKNOWN),
        _ => answer(received, false),
    })
    .await
}

/// With indentation, as all that it writes itself.
fn pretty(status: u16, body: &Value) -> Vec<Act> {
    let text = serde_json::to_string_pretty(body).expect("values are JSON");
    whole(status, &[super::JSON], text)
}

fn decoded(name: &str) -> String {
    name.replace("%20", " ").replace("%2F", "/")
}

fn answer(received: &Received, key: bool) -> Vec<Act> {
    let (verb, path) = line(received);
    if let ("GET", Some(rest)) = (verb, path.strip_prefix("/v3/models")) {
        return openai::models(rest.strip_prefix('/'));
    }
    let below = path.strip_prefix("/v3/").or(path.strip_prefix("/v1/"));
    if let ("POST", Some(what)) = (verb, below.filter(|what| *what != "config")) {
        return openai::answer(received, what, key);
    }
    let known = [
        "/v2/health/ready",
        "/v2/health/live",
        "/v1/config",
        "/metrics",
    ];
    match (verb, path) {
        ("GET", "/v2/health/ready" | "/v2/health/live") => return whole(200, &[super::JSON], ""),
        ("GET", "/v1/config") => return config(),
        ("GET", "/metrics") => {
            let page = "# TYPE ovms_infer_req_queue_size gauge\n\
                        ovms_infer_req_queue_size{name=\"served\",version=\"1\"} 3\n\
                        ovms_infer_req_active{name=\"served\",version=\"1\"} 2\n";
            return whole(200, &[("content-type", "text/plain")], page);
        }
        ("POST", path) if known.contains(&path) => return error(406, "Unsupported method"),
        _ => {}
    }
    let Some(model) = OfModel::read(path.trim_end_matches('/')) else {
        return error(400, "Invalid request URL");
    };
    let name = decoded(model.name);
    let wanted = match model.what {
        "" | "ready" => "GET",
        "infer" => "POST",
        _ => return error(400, "Invalid request URL"),
    };
    match verb {
        "GET" | "POST" if verb != wanted => return error(406, "Unsupported method"),
        "GET" | "POST" => {}
        _ => return error(400, "Invalid request URL"),
    }
    match (name.as_str(), model.version) {
        (SERVED | BROKEN | SPACED, None | Some("1")) => {}
        (SERVED | BROKEN | SPACED, _) => {
            return error(404, "Model with requested version is not found");
        }
        (LOADING, _) => {
            return error(404, "Model version is not loaded yet");
        }
        _ => return error(404, UNKNOWN),
    }
    match model.what {
        "" => {
            let mut told = described_json(&name, "OpenVINO");
            told["rt_info"] = json!({"optimization": {}});
            pretty(200, &told)
        }
        "ready" => whole(200, &[super::JSON], ""),
        _ if name == BROKEN => error(500, "Internal inference error"),
        _ => infer(received, &name),
    }
}

fn config() -> Vec<Act> {
    let model = |state: &str| {
        json!({"model_version_status": [{
            "version": "1", "state": state, "status": {"error_code": "OK", "error_message": "OK"},
        }]})
    };
    pretty(
        200,
        &json!({SERVED: model("AVAILABLE"), BROKEN: model("AVAILABLE"), LOADING: model("LOADING")}),
    )
}

fn infer(received: &Received, name: &str) -> Vec<Act> {
    let read = tensor::read(&received.body, head_length(received), "inputs", plain_texts);
    let (json, inputs) = match read {
        Ok(read) => read,
        Err(problem) => return error(400, &problem),
    };
    let binary = tensor::wants_binary(&json);
    let tensors = computed(inputs);
    let mut answer = json!({"model_name": name, "model_version": "1"});
    if let Some(id) = json.get("id") {
        answer["id"] = id.clone();
    }
    let (outputs, raw) = match tensor::written(&tensors, binary, false) {
        Ok(written) => written,
        Err(problem) => return error(400, &problem),
    };
    answer["outputs"] = outputs;
    if raw.is_empty() {
        return pretty(200, &answer);
    }
    let text = serde_json::to_string_pretty(&answer).expect("values are JSON");
    let head = text.len().to_string();
    let headers = [super::JSON, ("inference-header-content-length", &*head)];
    whole(200, &headers, [text.into_bytes(), raw].concat())
}

/// Over gRPC.
pub async fn grpc() -> grpc::Worker {
    grpc::Worker::start(called).await
}

fn called(received: &grpc::Received) -> Vec<GrpcAct> {
    match method(received) {
        "ServerReady" => grpc::answer(&ServerReadyResponse { ready: true }),
        "ModelMetadata" => match received.message::<ModelMetadataRequest>().name.as_str() {
            SERVED => grpc::answer(&described(SERVED, "OpenVINO")),
            _ => status(NOT_FOUND, UNKNOWN),
        },
        "ModelInfer" => {
            let asked: ModelInferRequest = received.message();
            match (asked.model_name.as_str(), tensor::of_message(&asked)) {
                (_, Err(problem)) => status(INVALID_ARGUMENT, problem),
                (SERVED, _) => grpc::answer(&inferred(&asked, SERVED, false)),
                (BROKEN, _) => status(INTERNAL, "Internal inference error"),
                (LOADING, _) => status(UNAVAILABLE, "Model version is not loaded yet"),
                _ => status(NOT_FOUND, UNKNOWN),
            }
        }
        // Of models there are none; it is for graphs.
        "ModelStreamInfer" => status(NOT_FOUND, "Mediapipe graph definition is not found"),
        _ => status(UNIMPLEMENTED, ""),
    }
}
