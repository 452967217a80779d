//! What schedulers promise, as runs whose figures tell whether they keep it.
//!
//! Each scenario names a setup, a load and contenders, and what has to be so of their reports. The
//! figures are of virtual time: the same on every machine, so that they may be written down.

use tollgate_dispatch::policy::Policy;

use crate::report::Report;
use crate::run::{Policies, Setup, run};
use crate::table::{number, percent};
use crate::{Generator, Service, SimulateError};

/// Somebody who rules in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// The scheduler's name; `fallback`: the driver's own rules.
    pub scheduler: &'static str,
    /// Its options, as JSON; empty: none.
    pub options: &'static str,
    /// Proxies that share the workers.
    pub proxies: usize,
}

/// A figure of a report, in words.
type Figure = (&'static str, fn(&Report) -> String);

/// What has to be so of the contenders' reports, in their order.
type Promise = fn(&[Report]) -> bool;

/// One promise, and how it is tried.
pub struct Scenario {
    /// A short name.
    pub name: &'static str,
    /// What is promised.
    pub promise: &'static str,
    /// What is asked, as on the command line.
    pub load: &'static str,
    /// What workers are, as on the command line.
    pub service: &'static str,
    /// How many workers.
    pub workers: u32,
    /// Batches under way at one.
    pub slots: u32,
    /// Requests in one.
    pub max_batch: u32,
    /// Milliseconds between probes; 0: none.
    pub probe_ms: u64,
    /// Who rules.
    pub contenders: Vec<Contender>,
    figures: Vec<Figure>,
    holds: Promise,
}

/// What came of a scenario.
pub struct Outcome {
    /// The contenders' reports, in their order.
    pub reports: Vec<Report>,
    /// The promise was kept.
    pub kept: bool,
}

const BATCHES: &str = "batch:fixed-us=5000,each-us=300,jitter=0.05";
/// A worker that does one batch at once, and to which one is on its way for half a millisecond.
const PAYING: &str = "batch:fixed-us=20000,each-us=300,jitter=0.05,transit-us=500";
const LINEAR: &str = "batch:fixed-us=0,each-us=300,jitter=0.05,transit-us=500";
const STREAMS: &str = "continuous:sequences=16,prefill-ns=20000";
const CACHES: &str = "continuous:sequences=16,prefill-ns=100000,cache=256,block=64";

const DYNAMIC: Contender = one("dynamic-batch", "");
const LOADED: Contender = one("least-loaded", "");
const FCFS: Contender = one("fcfs", "");
const FALLBACK: Contender = one("fallback", "");

const fn one(scheduler: &'static str, options: &'static str) -> Contender {
    Contender {
        scheduler,
        options,
        proxies: 1,
    }
}

const THROUGHPUT: Figure = ("throughput, 1/s", |it| number(it.throughput));
const OF_IDEAL: Figure = ("of the ideal", |it| percent(of_ideal(it)));
const MEAN_BATCH: Figure = ("mean batch", |it| number(it.mean_batch));
const WAITS: Figure = ("wait p50 / p99, ms", |it| pair(it.wait.p50, it.wait.p99));
const FIRSTS: Figure = ("first output p50 / p99, ms", |it| {
    pair(it.first.p50, it.first.p99)
});
const LATENCY: Figure = ("latency p50 / p99, ms", |it| {
    pair(it.latency.p50, it.latency.p99)
});
const JAIN: Figure = ("Jain", |it| {
    it.fairness.map_or("–".into(), |it| format!("{it:.3}"))
});
const INVERSIONS: Figure = ("inversions", |it| it.inversions.to_string());
const IN_TIME: Figure = ("in time", |it| in_time(it).to_string());
const LATE: Figure = ("served too late", |it| it.late.to_string());
const CACHED: Figure = ("found in caches", |it| percent(it.cached));

fn pair(one: f64, other: f64) -> String {
    format!("{} / {}", number(one), number(other))
}

fn of_ideal(it: &Report) -> f64 {
    it.throughput / it.ideal
}

fn in_time(it: &Report) -> u64 {
    it.done - it.late
}

fn fair(it: &Report) -> f64 {
    it.fairness.unwrap_or(0.0)
}

/// All of them.
#[must_use]
pub fn scenarios() -> Vec<Scenario> {
    let batches = |name, promise, load, contenders, figures, holds| Scenario {
        name,
        promise,
        load,
        service: BATCHES,
        workers: 4,
        slots: 1,
        max_batch: 16,
        probe_ms: 0,
        contenders,
        figures,
        holds,
    };
    let streams = |name, promise, load, contenders, figures, holds| Scenario {
        service: STREAMS,
        slots: 24,
        max_batch: 1,
        ..batches(name, promise, load, contenders, figures, holds)
    };
    let ahead = |name, promise, contenders, holds| Scenario {
        workers: 1,
        slots: 2,
        max_batch: 32,
        ..batches(
            name,
            promise,
            "closed:clients=64,think-us=3000,seconds=10",
            contenders,
            vec![THROUGHPUT, OF_IDEAL, MEAN_BATCH, LATENCY],
            holds,
        )
    };
    let shared = |of: Contender| [1, 4, 16].map(|proxies| Contender { proxies, ..of });
    vec![
        batches(
            "Batches at saturation",
            "dynamic-batch serves at least 95 % of what the workers could at best, with a delay and without.",
            "poisson:rate=9000,seconds=5",
            vec![
                DYNAMIC,
                one("dynamic-batch", r#"{"max-queue-delay-us":3000}"#),
                FCFS,
                FALLBACK,
            ],
            vec![THROUGHPUT, OF_IDEAL, MEAN_BATCH],
            |all| all[..2].iter().all(|it| of_ideal(it) >= 0.95),
        ),
        Scenario {
            service: PAYING,
            ..ahead(
                "Batches ahead",
                "Where the worker's second slot only keeps the next batch ready, that batch grows while the first one runs: 64 clients that wait for their answers get at least 95 % of what the worker could at best, and a quarter more than when the slot is filled at once.",
                vec![
                    one("dynamic-batch", r#"{"ahead":1}"#),
                    DYNAMIC,
                    one("dynamic-batch", r#"{"max-queue-delay-us":20000}"#),
                    FCFS,
                    FALLBACK,
                ],
                |all| of_ideal(&all[0]) >= 0.95 && all[0].throughput >= 1.25 * all[1].throughput,
            )
        },
        Scenario {
            service: LINEAR,
            ..ahead(
                "Batches ahead that do not pay",
                "Where a batch takes as long as its members one by one, to hold it costs nothing: the worker is without work for one part in a hundred at most.",
                vec![
                    one("dynamic-batch", r#"{"ahead":1}"#),
                    DYNAMIC,
                    one("dynamic-batch", r#"{"max-batch":1}"#),
                ],
                |all| {
                    all[0].utilisation >= 0.99
                        && all[1..]
                            .iter()
                            .all(|it| all[0].throughput >= 0.99 * it.throughput)
                },
            )
        },
        streams(
            "Streams at saturation",
            "least-loaded serves at least 95 % of what the workers could at best.",
            "poisson:rate=70,seconds=60,input=200,output=100",
            vec![LOADED, FCFS, FALLBACK],
            vec![THROUGHPUT, OF_IDEAL, LATENCY],
            |all| of_ideal(&all[0]) >= 0.95,
        ),
        batches(
            "Waits below saturation",
            "With a delay of 4 ms, 99 of 100 requests wait no longer than that.",
            "poisson:rate=400,seconds=30",
            vec![
                one("dynamic-batch", r#"{"max-queue-delay-us":4000}"#),
                DYNAMIC,
                FCFS,
                FALLBACK,
            ],
            vec![WAITS, MEAN_BATCH, LATENCY],
            |all| all[0].wait.p99 <= 4.0 && all[0].utilisation < 0.8,
        ),
        batches(
            "Shares, batches",
            "Eight tenants of unequal demand who all wait are given equal shares: Jain's index is at least 0.95.",
            "poisson:rate=9000,seconds=5,tenants=8,skew=0.5,input=20,output=0",
            vec![
                DYNAMIC,
                one("dynamic-batch", r#"{"fair":false}"#),
                FCFS,
                FALLBACK,
            ],
            vec![JAIN, THROUGHPUT],
            |all| fair(&all[0]) >= 0.95 && fair(&all[1]) < fair(&all[0]),
        ),
        streams(
            "Shares, streams",
            "The same of streams.",
            "poisson:rate=120,seconds=20,input=200,output=100,tenants=8,skew=0.5",
            vec![
                LOADED,
                one("least-loaded", r#"{"fair":false}"#),
                FCFS,
                FALLBACK,
            ],
            vec![JAIN, THROUGHPUT],
            |all| fair(&all[0]) >= 0.95 && fair(&all[1]) < fair(&all[0]),
        ),
        streams(
            "Shares, wrong guesses",
            "The same when half of the tenants are believed to want a tenth of what they will get: what a request has used is settled.",
            "poisson:rate=120,seconds=60,input=20,output=200,tenants=8,skew=0.5,modesty=10",
            vec![
                LOADED,
                one("least-loaded", r#"{"fair":false}"#),
                FCFS,
                FALLBACK,
            ],
            vec![JAIN, THROUGHPUT],
            |all| fair(&all[0]) >= 0.95,
        ),
        batches(
            "Priorities, batches",
            "Nobody takes the last room while one of higher priority waits for it.",
            "poisson:rate=5000,seconds=5,priorities=3,keys=3",
            vec![
                DYNAMIC,
                one("dynamic-batch", r#"{"max-queue-delay-us":3000}"#),
                LOADED,
                FCFS,
                FALLBACK,
            ],
            vec![INVERSIONS, THROUGHPUT],
            |all| all[..3].iter().all(|it| it.inversions == 0),
        ),
        batches(
            "Deadlines",
            "Under overload, what is served is in time but for one of fifty, and more is in time than when nobody is turned away early.",
            "poisson:rate=9000,seconds=5,deadline-ms=60",
            vec![
                DYNAMIC,
                one("dynamic-batch", r#"{"early-rejection":false}"#),
                FCFS,
                FALLBACK,
            ],
            vec![IN_TIME, LATE, THROUGHPUT, OF_IDEAL],
            |all| all[0].late * 50 < all[0].done && in_time(&all[0]) > in_time(&all[1]),
        ),
        Scenario {
            workers: 16,
            slots: 32,
            probe_ms: 200,
            ..streams(
                "Proxies that share workers",
                "Four and sixteen proxies that know nothing of each other but what probes tell them do not crowd the same workers: of 100 requests 99 are done within half as long again as with one proxy.",
                "poisson:rate=100,seconds=20,input=200,output=100",
                [shared(LOADED), shared(FALLBACK)].concat(),
                vec![LATENCY, THROUGHPUT],
                |all| {
                    all[1..3]
                        .iter()
                        .all(|it| it.latency.p99 < 1.5 * all[0].latency.p99 && it.done == it.came)
                },
            )
        },
        Scenario {
            workers: 8,
            slots: 16,
            service: CACHES,
            probe_ms: 100,
            ..streams(
                "Beginnings, one proxy and many",
                "What begins alike meets at one worker, at many proxies nearly as often as at one: they choose by the same hash.",
                "poisson:rate=30,seconds=60,input=1000,output=40,prefixes=128,blocks=12",
                [
                    shared(LOADED),
                    shared(one("least-loaded", r#"{"affinity-depth":0}"#)),
                    shared(one("least-loaded", r#"{"affinity":false}"#)),
                ]
                .concat(),
                vec![CACHED, FIRSTS],
                |all| {
                    all[1..3].iter().all(|it| it.cached > 0.9 * all[0].cached)
                        && all[2].cached > all[5].cached
                        && all[0].cached > all[6].cached
                },
            )
        },
    ]
}

impl Contender {
    /// As on the command line.
    #[must_use]
    pub fn name(&self) -> String {
        match self.options {
            "" => self.scheduler.to_owned(),
            options => format!("{} `{options}`", self.scheduler),
        }
    }
}

impl Scenario {
    /// Runs it for each contender, with the policies that `policy` makes of it: one for each proxy;
    /// none: the driver's own rules.
    ///
    /// # Errors
    /// What it says of itself cannot be read.
    pub fn play(
        &self,
        mut policy: impl FnMut(&Contender) -> Option<Box<dyn Policy>>,
    ) -> Result<Outcome, SimulateError> {
        let reports = self
            .contenders
            .iter()
            .map(|contender| self.run(contender, &mut || policy(contender)))
            .collect::<Result<Vec<_>, _>>()?;
        let kept = (self.holds)(&reports);
        Ok(Outcome { reports, kept })
    }

    fn run(
        &self,
        contender: &Contender,
        policies: &mut Policies<'_>,
    ) -> Result<Report, SimulateError> {
        let setup = Setup {
            workers: self.workers,
            models: 1,
            slots: self.slots,
            max_batch: self.max_batch,
            service: Service::read(self.service)?,
            proxies: contender.proxies,
            probe: self.probe_ms * 1000,
            seed: 1,
            limits: tollgate_dispatch::Limits {
                max_pending: 20_000,
                ..tollgate_dispatch::Limits::default()
            },
        };
        let jobs = Generator::read(self.load)?.jobs(setup.seed);
        run(&setup, jobs, policies)
    }

    /// As Markdown: what is promised, how it was tried, and a line for each contender.
    #[must_use]
    pub fn markdown(&self, outcome: &Outcome) -> String {
        let several = self.contenders.iter().any(|it| it.proxies > 1);
        let mut head = vec!["scheduler".to_owned()];
        head.extend(several.then(|| "proxies".to_owned()));
        head.extend(self.figures.iter().map(|(name, _)| (*name).to_owned()));
        let rows = self.contenders.iter().zip(&outcome.reports);
        let rows = rows.map(|(contender, report)| {
            let mut row = vec![contender.name()];
            row.extend(several.then(|| contender.proxies.to_string()));
            row.extend(self.figures.iter().map(|(_, show)| show(report)));
            row
        });
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<String> = (0..head.len())
            .map(|at| if at == 0 { "---" } else { "---:" }.to_owned())
            .collect();
        let rows: String = rows.map(|row| line(&row)).collect();
        let kept = if outcome.kept { "Kept" } else { "**Not kept**" };
        let probes = match self.probe_ms {
            0 => String::new(),
            every => format!(" --probe-ms {every}"),
        };
        format!(
            "### {}\n\n{} {kept}.\n\n`--trace {} --service {} --workers {} --slots {} --max-batch {}{probes} \
             --max-pending 20000`\n\n{}{}{rows}",
            self.name,
            self.promise,
            self.load,
            self.service,
            self.workers,
            self.slots,
            self.max_batch,
            line(&head),
            line(&rule),
        )
    }
}
