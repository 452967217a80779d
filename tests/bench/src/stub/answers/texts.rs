//! Texts as Triton's vLLM backend makes them: `generate` and `generate_stream` over HTTP,
//! `ModelStreamInfer` over gRPC.
//!
//! Outputs and their order are those of the backend's `create_response` (`src/utils/request.py` of
//! triton-inference-server/vllm_backend) when all of them that a proxy asks for are asked for; how
//! the server writes them is in its `extension_generate.md` and `grpc_service.proto`. The prompt
//! is left out, as in a stream it must be.

use std::{collections::HashMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::{Shape, Writes};
use crate::{
    frames::framed,
    known::{self, INPUT_TOKENS},
    proto::{
        Tensor,
        stream::{Answer, Parameter, Response},
    },
};

/// Every answer.
pub struct Texts {
    /// HTTP: `generate`.
    pub whole: Bytes,
    /// HTTP: `generate_stream`, piece by piece.
    pub events: Writes,
    /// HTTP: `generate_stream` that was asked for no stream: one event.
    pub event: Bytes,
    /// gRPC: piece by piece.
    pub messages: Writes,
    /// gRPC: all in one message.
    pub message: Bytes,
}

impl Texts {
    /// Makes them.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let all = piece(shape, 0..shape.tokens);
        Self {
            whole: object(shape, &all).into(),
            events: stream(shape, event),
            event: event(shape, &all),
            messages: stream(shape, message),
            message: message(shape, &all),
        }
    }
}

/// What comes together.
struct Piece {
    text: String,
    tokens: u32,
    /// As Python writes vLLM's reason.
    reason: &'static str,
}

fn piece(shape: &Shape, tokens: std::ops::Range<u32>) -> Piece {
    Piece {
        text: tokens.clone().map(known::token).collect(),
        tokens: tokens.len() as u32,
        reason: if tokens.end == shape.tokens {
            "length"
        } else {
            "None"
        },
    }
}

fn stream(shape: &Shape, write: impl Fn(&Shape, &Piece) -> Bytes) -> Writes {
    let writes = shape.writes().map(|range| {
        let mut out = BytesMut::new();
        for at in range {
            out.extend_from_slice(&write(shape, &piece(shape, at..at + 1)));
        }
        out.freeze()
    });
    Arc::from(writes.collect::<Vec<_>>())
}

fn object(shape: &Shape, piece: &Piece) -> String {
    format!(
        "{{\"model_name\":{},\"model_version\":\"1\",\"text_output\":{},\
         \"finish_reason\":\"{}\",\"num_input_tokens\":{INPUT_TOKENS},\"num_output_tokens\":{}}}",
        Value::from(shape.model.as_str()),
        Value::from(piece.text.as_str()),
        piece.reason,
        piece.tokens,
    )
}

fn event(shape: &Shape, piece: &Piece) -> Bytes {
    format!("data: {}\n\n", object(shape, piece)).into()
}

fn message(shape: &Shape, piece: &Piece) -> Bytes {
    let text = |name: &str, text: &str| {
        let mut raw = u32::try_from(text.len())
            .expect("texts are short")
            .to_le_bytes()
            .to_vec();
        raw.extend_from_slice(text.as_bytes());
        (tensor(name, "BYTES"), Bytes::from(raw))
    };
    let count = |name: &str, count: u32| {
        let raw = Bytes::copy_from_slice(&count.to_le_bytes());
        (tensor(name, "UINT32"), raw)
    };
    let (outputs, raw) = [
        text("text_output", &piece.text),
        text("finish_reason", piece.reason),
        count("num_input_tokens", INPUT_TOKENS),
        count("num_output_tokens", piece.tokens),
    ]
    .into_iter()
    .unzip();
    let last = Parameter {
        flag: Some(piece.reason != "None"),
    };
    framed(&Response {
        error_message: String::new(),
        infer_response: Some(Answer {
            model_name: shape.model.clone(),
            model_version: "1".to_owned(),
            parameters: HashMap::from([("triton_final_response".to_owned(), last)]),
            outputs,
            raw,
        }),
    })
}

fn tensor(name: &str, datatype: &str) -> Tensor {
    Tensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: vec![1],
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::stub::answers::shape;

    #[test]
    fn a_whole_text_is_an_object() {
        let all = Texts::new(&shape(160, 1));
        let whole: Value = serde_json::from_slice(&all.whole).unwrap();
        assert_eq!(whole["text_output"], known::text(160));
        assert_eq!(whole["num_output_tokens"], 160);
        assert_eq!(whole["finish_reason"], "length");
        let event = std::str::from_utf8(&all.event).unwrap();
        let event = event.strip_prefix("data: ").unwrap();
        assert_eq!(serde_json::from_str::<Value>(event).unwrap(), whole);
    }

    #[test]
    fn a_stream_tells_what_each_piece_has() {
        let all = Texts::new(&shape(8, 3));
        assert_eq!((all.events.len(), all.messages.len()), (3, 3));
        let text = String::from_utf8(all.events.concat()).unwrap();
        let events: Vec<Value> = text
            .split_terminator("\n\n")
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect();
        assert_eq!(events.len(), 8);
        assert!(events.iter().all(|event| event["num_output_tokens"] == 1));
        assert_eq!(events[6]["finish_reason"], "None");
        assert_eq!(events[7]["finish_reason"], "length");
        let mut bytes = Bytes::from(all.messages.concat());
        let mut said = String::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
            let message = Response::decode(&bytes.split_to(5 + length)[5..]).unwrap();
            let answer = message.infer_response.unwrap();
            assert_eq!(answer.raw.len(), answer.outputs.len());
            let last = answer.parameters["triton_final_response"].flag;
            assert_eq!(last, Some(bytes.is_empty()));
            said.push_str(std::str::from_utf8(&answer.raw[0][4..]).unwrap());
        }
        assert_eq!(said, known::text(8));
    }
}
