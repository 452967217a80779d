//! `bench`: what requests cost, beside what others cost, on this machine and in one run.
//!
//! 1. Build the components, the proxy and the programs of `tests/bench`, all optimised.
//! 2. Find the peers; who is not here is said to be not here.
//! 3. Run the scenarios: cases in rounds, every case with processes of its own (`measure.rs`).
//! 4. Write `results.json`, `table.md` and `index.html`, after every scenario. A folder that has
//!    results keeps those of scenarios that are not run again.
//! 5. With `--accept`, copy table and results to `tests/`.

pub(crate) mod ask;
mod budgets;
pub(crate) mod house;
pub(crate) mod load;
pub(crate) mod machine;
mod matrix;
pub(crate) mod measure;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod plot;
mod results;
mod rounds;
pub(crate) mod running;
mod scenarios;
pub(crate) mod subjects;
mod table;
pub(crate) mod usage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::components::{self, Which};
use crate::process::{cargo, output, run as run_command};
use crate::release;
use crate::workspace::Workspace;
use house::House;
use machine::Machine;
use measure::Bench;
use results::{Record, Results};
use scenarios::{SCENARIOS, Scenario};
use subjects::PAIR;

/// The accepted results, relative to the workspace's root.
const TABLE: &str = "tests/BENCHMARKS.md";
const RESULTS: &str = "tests/BENCHMARKS.json";

/// Scenarios in which no peer takes part.
const OURS: [&str; 3] = ["guests", "swap", "hostile"];

/// The programs that take part.
const PROGRAMS: &str = "tollgate-bench";
const GUESTS: &str = "tollgate-bench-guests";

/// What was asked for.
#[derive(Debug)]
struct Asked {
    scenarios: Vec<&'static Scenario>,
    seconds: u64,
    rounds: usize,
    out: Option<PathBuf>,
    built: bool,
    accept: bool,
    render: bool,
}

/// Builds, measures, writes.
///
/// # Errors
/// When something cannot be built or written, or a measurement failed; what was measured has
/// been written then.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let asked = Asked::read(arguments)?;
    let workspace = Workspace::load()?;
    let out = match &asked.out {
        Some(out) => out.clone(),
        None => workspace.target.join("bench").join(today()?),
    };
    fs::create_dir_all(&out)?;
    let mut failed = 0;
    if !asked.render {
        if !asked.built {
            build(
                &workspace,
                asked.scenarios.iter().any(|it| it.name == "guests"),
            )?;
            if asked.scenarios.iter().any(|it| it.name == "hostile") {
                let fixtures = ["bad", "lifo"].map(str::to_owned);
                components::build(&workspace, Which::Named(&fixtures))?;
            }
        }
        running::many_files()?;
        let peers = asked.scenarios.iter().any(|it| !OURS.contains(&it.name));
        let house = House::prepare(&workspace, workspace.target.join("bench/work"), peers)?;
        for scenario in &asked.scenarios {
            println!("\n== {}: {}", scenario.name, scenario.about);
            let record = measured(&workspace, &house, scenario, &asked);
            failed += record.failures.len();
            write(&out, Some(record))?;
        }
    }
    let results = write(&out, None)?;
    println!("\n{}", table::markdown(&results));
    println!("written: {}", out.display());
    if asked.accept {
        for (from, to) in [("table.md", TABLE), ("results.json", RESULTS)] {
            fs::copy(out.join(from), workspace.root.join(to))?;
            println!("accepted: {to}");
        }
    }
    if failed > 0 {
        bail!("{failed} measurements failed");
    }
    Ok(())
}

fn measured(workspace: &Workspace, house: &House, scenario: &Scenario, asked: &Asked) -> Record {
    let mut bench = Bench {
        house,
        seconds: asked.seconds,
        rounds: asked.rounds,
        warm: measure::WARM,
        record: Record {
            scenario: scenario.name.to_owned(),
            about: scenario.about.to_owned(),
            machine: Machine::here(&workspace.root),
            seconds: asked.seconds,
            rounds: asked.rounds,
            pair: Some(PAIR.map(|subject| subject.name().to_owned())),
            versions: house.versions(),
            ..Record::default()
        },
    };
    if let Err(problem) = (scenario.run)(&mut bench) {
        println!("  FAILED  {problem:#}");
        let line = house.portable(&format!("{problem:#}"));
        bench.record.failures.push(line);
    }
    bench.record
}

/// Adds a record to a folder's results, and writes all three files anew.
fn write(out: &Path, record: Option<Record>) -> Result<Results> {
    let file = out.join("results.json");
    let mut results = Results::read(&file)?;
    if let Some(record) = record {
        results.put(record);
        fs::write(&file, serde_json::to_vec(&results)?)
            .with_context(|| format!("{}", file.display()))?;
    }
    fs::write(out.join("table.md"), table::markdown(&results))?;
    fs::write(out.join("index.html"), page::html(&results))?;
    Ok(results)
}

/// Builds what takes part, as it ships.
///
/// # Errors
/// When something does not compile.
pub(crate) fn build(workspace: &Workspace, guests: bool) -> Result<()> {
    release::build(workspace)?;
    let mut packages = vec![PROGRAMS];
    if guests {
        packages.push(GUESTS);
    }
    // One call each: cargo unites the features of what it builds together.
    for package in packages {
        let mut build = cargo();
        build.args(["build", "--release", "--package", package]);
        run_command(build.current_dir(&workspace.root))?;
    }
    Ok(())
}

/// The day, as `2026-01-02`.
///
/// # Errors
/// When there is no `date`.
pub(crate) fn today() -> Result<String> {
    let said = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    Ok(said.trim().to_owned())
}

impl Asked {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut asked = Self {
            scenarios: Vec::new(),
            seconds: 5,
            rounds: 5,
            out: None,
            built: false,
            accept: false,
            render: false,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut next = || {
                words
                    .next()
                    .with_context(|| format!("{word} wants a value"))
            };
            match word.as_str() {
                "--seconds" => asked.seconds = next()?.parse().context("--seconds")?,
                "--rounds" => asked.rounds = next()?.parse().context("--rounds")?,
                "--out" => asked.out = Some(PathBuf::from(next()?)),
                "--built" => asked.built = true,
                "--accept" => asked.accept = true,
                "--render" => asked.render = true,
                name => match scenarios::named(name) {
                    Some(scenario) => asked.scenarios.push(scenario),
                    None => bail!("no scenario `{name}`\n\n{}", usage()),
                },
            }
        }
        if asked.seconds == 0 || asked.rounds == 0 {
            bail!("a measurement takes a second at least, and a round");
        }
        if asked.scenarios.is_empty() {
            asked.scenarios = SCENARIOS.iter().collect();
        }
        Ok(asked)
    }
}

fn usage() -> String {
    let list: Vec<String> = SCENARIOS
        .iter()
        .map(|scenario| format!("  {:<12} {}\n", scenario.name, scenario.about))
        .collect();
    format!(
        "cargo xtask bench [SCENARIO…] [--seconds S] [--rounds R] [--out DIR] [--built] \
         [--accept] [--render]\n\n{}",
        list.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked> {
        Asked::read(&measure::words(line))
    }

    #[test]
    fn all_scenarios_unless_some_are_named() {
        assert_eq!(asked("").unwrap().scenarios.len(), SCENARIOS.len());
        let some = asked("wave unary --seconds 2 --rounds 3 --accept").unwrap();
        let names: Vec<&str> = some.scenarios.iter().map(|it| it.name).collect();
        assert_eq!(names, ["wave", "unary"]);
        assert_eq!((some.seconds, some.rounds, some.accept), (2, 3, true));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["nothing", "--seconds", "--seconds x", "--rounds 0"] {
            assert!(asked(line).is_err(), "{line}");
        }
        let problem = asked("nothing").unwrap_err().to_string();
        assert!(problem.contains("unary"), "{problem}");
    }
}
