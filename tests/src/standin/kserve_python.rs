//! The Python server of KServe, as kserve/kserve has it at commit aaac4e29.
//!
//! * Health and readiness have JSON bodies; what is not ready is 503, what is unknown 404
//!   (`python/kserve/kserve/protocol/rest/v2_endpoints.py`, `python/kserve/kserve/errors.py`).
//! * Versions of models are 501, `Model versioning not supported yet.` (`v2_endpoints.py`).
//! * `GET /v2/models` lists the models; there is no index of a repository (`v2_endpoints.py`).
//! * It has the binary extension (`protocol/infer_type.py`).
//! * gRPC answers are typed or raw as the model chose, whatever the request was
//!   (`protocol/infer_type.py`, `InferResponse.to_grpc`).
//! * The first version of the protocol: `:predict` answers `predictions` whatever the request was,
//!   `GET /v1/models/{m}` is readiness, `GET /v1/models` the list (`protocol/rest/v1_endpoints.py`,
//!   `utils/utils.py`). Its model gives back the values that it was given ([`predicted`]).
//! * gRPC metadata have no versions; there are no streams and no index, and raw contents of some
//!   inputs only are refused (`protocol/grpc/servicer.py`, `validate_grpc_request`).

use serde_json::{Value, json};

use super::{
    BROKEN, INTERNAL, INVALID_ARGUMENT, LOADING, NOT_FOUND, OfModel, SERVED, UNAVAILABLE,
    UNIMPLEMENTED, computed, described, described_json, error, head_length, inferred, line, method,
    plain_texts, status, tensor, told, whole,
};
use crate::{
    fake::{
        grpc::{self, Act as GrpcAct},
        http1::{self, Act, Received},
    },
    inference::{ModelInferRequest, ModelMetadataRequest, ServerReadyResponse},
};

/// A model that chose typed answers over gRPC.
pub const TYPED: &str = "typed";

/// Over HTTP.
pub async fn rest() -> http1::Worker {
    http1::Worker::start(answer).await
}

fn answer(received: &Received) -> Vec<Act> {
    let (verb, path) = line(received);
    match (verb, path) {
        ("GET", "/v2/health/live") => return told(200, &json!({"live": true})),
        ("GET", "/v2/health/ready") => return told(200, &json!({"ready": true})),
        ("GET", "/v2/models") => return told(200, &json!({"models": [SERVED, BROKEN, LOADING]})),
        (_, path) if path.starts_with("/v1/models") => return first(verb, path, received),
        _ => {}
    }
    let Some(model) = OfModel::read(path) else {
        return told(404, &json!({"detail": "Not Found"}));
    };
    let wanted = match model.what {
        "" | "ready" => "GET",
        "infer" => "POST",
        _ => return told(404, &json!({"detail": "Not Found"})),
    };
    if verb != wanted {
        return told(405, &json!({"detail": "Method Not Allowed"}));
    }
    if model.version.is_some() {
        return error(501, "Model versioning not supported yet.");
    }
    match model.name {
        SERVED | BROKEN => {}
        LOADING => return error(503, "Model with name loading is not ready."),
        other => return error(404, &format!("Model with name {other} does not exist.")),
    }
    match model.what {
        "" => told(200, &described_json(model.name, "")),
        "ready" => told(200, &json!({"name": model.name, "ready": true})),
        _ if model.name == BROKEN => error(500, "RuntimeError : it broke"),
        _ => infer(received),
    }
}

/// The first version of the protocol.
fn first(verb: &str, path: &str, received: &Received) -> Vec<Act> {
    let rest = path.trim_start_matches("/v1/models");
    let (name, what) = match rest.trim_start_matches('/').rsplit_once(':') {
        Some((name, what)) => (name, what),
        None => (rest.trim_start_matches('/'), ""),
    };
    match (verb, name, what) {
        ("GET", "", "") => told(200, &json!({"models": [SERVED, BROKEN, LOADING]})),
        ("GET" | "POST", LOADING, _) => error(503, "Model with name loading is not ready."),
        ("GET", SERVED | BROKEN, "") => told(200, &json!({"name": name, "ready": true})),
        ("POST", BROKEN, "predict") => error(500, "RuntimeError : it broke"),
        ("POST", SERVED, "predict") => match serde_json::from_slice(&received.body) {
            Ok(asked) => predicted(&asked),
            Err(problem) => error(400, &format!("Unrecognized request format: {problem}")),
        },
        ("GET", other, "") | ("POST", other, "predict") => {
            error(404, &format!("Model with name {other} does not exist."))
        }
        _ => told(404, &json!({"detail": "Not Found"})),
    }
}

/// The predictions of a model that gives back what it is asked, by rows or by columns.
fn predicted(asked: &Value) -> Vec<Act> {
    match asked.get("inputs").or(asked.get("instances")) {
        Some(values) => told(200, &json!({ "predictions": values })),
        None => error(400, "Expected \"instances\" or \"inputs\" in request body"),
    }
}

fn infer(received: &Received) -> Vec<Act> {
    let read = tensor::read(&received.body, head_length(received), "inputs", plain_texts);
    let (json, inputs) = match read {
        Ok(read) => read,
        Err(problem) => return error(400, &problem),
    };
    let binary = tensor::wants_binary(&json);
    let (outputs, raw) = match tensor::written(&computed(inputs), binary, false) {
        Ok(written) => written,
        Err(problem) => return error(400, &problem),
    };
    let id = json["id"].as_str().unwrap_or("its-own-id");
    let answer = json!({
        "model_name": SERVED, "model_version": null, "id": id, "parameters": null,
        "outputs": outputs,
    });
    if raw.is_empty() {
        return told(200, &answer);
    }
    let text = answer.to_string();
    let head = text.len().to_string();
    let headers = [
        ("content-type", "application/octet-stream"),
        ("inference-header-content-length", &*head),
    ];
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
            SERVED => {
                let mut told = described(SERVED, "");
                told.versions.clear();
                grpc::answer(&told)
            }
            _ => status(NOT_FOUND, "Model with that name does not exist."),
        },
        "ModelInfer" => {
            let asked: ModelInferRequest = received.message();
            match (asked.model_name.as_str(), tensor::of_message(&asked)) {
                (_, Err(problem)) => status(INVALID_ARGUMENT, problem),
                (model @ (SERVED | TYPED), Ok((_, typed))) => {
                    let mut answer = inferred(&asked, model, typed || model == TYPED);
                    answer.model_version.clear();
                    grpc::answer(&answer)
                }
                (BROKEN, _) => status(INTERNAL, "it broke"),
                (LOADING, _) => status(UNAVAILABLE, "Model with name loading is not ready."),
                _ => status(NOT_FOUND, "Model with that name does not exist."),
            }
        }
        _ => status(UNIMPLEMENTED, "Method not found!"),
    }
}
