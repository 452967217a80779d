//! `soak --swaps N`: so many swaps of plugins and a scheduler, each to another version than the one
//! before, while a mix of everything is served. No request may notice; memory stays flat; what a
//! generation had is gone when it is.
//!
//! Memory is looked at twice over: while it is loaded, and in a pause after each part of the swaps,
//! when the load has ended and the allocator's own thread has given back what lies unused. What
//! grows in the first alone is what a load takes; what grows in the second stays. Beside it stands how
//! many generations are in memory. Where those are as many as before, what grew lies between things
//! that stay, in the allocator's arenas: with `_RJEM_MALLOC_CONF=narenas:1` there is but one.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::trouble::Trouble;
use super::verdict::{self, Check};
use super::{CONFIG, FRONT, Loading, REST, TICK, mix, sample};
use crate::bench::ask::{Sign, pause, post};
use crate::bench::house::House;
use crate::bench::metrics::Metrics;
use crate::bench::running::{Cores, Running};
use crate::bench::subjects::{ADMIN, STUB_GRPC, STUB_HTTP};
use crate::workspace::Workspace;

/// Swaps at least: a fifth of them are to warm up.
pub(super) const FEWEST: u32 = 50;
/// What is swapped, one after the other.
const SUBJECTS: [(&str, &str); 5] = [
    ("plugins", "openai"),
    ("schedulers", "fcfs"),
    ("plugins", "tgis"),
    ("plugins", "kserve"),
    ("plugins", "embedded"),
];
/// Seconds of one stretch of load: one follows the other until the swaps are done.
const STRETCH: f64 = 20.0;
/// Swaps from one look at the process to the next.
const LOOK: u32 = 10;
/// Parts that end with a pause: two a fifth.
const PARTS: u32 = 10;
/// Generations in memory.
const ALIVE: &str = "tollgate_generations_alive";
/// A pause: the allocator gives pages back after one second (`.cargo/config.toml`).
const QUIET: Duration = Duration::from_secs(4);

/// Swaps, and judges.
///
/// # Errors
/// When something cannot be started, a swap is refused, or a check failed.
pub(super) fn run(workspace: &Workspace, many: u32) -> Result<()> {
    let house = House::prepare(workspace, workspace.target.join("soak/work"), false)?;
    let mut trouble = Trouble::new(workspace.components(), house.folder.clone())?;
    let stub = ["--tokens", "64", "--interval", "2000"].map(str::to_owned);
    let steady = house.stub_at(
        "stub",
        &[("--http", STUB_HTTP), ("--grpc", STUB_GRPC)],
        &stub,
    )?;
    trouble.start_worker(&house)?;
    let command = house.tollgate_on(&Cores::all(), CONFIG);
    let mut proxy = Running::start("tollgate", command, &[FRONT, ADMIN], &house.folder)?;
    proxy.serves(Sign::Answers(ADMIN, "/readyz"))?;
    let mix = house.folder.join("mix.json");
    fs::write(&mix, mix::json(FRONT).to_string())?;

    let begun = Instant::now();
    let mut loaded = Vec::new();
    let mut at_rest = Vec::new();
    let mut answered = 0;
    let mut errors = Vec::new();
    for part in 0..PARTS {
        let mut load = Loading::start(&house, &mix, STRETCH)?;
        for swap in many * part / PARTS..many * (part + 1) / PARTS {
            let (kind, name) = SUBJECTS[swap as usize % SUBJECTS.len()];
            // Two versions, turn about, from the second round on.
            trouble.put(name, 1 + swap / SUBJECTS.len() as u32 % 2)?;
            post(ADMIN, &format!("/{kind}/{name}/swap"))
                .with_context(|| format!("swap {swap}, of {name}"))?;
            if load.child.try_wait()?.is_some() {
                answered += finished(load, &mut errors)?;
                load = Loading::start(&house, &mix, STRETCH)?;
            }
            if swap % LOOK == 0 {
                loaded.push(sample::take(&house, &proxy, begun.elapsed().as_secs_f64())?);
            }
        }
        answered += finished(load, &mut errors)?;
        pause(QUIET);
        let seen = sample::take(&house, &proxy, begun.elapsed().as_secs_f64())?;
        println!(
            "  part {} of {PARTS}: RSS {:.1} MiB under load, {:.1} MiB at rest ({:.1} MiB of it no \
             file's), {} generations, {} threads",
            part + 1,
            loaded.last().map_or(0.0, |seen| seen.rss),
            seen.rss,
            seen.anon,
            house.metrics()?.sum(ALIVE).unwrap_or_default(),
            seen.threads
        );
        at_rest.push(seen);
    }
    let took = begun.elapsed();
    let left = rested(&house)?;
    let faults: Vec<String> = verdict::faults(&house.metrics()?)
        .into_iter()
        .filter(|(_, value)| *value != 0.0)
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let checks = [
        verdict::memory("under load", &loaded),
        verdict::memory("at rest", &at_rest),
        verdict::threads(&at_rest),
        verdict::check(
            "no request noticed",
            &errors,
            &format!("{answered} answered"),
        ),
        verdict::check("generations are gone", &left, "all but those that are kept"),
        verdict::check("no panic, no trap, nothing refused", &faults, "none"),
    ];
    proxy.stop()?;
    trouble.stop()?;
    steady.stop()?;
    println!("\n{many} swaps in {:.0} s", took.as_secs_f64());
    told(&checks)
}

fn told(checks: &[Check]) -> Result<()> {
    for check in checks {
        let word = if check.holds { "ok    " } else { "FAILED" };
        println!("{word} {}: {}", check.what, check.found);
    }
    match checks.iter().filter(|check| !check.holds).count() {
        0 => Ok(()),
        failed => bail!("{failed} checks failed"),
    }
}

/// What a stretch of load came to: how many were answered, and what went wrong.
fn finished(load: Loading, errors: &mut Vec<String>) -> Result<u64> {
    let (report, _) = load.report()?;
    for (kind, count) in report.errors.iter().filter(|(_, count)| **count > 0) {
        let sample = report.samples.get(kind).map_or("", String::as_str);
        errors.push(format!("{kind}: {count} ({sample})"));
    }
    Ok(report.requests)
}

/// What has not gone when patience ends.
fn rested(house: &House) -> Result<Vec<String>> {
    let begun = Instant::now();
    loop {
        let left = left(&house.metrics()?);
        if left.is_empty() || begun.elapsed() > REST {
            return Ok(left);
        }
        pause(TICK);
    }
}

/// Generations that still serve, or are more than are kept: three, of each plugin and scheduler. And
/// those in memory that are none of these.
fn left(metrics: &Metrics) -> Vec<String> {
    const KEPT: f64 = 3.0;
    let sum = |name| metrics.sum(name).unwrap_or_default();
    let (alive, held) = (sum(ALIVE), sum("tollgate_generations_held"));
    let lost = (alive > held).then(|| format!("{alive} generations in memory, {held} held"));
    let left = metrics
        .gauges()
        .filter(|(series, value)| {
            let most = match crate::bench::metrics::family(series) {
                "tollgate_generations_leaving" | "tollgate_plugin_exchanges" => 0.0,
                "tollgate_generations_held" => KEPT,
                _ => return false,
            };
            *value > most
        })
        .map(|(series, value)| format!("{series} {value}"));
    left.chain(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told() {
        let page = "# TYPE tollgate_generations_leaving gauge\n\
                    tollgate_generations_leaving{plugin=\"a\"} 1\n\
                    tollgate_generations_leaving{plugin=\"b\"} 0\n\
                    # TYPE tollgate_generations_held gauge\n\
                    tollgate_generations_held{plugin=\"a\"} 3\n\
                    # TYPE tollgate_generations_alive gauge\n";
        let with = |alive: u32| {
            let page = format!("{page}tollgate_generations_alive {alive}\n");
            left(&Metrics::read(&page))
        };
        let leaving = "tollgate_generations_leaving{plugin=\"a\"} 1";
        assert_eq!(with(3), [leaving]);
        assert_eq!(with(4), [leaving, "4 generations in memory, 3 held"]);
    }
}
