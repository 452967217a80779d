//! `conformance`: what real servers answer, directly and through Tollgate, compared.
//!
//! 1. Build the components and the proxy; with `--built` take the ones that are there.
//! 2. For each group that is named, or all: start its real servers of `tests/real`, and the proxy of
//!    `tests/conformance/GROUP.yaml` in front of them, with a new certificate and a new token, in
//!    `target/conformance/GROUP`; compare the cells, unary and streaming, and let the real clients
//!    ask (`tests/clients`). The group `specification` counts the tests of stand-ins instead.
//! 3. Write `tests/CONFORMANCE.md`: the counts, the versions, the date, and the digests of the
//!    components; what was not asked stays as it was. `test` compares those digests later, and says
//!    which rows are stale.

mod book;
mod caikit;
mod house;
mod matrix;
mod server;
mod specification;
mod table;
mod tensors;
mod text;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::components::Which;
use crate::process::{cargo, output, run as run_command};
use crate::workspace::Workspace;
use crate::{components, needs};
use book::Book;
use house::House;
use table::{Digest, Part};

/// Relative to the workspace's root.
const TABLE: &str = "tests/CONFORMANCE.md";
/// Tries, a second apart. The servers' first start fetches some gigabytes.
const SERVER_PATIENCE: u32 = 1800;
const PROXY_PATIENCE: u32 = 120;
/// What can be asked by itself, in the order of the document.
const GROUPS: [&str; 5] = ["text", "tensors", "caikit", "matrix", "specification"];

/// Builds, compares, writes the table.
///
/// # Errors
/// When something cannot be built or started, or a case or a client's check failed; the table
/// has been written then, failures included.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (flags, mut groups): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .map(String::as_str)
        .partition(|argument| argument.starts_with("--"));
    let built = match flags[..] {
        [] => false,
        ["--built"] => true,
        _ => bail!("cargo xtask conformance [--built] [GROUP…]"),
    };
    if let Some(unknown) = groups.iter().find(|group| !GROUPS.contains(group)) {
        bail!("{unknown} is none of the groups: {}", GROUPS.join(", "));
    }
    if groups.is_empty() {
        groups = GROUPS.to_vec();
    }
    let workspace = Workspace::load()?;
    if !built {
        components::build(&workspace, Which::Bundled)?;
        let mut build = cargo();
        // Of the workspace: its features, and so what is built already.
        build.args(["build", "--workspace", "--bin", "tollgate"]);
        run_command(build.current_dir(&workspace.root))?;
    }
    carries_its_components(&workspace)?;
    needs::curl()?;
    let venv = needs::python(&workspace)?;

    let path = workspace.root.join(TABLE);
    let old = fs::read_to_string(&path).unwrap_or_default();
    let (mut book, now) = (Book::read(&old), digests(&workspace)?);
    let mut all = Part::default();
    let mut broken = Vec::new();
    for group in groups {
        println!("\n== {group}: starting the servers, which may take minutes");
        let made = match group {
            "specification" => specification::run(&workspace),
            _ => House::prepare(&workspace, &venv, group).and_then(|house| match group {
                "text" => text::run(&house, &workspace),
                "tensors" => tensors::run(&house, &workspace),
                "matrix" => matrix::run(&house, &workspace),
                _ => caikit::run(&house, &workspace),
            }),
        };
        // What another group cannot do is no reason to lose what this one has shown.
        match made {
            Ok(part) => all.add(part),
            Err(problem) => broken.push(format!("{group}: {problem:#}")),
        }
    }
    all.versions.push(house::of_tollgate(&workspace.root));
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    book.take(&all, &now, date.trim());
    fs::write(&path, book.markdown(&now)).with_context(|| format!("{}", path.display()))?;
    println!("\nwritten: {TABLE}");
    let failed = all.failed();
    if failed > 0 {
        broken.push(format!("{failed} of the comparisons and checks failed"));
    }
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
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
    let stale = Book::read(&text).stale(&digests(workspace)?);
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

/// `target/components/DIGESTS`, without the fixtures and examples.
fn digests(workspace: &Workspace) -> Result<Vec<Digest>> {
    let path = workspace.components().join("DIGESTS");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    Ok(Digest::read(&text))
}
