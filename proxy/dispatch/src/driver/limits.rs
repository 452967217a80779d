//! The driver's bounds, checked once.

/// Bounds of a [`Driver`](super::Driver). Times are microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most requests that wait when a new one is admitted. Requests that come back after a failed
    /// attempt were admitted before and are taken in any case, so that the queue can hold as many
    /// more as were in flight.
    pub max_pending: usize,
    /// Most bytes that waiting requests hold, in the same sense.
    pub max_bytes: u64,
    /// Most workers.
    pub max_workers: usize,
    /// Longest wait in the queue, counted anew after a failed attempt.
    pub queue_timeout: u64,
    /// Longest wait while no worker that may serve the request accepts.
    pub workerless_timeout: u64,
    /// A policy's timer is at least this far away: it cannot make the host spin.
    pub min_wake: u64,
    /// A policy's timer is at most this far away.
    pub max_wake: u64,
    /// Actions of one step that are carried out at once; the rest follows so many at a time, with
    /// each call. An answer that has so many more than there are requests is nonsense.
    pub max_actions: usize,
    /// Events kept for a policy that is being restored; when there are more, the rest of its pages
    /// is handed over at once.
    pub max_kept_events: usize,
    /// So many refused actions without one that fits, and the policy is replaced.
    pub max_refused_in_a_row: u32,
}

/// A bound that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// A bound is zero, and nothing could ever pass.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    /// The timer's range is empty.
    #[error("min_wake must not be greater than max_wake")]
    WakeRange,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pending: 1024,
            max_bytes: 256 << 20,
            max_workers: 1024,
            queue_timeout: 30_000_000,
            workerless_timeout: 5_000_000,
            min_wake: 50,
            max_wake: 60_000_000,
            max_actions: 4096,
            max_kept_events: 4096,
            max_refused_in_a_row: 1024,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), LimitsError> {
        let bounds = [
            ("max_pending", self.max_pending as u64),
            ("max_bytes", self.max_bytes),
            ("max_workers", self.max_workers as u64),
            ("queue_timeout", self.queue_timeout),
            ("workerless_timeout", self.workerless_timeout),
            ("min_wake", self.min_wake),
            ("max_actions", self.max_actions as u64),
            ("max_kept_events", self.max_kept_events as u64),
            ("max_refused_in_a_row", u64::from(self.max_refused_in_a_row)),
        ];
        if let Some((name, _)) = bounds.iter().find(|(_, bound)| *bound == 0) {
            return Err(LimitsError::Zero(name));
        }
        if self.min_wake > self.max_wake {
            return Err(LimitsError::WakeRange);
        }
        Ok(())
    }
}
