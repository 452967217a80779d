//! vLLM as the forks of 2025 have it that are still in the field: HabanaAI/vllm-fork at commit 95af7009
//! (Gaudi) and ROCm/vllm at f8c9a385 (AMD). Accelerators change nothing on the wire; the age does.
//!
//! * Errors are flat, `{"object": "error", "message", "type", "param", "code"}`, in streams too, where
//!   `[DONE]` follows (`vllm/entrypoints/openai/protocol.py`, `ErrorResponse`; `serving_completion.py`).
//! * A form of the output is asked for by `guided_json`, `guided_regex`, `guided_choice` or
//!   `guided_grammar`; members that are not known, `structured_outputs` among them, are ignored
//!   (`protocol.py`, `CompletionRequest`, `OpenAIBaseModel`).
//! * Stop sequences are as many as one likes (the same).
//! * Reasoning is told as `reasoning_content` (the same, `ChatMessage`).
//! * A rerank tells of its tokens only the sum (the same, `RerankUsage`).
//! * All paths are there whatever the model can do: one that it cannot is 400 (`api_server.py`).
//! * The Responses API is there in ROCm's, and not in the one for Gaudi (`api_server.py`).

use serde_json::{Value, json};

use super::line;
use crate::fake::http1::{self, Act, Received};

/// Whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// HabanaAI's.
    Gaudi,
    /// ROCm's.
    Rocm,
}

/// A prompt that is too long for it.
pub const TOO_LONG: &str = "far too long";
/// A prompt at which it fails in the middle of a stream.
pub const BREAKS: &str = "breaks in the middle";

/// A server of the model `served`, which generates and ranks.
pub async fn start(fork: Fork) -> http1::Worker {
    http1::Worker::start(move |received| answer(fork, received)).await
}

fn answer(fork: Fork, received: &Received) -> Vec<Act> {
    let (_, path) = line(received);
    let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
    if asked["model"].is_string() && asked["model"] != "served" {
        let message = format!(
            "The model `{}` does not exist.",
            asked["model"].as_str().unwrap()
        );
        return vec![http1::json(404, &error(404, "NotFoundError", &message))];
    }
    match path {
        "/v1/completions" => completed(&asked),
        "/v1/chat/completions" => vec![http1::json(200, &chat())],
        "/rerank" | "/v1/rerank" | "/v2/rerank" => vec![http1::json(200, &ranked(&asked))],
        "/v1/embeddings" => {
            let message = "The model does not support Embeddings API";
            vec![http1::json(400, &error(400, "BadRequestError", message))]
        }
        "/v1/responses" if fork == Fork::Rocm => vec![http1::json(
            200,
            &json!({"id": "resp_1", "object": "response", "model": "served", "output": []}),
        )],
        _ => vec![http1::json(404, &json!({"detail": "Not Found"}))],
    }
}

fn error(code: u16, kind: &str, message: &str) -> Value {
    json!({"object": "error", "message": message, "type": kind, "param": null, "code": code})
}

/// Says which words it was bound by, and how many stop sequences it was given.
fn completed(asked: &Value) -> Vec<Act> {
    let prompt = match &asked["prompt"] {
        Value::Array(all) => all[0].as_str(),
        one => one.as_str(),
    };
    if prompt == Some(TOO_LONG) {
        let message = "This model's maximum context length is 16 tokens.";
        return vec![http1::json(400, &error(400, "BadRequestError", message))];
    }
    let forms = [
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
    ];
    let bound = forms.into_iter().find(|form| !asked[*form].is_null());
    let stops = asked["stop"].as_array().map_or(0, Vec::len);
    let text = format!("{}, {stops} stops", bound.unwrap_or("free"));
    let usage = json!({"prompt_tokens": 2, "total_tokens": 5, "completion_tokens": 3});
    let choice = |reason: Option<&str>| json!({"index": 0, "text": text, "logprobs": null, "finish_reason": reason, "stop_reason": null});
    let whole = |choice: Value| {
        json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "served",
            "choices": [choice], "usage": usage})
    };
    if asked["stream"] != true {
        return vec![http1::json(200, &whole(choice(Some("length"))))];
    }
    let mut acts = vec![http1::stream_head()];
    if prompt == Some(BREAKS) {
        acts.push(http1::event(&whole(choice(None)).to_string()));
        let failed = error(500, "InternalServerError", "the device was lost");
        acts.push(http1::event(&failed.to_string()));
    } else {
        acts.push(http1::event(&whole(choice(Some("length"))).to_string()));
    }
    acts.push(http1::event("[DONE]"));
    acts.push(http1::stream_end());
    acts
}

fn chat() -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "served",
        "choices": [{"index": 0, "finish_reason": "stop", "stop_reason": null, "logprobs": null,
            "message": {"role": "assistant", "content": "Yes.", "reasoning_content": "It is so.",
                "tool_calls": []}}],
        "usage": {"prompt_tokens": 2, "total_tokens": 5, "completion_tokens": 3}})
}

/// The last document is the best.
fn ranked(asked: &Value) -> Value {
    let documents = asked["documents"].as_array().map_or(0, Vec::len);
    let results: Vec<Value> = (0..documents)
        .rev()
        .map(|index| {
            json!({"index": index, "relevance_score": (index + 1) as f64 / 8.0,
                "document": {"text": asked["documents"][index]}})
        })
        .collect();
    json!({"id": "rerank-1", "model": "served", "usage": {"total_tokens": 11}, "results": results})
}
