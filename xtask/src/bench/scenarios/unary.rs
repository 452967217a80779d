//! Small requests: what one costs on each way, and how long it takes at a rate that all hold.

use anyhow::{Context, Result};

use super::{ALL, cases};
use crate::bench::measure::{Bench, Case, name};
use crate::bench::results::Figure;
use crate::bench::subjects::{OPENAI, OPENAI_TGIS, Subject, TGIS, TGIS_OPENAI, Way};

const WAYS: [&Way; 4] = [&OPENAI, &TGIS, &OPENAI_TGIS, &TGIS_OPENAI];
const LOAD: &str = "--connections 32 --prompt-bytes 1024";

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let among = [&ALL[..], &[Subject::Open]].concat();
    let closed: Vec<Case> = WAYS
        .into_iter()
        .flat_map(|way| cases(way.name, way, &among, "", LOAD))
        .collect();
    let closed = bench.present(closed);
    bench.rounds(&closed, |bench, case, stage| {
        let loaded = bench.load(case, stage)?;
        let mut figures = loaded.by_request(case.subject);
        figures.extend(loaded.report.latency_us.figures(name::P));
        Ok(figures)
    });
    for way in WAYS {
        token_check(bench, way.name);
    }

    let rate = common_rate(bench).context("no case of the closed loop came to an end")?;
    println!("  open loop at {rate} requests a second: half of what the slowest does");
    let open: Vec<Case> = closed
        .into_iter()
        .filter(|case| case.subject != Subject::Open)
        .map(|case| Case {
            setting: format!("{}, {rate}/s", case.setting),
            load: [case.load, vec!["--rate".into(), rate.to_string()]].concat(),
            ..case
        })
        .collect();
    bench.rounds(&open, |bench, case, stage| {
        let loaded = bench.load(case, stage)?;
        // At one rate everybody wakes up as often, which at each one's own limit they do not.
        let mut figures = loaded.by_request(case.subject);
        figures.extend(loaded.report.latency_us.figures(name::P));
        Ok(figures)
    });
    Ok(())
}

/// What the check of a token costs: with it, less without it, round by round.
fn token_check(bench: &mut Bench<'_>, setting: &str) {
    let record = &mut bench.record;
    let of = |subject: Subject| record.rounds_of(setting, subject.name(), name::CPU);
    let Some((with, without)) = of(Subject::Tollgate).zip(of(Subject::Open)) else {
        return;
    };
    let rounds = with
        .iter()
        .zip(without)
        .map(|(with, without)| with - without);
    let figure = Figure {
        setting: setting.to_owned(),
        subject: Subject::Tollgate.name().to_owned(),
        name: name::CHECK.to_owned(),
        unit: "µs".to_owned(),
        rounds: rounds.collect(),
    };
    record.derive(name::CPU, figure);
}

/// Half of what the slowest did in the closed loop.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of requests is positive and far below 2^32"
)]
fn common_rate(bench: &Bench<'_>) -> Option<u32> {
    let rates = bench
        .record
        .figures
        .iter()
        .filter(|it| it.name == name::RATE);
    let slowest = rates
        .filter_map(|figure| {
            bench
                .record
                .spread(&figure.setting, &figure.subject, name::RATE)
        })
        .map(|spread| spread.median)
        .reduce(f64::min)?;
    Some(((slowest / 2.0) as u32).max(1))
}
