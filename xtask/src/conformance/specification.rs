//! The group `specification`: servers that cannot run here, by stand-ins that do what their sources
//! say. Their rows are no comparison with a server, and stand in a table of their own.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::table::{Asked, Part};
use crate::process::{cargo, shown};
use crate::stages::Counts;
use crate::workspace::Workspace;

/// Modules of `tests/tests/servers`, and whose stand-ins they ask.
const SERVERS: [(&str, &str, &[&str]); 8] = [
    (
        "classify",
        "vLLM's and the caikit runtime's classification",
        &["caikit", "openai"],
    ),
    ("kserve_python", "KServe's Python server", &["kserve"]),
    ("mlserver", "MLServer", &["kserve"]),
    ("modelmesh", "ModelMesh", &["kserve"]),
    ("ovms", "OpenVINO Model Server", &["kserve", "openai"]),
    ("triton", "Triton", &["kserve"]),
    ("v1", "KServe's first version", &["kserve"]),
    (
        "vllm_forks",
        "vLLM's forks for Gaudi and AMD",
        &["caikit", "openai", "tgis"],
    ),
];

/// Runs the tests of the stand-ins and counts them by server.
///
/// # Errors
/// When they cannot be built or run.
pub(super) fn run(workspace: &Workspace) -> Result<Part> {
    println!("\n== the stand-ins");
    let mut command = cargo();
    command
        // Of the workspace: the features, and so what is built, are those of the tests.
        .args(["test", "--workspace", "--test", "servers"])
        .current_dir(&workspace.root);
    let lines = lines(&mut command)?;
    let mut specified = Vec::new();
    for (module, server, plugins) in SERVERS {
        let counts = counted(&lines, module);
        if counts == Counts::default() {
            bail!("no test of {module} was run");
        }
        specified.push(Asked {
            client: "clients over HTTP and gRPC".to_owned(),
            worker: server.to_owned(),
            counts,
            plugins: plugins.to_vec(),
        });
    }
    Ok(Part {
        specified,
        ..Part::default()
    })
}

/// What it prints, shown as it comes. That a test failed is in the lines.
fn lines(command: &mut Command) -> Result<Vec<String>> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let printed = child.stdout.take().context("its output is piped")?;
    let mut all = Vec::new();
    for line in BufReader::new(printed).lines() {
        let line = line?;
        println!("{line}");
        all.push(line);
    }
    child.wait()?;
    Ok(all)
}

/// Tests of a module: `test MODULE::NAME ... ok`.
fn counted(lines: &[String], module: &str) -> Counts {
    let mut counts = Counts::default();
    for line in lines {
        let of_it = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_prefix(module))
            .is_some_and(|rest| rest.starts_with("::"));
        if of_it && line.ends_with(" ... ok") {
            counts.passed += 1;
        } else if of_it && line.ends_with(" ... FAILED") {
            counts.failed += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_their_module() {
        let lines = [
            "running 4 tests",
            "test ovms::a ... ok",
            "test ovms::b ... FAILED",
            "test ovms_like::c ... ok",
            "test modelmesh::d ... ok",
        ];
        let lines = lines.map(str::to_owned);
        let counts = counted(&lines, "ovms");
        assert_eq!((counts.passed, counts.failed), (1, 1));
        assert_eq!(counted(&lines, "triton"), Counts::default());
    }
}
