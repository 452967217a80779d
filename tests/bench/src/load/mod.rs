//! The load generator: sends requests, checks every answer, prints one JSON object.
//!
//! * Closed loop: each lane (a connection, or a stream of one) sends its next request when the last
//!   answer has come.
//! * Open loop (`--rate`): requests are due by a schedule whether answers come or not, and latency
//!   counts from when a request was due. A server that stalls is late for all that was due
//!   meanwhile, and shows it.
//! * What counts: requests that began, or were due, after the warm-up. All of them are awaited;
//!   what does not end within the drain is an error. Latencies are those of good answers.

mod answer;
mod content;
mod exchange;
mod fault;
mod hold;
mod http1;
mod http2;
mod kind;
mod lane;
mod options;
mod record;
mod run;
mod schedule;
mod wave;

use std::error::Error;

pub use options::Arguments;
pub use record::Report;

use options::{Mode, Plan};

/// Runs the load and prints the report.
///
/// # Errors
/// When the arguments do not fit together, or streams that were to be held were not.
pub async fn run(arguments: Arguments, threads: usize) -> Result<(), Box<dyn Error>> {
    let plan = Plan::new(arguments, threads)?;
    if let Mode::Hold(time) = plan.mode {
        hold::run(plan, time).await?;
    } else {
        loaded(plan).await?.print()?;
    }
    Ok(())
}

/// Runs the load and gives the report.
///
/// # Errors
/// When the arguments do not fit together, or are about streams to be held.
pub async fn measure(arguments: Arguments, threads: usize) -> Result<Report, Box<dyn Error>> {
    Ok(loaded(Plan::new(arguments, threads)?).await?)
}

async fn loaded(plan: Plan) -> std::io::Result<Report> {
    match plan.mode {
        Mode::Wave { clients, waves } => Ok(wave::run(plan, clients, waves).await),
        Mode::Paced(_) => run::run(plan).await,
        Mode::Hold(_) => Err(std::io::Error::other("streams are held by `run`")),
    }
}
