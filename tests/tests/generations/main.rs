//! The generations of plugins and schedulers in a running proxy: swapped, tried, promoted, rolled
//! back, watched, and gone when they are done (`proxy/plugin/src/life.rs`). The plugins are
//! `tests/fixtures/bad`, which misbehaves as it is told, and those that ship.

mod canaries;
mod hostile;
mod operators;
mod traffic;
mod watched;

use std::fs;

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, Response, http1},
    eventually,
    fake::http1 as fake,
    place, scene,
};

/// The plugin that misbehaves as `options.json` beside the configuration tells it, between `kept`
/// files: by default it is honest. Nobody is watched unless a test says so.
fn bad(more: &str) -> Setup {
    bad_at("127.0.0.1:9", more)
}

/// The same with a worker of its dialect.
fn bad_at(worker: impl std::fmt::Display, more: &str) -> Setup {
    let yaml = format!(
        r#"
plugins:
  bad: {{ source: bad.wasm, limits: {{ memory: 16MiB, output: 1MiB }}{more} }}
workers:
  - {{ name: w, address: "http://{worker}", protocol: bad, models: [{{ name: m }}], probe: off }}
routes:
  - {{ name: bad, frontends: [bad], workers: [w], auth: open, default-model: m }}
"#
    );
    Setup::new(&yaml).file("bad.wasm", component("fixtures/bad"))
}

fn component(name: &str) -> Vec<u8> {
    fs::read(place::component(name)).expect("the component")
}

/// A component as another file of the same behaviour: a custom section is added (WebAssembly core
/// specification, section 5.5.3) that no runtime looks at, and its digest is another. All lengths
/// are below 128, so that one byte holds each.
fn marked(mut component: Vec<u8>, mark: u32) -> Vec<u8> {
    const NAME: &[u8] = b"mark";
    let content = mark.to_le_bytes();
    component.extend([0, (1 + NAME.len() + content.len()) as u8, NAME.len() as u8]);
    component.extend([NAME, &content].concat());
    component
}

async fn echo(proxy: &Proxy, query: &str) -> Response {
    let path = format!("/bad/echo{query}");
    let request = Request::post(&path, &json!({"hello": "there"}));
    http1::ask(proxy.http(), &request).await
}

/// How the only plugin stands.
async fn standing(proxy: &Proxy) -> Value {
    proxy.status().await["plugins"][0].clone()
}

/// A change that an operator makes; what happened.
async fn done(proxy: &Proxy, what: &str, body: &str) -> Value {
    let answer = proxy.order(what, body).await.with_status(200).json();
    answer["happened"].clone()
}
