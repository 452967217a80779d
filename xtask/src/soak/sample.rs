//! A look at the proxy from outside and inside: memory, files, threads, and every gauge.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::bench::house::House;
use crate::bench::running::Running;

/// What was seen at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Seconds since the load began.
    pub(crate) at: f64,
    /// Mebibytes.
    pub(crate) rss: f64,
    /// Of these, those that no file is behind.
    #[serde(default)]
    pub(crate) anon: f64,
    pub(crate) fds: u64,
    pub(crate) threads: u64,
    /// By name and labels.
    pub(crate) gauges: BTreeMap<String, f64>,
}

/// Looks.
///
/// # Errors
/// When the proxy does not answer, or is gone.
pub(super) fn take(house: &House, proxy: &Running, at: f64) -> Result<Sample> {
    let metrics = house.metrics()?;
    let usage = house.usage(Some(proxy))?;
    let gauges = metrics.gauges();
    Ok(Sample {
        at,
        rss: usage.rss(),
        anon: usage.anon(),
        fds: usage.fds(),
        threads: usage.threads(),
        gauges: gauges
            .map(|(series, value)| (series.to_owned(), value))
            .collect(),
    })
}
