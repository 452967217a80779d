//! Pieces of a generation, as Triton's vLLM backend tells them: in a stream, or all in one.

use serde_json::{Map, Value};
use tollgate_sdk_protocol::{
    Bytes, failure,
    inference::{FinishReason, Tensor},
    types::{Failure, Progress},
};

use super::super::{elements, infer_grpc::message_of_stream, unreadable};
use crate::{
    codec::Stop,
    options::{Generate as Names, Target},
};

/// One piece.
#[derive(Debug, Default, PartialEq)]
pub struct Piece {
    pub text: String,
    pub finish_reason: Option<FinishReason>,
    pub input_tokens: Option<u32>,
    /// Of this piece alone.
    pub output_tokens: Option<u32>,
}

/// The piece that an event is, or the failure that it tells.
///
/// # Errors
/// It is neither.
pub fn of_json(data: &[u8], names: &Names) -> Result<Result<Piece, Failure>, Failure> {
    let members: Map<String, Value> = serde_json::from_slice(data).map_err(unreadable)?;
    if let Some(Value::String(error)) = members.get("error") {
        return Ok(Err(failure::invalid(error.clone(), None)));
    }
    let first = |name: &str| match members.get(name) {
        Some(Value::Array(all)) => all.first(),
        other => other,
    };
    let text = first(&names.text_output).and_then(Value::as_str);
    let count = |name: &str| {
        let value = first(name)?.as_u64()?;
        u32::try_from(value).ok()
    };
    Ok(Ok(Piece {
        text: text
            .ok_or_else(|| unreadable(format!("an event without `{}`", names.text_output)))?
            .to_owned(),
        finish_reason: first("finish_reason")
            .and_then(Value::as_str)
            .and_then(reason),
        input_tokens: count("num_input_tokens"),
        output_tokens: count("num_output_tokens"),
    }))
}

/// The piece that a message is; none: it only says that it is the last one.
///
/// # Errors
/// [`Stop`] as of every message; the failure that it tells; or it is none of these.
pub fn of_message(
    bytes: &dyn Bytes,
    progress: &Progress,
    names: &Names,
    target: &Target,
) -> Result<Result<Option<Piece>, Failure>, Stop> {
    let message = match message_of_stream(bytes, progress, target.streams)? {
        Ok(message) => message,
        Err(failed) => return Ok(Err(failed)),
    };
    let tensors = message.body.tensors;
    if tensors.is_empty() {
        return Ok(Ok(None));
    }
    Ok(of_outputs(bytes, &tensors, names).map(Some))
}

/// The piece that some outputs are.
///
/// # Errors
/// There is no text among them, or more than one.
pub fn of_outputs(bytes: &dyn Bytes, outputs: &[Tensor], names: &Names) -> Result<Piece, Failure> {
    let find = |name: &str| outputs.iter().find(|tensor| tensor.name == name);
    let text = |tensor: &Tensor| match &mut elements::texts(bytes, tensor)?[..] {
        [text] => Ok(std::mem::take(text)),
        other => Err(unreadable(format!(
            "`{}` has {} texts for one prompt",
            tensor.name,
            other.len()
        ))),
    };
    let count = |name: &str| {
        let counts = elements::counts(bytes, find(name)?).ok()?;
        u32::try_from(*counts.first()?).ok()
    };
    let output = find(&names.text_output)
        .ok_or_else(|| unreadable(format!("a response without `{}`", names.text_output)))?;
    let reason_told = find("finish_reason").and_then(|it| text(it).ok());
    Ok(Piece {
        text: text(output)?,
        finish_reason: reason_told.as_deref().and_then(reason),
        input_tokens: count("num_input_tokens"),
        output_tokens: count("num_output_tokens"),
    })
}

/// vLLM's word for why it ended; none: it has not.
fn reason(word: &str) -> Option<FinishReason> {
    Some(match word {
        "" | "None" | "null" => return None,
        // Which of the two it was is not told.
        "stop" => FinishReason::EndOfSequence,
        "length" => FinishReason::MaxTokens,
        "abort" => FinishReason::Cancelled,
        "error" => FinishReason::Error,
        other => FinishReason::Other(other.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_pieces_or_failures() {
        let names = Names::default();
        let piece = of_json(
            br#"{"model_name":"m","text_output":" a","finish_reason":"length","num_output_tokens":2}"#,
            &names,
        );
        let expected = Piece {
            text: " a".to_owned(),
            finish_reason: Some(FinishReason::MaxTokens),
            input_tokens: None,
            output_tokens: Some(2),
        };
        assert_eq!(piece.unwrap().unwrap(), expected);
        let listed = of_json(br#"{"text_output":["b"],"finish_reason":["None"]}"#, &names);
        let listed = listed.unwrap().unwrap();
        assert_eq!((listed.text.as_str(), listed.finish_reason), ("b", None));
        let failed = of_json(br#"{"error":"no"}"#, &names).unwrap().unwrap_err();
        assert_eq!(failed.message, "no");
        for odd in [&b"{}"[..], b"[]", b"x", br#"{"text_output":1}"#] {
            assert!(of_json(odd, &names).is_err());
        }
    }
}
