//! What a request chooses, read from its body with as little effort as that takes.

use bytes::Bytes;
use memchr::memmem;
use prost::Message as _;
use serde::{Deserialize, de::IgnoredAny};

use crate::proto::stream;

/// Whether a member is written and true. A name within a string does not look like one: its
/// closing quote would stand behind a backslash.
pub(super) fn is_true(json: &[u8], name: &[u8]) -> bool {
    let mut places = memmem::find_iter(json, name);
    places.any(|at| {
        let mut rest = json[at + name.len()..].trim_ascii_start();
        if let [b':', value @ ..] = rest {
            rest = value.trim_ascii_start();
            return rest.starts_with(b"true");
        }
        false
    })
}

/// A request with prompts.
#[derive(Deserialize)]
pub(super) struct Prompts {
    prompt: Many,
}

/// A request of the OpenAI API with inputs.
#[derive(Deserialize)]
pub(super) struct Inputs {
    input: Many,
}

/// A request of the caikit runtime with inputs.
#[derive(Deserialize)]
pub(super) struct Texts {
    inputs: Many,
}

/// A list of texts or of lists counts its members; one text, or one list of numbers, is one.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Many {
    Numbers(Vec<u32>),
    List(Vec<IgnoredAny>),
    One(IgnoredAny),
}

/// A request of one or several.
pub(super) trait Counted: for<'de> Deserialize<'de> {
    fn many(self) -> Many;
}

impl Counted for Prompts {
    fn many(self) -> Many {
        self.prompt
    }
}

impl Counted for Inputs {
    fn many(self) -> Many {
        self.input
    }
}

impl Counted for Texts {
    fn many(self) -> Many {
        self.inputs
    }
}

/// Of how many a request is; none where it cannot be read.
pub(super) fn count<T: Counted>(json: &[u8]) -> Option<u32> {
    match serde_json::from_slice::<T>(json).ok()?.many() {
        Many::Numbers(numbers) if !numbers.is_empty() => Some(1),
        Many::Numbers(_) => Some(0),
        Many::List(list) => u32::try_from(list.len()).ok(),
        Many::One(_) => Some(1),
    }
}

/// How often a field of messages stands in the one message of a request.
pub(super) fn members(framed: &Bytes, field: u32) -> u32 {
    let Some(message) = framed.get(5..) else {
        return 0;
    };
    let mut rest = message;
    let mut count = 0;
    while let Ok((number, wire)) = prost::encoding::decode_key(&mut rest) {
        count += u32::from(number == field);
        let context = prost::encoding::DecodeContext::default();
        if prost::encoding::skip_field(wire, number, &mut rest, context).is_err() {
            break;
        }
    }
    count
}

/// Whether a request of Triton's vLLM backend asks for pieces: its tensor `stream` is true.
pub(super) fn wants_stream(framed: &Bytes) -> bool {
    let request = framed.get(5..).map(stream::Request::decode);
    let Some(Ok(request)) = request else {
        return false;
    };
    let mut tensors = request.inputs.iter().zip(&request.raw);
    tensors.any(|(tensor, raw)| tensor.name == "stream" && raw.first() == Some(&1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frames,
        proto::{BatchedGenerationRequest, GenerationRequest, Parameters, Tensor},
    };

    #[test]
    fn members_are_found_and_texts_are_not() {
        for json in [r#"{"stream":true}"#, r#"{"stream" : true,"x":1}"#] {
            assert!(is_true(json.as_bytes(), b"\"stream\""), "{json}");
        }
        for json in [
            r#"{"stream":false}"#,
            r#"{"prompt":"\"stream\":true"}"#,
            r#"{"stream_options":{}}"#,
        ] {
            assert!(!is_true(json.as_bytes(), b"\"stream\""), "{json}");
        }
    }

    #[test]
    fn prompts_are_counted() {
        let count = |json: &str| count::<Prompts>(json.as_bytes());
        assert_eq!(count(r#"{"prompt":"a"}"#), Some(1));
        assert_eq!(count(r#"{"prompt":["a","b"]}"#), Some(2));
        assert_eq!(count(r#"{"prompt":[1,2,3]}"#), Some(1));
        assert_eq!(count(r#"{"prompt":[[1],[2,3]]}"#), Some(2));
        assert_eq!(count("{"), None);
    }

    #[test]
    fn a_stream_is_asked_for_by_a_tensor() {
        let request = |stream: u8| {
            let tensor = |name: &str| Tensor {
                name: name.to_owned(),
                ..Tensor::default()
            };
            let texts = Bytes::from_static(b"\x01\0\0\0a");
            frames::framed(&stream::Request {
                inputs: vec![tensor("text_input"), tensor("stream")],
                raw: vec![texts, Bytes::from(vec![stream])],
            })
        };
        assert!(wants_stream(&request(1)));
        assert!(!wants_stream(&request(0)));
        assert!(!wants_stream(&Bytes::new()));
    }

    #[test]
    fn requests_of_a_batch_are_counted() {
        for count in [0, 1, 5] {
            let request = BatchedGenerationRequest {
                model_id: "m".to_owned(),
                requests: vec![
                    GenerationRequest {
                        text: "a".repeat(300)
                    };
                    count
                ],
                params: Some(Parameters::default()),
            };
            assert_eq!(members(&frames::framed(&request), 3) as usize, count);
        }
        assert_eq!(members(&Bytes::new(), 3), 0);
    }
}
