//! ModelMesh, as kserve/modelmesh has it at commit ea13cdc5, and the gateway that stands before it
//! for HTTP, as kserve/rest-proxy has it at fdf1d9ef.
//!
//! * The gateway has four paths and no other (`grpc_predict_v2.proto`, its `google.api.http` options);
//!   all else is `{"code":5,"message":"Not Found","details":[]}` (grpc-gateway v2, `runtime/errors.go`).
//! * Errors are the model's gRPC status, with the status of HTTP that grpc-gateway has for it.
//! * Texts of inputs are base64 where their parameters say `content_type` `base64` or `b64`; those of
//!   outputs always are, and say so (`proxy/request.go`, `proxy/marshaler.go`).
//! * Metadata are proto3's JSON: sizes are strings, what is empty is left out; answers to inferences are
//!   written by the gateway itself, with sizes as numbers, and null for a parameter without a value
//!   (`proxy/main.go`, `EmitUnpopulated`; `proxy/marshaler.go`).
//! * FP16 is refused (`proxy/marshaler.go`); there is no binary extension, and no header reaches
//!   ModelMesh but under `Grpc-Metadata-` (grpc-gateway v2, `runtime/context.go`).
//! * The model is named by the message, which means an inference service; where it names none, by
//!   `mm-model-id` or `mm-vmodel-id`, one of them (`ModelMeshApi.java`, `getModelIdsFromHeaders`).
//!   Only `ModelInfer` and `ModelMetadata` name one (`controllers/modelmesh/cluster_config.go` of
//!   kserve/modelmesh-serving).
//! * Calls are unary; a second message is refused (`ModelMeshApi.java`, `onMessage`).
//! * Answers have the internal name of the model (`docs/predictors/run-inference.md` of
//!   kserve/modelmesh-serving).

use serde_json::{Value, json};

use super::{
    BROKEN, INTERNAL, INVALID_ARGUMENT, LOADING, NOT_FOUND, OfModel, SERVED, UNAVAILABLE,
    UNIMPLEMENTED, computed, described, inferred, line, messages, method, status, tensor, told,
};
use crate::{
    fake::{
        grpc::{self, Act as GrpcAct},
        http1::{self, Act, Received},
    },
    inference::{ModelInferRequest, ModelMetadataRequest, ModelMetadataResponse},
    wire1::Head,
};

/// What answers call the model.
pub const INTERNAL_NAME: &str = "served__isvc-3642375d03";
/// The model as no inference service has it, known by `mm-model-id` only.
pub const CONCRETE: &str = "concrete";

/// The gateway.
pub async fn rest() -> http1::Worker {
    http1::Worker::start(answer).await
}

/// `code` is gRPC's; the status that it becomes is grpc-gateway's.
fn gateway_error(code: u32, message: &str) -> Vec<Act> {
    let http = match code {
        INVALID_ARGUMENT => 400,
        NOT_FOUND => 404,
        UNIMPLEMENTED => 501,
        UNAVAILABLE => 503,
        _ => 500,
    };
    told(
        http,
        &json!({"code": code, "message": message, "details": []}),
    )
}

fn answer(received: &Received) -> Vec<Act> {
    let (verb, path) = line(received);
    let not_found = || gateway_error(NOT_FOUND, "Not Found");
    let Some(model) = OfModel::read(path) else {
        return not_found();
    };
    match (verb, model.what) {
        ("GET", "") | ("POST", "infer") => {}
        _ => return not_found(),
    }
    if let Err((code, message)) = named(model.name, &received.head, "grpc-metadata-") {
        return gateway_error(code, message);
    }
    if model.what.is_empty() {
        return metadata();
    }
    let is_base64 = |parameters: &Value| {
        let kind = parameters["content_type"].as_str();
        kind.is_some_and(|kind| ["base64", "b64"].contains(&kind))
    };
    let (json, inputs) = match tensor::read(&received.body, None, "inputs", is_base64) {
        Ok(read) => read,
        Err(problem) => return gateway_error(INVALID_ARGUMENT, &problem),
    };
    match tensor::written(&computed(inputs), false, true) {
        Ok((outputs, _)) => {
            let mut answer = json!({"model_name": INTERNAL_NAME, "outputs": outputs});
            if let Some(id) = json.get("id") {
                answer["id"] = id.clone();
            }
            answer["parameters"] = json!({"headers": null});
            told(200, &answer)
        }
        Err(problem) => gateway_error(2, &problem),
    }
}

/// Sizes as strings, and no member that is empty.
fn metadata() -> Vec<Act> {
    let of = |name: &str| json!([{"name": name, "datatype": "FP32", "shape": ["-1", "2"]}]);
    let told_so = json!({"name": INTERNAL_NAME, "inputs": of("IN"), "outputs": of("OUT")});
    told(200, &told_so)
}

/// Who is meant, by the message's name or by headers with this prefix: what is wrong with it.
fn named(name: &str, head: &Head, prefix: &str) -> Result<(), (u32, &'static str)> {
    let header = |name: &str| head.get(&format!("{prefix}{name}"));
    let known = match (name, header("mm-model-id"), header("mm-vmodel-id")) {
        ("", Some(_), Some(_)) => {
            let text = "must include only one of model id and vmodel id";
            return Err((INVALID_ARGUMENT, text));
        }
        ("", None, None) => return Err((INVALID_ARGUMENT, "must include mm-model-id header")),
        ("", Some(CONCRETE), None) => return Ok(()),
        ("", Some(_), None) => return Err((NOT_FOUND, "model not found")),
        ("", None, Some(name)) | (name, _, _) => name,
    };
    match known {
        SERVED => Ok(()),
        BROKEN => Err((INTERNAL, "it broke")),
        LOADING => Err((UNAVAILABLE, "model is not loaded")),
        _ => Err((NOT_FOUND, "vmodel not found")),
    }
}

/// ModelMesh itself.
pub async fn grpc() -> grpc::Worker {
    grpc::Worker::start(called).await
}

fn called(received: &grpc::Received) -> Vec<GrpcAct> {
    if messages::<ModelMetadataRequest>(&received.body).len() > 1 {
        return status(UNIMPLEMENTED, "Streaming not supported yet");
    }
    let head = &received.head;
    match method(received) {
        "ModelInfer" => {
            let asked: ModelInferRequest = received.message();
            if let Err((code, message)) = named(&asked.model_name, head, "") {
                return status(code, message);
            }
            match tensor::of_message(&asked) {
                Ok(_) => grpc::answer(&inferred(&asked, INTERNAL_NAME, false)),
                Err(problem) => status(INVALID_ARGUMENT, problem),
            }
        }
        "ModelMetadata" => {
            let asked: ModelMetadataRequest = received.message();
            match named(&asked.name, head, "") {
                Ok(()) => grpc::answer(&ModelMetadataResponse {
                    versions: Vec::new(),
                    ..described(INTERNAL_NAME, "")
                }),
                Err((code, message)) => status(code, message),
            }
        }
        // It does not look into these, and routes by headers.
        _ => match named("", head, "") {
            Ok(()) => status(UNIMPLEMENTED, "Method not found"),
            Err((code, message)) => status(code, message),
        },
    }
}
