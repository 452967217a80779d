//! Configurations and requests that several tests begin with.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    client::{Request, grpc},
    fmaas,
};

/// The plugins that ship.
pub const PLUGINS: &str = r#"
plugins:
  openai: { source: "bundled:openai" }
  tgis: { source: "bundled:tgis" }
  embedded: { source: "bundled:embedded" }
"#;

/// The embedded models behind both frontends, open to everybody.
#[must_use]
pub fn embedded() -> String {
    format!(
        "{PLUGINS}
workers:
  - {{ name: here, address: \"component:embedded\", slots: 4 }}
routes:
  - name: all
    frontends: [openai, tgis]
    workers: [here]
    auth: open
    default-model: tollgate-ngram
"
    )
}

/// A worker of the model `m`, which it calls `served`. It is not probed, so that only what a test
/// asks reaches it.
#[must_use]
pub fn worker(name: &str, protocol: &str, address: SocketAddr, extra: &str) -> String {
    let scheme = if protocol == "tgis" { "grpc" } else { "http" };
    format!(
        "  - {{ name: {name}, address: \"{scheme}://{address}\", protocol: {protocol}, probe: off, \
         models: [{{ name: m, served-as: served }}]{extra} }}\n"
    )
}

/// Workers behind both frontends, open to everybody; `route` is more YAML of the route, two
/// spaces indented by four.
#[must_use]
pub fn workers(workers: &[String], route: &str) -> String {
    let names: Vec<_> = (0..workers.len()).map(|at| format!("w{at}")).collect();
    let names = names.join(", ");
    format!(
        "{PLUGINS}
workers:
{}
routes:
  - name: all
    frontends: [openai, tgis]
    workers: [{names}]
    auth: open
    default-model: m
{route}
",
        workers.concat()
    )
}

/// One worker, called `w0`. See [`workers`].
#[must_use]
pub fn one(protocol: &str, address: SocketAddr, extra: &str, route: &str) -> String {
    workers(&[worker("w0", protocol, address, extra)], route)
}

/// What an OpenAI client sends for a completion of `m`.
#[must_use]
pub fn completion(stream: bool) -> Request {
    let body = json!({"model": "m", "prompt": "Hello", "max_tokens": 8, "stream": stream});
    Request::post("/v1/completions", &body)
}

/// What vLLM answers to a completion.
#[must_use]
pub fn completed(text: &str) -> Value {
    json!({
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "served",
        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 2, "total_tokens": 5, "completion_tokens": 3}
    })
}

/// A chunk of vLLM's stream; with a reason it is the last of its choice.
#[must_use]
pub fn chunk(text: &str, reason: Option<&str>, so_far: u32) -> String {
    json!({
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "served",
        "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": reason}],
        "usage": {"prompt_tokens": 2, "total_tokens": 2 + so_far, "completion_tokens": so_far}
    })
    .to_string()
}

/// The last chunk before vLLM's terminator.
#[must_use]
pub fn usage_chunk(so_far: u32) -> String {
    json!({
        "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "served", "choices": [],
        "usage": {"prompt_tokens": 2, "total_tokens": 2 + so_far, "completion_tokens": so_far}
    })
    .to_string()
}

fn parameters() -> fmaas::Parameters {
    fmaas::Parameters {
        stopping: Some(fmaas::StoppingCriteria {
            max_new_tokens: 8,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// `fmaas.GenerationService/METHOD`.
#[must_use]
pub fn tgis(method: &str) -> Request {
    grpc::request(&format!("fmaas.GenerationService/{method}"))
}

/// What a TGIS client sends to `Generate` for some texts.
#[must_use]
pub fn batch(model: &str, texts: &[&str]) -> fmaas::BatchedGenerationRequest {
    let requests = texts.iter().map(|text| fmaas::GenerationRequest {
        text: (*text).to_owned(),
    });
    fmaas::BatchedGenerationRequest {
        model_id: model.to_owned(),
        requests: requests.collect(),
        params: Some(parameters()),
        ..Default::default()
    }
}

/// What a TGIS client sends to `GenerateStream`.
#[must_use]
pub fn single(model: &str, text: &str) -> fmaas::SingleGenerationRequest {
    fmaas::SingleGenerationRequest {
        model_id: model.to_owned(),
        request: Some(fmaas::GenerationRequest {
            text: text.to_owned(),
        }),
        params: Some(parameters()),
        ..Default::default()
    }
}

/// What a TGIS server answers to a batch.
#[must_use]
pub fn generated(texts: &[&str]) -> fmaas::BatchedGenerationResponse {
    let responses = texts.iter().map(|text| fmaas::GenerationResponse {
        generated_token_count: 3,
        text: (*text).to_owned(),
        input_token_count: 2,
        stop_reason: fmaas::StopReason::MaxTokens.into(),
        ..Default::default()
    });
    fmaas::BatchedGenerationResponse {
        responses: responses.collect(),
    }
}

/// The first message of a TGIS stream: what is known of the input.
#[must_use]
pub fn first() -> fmaas::GenerationResponse {
    fmaas::GenerationResponse {
        input_token_count: 2,
        ..Default::default()
    }
}

/// A piece of a TGIS stream.
#[must_use]
pub fn piece(text: &str, so_far: u32, last: bool) -> fmaas::GenerationResponse {
    let reason = match last {
        true => fmaas::StopReason::MaxTokens,
        false => fmaas::StopReason::NotFinished,
    };
    fmaas::GenerationResponse {
        generated_token_count: so_far,
        text: text.to_owned(),
        stop_reason: reason.into(),
        ..Default::default()
    }
}
