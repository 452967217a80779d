//! The embedded models through both frontends: what a client gets.

use serde_json::json;
use tollgate_tests::{
    Proxy,
    client::{Request, http1},
};

const EMBEDDED: &str = r#"
plugins:
  openai: { source: "bundled:openai" }
  tgis: { source: "bundled:tgis" }
  embedded: { source: "bundled:embedded" }
workers:
  - { name: here, address: "component:embedded", slots: 4 }
routes:
  - { name: all, frontends: [openai, tgis], workers: [here], auth: open, default-model: tollgate-ngram }
"#;

#[tokio::test]
async fn a_completion() {
    let proxy = Proxy::start(EMBEDDED).await;
    let asked = json!({"model": "tollgate-ngram", "prompt": "The ferry", "max_tokens": 5, "temperature": 0});
    let got = http1::ask(proxy.http(), &Request::post("/v1/completions", &asked)).await;
    let got = got.with_status(200).json();
    assert_eq!(got["usage"]["completion_tokens"], 5, "{got}");
    assert_eq!(proxy.terminate().await.code, Some(0));
}
