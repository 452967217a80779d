//! What goes over the wire: one set of types for both sides, so that they cannot differ.

use serde::{Deserialize, Serialize};
use tollgate_sdk_protocol::inference::FinishReason;

/// An error, as the host writes it before and beside a guest.
pub const ERROR: &str = r#"{"error":{"kind":"{label}","message":"{message}","param":{param}}}"#;

/// `POST /quill/v1/write`. A member that is not here is refused, by clients' and by workers' side.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub prompt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default)]
    pub stream: bool,
}

/// Its answer, whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub model: String,
    pub text: String,
    pub finish: Finish,
    pub usage: Usage,
}

/// Data of one event of a stream. Events without a name have `text`; the one named `end` has the
/// rest; one named `error` has an [`ErrorBody`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Piece {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// Tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model was done.
    Done,
    /// The limit of tokens.
    Length,
}

impl Finish {
    /// From the neutral model's reasons. None: one that this protocol has no word for.
    pub fn of(reason: &FinishReason) -> Option<Self> {
        match reason {
            FinishReason::EndOfSequence | FinishReason::StopSequence => Some(Self::Done),
            FinishReason::MaxTokens | FinishReason::TokenLimit => Some(Self::Length),
            _ => None,
        }
    }

    /// Into the neutral model's reasons.
    pub fn reason(self) -> FinishReason {
        match self {
            Self::Done => FinishReason::EndOfSequence,
            Self::Length => FinishReason::MaxTokens,
        }
    }
}

/// An error, as a worker or a stream tells it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorText,
}

/// What is in it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorText {
    pub kind: String,
    pub message: String,
}

/// `GET /quill/v1/models`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Models {
    pub models: Vec<String>,
}

/// `GET /quill/v1/health`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Health {
    pub ready: bool,
    /// What the server has.
    #[serde(default)]
    pub models: Vec<String>,
}

/// JSON of a type of this file, which always has one.
pub fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these types are JSON")
}
