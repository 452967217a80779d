//! Messages of the caikit runtime with the library caikit-nlp, as far as they are sent and read:
//! field numbers as in `proto/caikit`.

use prost::Message;

/// `FinishReason.MAX_TOKENS`.
pub const MAX_TOKENS: i32 = 1;

/// `TextGenerationTaskRequest`, and the same for a stream.
#[derive(Clone, PartialEq, Message)]
pub struct TextGenerationRequest {
    /// The prompt.
    #[prost(string, tag = "1")]
    pub text: String,
    /// Most tokens.
    #[prost(int64, optional, tag = "2")]
    pub max_new_tokens: Option<i64>,
}

/// `EmbeddingTaskRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct EmbeddingRequest {
    /// What is embedded.
    #[prost(string, tag = "1")]
    pub text: String,
}

/// `caikit_data_model.common.ProducerId`.
#[derive(Clone, PartialEq, Message)]
pub struct ProducerId {
    /// The module.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `caikit_data_model.nlp.GeneratedTextResult`.
#[derive(Clone, PartialEq, Message)]
pub struct GeneratedText {
    /// All of it.
    #[prost(string, tag = "1")]
    pub generated_text: String,
    /// Its tokens.
    #[prost(int64, tag = "2")]
    pub generated_tokens: i64,
    /// Why it ended.
    #[prost(int32, tag = "3")]
    pub finish_reason: i32,
    /// Who made it.
    #[prost(message, optional, tag = "4")]
    pub producer_id: Option<ProducerId>,
    /// Of the prompt.
    #[prost(int64, tag = "5")]
    pub input_token_count: i64,
}

/// `caikit_data_model.nlp.GeneratedTextStreamResult`.
#[derive(Clone, PartialEq, Message)]
pub struct GeneratedPiece {
    /// New text.
    #[prost(string, tag = "1")]
    pub generated_text: String,
    /// How far it is.
    #[prost(message, optional, tag = "3")]
    pub details: Option<Details>,
}

/// `caikit_data_model.nlp.TokenStreamDetails`.
#[derive(Clone, PartialEq, Message)]
pub struct Details {
    /// 0: more follows.
    #[prost(int32, tag = "1")]
    pub finish_reason: i32,
    /// So far.
    #[prost(uint32, tag = "2")]
    pub generated_tokens: u32,
    /// Of the prompt, in the first message.
    #[prost(int64, tag = "4")]
    pub input_token_count: i64,
}

/// `caikit_data_model.caikit_nlp.EmbeddingResult`.
#[derive(Clone, PartialEq, Message)]
pub struct Embedding {
    /// The vector.
    #[prost(message, optional, tag = "1")]
    pub result: Option<Vector>,
    /// Who made it.
    #[prost(message, optional, tag = "2")]
    pub producer_id: Option<ProducerId>,
    /// Of the text.
    #[prost(int64, tag = "3")]
    pub input_token_count: i64,
}

/// `caikit_data_model.caikit_nlp.EmbeddingResults`.
#[derive(Clone, PartialEq, Message)]
pub struct Embeddings {
    /// The vectors.
    #[prost(message, optional, tag = "1")]
    pub results: Option<Vectors>,
    /// Who made them.
    #[prost(message, optional, tag = "2")]
    pub producer_id: Option<ProducerId>,
    /// Of all texts.
    #[prost(int64, tag = "3")]
    pub input_token_count: i64,
}

/// `caikit_data_model.common.ListOfVector1D`.
#[derive(Clone, PartialEq, Message)]
pub struct Vectors {
    /// One for each text.
    #[prost(message, repeated, tag = "1")]
    pub vectors: Vec<Vector>,
}

/// `caikit_data_model.common.Vector1D`: of its kinds of values the one that caikit-nlp writes.
#[derive(Clone, PartialEq, Message)]
pub struct Vector {
    /// `data_npfloat32sequence`.
    #[prost(message, optional, tag = "2")]
    pub floats: Option<Floats>,
}

/// `caikit_data_model.common.NpFloat32Sequence`.
#[derive(Clone, PartialEq, Message)]
pub struct Floats {
    /// The values.
    #[prost(float, repeated, tag = "1")]
    pub values: Vec<f32>,
}

/// `caikit_data_model.common.runtime.ModelInfoResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelInfoResponse {
    /// The models.
    #[prost(message, repeated, tag = "1")]
    pub models: Vec<ModelInfo>,
}

/// `caikit_data_model.common.runtime.ModelInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct ModelInfo {
    /// The model.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Whether it is there.
    #[prost(bool, tag = "7")]
    pub loaded: bool,
}
