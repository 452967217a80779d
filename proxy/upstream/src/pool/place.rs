//! The two ends of a place in a pool: the request's, and the connection's own.

use std::sync::{Arc, Weak, atomic::Ordering};

use super::{Member, Pool};

// === impl Seat ===

/// A connection's own way to its place in the pool.
pub(crate) struct Seat<M: Member> {
    pub(super) pool: Weak<Pool<M>>,
    pub(super) id: u64,
}

impl<M: Member> Seat<M> {
    /// The connection may have more room, or none any more: who waits is told.
    pub(crate) fn changed(&self) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        if !pool.queued.load(Ordering::Relaxed) {
            return;
        }
        let mut state = pool.state.lock();
        for entry in &mut state.entries {
            if !entry.member.as_mut().is_some_and(M::usable) {
                entry.member = None;
            }
        }
        state
            .entries
            .retain(|entry| entry.streams > 0 || entry.member.is_some());
        pool.serve(&mut state);
        pool.settle(state);
    }

    /// The connection has ended.
    pub(crate) fn ended(&self) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let mut state = pool.state.lock();
        if let Some(at) = state.entries.iter().position(|entry| entry.id == self.id) {
            state.entries[at].member = None;
            if state.entries[at].streams == 0 {
                state.entries.swap_remove(at);
            }
        }
        pool.serve(&mut state);
        pool.settle(state);
    }
}

// === impl Lease ===

/// A request's place. Dropped, it goes to the next one, with the member that is in it: a
/// connection lent whole is gone for good unless it is put back here.
pub(crate) struct Lease<M: Member> {
    pub(super) pool: Arc<Pool<M>>,
    /// `u64::MAX`: nobody's.
    pub(super) id: u64,
    pub(crate) member: Option<M>,
    /// The connection has carried a request before.
    pub(crate) reused: bool,
}

impl<M: Member> Lease<M> {
    /// The connection takes no more requests.
    pub(crate) fn condemn(self) {
        let mut state = self.pool.state.lock();
        if let Some(entry) = state.entries.iter_mut().find(|entry| entry.id == self.id) {
            entry.member = None;
        }
    }
}

impl<M: Member> Drop for Lease<M> {
    fn drop(&mut self) {
        if self.id != u64::MAX {
            self.pool.release(self.id, self.member.take());
        }
    }
}
