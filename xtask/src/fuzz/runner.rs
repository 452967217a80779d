//! The runner: how it is built, and the ways in which it is started.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::stats::Stats;
use crate::process::{cargo, host, on_path, run as run_command, shown};
use crate::workspace::Workspace;

/// Edge coverage with counters and comparisons, as libFuzzer reads them; checks stay in. All of
/// them are flags of a stable rustc.
const FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Coverflow-checks",
    "--cfg=fuzzing",
];
/// Names the target to the runner.
const VARIABLE: &str = "TOLLGATE_FUZZ_TARGET";
/// Longest input, in bytes.
const LONGEST: usize = 4096;
/// Longest that one input may take, in seconds.
const HANGS: u64 = 20;
/// Most memory, in MB.
const MEMORY: u64 = 2048;
/// Time for making what broke smaller, in seconds.
const SMALLER: u64 = 30;

/// The built program, and where it works.
pub(super) struct Runner {
    program: PathBuf,
    /// `target/fuzz`.
    folder: PathBuf,
}

impl Runner {
    /// Builds it.
    ///
    /// # Errors
    /// When there is no C++ compiler, or the build fails.
    pub(super) fn build(workspace: &Workspace) -> Result<Self> {
        let named = std::env::var_os("CXX").is_some();
        if !named && !["c++", "g++", "clang++"].into_iter().any(on_path) {
            bail!(
                "libFuzzer needs a C++ compiler: install g++ or clang, or name one by CXX. \
                 The corpus is replayed without it: cargo test -p tollgate-fuzz"
            );
        }
        let host = host()?;
        let home = workspace.root.join("tests/fuzz/runner");
        let folder = workspace.target.join("fuzz");
        // The same versions as everywhere else; cargo adds libFuzzer's.
        fs::copy(workspace.root.join("Cargo.lock"), home.join("Cargo.lock"))
            .context("the workspace has a Cargo.lock")?;
        // A target is named, so that build scripts and macros are built without coverage.
        let mut build = cargo();
        build
            .current_dir(&home)
            .args(["build", "--release", "--target", &host, "--target-dir"])
            .arg(&folder)
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
        run_command(&mut build).context(
            "the runner cannot be built; it needs the crate libfuzzer-sys from the registry \
             and a linker that links C++",
        )?;
        Ok(Self {
            program: folder.join(host).join("release/runner"),
            folder,
        })
    }

    fn command<A: AsRef<OsStr>>(&self, target: &str, arguments: &[A]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env(VARIABLE, target)
            .stdin(Stdio::null())
            .arg(format!("-max_len={LONGEST}"))
            .arg(format!("-timeout={HANGS}"))
            .arg(format!("-rss_limit_mb={MEMORY}"))
            .args(arguments);
        command
    }

    /// Where new inputs of a target are collected.
    fn found(&self, target: &str) -> Result<PathBuf> {
        made(self.folder.join("corpus").join(target))
    }

    /// Runs it with its output in a log of the target's; whether it ended well, and the log.
    fn logged(&self, mut command: Command, log: &Path) -> Result<(bool, String)> {
        let file = File::create(log).with_context(|| format!("{}", log.display()))?;
        let status = command
            .stdout(Stdio::null())
            .stderr(file)
            .status()
            .with_context(|| format!("cannot start {}", shown(&command)))?;
        let text = fs::read(log).with_context(|| format!("{}", log.display()))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok((status.success(), text))
    }

    /// Explores a target for some time.
    ///
    /// # Errors
    /// When the runner cannot be run at all. What broke is part of the result.
    pub(super) fn explore(&self, target: &str, seeds: &Path, time: Duration) -> Result<Stats> {
        let crashes = made(self.folder.join("crashes").join(target))?;
        let mut command = self.command(target, &[self.found(target)?.as_path(), seeds]);
        command
            .arg(format!("-max_total_time={}", time.as_secs()))
            .arg(format!("-artifact_prefix={}/", crashes.display()))
            .arg("-print_final_stats=1");
        let log = self.folder.join(format!("{target}.log"));
        let (well, text) = self.logged(command, &log)?;
        let mut stats = Stats::read(&text);
        if !well {
            let Some(crash) = stats.crash.take() else {
                bail!("{target} ended badly; see {}", log.display());
            };
            stats.crash = Some(self.smaller(target, &crash)?);
        }
        Ok(stats)
    }

    /// A smaller input that breaks it too, or the same one.
    fn smaller(&self, target: &str, crash: &Path) -> Result<PathBuf> {
        let small = crash.with_extension("small");
        let mut command = self.command(target, &[crash]);
        command
            .arg("-minimize_crash=1")
            .arg(format!("-max_total_time={SMALLER}"))
            .arg(format!("-exact_artifact_path={}", small.display()));
        self.logged(command, &self.folder.join(format!("{target}-smaller.log")))?;
        // What is left where nothing smaller was found need not break anything.
        let again = self.command(target, &[&small]);
        let log = self.folder.join(format!("{target}-again.log"));
        let breaks = small.is_file() && !self.logged(again, &log)?.0;
        Ok(if breaks { small } else { crash.to_owned() })
    }

    /// Keeps of what was found only what adds to the committed corpus: there, or beside it.
    ///
    /// # Errors
    /// When inputs cannot be moved.
    pub(super) fn merge(&self, target: &str, seeds: &Path, keep: bool) -> Result<()> {
        let found = self.found(target)?;
        let log = self.folder.join(format!("{target}-merge.log"));
        if keep {
            let mut command = self.command(target, &[seeds, found.as_path()]);
            command.arg("-merge=1");
            self.logged(command, &log)?;
        }
        let useful = made(self.folder.join("useful").join(target))?;
        let mut command = self.command(target, &[&useful, &found]);
        command.arg("-merge=1");
        let (well, _) = self.logged(command, &log)?;
        if well {
            fs::remove_dir_all(&found)?;
            fs::rename(&useful, &found)?;
        }
        Ok(())
    }

    /// The command that shows a crash again.
    pub(super) fn again(&self, target: &str, crash: &Path) -> String {
        let program = self.program.display();
        format!("{VARIABLE}={target} {program} {}", crash.display())
    }
}

/// The folder, which is there from now on.
fn made(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    Ok(folder)
}
