//! Idle streams: opened, a first token seen, and then nothing. What one holds.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use super::cases;
use crate::bench::load;
use crate::bench::measure::{Bench, Case, Stage, figure, name};
use crate::bench::results::Measure;
use crate::bench::subjects::{OPENAI, OPENAI_TGIS, Subject, Way};
use crate::process::shown;

const STREAMS: [u32; 2] = [1_000, 10_000];
/// Far more than a look takes; the load generator is ended as soon as it was taken.
const HOLD: &str = "--hold 120";

/// The name of a setting.
pub(crate) fn setting(way: &Way, streams: u32) -> String {
    format!("{}, {streams} streams", way.name)
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let among = [
        Subject::Bare,
        Subject::Nginx,
        Subject::Envoy,
        Subject::Tollgate,
    ];
    let mut all: Vec<Case> = Vec::new();
    for streams in STREAMS {
        let load = format!("--stream {HOLD} --connections {streams} --prompt-bytes 1024");
        for way in [&OPENAI, &OPENAI_TGIS] {
            let setting = setting(way, streams);
            all.extend(cases(&setting, way, &among, "--hold", &load));
        }
    }
    let all = bench.present(all);
    bench.rounds(&all, |bench, case, stage| held(bench, case, stage));
    Ok(())
}

fn held(bench: &mut Bench<'_>, case: &Case, stage: &Stage) -> Result<Vec<Measure>> {
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
    let streams = report.requests as f64;
    Ok(vec![
        figure("streams", "", streams),
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
