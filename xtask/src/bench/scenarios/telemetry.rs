//! What it costs to tell: requests that are passed on, with everything told and with nothing.
//!
//! In each round, one after the other: every request traced, its spans and the metrics sent to a
//! collector (which is the stub); as it is measured everywhere else, with metrics and the access log;
//! and without traces and log. Metrics are always counted: there is nothing to turn off.

use anyhow::Result;

use super::cases;
use crate::bench::measure::{Bench, Case, name};
use crate::bench::results::Figure;
use crate::bench::subjects::{OPENAI, PAIR, Subject, TGIS, Way};

const WAYS: [&Way; 2] = [&OPENAI, &TGIS];
const AMONG: [Subject; 4] = [PAIR[0], Subject::Traced, Subject::Silent, PAIR[1]];
const LOAD: &str = "--connections 32 --prompt-bytes 1024";

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let all: Vec<Case> = WAYS
        .into_iter()
        .flat_map(|way| cases(way.name, way, &AMONG, "", LOAD))
        .collect();
    let all = bench.present(all);
    bench.rounds(&all, |bench, case, stage| {
        let loaded = bench.load(case, stage)?;
        let mut figures = loaded.by_request(case.subject);
        figures.extend(loaded.report.latency_us.figures(name::P));
        Ok(figures)
    });
    for way in WAYS {
        told(bench, way.name);
    }
    Ok(())
}

/// What all of it costs: with it, less without it, round by round.
fn told(bench: &mut Bench<'_>, setting: &str) {
    let record = &mut bench.record;
    let of = |subject: Subject| record.rounds_of(setting, subject.name(), name::CPU);
    let Some((with, without)) = of(Subject::Traced).zip(of(Subject::Silent)) else {
        return;
    };
    let rounds = with
        .iter()
        .zip(without)
        .map(|(with, without)| with - without);
    let figure = Figure {
        setting: setting.to_owned(),
        subject: Subject::Traced.name().to_owned(),
        name: name::TOLD.to_owned(),
        unit: "µs".to_owned(),
        rounds: rounds.collect(),
    };
    record.derive(name::CPU, figure);
}
