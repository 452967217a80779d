//! What a client asks, taken out of its message.
//!
//! 1. The message is walked at its top level. Fields that repeat with texts in them are
//!    noted by place; big texts stay with the host.
//! 2. The place of `model_id` is noted for the edit that a pass may need.
//! 3. All other fields are copied and decoded as the message that they are.

use prost::Message;
use tollgate_sdk_protocol::{
    Bytes, failure,
    fields::{Field, Reader, Stop},
    text,
    types::{Failure, SourceId, Text},
};

use super::WINDOW;
use crate::fmaas::{
    BatchedGenerationRequest, BatchedTokenizeRequest, ModelInfoRequest, Parameters, number,
};

/// Texts up to this many bytes are copied: a call of the host's costs more.
const INLINE: u64 = 1024;

/// Range of a message that an edit replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First byte.
    pub offset: u64,
    /// Bytes; 0 inserts.
    pub len: u64,
}

/// A client's request.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// As the client wrote it; empty when it did not.
    pub model: String,
    /// The field `model_id`, key included; an empty range where it belongs if it is missing.
    pub model_at: Place,
    /// The rest.
    pub what: What,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// `Generate` and `GenerateStream`.
    Generate(Generate),
    /// `Tokenize`.
    Tokenize(Tokenize),
    /// `ModelInfo`.
    Model,
}

/// A generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Generate {
    /// One a request of the batch.
    pub prompts: Vec<Text>,
    /// With the parts that were left out at their defaults.
    pub params: Parameters,
    /// `adapter_id`, or else `prefix_id`.
    pub adapter: Option<String>,
    /// One prompt, answered piece by piece.
    pub stream: bool,
}

/// A tokenization. The texts are apart from the other fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenize {
    /// One a request of the batch.
    pub texts: Vec<Text>,
    /// The other fields.
    pub rest: BatchedTokenizeRequest,
}

/// Which method was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Unary, a batch.
    Generate,
    /// Server streaming, one prompt.
    GenerateStream,
    /// Unary, a batch.
    Tokenize,
    /// Unary.
    ModelInfo,
}

impl Method {
    /// In the order of the claims.
    pub const ALL: [Self; 4] = [
        Self::Generate,
        Self::GenerateStream,
        Self::Tokenize,
        Self::ModelInfo,
    ];

    /// Its name in the service.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generate => "Generate",
            Self::GenerateStream => "GenerateStream",
            Self::Tokenize => "Tokenize",
            Self::ModelInfo => "ModelInfo",
        }
    }
}

impl Asked {
    /// Reads a message that has arrived whole.
    ///
    /// # Errors
    /// `invalid-argument`, with this protocol's text where it has one.
    pub fn read(
        bytes: &dyn Bytes,
        source: SourceId,
        len: u64,
        method: Method,
    ) -> Result<Self, Failure> {
        let nested = match method {
            Method::Generate | Method::GenerateStream => {
                Some((number::REQUESTS, number::REQUEST_TEXT))
            }
            Method::Tokenize => Some((number::TOKENIZE_REQUESTS, number::TOKENIZE_TEXT)),
            Method::ModelInfo => None,
        };
        let parts = Parts::split(bytes, source, len, nested).map_err(Problem::failure)?;
        let Parts {
            model_at,
            mut texts,
            rest,
        } = parts;
        let (model, what) = match method {
            Method::Generate | Method::GenerateStream => {
                let stream = method == Method::GenerateStream;
                if stream {
                    // A field that may stand once and stands twice is merged: the last
                    // text counts.
                    let last = texts.pop();
                    texts = vec![last.ok_or_else(|| failure::invalid("missing request", None))?];
                }
                // Both requests have the same fields under the same numbers.
                let rest: BatchedGenerationRequest = decode(&rest)?;
                let generate = Generate {
                    prompts: texts,
                    params: rest.params.unwrap_or_default(),
                    adapter: rest
                        .adapter_id
                        .or(rest.prefix_id)
                        .filter(|id| !id.is_empty()),
                    stream,
                };
                (rest.model_id, What::Generate(generate))
            }
            Method::Tokenize => {
                let mut rest: BatchedTokenizeRequest = decode(&rest)?;
                let model = std::mem::take(&mut rest.model_id);
                (model, What::Tokenize(Tokenize { texts, rest }))
            }
            Method::ModelInfo => (decode::<ModelInfoRequest>(&rest)?.model_id, What::Model),
        };
        Ok(Self {
            model,
            model_at,
            what,
        })
    }

    /// How many prompts or texts there are to work on.
    pub fn items(&self) -> usize {
        match &self.what {
            What::Generate(generate) => generate.prompts.len(),
            What::Tokenize(tokenize) => tokenize.texts.len(),
            What::Model => 1,
        }
    }

    /// Bytes of all prompts or texts.
    pub fn text_bytes(&self) -> u64 {
        let texts = match &self.what {
            What::Generate(generate) => generate.prompts.as_slice(),
            What::Tokenize(tokenize) => tokenize.texts.as_slice(),
            What::Model => &[],
        };
        texts
            .iter()
            .map(|text| match text {
                Text::Inline(text) => text.len() as u64,
                Text::Held(held) => held.at.len,
            })
            .sum()
    }
}

fn decode<M: Message + Default>(fields: &[u8]) -> Result<M, Failure> {
    M::decode(fields).map_err(|error| failure::invalid(error.to_string(), None))
}

/// Why a message is refused before it is decoded.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("the message is not valid protocol buffers")]
    Malformed,
    /// What is authorized must be what is sent, whichever of two a worker reads.
    #[error("model_id stands twice")]
    TwoModels,
    #[error("text is not UTF-8")]
    NotText,
}

impl From<Stop> for Problem {
    /// All of the message is there: what is missing never comes.
    fn from(_: Stop) -> Self {
        Self::Malformed
    }
}

impl Problem {
    fn failure(self) -> Failure {
        let param = match self {
            Self::Malformed => None,
            Self::TwoModels => Some("model_id"),
            Self::NotText => Some("text"),
        };
        failure::invalid(self.to_string(), param)
    }
}

/// A message's top level, taken apart.
struct Parts {
    model_at: Place,
    texts: Vec<Text>,
    rest: Vec<u8>,
}

impl Parts {
    /// `nested` is the number of the field with the texts, and of the text in it.
    fn split(
        bytes: &dyn Bytes,
        source: SourceId,
        len: u64,
        nested: Option<(u32, u32)>,
    ) -> Result<Self, Problem> {
        let mut reader = Reader::whole(bytes, source, len).window(WINDOW);
        let mut model_at = None;
        let mut texts = Vec::new();
        let mut rest = Vec::new();
        let mut at = 0;
        while at < len {
            let field = reader.field(at, len)?;
            at = field.end;
            if let Some((list, text)) = nested
                && list == field.number
            {
                texts.push(text_of(&mut reader, &field, text)?);
                continue;
            }
            if field.number == number::MODEL_ID {
                let place = Place {
                    offset: field.start,
                    len: field.end - field.start,
                };
                if model_at.replace(place).is_some() {
                    return Err(Problem::TwoModels);
                }
            }
            rest.extend(reader.copy(field.start, field.end - field.start)?);
        }
        Ok(Self {
            model_at: model_at.unwrap_or(Place { offset: 0, len: 0 }),
            texts,
            rest,
        })
    }
}

/// The text of this number in a message of the list.
fn text_of(reader: &mut Reader<'_>, outer: &Field, number: u32) -> Result<Text, Problem> {
    let mut text = Text::Inline(String::new());
    if !outer.delimited {
        return Err(Problem::Malformed);
    }
    let mut at = outer.value;
    while at < outer.end {
        let field = reader.field(at, outer.end)?;
        at = field.end;
        if field.number == number {
            if !field.delimited {
                return Err(Problem::Malformed);
            }
            text = if field.len() <= INLINE {
                let copy = reader.message(&field)?;
                Text::Inline(String::from_utf8(copy).map_err(|_| Problem::NotText)?)
            } else {
                text::held_plain(reader.source(), field.value, field.len())
            };
        }
    }
    Ok(text)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
