//! Choices of chat and completions: finish reasons, log probabilities, unary bodies.

use serde_json::{Map, Value, json};
use tollgate_sdk_protocol::inference::{FinishReason, Finished, Token};

use super::{answer::Item, request::Form};
use crate::{claims::Endpoint, options::Options};

/// `finish_reason` and `stop_reason`.
pub fn reason(finished: &Finished) -> (&str, Option<&str>) {
    let reason = match &finished.reason {
        FinishReason::EndOfSequence | FinishReason::StopSequence => "stop",
        FinishReason::MaxTokens | FinishReason::TokenLimit | FinishReason::TimeLimit => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Cancelled => "abort",
        FinishReason::Error => "error",
        FinishReason::Other(name) => name,
    };
    let stop = match finished.reason {
        FinishReason::StopSequence => finished.stop_sequence.as_deref(),
        _ => None,
    };
    (reason, stop)
}

/// Log probabilities as chat writes them.
pub fn chat_logprobs(tokens: &[Token]) -> Value {
    let entry = |text: &str, logprob: Option<f64>| json!({"token": text, "logprob": logprob, "bytes": text.as_bytes()});
    let content: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let mut value = entry(&token.text, token.logprob);
            value["top_logprobs"] = token
                .top
                .iter()
                .map(|other| entry(&other.text, Some(other.logprob)))
                .collect();
            value
        })
        .collect();
    json!({"content": content})
}

/// Log probabilities as completions write them; `offset` is where the first token's
/// text begins, in characters, and is moved past the last one's.
pub fn completion_logprobs(tokens: &[Token], offset: &mut usize) -> Value {
    let mut offsets = Vec::with_capacity(tokens.len());
    for token in tokens {
        offsets.push(*offset);
        *offset += token.text.chars().count();
    }
    let top = |token: &Token| -> Value {
        let own = token
            .logprob
            .map(|logprob| (token.text.clone(), logprob.into()));
        let others = token
            .top
            .iter()
            .map(|other| (other.text.clone(), other.logprob.into()));
        let map: Map<String, Value> = own.into_iter().chain(others).collect();
        if map.is_empty() {
            Value::Null
        } else {
            Value::Object(map)
        }
    };
    json!({
        "tokens": tokens.iter().map(|token| &token.text).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

/// `prompt_logprobs`: by token id, so none where a worker gives no ids.
fn prompt_logprobs(tokens: &[Token]) -> Value {
    if tokens.is_empty() || tokens.iter().any(|token| token.id.is_none()) {
        return Value::Null;
    }
    tokens
        .iter()
        .map(|token| match (token.id, token.logprob) {
            (Some(id), Some(logprob)) => json!({id.to_string(): {
                "logprob": logprob, "rank": token.rank, "decoded_token": token.text,
            }}),
            _ => Value::Null,
        })
        .collect()
}

/// Adds a member of a chat delta to what has come: reasoning is joined, fragments of
/// tool calls are joined by their index, anything else is replaced.
pub fn merge(extras: &mut Vec<(String, Value)>, name: &str, value: Value) {
    let Some((_, held)) = extras.iter_mut().find(|(held, _)| held == name) else {
        extras.push((
            name.to_owned(),
            match value {
                Value::Array(fragments) if name == "tool_calls" => joined(Vec::new(), fragments),
                other => other,
            },
        ));
        return;
    };
    match (held.take(), value) {
        (Value::String(mut text), Value::String(more)) => {
            text.push_str(&more);
            *held = Value::String(text);
        }
        (Value::Array(calls), Value::Array(fragments)) if name == "tool_calls" => {
            *held = joined(calls, fragments);
        }
        (_, other) => *held = other,
    }
}

fn joined(mut calls: Vec<Value>, fragments: Vec<Value>) -> Value {
    for fragment in fragments {
        let index = fragment.get("index").cloned();
        let same = index.as_ref().and_then(|index| {
            calls
                .iter_mut()
                .find(|call| call.get("index") == Some(index))
        });
        let Some(call) = same else {
            calls.push(fragment);
            continue;
        };
        let more = &fragment["function"]["arguments"];
        if let Some(more) = more.as_str() {
            let arguments = &mut call["function"]["arguments"];
            let text = format!("{}{more}", arguments.as_str().unwrap_or(""));
            *arguments = Value::String(text);
        }
    }
    Value::Array(calls)
}

/// Tool calls of a whole message: without the index that orders fragments.
pub fn without_index(mut calls: Value) -> Value {
    for call in calls.as_array_mut().into_iter().flatten() {
        if let Some(call) = call.as_object_mut() {
            call.remove("index");
        }
    }
    calls
}

/// The body of a unary answer.
pub fn body(form: &Form, options: &Options, items: &mut [Item], usage: Value) -> Vec<u8> {
    let chat = form.endpoint == Endpoint::Chat;
    let choices: Vec<Value> = items
        .iter_mut()
        .enumerate()
        .map(|(index, item)| {
            if chat {
                chat_choice(form, options, index, item)
            } else {
                choice(form, index, item)
            }
        })
        .collect();
    let mut body = json!({
        "id": id(form),
        "object": if chat { "chat.completion" } else { "text_completion" },
        "created": form.created,
        "model": form.model,
        "choices": choices,
        "usage": usage,
        "service_tier": null,
        "system_fingerprint": null,
        "kv_transfer_params": null,
    });
    if chat {
        let prompt = items.first().filter(|_| form.prompt_logprobs);
        body["prompt_logprobs"] =
            prompt.map_or(Value::Null, |item| prompt_logprobs(&item.prompt_tokens));
        body["prompt_token_ids"] = Value::Null;
    }
    written(&body)
}

/// A value as JSON: straight into the bytes, where `Display` takes each piece through the
/// formatting machinery.
pub fn written(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("a value can be written")
}

/// `id` of a response.
pub fn id(form: &Form) -> String {
    let prefix = if form.endpoint == Endpoint::Chat {
        "chatcmpl"
    } else {
        "cmpl"
    };
    format!("{prefix}-{}", form.id)
}

/// `finish_reason` and `stop_reason` of an answer, `null` where there is none.
pub fn ends(item: &Item) -> (Value, Value) {
    item.finished
        .as_ref()
        .map_or((Value::Null, Value::Null), |finished| {
            let (reason, stop) = reason(finished);
            (reason.into(), stop.map_or(Value::Null, Value::from))
        })
}

fn choice(form: &Form, index: usize, item: &mut Item) -> Value {
    let mut offset = 0;
    let mut text = std::mem::take(&mut item.text);
    if let Some(echo) = item.echo.take().filter(|_| form.echo) {
        offset = echo.chars().count();
        text.insert_str(0, &echo);
    }
    let logprobs = if form.logprobs {
        completion_logprobs(&item.tokens, &mut offset)
    } else {
        Value::Null
    };
    let prompt = if form.prompt_logprobs {
        prompt_logprobs(&item.prompt_tokens)
    } else {
        Value::Null
    };
    let (finish_reason, stop_reason) = ends(item);
    json!({
        "index": index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": finish_reason,
        "stop_reason": stop_reason,
        "token_ids": null,
        "prompt_logprobs": prompt,
        "prompt_token_ids": null,
    })
}

fn chat_choice(form: &Form, options: &Options, index: usize, item: &mut Item) -> Value {
    let text = std::mem::take(&mut item.text);
    let extras = std::mem::take(&mut item.extras);
    // A message that is all tool calls has no content.
    let content = if text.is_empty() && extras.iter().any(|(name, _)| name == "tool_calls") {
        Value::Null
    } else {
        Value::String(text)
    };
    let mut message = json!({
        "role": "assistant",
        "content": content,
        "refusal": null,
        "annotations": null,
        "audio": null,
        "function_call": null,
    });
    message[options.reasoning_field()] = Value::Null;
    for (name, value) in extras {
        let name = match name.as_str() {
            "reasoning" => options.reasoning_field(),
            name => name,
        };
        let value = if name == "tool_calls" {
            without_index(value)
        } else {
            value
        };
        message[name] = value;
    }
    let (finish_reason, stop_reason) = ends(item);
    json!({
        "index": index,
        "message": message,
        "logprobs": if form.logprobs { chat_logprobs(&item.tokens) } else { Value::Null },
        "finish_reason": finish_reason,
        "stop_reason": stop_reason,
        "token_ids": null,
    })
}
