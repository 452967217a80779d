//! Traces and metrics, sent to a collector by OpenTelemetry's protocol (OTLP 1.x): over HTTP with
//! protobuf bodies, or over gRPC.
//!
//! | module | for |
//! |---|---|
//! | [`spec`] | where it goes, and how far |
//! | `client` | one export, and what the answer says |
//! | `traces`, `metrics` | what is known, as the protocol's messages |
//! | `messages` | those messages |
//! | [`exporter`] | when, how often again, and what is counted |
//!
//! It stands beside the requests and never in their way: spans wait in a bounded queue that drops
//! and counts when it is full, and a collector that is away, slow or refuses costs telemetry only.
//!
//! The messages are few, and written here for `prost`, which is in the tree already: the crate
//! that has them all comes with an SDK that nothing here would use, and with `tonic` or with a
//! second version of the API. Connections are those of `tollgate-upstream`, so there is one HTTP
//! client, one TLS set-up and one set of bounds in the house. That the messages are right is shown
//! by tests that decode them with OpenTelemetry's own.
#![forbid(unsafe_code)]

mod client;
pub mod exporter;
mod messages;
mod metrics;
pub mod spec;
mod traces;

pub use exporter::Exporter;
pub use spec::{Protocol, Spec, SpecError};
