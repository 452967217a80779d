//! What developers and CI ask of this repository: `cargo xtask VERB`, one file a verb.
#![forbid(unsafe_code)]

mod arch;
mod bench;
mod components;
mod conformance;
mod demo;
mod dockerfile;
mod docs;
mod examples;
mod foreign;
mod fuzz;
mod guest;
mod manifests;
mod materials;
mod miri;
mod needs;
mod process;
mod properties;
mod release;
mod soak;
mod stages;
mod test;
mod wasm;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// What `cargo xtask help` prints; documents are held against it.
const HELP: &str = "\
cargo xtask VERB

  bench [SCENARIO…] [--seconds S] [--rounds R] [--out DIR] [--built] [--accept] [--render]
                       measure what requests cost, beside peers, into target/bench/DATE/;
                       accept: also write tests/BENCHMARKS.md; render: only write the pages anew
  components [NAME…]   build the plugins as WebAssembly components: all, or those named;
                       `--bundled` leaves out fixtures and examples; examples in other
                       languages are built where their tools are, and installed for when named
  conformance [--built] [GROUP…]
                       compare real servers with what is made of their answers, and write
                       tests/CONFORMANCE.md; built: with the binary and components at hand;
                       groups: text, tensors, caikit, specification
  demo [--once]        serve a tiny model over TLS, and call it as real clients do
  docs                 write what of the documents is made: the configuration's reference
  soak [--minutes M | --swaps N] [--out DIR] [--built] [--faults]
                       everything at once, while workers die and plugins change: nothing may
                       grow; into target/soak/DATE/; swaps: so many, and nothing stays behind;
                       faults: 500 clients before workers of which most are broken, and every
                       request ends in an answer or an error
  fuzz [--minutes M] [--keep] [TARGET…]
                       look for inputs that break a parser of foreign bytes; keep: take what
                       is useful into the corpus that the tests replay
  miri [PACKAGE…]      run the tests of crates without I/O under Miri, of a nightly toolchain
  properties [--rounds N]
                       hold the property tests to cases that were never drawn before
  release [--train]    build the proxy as it ships, by a profile of real load, as
                       target/shipped/tollgate; train: make that profile anew first
  test [--quick]       everything that a change has to pass; quick: no lints, no cargo-deny
  arch                 check what the design says of the source
";

/// Every verb, for the check of the documents.
const VERBS: &[&str] = &[
    "arch",
    "bench",
    "components",
    "conformance",
    "demo",
    "docs",
    "fuzz",
    "help",
    "miri",
    "properties",
    "release",
    "soak",
    "test",
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    match verb.as_str() {
        "arch" => arch::run(),
        "bench" => bench::run(&rest),
        "components" => components::run(&rest),
        "conformance" => conformance::run(&rest),
        "demo" => demo::run(&rest),
        "docs" => docs::run(&rest),
        "soak" => soak::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "miri" => miri::run(&rest),
        "properties" => properties::run(&rest),
        "release" => release::run(&rest),
        "test" => test::run(&rest),
        "" | "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        unknown => bail!("no verb `{unknown}`\n\n{HELP}"),
    }
}
