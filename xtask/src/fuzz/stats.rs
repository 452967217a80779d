//! What libFuzzer says of a run.

use std::path::PathBuf;

/// Figures of a run, as far as they were told.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stats {
    executions: u64,
    /// Edges reached.
    coverage: u64,
    /// Inputs that reach something that the others do not.
    inputs: u64,
    new: u64,
    /// The input that broke it.
    pub(super) crash: Option<PathBuf>,
    /// What it said when it broke.
    pub(super) why: String,
}

impl Stats {
    pub(super) const HEADER: &str =
        "target             executions  coverage  inputs     new  crashes";

    /// Reads the log of a run.
    pub(super) fn read(log: &str) -> Self {
        let mut stats = Self::default();
        let mut lines = log.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("stat::") {
                let mut words = rest.split_ascii_whitespace();
                let name = words.next();
                let number = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                match name {
                    Some("number_of_executed_units:") => stats.executions = number,
                    Some("new_units_added:") => stats.new = number,
                    _ => {}
                }
            } else if line.starts_with('#') {
                stats.progress(line);
            } else if let Some((_, path)) = line.split_once("Test unit written to ") {
                stats.crash = Some(PathBuf::from(path));
            } else if line.starts_with("thread ") && line.contains("panicked at") {
                stats.why = line.to_owned();
                if let Some(message) = lines.peek() {
                    stats.why.push_str("\n  ");
                    stats.why.push_str(message);
                }
            } else if line.contains("ERROR: libFuzzer") && stats.why.is_empty() {
                stats.why = line.to_owned();
            }
        }
        stats
    }

    /// `#1234 NEW    cov: 1 ft: 2 corp: 3/4b …`
    fn progress(&mut self, line: &str) {
        let after = |name: &str| {
            let rest = line.split_once(name)?.1.trim_start();
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        };
        let executions = after("#");
        self.executions = executions.unwrap_or(self.executions).max(self.executions);
        self.coverage = after(" cov:").unwrap_or(self.coverage);
        self.inputs = after(" corp:").unwrap_or(self.inputs);
    }

    /// A line under [`Self::HEADER`].
    pub(super) fn row(&self, target: &str) -> String {
        let Self {
            executions,
            coverage,
            inputs,
            new,
            ..
        } = self;
        let crashes = u8::from(self.crash.is_some());
        format!("{target:<17} {executions:>11} {coverage:>9} {inputs:>7} {new:>7} {crashes:>8}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_run_is_read() {
        let stats = Stats::read(
            "#2\tINITED cov: 10 ft: 12 corp: 1/1b exec/s: 0 rss: 30Mb\n\
             #777\tDONE   cov: 45 ft: 90 corp: 9/30b lim: 4 exec/s: 20 rss: 31Mb\n\
             stat::number_of_executed_units: 777\n\
             stat::new_units_added:          8\n",
        );
        assert_eq!(stats.crash, None);
        assert_eq!(
            stats.row("json"),
            "json                      777        45       9       8        0"
        );
        assert_eq!(stats.row("json").len(), Stats::HEADER.len());
    }

    #[test]
    fn a_crash_is_told_with_its_reason() {
        let stats = Stats::read(
            "#5 NEW cov: 3 ft: 3 corp: 2/2b\n\
             thread '<unnamed>' (7) panicked at src/a.rs:1:2:\nassertion failed: x\n\
             ==7== ERROR: libFuzzer: deadly signal\n\
             artifact_prefix='c/'; Test unit written to c/crash-01\n",
        );
        assert_eq!(stats.crash, Some(PathBuf::from("c/crash-01")));
        assert!(stats.why.ends_with("src/a.rs:1:2:\n  assertion failed: x"));
        assert_eq!(stats.coverage, 3);
    }
}
