//! Schedulers on virtual time: the very driver of the live proxy (`tollgate_dispatch::Driver`) over
//! modelled workers, with requests from a trace, a generator, or a recording.
//!
//! ```text
//! load       what is asked, and when         (generators and CSV traces)
//! worker     how long it takes               (one-shot batches, continuous batching)
//! run        the event loop                  (a heap of instants; several proxies share workers)
//! suite      what schedulers promise, and whether they keep it
//! report     what came of it                 (figures; table, JSON, HTML page)
//! recording  what a live driver was told and decided, to be played again
//! ```
//!
//! A run is a function of its setup, its load and its seed: nothing here looks at a clock, and no
//! result hangs on the order of a hash table.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod load;
pub mod page;
pub mod random;
pub mod recording;
pub mod report;
pub mod run;
pub mod spec;
pub mod suite;
pub mod table;
pub mod trace;
pub mod worker;

pub use load::{Generator, Job};
pub use report::Report;
pub use run::{Setup, run};
pub use worker::Service;

/// What cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A description that cannot be read.
    #[error(transparent)]
    Spec(#[from] spec::SpecError),
    /// A trace that cannot be read.
    #[error(transparent)]
    Trace(#[from] trace::TraceError),
    /// The driver's bounds cannot work.
    #[error(transparent)]
    Limits(#[from] tollgate_dispatch::LimitsError),
    /// A setup that cannot work.
    #[error("{0}")]
    Setup(&'static str),
}
