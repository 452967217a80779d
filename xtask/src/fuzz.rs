//! `fuzz`: explores the targets of `tests/fuzz` with libFuzzer, guided by coverage.
//!
//! 1. Build the runner with coverage, on whatever toolchain runs us: rustc's own flags suffice, so
//!    the pinned stable one does. libFuzzer itself is C++, and needs a compiler for it.
//! 2. Run each target for its share of the time, from the committed corpus and from what earlier
//!    runs left in `target/fuzz/corpus/`.
//! 3. Throw away what adds nothing; with `--keep`, take what does into the committed corpus.
//! 4. Say what was run, what was reached, and what broke. What broke lies in
//!    `target/fuzz/crashes/TARGET/`, made smaller, and is replayed by its command.
//!
//! There is no sanitizer: our code has no `unsafe` but one function, which no target reaches. What
//! is looked for are broken promises, panics, overflows and endless loops.

mod runner;
mod stats;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::runner::Runner;
use self::stats::Stats;
use crate::workspace::Workspace;

const USAGE: &str = "cargo xtask fuzz [--minutes M] [--keep] [TARGET…]";
/// Without `--minutes`: all targets together.
const MINUTES: u64 = 10;
/// Least time for a target.
const LEAST: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Asked {
    minutes: u64,
    keep: bool,
    targets: Vec<String>,
}

/// Builds, runs, tells.
///
/// # Errors
/// When something is missing that is needed, a target is not known, or one of them broke.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let asked = Asked::parse(arguments)?;
    let workspace = Workspace::load()?;
    let corpus = workspace.root.join("tests/fuzz/corpus");
    let all = folders(&corpus)?;
    let targets = match &asked.targets[..] {
        [] => all,
        some => {
            if let Some(unknown) = some.iter().find(|name| !all.contains(name)) {
                bail!("no target `{unknown}`; there are {}", all.join(", "));
            }
            some.to_vec()
        }
    };
    let runner = Runner::build(&workspace)?;
    let share = Duration::from_secs(asked.minutes * 60 / targets.len() as u64).max(LEAST);
    println!("{} targets, {} s each", targets.len(), share.as_secs());

    let mut broken = Vec::new();
    println!("{}", Stats::HEADER);
    for name in &targets {
        let seeds = corpus.join(name);
        let stats = runner.explore(name, &seeds, share)?;
        println!("{}", stats.row(name));
        if let Some(crash) = &stats.crash {
            println!("  {}\n  again: {}", stats.why, runner.again(name, crash));
            broken.push(name.clone());
        } else {
            runner.merge(name, &seeds, asked.keep)?;
        }
    }
    if !broken.is_empty() {
        bail!("broken: {}", broken.join(", "));
    }
    Ok(())
}

impl Asked {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut asked = Self {
            minutes: MINUTES,
            keep: false,
            targets: Vec::new(),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--minutes" => {
                    let minutes = arguments.next().and_then(|minutes| minutes.parse().ok());
                    asked.minutes = minutes.context(USAGE)?;
                }
                "--keep" => asked.keep = true,
                flag if flag.starts_with('-') => bail!(USAGE),
                name => asked.targets.push(name.to_owned()),
            }
        }
        Ok(asked)
    }
}

/// Names of the folders in a folder, sorted: a target's corpus has its name.
fn folders(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path: PathBuf = entry?.path();
        if let (true, Some(name)) = (path.is_dir(), path.file_name()) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Asked> {
        let arguments: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
        Asked::parse(&arguments)
    }

    #[test]
    fn arguments_are_read() {
        let asked = parse(&["--minutes", "3", "json", "--keep", "sse"]).unwrap();
        assert_eq!((asked.minutes, asked.keep), (3, true));
        assert_eq!(asked.targets, ["json", "sse"]);
        assert_eq!(parse(&[]).unwrap().minutes, MINUTES);
        for bad in [&["--minutes"][..], &["--minutes", "x"], &["--fast"]] {
            assert!(parse(bad).is_err());
        }
    }
}
