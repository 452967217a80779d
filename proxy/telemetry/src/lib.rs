//! What an operator sees: metrics, one access-log line a request, trace context.
//!
//! | module | for |
//! |---|---|
//! | [`metrics`] | counters, gauges and histograms, written as OpenMetrics text |
//! | [`samples`] | figures that others own, read when they are asked for |
//! | [`record`] | one request's line and counts |
//! | [`ids`] | random bytes for names and seeds |
//! | [`trace`] | W3C trace context, taken and passed on |
//! | [`logs`], `lines` | the log's writer, and how a line is written |
//!
//! Never in any of them: prompts, tokens, query strings. Names that clients choose (models) are in
//! the access log, and never a label: labels are configured names and values of closed sets, and
//! [`labels`] holds even those to a bound.
#![forbid(unsafe_code)]

pub mod ids;
pub mod labels;
mod lines;
pub mod logs;
pub mod metrics;
pub mod record;
pub mod samples;
pub mod trace;

pub use logs::{Logs, LogsError, init_logs};
pub use metrics::{Connected, Metrics};
pub use record::{Record, RecordStart};
pub use samples::Samples;
pub use trace::TraceContext;
