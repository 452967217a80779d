//! Answers of the caikit runtime, over REST and over gRPC.

use std::borrow::Cow;

use prost::Message;
use serde::Deserialize;

use super::{Progress, frame, texts, vectors};
use crate::{
    load::fault::{Fault, Trouble},
    proto::caikit::{Embedding, GeneratedPiece, GeneratedText, MAX_TOKENS},
};

const REASON: &str = "MAX_TOKENS";
const NONE: &str = "NOT_FINISHED";

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    generated_text: Cow<'a, str>,
    generated_tokens: u32,
    #[serde(borrow)]
    finish_reason: Cow<'a, str>,
    input_token_count: u32,
}

/// An event; of an error only its number.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    generated_text: Cow<'a, str>,
    #[serde(borrow)]
    details: Told<'a>,
    #[serde(default)]
    code: Option<u16>,
}

/// Of a piece how far it is, of an error its sentence.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told<'a> {
    Piece {
        #[serde(borrow)]
        finish_reason: Cow<'a, str>,
        generated_tokens: u32,
        input_token_count: u32,
    },
    Error(Cow<'a, str>),
}

#[derive(Deserialize)]
struct Vector {
    result: Data,
    input_token_count: u32,
}

#[derive(Deserialize)]
struct Data {
    data: Values,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

fn odd(json: &[u8], what: impl std::fmt::Display) -> Fault {
    Fault::content(format!("{what}: {}", String::from_utf8_lossy(json)))
}

/// The tokens of a whole answer over REST.
pub(super) fn whole_rest(json: &[u8]) -> Result<u32, Fault> {
    let answer: Whole = serde_json::from_slice(json).map_err(|error| odd(json, error))?;
    let tokens = answer.generated_tokens;
    texts::check(&answer.generated_text, tokens, answer.input_token_count)?;
    if answer.finish_reason != REASON {
        return Err(odd(json, "another reason"));
    }
    Ok(tokens)
}

/// The tokens of a whole answer over gRPC.
pub(super) fn whole_grpc(data: &[u8]) -> Result<u32, Fault> {
    let answer = GeneratedText::decode(frame::only(data)?).map_err(Fault::content)?;
    let number = |count: i64| u32::try_from(count).map_err(Fault::content);
    let tokens = number(answer.generated_tokens)?;
    let input = number(answer.input_token_count)?;
    texts::check(&answer.generated_text, tokens, input)?;
    if answer.finish_reason != MAX_TOKENS {
        return Err(Fault::content("another reason"));
    }
    Ok(tokens)
}

/// Takes one event of a stream.
pub(super) fn event(stream: &mut Progress, json: &[u8]) -> Result<(), Fault> {
    let event: Event = serde_json::from_slice(json).map_err(|error| odd(json, error))?;
    match event.details {
        Told::Piece {
            finish_reason,
            generated_tokens,
            input_token_count,
        } => {
            stream.more(&event.generated_text)?;
            stream.input(input_token_count)?;
            if finish_reason != NONE {
                stream.ends(finish_reason == REASON, generated_tokens);
            }
            Ok(())
        }
        Told::Error(sentence) => Err(match event.code {
            Some(code) => Fault::new(Trouble::Told(code), sentence),
            None => Fault::content(sentence),
        }),
    }
}

/// Takes one message of a stream.
pub(super) fn piece(stream: &mut Progress, message: &[u8]) -> Result<(), Fault> {
    let piece = GeneratedPiece::decode(message).map_err(Fault::content)?;
    stream.more(&piece.generated_text)?;
    if let Some(details) = piece.details {
        stream.input(u32::try_from(details.input_token_count).map_err(Fault::content)?)?;
        if details.finish_reason != 0 {
            let reason = details.finish_reason == MAX_TOKENS;
            stream.ends(reason, details.generated_tokens);
        }
    }
    Ok(())
}

/// A vector over REST.
pub(super) fn vector_rest(json: &[u8]) -> Result<u32, Fault> {
    let answer: Vector = serde_json::from_slice(json).map_err(|error| odd(json, error))?;
    vectors::check(&answer.result.data.values, answer.input_token_count)
}

/// A vector over gRPC.
pub(super) fn vector_grpc(data: &[u8]) -> Result<u32, Fault> {
    let answer = Embedding::decode(frame::only(data)?).map_err(Fault::content)?;
    let vector = answer.result.and_then(|vector| vector.floats);
    let values = vector.ok_or_else(|| Fault::content("no vector"))?.values;
    let input = u32::try_from(answer.input_token_count).map_err(Fault::content)?;
    vectors::check(&values, input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::answers::{Caikit, shape};

    #[test]
    fn what_the_stub_says_is_right_and_what_it_does_not_say_is_wrong() {
        let stub = Caikit::new(&shape(9, 1));
        assert_eq!(whole_rest(&stub.rest_text).unwrap(), 9);
        assert_eq!(whole_grpc(&stub.grpc_text).unwrap(), 9);
        assert_eq!(vector_rest(&stub.rest_vector).unwrap(), 0);
        assert_eq!(vector_grpc(&stub.grpc_vector).unwrap(), 0);
        let text = String::from_utf8(stub.rest_text.to_vec()).unwrap();
        for (from, to) in [
            ("quick", "Quick"),
            ("MAX_TOKENS", "EOS_TOKEN"),
            ("count\": 128", "count\": 0"),
            ("tokens\": 9", "tokens\": 8"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(text, changed);
            assert!(whole_rest(changed.as_bytes()).is_err(), "{changed}");
        }
        let vector = String::from_utf8(stub.rest_vector.to_vec()).unwrap();
        assert!(vector_rest(vector.replace("-0.75", "0.75").as_bytes()).is_err());
        assert!(vector_grpc(&stub.grpc_text).is_err());
        assert!(whole_grpc(&stub.grpc_text[..stub.grpc_text.len() - 1]).is_err());
    }

    #[test]
    fn an_error_in_a_stream_has_its_number() {
        let told = br#"{"details": "no such model", "code": 404, "id": "0"}"#;
        let fault = event(&mut Progress::default(), told).unwrap_err();
        assert_eq!(fault.trouble, Trouble::Told(404));
    }
}
