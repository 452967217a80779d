//! What the tests share: requests and responses in both forms, and a way to play a client
//! at one end and a worker at the other.

// Each test file uses a part of it.
#![allow(dead_code)]

use prost::Message;
use tollgate_plugin_kserve::Kserve;
use tollgate_sdk_protocol::{
    Protocol, actions,
    backend::Worker as Station,
    frontend::{Parameter, PassTo, RequestHead, TranslateTo, Way},
    inference::{Call, Infer, Task},
    plugin::{Claim, Surface},
    testing::{Answer, Client, ClientOutcome, Memory, Pace, Worker, WorkerOutcome, context},
    types::Header,
};

/// The plugin and its claims, with these options.
pub fn plugin(options: &str) -> (Kserve, Vec<Claim>) {
    Kserve::configure(options).expect("good options")
}

/// The head of a request at the door with this pattern or method.
pub fn head(
    claims: &[Claim],
    door: &str,
    parameters: &[(&str, &str)],
    headers: Vec<Header>,
) -> RequestHead {
    let is = |claim: &Claim| match &claim.surface {
        Surface::Rest(rest) => format!("{} {}", rest.method, rest.path) == door,
        Surface::Grpc(grpc) => grpc.method == door,
    };
    let claim = claims.iter().position(is).expect("a door");
    let path = door.split_once(' ').map_or(door, |it| it.1).to_owned();
    let path = parameters.iter().fold(path, |path, (name, value)| {
        path.replace(&format!("{{{name}}}"), value)
    });
    RequestHead {
        claim: claim as u32,
        method: "POST".to_owned(),
        path,
        query: String::new(),
        parameters: parameters
            .iter()
            .map(|(name, value)| Parameter {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
        headers,
    }
}

pub const REST_INFER: &str = "POST /v2/models/{model}/infer";
pub const V1_PREDICT: &str = "POST /v1/models/{model}";

/// A head with the length of the JSON.
pub fn head_length(length: usize) -> Header {
    actions::header("inference-header-content-length", length.to_string())
}

pub fn translate(model: &str) -> Way {
    Way::Translate(TranslateTo {
        model: model.to_owned(),
    })
}

pub fn pass(model: &str, dialect: &str, options: &str) -> Way {
    Way::Pass(PassTo {
        model: model.to_owned(),
        dialect: dialect.to_owned(),
        options: options.to_owned(),
    })
}

/// A worker of a dialect.
pub fn station(dialect: &str, options: &str) -> Station {
    Station {
        name: "w".to_owned(),
        dialect: dialect.to_owned(),
        options: options.to_owned(),
        models: vec!["served".to_owned()],
    }
}

/// What becomes of a request at a worker of this dialect: the request that goes upstream,
/// and what the client is answered when the worker answers so.
pub struct Played {
    pub asked: ClientOutcome,
    pub worker: Option<WorkerOutcome>,
    pub told: ClientOutcome,
}

/// A request through frontend and backend, and its answer back.
pub struct Play<'a> {
    pub options: &'a str,
    pub door: &'a str,
    pub headers: Vec<Header>,
    pub request: Vec<u8>,
    pub grpc: bool,
    pub worker: Station,
    pub answer: Answer,
}

impl Play<'_> {
    pub fn run(&self, pace: Pace) -> Played {
        let (plugin, claims) = plugin(self.options);
        let parameters: &[(&str, &str)] = match self.door {
            _ if self.grpc => &[],
            V1_PREDICT => &[("model", "named:predict")],
            _ => &[("model", "named")],
        };
        let head = head(&claims, self.door, parameters, self.headers.clone());
        let mut client = if self.grpc {
            Client::grpc(vec![self.request.clone()], translate("served"))
        } else {
            Client {
                streamed: true,
                ..Client::rest(self.request.clone(), translate("served"))
            }
        };
        let frontend = plugin.exchange(context(), head.clone());
        let asked = client.play(frontend, pace);
        let Some((_, call)) = asked.calls.first().cloned() else {
            return Played {
                told: asked.clone(),
                asked,
                worker: None,
            };
        };
        let worker = Worker {
            answer: self.answer.clone(),
            sources: asked.sources.0.clone(),
        };
        let attempt = plugin.attempt(context(), self.worker.clone(), vec![call]);
        let outcome = worker.play(attempt, pace);
        client.events = outcome.told.0.iter().map(|it| it.event.clone()).collect();
        // The answer's bytes, where the events name them.
        let mut sources = Memory::default();
        for (at, content) in self.answer.content.iter().enumerate() {
            sources = sources.with((1 << 20) + at as u32, content.clone());
        }
        client.sources = sources;
        let told = client.play(plugin.exchange(context(), head), pace);
        Played {
            asked,
            worker: Some(outcome),
            told,
        }
    }
}

/// The one inference among calls.
pub fn infer(call: &Call) -> &Infer {
    match &call.task {
        Task::Infer(infer) => infer,
        other => panic!("{other:?}"),
    }
}

/// A parameter of a message.
#[derive(Clone, PartialEq, Message)]
pub struct Parameter64 {
    #[prost(int64, optional, tag = "2")]
    pub int64_param: Option<i64>,
    #[prost(string, optional, tag = "3")]
    pub string_param: Option<String>,
}

/// `InferTensorContents`, as far as the tests write it.
#[derive(Clone, PartialEq, Message)]
pub struct Contents {
    #[prost(bool, repeated, tag = "1")]
    pub bool_contents: Vec<bool>,
    #[prost(int32, repeated, tag = "2")]
    pub int_contents: Vec<i32>,
    #[prost(int64, repeated, tag = "3")]
    pub int64_contents: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    pub uint_contents: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    pub uint64_contents: Vec<u64>,
    #[prost(float, repeated, tag = "6")]
    pub fp32_contents: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    pub fp64_contents: Vec<f64>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub bytes_contents: Vec<Vec<u8>>,
}

/// An input or an output.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: std::collections::BTreeMap<String, Parameter64>,
    #[prost(message, optional, tag = "5")]
    pub contents: Option<Contents>,
}

/// `ModelInferRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(string, tag = "1")]
    pub model_name: String,
    #[prost(string, tag = "2")]
    pub model_version: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: std::collections::BTreeMap<String, Parameter64>,
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<Tensor>,
    /// Of those that are asked for only the name is looked at.
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<Tensor>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub raw_input_contents: Vec<Vec<u8>>,
}

/// `ModelInferResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    #[prost(string, tag = "1")]
    pub model_name: String,
    #[prost(string, tag = "2")]
    pub model_version: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<Tensor>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub raw_output_contents: Vec<Vec<u8>>,
}

/// `ModelStreamInferResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct StreamResponse {
    #[prost(string, tag = "1")]
    pub error_message: String,
    #[prost(message, optional, tag = "2")]
    pub infer_response: Option<Response>,
}

/// A tensor without elements.
pub fn tensor(name: &str, datatype: &str, shape: &[i64]) -> Tensor {
    Tensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..Tensor::default()
    }
}

/// A REST body with raw tensors: the JSON, and what follows it.
pub fn binary(json: &serde_json::Value, raw: &[&[u8]]) -> (Vec<u8>, usize) {
    let mut body = json.to_string().into_bytes();
    let head = body.len();
    for raw in raw {
        body.extend_from_slice(raw);
    }
    (body, head)
}

/// A REST answer with raw tensors.
pub fn binary_answer(json: &serde_json::Value, raw: &[&[u8]]) -> Answer {
    let (body, head) = binary(json, raw);
    let mut answer = Answer::rest(200, "application/octet-stream", body);
    answer.head.headers.push(head_length(head));
    answer
}
