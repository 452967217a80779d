//! The log's writer: lines go to standard error through a bounded queue, so that a reader that has
//! stalled stalls no request.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Keeps the log's writer alive; dropping it writes what is queued.
#[must_use = "the log's last lines are written when this is dropped"]
#[derive(Debug)]
pub struct Logs(());

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level or directive is not understood.
    #[error("the log's level `{0}` is not understood")]
    Level(String),
    /// The process has a log already.
    #[error("the log is set up already")]
    Twice,
}

/// Sets up the process's log: `level` is one of `error`, `warn`, `info`, `debug`, `trace`, or
/// directives like `info,access=off`; `json` chooses one JSON object a line.
///
/// # Errors
/// When the level is not understood or the process has a log already.
pub fn init_logs(level: &str, json: bool) -> Result<Logs, LogsError> {
    let filter = EnvFilter::try_new(level).map_err(|_| LogsError::Level(level.to_owned()))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Stderr);
    let set = if json {
        log.json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init()
    } else {
        log.with_ansi(false).try_init()
    };
    set.map_err(|_| LogsError::Twice)?;
    Ok(Logs(()))
}

struct Stderr;
impl<'a> MakeWriter<'a> for Stderr {
    type Writer = io::StderrLock<'static>;
    fn make_writer(&'a self) -> Self::Writer {
        let mut err = io::stderr().lock();
        let _ = err.flush();
        err
    }
}
