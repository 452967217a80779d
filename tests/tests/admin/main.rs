//! The port of operators: who may ask what, what is told and changed, and the page that shows it.

mod changes;
mod door;
mod scripts;
mod told;

use serde_json::Value;
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, Response, http1},
    eventually, scene, tokens,
};

/// What no answer of the port of operators may repeat.
const CANARY: &str = "canary-in-a-prompt";

/// A token of an operator, and a file that knows it.
const TOKEN: &str = "a-long-and-random-token-of-an-operator";

/// The embedded models, as a proxy that is looked at serves them.
fn watched() -> Setup {
    Setup::new(&scene::embedded())
}

/// The same with a file of tokens of operators.
fn guarded() -> Setup {
    guard(watched())
}

fn guard(setup: Setup) -> Setup {
    let file = tokens::file(&[tokens::entry("ops", TOKEN, "models: [\"*\"]")]);
    setup
        .file("operators.yaml", file)
        .admin("tokens: operators.yaml")
}

async fn ask(proxy: &Proxy, request: Request) -> Response {
    http1::ask(proxy.admin(), &request).await
}

async fn look(proxy: &Proxy, path: &str) -> Value {
    proxy.ask_admin(path).await.with_status(200).json()
}

async fn complete(proxy: &Proxy) -> Response {
    let body = serde_json::json!({
        "model": "tollgate-ngram", "prompt": format!("Hello {CANARY}"), "max_tokens": 4,
    });
    http1::ask(proxy.http(), &Request::post("/v1/completions", &body)).await
}

/// A request that is refused: of a model that is not there.
async fn mistake(proxy: &Proxy) -> Response {
    let body = serde_json::json!({"model": "nothing", "prompt": CANARY, "max_tokens": 4});
    http1::ask(proxy.http(), &Request::post("/v1/completions", &body)).await
}
