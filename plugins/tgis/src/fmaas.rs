//! The messages of `proto/generation.proto`, generated at build time.

#[allow(missing_docs, clippy::all, unreachable_pub)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/fmaas.rs"));
}

pub use generated::*;

/// The one service, by its full name.
pub const SERVICE: &str = "fmaas.GenerationService";

/// Serialized `google.protobuf.FileDescriptorSet` of the file, without source information.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fmaas.descriptor"));

/// Field numbers that are read and written without the generated types, because the
/// values under them may be too big to be copied.
pub mod number {
    /// `model_id` of every request.
    pub const MODEL_ID: u32 = 1;
    /// `prefix_id` of the generation requests.
    pub const PREFIX_ID: u32 = 2;
    /// `requests` and `request` of the generation requests.
    pub const REQUESTS: u32 = 3;
    /// `adapter_id` of the generation requests.
    pub const ADAPTER_ID: u32 = 4;
    /// `params` of the generation requests.
    pub const PARAMS: u32 = 10;
    /// `GenerationRequest.text`.
    pub const REQUEST_TEXT: u32 = 2;
    /// `BatchedGenerationResponse.responses`.
    pub const RESPONSES: u32 = 1;
    /// `GenerationResponse.generated_token_count`.
    pub const GENERATED_TOKEN_COUNT: u32 = 2;
    /// `GenerationResponse.input_token_count`.
    pub const INPUT_TOKEN_COUNT: u32 = 6;
    /// `BatchedTokenizeRequest.requests`.
    pub const TOKENIZE_REQUESTS: u32 = 2;
    /// `TokenizeRequest.text`.
    pub const TOKENIZE_TEXT: u32 = 1;
}
