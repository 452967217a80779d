//! The load generator: how it is told what to do, and what it says.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::measure::figure;
use super::results::Measure;
use super::running::Cores;
use crate::process::shown;

/// One report of `tollgate-bench load`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    /// How often what went wrong.
    pub(crate) errors: BTreeMap<String, u64>,
    /// The first of each.
    #[serde(rename = "error_samples")]
    pub(crate) samples: BTreeMap<String, String>,
    pub(crate) aborted: u64,
    pub(crate) seconds: f64,
    pub(crate) rps: f64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) tokens: u64,
    /// From the moment a request was due to the end of its answer.
    pub(crate) latency_us: Quantiles,
    pub(crate) first_token_us: Quantiles,
    pub(crate) inter_token_us: Quantiles,
    /// Until those who were turned away (429, 503) knew.
    pub(crate) refused_us: Quantiles,
    /// Of these, who was not told when to come again.
    pub(crate) refused_untold: u64,
}

/// Microseconds; none where nothing was timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Quantiles {
    pub(crate) p50: Option<f64>,
    pub(crate) p90: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Quantiles {
    /// As figures of these three names.
    pub(crate) fn figures(&self, names: [&'static str; 3]) -> Vec<Measure> {
        names
            .into_iter()
            .zip([self.p50, self.p90, self.p99])
            .filter_map(|(name, value)| Some(figure(name, "µs", value?)))
            .collect()
    }
}

/// What to load, and how.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Arguments, but for the program and `load`.
    pub(crate) arguments: Vec<String>,
}

impl Load {
    pub(crate) fn new<I: IntoIterator<Item = S>, S: Into<String>>(arguments: I) -> Self {
        Self {
            arguments: arguments.into_iter().map(Into::into).collect(),
        }
    }

    /// With more behind.
    pub(crate) fn with<I: IntoIterator<Item = S>, S: Into<String>>(&self, more: I) -> Self {
        let mut arguments = self.arguments.clone();
        arguments.extend(more.into_iter().map(Into::into));
        Self { arguments }
    }

    /// The command.
    pub(crate) fn command(&self, program: &Path, cores: &Cores) -> Command {
        let mut command = cores.command(program);
        command.arg("load").args(&self.arguments);
        command
    }

    /// Runs it to its end. What went wrong with single requests is in the report.
    ///
    /// # Errors
    /// When it fails itself, or says what we do not understand.
    pub(crate) fn run(&self, program: &Path, cores: &Cores) -> Result<(Report, Value)> {
        let mut command = self.command(program, cores);
        let out = command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {}", shown(&command)))?;
        let said = String::from_utf8_lossy(&out.stdout);
        let complaint = String::from_utf8_lossy(&out.stderr);
        if said.trim().is_empty() {
            bail!("{} said nothing\n{}", shown(&command), complaint.trim());
        }
        read(&said).with_context(|| format!("{} said {said}{complaint}", shown(&command)))
    }
}

/// Reads a report.
///
/// # Errors
/// When it is none.
pub(crate) fn read(said: &str) -> Result<(Report, Value)> {
    let raw: Value = serde_json::from_str(said)?;
    Ok((Report::deserialize(&raw)?, raw))
}

impl Report {
    /// What is wrong with it, if anything is: requests that failed, or none at all.
    ///
    /// # Errors
    /// Names how often what went wrong.
    pub(crate) fn sound(&self) -> Result<()> {
        if self.errors.values().any(|count| *count > 0) {
            let list: Vec<String> = self
                .errors
                .iter()
                .map(|(kind, count)| {
                    let first = self.samples.get(kind).map_or("", String::as_str);
                    format!("{kind}: {count} ({first})")
                })
                .collect();
            bail!(
                "{} were answered, and failed: {}",
                self.requests,
                list.join(", ")
            );
        }
        if self.requests == 0 {
            bail!("no request came to an end");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_and_judged() {
        let (report, _) = read(
            r#"{"requests": 10, "errors": {}, "seconds": 1.5, "rps": 6.7,
                "latency_us": {"p50": 3, "p90": null, "p99": 9}, "more": 1}"#,
        )
        .unwrap();
        assert_eq!(report.latency_us.figures(["a", "b", "c"]).len(), 2);
        assert!(report.sound().is_ok());
        let (report, _) = read(
            r#"{"requests": 10, "errors": {"status_500": 2},
            "error_samples": {"status_500": "worker gone"}}"#,
        )
        .unwrap();
        assert!(
            report
                .sound()
                .unwrap_err()
                .to_string()
                .contains("status_500: 2 (worker gone)")
        );
        assert!(Report::default().sound().is_err());
    }
}
