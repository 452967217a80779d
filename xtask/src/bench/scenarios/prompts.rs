//! Large prompts, as retrieval makes them.

use anyhow::Result;

use super::{ALL, cases};
use crate::bench::measure::{Bench, Case, figure, name};
use crate::bench::subjects::{OPENAI, OPENAI_TGIS, TGIS, TGIS_OPENAI};

const STUB: &str = "--tokens 16";
const LOAD: &str = "--connections 32 --prompt-bytes 220000 --stream --tokens 16";
/// A measurement is cut into so many, for what changes over time.
const SLICES: u64 = 4;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let all: Vec<Case> = [&OPENAI, &TGIS, &OPENAI_TGIS, &TGIS_OPENAI]
        .into_iter()
        .flat_map(|way| cases(way.name, way, &ALL, STUB, LOAD))
        .collect();
    let all = bench.present(all);
    bench.rounds(&all, |bench, case, stage| {
        let load = case.load(bench.house)?;
        let slice = (bench.seconds / SLICES).max(1);
        let mut slices = Vec::new();
        for _ in 0..SLICES {
            slices.push(bench.loaded(case, stage, &load, slice)?);
        }
        let first = |at: usize| slices.get(at)?.report.first_token_us.p50;
        let (early, late) = (first(0), first(slices.len() - 1));
        let mut figures = Vec::new();
        if let Some(last) = slices.last() {
            figures.extend(last.by_request(case.subject));
            figures.extend(last.report.first_token_us.figures(name::FIRST));
        }
        if let Some((early, late)) = early.zip(late) {
            figures.push(figure(name::RAMP, "×", late / early));
        }
        Ok(figures)
    });
    Ok(())
}
