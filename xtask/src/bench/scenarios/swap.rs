//! Swaps under load: what clients notice, beside the same load without them.
//!
//! The load is a mix of whole answers and streams, of two protocols, at one rate. Two plugins and the
//! scheduler are swapped, one a second, each to another version than the one before.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::bench::ask::{pause, post};
use crate::bench::house::{House, MODEL};
use crate::bench::load::{Load, Report};
use crate::bench::measure::{Bench, Case, Stage, figure, name, words};
use crate::bench::results::Measure;
use crate::bench::subjects::{ADMIN, MIXED, PAIR, Subject};

/// Requests a second.
const RATE: &str = "2000";
pub(crate) const SETTING: &str = "mixed, 2000/s";
/// Requests that failed, and answers that broke off.
pub(crate) const FAILED: &str = "failed";
pub(crate) const BROKEN: &str = "broken";
/// Of a run before it counts.
const WARM: u64 = 1;
/// From one swap to the next.
const BETWEEN: Duration = Duration::from_secs(1);
/// What is swapped, one after the other.
const SUBJECTS: [(&str, &str); 3] = [
    ("plugins", "openai"),
    ("schedulers", "fcfs"),
    ("plugins", "tgis"),
];

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let components = bench.house.components();
    for name in ["openai", "tgis", "fcfs"] {
        put(&components, bench.house, name, 0)?;
    }
    let mix = bench.house.folder.join("swap-mix.json");
    let url = MIXED.url(Subject::Tollgate).context("nobody to ask")?;
    fs::write(&mix, kinds(&url).to_string())?;
    let load = Load::new(["--target", &url, "--token", &bench.house.token])
        .with(["--mix", &mix.to_string_lossy(), "--connections", "32"])
        .with(["--streams-per-connection", "8", "--rate", RATE]);
    let cases: Vec<Case> = [PAIR[0], Subject::Swapped, PAIR[1]]
        .into_iter()
        .map(|subject| Case {
            setting: SETTING.to_owned(),
            subject,
            way: MIXED,
            stub: words("--tokens 16 --interval 1000"),
            load: words(&format!("--rate {RATE}")),
        })
        .collect();
    bench.rounds(&cases, |bench, case, stage| {
        measured(bench, case, stage, &load)
    });
    Ok(())
}

fn measured(
    bench: &mut Bench<'_>,
    case: &Case,
    stage: &Stage,
    load: &Load,
) -> Result<Vec<Measure>> {
    let house = bench.house;
    let run = |seconds: u64| {
        let load = load.with(["--duration", &seconds.to_string()]);
        load.run(&house.programs(), &house.other_cores)
    };
    run(WARM)?.0.sound().context("while it was warmed")?;
    let over = AtomicBool::new(false);
    let done = AtomicU32::new(0);
    let seconds = bench.seconds;
    let swapped = case.subject == Subject::Swapped;
    let loaded = std::thread::scope(|scope| {
        let swapping = swapped.then(|| scope.spawn(|| keep_swapping(house, &over, &done)));
        let loaded = run(seconds);
        over.store(true, Ordering::Relaxed);
        match swapping.map(std::thread::ScopedJoinHandle::join) {
            None | Some(Ok(Ok(()))) => loaded,
            Some(Ok(Err(problem))) => Err(problem),
            Some(Err(_)) => bail!("who was to swap panicked"),
        }
    });
    let (report, raw) = loaded?;
    let after = house.usage(stage.proxy.as_ref())?;
    let swaps = done.load(Ordering::Relaxed);
    if swapped && swaps == 0 {
        bail!("nothing was swapped");
    }
    bench.record.raw.push(json!({
        "setting": case.setting,
        "subject": case.subject.name(),
        "report": raw,
        "swaps": swaps,
    }));
    println!("    {swaps} swaps, {} answered", report.requests);
    let mut figures = failures(&report);
    figures.extend(report.latency_us.figures(name::P));
    figures.extend(report.inter_token_us.figures(name::BETWEEN));
    figures.push(figure(name::RSS, "MiB", after.rss()));
    Ok(figures)
}

/// Requests that failed, and answers that broke off.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) fn failures(report: &Report) -> Vec<Measure> {
    let broken = report.errors.get("cut").copied().unwrap_or_default();
    let all: u64 = report.errors.values().sum();
    vec![
        figure(FAILED, "", (all - broken) as f64),
        figure(BROKEN, "", broken as f64),
    ]
}

/// One swap a second, until it is over.
fn keep_swapping(house: &House, over: &AtomicBool, done: &AtomicU32) -> Result<()> {
    let components = house.components();
    let begun = Instant::now();
    for swap in 0_u32.. {
        let due = BETWEEN * (swap + 1);
        while begun.elapsed() < due {
            if over.load(Ordering::Relaxed) {
                return Ok(());
            }
            pause(Duration::from_millis(10));
        }
        let (kind, name) = SUBJECTS[swap as usize % SUBJECTS.len()];
        put(
            &components,
            house,
            name,
            1 + swap / SUBJECTS.len() as u32 % 2,
        )?;
        post(ADMIN, &format!("/{kind}/{name}/swap"))
            .with_context(|| format!("swap {swap}, of {name}"))?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A component with a mark that no runtime looks at: another digest, the same behaviour.
fn put(components: &Path, house: &House, name: &str, mark: u32) -> Result<()> {
    crate::soak::put_marked(components, &house.folder, name, mark)
}

/// Whole answers and streams, of both protocols.
pub(super) fn kinds(url: &str) -> serde_json::Value {
    let kind = |name: &str, weight: f64, protocol: &str, stream: bool| {
        json!({
            "name": name, "weight": weight, "protocol": protocol, "target": url,
            "model": MODEL, "prompt_bytes": 1024, "tokens": 16, "stream": stream,
        })
    };
    json!([
        kind("completion", 8.0, "openai-completion", false),
        kind("completion, streamed", 1.0, "openai-completion", true),
        kind("tgis", 8.0, "tgis", false),
        kind("tgis, streamed", 1.0, "tgis", true),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_and_what_broke_off_are_counted_apart() {
        let mut report = Report::default();
        report.errors.insert("cut".to_owned(), 2);
        report.errors.insert("status_502".to_owned(), 3);
        let values: Vec<f64> = failures(&report).iter().map(|it| it.value).collect();
        assert_eq!(values, [3.0, 2.0]);
    }

    #[test]
    fn the_mix_has_both_protocols_whole_and_in_streams() {
        let mix = kinds("http://x");
        let kinds = mix.as_array().unwrap();
        assert_eq!(kinds.len(), 4);
        assert_eq!(kinds.iter().filter(|it| it["stream"] == true).count(), 2);
    }
}
