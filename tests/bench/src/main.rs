//! The command line: one verb for each program.
#![forbid(unsafe_code)]

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};
use tollgate_bench::{bare, load, net, process, stub};

/// The programs that benchmarks are made of.
#[derive(Parser)]
#[command(name = "tollgate-bench", version)]
struct Arguments {
    /// Threads of the runtime; with one, everything runs on the calling thread.
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serves known answers in the OpenAI API, TGIS and KServe V2.
    Stub(stub::Arguments),
    /// Sends requests, checks the answers, prints one JSON object.
    Load(Box<load::Arguments>),
    /// Forwards, and does no more.
    Bare(bare::Arguments),
    /// Prints what processes have used so far, as JSON.
    Cpu {
        /// A process; may be given several times.
        #[arg(long = "pid", required = true)]
        pids: Vec<u32>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let threads = usize::from(arguments.threads);
    net::raise_open_files();
    match arguments.verb {
        Verb::Stub(arguments) => net::runtime(threads)?.block_on(stub::run(arguments))?,
        Verb::Load(arguments) => net::runtime(threads)?.block_on(load::run(*arguments, threads))?,
        Verb::Bare(arguments) => net::runtime(threads)?.block_on(bare::run(arguments))?,
        Verb::Cpu { pids } => {
            let used: Result<Vec<_>, _> = pids.into_iter().map(process::Usage::of).collect();
            println!("{}", serde_json::to_string(&used?)?);
        }
    }
    Ok(())
}
