//! Whether a worker is fit for work: a state machine, sans I/O, fed by probes and by what requests
//! meet. Times are microseconds of any monotonic clock.
//!
//! * **Probes** (active). A worker that is probed begins as *unknown*, and its first good probe
//!   makes it fit. From then on `healthy_after` good ones in a row make an unfit worker fit, and
//!   `unhealthy_after` bad ones in a row make a fit one unfit.
//! * **Requests** (passive). `eject_after` failures in a row eject it for `eject_base`; it then is on
//!   trial: the next failure ejects it again for twice as long, up to `eject_max`, and the next
//!   success ends the trial.
//!
//! It is *fit* when both say so.

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
    /// It could not be reached, broke off, or answered what no worker should.
    Failed,
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
    Closed { failures: u32 },
    Ejected { until: u64, time: u64 },
    Trial { time: u64 },
}

/// The state of one worker.
#[derive(Clone, Debug)]
pub struct Health {
    thresholds: Thresholds,
    probed: Probed,
    /// Probes in a row that speak against `probed`.
    against: u32,
    passive: Passive,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            probed: true,
            healthy_after: 1,
            unhealthy_after: 3,
            eject_after: 5,
            eject_base: 1_000_000,
            eject_max: 60_000_000,
        }
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
            eject_after,
            eject_base,
            eject_max,
            ..
        } = thresholds;
        if eject_after > 0 && (eject_base == 0 || eject_base > eject_max) {
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
            passive: Passive::Closed { failures: 0 },
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
        match self.passive {
            Passive::Ejected { until, .. } => Some(until),
            _ => None,
        }
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
        self.change(|health| {
            if let Passive::Ejected { until, time } = health.passive
                && until <= now
            {
                health.passive = Passive::Trial { time };
            }
        })
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
        self.passive = match (self.passive, outcome) {
            // Requests that were sent before the ejection say nothing about its end.
            (Passive::Ejected { .. }, _) => return,
            (_, Outcome::Answered) => Passive::Closed { failures: 0 },
            (_, Outcome::Failed) if !may_eject || self.thresholds.eject_after == 0 => return,
            (Passive::Trial { time }, Outcome::Failed) => {
                let time = time.saturating_mul(2).min(self.thresholds.eject_max);
                let until = now.saturating_add(time);
                Passive::Ejected { until, time }
            }
            (Passive::Closed { failures }, Outcome::Failed) => {
                let failures = failures + 1;
                if failures < self.thresholds.eject_after {
                    Passive::Closed { failures }
                } else {
                    let time = self.thresholds.eject_base;
                    let until = now.saturating_add(time);
                    Passive::Ejected { until, time }
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
    fn one_that_cannot_be_spared_stays() {
        let mut worker = health(|thresholds| thresholds.probed = false);
        for _ in 0..10 {
            assert!(!worker.request(0, Outcome::Failed, false));
        }
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
