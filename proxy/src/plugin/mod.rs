//! `tollgate plugin`: what authors and operators of plugins do with them, one file a verb.

mod bench;
mod build;
mod inspect;
mod new;
mod remote;
pub(crate) mod source;
mod test;
mod transcripts;
mod wit;

use std::{error::Error, process::ExitCode};

use clap::{Args, Subcommand};

/// What is done, or why it is not.
pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// What to do with a plugin.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Says what a component is: its world, claims, tasks, options, imports and memory.
    Inspect(inspect::Arguments),
    /// Begins a project that builds and whose tests pass.
    New(new::Arguments),
    /// Makes a component of a project, or of a module that another compiler has linked.
    Build(build::Arguments),
    /// Plays what a proxy has recorded: as it was, in pieces, cut short, and again and again.
    Test(test::Arguments),
    /// Times what a proxy has recorded, by the proxy's own engine.
    Bench(bench::Arguments),
    /// Writes the contract, for plugins in other languages than Rust.
    Wit(wit::Arguments),
    #[command(flatten)]
    Remote(remote::Verb),
}

/// Does it.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let outcome = match &arguments.verb {
        Verb::Inspect(arguments) => inspect::run(arguments),
        Verb::New(arguments) => new::run(arguments),
        Verb::Build(arguments) => build::run(arguments),
        Verb::Test(arguments) => test::run(arguments),
        Verb::Bench(arguments) => bench::run(arguments),
        Verb::Wit(arguments) => wit::run(arguments),
        Verb::Remote(verb) => remote::run(verb),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}
