//! Tasks that no worker of a model offers, made of those that they do: through the real proxy, with
//! the composition plugins that ship, over workers that know nothing of it.

mod chat;
mod costs;
mod lists;
mod vectors;

use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tollgate_tests::{
    Setup,
    fake::{
        Journal, Seen,
        http1::{self as h, Received},
    },
};

/// A worker of the model `m`, which it calls `served`, for some tasks only.
fn worker(name: &str, protocol: &str, address: SocketAddr, tasks: &str, extra: &str) -> String {
    let scheme = if protocol == "tgis" { "grpc" } else { "http" };
    format!(
        "  - {{ name: {name}, address: \"{scheme}://{address}\", protocol: {protocol}, probe: off, \
         models: [{{ name: m, served-as: served, tasks: [{tasks}] }}]{extra} }}\n"
    )
}

/// Workers, called `w0` and so on, behind all frontends and compositions; `compose` and `chat` are
/// the options of the compositions.
fn setup(workers: &[String], compose: &str, chat: &str) -> Setup {
    Setup::new(&yaml(workers, compose, chat))
}

fn yaml(workers: &[String], compose: &str, chat: &str) -> String {
    let names: Vec<_> = (0..workers.len()).map(|at| format!("w{at}")).collect();
    format!(
        "plugins:
  openai: {{ source: \"bundled:openai\" }}
  tgis: {{ source: \"bundled:tgis\" }}
  caikit: {{ source: \"bundled:caikit\" }}
  kserve: {{ source: \"bundled:kserve\" }}
  compose: {{ source: \"bundled:compose\", options: {{ {compose} }} }}
  chat: {{ source: \"bundled:compose-chat\", options: {{ {chat} }} }}
workers:
{}
routes:
  - name: all
    frontends: [openai, tgis, caikit]
    compositions: [compose, chat]
    workers: [{}]
    auth: open
    default-model: m
",
        workers.concat(),
        names.join(", "),
    )
}

fn body(received: &Received) -> Value {
    serde_json::from_slice(&received.body).expect("JSON")
}

/// Texts that a worker is asked to make vectors of.
fn inputs(received: &Received) -> Vec<String> {
    assert!(
        received.head.line.contains("/v1/embeddings"),
        "{}",
        received.head.line
    );
    let body = body(received);
    assert_eq!(body["model"], "served");
    match &body["input"] {
        Value::String(text) => vec![text.clone()],
        texts => serde_json::from_value(texts.clone()).expect("texts"),
    }
}

/// What vLLM answers to that: here a text is its own vector, numbers with spaces between, and has as
/// many tokens as numbers.
fn vectors(texts: &[String]) -> h::Act {
    let mut tokens = 0;
    let data: Vec<Value> = (0..)
        .zip(texts)
        .map(|(index, text): (usize, _)| {
            let numbers: Vec<f32> = text
                .split(' ')
                .map(|it| it.parse().expect("a number"))
                .collect();
            tokens += numbers.len();
            let bytes: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
            json!({"index": index, "object": "embedding", "embedding": STANDARD.encode(bytes)})
        })
        .collect();
    h::json(
        200,
        &json!({
            "id": "embd-1", "object": "list", "created": 1, "model": "served", "data": data,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
        }),
    )
}

async fn embedder() -> h::Worker {
    h::Worker::start(|received| vec![vectors(&inputs(received))]).await
}

/// Requests that the proxy has gone from.
fn gone(journal: &Journal) -> usize {
    let entries = journal.entries();
    let gone = entries
        .iter()
        .filter(|entry| matches!(entry.seen, Seen::Gone(_)));
    gone.count()
}
