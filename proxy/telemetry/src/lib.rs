//! What an operator sees: metrics, one access-log line a request, traces.
//!
//! | module | for |
//! |---|---|
//! | [`metrics`] | counters, gauges and histograms, written as OpenMetrics text |
//! | [`genai`] | histograms by the conventions for generative AI |
//! | [`page`] | that text, in the older format, and read back |
//! | [`samples`] | figures that others own, read when they are asked for |
//! | [`pulse`], [`spread`] | percentiles of the last seconds, and the last requests that ended badly |
//! | [`record`] | one request's line and counts |
//! | [`ids`] | random bytes for names and seeds |
//! | [`trace`], [`baggage`] | W3C trace context and baggage, taken and passed on |
//! | [`tracer`], [`spans`] | what is recorded of requests that are sampled |
//! | [`logs`], `lines` | the log's writer, and how a line is written |
//!
//! Never in any of them: prompts, tokens, query strings. Names that clients choose are in the access
//! log, and never a label: labels are configured names, models of the catalogue and values of closed
//! sets, and [`labels`] holds even those to a bound.
#![forbid(unsafe_code)]

pub mod baggage;
pub mod genai;
pub mod ids;
pub mod labels;
mod lines;
pub mod logs;
pub mod metrics;
pub mod page;
pub mod pulse;
pub mod record;
pub mod samples;
pub mod spans;
pub mod spread;
pub mod trace;
pub mod tracer;

pub use genai::Operation;
pub use logs::{LogLevel, Logs, LogsError, init_logs};
pub use metrics::{Connected, Metrics, Sums};
pub use pulse::Pulse;
pub use record::{Record, RecordStart};
pub use samples::Samples;
pub use spans::{Step, Trail, Under};
pub use trace::TraceContext;
pub use tracer::{Tracer, TracerSpec};
