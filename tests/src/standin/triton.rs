//! NVIDIA Triton, as triton-inference-server/server (`src/http_server.cc`, `src/grpc/`) and
//! triton-inference-server/core have it at commits e1db8a60 and 2026's head.
//!
//! * Ready is an empty body; not ready is 400 (`http_server.cc`, `HandleServerHealth`).
//! * A model of a name that was never known is an invalid argument, one that is known and not
//!   loaded is not found (core, `model_repository_manager`).
//! * Data in answers is flat; what JSON has no word for is written as a bare word all the same
//!   (`http_server.cc`, `WriteDataToJson`; RapidJSON's flags for NaN and Inf).
//! * gRPC answers have raw contents whatever the request had (`src/grpc/infer_handler.cc`).
//! * A stream tells failures in its messages, and goes on (`src/grpc/stream_infer_handler.cc`).

use serde_json::json;

use super::{
    BROKEN, INTERNAL, INVALID_ARGUMENT, LOADING, NOT_FOUND, OfModel, SERVED, UNIMPLEMENTED,
    computed, described, described_json, error, head_length, inferred, line, messages, method,
    plain_texts, status, tensor, told, whole,
};
use crate::{
    fake::{
        grpc::{self, Act as GrpcAct},
        http1::{self, Act, Received},
    },
    inference::{
        ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelStreamInferResponse,
        RepositoryIndexResponse, ServerReadyResponse, repository_index_response::ModelIndex,
    },
};

/// Over HTTP.
pub async fn rest() -> http1::Worker {
    http1::Worker::start(answer).await
}

fn answer(received: &Received) -> Vec<Act> {
    let (verb, path) = line(received);
    match (verb, path) {
        ("GET", "/v2/health/ready" | "/v2/health/live") => return whole(200, &[], ""),
        ("POST", "/v2/repository/index") => {
            let known = [(SERVED, "READY"), (BROKEN, "READY"), (LOADING, "LOADING")];
            let one = |(name, state)| json!({"name": name, "version": "1", "state": state});
            return told(200, &known.map(one).into_iter().collect());
        }
        _ => {}
    }
    let Some(model) = OfModel::read(path) else {
        return error(404, "Not Found");
    };
    if model.version.is_some_and(|version| version != "1") {
        let text = "Request for unknown model: 'served' version 2 is not found";
        return error(404, text);
    }
    match model.name {
        SERVED | BROKEN => {}
        LOADING => {
            return error(
                404,
                "Request for unknown model: 'loading' has no available versions",
            );
        }
        other => {
            return error(
                400,
                &format!("Request for unknown model: '{other}' is not found"),
            );
        }
    }
    match (verb, model.what) {
        ("GET", "") => told(200, &described_json(model.name, "python")),
        ("GET", "ready") => whole(200, &[], ""),
        ("POST", "infer") if model.name == BROKEN => error(500, "in ensemble, it broke"),
        ("POST", "infer") => infer(received),
        _ => error(405, "Method Not Allowed"),
    }
}

fn infer(received: &Received) -> Vec<Act> {
    let read = tensor::read(&received.body, head_length(received), "inputs", plain_texts);
    let (json, inputs) = match read {
        Ok(read) => read,
        Err(problem) => return error(400, &problem),
    };
    let binary = tensor::wants_binary(&json);
    let tensors = computed(inputs);
    let mut answer = json!({"model_name": SERVED, "model_version": "1"});
    if let Some(id) = json.get("id") {
        answer["id"] = id.clone();
    }
    let (outputs, raw) = match tensor::written(&tensors, binary, false) {
        Ok(written) => written,
        Err(problem) => return error(400, &problem),
    };
    answer["outputs"] = outputs;
    // Where serde_json has null for a number that is none, Triton has its bare word.
    let text = answer.to_string().replace("null", "NaN");
    if raw.is_empty() {
        return whole(200, &[super::JSON], text);
    }
    let head = text.len().to_string();
    let headers = [
        ("content-type", "application/octet-stream"),
        ("Inference-Header-Content-Length", &*head),
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
        "RepositoryIndex" => {
            let one = |name: &str| ModelIndex {
                name: name.to_owned(),
                version: "1".to_owned(),
                state: "READY".to_owned(),
                reason: String::new(),
            };
            let models = [SERVED, BROKEN].map(one).to_vec();
            grpc::answer(&RepositoryIndexResponse { models })
        }
        "ModelMetadata" => match received.message::<ModelMetadataRequest>().name.as_str() {
            SERVED => grpc::answer(&described(SERVED, "python")),
            _ => status(
                INVALID_ARGUMENT,
                "Request for unknown model: it is not found",
            ),
        },
        "ModelInfer" => match one(&received.message()) {
            Ok(answer) => grpc::answer(&answer),
            Err((code, message)) => status(code, message),
        },
        "ModelStreamInfer" => {
            let mut acts = vec![GrpcAct::Head];
            acts.extend(messages(&received.body).iter().map(|asked| {
                grpc::send(&match one(asked) {
                    Ok(answer) => ModelStreamInferResponse {
                        infer_response: Some(answer),
                        ..ModelStreamInferResponse::default()
                    },
                    Err((_, message)) => ModelStreamInferResponse {
                        error_message: message.to_owned(),
                        infer_response: Some(ModelInferResponse {
                            id: asked.id.clone(),
                            ..ModelInferResponse::default()
                        }),
                    },
                })
            }));
            acts.push(GrpcAct::Status(0, ""));
            acts
        }
        _ => status(UNIMPLEMENTED, ""),
    }
}

fn one(asked: &ModelInferRequest) -> Result<ModelInferResponse, (u32, &'static str)> {
    tensor::of_message(asked).map_err(|problem| (INVALID_ARGUMENT, problem))?;
    match asked.model_name.as_str() {
        SERVED => Ok(inferred(asked, SERVED, false)),
        BROKEN => Err((INTERNAL, "in ensemble, it broke")),
        LOADING => Err((
            NOT_FOUND,
            "Request for unknown model: it has no available versions",
        )),
        _ => Err((
            INVALID_ARGUMENT,
            "Request for unknown model: it is not found",
        )),
    }
}
