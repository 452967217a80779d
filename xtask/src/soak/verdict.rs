//! Whether a soak was passed: nothing grew, nothing leaked, nothing went wrong that had no cause.

use serde::{Deserialize, Serialize};

use super::Soak;
use super::sample::Sample;
use crate::bench::metrics::{Metrics, family};

/// Something that has to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) found: String,
    pub(crate) holds: bool,
}

/// By how much memory may rise from the second fifth to the last.
const RISE: f64 = 1.10;
/// Gauges of what is kept for reuse: they need not return, but must not grow.
const KEPT: [&str; 3] = [SLOTS, "tollgate_instances", "tollgate_interned_names"];
const SLOTS: &str = "tollgate_plugin_slots";
/// What fills up to its bound and stays: that it has one is a test's to say.
const FILLS: [&str; 3] = [
    "tollgate_compiled_cache_bytes",
    "tollgate_history_samples",
    "tollgate_remembered_errors",
];
/// Each of them keeps a file: the image of its memory.
const ALIVE: &str = "tollgate_generations_alive";
/// Of single generations, by their numbers: others after a swap. That they are few is a test's to
/// say (`tests/tests/generations`), and what they hold the plugins' own gauges tell.
const GENERATIONS: &str = "tollgate_generation";
/// Memory of a plugin's slots: as many are kept as were needed, and what each holds returns.
const OF_SLOTS: &str = "tollgate_plugin_memory_bytes";
/// By how much a slot that has served may hold more than a new one.
const SLOT_RISE: f64 = 1.25;
/// By how much what is kept may exceed its highest of the first two fifths.
const KEPT_RISE: f64 = 1.25;
/// Files and threads that are made once, when they are first needed, beyond those of the first two
/// fifths; a leak with each kill or change would be more.
const ONCE: f64 = 4.0;
/// What a client sees of a worker that was killed: a stream that breaks off, perhaps before its
/// head was flushed, or an answer or an event that says so. Everything else is a defect.
const OF_A_KILL: [&str; 6] = [
    "cut",
    "send",
    "status_502",
    "status_503",
    "told_502",
    "grpc_14",
];
/// Most requests that one kill may cost: those that the worker had, two protocols of 24 each.
const A_KILL: u64 = 48;
/// Counters that must not move.
const ZERO: [&str; 3] = [
    "tollgate_panics_total",
    "tollgate_plugin_traps_total",
    "tollgate_scheduler_refused_total",
];

/// Every check.
pub(super) fn judge(soak: &Soak) -> Vec<Check> {
    let mut checks = vec![memory("under load", &soak.samples)];
    let leaks = leaked(&soak.idle, &soak.samples, &soak.rested);
    checks.push(check(
        "gauges, files and threads return",
        &leaks,
        "all as before the load",
    ));
    checks.push(check(
        "what is kept does not grow",
        &grown(&soak.samples),
        "within bounds",
    ));
    checks.push(errors(soak));
    let moved: Vec<String> = soak
        .faults
        .iter()
        .filter(|(_, value)| *value != 0.0)
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    checks.push(check("no panic, no trap, nothing refused", &moved, "none"));
    checks.push(Check {
        what: "changed components are taken in".to_owned(),
        found: format!(
            "{} changes, plugins moved by {} generations",
            soak.swaps, soak.taken
        ),
        holds: soak.swaps == 0 || soak.taken > 0,
    });
    checks.push(Check {
        what: "SIGTERM ends it well".to_owned(),
        found: soak.exit.clone(),
        holds: soak.exit == "exit status: 0",
    });
    checks
}

/// The counters that must not move, with where they stand.
pub(super) fn faults(metrics: &Metrics) -> Vec<(String, f64)> {
    ZERO.iter()
        .map(|name| ((*name).to_owned(), metrics.sum(name).unwrap_or_default()))
        .collect()
}

pub(super) fn check(what: &str, against: &[String], good: &str) -> Check {
    Check {
        what: what.to_owned(),
        found: if against.is_empty() {
            good.to_owned()
        } else {
            against.join("; ")
        },
        holds: against.is_empty(),
    }
}

/// The median of the last fifth against that of the second: the first is for warming up.
pub(super) fn memory(when: &str, samples: &[Sample]) -> Check {
    let fifth = |nth: usize| {
        let from = samples.len() * nth / 5;
        let to = samples.len() * (nth + 1) / 5;
        let mut values: Vec<f64> = samples[from..to].iter().map(|sample| sample.rss).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let (second, last) = (fifth(1), fifth(4));
    let (found, holds) = match second.zip(last) {
        Some((second, last)) => (
            format!(
                "{second:.1} MiB, then {last:.1} MiB: {:.3} ×",
                last / second
            ),
            last <= second * RISE,
        ),
        None => ("too few samples".to_owned(), false),
    };
    Check {
        what: format!("memory {when}, of the last fifth ≤ {RISE} × the second"),
        found,
        holds,
    }
}

/// Threads of the last look against those of the first: some are made when they are first needed,
/// and those for what blocks come and go.
pub(super) fn threads(samples: &[Sample]) -> Check {
    let ends = samples.first().zip(samples.last());
    let (first, last) = ends.map_or((0, 0), |(first, last)| (first.threads, last.threads));
    Check {
        what: "threads do not grow".to_owned(),
        found: format!("{first}, then {last}"),
        holds: first > 0 && last as f64 <= first as f64 + ONCE,
    }
}

/// What has not returned to where it was: each gauge, open files, threads. A proxy without load
/// probes its workers, so a gauge is where it was when it is within what was seen of it then.
///
/// Threads are made when they are first needed, and some of them stay: they are where they were when
/// they are no more than under the load of the first two fifths.
pub(super) fn leaked(idle: &[Sample], loaded: &[Sample], rested: &Sample) -> Vec<String> {
    let range = |value: &dyn Fn(&Sample) -> f64| {
        let values = || idle.iter().map(value);
        let least = values().fold(f64::INFINITY, f64::min);
        (least, values().fold(f64::NEG_INFINITY, f64::max))
    };
    let mut leaks: Vec<String> = rested
        .gauges
        .iter()
        .filter(|(series, _)| {
            let family = family(series);
            !KEPT.contains(&family) && !FILLS.contains(&family)
        })
        .filter(|(series, _)| !series.starts_with(GENERATIONS))
        .filter_map(|(series, now)| {
            // One that was not there before began at nothing.
            let (least, most) = range(&|it| held(it, series));
            let (now, most) = match family(series) {
                OF_SLOTS => (held(rested, series).max(least), most * SLOT_RISE),
                _ => (*now, most),
            };
            (now < least || now > most).then(|| format!("{series}: {least} to {most}, now {now}"))
        })
        .collect();
    let alive = |it: &Sample| {
        let series = it.gauges.iter().find(|(series, _)| family(series) == ALIVE);
        series.map_or(0.0, |(_, value)| *value)
    };
    #[expect(clippy::cast_precision_loss, reason = "counts of files and threads")]
    let (files, threads) = (
        |it: &Sample| it.fds as f64 - alive(it),
        |it: &Sample| it.threads as f64,
    );
    let early = &loaded[..loaded.len() * 2 / 5];
    let made = early.iter().map(threads).fold(range(&threads).1, f64::max);
    let counts = [
        ("open files", range(&files).1, files(rested)),
        ("threads", made, threads(rested)),
    ];
    for (what, most, now) in counts {
        // Fewer is none that leaked.
        if now > most + ONCE {
            leaks.push(format!("{what}: {most}, now {now}"));
        }
    }
    leaks
}

/// A gauge, and of the memory of slots what one of them holds.
fn held(sample: &Sample, series: &str) -> f64 {
    let value = |series: &str| sample.gauges.get(series).copied().unwrap_or_default();
    match family(series) {
        OF_SLOTS => value(series) / value(&series.replacen(OF_SLOTS, SLOTS, 1)).max(1.0),
        _ => value(series),
    }
}

/// What is kept for reuse, where it rose beyond its highest of the first two fifths.
fn grown(samples: &[Sample]) -> Vec<String> {
    let (early, late) = samples.split_at(samples.len() * 2 / 5);
    let highest = |samples: &[Sample], series: &str| {
        let values = samples
            .iter()
            .filter_map(|sample| sample.gauges.get(series));
        values.copied().fold(0.0, f64::max)
    };
    let Some(last) = samples.last() else {
        return vec!["no samples".to_owned()];
    };
    last.gauges
        .keys()
        .filter(|series| KEPT.contains(&family(series)))
        .filter_map(|series| {
            let (before, after) = (highest(early, series), highest(late, series));
            // A handful more or less is chance.
            (after > before * KEPT_RISE + 4.0).then(|| format!("{series}: {before}, then {after}"))
        })
        .collect()
}

fn errors(soak: &Soak) -> Check {
    let mut against = Vec::new();
    let mut excused = 0;
    for (kind, count) in &soak.load.errors {
        if OF_A_KILL.contains(&kind.as_str()) {
            excused += count;
        } else if *count > 0 {
            let sample = soak.load.samples.get(kind).cloned().unwrap_or_default();
            against.push(format!("{kind}: {count} ({sample})"));
        }
    }
    let most = u64::from(soak.kills) * A_KILL;
    if excused > most {
        against.push(format!(
            "{excused} requests broke with a worker; {} kills explain {most} at most",
            soak.kills
        ));
    }
    if soak.load.requests == 0 {
        against.push("no request was answered".to_owned());
    }
    let good = format!(
        "{} answered, {} left early, {excused} broke with {} kills",
        soak.load.requests, soak.load.aborted, soak.kills
    );
    check("no unexpected error", &against, &good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rss: impl Fn(usize) -> f64) -> Vec<Sample> {
        let sample = |at: usize| Sample {
            rss: rss(at),
            ..Sample::default()
        };
        (0..100).map(sample).collect()
    }

    #[test]
    fn growth_fails_and_warming_up_does_not() {
        assert!(memory("", &samples(|at| if at < 15 { 20.0 } else { 60.0 })).holds);
        assert!(!memory("", &samples(|at| 50.0 + at as f64 / 5.0)).holds);
        assert!(!memory("", &[]).holds);
        let with = |threads: [u64; 2]| {
            let looks = threads.map(|threads| Sample {
                threads,
                ..Sample::default()
            });
            self::threads(&looks).holds
        };
        assert!(with([20, 22]) && !with([20, 40]));
    }

    #[test]
    fn what_does_not_return_is_named() {
        let mut idle = Sample {
            fds: 10,
            ..Sample::default()
        };
        let set = |sample: &mut Sample, series: &str, value: f64| {
            sample.gauges.insert(series.into(), value);
        };
        set(&mut idle, "tollgate_open", 2.0);
        set(&mut idle, "tollgate_probes", 0.0);
        let mut probing = idle.clone();
        set(&mut probing, "tollgate_probes", 1.0);
        let idle = [idle, probing];
        let mut rested = idle[1].clone();
        set(&mut rested, "tollgate_in_flight{route=\"a\"}", 0.0);
        set(&mut rested, "tollgate_instances", 9.0);
        rested.fds = 14;
        assert_eq!(leaked(&idle, &[], &rested), Vec::<String>::new());
        set(&mut rested, "tollgate_in_flight{route=\"a\"}", 1.0);
        rested.fds = 15;
        assert_eq!(leaked(&idle, &[], &rested).len(), 2);
        set(&mut rested, "tollgate_open", 1.0);
        set(&mut rested, "tollgate_probes", 2.0);
        assert_eq!(leaked(&idle, &[], &rested).len(), 4);
    }

    #[test]
    fn what_is_made_once_or_kept_with_a_generation_is_no_leak() {
        let sample = |fds: u64, threads: u64, alive: f64| Sample {
            fds,
            threads,
            gauges: [(format!("{ALIVE}{{}}"), alive)].into(),
            ..Sample::default()
        };
        let idle = [sample(20, 13, 6.0)];
        let loaded: Vec<Sample> = (0..10).map(|_| sample(90, 22, 9.0)).collect();
        let leaks = |rested: &Sample| leaked(&idle, &loaded, rested).len();
        assert_eq!(leaks(&sample(30, 24, 16.0)), 0);
        assert_eq!(leaks(&sample(30, 24, 6.0)), 1, "files without generations");
        assert_eq!(leaks(&sample(30, 27, 16.0)), 1, "threads beyond those made");
        // What only came in the last fifths was not made once.
        let late: Vec<Sample> = (0..10).map(|at| sample(90, 13 + at, 9.0)).collect();
        assert_eq!(leaked(&idle, &late, &sample(20, 22, 6.0)).len(), 1);
    }

    #[test]
    fn what_a_slot_holds_returns_however_many_are_kept() {
        let sample = |slots: f64, bytes: f64| {
            let series = [(SLOTS, slots), (OF_SLOTS, bytes)];
            let gauges = series.map(|(name, value)| (format!("{name}{{plugin=\"a\"}}"), value));
            Sample {
                gauges: gauges.into_iter().collect(),
                ..Sample::default()
            }
        };
        let idle = [sample(1.0, 1000.0)];
        assert_eq!(
            leaked(&idle, &[], &sample(3.0, 3300.0)),
            Vec::<String>::new()
        );
        assert_eq!(leaked(&idle, &[], &sample(3.0, 4000.0)).len(), 1);
        assert_eq!(leaked(&idle, &[], &sample(1.0, 1300.0)).len(), 1);
    }

    #[test]
    fn what_is_kept_may_not_grow() {
        let kept = |late: f64| {
            let mut all = samples(|_| 1.0);
            for (at, sample) in all.iter_mut().enumerate() {
                let value = if at < 50 { 8.0 } else { late };
                sample.gauges.insert("tollgate_instances".into(), value);
            }
            grown(&all).len()
        };
        assert_eq!((kept(10.0), kept(30.0)), (0, 1));
    }

    #[test]
    fn errors_need_a_cause() {
        let soak = |kind: &str, count: u64, kills: u32| {
            let mut soak = Soak {
                kills,
                ..Soak::default()
            };
            soak.load.requests = 1000;
            soak.load.errors.insert(kind.into(), count);
            errors(&soak).holds
        };
        assert!(soak("cut", 40, 1));
        assert!(!soak("cut", 49, 1));
        assert!(!soak("cut", 1, 0));
        assert!(!soak("content", 1, 9));
        assert!(soak("content", 0, 0));
    }
}
