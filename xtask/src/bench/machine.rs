//! On what, of what, and when: what a figure is worth nothing without.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ask::pause;
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
    /// Share of the processors that others used in the second before the run began.
    pub(crate) others: f64,
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
            others: others(),
        }
    }

    /// Whether others used more than a little of the processors before the run began, so that
    /// its figures say more about them than about what was measured.
    pub(crate) fn busy(&self) -> bool {
        self.others > 0.1
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}, {} cores, {} MiB, Linux {}, {}; commit {}; {} UTC; others used {:.0} % before{}",
            self.processor,
            self.cores,
            self.memory,
            self.kernel,
            self.compiler,
            self.commit,
            self.date,
            self.others * 100.0,
            if self.busy() {
                ": the machine was busy, and the times below are not to be trusted"
            } else {
                ""
            },
        )
    }
}

/// How much of a second's processor time others use now.
#[expect(clippy::cast_precision_loss, reason = "ticks of a second")]
fn others() -> f64 {
    let look = || ticks(&fs::read_to_string("/proc/stat").unwrap_or_default());
    let before = look();
    pause(Duration::from_secs(1));
    before.zip(look()).map_or(0.0, |(before, after)| {
        let all = after.1.saturating_sub(before.1).max(1);
        after.0.saturating_sub(before.0) as f64 / all as f64
    })
}

/// Ticks in which a processor was used, and all: of the fields of `/proc/stat`, the fourth and
/// fifth are those in which none was.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    // The last two are part of the first two already.
    let fields: Vec<u64> = fields
        .split_ascii_whitespace()
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    let all: u64 = fields.iter().sum();
    Some((all - fields.get(3)? - fields.get(4)?, all))
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
    fn a_busy_machine_is_said_to_be_busy() {
        let at = |others: f64| Machine {
            others,
            ..Machine::default()
        };
        assert!(at(0.5).line().contains("not to be trusted"));
        assert!(!at(0.02).line().contains("not to be trusted"));
        assert_eq!(
            ticks("cpu  10 0 20 50 10 5 5 0 0 0\ncpu0 1"),
            Some((40, 100))
        );
    }

    #[test]
    fn fields_of_proc_are_read() {
        let text = "processor\t: 0\nmodel name\t: Some: Maker\nMemTotal:  2048 kB\n";
        assert_eq!(field(text, "model name"), "Some: Maker");
        assert_eq!(field(text, "MemTotal"), "2048 kB");
        assert_eq!(field(text, "flags"), "unknown");
    }
}
