//! The configurations of `config/kubernetes/sidecar` before the servers that they are for: what the
//! kubelet asks (`/health` of the data port) says no while no model is ready behind the proxy, and yes
//! when one is; and clients find it by another protocol than the server's.

use std::{fmt::Write as _, net::SocketAddr};

use tollgate_tests::{
    eventually,
    fake::{grpc as g, http1 as h},
    fmaas, place,
    standin::{mlserver, modelmesh, ovms, triton},
};

use super::*;

/// Where nobody listens.
const NOBODY: &str = "127.0.0.1:1";
/// Sections that every test has of its own.
const OWN: [&str; 3] = ["listeners:", "admin:", "log:"];

/// The file of a runtime as it stands, with its worker elsewhere.
fn config(runtime: &str, worker: &str) -> String {
    let path = format!("config/kubernetes/sidecar/{runtime}/tollgate.yaml");
    let text = std::fs::read_to_string(place::root().join(path)).expect("there is such a file");
    let mut kept = String::new();
    let mut skipped = false;
    for line in text.lines() {
        if line.starts_with(|c: char| c.is_ascii_lowercase()) {
            skipped = OWN.iter().any(|section| line.starts_with(section));
        }
        let address = line.trim_start().strip_prefix("address: ");
        let scheme = address.and_then(|it| it.split_once("://"));
        match scheme {
            _ if skipped => {}
            Some((scheme, _)) => {
                let _ = writeln!(kept, "    address: {scheme}://{worker}");
            }
            None => {
                let _ = writeln!(kept, "{line}");
            }
        }
    }
    assert!(kept.contains(worker), "{runtime}: {kept}");
    kept
}

/// Is not ready without its server, and with it lists this model.
async fn holds(runtime: &str, server: SocketAddr, model: &str) {
    let proxy = Proxy::start(&config(runtime, NOBODY)).await;
    let told = get(&proxy, "/health").await;
    assert_eq!(told.status, 503, "{runtime}: {}", told.text());
    drop(proxy);
    let yaml = config(runtime, &server.to_string());
    // Of ModelMesh the file names the models.
    let proxy = Proxy::start(&yaml.replace("name: fraud", "name: served")).await;
    eventually(format!("{runtime} is ready"), async || {
        (get(&proxy, "/health").await.status == 200).then_some(())
    })
    .await;
    let listed = get(&proxy, "/v1/models").await.with_status(200).json();
    let mut models = listed["data"].as_array().expect("a list").iter();
    assert!(models.any(|it| it["id"] == model), "{runtime}: {listed}");
}

fn target(received: &h::Received) -> &str {
    received.head.line.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn before_vllm() {
    let server = h::Worker::start(|received| match target(received) {
        "/health" => vec![h::answer(200, "text/plain", "")],
        "/v1/models" => vec![h::json(
            200,
            &json!({"object": "list", "data": [{"id": "served", "object": "model", "created": 1,
                    "owned_by": "vllm", "max_model_len": 64}]}),
        )],
        _ => vec![h::json(404, &json!({"detail": "Not Found"}))],
    })
    .await;
    holds("vllm", server.address, "served").await;
}

#[tokio::test]
async fn before_tgis() {
    let server = g::Worker::start(|received| match received.head.line.as_str() {
        "POST /fmaas.GenerationService/ModelInfo" => g::answer(&fmaas::ModelInfoResponse {
            max_sequence_length: 64,
            max_new_tokens: 32,
            ..Default::default()
        }),
        // It has no health service.
        _ => vec![g::Act::Status(12, "unknown")],
    })
    .await;
    holds("tgis", server.address, "model").await;
}

#[tokio::test]
async fn before_caikit() {
    let server = h::Worker::start(|received| match target(received) {
        "/health" => vec![h::answer(200, "text/plain", "OK")],
        "/info/models" => vec![h::json(
            200,
            &json!({"models": [{"name": "served", "model_path": "/mnt/models/served", "size": 1,
                    "loaded": true, "module_id": "x", "metadata": {}, "module_metadata": {}}]}),
        )],
        _ => vec![h::json(404, &json!({"detail": "Not Found"}))],
    })
    .await;
    for runtime in ["caikit-standalone", "caikit-tgis"] {
        holds(runtime, server.address, "served").await;
    }
}

#[tokio::test]
async fn before_triton() {
    holds("triton", triton::grpc().await.address, "served").await;
}

#[tokio::test]
async fn before_openvino() {
    holds("ovms", ovms::rest(false).await.address, "served").await;
}

#[tokio::test]
async fn before_mlserver() {
    holds("mlserver", mlserver::rest().await.address, "served").await;
}

#[tokio::test]
async fn before_modelmesh() {
    holds("modelmesh", modelmesh::grpc().await.address, "served").await;
}

/// Every folder with a configuration is one of these.
#[test]
fn none_is_left_out() {
    let folder = place::root().join("config/kubernetes/sidecar");
    let folders = std::fs::read_dir(folder).expect("it is there");
    let mut found: Vec<String> = folders
        .filter_map(|it| Some(it.ok()?.path()))
        .filter(|it| it.join("tollgate.yaml").is_file())
        .filter_map(|it| Some(it.file_name()?.to_string_lossy().into_owned()))
        .collect();
    found.sort();
    let known = [
        "caikit-standalone",
        "caikit-tgis",
        "mlserver",
        "modelmesh",
        "ovms",
        "tgis",
        "triton",
        "vllm",
    ];
    assert_eq!(found, known);
}
