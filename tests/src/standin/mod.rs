//! Stand-ins for model servers of the Open Inference Protocol, for those that cannot run here and
//! for tests that must not need one: each answers as its server does, quirks included.
//!
//! They stand on the scripted workers of [`crate::fake`], so that what reached them can be looked
//! at. Every quirk names the source it was read in; nothing here was seen on a running server, and
//! what a test shows with one holds by specification only. Real servers are compared elsewhere
//! (`cargo xtask conformance`).
//!
//! Three are no model servers: [`cluster`] and [`reviews`] stand for what a cluster tells and for what it
//! allows, [`issuer`] for who signs tokens.
//!
//! Each of the others has the same models: [`SERVED`] gives back what it is given, each input as an output of the
//! same name in which `IN` is `OUT`, and makes something of texts ([`computed`]); [`BROKEN`] fails; [`LOADING`] is not there yet; all others are
//! unknown.

pub mod cluster;
pub mod issuer;
pub mod kserve_python;
pub mod mlserver;
pub mod modelmesh;
pub mod ovms;
pub mod reviews;
pub mod tensor;
pub mod triton;
pub mod vllm;

use bytes::Bytes;
use prost::Message;
use serde_json::{Value, json};

use crate::{
    fake::{
        grpc::{Act as GrpcAct, Received as GrpcReceived},
        http1::{Act, Received},
    },
    inference::{
        ModelInferRequest, ModelInferResponse, ModelMetadataResponse,
        model_infer_response::InferOutputTensor, model_metadata_response::TensorMetadata,
    },
};
use tensor::Tensor;

/// The model that answers.
pub const SERVED: &str = "served";
/// The model that fails.
pub const BROKEN: &str = "broken";
/// The model that is not there yet.
pub const LOADING: &str = "loading";

/// What a model makes of its inputs. Two of them are texts to it: of each of `TEXTS` it makes a
/// vector in `VECTORS`, its length and its first byte; of each `PROMPT` a `TEXT` in capitals, which
/// ended for want of room.
#[must_use]
pub fn computed(inputs: Vec<Tensor>) -> Vec<Tensor> {
    inputs.into_iter().flat_map(one_computed).collect()
}

fn one_computed(tensor: Tensor) -> Vec<Tensor> {
    let texts = || tensor::split(&tensor.raw);
    let of_texts = |name: &str, texts: Vec<Vec<u8>>| Tensor {
        name: name.to_owned(),
        raw: tensor::joined(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>()),
        ..tensor.clone()
    };
    match tensor.name.as_str() {
        "TEXTS" => {
            let numbers = texts().into_iter().flat_map(|text| {
                let first = text.first().copied().unwrap_or_default();
                [text.len() as f32, f32::from(first)]
            });
            vec![Tensor {
                name: "VECTORS".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![texts().len() as i64, 2],
                raw: numbers.flat_map(f32::to_le_bytes).collect(),
            }]
        }
        "PROMPT" => {
            let capitals = texts().into_iter().map(<[u8]>::to_ascii_uppercase);
            let reasons = texts().into_iter().map(|_| b"length".to_vec());
            vec![
                of_texts("TEXT", capitals.collect()),
                of_texts("finish_reason", reasons.collect()),
            ]
        }
        _ => vec![Tensor {
            name: tensor.name.replace("IN", "OUT"),
            ..tensor
        }],
    }
}

/// Method and path of a request, without a query.
fn line(received: &Received) -> (&str, &str) {
    let mut words = received.head.line.split(' ');
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    (method.unwrap_or_default(), path)
}

/// A complete answer.
fn whole(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Vec<Act> {
    let body = body.into();
    let mut head = format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    vec![Act::Write(head.into()), Act::Write(body)]
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// An answer of JSON, on one line.
fn told(status: u16, body: &Value) -> Vec<Act> {
    whole(status, &[JSON], body.to_string())
}

/// `{"error": …}`, as all but ModelMesh say it.
fn error(status: u16, message: &str) -> Vec<Act> {
    told(status, &json!({"error": message}))
}

/// The length of the JSON before raw tensors, where it is told.
fn head_length(received: &Received) -> Option<usize> {
    let length = received.head.get("inference-header-content-length")?;
    length.parse().ok()
}

/// Nothing is base64 but where a server says so.
fn plain_texts(_: &Value) -> bool {
    false
}

/// What a path says of a model: its name as it stands there, its version, and what is asked.
struct OfModel<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// Empty: metadata.
    what: &'a str,
}

impl<'a> OfModel<'a> {
    /// Reads `/v2/models/NAME[/versions/VERSION][/WHAT]`.
    fn read(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix("/v2/models/")?.split('/').collect();
        let (name, version, what) = match parts[..] {
            [name] => (name, None, ""),
            [name, "versions", version] => (name, Some(version), ""),
            [name, "versions", version, what] => (name, Some(version), what),
            [name, what] => (name, None, what),
            _ => return None,
        };
        Some(Self {
            name,
            version,
            what,
        })
    }
}

/// A method's name, without its service's.
fn method(received: &GrpcReceived) -> &str {
    let path = received.head.line.split(' ').nth(1).unwrap_or_default();
    path.strip_prefix("/inference.GRPCInferenceService/")
        .unwrap_or_default()
}

/// A status and nothing else.
fn status(code: u32, message: &'static str) -> Vec<GrpcAct> {
    vec![GrpcAct::Status(code, message)]
}

const INVALID_ARGUMENT: u32 = 3;
const NOT_FOUND: u32 = 5;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// The messages of a call's body, of which there may be several.
fn messages<M: Message + Default>(mut body: &[u8]) -> Vec<M> {
    let mut all = Vec::new();
    while let Some((head, rest)) = body.split_at_checked(5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (message, rest) = rest.split_at(length);
        all.push(M::decode(message).expect("the proxy writes messages"));
        body = rest;
    }
    all
}

/// The answer to an inference, raw or typed.
fn inferred(asked: &ModelInferRequest, model: &str, typed: bool) -> ModelInferResponse {
    let (inputs, _) = tensor::of_message(asked).expect("it was looked at before");
    let tensors = computed(inputs);
    let outputs = tensors.iter().map(|tensor| InferOutputTensor {
        name: tensor.name.clone(),
        datatype: tensor.datatype.clone(),
        shape: tensor.shape.clone(),
        contents: typed.then(|| tensor::contents_of(tensor)),
        ..InferOutputTensor::default()
    });
    ModelInferResponse {
        model_name: model.to_owned(),
        model_version: "1".to_owned(),
        id: asked.id.clone(),
        outputs: outputs.collect(),
        raw_output_contents: match typed {
            true => Vec::new(),
            false => tensors.into_iter().map(|tensor| tensor.raw).collect(),
        },
        ..ModelInferResponse::default()
    }
}

/// Metadata of a model.
fn described(model: &str, platform: &str) -> ModelMetadataResponse {
    let tensor = |name: &str| TensorMetadata {
        name: name.to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![-1, 2],
    };
    ModelMetadataResponse {
        name: model.to_owned(),
        versions: vec!["1".to_owned()],
        platform: platform.to_owned(),
        inputs: vec![tensor("IN")],
        outputs: vec![tensor("OUT")],
    }
}

/// The same as JSON.
fn described_json(model: &str, platform: &str) -> Value {
    let told = described(model, platform);
    let tensors = |all: &[TensorMetadata]| -> Value {
        let one = |it: &TensorMetadata| json!({"name": it.name, "datatype": it.datatype, "shape": it.shape});
        all.iter().map(one).collect()
    };
    json!({
        "name": told.name, "versions": told.versions, "platform": told.platform,
        "inputs": tensors(&told.inputs), "outputs": tensors(&told.outputs),
    })
}
