//! Answers of the caikit runtime with the library caikit-nlp, over REST and over gRPC. They are
//! worded as those of `tests/transcripts/caikit`, which a real runtime gave.

use std::{fmt::Write as _, sync::Arc};

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::{Shape, Writes, vectors::Vectors};
use crate::{
    frames::framed,
    known::{self, INPUT_TOKENS},
    proto::caikit::{
        Details, Embedding, Embeddings, Floats, GeneratedPiece, GeneratedText, MAX_TOKENS,
        ModelInfo, ModelInfoResponse, ProducerId, Vector, Vectors as List,
    },
};

/// Every answer; over gRPC in its frame.
pub struct Caikit {
    /// REST: `text-generation`.
    pub rest_text: Bytes,
    /// REST: `server-streaming-text-generation`.
    pub rest_stream: Writes,
    /// REST: `embedding`.
    pub rest_vector: Bytes,
    /// REST: `/info/models`.
    pub rest_models: Bytes,
    /// gRPC: `TextGenerationTaskPredict`.
    pub grpc_text: Bytes,
    /// gRPC: `ServerStreamingTextGenerationTaskPredict`.
    pub grpc_stream: Writes,
    /// gRPC: `EmbeddingTaskPredict`.
    pub grpc_vector: Bytes,
    /// gRPC: `GetModelsInfo`.
    pub grpc_models: Bytes,
    vectors: Vectors,
}

/// The module that embeds, as it names itself.
const EMBEDDING: &str = r#"{"name": "EmbeddingModule", "version": "0.0.1"}"#;

impl Caikit {
    /// Makes them.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let vectors = Vectors::new();
        let (text, tokens) = (known::text(shape.tokens), shape.tokens);
        let model = Value::from(shape.model.as_str());
        Self {
            rest_text: format!(
                "{{\"generated_text\": {}, \"generated_tokens\": {tokens}, \
                 \"finish_reason\": \"MAX_TOKENS\", \
                 \"producer_id\": {{\"name\": \"Text Generation\", \"version\": \"0.1.0\"}}, \
                 \"input_token_count\": {INPUT_TOKENS}, \"seed\": null, \"tokens\": [], \
                 \"input_tokens\": []}}",
                Value::from(text.as_str())
            )
            .into(),
            rest_stream: stream(shape, event),
            rest_vector: format!(
                "{{\"result\": {{\"data\": {{\"values\": {}}}}}, \"producer_id\": {EMBEDDING}, \
                 \"input_token_count\": {INPUT_TOKENS}}}",
                vectors.json(0, false)
            )
            .into(),
            rest_models: format!(
                "{{\"models\": [{{\"model_path\": \"\", \"name\": {model}, \"size\": 0, \
                 \"metadata\": {{}}, \"loaded\": true, \"module_id\": \"\", \
                 \"module_metadata\": {{}}}}]}}"
            )
            .into(),
            grpc_text: framed(&GeneratedText {
                generated_text: text,
                generated_tokens: tokens.into(),
                finish_reason: MAX_TOKENS,
                producer_id: Some(producer("Text Generation", "0.1.0")),
                input_token_count: INPUT_TOKENS.into(),
            }),
            grpc_stream: stream(shape, |piece| framed(&message(piece))),
            grpc_vector: framed(&Embedding {
                result: Some(vector(0)),
                producer_id: Some(producer("EmbeddingModule", "0.0.1")),
                input_token_count: INPUT_TOKENS.into(),
            }),
            grpc_models: framed(&ModelInfoResponse {
                models: vec![ModelInfo {
                    name: shape.model.clone(),
                    loaded: true,
                }],
            }),
            vectors,
        }
    }

    /// REST: `embedding-tasks` of so many texts.
    #[must_use]
    pub fn rest_vectors(&self, texts: u32) -> Bytes {
        let mut out = String::from("{\"results\": {\"vectors\": [");
        for at in 0..texts {
            let comma = if at == 0 { "" } else { ", " };
            let values = self.vectors.json(at, false);
            let _ = write!(out, "{comma}{{\"data\": {{\"values\": {values}}}}}");
        }
        let _ = write!(
            out,
            "]}}, \"producer_id\": {EMBEDDING}, \"input_token_count\": {}}}",
            texts * INPUT_TOKENS
        );
        out.into()
    }

    /// gRPC: `EmbeddingTasksPredict` of so many texts.
    #[must_use]
    pub fn grpc_vectors(&self, texts: u32) -> Bytes {
        framed(&Embeddings {
            results: Some(List {
                vectors: (0..texts).map(vector).collect(),
            }),
            producer_id: Some(producer("EmbeddingModule", "0.0.1")),
            input_token_count: (texts * INPUT_TOKENS).into(),
        })
    }
}

fn producer(name: &str, version: &str) -> ProducerId {
    ProducerId {
        name: name.to_owned(),
        version: version.to_owned(),
    }
}

fn vector(at: u32) -> Vector {
    Vector {
        floats: Some(Floats {
            values: known::vector(at),
        }),
    }
}

/// What one event or message of a stream says.
#[derive(Clone, Copy)]
enum Piece {
    /// The first: of the input.
    Input,
    /// A token, and whether it is the last.
    Token(u32, bool),
}

/// A stream: what is known of the input, a piece for each token, the last with the reason.
fn stream(shape: &Shape, write: impl Fn(Piece) -> Bytes) -> Writes {
    let writes = shape.writes().map(|range| {
        let mut out = BytesMut::new();
        if range.start == 0 {
            out.extend_from_slice(&write(Piece::Input));
        }
        for at in range {
            out.extend_from_slice(&write(Piece::Token(at, at + 1 == shape.tokens)));
        }
        out.freeze()
    });
    Arc::from(writes.collect::<Vec<_>>())
}

fn event(piece: Piece) -> Bytes {
    let (text, tokens, reason, count, input) = match piece {
        Piece::Input => ("", "null", "NOT_FINISHED", 0, INPUT_TOKENS),
        Piece::Token(at, false) => (known::token(at), "[]", "NOT_FINISHED", at + 1, 0),
        Piece::Token(at, true) => (known::token(at), "[]", "MAX_TOKENS", at + 1, 0),
    };
    format!(
        "event: message\r\ndata: {{\"generated_text\": {}, \"tokens\": {tokens}, \
         \"details\": {{\"finish_reason\": \"{reason}\", \"generated_tokens\": {count}, \
         \"seed\": 0, \"input_token_count\": {input}}}, \"producer_id\": null, \
         \"input_tokens\": null}}\r\n\r\n",
        Value::from(text)
    )
    .into()
}

fn message(piece: Piece) -> GeneratedPiece {
    let (text, details) = match piece {
        Piece::Input => (
            "",
            Details {
                input_token_count: INPUT_TOKENS.into(),
                ..Details::default()
            },
        ),
        Piece::Token(at, last) => (
            known::token(at),
            Details {
                finish_reason: if last { MAX_TOKENS } else { 0 },
                generated_tokens: at + 1,
                input_token_count: 0,
            },
        ),
    };
    GeneratedPiece {
        generated_text: text.to_owned(),
        details: Some(details),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::stub::answers::shape;

    #[test]
    fn whole_answers_parse_and_say_the_same_on_both_surfaces() {
        let all = Caikit::new(&shape(160, 1));
        let rest: Value = serde_json::from_slice(&all.rest_text).unwrap();
        let grpc = GeneratedText::decode(&all.grpc_text[5..]).unwrap();
        assert_eq!(rest["generated_text"], grpc.generated_text.as_str());
        assert_eq!(rest["generated_tokens"], grpc.generated_tokens);
        assert_eq!(grpc.generated_text, known::text(160));
        let models: Value = serde_json::from_slice(&all.rest_models).unwrap();
        assert_eq!(models["models"][0]["name"], "m");
        let rest: Value = serde_json::from_slice(&all.rest_vector).unwrap();
        let grpc = Embedding::decode(&all.grpc_vector[5..]).unwrap();
        let values = grpc.result.unwrap().floats.unwrap().values;
        assert_eq!(
            rest["result"]["data"]["values"],
            Value::from(values.as_slice())
        );
    }

    #[test]
    fn vectors_of_several_texts_differ() {
        let all = Caikit::new(&shape(1, 1));
        let rest: Value = serde_json::from_slice(&all.rest_vectors(3)).unwrap();
        let grpc = Embeddings::decode(&all.grpc_vectors(3)[5..]).unwrap();
        let vectors = grpc.results.unwrap().vectors;
        for at in 0..3 {
            let values = &vectors[at].floats.as_ref().unwrap().values;
            assert_eq!(*values, known::vector(u32::try_from(at).unwrap()));
            let data = &rest["results"]["vectors"][at]["data"];
            assert_eq!(data["values"], Value::from(values.as_slice()));
        }
        assert_eq!(rest["input_token_count"], 3 * INPUT_TOKENS);
    }

    #[test]
    fn streams_begin_with_the_input_and_end_with_the_reason() {
        let all = Caikit::new(&shape(8, 3));
        assert_eq!((all.rest_stream.len(), all.grpc_stream.len()), (3, 3));
        let text = String::from_utf8(all.rest_stream.concat()).unwrap();
        let events: Vec<Value> = text
            .split_terminator("\r\n\r\n")
            .map(|event| event.strip_prefix("event: message\r\ndata: ").unwrap())
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        assert_eq!(events.len(), 9);
        assert_eq!(events[0]["details"]["input_token_count"], INPUT_TOKENS);
        let said: String = events
            .iter()
            .filter_map(|event| event["generated_text"].as_str())
            .collect();
        assert_eq!(said, known::text(8));
        assert_eq!(events[8]["details"]["finish_reason"], "MAX_TOKENS");
        assert_eq!(events[7]["details"]["finish_reason"], "NOT_FINISHED");
        let mut bytes = Bytes::from(all.grpc_stream.concat());
        let mut last = GeneratedPiece::default();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
            last = GeneratedPiece::decode(&bytes.split_to(5 + length)[5..]).unwrap();
        }
        let details = last.details.unwrap();
        assert_eq!(
            (details.generated_tokens, details.finish_reason),
            (8, MAX_TOKENS)
        );
    }
}
