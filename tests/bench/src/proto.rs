//! The messages that are sent and read, as far as they are: field numbers as in
//! `proto/generation.proto` (package `fmaas`), `grpc.health.v1`, and the Open Inference Protocol's
//! `grpc_predict_v2.proto` (package `inference`).

pub mod caikit;
pub mod stream;

use prost::Message;

/// `fmaas.BatchedGenerationRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct BatchedGenerationRequest {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_id: String,
    /// The prompts.
    #[prost(message, repeated, tag = "3")]
    pub requests: Vec<GenerationRequest>,
    /// For all of them.
    #[prost(message, optional, tag = "10")]
    pub params: Option<Parameters>,
}

/// `fmaas.SingleGenerationRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct SingleGenerationRequest {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_id: String,
    /// The prompt.
    #[prost(message, optional, tag = "3")]
    pub request: Option<GenerationRequest>,
    /// For it.
    #[prost(message, optional, tag = "10")]
    pub params: Option<Parameters>,
}

/// `fmaas.GenerationRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct GenerationRequest {
    /// The prompt.
    #[prost(string, tag = "2")]
    pub text: String,
}

/// `fmaas.Parameters`.
#[derive(Clone, PartialEq, Message)]
pub struct Parameters {
    /// When to stop.
    #[prost(message, optional, tag = "3")]
    pub stopping: Option<StoppingCriteria>,
}

/// `fmaas.StoppingCriteria`.
#[derive(Clone, PartialEq, Message)]
pub struct StoppingCriteria {
    /// Most tokens.
    #[prost(uint32, tag = "1")]
    pub max_new_tokens: u32,
}

/// `fmaas.BatchedGenerationResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct BatchedGenerationResponse {
    /// One for each prompt.
    #[prost(message, repeated, tag = "1")]
    pub responses: Vec<GenerationResponse>,
}

/// `StopReason.MAX_TOKENS`.
pub const MAX_TOKENS: i32 = 1;

/// `fmaas.GenerationResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct GenerationResponse {
    /// So far.
    #[prost(uint32, tag = "2")]
    pub generated_token_count: u32,
    /// New text.
    #[prost(string, tag = "4")]
    pub text: String,
    /// Of the prompt; in a stream, in the first message.
    #[prost(uint32, tag = "6")]
    pub input_token_count: u32,
    /// 0: more follows.
    #[prost(int32, tag = "7")]
    pub stop_reason: i32,
    /// What was used.
    #[prost(uint64, tag = "10")]
    pub seed: u64,
}

/// `fmaas.BatchedTokenizeResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct BatchedTokenizeResponse {
    /// One for each text.
    #[prost(message, repeated, tag = "1")]
    pub responses: Vec<TokenizeResponse>,
}

/// `fmaas.TokenizeResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct TokenizeResponse {
    /// Tokens of the text.
    #[prost(uint32, tag = "1")]
    pub token_count: u32,
}

/// `fmaas.ModelInfoResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelInfoResponse {
    /// 0: decoder only.
    #[prost(int32, tag = "1")]
    pub model_kind: i32,
    /// Input and output together.
    #[prost(uint32, tag = "2")]
    pub max_sequence_length: u32,
    /// Most of one answer.
    #[prost(uint32, tag = "3")]
    pub max_new_tokens: u32,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct HealthCheckResponse {
    /// 1: serving.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// `inference.ServerLiveResponse`, `ServerReadyResponse` and `ModelReadyResponse` are alike.
#[derive(Clone, PartialEq, Message)]
pub struct Well {
    /// Live, or ready.
    #[prost(bool, tag = "1")]
    pub well: bool,
}

/// `inference.ServerMetadataResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ServerMetadata {
    /// The server.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// What it can do beyond the protocol.
    #[prost(string, repeated, tag = "3")]
    pub extensions: Vec<String>,
}

/// `inference.RepositoryIndexResponse`, as Triton has it.
#[derive(Clone, PartialEq, Message)]
pub struct RepositoryIndex {
    /// The models.
    #[prost(message, repeated, tag = "1")]
    pub models: Vec<ModelIndex>,
}

/// `RepositoryIndexResponse.ModelIndex`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelIndex {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// `READY`.
    #[prost(string, tag = "3")]
    pub state: String,
}

/// `inference.ModelMetadataResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelMetadata {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its versions.
    #[prost(string, repeated, tag = "2")]
    pub versions: Vec<String>,
    /// What runs it.
    #[prost(string, tag = "3")]
    pub platform: String,
    /// What goes in.
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<Tensor>,
    /// What comes out.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<Tensor>,
}

/// `TensorMetadata`, `InferInputTensor` and `InferOutputTensor`, which begin alike.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The type of its values.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// Its shape.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

/// `inference.ModelInferRequest`, with raw contents to be appended as field 7.
#[derive(Clone, PartialEq, Message)]
pub struct InferRequest {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// The tensors.
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<Tensor>,
}

/// `inference.ModelInferResponse`, without its raw contents (field 6).
#[derive(Clone, PartialEq, Message)]
pub struct InferResponse {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// The tensors.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<Tensor>,
}

/// The number of `ModelInferRequest.raw_input_contents`.
pub const RAW_INPUT: u32 = 7;
/// The number of `ModelInferResponse.raw_output_contents`.
pub const RAW_OUTPUT: u32 = 6;

/// A message with one long field of bytes behind it, in its frame but for those bytes.
#[must_use]
pub fn framed_before(message: &impl Message, field: u32, length: usize) -> bytes::Bytes {
    let mut body = message.encode_to_vec();
    prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut body);
    prost::encoding::encode_varint(length as u64, &mut body);
    let mut out = crate::frames::prefix(body.len() + length).to_vec();
    out.extend_from_slice(&body);
    out.into()
}
