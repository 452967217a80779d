//! The group `caikit`: a real caikit runtime, asked over both of its surfaces.

use anyhow::Result;

use super::house::{House, counted};
use super::server::{Server, port};
use super::table::{Asked, Part};
use super::{PROXY_PATIENCE, SERVER_PATIENCE, text};
use crate::workspace::Workspace;

/// Ports of the runtime and of the proxy, as `tests/conformance/caikit.yaml` has them.
pub(super) const REST: &str = "127.0.0.1:18180";
pub(super) const GRPC: &str = "127.0.0.1:18185";
const BEFORE_REST: &str = "127.0.0.1:18560";
const BEFORE_GRPC: &str = "127.0.0.1:18561";
const ADMIN: &str = "127.0.0.1:18569";

/// Starts, asks, and ends them.
///
/// # Errors
/// When one of them does not start or serve.
pub(super) fn run(house: &House, workspace: &Workspace) -> Result<Part> {
    let runtime = server(house)?;
    let mut proxy = house.proxy(workspace, &[BEFORE_REST, BEFORE_GRPC, ADMIN])?;
    proxy.wait(&format!("http://{ADMIN}/readyz"), PROXY_PATIENCE)?;
    let part = ask(house);
    let drained = Server::stop(proxy);
    runtime.stop().ok();
    let part = part?;
    drained?;
    Ok(part)
}

/// The runtime.
///
/// # Errors
/// When it does not start.
pub(super) fn server(house: &House) -> Result<Server> {
    let ports = [
        ("CAIKIT_HTTP_PORT", port(REST)?),
        ("CAIKIT_GRPC_PORT", port(GRPC)?),
    ];
    let mut runtime = house.real("the caikit runtime", "caikit.sh", &ports, &[REST, GRPC])?;
    runtime.wait(&format!("http://{REST}/health"), SERVER_PATIENCE)?;
    Ok(runtime)
}

fn ask(house: &House) -> Result<Part> {
    let cells = house.cells(
        "tasks.py",
        &[
            "--rest",
            REST,
            "--grpc",
            GRPC,
            "--before-rest",
            BEFORE_REST,
            "--before-grpc",
            BEFORE_GRPC,
        ],
    )?;
    let mut clients = Vec::new();
    for (client, script) in [
        ("http.client and grpcio", "caikit_tasks.py"),
        ("grpcurl, by reflection", "grpcurl_caikit.py"),
    ] {
        for (worker, address) in [("caikit REST", BEFORE_REST), ("caikit gRPC", BEFORE_GRPC)] {
            println!("\n== {client} in front of {worker}");
            let mut command = house.script(&format!("tests/clients/{script}"));
            command
                .args(["--url", &format!("https://{address}"), "--grpc", address])
                .args(["--model", "generator", "--embedding-model", "embedder"]);
            clients.push(Asked {
                client: client.to_owned(),
                worker: worker.to_owned(),
                counts: counted(&mut command)?,
                plugins: vec!["caikit"],
            });
        }
    }
    Ok(Part {
        cells,
        clients,
        specified: Vec::new(),
        versions: vec![
            house.pinned(
                "caikit runtime",
                "tests/real/caikit.sh",
                "caikit[runtime-grpc,runtime-http]",
            )?,
            house.pinned("grpcio", "xtask/requirements.txt", "grpcio")?,
            text::grpcurl(house)?,
        ],
    })
}
