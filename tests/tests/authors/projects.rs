//! A new project of each world is made outside of this repository, built, tested, loaded, and
//! answers through the proxy.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_tests::{
    Setup,
    client::{Request, http1},
    place,
};

use super::{good, text};

/// A project in a folder of its own.
struct Project {
    name: &'static str,
    folder: TempDir,
}

impl Project {
    /// Makes it, and runs its tests.
    fn new(name: &'static str, world: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_str().unwrap();
        let root = place::root().to_str().unwrap();
        good(&["new", name, "--world", world, "--path", path, "--sdk", root]);
        // The versions that this repository was built with, which are at hand.
        std::fs::copy(
            place::root().join("Cargo.lock"),
            folder.path().join("Cargo.lock"),
        )
        .unwrap();
        let project = Self { name, folder };
        project.run(Command::new(cargo()).args(["test", "--offline"]));
        project
    }

    /// Runs a command in it. All projects share what they are built from.
    fn run(&self, command: &mut Command) {
        let output = command
            .current_dir(self.folder.path())
            .env("CARGO", cargo())
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TARGET_DIR", target())
            .env_remove("CARGO_MANIFEST_DIR")
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{command:?}\n{}", text(&output));
    }

    /// Builds the component to where its configuration names it.
    fn build(&self) -> PathBuf {
        let out = self.folder.path().join(format!("{}.wasm", self.name));
        let mut command = Command::new(place::binary());
        self.run(command.args(["plugin", "build", "--out"]).arg(&out));
        out
    }

    /// Its own configuration, with the component where it was built to.
    fn configuration(&self, component: &Path) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("tollgate.yaml")).unwrap();
        let source = format!("target/{}.wasm", self.name);
        assert!(text.contains(&source), "{text}");
        text.replace(&source, component.to_str().unwrap())
            .replace("127.0.0.1:8080", "127.0.0.1:0")
    }

    /// Serves it as its configuration says, and asks it something.
    async fn asked(&self, path: &str, body: &Value) -> Value {
        let component = self.build();
        let proxy = Setup::new(&self.configuration(&component)).start().await;
        let answer = http1::ask(proxy.http(), &Request::post(path, body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn target() -> PathBuf {
    place::target().join("tests-authors")
}

#[tokio::test]
async fn a_new_protocol_answers() {
    let project = Project::new("post-card", "protocol");
    // A model that draws its words may stop before.
    let body = json!({"prompt": "The ferry", "max_tokens": 3, "temperature": 0});
    let answer = project.asked("/post-card/v1/write", &body).await;
    assert_eq!(answer["model"], "tollgate-ngram");
    assert_eq!(answer["usage"]["output"], 3, "{answer}");
}

#[tokio::test]
async fn a_new_scheduler_decides() {
    let project = Project::new("my-turns", "scheduler");
    let body =
        json!({"model": "tollgate-ngram", "prompt": "The", "max_tokens": 2, "temperature": 0});
    let answer = project.asked("/v1/completions", &body).await;
    assert_eq!(answer["usage"]["completion_tokens"], 2, "{answer}");
}

#[tokio::test]
async fn a_new_model_server_answers() {
    let project = Project::new("parrot", "worker");
    let body = json!({"model": "words", "prompt": "to and fro", "max_tokens": 9});
    let answer = project.asked("/v1/completions", &body).await;
    assert_eq!(answer["choices"][0]["text"], "to and fro", "{answer}");
}

#[tokio::test]
async fn a_new_composition_answers() {
    let project = Project::new("likeness", "compose");
    let body = json!({
        "model_id": "tollgate-hash",
        "inputs": {"source_sentence": "a ferry", "sentences": ["a ferry", "a road"]}
    });
    let answer = project
        .asked("/api/v1/task/sentence-similarity", &body)
        .await;
    let scores = answer["result"]["scores"].as_array().expect("scores");
    assert!(scores[0].as_f64() > Some(0.999), "{answer}");
    assert!(scores[1].as_f64() < scores[0].as_f64(), "{answer}");
}
