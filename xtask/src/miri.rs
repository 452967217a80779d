//! `miri`: runs tests of crates without I/O in an interpreter that knows when a program is wrong.
//!
//! Our own code has no `unsafe` there; what it leans on has: byte buffers, wakers, the tables of
//! numbers' parsers. Miri watches those as we use them, and arithmetic that only overflows in a
//! debug build. It is some hundred times slower, so properties are held to few cases.
//!
//! It comes with a nightly toolchain only, which rustup fetches on the first run.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{on_path, output, run as run_command};
use crate::workspace::Workspace;

/// Crates whose tests open nothing. `tollgate-dispatch` has its clock from outside.
const PACKAGES: [&str; 3] = ["tollgate-wire", "tollgate-dispatch", "tollgate-contract"];
const TOOLCHAIN: &str = "nightly";
/// Cases of a property; the tests have hundreds without.
const CASES: &str = "4";

/// Fetches what is missing, and runs.
///
/// # Errors
/// When there is no rustup, a package is not known, or a test fails.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(unknown) = arguments
        .iter()
        .find(|name| !PACKAGES.contains(&name.as_str()))
    {
        bail!("`{unknown}` is none of {}", PACKAGES.join(", "));
    }
    let asked: Vec<&str> = if arguments.is_empty() {
        PACKAGES.to_vec()
    } else {
        arguments.iter().map(String::as_str).collect()
    };
    let workspace = Workspace::load()?;
    fetch()?;
    for package in asked {
        println!("\n== {package}");
        run_command(
            of_rustup("cargo")
                .current_dir(&workspace.root)
                .args(["miri", "test", "--lib", "--package", package])
                .args(["--target-dir"])
                .arg(workspace.target.join("miri"))
                .env("PROPTEST_CASES", CASES)
                // Properties name the failures that they keep by the source's path.
                .env("MIRIFLAGS", "-Zmiri-disable-isolation"),
        )?;
    }
    Ok(())
}

fn fetch() -> Result<()> {
    if !on_path("rustup") {
        bail!("miri comes with a nightly toolchain, and rustup to fetch it is not here");
    }
    if output(of_rustup("cargo").args(["miri", "--version"])).is_ok() {
        return Ok(());
    }
    run_command(Command::new("rustup").args([
        "toolchain",
        "install",
        TOOLCHAIN,
        "--profile",
        "minimal",
        "--component",
        "miri",
        "--component",
        "rust-src",
    ]))
}

/// A program of the nightly toolchain; not the one that the cargo that started us would pass on.
fn of_rustup(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", TOOLCHAIN, program])
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN");
    command
}
