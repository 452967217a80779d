//! Workers that are none: scripted, so that they break at the wanted place, and recording in which
//! order things happened to them.
//!
//! What the tests claim of real model servers is tested with real ones elsewhere (conformance);
//! these are for faults that a real server cannot be made to show on command, and for looking at
//! what exactly reaches a worker.

pub mod dns;
pub mod grpc;
pub mod http1;
mod journal;

pub use journal::{Entry, Journal, Seen};

/// Lets acts that hold go on, one by one.
pub(crate) type Gate = std::sync::Arc<tokio::sync::Semaphore>;
