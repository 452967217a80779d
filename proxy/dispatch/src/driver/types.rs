//! What goes into the driver and what comes out.

use std::sync::Arc;

use crate::policy::{Affinity, BatchId, PolicyGone, RequestId, WorkerId};
#[cfg(doc)]
use crate::{driver::Driver, policy::Request};

/// A request as it comes, before it has a number. See [`Request`] for the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Interned; [`NO_MODEL`](crate::policy::NO_MODEL): any worker.
    pub model: u32,
    /// Interned.
    pub tenant: u32,
    /// Interned; [`ALONE`](crate::policy::ALONE): never merged.
    pub batch_key: u32,
    /// Workers that may serve it; empty: every worker that has the model.
    pub eligible: Arc<[WorkerId]>,
    /// Higher goes first.
    pub priority: i32,
    /// A guess.
    pub input_cost: u32,
    /// A guess.
    pub output_cost: u32,
    /// In the driver's microseconds.
    pub deadline: Option<u64>,
    /// Where it belongs.
    pub affinity: Affinity,
    /// Memory that it holds while it waits.
    pub bytes: u64,
    /// Longest wait, in microseconds, if it is shorter than the driver's `queue_timeout`.
    pub queue_timeout: Option<u64>,
    /// Longest wait without a worker, if it is shorter than the driver's `workerless_timeout`.
    pub workerless_timeout: Option<u64>,
}

/// The queue has no room for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many wait.
    #[error("too many requests wait")]
    Requests,
    /// Those that wait hold too many bytes.
    #[error("the requests that wait hold too many bytes")]
    Bytes,
    /// Too many wait for one model.
    #[error("too many requests wait for this model")]
    ModelRequests,
    /// Those that wait for one model hold too many bytes.
    #[error("the requests that wait for this model hold too many bytes")]
    ModelBytes,
}

/// Why a waiting request was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The policy says that there is too much work.
    #[error("overloaded")]
    Overloaded,
    /// The policy says that the tenant has had its share.
    #[error("over the tenant's share")]
    OverShare,
    /// The deadline has passed, or the policy says that it will.
    #[error("too late for the deadline")]
    TooLate,
    /// It waited for longer than the queue allows.
    #[error("waited too long")]
    QueueTimeout,
    /// No worker that may serve it accepted for too long.
    #[error("no worker accepts")]
    NoWorker,
    /// The policy gave a reason of its own.
    #[error("turned away: {0}")]
    Other(String),
}

/// What the owner has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send these requests to the worker. The batch is in flight until
    /// [`Driver::batch_finished`].
    Dispatch {
        /// The batch.
        batch: BatchId,
        /// Where to.
        worker: WorkerId,
        /// The members, in order.
        requests: Vec<RequestId>,
    },
    /// Tell the client no.
    Reject {
        /// Which one.
        id: RequestId,
        /// Why.
        reason: Rejection,
    },
}

/// A policy was replaced by the fallback.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It failed in a step, or while it was restored.
    #[error(transparent)]
    PolicyGone(#[from] PolicyGone),
    /// It answered nothing but actions that do not fit.
    #[error("the scheduling policy answers nonsense: {0}")]
    Nonsense(&'static str),
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Requests that wait.
    pub pending: usize,
    /// Bytes that they hold.
    pub bytes: u64,
    /// Requests in batches that run.
    pub in_flight: usize,
    /// Batches that run.
    pub batches: usize,
    /// Workers.
    pub workers: usize,
    /// Actions refused, in total.
    pub refused: u64,
    /// Steps of policies, in total.
    pub steps: u64,
    /// The native fallback rules.
    pub fallback: bool,
}
