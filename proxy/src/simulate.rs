//! `tollgate simulate`: schedulers on virtual time, the same components as the live proxy runs.

use std::{
    collections::HashMap,
    error::Error,
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use serde_json::json;
use tollgate_dispatch::{Limits as QueueLimits, policy::Policy};
use tollgate_plugin::{Generation, GuestPolicy, HostLimits, Limits, Loader, Sandbox, TimeLimits};
use tollgate_simulate::{
    Generator, Job, Report, Service, Setup, page::page, recording, run, suite, table::table, trace,
};

use crate::{plugin, say};

/// What is simulated.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A component: FILE.wasm, `bundled:NAME`, or `fallback` for the built-in rules. Options follow
    /// as JSON: `bundled:dynamic-batch={"max-queue-delay-us":2000}`.
    #[arg(long, value_name = "SCHEDULER", required_unless_present = "suite")]
    scheduler: Option<String>,
    /// Plays what the bundled schedulers promise, and prints the figures as Markdown.
    #[arg(long, conflicts_with_all = ["scheduler", "compare", "replay"])]
    suite: bool,
    /// More schedulers, on the same requests.
    #[arg(long, value_name = "SCHEDULER", num_args = 1.., conflicts_with = "replay")]
    compare: Vec<String>,
    /// A CSV file, or a generator: poisson, bursty, diurnal or closed, with `:name=value,…` of rate,
    /// seconds, tenants, skew, models, keys, priorities, input, output, deadline-ms, prefixes,
    /// blocks; factor and period, amplitude and period, clients and think-us.
    #[arg(long, default_value = "poisson:rate=1000,seconds=10")]
    trace: String,
    /// Workers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    workers: u32,
    /// What they are: batch, with fixed-us, each-us, unit-us, jitter, lanes, transit-us; or
    /// continuous, with step-us, sequence-us, prefill-ns, chunk, sequences, block, cache.
    #[arg(long, default_value = "batch")]
    service: String,
    /// Batches that a proxy may have under way at one worker.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    slots: u32,
    /// Most requests in a batch.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    max_batch: u32,
    /// Proxies that share the workers and do not know of each other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    proxies: u16,
    /// Milliseconds between probes of a worker; 0: none.
    #[arg(long, default_value_t = 0)]
    probe_ms: u64,
    /// Models that each worker serves.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    models: u32,
    /// Requests that may wait at a proxy.
    #[arg(long, default_value_t = 65_536)]
    max_pending: usize,
    /// Seconds that a request may wait.
    #[arg(long, default_value_t = 30)]
    queue_timeout: u64,
    /// Of everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes the requests as CSV.
    #[arg(long, value_name = "FILE")]
    write_trace: Option<PathBuf>,
    /// Writes the reports as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the reports as a page with plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Plays a recording of `run --record` again, and says whether the scheduler decides the same.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

type Anything = Box<dyn Error>;

/// A scheduler of the command line; no generation: the built-in rules.
struct Scheduler {
    name: String,
    generation: Option<Arc<Generation>>,
}

/// A call may take so long here: only one that never ends takes longer. How busy the machine is must
/// not show in what comes out, and with the proxy's own limit it would.
const FOREVER: Duration = Duration::from_secs(60);

/// Simulates. False: a replay went another way than the recording, or a promise was not kept.
pub(crate) fn simulate(arguments: &Arguments) -> Result<bool, Anything> {
    let loader = Loader::new(Sandbox::new(HostLimits::default())?, None);
    if arguments.suite {
        return promises(&loader);
    }
    let schedulers = arguments
        .scheduler
        .iter()
        .chain(&arguments.compare)
        .map(|text| load(&loader, text))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(file) = &arguments.replay {
        return replay(file, &schedulers[0]);
    }
    let jobs = jobs(&arguments.trace)?;
    let setup = setup(arguments)?;
    if let Some(file) = &arguments.write_trace {
        if jobs(setup.seed).any(|job| job.again.is_some()) {
            return Err(
                "clients of a closed load ask when they were answered: that is no trace".into(),
            );
        }
        let mut file = BufWriter::new(File::create(file)?);
        trace::write(&mut file, jobs(setup.seed))?;
        file.flush()?;
    }
    let mut reports: Vec<(String, Report)> = Vec::new();
    for scheduler in &schedulers {
        let mut wrong = None;
        let mut policies = || {
            scheduler.policy().unwrap_or_else(|error| {
                wrong = Some(error);
                None
            })
        };
        let report = run(&setup, jobs(setup.seed), &mut policies)?;
        if let Some(error) = wrong {
            return Err(error);
        }
        reports.push((scheduler.name.clone(), report));
    }
    say(&table(&reports));
    if let Some(file) = &arguments.json {
        let all: Vec<_> = reports
            .iter()
            .map(|(name, report)| json!({"scheduler": name, "report": report.json()}))
            .collect();
        let text = json!({"setup": described(arguments), "reports": all});
        std::fs::write(file, format!("{text:#}\n"))?;
    }
    if let Some(file) = &arguments.html {
        let text = page("Simulated schedulers", &described(arguments), &reports);
        std::fs::write(file, text)?;
    }
    Ok(true)
}

/// Plays the suite with the bundled components.
fn promises(loader: &Loader) -> Result<bool, Anything> {
    let mut all = true;
    for (at, scenario) in suite::scenarios().into_iter().enumerate() {
        let mut wrong = None;
        let mut loaded: HashMap<String, Scheduler> = HashMap::new();
        for contender in &scenario.contenders {
            let text = match (contender.scheduler, contender.options) {
                ("fallback", _) => "fallback".to_owned(),
                (name, "") => format!("bundled:{name}"),
                (name, options) => format!("bundled:{name}={options}"),
            };
            loaded.insert(contender.name(), load(loader, &text)?);
        }
        let outcome = scenario.play(|contender| {
            let scheduler = loaded.get(&contender.name())?;
            scheduler.policy().unwrap_or_else(|error| {
                wrong = Some(error);
                None
            })
        })?;
        if let Some(error) = wrong {
            return Err(error);
        }
        let gap = if at > 0 { "\n" } else { "" };
        say(&format!("{gap}{}", scenario.markdown(&outcome)));
        all &= outcome.kept;
    }
    Ok(all)
}

fn setup(arguments: &Arguments) -> Result<Setup, Anything> {
    Ok(Setup {
        workers: arguments.workers,
        models: arguments.models,
        slots: arguments.slots,
        max_batch: arguments.max_batch,
        service: Service::read(&arguments.service)?,
        proxies: usize::from(arguments.proxies),
        probe: arguments.probe_ms.saturating_mul(1000),
        seed: arguments.seed,
        limits: QueueLimits {
            max_pending: arguments.max_pending,
            queue_timeout: arguments.queue_timeout.saturating_mul(1_000_000),
            ..QueueLimits::default()
        },
    })
}

fn described(it: &Arguments) -> String {
    format!(
        "trace {}\nworkers {} × {}, {} slots, batches of at most {}\nproxies {}, probes every {} \
         ms, seed {}",
        it.trace, it.workers, it.service, it.slots, it.max_batch, it.proxies, it.probe_ms, it.seed
    )
}

type Jobs = Box<dyn Iterator<Item = Job>>;

/// The requests of a trace, anew for each seed that is asked for.
fn jobs(trace: &str) -> Result<Box<dyn Fn(u64) -> Jobs>, Anything> {
    if trace.ends_with(".csv") {
        let file = File::open(trace).map_err(|error| format!("{trace}: {error}"))?;
        let jobs =
            trace::read(BufReader::new(file)).map_err(|error| format!("{trace}: {error}"))?;
        let jobs: Arc<[Job]> = jobs.into();
        return Ok(Box::new(move |_| {
            let jobs = jobs.clone();
            Box::new((0..jobs.len()).map(move |at| jobs[at].clone()))
        }));
    }
    let generator = Generator::read(trace)?;
    Ok(Box::new(move |seed| Box::new(generator.jobs(seed))))
}

fn load(loader: &Loader, text: &str) -> Result<Scheduler, Anything> {
    let (source, options) = match text.split_once("={") {
        Some((source, rest)) => (source, format!("{{{rest}")),
        None => (text, String::new()),
    };
    if source == "fallback" {
        return Ok(Scheduler {
            name: text.to_owned(),
            generation: None,
        });
    }
    let limits = Limits {
        time: TimeLimits {
            cpu: FOREVER,
            cpu_large: FOREVER,
            wall: FOREVER,
        },
        ..Limits::default()
    };
    let generation = plugin::source::load(loader, source, &options, limits)?;
    if generation.world() != "scheduler" {
        return Err(format!(
            "{source} is a component of the world {}",
            generation.world()
        )
        .into());
    }
    // Columns of a table: the file's name says enough.
    let short = std::path::Path::new(source).file_stem();
    let short = short.map_or(source.into(), |stem| stem.to_string_lossy());
    let short = short.trim_start_matches("bundled:");
    Ok(Scheduler {
        name: format!("{short}{options}"),
        generation: Some(generation),
    })
}

impl Scheduler {
    fn policy(&self) -> Result<Option<Box<dyn Policy>>, Anything> {
        match &self.generation {
            None => Ok(None),
            Some(generation) => Ok(Some(Box::new(GuestPolicy::new(generation)?))),
        }
    }
}

fn replay(file: &std::path::Path, scheduler: &Scheduler) -> Result<bool, Anything> {
    let text = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut wrong = None;
    let mut policies = || {
        scheduler.policy().unwrap_or_else(|error| {
            wrong = Some(error);
            None
        })
    };
    let replayed = recording::replay(BufReader::new(text), &mut policies)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    if let Some(error) = wrong {
        return Err(error);
    }
    let cut = if replayed.cut {
        "; it was cut short"
    } else {
        ""
    };
    let told = format!(
        "told {}, decided {}{cut}\n",
        replayed.told, replayed.decided
    );
    let same = replayed.difference.is_none();
    say(&match replayed.difference {
        None => format!("{told}the same\n"),
        Some(it) => format!(
            "{told}line {}: recorded {}\n        now {}\n",
            it.line, it.recorded, it.replayed
        ),
    });
    Ok(same)
}
