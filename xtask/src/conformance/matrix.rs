//! The group `matrix`: every protocol in front of every kind of server, task by task.

use anyhow::Result;

use super::house::House;
use super::server::Server;
use super::table::Part;
use super::{PROXY_PATIENCE, caikit, tensors, text};
use crate::workspace::Workspace;

/// The proxy's ports, one a worker, as `tests/conformance/matrix.yaml` has them.
const BEFORE: [&str; 7] = [
    "127.0.0.1:18570",
    "127.0.0.1:18571",
    "127.0.0.1:18572",
    "127.0.0.1:18573",
    "127.0.0.1:18574",
    "127.0.0.1:18575",
    "127.0.0.1:18576",
];
const ADMIN: &str = "127.0.0.1:18579";

/// Starts, asks, and ends them.
///
/// # Errors
/// When one of them does not start or serve.
pub(super) fn run(house: &House, workspace: &Workspace) -> Result<Part> {
    let mut servers = Vec::from(text::servers(house)?);
    servers.push(caikit::server(house)?);
    servers.push(tensors::TRITON.start(house)?);
    let mut taken = BEFORE.to_vec();
    taken.push(ADMIN);
    let mut proxy = house.proxy(workspace, &taken)?;
    proxy.wait(&format!("http://{ADMIN}/readyz"), PROXY_PATIENCE)?;
    let cells = house.cells(
        "matrix.py",
        &[
            "--vllm",
            text::HTTP,
            "--tgis",
            text::GRPC,
            "--embedder",
            text::VECTORS,
            "--caikit-rest",
            caikit::REST,
            "--caikit-grpc",
            caikit::GRPC,
            "--triton",
            tensors::TRITON.http,
        ],
    );
    let drained = Server::stop(proxy);
    // They end as they like: what they say at a signal is not ours to judge.
    for server in servers {
        server.stop().ok();
    }
    let cells = cells?;
    drained?;
    Ok(Part {
        cells,
        ..Part::default()
    })
}
