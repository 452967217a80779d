//! A route's share of a pool's queue: its own bounds and timeouts, and those of each of its models.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::driver::Full;
use crate::intern::Key;

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
    /// Most requests that wait for one model; none: as many as wait in all.
    pub model_requests: Option<usize>,
    /// Most bytes that those of one model hold; none: as many as all may.
    pub model_bytes: Option<u64>,
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
    /// What waits, by model, where that is bounded: at most an entry a request, gone with the last.
    models: Mutex<HashMap<Key, Waiting>>,
}

/// What waits for one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Requests.
    pub requests: usize,
    /// Bytes that they hold.
    pub bytes: u64,
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
            ("requests of a model", spec.model_requests == Some(0)),
            ("bytes of a model", spec.model_bytes == Some(0)),
        ];
        match bounds.iter().find(|(_, zero)| *zero) {
            Some((name, _)) => Err(QueueError(name)),
            None => Ok(Self {
                spec,
                requests: AtomicUsize::new(0),
                bytes: AtomicU64::new(0),
                models: Mutex::default(),
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

    /// What waits for each model, by its name; nothing where that is not bounded.
    #[must_use]
    pub fn models(&self) -> Vec<(Key, Waiting)> {
        let models = self.models.lock();
        let mut models: Vec<_> = models
            .iter()
            .map(|(key, held)| (key.clone(), *held))
            .collect();
        models.sort_by(|a, b| a.0.name().cmp(b.0.name()));
        models
    }

    /// As [`Queue::room_for`], for a request of this model too.
    pub(super) fn room_for_model(&self, bytes: u64, model: Option<&Key>) -> Result<(), Full> {
        self.room_for(bytes)?;
        let Some(model) = model.filter(|_| self.by_model()) else {
            return Ok(());
        };
        let held = self.models.lock().get(model).copied().unwrap_or_default();
        if self
            .spec
            .model_requests
            .is_some_and(|most| held.requests >= most)
        {
            return Err(Full::ModelRequests);
        }
        let bytes = held.bytes.saturating_add(bytes);
        match self.spec.model_bytes {
            Some(most) if bytes > most => Err(Full::ModelBytes),
            _ => Ok(()),
        }
    }

    fn by_model(&self) -> bool {
        self.spec.model_requests.is_some() || self.spec.model_bytes.is_some()
    }

    pub(super) fn enter(&self, bytes: u64, model: Option<&Key>) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(model) = model {
            model.waits();
        }
        if let Some(model) = model.filter(|_| self.by_model()) {
            let mut models = self.models.lock();
            let held = models.entry(model.clone()).or_default();
            held.requests += 1;
            held.bytes = held.bytes.saturating_add(bytes);
        }
    }

    pub(super) fn leave(&self, bytes: u64, model: Option<&Key>) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(model) = model {
            model.waits_no_more();
        }
        if let Some(model) = model.filter(|_| self.by_model()) {
            let mut models = self.models.lock();
            if let Some(held) = models.get_mut(model) {
                held.requests = held.requests.saturating_sub(1);
                held.bytes = held.bytes.saturating_sub(bytes);
                if held.requests == 0 {
                    models.remove(model);
                }
            }
        }
    }
}
