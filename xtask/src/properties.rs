//! `properties`: draws new cases for the property tests, which the gate holds to the same ones.
//!
//! A round has a seed, which is printed: with it in `PROPTEST_RNG_SEED` the same cases come again,
//! in the gate too. What is found becomes a test of its own beside the mend.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{output, run as run_command};
use crate::test::plain;
use crate::workspace::Workspace;

const USAGE: &str = "cargo xtask properties [--rounds N]";
/// What the library reads its seed from.
pub(crate) const SEED: &str = "PROPTEST_RNG_SEED";
const ROUNDS: u64 = 10;

/// Builds the tests that have properties, and runs them round after round.
///
/// # Errors
/// When they do not build, or one fails.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let rounds: u64 = match arguments {
        [] => ROUNDS,
        [flag, number] if flag == "--rounds" => number.parse().context(USAGE)?,
        _ => bail!("{USAGE}"),
    };
    let workspace = Workspace::load()?;
    let tests = tests(&workspace)?;
    println!("{} test programs have properties", tests.len());
    let first = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock stands before 1970")?
        .as_secs();
    let mut broken = 0;
    for seed in first..first + rounds {
        println!("== {SEED}={seed}");
        for test in &tests {
            let mut command = Command::new(&test.program);
            command
                .current_dir(&test.package)
                .env(SEED, seed.to_string())
                .env("TOLLGATE_COMPONENTS", workspace.components())
                .arg("--quiet")
                .stdout(Stdio::piped());
            let told = command
                .output()
                .with_context(|| format!("cannot start {}", test.program.display()))?;
            if !told.status.success() {
                broken += 1;
                println!("{}", String::from_utf8_lossy(&told.stdout));
                println!(
                    "failed with {SEED}={seed}: {} in {}",
                    test.program.display(),
                    test.package.display(),
                );
            }
        }
    }
    if broken > 0 {
        bail!("{broken} runs failed");
    }
    println!("all held in {rounds} rounds");
    Ok(())
}

/// A program of tests, and the folder that cargo would run it in.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    program: PathBuf,
    package: PathBuf,
}

fn tests(workspace: &Workspace) -> Result<BTreeSet<Test>> {
    let build = || plain(workspace, &["test", "--workspace", "--no-run"]);
    // Once for the reader, with cargo's progress; then for the names of what was made.
    run_command(&mut build())?;
    let told = output(build().args(["--quiet", "--message-format", "json"]))?;
    let mut tests = BTreeSet::new();
    for line in told.lines() {
        let line: Value = serde_json::from_str(line).context("cargo's message is not JSON")?;
        let text = |at: &str| line.pointer(at).and_then(Value::as_str).map(PathBuf::from);
        if line.pointer("/profile/test") != Some(&Value::Bool(true)) {
            continue;
        }
        let (Some(program), Some(source), Some(manifest)) = (
            text("/executable"),
            text("/target/src_path"),
            text("/manifest_path"),
        ) else {
            continue;
        };
        if has_properties(&source)? {
            let package = manifest.parent().unwrap_or(&workspace.root).to_path_buf();
            tests.insert(Test { program, package });
        }
    }
    if tests.is_empty() {
        bail!("no test has a property, which cannot be");
    }
    Ok(tests)
}

/// Whether a file, or what lies beside it as its modules, names a property. A `main.rs` or `lib.rs`
/// has its whole folder.
fn has_properties(source: &Path) -> Result<bool> {
    let name = source.file_stem().unwrap_or_default();
    let folder = match source.parent() {
        Some(parent) if name == "main" || name == "lib" => parent.to_path_buf(),
        _ => source.with_extension(""),
    };
    let mut pending = vec![source.to_path_buf(), folder];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && fs::read_to_string(&path)?.contains("proptest! {")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_with_properties_are_known_by_their_sources() {
        let root = Workspace::load().unwrap().root;
        let has = |path: &str| has_properties(&root.join(path)).unwrap();
        assert!(has("plugins/compose/tests/composed/main.rs"));
        assert!(has("proxy/wire/src/lib.rs"));
        assert!(has("plugins/kserve/tests/asked.rs"));
        assert!(!has("plugins/fcfs/src/lib.rs"));
    }
}
