//! What is answered to a client, made of the events of its call.

use prost::Message;
use tollgate_sdk_protocol::{
    failure,
    inference::{Event, ModelInfo, Tokenized, Usage},
    types::{Failure, FailureKind},
};

use super::{
    batch::Batch,
    neutral,
    request::{Asked, What},
    stream::Stream,
};
use crate::{
    fmaas::{
        BatchedTokenizeResponse, ModelInfoResponse, TokenizeResponse,
        model_info_response::ModelKind, tokenize_response::Offset,
    },
    model_kind,
};

/// A step of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// One message.
    Message(Vec<u8>),
    /// The end, and all went well.
    Done,
    /// The end, and it did not.
    Failed(Failure),
}

/// An answer in the making.
pub enum Reply {
    /// `Generate`.
    Batch(Batch),
    /// `GenerateStream`.
    Stream(Stream),
    /// `Tokenize`.
    Tokenize(Tokens),
    /// `ModelInfo`.
    Model(Model),
}

impl Reply {
    /// The beginning of the answer to a request. `limited`: it has a limit of new tokens.
    pub fn to(asked: &Asked, model: &str, limited: bool) -> Self {
        match &asked.what {
            What::Generate(generate) => {
                let detail = neutral::detail(&generate.params);
                let seed = neutral::seed(&generate.params);
                if generate.stream {
                    Self::Stream(Stream::new(detail, seed, limited))
                } else {
                    Self::Batch(Batch::new(generate.prompts.len(), detail, seed, limited))
                }
            }
            What::Tokenize(tokenize) => Self::Tokenize(Tokens {
                responses: vec![None; tokenize.texts.len()],
                tokens: tokenize.rest.return_tokens,
                offsets: tokenize.rest.return_offsets,
            }),
            What::Model => Self::Model(Model {
                name: model.to_owned(),
                found: None,
            }),
        }
    }

    /// Takes an event; gives what it leads to. Nothing follows `Done` and `Failed`.
    pub fn take(&mut self, event: Event, out: &mut Vec<Output>) {
        if let Event::Failed(failure) = event {
            out.push(Output::Failed(failure));
            return;
        }
        match self {
            Self::Batch(batch) => batch.take(event, out),
            Self::Stream(stream) => stream.take(event, out),
            Self::Tokenize(tokens) => tokens.take(event, out),
            Self::Model(model) => model.take(event, out),
        }
    }

    /// Tokens counted so far, where there are any to count.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Batch(batch) => batch.usage(),
            Self::Stream(stream) => stream.usage(),
            Self::Tokenize(_) | Self::Model(_) => None,
        }
    }
}

/// The worker said that it was done, and it was not.
pub fn unfinished(what: &str) -> Output {
    Output::Failed(failure::upstream_unavailable(format!(
        "the worker ended without {what}"
    )))
}

/// A worker whose generation failed by its own word.
pub fn generation_failed() -> Output {
    Output::Failed(failure::of(
        FailureKind::Internal,
        "Request failed during generation: the worker reported an error",
    ))
}

/// Tokens in each of a batch of texts.
pub struct Tokens {
    responses: Vec<Option<TokenizeResponse>>,
    tokens: bool,
    offsets: bool,
}

impl Tokens {
    fn take(&mut self, event: Event, out: &mut Vec<Output>) {
        match event {
            Event::Tokenized(items) => {
                for item in items {
                    let at = item.item as usize;
                    let Some(place) = self.responses.get_mut(at) else {
                        out.push(unfinished("keeping to the texts that it was given"));
                        return;
                    };
                    *place = Some(response(item, self.tokens, self.offsets));
                }
            }
            Event::End => {
                let responses: Option<Vec<_>> =
                    self.responses.iter_mut().map(Option::take).collect();
                match responses {
                    Some(responses) => {
                        let message = BatchedTokenizeResponse { responses };
                        out.extend([Output::Message(message.encode_to_vec()), Output::Done]);
                    }
                    None => out.push(unfinished("counting every text")),
                }
            }
            _ => {}
        }
    }
}

fn response(item: Tokenized, tokens: bool, offsets: bool) -> TokenizeResponse {
    let offset = |offset: &tollgate_sdk_protocol::inference::Offset| Offset {
        start: offset.start,
        end: offset.end,
    };
    TokenizeResponse {
        token_count: item.count,
        tokens: if tokens { item.texts } else { Vec::new() },
        offsets: if offsets {
            item.offsets.iter().map(offset).collect()
        } else {
            Vec::new()
        },
    }
}

/// The limits of a model.
pub struct Model {
    name: String,
    found: Option<ModelInfo>,
}

impl Model {
    fn take(&mut self, event: Event, out: &mut Vec<Output>) {
        match event {
            Event::Models(models) => {
                // A worker that has one model may call it by a name of its own.
                let named = models.iter().position(|model| model.name == self.name);
                let only = (models.len() == 1).then_some(0);
                if let Some(at) = named.or(only) {
                    self.found = models.into_iter().nth(at);
                }
            }
            Event::End => match self.found.take() {
                Some(model) => {
                    let kind = model_kind::of(&model).unwrap_or(ModelKind::DecoderOnly);
                    let message = ModelInfoResponse {
                        model_kind: kind.into(),
                        // Zero is what these fields say when nobody knows.
                        max_sequence_length: model.max_length.unwrap_or(0),
                        max_new_tokens: model.max_new_tokens.unwrap_or(0),
                    };
                    out.extend([Output::Message(message.encode_to_vec()), Output::Done]);
                }
                None => out.push(Output::Failed(failure::of(
                    FailureKind::NotFound,
                    format!("the worker does not know the model {}", self.name),
                ))),
            },
            _ => {}
        }
    }
}
