//! Its OpenAI API (`src/http_rest_api_handler.cpp`, `createV3HttpPayload` and `processOpenAI`).
//!
//! * A body that is no JSON, or names no model, is 412; whatever a graph refuses is 400, and its words
//!   stand behind "Mediapipe execution failed" (`src/http_server.cpp`, `src/status.cpp`).
//! * Members that it does not know are ignored; those that it knows it checks
//!   (`src/llm/apis/openai_api_handler.cpp`, `openai_completions.cpp`, [`checked`]).
//! * Text is generated token by token; a stop sequence is cut at tokens, so that what follows it in its
//!   token stays where it is included.
//! * A stream begins with a chunk that says nothing, its last one has the reason, and totals come if
//!   they are asked for (`src/llm/servable.cpp`, `serializeStreamingHandshakeChunk`).
//! * Tokens of one text are a list, those of several are lists (`src/tokenize/tokenize_parser.cpp`).
//! * A ranking has neither a model nor usage (`src/rerank/rerank_utils.cpp`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::KEY;
use crate::{
    fake::http1::{self, Act, Received},
    standin::{SERVED, error, told, whole},
};

/// The text that it generates, token by token.
pub const TOKENS: [&str; 7] = ["A", " toll", " is", " paid", " at", " the", " gate."];
/// A prompt at which a stream fails after its head.
pub const BREAKS: &str = "break in the middle";

const NO_GRAPH: &str = "Mediapipe graph definition with requested name is not found";

/// A refusal by a graph.
fn refused(words: &str) -> String {
    format!(
        "Mediapipe execution failed. MP status - INVALID_ARGUMENT: CalculatorGraph::Run() failed: {words}"
    )
}

fn says_it_is_json(received: &Received) -> bool {
    let content_type = received.head.get("content-type");
    content_type.is_some_and(|it| it.starts_with("application/json"))
}

/// What is asked below one of its prefixes.
pub fn answer(received: &Received, what: &str, key: bool) -> Vec<Act> {
    let bearer = format!("Bearer {KEY}");
    if key && received.head.get("authorization") != Some(&*bearer) {
        let text = "Unauthorized request due to invalid or missing api-key";
        return error(500, text);
    }
    if what.starts_with("audio/trans") || what == "images/edits" {
        return form(received, what);
    }
    if !says_it_is_json(received) {
        return error(404, NO_GRAPH);
    }
    let Ok(body) = serde_json::from_slice::<Value>(&received.body) else {
        return error(412, "The file is not valid json - Cannot parse JSON body");
    };
    match &body["model"] {
        Value::String(name) if name == SERVED => {}
        Value::String(_) => return error(404, NO_GRAPH),
        Value::Null => {
            let text = "The file is not valid json - model field is missing in JSON body";
            return error(412, text);
        }
        _ => {
            return error(
                412,
                "The file is not valid json - model field is not a string",
            );
        }
    }
    let done = match what {
        "chat/completions" => generate(&body, true),
        "completions" => generate(&body, false),
        "embeddings" => embeddings(&body),
        "rerank" => rerank(&body),
        "tokenize" => tokenize(&body),
        "responses" => Ok(told(
            200,
            &json!({"id": "resp-1", "object": "response", "created_at": 1, "model": SERVED,
                "status": "completed", "output": [{"id": "msg-0", "type": "message",
                    "role": "assistant", "status": "completed", "content": [
                        {"type": "output_text", "text": TOKENS.concat(), "annotations": []}]}],
                "usage": {"input_tokens": 1, "output_tokens": 7, "total_tokens": 8}}),
        )),
        "images/generations" => Ok(told(
            200,
            &json!({"created": 1, "data": [{"b64_json": "AAAA"}]}),
        )),
        "audio/speech" => Ok(whole(200, &[("content-type", "audio/wav")], "RIFF")),
        _ => Err("no calculator takes this".to_owned()),
    };
    done.unwrap_or_else(|words| error(400, &refused(&words)))
}

/// A form with a file.
fn form(received: &Received, what: &str) -> Vec<Act> {
    let body = String::from_utf8_lossy(&received.body);
    if !body.contains(&format!("name=\"model\"\r\n\r\n{SERVED}\r\n")) {
        return error(404, NO_GRAPH);
    }
    match what {
        "images/edits" => told(200, &json!({"created": 1, "data": [{"b64_json": "BBBB"}]})),
        _ => told(200, &json!({"text": "hello"})),
    }
}

type Graph = Result<Vec<Act>, String>;

/// The checks of a request to generate, in the server's words.
fn checked(body: &Value, chat: bool) -> Result<(), String> {
    let wrong = |what: &str| Err(what.to_owned());
    let given = |name: &str| !body[name].is_null();
    let stream = body["stream"] == true;
    if given("stream_options") {
        let Some(options) = body["stream_options"].as_object() else {
            return wrong("stream_options is not an object");
        };
        if !stream {
            return wrong("stream_options provided, but stream not set to true");
        }
        if options.keys().any(|name| name != "include_usage") {
            return wrong("Found unexpected stream options.");
        }
    }
    if body.get("max_tokens").is_some_and(|it| !it.is_u64()) {
        return wrong("max_tokens is not an unsigned integer");
    }
    if body["max_tokens"] == 0 {
        return wrong("max_tokens value should be greater than 0");
    }
    let outside = |name: &str, least: f64, most: f64| {
        let value = body[name].as_f64();
        given(name) && !value.is_some_and(|value| (least..=most).contains(&value))
    };
    for (name, least, most) in [
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("min_p", 0.0, 0.999),
        ("frequency_penalty", -2.0, 2.0),
        ("presence_penalty", -2.0, 2.0),
        ("seed", 0.0, 4_294_967_295.0),
    ] {
        if outside(name, least, most) {
            return Err(format!("{name} out of range"));
        }
    }
    if given("top_k") && body["top_k"].as_i64().is_none_or(|k| k < -1 || k == 0) {
        return wrong("top_k must be -1 (all tokens) or a positive integer");
    }
    if body["stop"].as_array().is_some_and(|all| all.len() > 16) {
        return wrong("stop array must have no more than 16 strings");
    }
    if stream && body["include_stop_str_in_output"] == false {
        return wrong("include_stop_str_in_output cannot be set to false if streaming is used");
    }
    if stream && given("best_of") {
        return wrong("best_of cannot be used in streaming mode");
    }
    if body["n"].as_u64().unwrap_or(1) > body["best_of"].as_u64().unwrap_or(1) {
        return wrong("n value cannot be greater than best_of");
    }
    let tokens = if chat {
        body["logprobs"] == true
    } else {
        given("logprobs") && body["logprobs"] != 1
    };
    if !chat && tokens {
        return wrong("accepted logprobs value is currently 1 only");
    }
    if stream && (tokens || (!chat && given("logprobs"))) {
        return wrong("logprobs are not supported in streaming mode.");
    }
    match chat {
        true if body["messages"].as_array().is_none_or(Vec::is_empty) => {
            wrong("Messages array cannot be empty")
        }
        false if !body["prompt"].is_string() => wrong("prompt is not a string"),
        _ => Ok(()),
    }
}

/// What is generated: tokens, and why they end.
fn generated(body: &Value) -> (Vec<String>, &'static str) {
    let limit = ["max_completion_tokens", "max_tokens"]
        .iter()
        .find_map(|name| body[*name].as_u64());
    let most = limit.map_or(usize::MAX, |limit| limit as usize);
    let stops: Vec<&str> = match &body["stop"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let stream = body["stream"] == true;
    let include = body["include_stop_str_in_output"]
        .as_bool()
        .unwrap_or(stream);
    let mut told: Vec<String> = Vec::new();
    for token in TOKENS {
        if told.len() == most {
            return (told, "length");
        }
        told.push(token.to_owned());
        let text = told.concat();
        if let Some(at) = stops.iter().filter_map(|stop| text.find(stop)).min() {
            if !include {
                let kept: usize = told.iter().rev().skip(1).map(String::len).sum();
                let last = told.last_mut().expect("there is one");
                last.truncate(at.saturating_sub(kept));
                if at < kept {
                    told = vec![text[..at].to_owned()];
                }
            }
            return (told, "stop");
        }
    }
    (told, "stop")
}

fn asked(body: &Value) -> &str {
    let messages = body["messages"].as_array();
    let last = messages.and_then(|all| all.last());
    let content = last.map_or(&body["prompt"], |message| &message["content"]);
    content.as_str().unwrap_or_default()
}

fn usage(prompt: &str, tokens: usize) -> Value {
    let prompt = prompt.split_whitespace().count();
    json!({"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens})
}

fn generate(body: &Value, chat: bool) -> Graph {
    checked(body, chat)?;
    let (tokens, reason) = generated(body);
    let prompt = asked(body);
    if body["stream"] == true {
        return Ok(streamed(body, chat, &tokens, reason));
    }
    let mut text = tokens.concat();
    if body["echo"] == true {
        text.insert_str(0, prompt);
    }
    let wanted = body["logprobs"] == true || body["logprobs"] == 1;
    let logprobs = match (wanted, chat) {
        (false, _) => Value::Null,
        (true, true) => {
            let one = |token: &String| {
                json!({"token": token, "logprob": -0.5,
                    "bytes": token.as_bytes(), "top_logprobs": []})
            };
            json!({"content": tokens.iter().map(one).collect::<Vec<_>>()})
        }
        (true, false) => json!({
            "tokens": tokens,
            "token_logprobs": vec![-0.5; tokens.len()],
            "top_logprobs": tokens.iter().map(|it| json!({it: -0.5})).collect::<Vec<_>>(),
            "text_offset": vec![0; tokens.len()],
        }),
    };
    let mut choice = json!({"finish_reason": reason, "index": 0, "logprobs": logprobs});
    if chat {
        choice["message"] = json!({"content": text, "role": "assistant", "tool_calls": []});
    } else {
        choice["text"] = json!(text);
    }
    Ok(told(
        200,
        &json!({"choices": [choice], "created": 1, "model": SERVED,
            "object": if chat { "chat.completion" } else { "text_completion" },
            "usage": usage(prompt, tokens.len())}),
    ))
}

fn streamed(body: &Value, chat: bool, tokens: &[String], reason: &str) -> Vec<Act> {
    let object = if chat {
        "chat.completion.chunk"
    } else {
        "text_completion.chunk"
    };
    let totals = body["stream_options"]["include_usage"] == true;
    let chunk = |text: Value, reason: Value| {
        let mut choice = json!({"index": 0, "logprobs": null, "finish_reason": reason});
        match (chat, text) {
            (true, Value::Null) => choice["delta"] = json!({"role": "assistant", "content": null}),
            (true, text) => choice["delta"] = json!({"content": text}),
            (false, Value::Null) => choice["text"] = json!(""),
            (false, text) => choice["text"] = text,
        }
        let mut chunk =
            json!({"choices": [choice], "created": 1, "model": SERVED, "object": object});
        if totals {
            chunk["usage"] = Value::Null;
        }
        http1::event(&chunk.to_string())
    };
    let mut acts = vec![http1::stream_head(), chunk(Value::Null, Value::Null)];
    for (at, token) in tokens.iter().enumerate() {
        let last = at + 1 == tokens.len();
        let reason = if last { json!(reason) } else { Value::Null };
        acts.push(chunk(json!(token), reason));
        if at == 1 && asked(body) == BREAKS {
            // A failure after the head: no event, and no end of the stream's own.
            let bare = r#"{"error":"Mediapipe execution failed. MP status - it broke"}"#;
            acts.push(http1::write(format!("{:x}\r\n{bare}\r\n", bare.len())));
            acts.push(http1::stream_end());
            return acts;
        }
    }
    if totals {
        let all = json!({"choices": [], "created": 1, "model": SERVED, "object": object,
            "usage": usage(asked(body), tokens.len())});
        acts.push(http1::event(&all.to_string()));
    }
    acts.push(http1::event("[DONE]"));
    acts.push(http1::stream_end());
    acts
}

/// Texts, or the number of ids of each.
fn inputs(body: &Value, name: &str) -> Result<Vec<String>, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let texts = match &body[name] {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(all) => all.iter().map(text).collect(),
        Value::Null => return Err(format!("{name} field is required")),
        _ => None,
    };
    texts
        .filter(|all| !all.is_empty())
        .ok_or_else(|| format!("{name} should be string, array of strings or array of integers"))
}

/// The vector of a text: its length and its first byte.
fn vector(text: &str) -> [f32; 2] {
    [
        text.len() as f32,
        f32::from(text.bytes().next().unwrap_or_default()),
    ]
}

fn embeddings(body: &Value) -> Graph {
    let texts = inputs(body, "input")?;
    let base64 = match body["encoding_format"].as_str() {
        None if body.get("encoding_format").is_some() => {
            return Err("encoding_format should be string".to_owned());
        }
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err("encoding_format should either base64 or float".to_owned()),
    };
    let one = |(index, text): (usize, &String)| {
        let vector = vector(text);
        let raw: Vec<u8> = vector.iter().flat_map(|it| it.to_le_bytes()).collect();
        let embedding = if base64 {
            json!(STANDARD.encode(raw))
        } else {
            json!(vector)
        };
        json!({"object": "embedding", "embedding": embedding, "index": index})
    };
    let data: Vec<Value> = texts.iter().enumerate().map(one).collect();
    let words: usize = texts.iter().map(|it| it.split_whitespace().count()).sum();
    Ok(told(
        200,
        &json!({"object": "list", "data": data,
            "usage": {"prompt_tokens": words, "total_tokens": words}}),
    ))
}

/// The last document is the best.
fn rerank(body: &Value) -> Graph {
    if !body["query"].is_string() {
        return Err("query is not a string".to_owned());
    }
    let Some(documents) = body["documents"].as_array() else {
        return Err("documents is not an array".to_owned());
    };
    if documents.iter().any(|document| !document.is_string()) {
        return Err("documents array element is neither string nor object".to_owned());
    }
    let most = match &body["top_n"] {
        Value::Null => documents.len(),
        top => top.as_u64().ok_or("top_n accepts integer values")? as usize,
    };
    let result = |index: usize| {
        let mut result = json!({"index": index, "relevance_score": (index + 1) as f64 / 8.0});
        if body["return_documents"] == true {
            result["document"] = json!({"text": documents[index]});
        }
        result
    };
    let results: Vec<Value> = (0..documents.len()).rev().take(most).map(result).collect();
    Ok(told(200, &json!({"results": results})))
}

/// A token a word, whose id is the word's length; 1 begins a text.
fn tokenize(body: &Value) -> Graph {
    let texts = inputs(body, "text")?;
    let most = match body.get("max_length") {
        None => usize::MAX,
        Some(most) => most
            .as_u64()
            .filter(|most| *most > 0)
            .ok_or("max_length should be unsigned integer")? as usize,
    };
    let begins = body["add_special_tokens"] != false;
    let tokens = |text: &String| -> Vec<usize> {
        let words = text.split_whitespace().map(str::len);
        let begin = begins.then_some(1);
        begin.into_iter().chain(words).take(most).collect()
    };
    let mut all: Vec<Vec<usize>> = texts.iter().map(tokens).collect();
    let tokens = match all.len() {
        1 => json!(all.remove(0)),
        _ => json!(all),
    };
    Ok(told(200, &json!({"tokens": tokens})))
}

/// Its list of models, or one of them: of another it says so with 500.
pub fn models(name: Option<&str>) -> Vec<Act> {
    let model =
        |name: &str| json!({"id": name, "object": "model", "created": 1, "owned_by": "OVMS"});
    match name {
        None => told(200, &json!({"data": [model(SERVED)], "object": "list"})),
        Some(SERVED) => told(200, &model(SERVED)),
        Some(_) => error(500, "Model not found"),
    }
}
