//! `tollgate plugin`: what authors and operators of plugins do with them, one file a verb.

mod bench;
mod build;
mod files;
mod inspect;
mod keygen;
mod new;
mod pull;
mod push;
mod registry;
pub(crate) mod remote;
mod sign;
pub(crate) mod source;
mod test;
mod transcripts;
mod verify;
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
    /// Makes a pair of keys for signing components.
    Keygen(keygen::Arguments),
    /// Signs a component, beside it or inside it.
    Sign(sign::Arguments),
    /// Says who has signed a component, or why that does not hold.
    Verify(verify::Arguments),
    /// Puts a component into an OCI registry.
    Push(push::Arguments),
    /// Takes a component out of an OCI registry.
    Pull(pull::Arguments),
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
        Verb::Keygen(arguments) => keygen::run(arguments),
        Verb::Sign(arguments) => sign::run(arguments),
        Verb::Verify(arguments) => verify::run(arguments),
        Verb::Push(arguments) => push::run(arguments),
        Verb::Pull(arguments) => pull::run(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}
