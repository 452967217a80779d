//! `test`: everything that a change has to pass, the same for developers and CI.
//!
//! 1. Fetch what is missing; cargo-deny compiles aside, at the lowest priority.
//! 2. Format, components, lints, architecture, documents, manifests, the image.
//! 3. Build everything, run every test, and with the binary that was built: check every example
//!    configuration, the documents' commands and pieces of configurations, play the demonstration.
//! 4. Dependencies, when cargo-deny is there.
//! 5. Add up. A failed stage does not stop the ones that do not stand on it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::components::Which;
use crate::needs::{self, Deny};
use crate::process::{cargo, run as run_command, shown};
use crate::properties::SEED;
use crate::stages::{Counts, Stages};
use crate::workspace::Workspace;
use crate::{
    HELP, VERBS, arch, components, conformance, demo, dockerfile, docs, examples, foreign,
    manifests,
};

/// Runs the stages; `--quick` leaves out lints and the check of dependencies.
///
/// # Errors
/// When any stage failed; the summary has been printed then.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let quick = match arguments {
        [] => false,
        [flag] if flag == "--quick" => true,
        _ => bail!("cargo xtask test [--quick]"),
    };
    let workspace = Workspace::load()?;
    let mut stages = Stages::default();
    needs::room(&workspace);

    let mut deny = None;
    let mut venv = PathBuf::new();
    let (mut registry, mut promtool) = (PathBuf::new(), PathBuf::new());
    let mut redis = PathBuf::new();
    let clients = stages.check("clients", || {
        needs::curl()?;
        needs::chromium()?;
        if !quick {
            deny = Some(Deny::start(&workspace)?);
        }
        venv = needs::python(&workspace)?;
        registry = needs::registry(&workspace)?;
        redis = needs::redis(&workspace)?;
        promtool = needs::promtool(&workspace)?;
        if quick {
            return Ok(());
        }
        // The examples in other languages are built where their tools are.
        foreign::ALL
            .iter()
            .try_for_each(|guest| guest.install(&workspace))
    });
    stages.check("format", || {
        run_command(&mut plain(&workspace, &["fmt", "--all", "--check"]))
    });
    let built = stages.check("components", || components::build(&workspace, Which::All));
    stages.check("architecture", arch::run);
    stages.check("documents", || docs::check(&workspace.root, VERBS, HELP));
    stages.check("image", || dockerfile::check(&workspace.root));
    if clients {
        stages.check("manifests", || manifests::check(&workspace, &venv));
    } else {
        stages.skip("manifests");
    }
    if built {
        stages.check("conformance", || conformance::check(&workspace));
        if !quick {
            stages.check("lints", || lints(&workspace));
        }
        let compiled = stages.check("build", || {
            let mut command = plain(&workspace, &["build", "--workspace", "--all-targets"]);
            run_command(&mut command)
        });
        if compiled {
            if clients {
                let tools = [
                    ("TOLLGATE_VENV", &*venv),
                    ("TOLLGATE_REGISTRY", &*registry),
                    ("TOLLGATE_REDIS", &*redis),
                    ("TOLLGATE_PROMTOOL", &*promtool),
                ];
                stages.counted("tests", || tests(&workspace, &tools, quick));
            } else {
                stages.skip("tests");
            }
            stages.counted("examples", || examples::check(&workspace));
            stages.counted("commands", || docs::check_with_binary(&workspace));
            stages.check("demo", || demo::serve(&workspace, true));
        } else {
            for stage in ["tests", "examples", "commands", "demo"] {
                stages.skip(stage);
            }
        }
    } else {
        stages.skip("build");
    }
    if let Some(deny) = deny {
        stages.check("dependencies", || {
            let program = deny.wait()?;
            run_command(
                Command::new(program)
                    .current_dir(&workspace.root)
                    .args(["--log-level", "error", "check", "--hide-inclusion-graph"])
                    .args(["bans", "licenses", "sources"]),
            )
        });
    }

    let (summary, whole) = stages.summary();
    println!("\n{summary}");
    if !whole {
        bail!("not everything passed");
    }
    Ok(())
}

/// Every cargo call has the same environment: a build script that reads it does not run again. Where
/// a clone is built once and thrown away, what would make its next build faster only takes time and
/// a good part of the disk.
pub(crate) fn plain(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = cargo();
    if std::env::var_os("CI").is_some() {
        command.env("CARGO_INCREMENTAL", "0");
    }
    command
        .current_dir(&workspace.root)
        .env("TOLLGATE_COMPONENTS", workspace.components())
        .args(arguments);
    command
}

fn lints(workspace: &Workspace) -> Result<()> {
    let mut command = plain(workspace, &["clippy", "--workspace", "--all-targets"]);
    command.args(["--", "--deny", "warnings"]);
    run_command(&mut command)
}

/// Runs every test of the workspace and counts them by cargo's own closing lines.
///
/// `quick`: examples in other languages may be missing.
fn tests(workspace: &Workspace, tools: &[(&str, &Path)], quick: bool) -> Result<Counts> {
    let mut command = plain(workspace, &["test", "--workspace", "--no-fail-fast"]);
    command
        .envs(tools.iter().copied())
        // The same cases in every run, so that one commit has one verdict; `properties` draws new.
        .env(SEED, std::env::var_os(SEED).unwrap_or_else(|| "1".into()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if !quick {
        command.env("TOLLGATE_FOREIGN", "required");
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", shown(&command)))?;
    let output = child.stdout.take().context("cargo's output is piped")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(found) = closing(&line) {
            counts.add(found);
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        bail!("{} ended with {status}", shown(&command));
    }
    if counts.passed == 0 {
        bail!("no test ran");
    }
    Ok(counts)
}

/// Reads `test result: ok. 12 passed; 0 failed; …`.
fn closing(line: &str) -> Option<Counts> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |word: &str| {
        let part = counts.split("; ").find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Counts {
        passed: number(" passed")?,
        failed: number(" failed")?,
    })
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn closing_lines_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; \
                    4 filtered out; finished in 0.01s";
        assert_eq!(
            closing(line),
            Some(Counts {
                passed: 12,
                failed: 3
            })
        );
        assert_eq!(closing("test a ... ok"), None);
    }
}
