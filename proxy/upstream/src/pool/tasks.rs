//! What a pool has running beside its requests: dials, and the closing of idle connections.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{Member, Pool, Seat, Terms};
use crate::connect::ConnectError;

// === impl Reaper ===

/// The task that closes idle connections. When it ends, with its runtime too, another may start.
pub(super) struct Reaper<M: Member> {
    pub(super) pool: Weak<Pool<M>>,
    pub(super) done: bool,
}

impl<M: Member> Reaper<M> {
    pub(super) async fn run(mut self, timeout: Duration) {
        while let Some(next) = self.reap(timeout) {
            tokio::time::sleep_until(next).await;
        }
        self.done = true;
    }

    /// When to come again.
    fn reap(&self, timeout: Duration) -> Option<Instant> {
        let pool = self.pool.upgrade()?;
        let mut state = pool.state.lock();
        let now = Instant::now();
        state
            .entries
            .retain(|entry| !entry.idle() || entry.since + timeout > now);
        let idle = state.entries.iter().filter(|entry| entry.idle());
        let next = idle.map(|entry| entry.since).min();
        // In the same breath as the look, so that a connection idle from now on has its own.
        state.reaping = next.is_some();
        next.map(|since| since + timeout)
    }
}

impl<M: Member> Drop for Reaper<M> {
    fn drop(&mut self) {
        if !self.done
            && let Some(pool) = self.pool.upgrade()
        {
            pool.state.lock().reaping = false;
        }
    }
}

// === impl Attempt ===

/// A dial. However it ends, by a panic or with its runtime too, the pool hears of it.
pub(super) struct Attempt<M: Member> {
    pub(super) pool: Weak<Pool<M>>,
    pub(super) id: u64,
    pub(super) done: bool,
}

impl<M: Member> Attempt<M> {
    pub(super) async fn run(mut self, terms: Arc<Terms>) {
        let seat = Seat {
            pool: self.pool.clone(),
            id: self.id,
        };
        let outcome = M::open(&terms, seat).await;
        self.report(outcome);
    }

    fn report(&mut self, outcome: Result<M, ConnectError>) {
        self.done = true;
        if let Some(pool) = self.pool.upgrade() {
            pool.dialled(self.id, outcome);
        }
    }
}

impl<M: Member> Drop for Attempt<M> {
    fn drop(&mut self) {
        if !self.done {
            let gone = std::io::Error::other("the dial was dropped");
            self.report(Err(ConnectError::Io(gone)));
        }
    }
}
