//! How a sample is made: of two readings of counters that only grow, and of what stands now.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tollgate_plugin::{Generation, Report};
use tollgate_telemetry::{
    Sums,
    pulse::{Beat, unix_millis},
    spread::Counts,
};

use super::{GUESTS, Sample};
use crate::{overseer::SIZE_LABELS, run::Running};

/// The counters at one moment.
pub(super) struct Reading {
    at: u64,
    beat: Beat,
    sums: Sums,
    waited: Counts,
    sizes: [u64; SIZE_LABELS.len()],
    queued: u64,
    /// Nanoseconds in each generation, by its number, and whose it is: as many as serve or are kept.
    guests: HashMap<u64, (Arc<str>, u64)>,
}

impl Reading {
    pub(super) fn of(running: &Running) -> Self {
        let assembled = &running.assembled;
        let metrics = &assembled.house.metrics;
        let mut waited = Counts::default();
        let mut sizes = [0; SIZE_LABELS.len()];
        let mut queued = 0;
        for crew in assembled.crews.values() {
            waited.merge(&crew.overseer.waited());
            for (sum, more) in sizes.iter_mut().zip(crew.overseer.sizes()) {
                *sum += more;
            }
            queued += u64::try_from(crew.pool.gauges().pending).unwrap_or_default();
        }
        let mut guests = HashMap::new();
        for report in assembled.house.shelf.reports() {
            let name = report.name.clone();
            guests.extend(generations(report).map(|it| spent(&it, &name)));
        }
        for report in assembled.schedulers.reports() {
            // A plugin may have the same name.
            let name = format!("scheduler:{}", report.name).into();
            guests.extend(generations(report).map(|it| spent(&it, &name)));
        }
        Self {
            at: unix_millis(),
            beat: metrics.pulse().beat(),
            sums: metrics.sums(),
            waited,
            sizes,
            queued,
            guests,
        }
    }

    /// What happened between an earlier reading and this one.
    pub(super) fn since(&self, before: &Self) -> Sample {
        let more = |of: fn(&Self) -> u64| of(self).saturating_sub(of(before));
        Sample {
            at: self.at,
            took: self.beat.took.since(&before.beat.took),
            first_byte: self.beat.first_byte.since(&before.beat.first_byte),
            waited: self.waited.since(&before.waited),
            refused: more(|it| it.beat.refused),
            failed: more(|it| it.beat.failed),
            gone: more(|it| it.beat.gone),
            tokens_in: more(|it| it.sums.tokens_in),
            tokens_out: more(|it| it.sums.tokens_out),
            sent: more(|it| it.sums.sent),
            running: self.sums.in_flight,
            queued: self.queued,
            sizes: std::array::from_fn(|at| self.sizes[at].saturating_sub(before.sizes[at])),
            guests: self.guests_since(before),
        }
    }

    /// Time by name. A generation that has come since has spent all of its time since.
    fn guests_since(&self, before: &Self) -> Vec<(Arc<str>, f64)> {
        let mut spent: Vec<(Arc<str>, Duration)> = Vec::new();
        for (number, (name, nanos)) in &self.guests {
            let earlier = before.guests.get(number).map_or(0, |(_, nanos)| *nanos);
            let more = Duration::from_nanos(nanos.saturating_sub(earlier));
            match spent.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += more,
                None => spent.push((name.clone(), more)),
            }
        }
        // Past the bound those are left out that take least.
        spent.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        spent.truncate(GUESTS);
        let millis = spent.into_iter().map(|(name, it)| {
            let millis = it.as_secs_f64() * 1000.0;
            (name, millis)
        });
        millis.collect()
    }
}

/// A generation's number, its name, and the nanoseconds that were spent in it.
fn spent(generation: &Generation, name: &Arc<str>) -> (u64, (Arc<str>, u64)) {
    let nanos = generation.counters().nanos.load(Ordering::Relaxed);
    (generation.number(), (name.clone(), nanos))
}

fn generations(report: Report) -> impl Iterator<Item = Arc<Generation>> {
    let candidate = report.candidate.into_iter().map(|(it, _)| it);
    let others = report.earlier.into_iter().chain(report.leaving);
    std::iter::once(report.force).chain(candidate).chain(others)
}
