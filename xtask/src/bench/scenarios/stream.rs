//! Streams: what a token costs that arrives alone or with fifteen others, in one stream or in a
//! thousand, and whether it waits.

use anyhow::Result;

use super::{ALL, cases};
use crate::bench::measure::{Bench, Case};
use crate::bench::subjects::{OPENAI, OPENAI_TGIS, TGIS, TGIS_OPENAI, Way};

const WAYS: [&Way; 4] = [&OPENAI, &TGIS, &OPENAI_TGIS, &TGIS_OPENAI];

/// The shape of streams.
struct Shape {
    /// Tokens in one write.
    per_write: u32,
    /// Streams at once.
    streams: u32,
    /// Tokens of a stream.
    tokens: u32,
    /// Microseconds from one write to the next: short enough that there is something to measure,
    /// long enough that no write catches up with another, and that a core keeps up.
    interval: u32,
}

const fn shape(per_write: u32, streams: u32, tokens: u32, interval: u32) -> Shape {
    Shape {
        per_write,
        streams,
        tokens,
        interval,
    }
}

const SHAPES: [Shape; 4] = [
    shape(1, 1, 512, 1_000),
    shape(16, 1, 512, 1_000),
    shape(1, 1_000, 32, 100_000),
    shape(16, 1_000, 128, 400_000),
];

/// The name of a setting.
pub(crate) fn setting(way: &Way, per_write: u32, streams: u32) -> String {
    let streams = match streams {
        1 => "1 stream".to_owned(),
        more => format!("{more} streams"),
    };
    format!("{}, {streams}, {per_write} a write", way.name)
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let mut all: Vec<Case> = Vec::new();
    for shape in SHAPES {
        let Shape {
            per_write,
            streams,
            tokens,
            interval,
        } = shape;
        let stub = format!("--tokens {tokens} --per-write {per_write} --interval {interval}");
        let load = format!(
            "--stream --connections {streams} --prompt-bytes 1024 --tokens {tokens} --drain 60"
        );
        for way in WAYS {
            let setting = setting(way, per_write, streams);
            all.extend(cases(&setting, way, &ALL, &stub, &load));
        }
    }
    let all = bench.present(all);
    bench.rounds(&all, |bench, case, stage| {
        Ok(bench.load(case, stage)?.by_token(case.subject))
    });
    Ok(())
}
