//! Where policies come from, how often a failed one is tried again, and who watches.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::pace::Pace;
use crate::driver::Trouble;
use crate::policy::{Action, Event, Page, Policy, PolicyGone};

/// Makes policies of one generation of a scheduler: at first, and after each that failed.
pub trait PolicySource: Send + Sync {
    /// A fresh policy that knows of nothing.
    ///
    /// # Errors
    /// It could not be made; it will be asked for again after a while.
    fn policy(&self) -> Result<Box<dyn Policy>, PolicyGone>;
}

impl<F> PolicySource for F
where
    F: Fn() -> Result<Box<dyn Policy>, PolicyGone> + Send + Sync,
{
    fn policy(&self) -> Result<Box<dyn Policy>, PolicyGone> {
        self()
    }
}

/// Told what a pool does, for metrics and the log. Called under the pool's lock: it must be quick
/// and must not call the pool.
pub trait Observer: Send + Sync {
    /// What steps are measured by: a clock that starts anywhere. The wall's, unless it is given
    /// another; the processor's time of this thread says more where threads wait for processors.
    fn time(&self) -> Duration {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        ORIGIN.elapsed()
    }

    /// A policy other than the fallback was stepped.
    fn stepped(&self, took: Duration, events: usize, actions: usize) {
        let _ = (took, events, actions);
    }

    /// A request was given a worker after it waited, in a batch of `size`.
    fn placed(&self, waited: Duration, size: usize) {
        let _ = (waited, size);
    }

    /// A policy was replaced by the fallback, or could not be made.
    fn trouble(&self, trouble: &Trouble) {
        let _ = trouble;
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// How long to wait before a policy that failed is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure, in microseconds; doubled after each further one.
    pub first: u64,
    /// At most, in microseconds. A policy that ruled for this long without trouble starts anew.
    pub longest: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: 100_000,
            longest: 60_000_000,
        }
    }
}

/// The state of the attempts at keeping one source's policy in rule.
#[derive(Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
    delay: u64,
    began: u64,
    retry_at: Option<u64>,
}

// === impl Attempts ===

impl Attempts {
    pub(super) fn new(backoff: Backoff, now: u64) -> Self {
        Self {
            backoff,
            delay: backoff.first,
            began: now,
            retry_at: None,
        }
    }

    pub(super) fn retry_at(&self) -> Option<u64> {
        self.retry_at
    }

    /// Another source, of which no failure is known.
    pub(super) fn forget(&mut self, now: u64) {
        *self = Self::new(self.backoff, now);
    }

    pub(super) fn begin(&mut self, now: u64) {
        self.began = now;
        self.retry_at = None;
    }

    pub(super) fn failed(&mut self, now: u64) {
        if now.saturating_sub(self.began) >= self.backoff.longest {
            self.delay = self.backoff.first;
        }
        // Two pieces of one trouble are one failure.
        if self.retry_at.is_none() {
            self.retry_at = Some(now.saturating_add(self.delay));
            self.delay = self.delay.saturating_mul(2).min(self.backoff.longest);
        }
    }
}

/// A policy whose steps are measured, and that is given up when it is too slow too often.
pub(super) struct Measured {
    pub(super) policy: Box<dyn Policy>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) pace: Pace,
}

impl Policy for Measured {
    fn restore(&mut self, now: u64, page: Page) -> Result<(), PolicyGone> {
        self.policy.restore(now, page)
    }

    fn step(&mut self, now: u64, events: Vec<Event>) -> Result<Vec<Action>, PolicyGone> {
        let count = events.len();
        let started = self.observer.time();
        let answer = self.policy.step(now, events);
        let took = self.observer.time().saturating_sub(started);
        let actions = answer.as_ref().map_or(0, Vec::len);
        self.observer.stepped(took, count, actions);
        // What it has decided is let go: whoever follows decides anew, from the truth.
        match self.pace.step(took) {
            Some(budget) => Err(PolicyGone {
                reason: format!("more than one decision in a hundred took longer than {budget:?}"),
            }),
            None => answer,
        }
    }
}
