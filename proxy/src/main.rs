//! `tollgate`: an edge proxy for model servers.
//!
//! `main.rs` reads the command line; `assemble.rs` makes a house of a configuration;
//! `run.rs` opens the doors and closes them. The way of a request is in the crate
//! `tollgate-exchange`, `serve.rs`.
#![forbid(unsafe_code)]

mod admin;
mod assemble;
mod bundled;
mod fleet;
mod gauges;
mod keeper;
mod overseer;
mod plugin;
mod plugins;
mod recorder;
mod records;
mod refresh;
mod run;
mod simulate;
mod supply;
mod tokens;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use tollgate_config::{Config, LogFormat};

/// A proxy takes much memory for moments: bodies, waves of clients, the compiling of components.
/// The C library's allocator keeps what it was once given for each of its threads' arenas; this one
/// returns what lies unused, by a thread of its own (`.cargo/config.toml` says how soon).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An edge proxy for model servers.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves until SIGTERM or SIGINT.
    Run {
        /// The configuration.
        config: PathBuf,
        #[command(flatten)]
        records: records::Records,
    },
    /// Reads configurations and says what is wrong with them; opens nothing.
    Check {
        /// Also loads the plugins, and prints what requests would meet.
        #[arg(long)]
        explain: bool,
        /// The configurations.
        #[arg(required = true)]
        configs: Vec<PathBuf>,
    },
    /// Runs schedulers on virtual time, over modelled workers and requests.
    Simulate(simulate::Arguments),
    /// What authors and operators of plugins do with them.
    Plugin(plugin::Arguments),
    /// Prints the JSON Schema of a configuration.
    Schema,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config, records } => run(&config, records),
        Command::Simulate(arguments) => match simulate::simulate(&arguments) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("tollgate: {error}");
                ExitCode::FAILURE
            }
        },
        Command::Plugin(arguments) => plugin::run(&arguments),
        Command::Check { explain, configs } => {
            let bad = configs
                .iter()
                .filter(|config| !check(config, explain))
                .count();
            if bad == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Command::Schema => {
            if say(&format!("{:#}\n", tollgate_config::schema())) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(path: &std::path::Path, records: records::Records) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => Arc::new(config),
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    let json = matches!(config.log.format, LogFormat::Json);
    let logs = match tollgate_telemetry::init_logs(config.log.level.as_str(), json) {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match run::run(config, logs.lost(), records) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints; whether that went well. A reader who has seen enough and leaves (`| head`) is no fault.
fn say(text: &str) -> bool {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("tollgate: standard output: {error}");
            false
        }
        _ => true,
    }
}

fn check(path: &std::path::Path, explain: bool) -> bool {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return false;
        }
    };
    if !explain {
        return say(&format!("{}: ok\n", path.display()));
    }
    let mut text = tollgate_config::explain(&config);
    match assemble::assemble(Arc::new(config), &records::Records::none()) {
        Ok(assembled) => {
            for route in &assembled.routes {
                let _ = writeln!(text, "route {} answers:", route.name());
                for line in route.describe() {
                    let _ = writeln!(text, "  {line}");
                }
            }
            say(&text)
        }
        Err(error) => {
            say(&text);
            eprintln!("{}: {error}", path.display());
            false
        }
    }
}
