//! Prints, as JSON, what the sandbox costs beside the same cores linked natively.
#![forbid(unsafe_code)]

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use serde_json::json;
use tollgate_bench_guests::{cases::Bench, hosted::House, languages, rounds::Effort};

/// The same plugin cores, linked natively and in the sandbox, at the same work.
#[derive(Parser)]
struct Arguments {
    /// Where components lie; `components/` beside the profile's folder unless said.
    #[arg(long)]
    components: Option<PathBuf>,
    /// Rounds; in each, both sides have their turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Milliseconds of processor time of one turn.
    #[arg(long, default_value_t = 200)]
    turn: u64,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tollgate-bench-guests: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let folder = match &arguments.components {
        Some(folder) => folder.clone(),
        None => {
            let own = std::env::current_exe()?;
            let target = own
                .ancestors()
                .nth(2)
                .ok_or("no folder above this program")?;
            target.join("components")
        }
    };
    let house = House::new(&folder)?;
    let bench = Bench::new(&house)?;
    let effort = Effort {
        rounds: usize::from(arguments.rounds),
        turn: Duration::from_millis(arguments.turn),
    };
    let mut rows = Vec::new();
    bench.run(effort, &arguments.only, |row| {
        eprintln!("{row}");
        rows.push(row);
    });
    languages::run(&house, effort, &arguments.only, |row| {
        eprintln!("{row}");
        rows.push(row);
    })?;
    println!("{}", json!(rows));
    Ok(())
}
