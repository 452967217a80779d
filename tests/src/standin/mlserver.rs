//! MLServer, as SeldonIO/MLServer has it at commit a325e523.
//!
//! * A body that does not say that it is JSON is 422 (`mlserver/rest/app.py`, FastAPI's own check);
//!   the index of the repository needs a body (`mlserver/rest/endpoints.py`).
//! * No binary extension over HTTP: `binary_data_size` is an unknown parameter, and an input without
//!   `data` is 422 (`mlserver/types/dataplane.py`).
//! * An answer has an `id`, its own where the request had none (`mlserver/handlers/dataplane.py`).
//! * An unknown model is 404, `Model NAME not found` (`mlserver/errors.py`).
//! * gRPC answers are typed unless the request was raw (`mlserver/grpc/converters.py`); codes are made
//!   of HTTP's (`mlserver/grpc/utils.py`).
//! * Over gRPC a state is written as Python does, `State.READY` (`mlserver/grpc/converters.py`).
//! * Answers of a stream are not wrapped (`proto/dataplane.proto`).

use serde_json::json;

use super::{
    BROKEN, INTERNAL, INVALID_ARGUMENT, LOADING, NOT_FOUND, OfModel, SERVED, UNIMPLEMENTED,
    computed, described, described_json, error, inferred, line, messages, method, plain_texts,
    status, tensor, told, whole,
};
use crate::{
    fake::{
        grpc::{self, Act as GrpcAct},
        http1::{self, Act, Received},
    },
    inference::{
        ModelInferRequest, ModelInferResponse, ModelMetadataRequest, RepositoryIndexResponse,
        ServerReadyResponse, repository_index_response::ModelIndex,
    },
};

/// Over HTTP.
pub async fn rest() -> http1::Worker {
    http1::Worker::start(answer).await
}

fn answer(received: &Received) -> Vec<Act> {
    let (verb, path) = line(received);
    if verb == "POST" && received.head.get("content-type") != Some("application/json") {
        return error(422, "Input should be a valid dictionary");
    }
    match (verb, path) {
        ("GET", "/v2/health/ready" | "/v2/health/live") => return whole(200, &[], ""),
        ("POST", "/v2/repository/index") if received.body.is_empty() => {
            return error(422, "Field required");
        }
        ("POST", "/v2/repository/index") => {
            let one = |name| json!({"name": name, "version": "", "state": "READY", "reason": ""});
            return told(200, &[SERVED, BROKEN].map(one).into_iter().collect());
        }
        _ => {}
    }
    let Some(model) = OfModel::read(path) else {
        return told(404, &json!({"detail": "Not Found"}));
    };
    match model.name {
        SERVED | BROKEN if model.version.is_none_or(|version| version == "1") => {}
        other => return error(404, &format!("Model {other} not found")),
    }
    match (verb, model.what) {
        ("GET", "") => told(200, &described_json(model.name, "")),
        ("GET", "ready") => whole(200, &[], ""),
        ("POST", "infer") if model.name == BROKEN => error(500, "it broke"),
        ("POST", "infer") => {
            let (json, inputs) = match tensor::read(&received.body, None, "inputs", plain_texts) {
                Ok(read) => read,
                Err(problem) => return error(422, &problem),
            };
            let id = json["id"].as_str().unwrap_or("its-own-id");
            match tensor::written(&computed(inputs), false, false) {
                Ok((outputs, _)) => told(
                    200,
                    &json!({"model_name": SERVED, "id": id, "parameters": {}, "outputs": outputs}),
                ),
                Err(problem) => error(400, &problem),
            }
        }
        _ => told(405, &json!({"detail": "Method Not Allowed"})),
    }
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
                state: "State.READY".to_owned(),
                ..ModelIndex::default()
            };
            let models = [SERVED, BROKEN].map(one).to_vec();
            grpc::answer(&RepositoryIndexResponse { models })
        }
        "ModelMetadata" => match received.message::<ModelMetadataRequest>().name.as_str() {
            SERVED => grpc::answer(&described(SERVED, "")),
            _ => status(NOT_FOUND, "Model not found"),
        },
        "ModelInfer" => match one(&received.message()) {
            Ok(answer) => grpc::answer(&answer),
            Err((code, message)) => status(code, message),
        },
        "ModelStreamInfer" => {
            let mut acts = vec![GrpcAct::Head];
            for asked in messages(&received.body) {
                match one(&asked) {
                    Ok(answer) => acts.push(grpc::send(&answer)),
                    Err((code, message)) => {
                        acts.push(GrpcAct::Status(code, message));
                        return acts;
                    }
                }
            }
            acts.push(GrpcAct::Status(0, ""));
            acts
        }
        _ => status(UNIMPLEMENTED, ""),
    }
}

fn one(asked: &ModelInferRequest) -> Result<ModelInferResponse, (u32, &'static str)> {
    let (_, typed) = tensor::of_message(asked).map_err(|problem| (INVALID_ARGUMENT, problem))?;
    match asked.model_name.as_str() {
        SERVED => {
            let mut answer = inferred(asked, SERVED, typed);
            // Also beside raw contents there is a message of typed ones, which is empty: seen of
            // release 1.7.1.
            for output in &mut answer.outputs {
                output.contents.get_or_insert_default();
            }
            Ok(answer)
        }
        BROKEN => Err((INTERNAL, "it broke")),
        LOADING => Err((INVALID_ARGUMENT, "Model loading is not ready yet.")),
        _ => Err((NOT_FOUND, "Model not found")),
    }
}
