//! Answers of TGIS and of the gRPC health service.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::{Shape, Writes};
use crate::{
    frames::{self, framed},
    known::{self, INPUT_TOKENS, SEED},
    proto::{
        BatchedGenerationResponse, BatchedTokenizeResponse, GenerationResponse,
        HealthCheckResponse, MAX_TOKENS, ModelInfoResponse, TokenizeResponse,
    },
};

/// Every answer, in its frame.
pub struct Messages {
    /// `GenerateStream`.
    pub stream: Writes,
    /// `ModelInfo`.
    pub model_info: Bytes,
    /// `grpc.health.v1.Health/Check`: serving.
    pub health: Bytes,
    /// `Generate` of one request.
    pub one: Bytes,
    generation: Bytes,
}

impl Messages {
    /// Makes them.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let response = GenerationResponse {
            generated_token_count: shape.tokens,
            text: known::text(shape.tokens),
            input_token_count: INPUT_TOKENS,
            stop_reason: MAX_TOKENS,
            seed: SEED,
        };
        let generation = BatchedGenerationResponse {
            responses: vec![response],
        };
        let mut all = Self {
            stream: stream(shape),
            model_info: framed(&ModelInfoResponse {
                model_kind: 0,
                max_sequence_length: 1_048_576,
                max_new_tokens: 1_048_576,
            }),
            health: framed(&HealthCheckResponse { status: 1 }),
            one: Bytes::new(),
            generation: generation.encode_to_vec().into(),
        };
        all.one = all.generations(1);
        all
    }

    /// `Generate` of so many requests: a repeated field repeats.
    #[must_use]
    pub fn generations(&self, requests: u32) -> Bytes {
        let length = self.generation.len() * requests as usize;
        let mut out = BytesMut::with_capacity(5 + length);
        out.extend_from_slice(&frames::prefix(length));
        for _ in 0..requests {
            out.extend_from_slice(&self.generation);
        }
        out.freeze()
    }

    /// `Tokenize` of so many texts.
    #[must_use]
    pub fn tokenized(&self, texts: u32) -> Bytes {
        let one = TokenizeResponse {
            token_count: INPUT_TOKENS,
        };
        framed(&BatchedTokenizeResponse {
            responses: vec![one; texts as usize],
        })
    }
}

/// A stream: what is known of the input, a message for each token, the last with the reason.
fn stream(shape: &Shape) -> Writes {
    let token = |at: u32| GenerationResponse {
        generated_token_count: at + 1,
        text: known::token(at).to_owned(),
        stop_reason: if at + 1 == shape.tokens {
            MAX_TOKENS
        } else {
            0
        },
        ..GenerationResponse::default()
    };
    let writes = shape.writes().map(|range| {
        let mut out = BytesMut::new();
        if range.start == 0 {
            out.extend_from_slice(&framed(&GenerationResponse {
                input_token_count: INPUT_TOKENS,
                seed: SEED,
                ..GenerationResponse::default()
            }));
        }
        for at in range {
            out.extend_from_slice(&framed(&token(at)));
        }
        out.freeze()
    });
    Arc::from(writes.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::answers::shape;

    #[test]
    fn generations_parse() {
        let all = Messages::new(&shape(160, 1));
        let answer = BatchedGenerationResponse::decode(&all.generations(3)[5..]).unwrap();
        assert_eq!(answer.responses.len(), 3);
        assert_eq!(answer.responses[2].text, known::text(160));
        let prefix = u32::from_be_bytes(all.one[1..5].try_into().unwrap());
        assert_eq!(prefix as usize + 5, all.one.len());
        let texts = BatchedTokenizeResponse::decode(&all.tokenized(2)[5..]).unwrap();
        assert_eq!(texts.responses.len(), 2);
    }

    #[test]
    fn a_stream_begins_with_the_input_and_ends_with_the_reason() {
        let stream = Messages::new(&shape(5, 2)).stream;
        assert_eq!(stream.len(), 3);
        let (mut bytes, mut messages) = (Bytes::from(stream.concat()), Vec::new());
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
            let frame = bytes.split_to(5 + length);
            messages.push(GenerationResponse::decode(&frame[5..]).unwrap());
        }
        assert_eq!(messages.len(), 6);
        assert_eq!(messages[0].input_token_count, INPUT_TOKENS);
        let text: String = messages
            .iter()
            .map(|message| message.text.as_str())
            .collect();
        assert_eq!(text, known::text(5));
        assert_eq!(messages[5].stop_reason, MAX_TOKENS);
        assert!(messages[..5].iter().all(|message| message.stop_reason == 0));
    }
}
