//! Real clients against the embedded models, over TLS and with a token: the scripts of
//! `tests/clients`, each with checks of its own.
//!
//! They need the Python environment that `cargo xtask test` makes and names in `TOLLGATE_VENV`;
//! without it each test says that it was left out.

use std::{
    env,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::NamedTempFile;
use tollgate_tests::{Proxy, Setup, place, tls::Certificate, tokens};

const TOKEN: &str = "a-long-and-random-token-of-a-test";

const YAML: &str = r#"
listeners:
  - { name: tls, address: "127.0.0.1:0", tls: { certificates: [{ cert: cert.pem, key: key.pem }] } }
tokens: { file: tokens.yaml }
plugins:
  openai: { source: "bundled:openai" }
  tgis: { source: "bundled:tgis" }
  caikit: { source: "bundled:caikit" }
  embedded: { source: "bundled:embedded" }
schedulers:
  fcfs: { source: "bundled:fcfs" }
workers:
  - { name: here, address: "component:embedded", slots: 8 }
routes:
  - name: all
    frontends: [FRONTENDS]
    workers: [here]
    scheduler: fcfs
    default-model: tollgate-ngram
"#;

/// Runs a script against a proxy of its own; all of its checks must pass. Of what two frontends
/// claim the first has it: `/health` is one of those.
async fn run(script: &str, frontends: &str, arguments: impl Fn(SocketAddr) -> Vec<String>) {
    let Some(venv) = env::var_os("TOLLGATE_VENV").map(PathBuf::from) else {
        println!("left out: TOLLGATE_VENV does not say where the clients are");
        return;
    };
    let certificate = Certificate::new(&["localhost", "127.0.0.1"]);
    let file = tokens::file(&[tokens::entry("tests", TOKEN, "models: [\"*\"]")]);
    let proxy: Proxy = Setup::new(&YAML.replace("FRONTENDS", frontends))
        .file("cert.pem", &certificate.cert)
        .file("key.pem", &certificate.key)
        .file("tokens.yaml", file)
        .start()
        .await;
    let authority = NamedTempFile::new().expect("temporary files have a place");
    std::fs::write(&authority, &certificate.cert).expect("it can be written");
    let path = place::root().join("tests/clients").join(script);
    let mut command = if script.ends_with(".py") {
        let mut command = Command::new(venv.join("bin/python"));
        command.arg(path);
        command
    } else {
        let mut command = Command::new("bash");
        command.arg(path);
        command
    };
    command
        .args(arguments(proxy.listener("tls")))
        .args(["--token", TOKEN, "--model", "tollgate-ngram"])
        .arg("--ca")
        .arg(authority.path())
        .stdin(Stdio::null());
    let asked = tokio::task::spawn_blocking(move || command.output());
    // A client checks dozens of things, and Python starts slowly on a busy machine.
    let output = tokio::time::timeout(std::time::Duration::from_secs(300), asked)
        .await
        .expect("the client ends")
        .expect("waiting for it does not panic")
        .expect("the client starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.ends_with(", 0 failed") && !last.starts_with("0 passed"),
        "{said}"
    );
    println!("{script}: {last}");
}

#[tokio::test]
async fn the_openai_sdk() {
    run("openai_sdk.py", "openai, tgis", |address| {
        vec![
            "--url".into(),
            format!("https://{address}"),
            "--embedding-model".into(),
            "tollgate-hash".into(),
        ]
    })
    .await;
}

#[tokio::test]
async fn grpcio() {
    run("tgis_grpc.py", "openai, tgis", |address| {
        vec!["--grpc".into(), address.to_string()]
    })
    .await;
}

#[tokio::test]
async fn grpcurl() {
    run("grpcurl.py", "openai, tgis", |address| {
        vec!["--grpc".into(), address.to_string()]
    })
    .await;
}

#[tokio::test]
async fn curl() {
    run("curl.sh", "openai, tgis", |address| {
        vec![
            "--url".into(),
            format!("https://{address}"),
            "--embedding-model".into(),
            "tollgate-hash".into(),
        ]
    })
    .await;
}

#[tokio::test]
async fn a_caikit_client() {
    run("caikit_tasks.py", "caikit, openai, tgis", |address| {
        vec![
            "--url".into(),
            format!("https://{address}"),
            "--grpc".into(),
            address.to_string(),
            "--embedding-model".into(),
            "tollgate-hash".into(),
        ]
    })
    .await;
}
