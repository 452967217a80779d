//! Overload: ten times what the worker can do, for as long as a measurement takes.
//!
//! 1. What it can do: a closed loop with as many clients as the worker has slots.
//! 2. Ten times as many requests a second, open loop. Some are answered, the rest is turned away.
//! 3. What counts: how much of the worker's capacity is still answered, how soon a client that is
//!    turned away knows, whether it is told when to come again, and memory before and after.

use anyhow::{Result, bail};

use crate::bench::measure::{Bench, Case, figure, name, words};
use crate::bench::subjects::{OVERLOAD, Subject};

/// Slots of the worker, as `tests/bench/overload.yaml` has them.
const SLOTS: &str = "8";
/// Clients: those at the worker, those in the queue, and enough for those who are turned away.
const CLIENTS: &str = "256";
const TIMES: f64 = 10.0;
/// Four tokens, ten milliseconds apart.
const STUB: &str = "--tokens 4 --interval 10000";
const LOAD: &str = "--stream --tokens 4 --prompt-bytes 1024";
/// To learn what the worker can do.
const CAPACITY: u64 = 5;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let cases = [Case {
        setting: "10 × capacity".to_owned(),
        subject: Subject::Tollgate,
        way: OVERLOAD,
        stub: words(STUB),
        load: words(LOAD),
    }];
    bench.rounds(&cases, |bench, case, stage| {
        let house = bench.house;
        let load = case.load(house)?;
        let run = |more: &[&str], seconds: u64| {
            let seconds = seconds.to_string();
            let load = load.with(more.iter().copied());
            let load = load.with(["--warmup", "1", "--duration", &seconds]);
            load.run(&house.programs(), &house.other_cores)
        };
        let (capacity, _) = run(&["--connections", SLOTS], bench.seconds.min(CAPACITY))?;
        capacity.sound()?;
        let before = house.usage(stage.proxy.as_ref())?.rss();
        let rate = (TIMES * capacity.rps).to_string();
        let over = ["--connections", CLIENTS, "--rate", &rate];
        let (report, raw) = run(&over, bench.seconds)?;
        house.settle();
        let after = house.usage(stage.proxy.as_ref())?.rss();
        bench.record.raw.push(serde_json::json!({
            "setting": case.setting, "subject": case.subject.name(), "capacity": capacity.rps,
            "load": raw, "rss": [before, after],
        }));
        let turned_away: u64 = ["status_429", "status_503"]
            .iter()
            .filter_map(|kind| report.errors.get(*kind))
            .sum();
        if report.errors.values().sum::<u64>() != turned_away {
            // Neither answered nor turned away.
            report.sound()?;
        }
        if report.refused_untold > 0 {
            let count = report.refused_untold;
            bail!("{count} were turned away without a word of when to come again");
        }
        if turned_away == 0 || report.requests == 0 {
            bail!("this is no overload: {turned_away} turned away");
        }
        let mut figures = vec![
            figure(name::CAPACITY, "/s", capacity.rps),
            figure(name::RATE, "/s", report.rps),
            figure(name::SHARE, "×", report.rps / capacity.rps),
            figure(name::TURNED_AWAY, "", count(turned_away)),
            figure(name::RSS, "MiB", after),
            figure(name::RSS_GROWTH, "×", after / before),
        ];
        figures.extend(report.refused_us.figures(name::REFUSED));
        figures.extend(report.latency_us.figures(name::P));
        Ok(figures)
    });
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(count: u64) -> f64 {
    count as f64
}
