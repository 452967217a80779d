//! Idle streams: opened, a first token seen, and then nothing. What one holds.
//!
//! A system gives a process so many files and no more, and over HTTP/1.1 a stream takes a
//! connection of its own on either side of the proxy. So as many streams are opened as fit, and the
//! table tells how many that were; over HTTP/2 streams share connections, and all fit.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use super::cases;
use crate::bench::load;
use crate::bench::measure::{Bench, Case, Stage, figure, name};
use crate::bench::results::Measure;
use crate::bench::running;
use crate::bench::subjects::{OPENAI, OPENAI_TGIS, Subject, TGIS, Way};
use crate::process::shown;

const FEW: u32 = 1_000;
/// If as many fit.
pub(crate) const MANY: u32 = 10_000;
/// Streams that share a connection over HTTP/2, where they do.
const TOGETHER: u32 = 100;
/// Files that a proxy needs beside those of its streams, generously.
const BESIDE: u64 = 512;

/// The ways, and how many files of the proxy a stream takes on each.
const WAYS: [(&Way, u64); 3] = [(&OPENAI, 2), (&OPENAI_TGIS, 1), (&TGIS, 0)];

/// Far more than a look takes; the load generator is ended as soon as it was taken.
const HOLD: &str = "--hold 120";

/// The name of a setting.
pub(crate) fn setting(way: &Way, streams: u32) -> String {
    let upto = if streams == MANY { "up to " } else { "" };
    format!("{}, {upto}{streams} streams", way.name)
}

/// Of so many streams, those that a process with so many files has room for.
fn fitting(streams: u32, each: u64, files: u64) -> u32 {
    let room = files.saturating_sub(BESIDE).checked_div(each);
    let room = room.and_then(|room| u32::try_from(room).ok());
    room.map_or(streams, |room| streams.min(room))
}

/// How the load generator opens so many.
fn opening(streams: u32, way: &Way) -> String {
    let lanes = if way.grpc {
        let connections = streams.div_ceil(TOGETHER);
        format!("--connections {connections} --streams-per-connection {TOGETHER}")
    } else {
        format!("--connections {streams}")
    };
    format!("--stream {HOLD} {lanes} --prompt-bytes 1024")
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let among = [
        Subject::Bare,
        Subject::Nginx,
        Subject::Envoy,
        Subject::Tollgate,
    ];
    let mut all: Vec<Case> = Vec::new();
    let files = running::many_files()?;
    for streams in [FEW, MANY] {
        for (way, each) in WAYS {
            let load = opening(fitting(streams, each, files), way);
            let setting = setting(way, streams);
            all.extend(cases(&setting, way, &among, "--hold", &load));
        }
    }
    let all = bench.present(all);
    bench.rounds(&all, |bench, case, stage| held(bench, case, stage, files));
    Ok(())
}

fn held(bench: &mut Bench<'_>, case: &Case, stage: &Stage, files: u64) -> Result<Vec<Measure>> {
    let house = bench.house;
    let before = house.usage(stage.proxy.as_ref())?;
    let mut command = case
        .load(house)?
        .command(&house.programs(), &house.other_cores);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(&command)))?;
    let mut holding = Holding(child);
    let output = holding.0.stdout.take().context("its output is piped")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let (report, raw) = load::read(&line).with_context(|| format!("it said {line}"))?;
    report.sound()?;
    house.settle();
    let after = house.usage(stage.proxy.as_ref())?;
    bench.record.raw.push(raw);
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let [streams, files] = [report.requests, files].map(|count| count as f64);
    Ok(vec![
        figure("streams", "", streams),
        figure("files that a process may open", "", files),
        figure("RSS before", "MiB", before.rss()),
        figure(name::RSS, "MiB", after.rss()),
        figure(
            name::RSS_STREAM,
            "KiB",
            (after.rss() - before.rss()) * 1024.0 / streams,
        ),
    ])
}

/// A load generator that holds its streams until it is dropped.
struct Holding(Child);

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_streams_are_opened_as_fit() {
        assert_eq!(fitting(MANY, 2, 20_000), 9_744);
        assert_eq!(fitting(FEW, 2, 20_000), FEW);
        assert_eq!(fitting(MANY, 1, 20_000), MANY);
        assert_eq!(fitting(MANY, 0, 20_000), MANY);
        assert_eq!(fitting(MANY, 2, 65_536), MANY);
        assert_eq!(fitting(MANY, 2, 100), 0);
    }

    #[test]
    fn streams_share_connections_where_they_can() {
        assert!(opening(9_744, &OPENAI).contains("--connections 9744 "));
        let shared = opening(MANY, &TGIS);
        assert!(shared.contains("--connections 100 --streams-per-connection 100 "));
    }
}
