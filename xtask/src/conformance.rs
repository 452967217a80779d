//! `conformance`: what real servers answer, directly and through Tollgate, compared.
//!
//! 1. Build the components and the proxy; with `--built` take the ones that are there.
//! 2. Start the real servers of `tests/real`, and the proxy of `tests/conformance/tollgate.yaml`
//!    in front of them, with a new certificate and a new token, in `target/conformance/`.
//! 3. Compare the cells, unary and streaming (`tests/conformance/cells.py`), and let the
//!    real clients ask (`tests/clients`).
//! 4. Write `tests/CONFORMANCE.md`: the counts, the versions, the date, and the digests of the
//!    components. `test` compares those digests later, and says which rows are stale.

mod house;
mod server;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::components::Which;
use crate::process::{cargo, run as run_command};
use crate::workspace::Workspace;
use crate::{components, needs};
use house::{ADMIN, HTTP, House, VECTORS};
use server::Server;
use table::Digest;

/// Relative to the workspace's root.
const TABLE: &str = "tests/CONFORMANCE.md";
/// Tries, a second apart. The servers' first start fetches some gigabytes.
const SERVER_PATIENCE: u32 = 1800;
const PROXY_PATIENCE: u32 = 120;

/// Builds, compares, writes the table.
///
/// # Errors
/// When something cannot be built or started, or a case or a client's check failed; the table
/// has been written then, failures included.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let built = match arguments {
        [] => false,
        [flag] if flag == "--built" => true,
        _ => bail!("cargo xtask conformance [--built]"),
    };
    let workspace = Workspace::load()?;
    if !built {
        components::build(&workspace, Which::Bundled)?;
        let mut build = cargo();
        build.args(["build", "--package", "tollgate"]);
        run_command(build.current_dir(&workspace.root))?;
    }
    carries_its_components(&workspace)?;
    needs::curl()?;
    let venv = needs::python(&workspace)?;
    let house = House::prepare(&workspace, venv)?;

    println!("\n== starting the real servers, which takes minutes");
    // One after the other: at first they fetch into the same folder.
    let mut generating = house.generating()?;
    generating.wait(&format!("http://{HTTP}/health"), SERVER_PATIENCE)?;
    let mut embedding = house.embedding()?;
    let mut proxy = None;
    let report = embedding
        .wait(&format!("http://{VECTORS}/health"), SERVER_PATIENCE)
        .and_then(|()| house.proxy(&workspace))
        .and_then(|mut started| {
            let ready = started.wait(&format!("http://{ADMIN}/readyz"), PROXY_PATIENCE);
            proxy = Some(started);
            ready
        })
        .and_then(|()| house.report(&workspace));
    let drained = proxy.map_or(Ok(()), Server::stop);
    // They end as they like: what they say at a signal is not ours to judge.
    embedding.stop().ok();
    generating.stop().ok();
    let report = report?;
    let path = workspace.root.join(TABLE);
    fs::write(&path, report.markdown()).with_context(|| format!("{}", path.display()))?;
    println!("\nwritten: {TABLE}");
    drained?;
    let failed = report.failed();
    if failed > 0 {
        bail!("{failed} of the comparisons and checks failed");
    }
    Ok(())
}

/// Prints which rows of the table were made with other components than the ones that are built
/// now. Stale is not wrong, so this does not fail.
///
/// # Errors
/// When the table cannot be read.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let path = workspace.root.join(TABLE);
    if !path.is_file() {
        println!("  there is no {TABLE} yet: cargo xtask conformance makes it");
        return Ok(());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let stale = table::stale(&text, &digests(workspace)?);
    for row in &stale {
        println!("  stale: {row}");
    }
    if stale.is_empty() {
        println!("  every row was made with the components that are built");
    } else {
        println!("  cargo xtask conformance makes them anew");
    }
    Ok(())
}

/// The digests are those of the components on disk; the binary must have been built since.
fn carries_its_components(workspace: &Workspace) -> Result<()> {
    let changed = |path: &Path| {
        fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .with_context(|| format!("{}", path.display()))
    };
    let binary = workspace.binary();
    let built = changed(&binary)?;
    for digest in digests(workspace)? {
        let file = workspace.components().join(format!("{}.wasm", digest.name));
        if changed(&file)? > built {
            bail!("{} is older than {}", binary.display(), file.display());
        }
    }
    Ok(())
}

/// `target/components/DIGESTS`, without the fixtures.
fn digests(workspace: &Workspace) -> Result<Vec<Digest>> {
    let path = workspace.components().join("DIGESTS");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    Ok(Digest::read(&text))
}
