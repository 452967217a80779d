//! What a driver is told and decides, for whoever writes it down.
//!
//! A driver is a function of what it is told: the same notes, given to another driver with the same
//! policy, give the same decisions. The one thing that comes from elsewhere is a policy that is
//! gone (its time has passed a limit, say), and so that is a note too.

use super::{Arrival, Decision, Limits};
use crate::policy::{BatchId, RequestId, Settled, Worker, WorkerId};

/// One thing that a driver was told, or that followed from it. Instants are microseconds.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// The journal begins, with a driver that knows of no request and no worker; `given`: a policy
    /// rules, and not the fallback.
    Begun(&'a Limits, bool),
    /// See [`Driver::arrive`](super::Driver::arrive).
    Arrive(u64, &'a Arrival),
    /// See [`Driver::cancel`](super::Driver::cancel).
    Cancel(u64, RequestId),
    /// See [`Driver::entitle`](super::Driver::entitle).
    Entitled(u64, RequestId, &'a [WorkerId]),
    /// See [`Driver::batch_finished`](super::Driver::batch_finished).
    Finished(u64, BatchId, Option<u64>),
    /// See [`Driver::attempt_failed`](super::Driver::attempt_failed).
    Failed(u64, BatchId, &'a [RequestId]),
    /// See [`Driver::settled`](super::Driver::settled).
    Settled(u64, &'a Settled),
    /// See [`Driver::worker_changed`](super::Driver::worker_changed).
    Worker(u64, &'a Worker),
    /// See [`Driver::worker_gone`](super::Driver::worker_gone).
    Gone(u64, WorkerId),
    /// See [`Driver::tick`](super::Driver::tick).
    Tick(u64),
    /// Another policy is to rule: see [`Driver::swap`](super::Driver::swap).
    Swap(u64),
    /// See [`Driver::fall_back`](super::Driver::fall_back).
    FallBack(u64),
    /// A policy was gone at its n-th call, from 1, since what was told last.
    Lost(u32),
    /// What was decided.
    Decided(&'a Decision),
}

/// Takes notes. Called where the driver is called: it must be quick.
pub trait Journal: Send {
    /// Takes one, in order.
    fn note(&mut self, note: Note<'_>);
}
