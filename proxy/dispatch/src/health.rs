//! Whether a worker is fit for work: a state machine, sans I/O, fed by probes and by what requests
//! meet. Times are microseconds of any monotonic clock.
//!
//! * **Probes** (active). A worker that is probed begins as *unknown*, and its first good probe
//!   makes it fit. From then on `healthy_after` good ones in a row make an unfit worker fit, and
//!   `unhealthy_after` bad ones in a row make a fit one unfit.
//! * **Requests** (passive). `eject_after` failures in a row, or `eject_percent` failures among the
//!   last [`RECENT`] requests, eject it for `eject_base`; it then is on trial: the next failure
//!   ejects it again for twice as long, up to `eject_max`, and the next success ends the trial.
//!
//! It is *fit* when both say so.
//!
//! **Models.** A worker that serves several may be unable to serve one of them and well with the
//! others. What shows that ([`Outcome::Garbled`]) is counted for that model alone, by the same
//! rule; a model that is ejected is not asked of this worker, and the worker stays.

use std::collections::BTreeMap;

use crate::worker::MAX_MODELS;

/// Requests of which the share of failures is taken. One that has met fewer counts the rest as
/// answered, so that a few failures of a worker that is seldom asked are no share.
pub const RECENT: u32 = u64::BITS;

/// When a worker's state changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Whether there are probes. Without, the worker is fit from the start.
    pub probed: bool,
    /// Good probes in a row that make it fit.
    pub healthy_after: u32,
    /// Bad probes in a row that make it unfit.
    pub unhealthy_after: u32,
    /// Failed requests in a row that eject it; 0: never.
    pub eject_after: u32,
    /// Failed requests in hundredths of the last [`RECENT`] that eject it; 0: never.
    pub eject_percent: u32,
    /// First time of ejection, in microseconds.
    pub eject_base: u64,
    /// Longest time of ejection, in microseconds.
    pub eject_max: u64,
}

/// Thresholds that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdsError {
    /// A count of probes is zero.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    /// The time of ejection is zero, or its range is empty.
    #[error("eject_base must be greater than zero and not greater than eject_max")]
    Ejection,
}

/// What requests meet at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, be it with an error of the request's own.
    Answered,
    /// It could not be reached, or broke off.
    Failed,
    /// It answered what no worker should, or that it cannot serve this model now: nothing is wrong
    /// with the connection, and other models may be well.
    Garbled,
}

/// What a worker is fit for, as probes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Not probed yet.
    Unknown,
    /// Probes succeed.
    Healthy,
    /// Probes fail.
    Unhealthy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passive {
    Closed {
        /// Failures in a row.
        failures: u32,
        /// The last requests, a bit each, the latest lowest; 1: it failed.
        recent: u64,
    },
    Ejected {
        until: u64,
        time: u64,
    },
    Trial {
        time: u64,
    },
}

impl Default for Passive {
    fn default() -> Self {
        Self::Closed {
            failures: 0,
            recent: 0,
        }
    }
}

/// The state of one worker.
#[derive(Clone, Debug)]
pub struct Health {
    thresholds: Thresholds,
    probed: Probed,
    /// Probes in a row that speak against `probed`.
    against: u32,
    passive: Passive,
    /// Models that have failed of late, by number: at most as many as a worker may have.
    models: BTreeMap<u32, Passive>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            probed: true,
            healthy_after: 1,
            unhealthy_after: 3,
            eject_after: 5,
            eject_percent: 50,
            eject_base: 1_000_000,
            eject_max: 60_000_000,
        }
    }
}

// === impl Thresholds ===

impl Thresholds {
    fn ejects(&self) -> bool {
        self.eject_after > 0 || self.eject_percent > 0
    }

    /// Whether so many failures in a row, and these among the last requests, are too many.
    fn passed(&self, failures: u32, recent: u64) -> bool {
        let row = self.eject_after > 0 && failures >= self.eject_after;
        let percent = recent.count_ones() * 100 / RECENT;
        row || (self.eject_percent > 0 && percent >= self.eject_percent)
    }
}

// === impl Health ===

impl Health {
    /// The state of a worker of which nothing is known.
    ///
    /// # Errors
    /// Thresholds that cannot work.
    pub fn new(thresholds: Thresholds) -> Result<Self, ThresholdsError> {
        if thresholds.healthy_after == 0 {
            return Err(ThresholdsError::Zero("healthy_after"));
        }
        if thresholds.unhealthy_after == 0 {
            return Err(ThresholdsError::Zero("unhealthy_after"));
        }
        let Thresholds {
            eject_base,
            eject_max,
            ..
        } = thresholds;
        if thresholds.ejects() && (eject_base == 0 || eject_base > eject_max) {
            return Err(ThresholdsError::Ejection);
        }
        let probed = if thresholds.probed {
            Probed::Unknown
        } else {
            Probed::Healthy
        };
        Ok(Self {
            thresholds,
            probed,
            against: 0,
            passive: Passive::default(),
            models: BTreeMap::new(),
        })
    }

    /// Whether it may be given work.
    #[must_use]
    pub fn fit(&self) -> bool {
        self.probed == Probed::Healthy && !self.ejected()
    }

    /// As probes see it.
    #[must_use]
    pub fn probed(&self) -> Probed {
        self.probed
    }

    /// Whether failed requests keep it out at present.
    #[must_use]
    pub fn ejected(&self) -> bool {
        matches!(self.passive, Passive::Ejected { .. })
    }

    /// When to call [`Health::tick`].
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        let models = self.models.values();
        let all = models.chain(std::iter::once(&self.passive));
        all.filter_map(|passive| match passive {
            Passive::Ejected { until, .. } => Some(*until),
            _ => None,
        })
        .min()
    }

    /// Whether it may be asked for a model, as far as that model's failures go.
    #[must_use]
    pub fn may_serve(&self, model: u32) -> bool {
        !matches!(self.models.get(&model), Some(Passive::Ejected { .. }))
    }

    /// Models that it is not asked for at present.
    #[must_use]
    pub fn ejected_models(&self) -> usize {
        let ejected = |passive: &&Passive| matches!(passive, Passive::Ejected { .. });
        self.models.values().filter(ejected).count()
    }

    /// A request of one model has met an outcome that says something of this model. `may_eject` is
    /// false when nobody else serves it. Tells whether it may be asked for it has changed.
    pub fn of_model(&mut self, now: u64, model: u32, good: bool, may_eject: bool) -> bool {
        if good && !self.models.contains_key(&model) {
            return false;
        }
        let full = self.models.len() >= MAX_MODELS && !self.models.contains_key(&model);
        if full {
            return false;
        }
        let before = self.may_serve(model);
        let outcome = if good {
            Outcome::Answered
        } else {
            Outcome::Failed
        };
        let passive = self.models.entry(model).or_default();
        passive.on_request(&self.thresholds, now, outcome, may_eject);
        if *passive == Passive::default() {
            self.models.remove(&model);
        }
        self.may_serve(model) != before
    }

    /// A probe has ended. Tells whether fitness changed, as the others do.
    pub fn probe(&mut self, good: bool) -> bool {
        self.change(|health| health.on_probe(good))
    }

    /// A request has met an outcome. `may_eject` is false when the pool could not do without this
    /// worker: failures then are not counted.
    pub fn request(&mut self, now: u64, outcome: Outcome, may_eject: bool) -> bool {
        self.change(|health| health.on_request(now, outcome, may_eject))
    }

    /// Time has passed.
    pub fn tick(&mut self, now: u64) -> bool {
        let mut models = false;
        for passive in self.models.values_mut() {
            models |= passive.tick(now);
        }
        self.change(|health| {
            health.passive.tick(now);
        }) || models
    }

    fn change(&mut self, act: impl FnOnce(&mut Self)) -> bool {
        let before = self.fit();
        act(self);
        self.fit() != before
    }

    fn on_probe(&mut self, good: bool) {
        let (goal, needed) = match (self.probed, good) {
            (Probed::Healthy, true) | (Probed::Unhealthy, false) => {
                self.against = 0;
                return;
            }
            (Probed::Unknown, true) => (Probed::Healthy, 1),
            (Probed::Unhealthy, true) => (Probed::Healthy, self.thresholds.healthy_after),
            (_, false) => (Probed::Unhealthy, self.thresholds.unhealthy_after),
        };
        self.against += 1;
        if self.against >= needed {
            self.probed = goal;
            self.against = 0;
        }
    }

    fn on_request(&mut self, now: u64, outcome: Outcome, may_eject: bool) {
        self.passive
            .on_request(&self.thresholds, now, outcome, may_eject);
    }
}

impl Passive {
    /// Whether it is no longer ejected.
    fn tick(&mut self, now: u64) -> bool {
        match *self {
            Self::Ejected { until, time } if until <= now => {
                *self = Self::Trial { time };
                true
            }
            _ => false,
        }
    }

    fn on_request(&mut self, thresholds: &Thresholds, now: u64, outcome: Outcome, may_eject: bool) {
        *self = match (*self, outcome) {
            // Requests that were sent before the ejection say nothing about its end.
            (Passive::Ejected { .. }, _) | (_, Outcome::Garbled) => return,
            (Passive::Trial { .. }, Outcome::Answered) => Passive::default(),
            (Passive::Closed { recent, .. }, Outcome::Answered) => Passive::Closed {
                failures: 0,
                recent: recent << 1,
            },
            (_, Outcome::Failed) if !may_eject || !thresholds.ejects() => return,
            (Passive::Trial { time }, Outcome::Failed) => {
                let time = time.saturating_mul(2).min(thresholds.eject_max);
                let until = now.saturating_add(time);
                Passive::Ejected { until, time }
            }
            (Passive::Closed { failures, recent }, Outcome::Failed) => {
                let failures = failures.saturating_add(1);
                let recent = recent << 1 | 1;
                if thresholds.passed(failures, recent) {
                    let time = thresholds.eject_base;
                    let until = now.saturating_add(time);
                    Passive::Ejected { until, time }
                } else {
                    Passive::Closed { failures, recent }
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(change: impl FnOnce(&mut Thresholds)) -> Health {
        let mut thresholds = Thresholds {
            healthy_after: 2,
            unhealthy_after: 3,
            eject_after: 2,
            eject_percent: 0,
            eject_base: 10,
            eject_max: 25,
            probed: true,
        };
        change(&mut thresholds);
        Health::new(thresholds).unwrap()
    }

    #[test]
    fn the_first_good_probe_counts_at_once_and_later_ones_in_a_row() {
        let mut worker = health(|_| ());
        assert!(!worker.fit());
        assert!(worker.probe(true));
        for probe in [false, false, true, false, false] {
            assert!(!worker.probe(probe));
        }
        assert!(worker.fit());
        assert!(worker.probe(false));
        assert!(!worker.probe(true));
        assert!(!worker.probe(false));
        assert!(!worker.probe(true));
        assert!(worker.probe(true));
    }

    #[test]
    fn a_worker_that_was_never_well_becomes_unhealthy() {
        let mut worker = health(|_| ());
        for _ in 0..3 {
            assert!(!worker.probe(false));
        }
        assert_eq!(worker.probed(), Probed::Unhealthy);
    }

    #[test]
    fn ejections_double_up_to_the_longest_and_a_success_ends_them() {
        let mut worker = health(|thresholds| thresholds.probed = false);
        assert!(worker.fit());
        assert!(!worker.request(0, Outcome::Failed, true));
        assert!(worker.request(0, Outcome::Failed, true));
        let mut now = 0;
        for time in [10, 20, 25, 25] {
            assert_eq!(worker.wake_at(), Some(now + time));
            assert!(!worker.tick(now + time - 1));
            now += time;
            assert!(worker.tick(now));
            assert!(worker.request(now, Outcome::Failed, true));
        }
        assert!(worker.tick(now + 25));
        assert!(!worker.request(now, Outcome::Answered, true));
        assert!(!worker.request(now, Outcome::Failed, true));
        assert!(worker.fit());
    }

    #[test]
    fn successes_between_failures_keep_it() {
        let mut worker = health(|thresholds| thresholds.probed = false);
        for _ in 0..10 {
            assert!(!worker.request(0, Outcome::Failed, true));
            assert!(!worker.request(0, Outcome::Answered, true));
        }
    }

    #[test]
    fn one_that_fails_half_of_its_requests_is_ejected_by_their_share() {
        let mut worker = health(|thresholds| {
            thresholds.probed = false;
            thresholds.eject_percent = 50;
        });
        let mut failed = 0;
        while worker.fit() {
            assert!(failed < RECENT / 2, "half of the last requests failed");
            worker.request(0, Outcome::Answered, true);
            worker.request(0, Outcome::Failed, true);
            failed += 1;
        }
        assert_eq!(failed, RECENT / 2);
        assert!(worker.tick(10));
        // The trial is passed, and what was before it is forgotten.
        worker.request(10, Outcome::Answered, true);
        for _ in 0..RECENT {
            worker.request(10, Outcome::Failed, true);
            for _ in 0..2 {
                worker.request(10, Outcome::Answered, true);
            }
        }
        assert!(worker.fit(), "a third is not half");
    }

    #[test]
    fn one_that_cannot_be_spared_stays() {
        let mut worker = health(|thresholds| thresholds.probed = false);
        for _ in 0..10 {
            assert!(!worker.request(0, Outcome::Failed, false));
        }
    }

    #[test]
    fn a_model_is_ejected_alone_and_comes_back() {
        let mut worker = health(|thresholds| thresholds.probed = false);
        assert!(!worker.of_model(0, 7, false, true));
        assert!(worker.of_model(0, 7, false, true));
        assert!(worker.fit() && !worker.may_serve(7) && worker.may_serve(8));
        assert_eq!((worker.ejected_models(), worker.wake_at()), (1, Some(10)));
        assert!(worker.tick(10));
        assert!(worker.may_serve(7));
        assert!(worker.of_model(10, 7, false, true), "it is on trial");
        assert_eq!(worker.wake_at(), Some(30));
        assert!(worker.tick(30));
        assert!(!worker.of_model(30, 7, true, true));
        assert!(!worker.of_model(30, 7, false, true), "it is counted anew");
        assert_eq!(worker.ejected_models(), 0);
    }

    #[test]
    fn a_model_that_nobody_else_serves_stays_and_what_is_kept_is_bounded() {
        let mut worker = health(|thresholds| thresholds.probed = false);
        for _ in 0..5 {
            assert!(!worker.of_model(0, 7, false, false));
        }
        for model in 0..2 * MAX_MODELS as u32 {
            worker.of_model(0, model, false, true);
        }
        assert_eq!(worker.models.len(), MAX_MODELS);
    }

    #[test]
    fn thresholds_that_cannot_work_are_refused() {
        let zero = Thresholds {
            unhealthy_after: 0,
            ..Thresholds::default()
        };
        assert_eq!(
            Health::new(zero).unwrap_err(),
            ThresholdsError::Zero("unhealthy_after")
        );
        let empty = Thresholds {
            eject_base: 2,
            eject_max: 1,
            ..Thresholds::default()
        };
        assert_eq!(Health::new(empty).unwrap_err(), ThresholdsError::Ejection);
    }
}
