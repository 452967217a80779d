//! What processes have used, as `tollgate-bench cpu` tells it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::output;

/// A look at one or more processes; sums over them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    looks: Vec<Look>,
}

/// A look at one process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Look {
    pid: u32,
    /// Processor time so far, nanoseconds, from `cpu_source`.
    cpu_ns: u64,
    cpu_source: String,
    /// The same in ticks, of threads that have ended too.
    cpu_stat_ns: u64,
    /// Resident bytes.
    rss_bytes: u64,
    /// Of these, those that no file is behind.
    #[serde(default)]
    anon_bytes: Option<u64>,
    /// The same, with shared pages by share.
    pss_bytes: Option<u64>,
    threads: u64,
    fds: Option<u64>,
}

/// Looks at processes.
///
/// # Errors
/// When one of them is gone, or the program says what we do not understand.
pub(crate) fn of(program: &Path, processes: &[u32]) -> Result<Usage> {
    let mut command = Command::new(program);
    command.arg("cpu");
    for process in processes {
        command.args(["--pid", &process.to_string()]);
    }
    read(&output(&mut command)?)
}

fn read(said: &str) -> Result<Usage> {
    let looks =
        serde_json::from_str(said).with_context(|| format!("tollgate-bench cpu said {said}"))?;
    Ok(Usage { looks })
}

impl Usage {
    /// Resident mebibytes. Several processes share pages, which count once: by share.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    pub(crate) fn rss(&self) -> f64 {
        let bytes: u64 = match self.looks.as_slice() {
            [one] => one.rss_bytes,
            several => several
                .iter()
                .map(|look| look.pss_bytes.unwrap_or(look.rss_bytes))
                .sum(),
        };
        bytes as f64 / f64::from(1 << 20)
    }

    /// Of these, those that no file is behind.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
    pub(crate) fn anon(&self) -> f64 {
        let bytes: u64 = self.looks.iter().filter_map(|look| look.anon_bytes).sum();
        bytes as f64 / f64::from(1 << 20)
    }

    /// Threads.
    pub(crate) fn threads(&self) -> u64 {
        self.looks.iter().map(|look| look.threads).sum()
    }

    /// Open files.
    pub(crate) fn fds(&self) -> u64 {
        self.looks.iter().filter_map(|look| look.fds).sum()
    }

    /// Processor time since an earlier look at the same processes, nanoseconds. Of a process
    /// whose threads came and went between the two, the ticks count.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        self.looks
            .iter()
            .map(|now| {
                let then = earlier.looks.iter().find(|then| then.pid == now.pid);
                let (exact, ticks, source) = then.map_or((0, 0, "schedstat"), |then| {
                    (then.cpu_ns, then.cpu_stat_ns, then.cpu_source.as_str())
                });
                if now.cpu_source == "schedstat" && source == "schedstat" && now.cpu_ns >= exact {
                    now.cpu_ns - exact
                } else {
                    now.cpu_stat_ns.saturating_sub(ticks)
                }
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(cpu: u64, source: &str, ticks: u64) -> String {
        format!(
            r#"{{"pid":7,"cpu_ns":{cpu},"cpu_source":"{source}","cpu_stat_ns":{ticks},
                "rss_bytes":2097152,"anon_bytes":1048576,"pss_bytes":1572864,"threads":3,"fds":9}}"#
        )
    }

    #[test]
    fn looks_are_added_up() {
        let one = look(5, "schedstat", 0);
        let two = one.replace(":7,", ":8,");
        let usage = read(&format!("[{one},{two}]")).unwrap();
        assert_eq!(read(&format!("[{one}]")).unwrap().rss(), 2.0);
        assert_eq!((usage.rss(), usage.threads(), usage.fds()), (3.0, 6, 18));
        assert_eq!(usage.anon(), 2.0);
    }

    #[test]
    fn the_exact_time_counts_unless_threads_ended() {
        let at = |cpu, source, ticks| read(&format!("[{}]", look(cpu, source, ticks))).unwrap();
        let begin = at(1_000, "schedstat", 10_000);
        assert_eq!(at(4_000, "schedstat", 30_000).since(&begin), 3_000);
        assert_eq!(at(30_000, "stat", 30_000).since(&begin), 20_000);
        assert_eq!(at(500, "schedstat", 30_000).since(&begin), 20_000);
    }
}
