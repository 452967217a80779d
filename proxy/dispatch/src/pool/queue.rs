//! A route's share of a pool's queue: its own bounds and timeouts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::driver::Full;

/// Bounds of a [`Queue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Most requests that wait when a new one is admitted.
    pub requests: usize,
    /// Most bytes that they hold.
    pub bytes: u64,
    /// Longest wait.
    pub timeout: Duration,
    /// Longest wait while no worker accepts.
    pub workerless_timeout: Duration,
}

/// A queue that nothing could ever pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a queue's {0} must be greater than zero")]
pub struct QueueError(&'static str);

/// Counts what waits on behalf of one route. Routes that share workers share a pool, and each keeps
/// its own bounds. The counts change under the pool's lock; anyone may read them.
#[derive(Debug)]
pub struct Queue {
    spec: QueueSpec,
    requests: AtomicUsize,
    bytes: AtomicU64,
}

impl Queue {
    /// An empty queue.
    ///
    /// # Errors
    /// A bound is zero.
    pub fn new(spec: QueueSpec) -> Result<Self, QueueError> {
        let bounds = [
            ("requests", spec.requests == 0),
            ("bytes", spec.bytes == 0),
            ("timeout", spec.timeout.is_zero()),
            ("workerless timeout", spec.workerless_timeout.is_zero()),
        ];
        match bounds.iter().find(|(_, zero)| *zero) {
            Some((name, _)) => Err(QueueError(name)),
            None => Ok(Self {
                spec,
                requests: AtomicUsize::new(0),
                bytes: AtomicU64::new(0),
            }),
        }
    }

    /// Its bounds.
    #[must_use]
    pub fn spec(&self) -> &QueueSpec {
        &self.spec
    }

    /// Requests that wait.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes that they hold.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a request that holds so many bytes would be taken now.
    ///
    /// # Errors
    /// There is no room.
    pub fn room_for(&self, bytes: u64) -> Result<(), Full> {
        if self.requests() >= self.spec.requests {
            return Err(Full::Requests);
        }
        match self.bytes().checked_add(bytes) {
            Some(sum) if sum <= self.spec.bytes => Ok(()),
            _ => Err(Full::Bytes),
        }
    }

    pub(super) fn enter(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn leave(&self, bytes: u64) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
