//! Requests and responses of inference, in the protocol's two forms, without the bytes of
//! their tensors: what is read tells where each tensor lies, what is written names it.
//!
//! | module | |
//! |---|---|
//! | `grpc_read`, `grpc_write` | protocol buffers |
//! | `json_scan`, `rest_read`, `rest_write` | JSON, and the binary extension |
//! | `batch` | tensors of several calls as rows of one |
//! | `contents`, `value` | elements that are not in one piece, and so go through the guest |
//! | `parameters` | named settings, in both forms |
//! | `v1` | bodies of the first version of the protocol |

pub mod batch;
pub mod contents;
pub mod grpc_read;
pub mod grpc_write;
pub mod json_scan;
pub mod parameters;
pub mod rest_read;
pub mod rest_write;
pub mod v1;
pub mod value;

use tollgate_sdk_protocol::{
    fields,
    inference::{Parameter, Tensor},
};

/// A request, or a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// The model's name; empty: the client's path or the default says it.
    pub model: String,
    /// Its version; empty: the server chooses.
    pub version: String,
    /// The client's own mark.
    pub id: String,
    pub parameters: Vec<Parameter>,
    /// Inputs of a request, outputs of a response.
    pub tensors: Vec<Tensor>,
    /// Outputs that a request asks for; none named: all.
    pub outputs: Vec<Tensor>,
}

/// Which of the two messages it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
}

impl Kind {
    /// Name of the member with the tensors, in JSON.
    pub fn member(self) -> &'static str {
        match self {
            Self::Request => "inputs",
            Self::Response => "outputs",
        }
    }

    /// Number of the raw contents, in protocol buffers.
    pub fn raw_field(self) -> u32 {
        match self {
            Self::Request => 7,
            Self::Response => 6,
        }
    }

    /// A tensor of it, in words.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Request => "input",
            Self::Response => "output",
        }
    }
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The source must get this far first.
    More(u64),
    /// It is not what it should be, for this reason.
    Bad(String),
}

impl Stop {
    /// A reason.
    pub fn bad(reason: impl Into<String>) -> Self {
        Self::Bad(reason.into())
    }

    /// This is no message.
    pub fn malformed() -> Self {
        Self::bad("the message is not valid protocol buffers")
    }
}

impl From<fields::Stop> for Stop {
    fn from(stop: fields::Stop) -> Self {
        match stop {
            fields::Stop::More(to) => Self::More(to),
            fields::Stop::Malformed => Self::malformed(),
        }
    }
}
