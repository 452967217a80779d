//! On what, of what, and when: what a figure is worth nothing without.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::process::output;

/// The machine, the source and the day of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// UTC, `2026-01-02 03:04`.
    pub(crate) date: String,
    /// Short name of the commit; ` with changes` behind it when the tree was not clean.
    pub(crate) commit: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    /// Mebibytes.
    pub(crate) memory: u64,
    pub(crate) kernel: String,
    pub(crate) compiler: String,
    /// Tasks that wanted a processor, on average over the minute before the run began: what else
    /// was going on.
    pub(crate) load: String,
}

impl Machine {
    /// This one, now. What cannot be learned is said to be unknown.
    pub(crate) fn here(root: &Path) -> Self {
        let said = |command: &mut Command| {
            output(command).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
        };
        let mut commit =
            said(
                Command::new("git")
                    .current_dir(root)
                    .args(["rev-parse", "--short=9", "HEAD"]),
            );
        let changes = said(Command::new("git").current_dir(root).args([
            "status",
            "--porcelain",
            "--untracked-files=no",
        ]));
        if !changes.is_empty() && changes != "unknown" {
            commit.push_str(" with changes");
        }
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M"])),
            commit,
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: field(&read("/proc/meminfo"), "MemTotal")
                .split(' ')
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .unwrap_or_default()
                / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            compiler: said(Command::new("rustc").arg("--version")),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}, {} cores, {} MiB, Linux {}, {}; commit {}; {} UTC, load before {}",
            self.processor,
            self.cores,
            self.memory,
            self.kernel,
            self.compiler,
            self.commit,
            self.date,
            self.load,
        )
    }
}

/// The value of the first `key : value` of a file under `/proc`.
fn field(text: &str, key: &str) -> String {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map_or_else(
            || "unknown".to_owned(),
            |(_, value)| value.trim().to_owned(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_read() {
        let text = "processor\t: 0\nmodel name\t: Some: Maker\nMemTotal:  2048 kB\n";
        assert_eq!(field(text, "model name"), "Some: Maker");
        assert_eq!(field(text, "MemTotal"), "2048 kB");
        assert_eq!(field(text, "flags"), "unknown");
    }
}
