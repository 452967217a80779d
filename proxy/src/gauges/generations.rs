//! What plugins and schedulers cost and how they fare: of each the generation in force, and, by
//! number, those that serve now. Series of generations that are gone are gone too.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tollgate_plugin::{Generation, Report, TrapKind};
use tollgate_telemetry::Samples;

use crate::{
    keeper::{self, Subject},
    life::Running,
};

/// Generations of one plugin on a page that are no longer in force: the last ones.
const LEAVING: usize = 4;

type Labels<'a> = &'a [(&'static str, &'a str)];

#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
pub(super) fn collect(running: &Running, samples: &mut Samples) {
    let assembled = &running.assembled;
    for report in assembled.house.shelf.reports() {
        of_life(samples, "plugin", &report);
        of_plugin(samples, &report.force);
    }
    for report in assembled.schedulers.reports() {
        of_life(samples, "scheduler", &report);
    }
    let known = running.keeper.loads();
    for subject in keeper::subjects(&assembled.config) {
        let loads = known.get(&subject).cloned().unwrap_or_default();
        let kind = match &subject {
            Subject::Plugin(_) => "plugin",
            Subject::Scheduler(_) => "scheduler",
        };
        for (outcome, count) in [("good", loads.good), ("bad", loads.bad)] {
            samples.counter(
                "loads",
                "Times that a component was loaded while the proxy served",
                &[(kind, subject.name()), ("outcome", outcome)],
                count,
            );
        }
    }
    samples.gauge(
        "generations_alive",
        "Generations in memory, those included that are loaded now or left to what they serve",
        &[],
        assembled.loader.alive() as f64,
    );
    samples.gauge(
        "watched_files",
        "Files of plugins, schedulers and their options that are watched",
        &[],
        running.keeper.watched() as f64,
    );
}

/// The places of a plugin's generations, and each one's own figures.
#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
fn of_life(samples: &mut Samples, kind: &'static str, report: &Report) {
    let name = &*report.name;
    let held = 1 + report.earlier.len() + usize::from(report.candidate.is_some());
    samples.gauge(
        "generations_held",
        "Generations in force, on trial, or kept to go back to",
        &[(kind, name)],
        held as f64,
    );
    samples.gauge(
        "generations_leaving",
        "Generations that are no longer in force and still serve",
        &[(kind, name)],
        report.leaving.len() as f64,
    );
    for (what, times) in &report.happened {
        samples.counter(
            "generation_changes",
            "What became of a plugin's or a scheduler's generations",
            &[(kind, name), ("change", what)],
            *times,
        );
    }
    let force = [("in-force", &report.force)];
    let candidate = report.candidate.iter().map(|(it, _)| ("candidate", it));
    // One that was put back may be on its way out as an older one was.
    let leaving = report.leaving.iter().rev().take(LEAVING);
    let leaving = leaving.map(|it| ("leaving", it));
    for (part, generation) in force.into_iter().chain(candidate).chain(leaving) {
        let number = generation.number().to_string();
        let labels = [(kind, name), ("generation", number.as_str())];
        samples.gauge(
            "generation_serves",
            "1 for a generation that serves, by its part",
            &[labels[0], labels[1], ("part", part)],
            1.0,
        );
        of_generation(samples, &labels, generation);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
fn of_generation(samples: &mut Samples, labels: Labels<'_>, generation: &Generation) {
    let counters = generation.counters();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    samples.times(
        "generation_call_seconds",
        "Time of calls into a generation, the host's part in them included",
        labels,
        Duration::from_nanos(count(&counters.nanos)),
        counters.took.buckets(),
    );
    let mut counter = |name, help, value| samples.counter(name, help, labels, value);
    counter(
        "generation_read_bytes",
        "Bytes of requests and answers that were copied into a generation",
        count(&counters.read),
    );
    counter(
        "generation_written_bytes",
        "Bytes that a generation put out itself",
        count(&counters.written),
    );
    counter(
        "generation_waits",
        "Calls that waited because their instance was being called",
        count(&counters.waits),
    );
    counter(
        "generation_served",
        "Requests, attempts, compositions and sessions of a generation that ended",
        count(&counters.served),
    );
    counter(
        "generation_failed",
        "Of these, those that ended with an error, whoever's fault it was",
        count(&counters.failed),
    );
    counter(
        "generation_bypassed",
        "Responses that went on without a generation when it had failed",
        count(&counters.bypassed),
    );
    samples.time(
        "generation_wait_seconds",
        "Time that calls waited because their instance was being called",
        labels,
        Duration::from_nanos(count(&counters.waited)),
    );
    for kind in TrapKind::ALL {
        let mut labels = labels.to_vec();
        labels.push(("kind", kind.label()));
        samples.counter(
            "generation_traps",
            "Instances of a generation that were ended; `time` are those that spent theirs",
            &labels,
            counters.traps_of(kind),
        );
    }
    let mut gauge = |name, help, value: f64| samples.gauge(name, help, labels, value);
    gauge(
        "generation_memory_peak_bytes",
        "Most linear memory that one instance of a generation ever had",
        count(&counters.memory_peak) as f64,
    );
    gauge(
        "generation_slots",
        "Instances of a generation that are given exchanges",
        generation.slots() as f64,
    );
    gauge(
        "generation_slots_idle",
        "Of these, those that have no exchange now",
        generation.idle() as f64,
    );
    gauge(
        "generation_exchanges",
        "Exchanges, attempts and sessions in a generation's instances",
        generation.exchanges() as f64,
    );
}

/// The figures of a plugin, whichever generation is in force.
#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
fn of_plugin(samples: &mut Samples, generation: &Generation) {
    let labels: Labels<'_> = &[("plugin", generation.name())];
    let counters = generation.counters();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut gauge = |name, help, value: f64| samples.gauge(name, help, labels, value);
    gauge(
        "plugin_slots",
        "Instances of a plugin",
        generation.slots() as f64,
    );
    gauge(
        "plugin_exchanges",
        "Exchanges, attempts and sessions in a plugin's instances",
        generation.exchanges() as f64,
    );
    gauge(
        "plugin_memory_bytes",
        "Linear memory of a plugin's instances",
        count(&counters.memory) as f64,
    );
    let mut counter = |name, help, value| samples.counter(name, help, labels, value);
    counter(
        "plugin_instances_made",
        "Instances made of the generation in force",
        count(&counters.instantiated),
    );
    counter(
        "plugin_instances_retired",
        "Instances that were given no new exchange because they had grown",
        count(&counters.retired),
    );
    counter(
        "plugin_read_bytes",
        "Bytes of requests and answers that were copied into a plugin's generation in force",
        count(&counters.read),
    );
    counter(
        "plugin_calls",
        "Calls into a plugin's generation in force",
        count(&counters.calls),
    );
    counter(
        "plugin_traps",
        "Instances of the generation in force that were ended by a trap or a limit",
        counters.traps(),
    );
    samples.time(
        "plugin_seconds",
        "Time that these calls took, the host's part in them included",
        labels,
        Duration::from_nanos(count(&counters.nanos)),
    );
    if let Some(quarantine) = generation.quarantine() {
        samples.gauge(
            "plugin_quarantined",
            "1 while a generation is kept out of service because it kept failing",
            labels,
            f64::from(u8::from(quarantine.is_on())),
        );
        samples.counter(
            "plugin_quarantines",
            "Times that the generation in force was put into quarantine",
            labels,
            quarantine.entered(),
        );
        samples.counter(
            "plugin_quarantine_refused",
            "Exchanges refused because the generation in force was in quarantine",
            labels,
            quarantine.refused(),
        );
    }
}
