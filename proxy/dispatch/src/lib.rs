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

pub mod driver;
pub mod fallback;
pub mod policy;

pub use driver::{
    Arrival, Decision, Driver, Full, Gauges, Limits, LimitsError, Rejection, Trouble,
};
pub use fallback::Fallback;
pub use policy::{BatchId, Policy, PolicyGone, RequestId, WorkerId};
