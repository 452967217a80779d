//! Bodies of requests and answers, told to a sink as CloudEvents, for audits, drift detection and
//! the like. No request ever waits for it.
//!
//! 1. [`PayloadLog::begin`] draws whether a request is told of. If so, a [`Tap`] takes copies of the
//!    bodies as they pass, each up to a bound, and all of them within one budget of bytes.
//! 2. When the last clone of the tap is dropped the exchange is over, however it ended: its events go
//!    into a queue that is bounded in events. What finds no room, in bytes or in the queue, is
//!    dropped and counted.
//! 3. The [`Courier`], one task, posts them, so many at once, each with a time-out. While the sink
//!    fails it pauses, longer each time.
//!
//! Events have the types and extension attributes that the logger of the model servers' operator has
//! (`org.kubeflow.serving.inference.request` and `.response`; `inferenceservicename`, `namespace`,
//! `component`, `endpoint`, `metadata`, `recordedtime`: its `pkg/logger/worker.go`), so that what
//! reads those reads these. Ours besides: `truncated` with `datasize` where a body was longer than is
//! told, `responsestatus`, `contentencoding`. Written by CloudEvents 1.0.2 and its HTTP protocol
//! binding.
//!
//! Headers of requests are told by name only where the configuration names them. Nothing else of a
//! head is, so that no token and no cookie can be.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod courier;
mod event;
mod log;
mod room;
mod tap;

pub use courier::Courier;
pub use event::Content;
pub use log::{Counts, Mode, PayloadLog, PayloadLogError, PayloadLogSpec, SinkSpec};
pub use tap::Tap;
