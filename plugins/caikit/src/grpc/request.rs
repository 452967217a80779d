//! Messages of requests.

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use serde_json::{Map, Value};
use tollgate_sdk_protocol::{
    Bytes, failure, text,
    types::{Failure, Segment, Text},
};

use super::{decode, structs};
use crate::{
    endpoint::Endpoint,
    proto::{
        EmbeddingTaskRequest, EmbeddingTasksRequest, RerankTaskRequest, RerankTasksRequest,
        SentenceSimilarityTaskRequest, SentenceSimilarityTasksRequest,
        TextClassificationTaskRequest, TextGenerationTaskRequest, TokenClassificationTaskRequest,
        TokenizationTaskRequest,
    },
    request::{Request, Rerank},
};

/// Numbers of the fields that hold texts.
const FIRST: u32 = 1;
const SENTENCES: u32 = 2;

fn inline(texts: Vec<String>) -> Vec<Text> {
    texts.into_iter().map(Text::Inline).collect()
}

/// Reads a client's message.
///
/// # Errors
/// When it is not valid protocol buffers.
pub fn read(endpoint: Endpoint, message: &[u8]) -> Result<Request, Failure> {
    Ok(match endpoint {
        // Both have the same fields under the same numbers.
        Endpoint::Generate | Endpoint::GenerateStream => {
            let mut parameters: TextGenerationTaskRequest = decode(message)?;
            Request::Generate {
                text: Text::Inline(std::mem::take(&mut parameters.text)),
                parameters: Box::new(parameters),
            }
        }
        Endpoint::Embed => {
            let request: EmbeddingTaskRequest = decode(message)?;
            Request::Embed {
                texts: vec![Text::Inline(request.text)],
                truncate: request.truncate_input_tokens,
            }
        }
        Endpoint::Embeds => {
            let request: EmbeddingTasksRequest = decode(message)?;
            Request::Embed {
                texts: inline(request.texts),
                truncate: request.truncate_input_tokens,
            }
        }
        Endpoint::Similarity => {
            let request: SentenceSimilarityTaskRequest = decode(message)?;
            Request::Similarity {
                sources: vec![Text::Inline(request.source_sentence)],
                sentences: inline(request.sentences),
                truncate: request.truncate_input_tokens,
            }
        }
        Endpoint::Similarities => {
            let request: SentenceSimilarityTasksRequest = decode(message)?;
            Request::Similarity {
                sources: inline(request.source_sentences),
                sentences: inline(request.sentences),
                truncate: request.truncate_input_tokens,
            }
        }
        Endpoint::Rerank => {
            let request: RerankTaskRequest = decode(message)?;
            Request::Rerank(Rerank {
                queries: vec![Text::Inline(request.query)],
                documents: documents_of(&request.documents)?,
                top_n: request.top_n,
                truncate: request.truncate_input_tokens,
                return_documents: request.return_documents,
                return_queries: request.return_query,
                return_text: request.return_text,
            })
        }
        Endpoint::Reranks => {
            let request: RerankTasksRequest = decode(message)?;
            Request::Rerank(Rerank {
                queries: inline(request.queries),
                documents: documents_of(&request.documents)?,
                top_n: request.top_n,
                truncate: request.truncate_input_tokens,
                return_documents: request.return_documents,
                return_queries: request.return_queries,
                return_text: request.return_text,
            })
        }
        Endpoint::Tokenize => {
            let request: TokenizationTaskRequest = decode(message)?;
            Request::Tokenize(Text::Inline(request.text))
        }
        Endpoint::Classify => {
            let request: TextClassificationTaskRequest = decode(message)?;
            Request::Classify(request.text)
        }
        Endpoint::ClassifyTokens => {
            let request: TokenClassificationTaskRequest = decode(message)?;
            Request::ClassifyTokens {
                text: request.text,
                threshold: request.threshold,
            }
        }
    })
}

/// Over gRPC an empty list is none, and the runtime misses it.
fn documents_of(all: &[prost_types::Struct]) -> Result<Vec<String>, Failure> {
    if all.is_empty() {
        return Err(failure::invalid(
            "missing 1 required positional argument: 'documents'",
            Some("documents"),
        ));
    }
    let document = |object| Value::Object(structs::to_json(object)).to_string();
    Ok(all.iter().map(document).collect())
}

/// Writes a message for an endpoint that fits the request. Texts that the host holds are
/// named, not copied.
///
/// # Errors
/// When such a text cannot be read, or a document is no object.
pub fn write(
    bytes: &dyn Bytes,
    request: &Request,
    endpoint: Endpoint,
) -> Result<Vec<Segment>, Failure> {
    let mut body = Body::default();
    match request {
        Request::Generate { text, parameters } => {
            body.text(bytes, FIRST, text)?;
            body.rest(parameters.as_ref());
        }
        Request::Tokenize(text) => body.text(bytes, FIRST, text)?,
        Request::Classify(text) => body.rest(&TextClassificationTaskRequest { text: text.clone() }),
        Request::ClassifyTokens { text, threshold } => body.rest(&TokenClassificationTaskRequest {
            text: text.clone(),
            threshold: *threshold,
        }),
        Request::Embed { texts, truncate } => {
            body.texts(bytes, FIRST, texts)?;
            // Both have the parameter under the same number.
            body.rest(&EmbeddingTasksRequest {
                texts: Vec::new(),
                truncate_input_tokens: *truncate,
            });
        }
        Request::Similarity {
            sources,
            sentences,
            truncate,
        } => {
            body.texts(bytes, FIRST, sources)?;
            body.texts(bytes, SENTENCES, sentences)?;
            body.rest(&SentenceSimilarityTasksRequest {
                truncate_input_tokens: *truncate,
                ..Default::default()
            });
        }
        Request::Rerank(rerank) => {
            body.texts(bytes, FIRST, &rerank.queries)?;
            // The same numbers here too.
            debug_assert!(matches!(endpoint, Endpoint::Rerank | Endpoint::Reranks));
            body.rest(&RerankTasksRequest {
                queries: Vec::new(),
                documents: documents(&rerank.documents)?,
                top_n: rerank.top_n,
                truncate_input_tokens: rerank.truncate,
                return_documents: rerank.return_documents,
                return_queries: rerank.return_queries,
                return_text: rerank.return_text,
            });
        }
    }
    Ok(body.finish())
}

fn documents(all: &[String]) -> Result<Vec<prost_types::Struct>, Failure> {
    all.iter()
        .map(|json| {
            let object: Map<String, Value> = serde_json::from_str(json).map_err(|error| {
                failure::invalid(
                    format!("a document is no object: {error}"),
                    Some("documents"),
                )
            })?;
            Ok(structs::from_json(&object))
        })
        .collect()
}

/// A message in the making: bytes of our own, and values of the host's between them.
#[derive(Default)]
struct Body {
    segments: Vec<Segment>,
    inline: Vec<u8>,
}

impl Body {
    fn rest(&mut self, message: &impl Message) {
        self.inline.extend(message.encode_to_vec());
    }

    fn texts(&mut self, bytes: &dyn Bytes, number: u32, texts: &[Text]) -> Result<(), Failure> {
        texts
            .iter()
            .try_for_each(|text| self.text(bytes, number, text))
    }

    /// An empty text is written too: in a list it has a place.
    fn text(&mut self, bytes: &dyn Bytes, number: u32, value: &Text) -> Result<(), Failure> {
        let len = text::plain_len(bytes, value).map_err(|why| {
            failure::invalid(format!("the text cannot be read: {why}"), Some("text"))
        })?;
        encode_key(number, WireType::LengthDelimited, &mut self.inline);
        encode_varint(len, &mut self.inline);
        match value {
            Text::Inline(text) => self.inline.extend_from_slice(text.as_bytes()),
            Text::Held(_) => {
                let inline = std::mem::take(&mut self.inline);
                self.segments.push(Segment::Inline(inline));
                self.segments.push(text::plain(value));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Vec<Segment> {
        if !self.inline.is_empty() {
            self.segments.push(Segment::Inline(self.inline));
        }
        self.segments
    }
}
