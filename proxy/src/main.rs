//! `tollgate`: an edge proxy for model servers.
//!
//! `main.rs` reads the command line; `assemble.rs` makes a house of a configuration;
//! `run.rs` opens the doors and closes them. The way of a request is in the crate
//! `tollgate-exchange`, `serve.rs`.
#![forbid(unsafe_code)]

mod admin;
mod assemble;
mod bundled;
mod explain;
mod fleet;
mod gauges;
mod handover;
mod health;
mod history;
mod identity;
mod keeper;
mod level;
mod life;
mod limits;
mod manual;
mod orders;
mod overseer;
mod pages;
mod plugin;
mod plugins;
mod recorder;
mod records;
mod refresh;
mod run;
mod simulate;
mod supervisor;
mod supply;
mod telemetry;
mod tokens;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use tollgate_config::{Config, LogFormat};

use crate::explain::Depth;

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
    /// Says what is wrong with configurations.
    ///
    /// They are read, and what they name is loaded as `run` would load it. No listener is opened, and
    /// nobody is asked but registries of components.
    Check {
        /// Also prints what requests would meet.
        #[arg(long)]
        explain: bool,
        /// Reads the configurations alone: no component is loaded, so that none says what is wrong
        /// with its options. For where components, registries or keys are out of reach.
        #[arg(long, conflicts_with_all = ["explain", "request"])]
        no_load: bool,
        #[command(flatten)]
        one: explain::One,
        /// The configurations.
        #[arg(required = true)]
        configs: Vec<PathBuf>,
    },
    /// Runs schedulers on virtual time, over modelled workers and requests.
    Simulate(simulate::Arguments),
    /// What authors and operators of plugins do with them.
    Plugin(plugin::Arguments),
    /// Has a running proxy read its configuration, tokens and plugins again.
    Reload(orders::Arguments),
    /// Has a running proxy start its binary again, hand its listeners over, and drain.
    Upgrade(orders::Arguments),
    /// Shows what a running proxy writes to its log, or changes it.
    LogLevel(level::Arguments),
    /// Asks a proxy, at its admin listener, whether it is ready; fails when it is not.
    Health(health::Arguments),
    /// Prints the JSON Schema of a configuration.
    Schema,
    /// Prints what a shell needs to complete command lines.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the manual page.
    #[command(hide = true)]
    Man {
        /// Writes a page a verb into this folder instead.
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    // Before there is any thread: it takes descriptors, and their names out of the environment.
    let inherited = handover::Inherited::of_environment();
    match Arguments::parse().command {
        Command::Run { config, records } => run(config, records, inherited),
        Command::Simulate(arguments) => match simulate::simulate(&arguments) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("tollgate: {error}");
                ExitCode::FAILURE
            }
        },
        Command::Plugin(arguments) => plugin::run(&arguments),
        Command::Check {
            explain,
            no_load,
            one,
            configs,
        } => {
            let depth = match no_load {
                true => Depth::Read,
                false if explain || one.is_asked() => Depth::Explain,
                false => Depth::Load,
            };
            let check = |config: &PathBuf| explain::check(config, depth, &one);
            success(configs.iter().filter(|config| !check(config)).count() == 0)
        }
        Command::Reload(arguments) => orders::reload(&arguments),
        Command::Upgrade(arguments) => orders::upgrade(&arguments),
        Command::LogLevel(arguments) => level::run(&arguments),
        Command::Health(arguments) => match health::ask(&arguments) {
            Ok(word) => success(say(&format!("{word}\n"))),
            Err(error) => {
                eprintln!("tollgate: {error}");
                ExitCode::FAILURE
            }
        },
        Command::Schema => success(say(&format!("{:#}\n", tollgate_config::schema()))),
        Command::Completions { shell } => success(manual::completions(shell)),
        Command::Man { out } => success(manual::manual(out.as_deref())),
    }
}

fn success(well: bool) -> ExitCode {
    match well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn run(path: PathBuf, records: records::Records, inherited: handover::Inherited) -> ExitCode {
    // Before it is read: what changes meanwhile is seen.
    let mut files = keeper::Files::of(vec![path.clone()]);
    let loaded = match Config::load_with_files(&path) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    files.cover(loaded.files);
    let config = Arc::new(loaded.config);
    let json = matches!(config.log.format, LogFormat::Json);
    let logs = match tollgate_telemetry::init_logs(config.log.level.as_str(), json) {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("tollgate: the path of this binary is not known: {error}");
            return ExitCode::FAILURE;
        }
    };
    let origin = life::Origin {
        path,
        files,
        records,
        program,
        supervisor: supervisor::Supervisor::of_environment(),
    };
    match run::run(config, logs.level(), origin, inherited) {
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
