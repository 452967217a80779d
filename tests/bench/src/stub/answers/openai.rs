//! Answers of the OpenAI API as vLLM words them: whole ones, and streams of events.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Shape, Writes, vectors::Vectors};
use crate::known::{self, INPUT_TOKENS};

const CREATED: u64 = 1_700_000_000;

/// The usage that a stream tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    Nothing,
    /// In a last chunk.
    Total,
    /// In every chunk.
    Always,
}

/// The streams of one endpoint, by the usage that they tell.
pub struct Chunks([Writes; 3]);

impl Chunks {
    /// The stream that tells this.
    #[must_use]
    pub fn telling(&self, wanted: Wanted) -> Writes {
        self.0[wanted as usize].clone()
    }

    fn new(shape: &Shape, chat: bool) -> Self {
        let made = |wanted| stream(shape, chat, wanted);
        Self([
            made(Wanted::Nothing),
            made(Wanted::Total),
            made(Wanted::Always),
        ])
    }
}

/// Every answer of the API.
pub struct Openai {
    /// `GET /v1/models`.
    pub models: Bytes,
    /// A completion of one prompt.
    pub completion: Bytes,
    /// A chat completion.
    pub chat: Bytes,
    /// Streams of completions.
    pub completion_chunks: Chunks,
    /// Streams of chat completions.
    pub chat_chunks: Chunks,
    model: String,
    tokens: u32,
    text: String,
    vectors: Vectors,
}

impl Openai {
    /// Makes them.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let mut all = Self {
            models: bytes(&json!({"object": "list", "data": [{
                "id": shape.model, "object": "model", "created": CREATED, "owned_by": "stub",
                "root": shape.model, "parent": null, "max_model_len": 1_048_576,
            }]})),
            completion: Bytes::new(),
            chat: Bytes::new(),
            completion_chunks: Chunks::new(shape, false),
            chat_chunks: Chunks::new(shape, true),
            model: shape.model.clone(),
            tokens: shape.tokens,
            text: Value::from(known::text(shape.tokens)).to_string(),
            vectors: Vectors::new(),
        };
        all.completion = all.completions(1, false);
        all.chat = bytes(&json!({
            "id": "chatcmpl-stub", "object": "chat.completion", "created": CREATED,
            "model": shape.model,
            "choices": [{"index": 0, "message": {
                "role": "assistant", "content": known::text(shape.tokens), "refusal": null,
            }, "logprobs": null, "finish_reason": "length", "stop_reason": null}],
            "usage": usage(1, shape.tokens), "prompt_logprobs": null,
        }));
        all
    }

    /// Completions of so many prompts, in one answer; with the ids of all tokens, if wanted.
    #[must_use]
    pub fn completions(&self, prompts: u32, ids: bool) -> Bytes {
        let list = |count: u32| match ids {
            true => Value::from((0..count).collect::<Vec<_>>()),
            false => Value::Null,
        };
        let (input, output) = (list(INPUT_TOKENS), list(self.tokens));
        let mut out = format!(
            "{{\"id\":\"cmpl-stub\",\"object\":\"text_completion\",\"created\":{CREATED},\
             \"model\":{},\"choices\":[",
            Value::from(self.model.as_str())
        );
        for index in 0..prompts {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(
                out,
                "{comma}{{\"index\":{index},\"text\":{},\"logprobs\":null,\
                 \"finish_reason\":\"length\",\"stop_reason\":null,\"token_ids\":{output},\
                 \"prompt_logprobs\":null,\"prompt_token_ids\":{input}}}",
                self.text
            );
        }
        let _ = write!(
            out,
            "],\"usage\":{},\"kv_transfer_params\":null}}",
            usage(prompts, self.tokens)
        );
        out.into()
    }

    /// Embeddings of so many inputs, as lists of numbers or in base64.
    #[must_use]
    pub fn embeddings(&self, inputs: u32, base64: bool) -> Bytes {
        let mut out = format!(
            "{{\"id\":\"embd-stub\",\"object\":\"list\",\"created\":{CREATED},\"model\":{},\"data\":[",
            Value::from(self.model.as_str())
        );
        for index in 0..inputs {
            let comma = if index == 0 { "" } else { "," };
            let vector = self.vectors.json(index, base64);
            let _ = write!(
                out,
                "{comma}{{\"index\":{index},\"object\":\"embedding\",\"embedding\":{vector}}}"
            );
        }
        let _ = write!(out, "],\"usage\":{}}}", usage(inputs, 0));
        out.into()
    }
}

fn usage(prompts: u32, tokens: u32) -> Value {
    let (input, output) = (prompts * INPUT_TOKENS, prompts * tokens);
    json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        "prompt_tokens_details": null,
    })
}

fn bytes(value: &Value) -> Bytes {
    value.to_string().into()
}

/// A stream: the role (chat), an event for each token, the last with the reason, usage, the end.
fn stream(shape: &Shape, chat: bool, wanted: Wanted) -> Writes {
    let (id, object) = if chat {
        ("chatcmpl-stub", "chat.completion.chunk")
    } else {
        ("cmpl-stub", "text_completion")
    };
    let event = |choices: Value, tokens: Option<u32>| {
        let mut chunk = json!({
            "id": id, "object": object, "created": CREATED, "model": shape.model,
            "choices": choices,
        });
        if let Some(tokens) = tokens {
            chunk["usage"] = usage(1, tokens);
        }
        format!("data: {chunk}\n\n")
    };
    let of_chunk = |tokens| (wanted == Wanted::Always).then_some(tokens);
    let token = |at: u32| {
        let text = known::token(at);
        let mut choice = if chat {
            json!({"index": 0, "delta": {"content": text}, "logprobs": null})
        } else {
            json!({"index": 0, "text": text, "logprobs": null})
        };
        let last = at + 1 == shape.tokens;
        choice["finish_reason"] = if last { "length".into() } else { Value::Null };
        if last || !chat {
            choice["stop_reason"] = Value::Null;
        }
        event(json!([choice]), of_chunk(at + 1))
    };
    let writes = shape.writes().map(|range| {
        let mut text = String::new();
        if chat && range.start == 0 {
            let role = json!([{"index": 0, "delta": {"role": "assistant", "content": ""},
                "logprobs": null, "finish_reason": null}]);
            text.push_str(&event(role, of_chunk(0)));
        }
        text.extend(range.clone().map(token));
        if range.end == shape.tokens {
            if wanted != Wanted::Nothing {
                text.push_str(&event(json!([]), Some(shape.tokens)));
            }
            text.push_str("data: [DONE]\n\n");
        }
        Bytes::from(text)
    });
    Arc::from(writes.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::answers::shape;

    fn parsed(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn whole_answers_parse() {
        let all = Openai::new(&shape(160, 1));
        let completion = parsed(&all.completion);
        assert_eq!(completion["choices"][0]["text"], known::text(160));
        assert_eq!(completion["usage"]["completion_tokens"], 160);
        assert!((900..1600).contains(&all.completion.len()));
        let chat = parsed(&all.chat);
        assert_eq!(chat["choices"][0]["message"]["content"], known::text(160));
        assert_eq!(completion["choices"][0]["token_ids"], Value::Null);
        let three = parsed(&all.completions(3, true));
        let ids = |name: &str| three["choices"][1][name].as_array().unwrap().len();
        assert_eq!(
            (ids("token_ids"), ids("prompt_token_ids")),
            (160, INPUT_TOKENS as usize)
        );
        assert_eq!(three["choices"][2]["index"], 2);
        assert_eq!(three["usage"]["prompt_tokens"], 3 * INPUT_TOKENS);
        assert_eq!(parsed(&all.models)["data"][0]["id"], "m");
    }

    #[test]
    fn embeddings_say_the_same_in_both_forms() {
        let all = Openai::new(&shape(1, 1));
        let list = parsed(&all.embeddings(2, false));
        assert_eq!(list["data"][1]["index"], 1);
        let first = list["data"][0]["embedding"].as_array().unwrap();
        let dimensions = known::DIMENSIONS as usize;
        assert_eq!((first.len(), &first[0]), (dimensions, &json!(-0.75)));
        assert_ne!(list["data"][1]["embedding"], list["data"][0]["embedding"]);
        let coded = parsed(&all.embeddings(1, true));
        let coded = coded["data"][0]["embedding"].as_str().unwrap();
        // -0.75 is 00 00 40 bf, and the first value of three bytes "AABA".
        assert!(coded.starts_with("AABAv"), "{coded}");
        assert_eq!(coded.len(), dimensions * 4 / 3 * 4);
    }

    #[test]
    fn streams_parse_and_tell_the_usage_that_was_asked_for() {
        for chat in [false, true] {
            for (wanted, told) in [
                (Wanted::Nothing, 0),
                (Wanted::Total, 1),
                (Wanted::Always, 9 + usize::from(chat)),
            ] {
                let chunks = Chunks::new(&shape(8, 3), chat).telling(wanted);
                assert_eq!(chunks.len(), 3);
                let all = chunks.concat();
                let all = String::from_utf8(all).unwrap();
                let mut events: Vec<_> = all.split_terminator("\n\n").collect();
                assert_eq!(events.pop(), Some("data: [DONE]"));
                let events = events.into_iter().map(|event| -> Value {
                    serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()
                });
                let (mut text, mut usages) = (String::new(), 0);
                for event in events {
                    usages += usize::from(event["usage"].is_object());
                    let choice = &event["choices"][0];
                    let more = choice["text"]
                        .as_str()
                        .or(choice["delta"]["content"].as_str());
                    text.push_str(more.unwrap_or_default());
                }
                assert_eq!((text, usages), (known::text(8), told), "{chat} {wanted:?}");
            }
        }
    }
}
