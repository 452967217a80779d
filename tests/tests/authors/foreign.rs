//! Plugins that are not in Rust serve as those that are. They are there where their tools are
//! (`cargo xtask components c-quill python-quill`); `cargo xtask test` installs those, and says by
//! `TOLLGATE_FOREIGN` that nothing may be left out.

use std::{env, path::PathBuf};

use serde_json::{Value, json};
use tollgate_tests::{
    Setup,
    client::{Request, http1},
    fake, place,
};

use super::{component, good};

/// Limits of a plugin that brings an interpreter.
const INTERPRETER: &str = ", limits: { memory: 128MiB, cpu: 2s, cpu-large: 4s, wall: 60s }";

/// The component, if it was built.
fn built(name: &str) -> Option<PathBuf> {
    let folder = env::var_os("TOLLGATE_COMPONENTS")
        .map_or_else(|| place::target().join("components"), PathBuf::from);
    let path = folder.join(format!("examples/{name}.wasm"));
    if path.is_file() {
        return Some(path);
    }
    assert!(
        env::var_os("TOLLGATE_FOREIGN").is_none(),
        "{} is not there",
        path.display()
    );
    eprintln!("{name} is not built: `cargo xtask components {name}` does, and fetches its tools");
    None
}

/// Serves as a frontend over the tiny model, and as a backend to a worker that speaks quill.
async fn serves(name: &str, limits: &str) {
    let Some(foreign) = built(name) else {
        return;
    };
    let worker = fake::http1::Worker::start(|request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        assert_eq!(asked["prompt"], "A \"letter\"\n\u{e9}:", "{asked}");
        assert_eq!(asked["model"], "served", "{asked}");
        if asked["stream"] != true {
            let text = json!({
                "model": "served", "text": "Dear \u{1f58b} Sir", "finish": "length",
                "usage": {"input": 3, "output": 2}
            });
            return vec![fake::http1::json(200, &text)];
        }
        let end =
            "event: end\ndata: {\"finish\":\"done\",\"usage\":{\"input\":3,\"output\":2}}\n\n";
        vec![
            fake::http1::stream_head(),
            fake::http1::event(r#"{"text":"Dear "}"#),
            fake::http1::event(r#"{"text":"\ud83d\udd8b Sir"}"#),
            fake::http1::write(format!("{:x}\r\n{end}\r\n", end.len())),
            fake::http1::stream_end(),
        ]
    })
    .await;
    let yaml = format!(
        "
plugins:
  embedded: {{ source: \"bundled:embedded\" }}
  native: {{ source: \"{native}\" }}
  foreign: {{ source: \"{foreign}\"{limits} }}
workers:
  - {{ name: tiny, address: \"component:embedded\", slots: 4 }}
  - {{ name: w, address: \"http://{address}\", protocol: foreign, probe: off, models: [{{ name: m, served-as: served }}] }}
routes:
  - {{ name: foreign, hosts: [foreign.test], frontends: [foreign], workers: [tiny], auth: open, default-model: tollgate-ngram }}
  - {{ name: native, hosts: [native.test], frontends: [native], workers: [w], auth: open, default-model: m }}
",
        native = component("examples/quill"),
        foreign = foreign.display(),
        address = worker.address,
    );
    let proxy = Setup::new(&yaml)
        .record_exchanges("exchanges", &[])
        .start()
        .await;
    let ask = async |host: &str, body: Value| {
        let request = Request::post("/quill/v1/write", &body).host(host);
        http1::ask(proxy.http(), &request).await
    };

    let whole = ask(
        "foreign.test",
        json!({"prompt": "The ferry", "max_tokens": 4, "temperature": 0.25}),
    )
    .await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    let answer = whole.json();
    assert_eq!(answer["usage"]["output"], 4, "{answer}");
    assert_eq!(answer["model"], "tollgate-ngram", "{answer}");
    let streamed = ask(
        "foreign.test",
        json!({"prompt": "The ferry", "max_tokens": 4, "stream": true}),
    )
    .await;
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
    assert!(
        streamed.text().contains("event: end\ndata: {\"finish\":"),
        "{}",
        streamed.text()
    );
    for (bad, said) in [
        (json!({"prompt": 1}), "prompt"),
        (json!({"prompt": "a", "colour": 1}), "member"),
    ] {
        let refused = ask("foreign.test", bad).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        let told = refused.json()["error"]["message"].clone();
        assert!(
            told.as_str().is_some_and(|told| told.contains(said)),
            "{told}"
        );
    }

    let prompt = "A \"letter\"\n\u{e9}:";
    let whole = ask("native.test", json!({"prompt": prompt, "max_tokens": 2}))
        .await
        .json();
    assert_eq!(whole["text"], "Dear \u{1f58b} Sir", "{whole}");
    assert_eq!(whole["usage"], json!({"input": 3, "output": 2}));
    let streamed = ask("native.test", json!({"prompt": prompt, "stream": true}))
        .await
        .text();
    assert!(streamed.contains("\u{1f58b} Sir"), "{streamed}");
    assert!(streamed.contains(r#""finish":"done""#), "{streamed}");

    proxy.becomes("transcripts", 0.0).await;
    let folder = proxy.folder();
    assert_eq!(proxy.terminate().await.code, Some(0));
    let exchanges = folder.path().join("exchanges");
    let told = good(&[
        "test",
        foreign.to_str().unwrap(),
        "--transcripts",
        exchanges.to_str().unwrap(),
        "--plugin",
        "foreign",
        "--memory",
        "128",
        "--cpu",
        "4000",
        "--positions",
        "64",
        "--repetitions",
        "32",
    ]);
    assert!(told.contains("6 files, 0 failed"), "{told}");
}

#[tokio::test]
async fn a_plugin_in_c_serves() {
    serves("c-quill", "").await;
}

#[tokio::test]
async fn a_plugin_in_python_serves() {
    serves("python-quill", INTERPRETER).await;
}
