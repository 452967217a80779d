//! `soak`: everything at once for minutes, while workers die and plugins change; nothing may grow.
//!
//! 1. Build, as `bench` does. Start the stubs, and the proxy of `tests/bench/soak.yaml`.
//! 2. Look some times at the idle proxy: every gauge, open files, threads.
//! 3. Load it with a mix of everything (`mix.rs`). Meanwhile, second by second: look at it; now
//!    and then kill a worker or start it again; change the components and send SIGHUP.
//! 4. End the load, start the worker again, and wait until what was taken is given back.
//! 5. SIGTERM, and the end.
//! 6. Judge (`verdict.rs`); write `soak.json` and `index.html`.
//!
//! With `--swaps` it is another soak: so many swaps, one after the other (`swaps.rs`).

mod faults;
mod mix;
mod page;
mod sample;
mod swaps;
mod trouble;
mod verdict;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::bench::ask::{Sign, pause};
use crate::bench::house::House;
use crate::bench::load::{self, Load, Report};
use crate::bench::machine::Machine;
use crate::bench::running::{Cores, Running, many_files};
use crate::bench::subjects::{ADMIN, STUB_GRPC, STUB_HTTP, local};
use crate::bench::{build, today};
use crate::process::shown;
use crate::workspace::Workspace;
use sample::Sample;
use trouble::Trouble;
pub(crate) use trouble::put_marked;
use verdict::Check;

const CONFIG: &str = "soak.yaml";
const FRONT: std::net::SocketAddr = local(21880);
const TICK: Duration = Duration::from_secs(1);
/// Looks at the idle proxy: some of them meet a probe.
const IDLE: u32 = 8;
/// Until everything is given back after the load: idle connections have their time limits.
const REST: Duration = Duration::from_secs(90);

/// What a soak was, as `soak.json` keeps it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Soak {
    pub(crate) machine: Machine,
    pub(crate) minutes: f64,
    /// Before the load, every second of it, and after it.
    pub(crate) idle: Vec<Sample>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) rested: Sample,
    pub(crate) load: Report,
    pub(crate) raw: serde_json::Value,
    /// How often a worker was killed, and components were changed.
    pub(crate) kills: u32,
    pub(crate) swaps: u32,
    /// How often they were taken in, by the proxy's own account of the generation in force.
    pub(crate) taken: u64,
    /// Counters that have to stay at zero.
    pub(crate) faults: Vec<(String, f64)>,
    pub(crate) exit: String,
    pub(crate) checks: Vec<Check>,
}

struct Asked {
    minutes: f64,
    swaps: Option<u32>,
    out: Option<PathBuf>,
    built: bool,
    /// Only broken workers, see [`faults`].
    faults: bool,
}

/// Builds, soaks, judges.
///
/// # Errors
/// When something cannot be built or started, or a check failed; everything has been written
/// then.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let asked = Asked::read(arguments)?;
    let workspace = Workspace::load()?;
    if asked.faults {
        return faults::storm(&workspace, asked.minutes, asked.built);
    }
    if !asked.built {
        build(&workspace, false)?;
    }
    many_files()?;
    if let Some(many) = asked.swaps {
        return swaps::run(&workspace, many);
    }
    let out = match asked.out {
        Some(out) => out,
        None => workspace.target.join("soak").join(today()?),
    };
    fs::create_dir_all(&out)?;
    let house = House::prepare(&workspace, workspace.target.join("soak/work"), false)?;
    let components = workspace.components();
    let mut soak = Soak {
        machine: Machine::here(&workspace.root),
        minutes: asked.minutes,
        ..Soak::default()
    };
    soaked(
        &house,
        Trouble::new(components, house.folder.clone())?,
        &mut soak,
    )?;
    soak.checks = verdict::judge(&soak);
    let file = out.join("soak.json");
    fs::write(&file, serde_json::to_vec(&soak)?).with_context(|| format!("{}", file.display()))?;
    fs::write(out.join("index.html"), page::html(&soak))?;
    println!();
    for check in &soak.checks {
        let word = if check.holds { "ok    " } else { "FAILED" };
        println!("{word} {}: {}", check.what, check.found);
    }
    println!("written: {}", out.display());
    let failed = soak.checks.iter().filter(|check| !check.holds).count();
    if failed > 0 {
        bail!("{failed} checks failed");
    }
    Ok(())
}

fn soaked(house: &House, mut trouble: Trouble, soak: &mut Soak) -> Result<()> {
    let stub = ["--tokens", "64", "--interval", "2000"].map(str::to_owned);
    let steady = house.stub_at(
        "stub",
        &[("--http", STUB_HTTP), ("--grpc", STUB_GRPC)],
        &stub,
    )?;
    trouble.start_worker(house)?;
    let command = house.tollgate_on(&Cores::all(), CONFIG);
    let mut proxy = Running::start("tollgate", command, &[FRONT, ADMIN], &house.folder)?;
    proxy.serves(Sign::Answers(ADMIN, "/readyz"))?;
    for _ in 0..IDLE {
        pause(TICK);
        soak.idle.push(sample::take(house, &proxy, 0.0)?);
    }
    let generation = trouble::generation()?;

    let mix = house.folder.join("mix.json");
    fs::write(&mix, mix::json(FRONT).to_string())?;
    let seconds = soak.minutes * 60.0;
    let mut load = Loading::start(house, &mix, seconds)?;
    let begun = Instant::now();
    let mut tick = 0_u32;
    while load.child.try_wait()?.is_none() {
        tick += 1;
        pause((TICK * tick).saturating_sub(begun.elapsed()));
        if !proxy.runs()? {
            bail!("the proxy ended under load:\n{}", proxy.said());
        }
        let now = begun.elapsed().as_secs_f64();
        let seen = sample::take(house, &proxy, now)?;
        if tick.is_multiple_of(10) {
            println!(
                "  {now:>6.0} s  RSS {:.1} MiB, {} files, {} threads",
                seen.rss, seen.fds, seen.threads
            );
        }
        soak.samples.push(seen);
        if now < seconds {
            trouble.tick(tick, house, &mut proxy)?;
        } else if now > seconds + 120.0 {
            bail!("the load generator does not end");
        }
    }
    (soak.load, soak.raw) = load.report()?;
    trouble.start_worker(house)?;
    soak.rested = rested(house, &proxy, soak)?;
    soak.taken = trouble::generation()?.saturating_sub(generation);
    (soak.kills, soak.swaps) = (trouble.kills, trouble.swaps);
    soak.faults = verdict::faults(&house.metrics()?);
    soak.exit = proxy.stop()?.to_string();
    trouble.stop()?;
    steady.stop()?;
    Ok(())
}

/// Looks until everything is as it was, or patience ends.
fn rested(house: &House, proxy: &Running, soak: &Soak) -> Result<Sample> {
    let begun = Instant::now();
    loop {
        let seen = sample::take(house, proxy, begun.elapsed().as_secs_f64())?;
        if verdict::leaked(&soak.idle, &soak.samples, &seen).is_empty() || begun.elapsed() > REST {
            return Ok(seen);
        }
        pause(TICK);
    }
}

/// The load generator while it runs; dropped, it is killed.
struct Loading {
    child: Child,
    output: PathBuf,
}

impl Loading {
    fn start(house: &House, mix: &std::path::Path, seconds: f64) -> Result<Self> {
        let load = Load::new([
            "--target",
            &format!("http://{FRONT}"),
            "--token",
            &house.token,
        ]);
        let load = load.with(["--mix", &mix.to_string_lossy(), "--connections", "16"]);
        let load = load.with(["--streams-per-connection", "4", "--abort-fraction", "0.05"]);
        let load = load.with(["--duration", &seconds.to_string(), "--drain", "30"]);
        let mut command = load.command(&house.programs(), &Cores::all());
        // Files, not pipes: nobody reads before the end.
        let output = house.folder.join("load.json");
        let child = command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&output)?)
            .stderr(fs::File::create(house.folder.join("load.log"))?)
            .spawn()
            .with_context(|| format!("cannot start {}", shown(&command)))?;
        Ok(Self { child, output })
    }

    fn report(mut self) -> Result<(Report, serde_json::Value)> {
        let status = self.child.wait()?;
        let said = fs::read_to_string(&self.output)?;
        load::read(&said).with_context(|| format!("the load generator: {status}, {said}"))
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Asked {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut asked = Self {
            minutes: 10.0,
            swaps: None,
            out: None,
            built: false,
            faults: false,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut next = || {
                words
                    .next()
                    .with_context(|| format!("{word} wants a value"))
            };
            match word.as_str() {
                "--minutes" => asked.minutes = next()?.parse().context("--minutes")?,
                "--swaps" => asked.swaps = Some(next()?.parse().context("--swaps")?),
                "--out" => asked.out = Some(PathBuf::from(next()?)),
                "--built" => asked.built = true,
                "--faults" => asked.faults = true,
                _ => bail!(
                    "cargo xtask soak [--minutes M | --swaps N] [--out DIR] [--built] [--faults]"
                ),
            }
        }
        if asked.swaps.is_some_and(|many| many < swaps::FEWEST) {
            bail!(
                "--swaps: {} at least, so that there are fifths to compare",
                swaps::FEWEST
            );
        }
        if !(0.5..=100_000.0).contains(&asked.minutes) {
            bail!("--minutes: half of one at least, so that there are fifths to compare");
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_read_and_bounded() {
        let read =
            |line: &str| Asked::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(read("--minutes 2.5 --built").unwrap().minutes, 2.5);
        assert_eq!(read("--swaps 300").unwrap().swaps, Some(300));
        for line in [
            "--minutes",
            "--minutes 0",
            "--minutes NaN",
            "--hours 1",
            "--swaps 3",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
        assert_eq!(Asked::read(&[]).unwrap().minutes, 10.0);
    }
}
