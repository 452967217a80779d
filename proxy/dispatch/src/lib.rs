//! Who goes where, and when: models, queues, the scheduler's driver, workers and their health.
//!
//! ```text
//! catalogue   which workers may serve a model           (snapshot, read on every request)
//! pool        async shell: submit, wait, be assigned    (one mutex, one timer task)
//! driver      the truth, sans I/O, injected clock       (a simulator owns the same type)
//! policy      what a scheduler is asked and answers     (a sandboxed guest, or `fallback`)
//! ```
//!
//! *Architecture invariant:* nothing here knows a serving protocol, touches a socket, or knows how a
//! policy is sandboxed. *Architecture invariant:* the driver trusts no policy; each action is
//! checked against the truth before it is carried out.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod catalogue;
pub mod clock;
pub mod driver;
pub mod fallback;
pub mod health;
pub mod intern;
pub mod policy;
pub mod pool;
mod ramp;
pub mod rendezvous;
pub mod worker;

pub use catalogue::{Catalogue, ModelFacts, NotFound, Resolved, Shown, View, Visible};
pub use clock::Clock;
pub use driver::{
    Arrival, Decision, Driver, Full, Gauges, Journal, Limits, LimitsError, Note, Rejection, Trouble,
};
pub use fallback::Fallback;
pub use health::{Outcome, Thresholds};
pub use intern::{Interner, Key};
pub use policy::{BatchId, Policy, PolicyGone, RequestId, WorkerId};
pub use pool::{Assignment, BatchHandle, Place, Pool, PoolSpec, Queue, QueueSpec, Submission};
pub use rendezvous::{Meeting, Seat};
pub use worker::{Report, WorkerHandle, WorkerSpec, Workers};
