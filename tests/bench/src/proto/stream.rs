//! Messages of `inference.GRPCInferenceService/ModelStreamInfer`, as Triton has them: field
//! numbers as in its `grpc_service.proto`.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

use super::Tensor;

/// `ModelInferRequest`, with what its tensors hold.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// What goes in.
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<Tensor>,
    /// Its values, one for each.
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub raw: Vec<Bytes>,
}

/// `ModelStreamInferResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// Empty where all is well.
    #[prost(string, tag = "1")]
    pub error_message: String,
    /// The answer.
    #[prost(message, optional, tag = "2")]
    pub infer_response: Option<Answer>,
}

/// `ModelInferResponse`, with what its tensors hold.
#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// Among them whether this is the last answer.
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    /// What comes out.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<Tensor>,
    /// Its values, one for each.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub raw: Vec<Bytes>,
}

/// `InferParameter`: of its kinds the one that is sent.
#[derive(Clone, PartialEq, Message)]
pub struct Parameter {
    /// `bool_param`.
    #[prost(bool, optional, tag = "1")]
    pub flag: Option<bool>,
}
