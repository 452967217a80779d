//! What came of a run: counted while it goes on, and figured when it has ended.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::load::Job;
use crate::run::Setup;
use crate::worker::Worked;

/// Points of each line over time; when there are more, two become one.
const MOST_POINTS: usize = 240;

/// What is counted. Instants are in microseconds.
pub(crate) struct Tally {
    came: u64,
    /// Of those that were done.
    input: f64,
    output: f64,
    waits: Vec<u64>,
    firsts: Vec<u64>,
    latencies: Vec<u64>,
    batches: BTreeMap<usize, u64>,
    rejected: BTreeMap<&'static str, u64>,
    inverted: u64,
    replaced: u64,
    /// Deadlines of those that were done.
    late: u64,
    /// Of each tenant: those that wait, and what it was given while all waited.
    pending: BTreeMap<u32, u64>,
    backlogged: usize,
    shares: BTreeMap<u32, f64>,
    /// Of the batch that is being sent: tenants, and what they are given.
    given: Vec<(u32, f64)>,
    first_at: Option<u64>,
    last_come: u64,
    last_done: u64,
    width: u64,
    points: Vec<Point>,
}

#[derive(Clone, Copy, Default)]
struct Point {
    came: u64,
    done: u64,
    rejected: u64,
    pending: usize,
}

/// Percentiles of a figure, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// Nine of ten are no more.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// All.
    pub most: f64,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Requests that came.
    pub came: u64,
    /// Requests that were served.
    pub done: u64,
    /// Of these, after their deadline.
    pub late: u64,
    /// Requests that were turned away, by reason.
    pub rejected: Vec<(String, u64)>,
    /// Seconds from the first arrival to the last end.
    pub seconds: f64,
    /// Requests that came in a second.
    pub offered: f64,
    /// Requests served in a second.
    pub throughput: f64,
    /// Units of output in a second.
    pub output_rate: f64,
    /// Requests a second that the workers could serve at best, all full, nothing cached, of such as
    /// they have served.
    pub ideal: f64,
    /// Part of the prompts' units that a worker found in its cache.
    pub cached: f64,
    /// Time in the queue.
    pub wait: Spread,
    /// Time to the first output.
    pub first: Spread,
    /// Time to the end.
    pub latency: Spread,
    /// Part of the workers' time that was work.
    pub utilisation: f64,
    /// Batches by size.
    pub batches: Vec<(usize, u64)>,
    /// Mean size.
    pub mean_batch: f64,
    /// Jain's index of what tenants were given while all of them waited; none: they never did.
    pub fairness: Option<f64>,
    /// Times that a request of lower priority took the last room from one of higher.
    pub inversions: u64,
    /// Times that the fallback had to take a policy's place.
    pub replaced: u64,
    /// Steps of policies.
    pub steps: u64,
    /// Actions that did not fit.
    pub refused: u64,
    /// Over time: seconds; came, done and turned away in a second; waiting.
    pub timeline: Vec<[f64; 5]>,
}

// === impl Tally ===

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            came: 0,
            input: 0.0,
            output: 0.0,
            waits: Vec::new(),
            firsts: Vec::new(),
            latencies: Vec::new(),
            batches: BTreeMap::new(),
            rejected: BTreeMap::new(),
            inverted: 0,
            replaced: 0,
            late: 0,
            pending: BTreeMap::new(),
            backlogged: 0,
            shares: BTreeMap::new(),
            given: Vec::new(),
            first_at: None,
            last_come: 0,
            last_done: 0,
            width: 100_000,
            points: Vec::new(),
        }
    }

    fn point(&mut self, now: u64) -> &mut Point {
        let mut at = (now / self.width) as usize;
        while at >= MOST_POINTS {
            self.points = self
                .points
                .chunks(2)
                .map(|pair| Point {
                    came: pair.iter().map(|one| one.came).sum(),
                    done: pair.iter().map(|one| one.done).sum(),
                    rejected: pair.iter().map(|one| one.rejected).sum(),
                    pending: pair.iter().map(|one| one.pending).max().unwrap_or(0),
                })
                .collect();
            self.width *= 2;
            at = (now / self.width) as usize;
        }
        if self.points.len() <= at {
            self.points.resize(at + 1, Point::default());
        }
        &mut self.points[at]
    }

    pub(crate) fn came(&mut self, now: u64) {
        self.came += 1;
        self.first_at.get_or_insert(now);
        self.last_come = now;
        self.point(now).came += 1;
    }

    pub(crate) fn waits(&mut self, tenant: u32) {
        let count = self.pending.entry(tenant).or_default();
        *count += 1;
        self.backlogged += usize::from(*count == 1);
    }

    pub(crate) fn waits_no_longer(&mut self, tenant: u32) {
        if let Some(count) = self.pending.get_mut(&tenant) {
            *count -= 1;
            self.backlogged -= usize::from(*count == 0);
        }
    }

    pub(crate) fn sent(&mut self, now: u64, job: &Job) {
        self.waits.push(now - job.at);
        let cost = f64::from(job.input) + f64::from(job.output);
        self.given.push((job.tenant, cost));
    }

    /// A batch of those that were sent. It counts for fairness when all tenants wait even then: who
    /// is given all that it asks for has no share.
    pub(crate) fn batch(&mut self, size: usize) {
        for (tenant, cost) in std::mem::take(&mut self.given) {
            if self.backlogged == self.pending.len() {
                *self.shares.entry(tenant).or_default() += cost;
            }
        }
        *self.batches.entry(size).or_default() += 1;
    }

    pub(crate) fn first(&mut self, now: u64, job: &Job) {
        self.firsts.push(now - job.at);
    }

    pub(crate) fn done(&mut self, now: u64, job: &Job) {
        self.latencies.push(now - job.at);
        self.input += f64::from(job.input);
        self.output += f64::from(job.output);
        self.late += u64::from(job.deadline.is_some_and(|after| now - job.at > after));
        self.last_done = now;
        self.point(now).done += 1;
    }

    pub(crate) fn rejected(&mut self, now: u64, _job: &Job, reason: &'static str) {
        *self.rejected.entry(reason).or_default() += 1;
        self.point(now).rejected += 1;
    }

    pub(crate) fn pending(&mut self, now: u64, pending: usize) {
        let point = self.point(now);
        point.pending = point.pending.max(pending);
    }

    pub(crate) fn inverted(&mut self, count: usize) {
        self.inverted += count as u64;
    }

    pub(crate) fn replaced(&mut self, count: usize) {
        self.replaced += count as u64;
    }

    pub(crate) fn report(
        mut self,
        setup: &Setup,
        worked: Worked,
        steps: u64,
        refused: u64,
    ) -> Report {
        let began = self.first_at.unwrap_or(0);
        // Who refuses what comes last is not done sooner.
        let ended = self.last_done.max(self.last_come);
        let seconds = (ended.saturating_sub(began) as f64 / 1e6).max(1e-6);
        let coming = (self.last_come.saturating_sub(began) as f64 / 1e6).max(1e-6);
        let done = self.latencies.len() as u64;
        // What could be done at best is of such requests as were done: those that were turned away
        // may have been others.
        let mean = |sum: f64| sum / (done as f64).max(1.0);
        let (input, output) = (mean(self.input), mean(self.output));
        let sent: u64 = self.batches.values().sum();
        let members: u64 = self.batches.iter().map(|(size, n)| *size as u64 * n).sum();
        // A tenant that was given nothing while all waited counts as one that was given nothing.
        for tenant in self.pending.keys() {
            self.shares.entry(*tenant).or_default();
        }
        let width = self.width as f64 / 1e6;
        let timeline = self.points.iter().enumerate().map(|(at, point)| {
            [
                at as f64 * width,
                point.came as f64 / width,
                point.done as f64 / width,
                point.rejected as f64 / width,
                point.pending as f64,
            ]
        });
        Report {
            came: self.came,
            done,
            late: self.late,
            rejected: self
                .rejected
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect(),
            seconds,
            offered: self.came as f64 / coming,
            throughput: done as f64 / seconds,
            output_rate: self.output / seconds,
            ideal: f64::from(setup.workers) * setup.service.ideal(setup.max_batch, input, output),
            cached: worked.found / worked.asked.max(1.0),
            utilisation: worked.time / (worked.lanes.max(1.0) * seconds * 1e6),
            batches: self.batches.iter().map(|(size, n)| (*size, *n)).collect(),
            mean_batch: members as f64 / (sent as f64).max(1.0),
            fairness: jain(self.shares.values().copied()),
            inversions: self.inverted,
            replaced: self.replaced,
            steps,
            refused,
            timeline: timeline.collect(),
            wait: Spread::of(&mut self.waits),
            first: Spread::of(&mut self.firsts),
            latency: Spread::of(&mut self.latencies),
        }
    }
}

/// Jain's index: 1 when all have the same, 1/n when one has all (Jain, Chiu, Hawe, 1984).
fn jain(shares: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for share in shares {
        count += 1.0;
        sum += share;
        squares += share * share;
    }
    (count > 1.0 && squares > 0.0).then(|| sum * sum / (count * squares))
}

// === impl Spread ===

impl Spread {
    fn of(micros: &mut [u64]) -> Self {
        if micros.is_empty() {
            return Self::default();
        }
        micros.sort_unstable();
        let at = |part: f64| {
            // The least that is no less than so many of all.
            let rank = (part * micros.len() as f64).ceil() as usize;
            micros[rank.clamp(1, micros.len()) - 1] as f64 / 1e3
        };
        Self {
            mean: micros.iter().map(|it| *it as f64).sum::<f64>() / micros.len() as f64 / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            most: at(1.0),
        }
    }

    fn json(&self) -> Value {
        json!({
            "mean": round(self.mean), "p50": round(self.p50), "p90": round(self.p90),
            "p99": round(self.p99), "max": round(self.most),
        })
    }
}

// === impl Report ===

impl Report {
    /// Requests that were turned away.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.rejected.iter().map(|(_, count)| count).sum()
    }

    /// As JSON; times in milliseconds, rates in seconds.
    #[must_use]
    pub fn json(&self) -> Value {
        let rejected: serde_json::Map<String, Value> = self
            .rejected
            .iter()
            .map(|(reason, count)| (reason.clone(), json!(count)))
            .collect();
        let timeline: Vec<_> = self.timeline.iter().map(|it| it.map(round)).collect();
        json!({
            "came": self.came, "done": self.done, "late": self.late, "rejected": rejected,
            "seconds": round(self.seconds), "offered_rps": round(self.offered),
            "throughput_rps": round(self.throughput), "output_per_s": round(self.output_rate),
            "ideal_rps": round(self.ideal), "of_ideal": round(self.throughput / self.ideal),
            "cached": round(self.cached),
            "wait_ms": self.wait.json(), "first_ms": self.first.json(),
            "latency_ms": self.latency.json(), "utilisation": round(self.utilisation),
            "batches": self.batches, "mean_batch": round(self.mean_batch),
            "fairness": self.fairness.map(round), "inversions": self.inversions,
            "replaced": self.replaced, "steps": self.steps, "refused": self.refused,
            "timeline": timeline,
        })
    }
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jain_is_one_when_all_have_the_same() {
        assert_eq!(jain([3.0, 3.0, 3.0].into_iter()), Some(1.0));
        let one = jain([9.0, 0.0, 0.0].into_iter()).unwrap();
        assert!((one - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(jain([1.0].into_iter()), None);
    }

    #[test]
    fn what_was_not_done_is_not_in_the_figures() {
        let setup = Setup {
            workers: 1,
            models: 1,
            slots: 1,
            max_batch: 1,
            service: crate::Service::read("batch:fixed-us=0,each-us=0,unit-us=1000").unwrap(),
            proxies: 1,
            probe: 0,
            seed: 1,
            limits: tollgate_dispatch::Limits::default(),
        };
        let mut tally = Tally::new();
        let job = |at: u64, input: u32, output: u32| Job {
            at,
            input,
            output,
            ..Job::default()
        };
        for at in 0..10 {
            let (small, large) = (job(at, 10, 2), job(at, 1000, 200));
            tally.came(at);
            tally.came(at);
            tally.rejected(at, &large, "too late");
            tally.done(1_000_000, &small);
        }
        let report = tally.report(&setup, Worked::default(), 0, 0);
        // Ten in a second, of 10 ms each.
        assert!((report.ideal - 100.0).abs() < 1e-6, "{}", report.ideal);
        assert!(
            (report.output_rate - 20.0).abs() < 1e-6,
            "{}",
            report.output_rate
        );
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut micros: Vec<u64> = (1..=100).rev().map(|it| it * 1000).collect();
        let spread = Spread::of(&mut micros);
        let all = [spread.p50, spread.p90, spread.p99, spread.most, spread.mean];
        assert_eq!(all, [50.0, 90.0, 99.0, 100.0, 50.5]);
    }

    #[test]
    fn a_long_timeline_has_few_points_and_loses_nothing() {
        let mut tally = Tally::new();
        for second in 0..5000 {
            tally.came(second * 1_000_000);
        }
        assert!(tally.points.len() <= MOST_POINTS);
        assert_eq!(
            tally.points.iter().map(|point| point.came).sum::<u64>(),
            5000
        );
    }
}
