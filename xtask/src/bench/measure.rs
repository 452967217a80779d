//! Measurements: a stub and a proxy are started, warmed, loaded and looked at, case by case and
//! round by round.

use anyhow::{Context, Result};
use serde_json::json;

use super::house::{House, MODEL};
use super::load::{Load, Report};
use super::metrics::Metrics;
use super::results::{Measure, Record};
use super::rounds::order;
use super::running::Running;
use super::subjects::{Subject, Way};
use super::usage::Usage;

/// Seconds of load before anything counts, unless a scenario has its own.
pub(crate) const WARM: f64 = 1.0;
/// Tollgate's own account of the processor time that plugins took.
const GUEST_SECONDS: &str = "tollgate_plugin_seconds_total";

/// Names of figures, as scenarios give them and budgets look them up.
pub(crate) mod name {
    pub(crate) const RATE: &str = "requests/s";
    pub(crate) const CPU: &str = "CPU a request";
    pub(crate) const GUEST: &str = "of it guests";
    pub(crate) const CHECK: &str = "of it token check";
    pub(crate) const TOLD: &str = "of it telemetry";
    pub(crate) const P: [&str; 3] = ["p50", "p90", "p99"];
    pub(crate) const RSS: &str = "RSS";
    pub(crate) const CPU_TOKEN: &str = "CPU a token";
    pub(crate) const GUEST_TOKEN: &str = "guests a token";
    pub(crate) const TOKENS: &str = "tokens/s";
    pub(crate) const FIRST: [&str; 3] = ["first p50", "first p90", "first p99"];
    pub(crate) const BETWEEN: [&str; 3] = ["between p50", "between p90", "between p99"];
    pub(crate) const RSS_STREAM: &str = "RSS a stream";
    pub(crate) const MIB: &str = "MiB/s";
    pub(crate) const RAMP: &str = "last over first";
    pub(crate) const GROWTH: &str = "RSS, last over third wave";
    pub(crate) const READY: &str = "ready after";
    pub(crate) const CAPACITY: &str = "capacity";
    pub(crate) const SHARE: &str = "of capacity";
    pub(crate) const ROWS: &str = "rows/s";
    pub(crate) const IDEAL: &str = "of the ideal";
    pub(crate) const UNMERGED: &str = "over not merged";
    pub(crate) const TURNED_AWAY: &str = "turned away";
    pub(crate) const RSS_GROWTH: &str = "RSS, after over before";
    pub(crate) const REFUSED: [&str; 3] = ["away p50", "away p90", "away p99"];
}

/// One thing to measure: a subject on a way, in a setting.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What figures of cases are compared under.
    pub(crate) setting: String,
    pub(crate) subject: Subject,
    pub(crate) way: Way,
    /// More arguments of the stub.
    pub(crate) stub: Vec<String>,
    /// More arguments of the load generator.
    pub(crate) load: Vec<String>,
}

/// A scenario while it runs.
pub(crate) struct Bench<'a> {
    pub(crate) house: &'a House,
    /// Seconds of one measurement.
    pub(crate) seconds: u64,
    pub(crate) rounds: usize,
    /// Seconds of load before them.
    pub(crate) warm: f64,
    pub(crate) record: Record,
}

/// A stub and what stands before it, running.
pub(crate) struct Stage {
    pub(crate) stub: Running,
    pub(crate) proxy: Option<Running>,
}

impl Case {
    /// The load of this case.
    pub(crate) fn load(&self, house: &House) -> Result<Load> {
        let url = self.way.url(self.subject).context("nobody to ask")?;
        let load = Load::new(["--protocol", self.way.protocol, "--model", MODEL]);
        let load = load.with(["--target", &url, "--token", &house.token]);
        Ok(load.with(self.load.iter().cloned()))
    }
}

impl Stage {
    /// Starts both.
    pub(crate) fn set(house: &House, case: &Case) -> Result<Self> {
        let stub = house.stub(&case.stub)?;
        let proxy = house.proxy(case.subject, &case.way)?;
        Ok(Self { stub, proxy })
    }

    /// Ends both.
    pub(crate) fn clear(self) -> Result<()> {
        if let Some(proxy) = self.proxy {
            proxy.stop()?;
        }
        self.stub.stop()?;
        Ok(())
    }
}

/// What a subject did under load.
pub(crate) struct Loaded {
    pub(crate) report: Report,
    /// Nanoseconds.
    pub(crate) cpu: u64,
    /// Seconds, by the clock of the wall, which on a core of its own is the processor's; none
    /// where the proxy does not tell.
    pub(crate) guests: Option<f64>,
    pub(crate) after: Usage,
}

impl Bench<'_> {
    /// Of `cases`, those whose subject is here. Who is not is remembered with the reason.
    pub(crate) fn present(&mut self, cases: Vec<Case>) -> Vec<Case> {
        let (here, away): (Vec<_>, Vec<_>) = cases
            .into_iter()
            .partition(|case| self.house.absent(case.subject).is_none());
        for case in away {
            let why = self.house.absent(case.subject).unwrap_or_default();
            let name = case.subject.name().to_owned();
            self.record.absent.insert(name, format!("not here: {why}"));
        }
        here
    }

    /// Takes every case in every round. A measurement that fails is told and remembered, and
    /// gives no figure.
    pub(crate) fn rounds(
        &mut self,
        cases: &[Case],
        mut measure: impl FnMut(&mut Self, &Case, &Stage) -> Result<Vec<Measure>>,
    ) {
        for round in 0..self.rounds {
            for at in order(cases.len(), round, self.rounds) {
                let case = &cases[at];
                let (setting, subject) = (&case.setting, case.subject.name());
                let measured = Stage::set(self.house, case).and_then(|stage| {
                    self.remember(case, &stage);
                    let measured = measure(self, case, &stage)?;
                    stage.clear()?;
                    Ok(measured)
                });
                let of = format!("round {}/{}", round + 1, self.rounds);
                match measured {
                    Ok(values) => {
                        println!("  {of}  {setting:<32} {subject:<20} {}", brief(&values));
                        self.record.add(setting, subject, &values);
                    }
                    Err(problem) => {
                        let line = format!("{of}, {setting}, {subject}: {problem:#}");
                        println!("  FAILED  {line}");
                        self.record.failures.push(self.house.portable(&line));
                    }
                }
            }
        }
        let mut settings: Vec<&str> = cases.iter().map(|case| case.setting.as_str()).collect();
        settings.dedup();
        let mut arranged: Vec<&Case> = cases.iter().collect();
        arranged.sort_by_key(|case| {
            let setting = settings.iter().position(|name| *name == case.setting);
            (setting, case.subject)
        });
        let arranged: Vec<_> = arranged
            .into_iter()
            .map(|case| (case.setting.clone(), case.subject.name().to_owned()))
            .collect();
        self.record.arrange(&arranged);
    }

    /// Warms a stage, then loads it for the seconds of a measurement.
    ///
    /// # Errors
    /// When anything but an answer as expected came back, or the proxy is gone.
    pub(crate) fn load(&mut self, case: &Case, stage: &Stage) -> Result<Loaded> {
        let seconds = self.seconds;
        self.loaded(case, stage, &case.load(self.house)?, seconds)
    }

    /// As [`Bench::load`], with a load of one's own.
    ///
    /// # Errors
    /// As [`Bench::load`].
    pub(crate) fn loaded(
        &mut self,
        case: &Case,
        stage: &Stage,
        load: &Load,
        seconds: u64,
    ) -> Result<Loaded> {
        let house = self.house;
        let run = |seconds: f64| {
            let load = load.with(["--duration", &seconds.to_string()]);
            load.run(&house.programs(), &house.other_cores)
        };
        run(self.warm)?.0.sound().context("while it was warmed")?;
        let ours = case.subject.ours();
        let guests_before = self.guest_seconds(ours)?;
        let before = house.usage(stage.proxy.as_ref())?;
        #[expect(clippy::cast_precision_loss, reason = "seconds that somebody waits")]
        let (report, raw) = run(seconds as f64)?;
        let after = house.usage(stage.proxy.as_ref())?;
        let guests_after = self.guest_seconds(ours)?;
        self.record.raw.push(json!({
            "setting": case.setting,
            "subject": case.subject.name(),
            "load": raw,
            "before": before,
            "after": after,
            "guest_seconds": [guests_before, guests_after],
        }));
        report.sound()?;
        Ok(Loaded {
            cpu: after.since(&before),
            guests: guests_before.zip(guests_after).map(|(a, b)| b - a),
            report,
            after,
        })
    }

    fn guest_seconds(&self, ours: bool) -> Result<Option<f64>> {
        let metrics = if ours {
            self.house.metrics()?
        } else {
            Metrics::default()
        };
        Ok(metrics.sum(GUEST_SECONDS))
    }

    /// Keeps the commands of a case, once.
    fn remember(&mut self, case: &Case, stage: &Stage) {
        let house = self.house;
        let (setting, subject) = (&case.setting, case.subject.name());
        let mut keep = |what: String, line: &str| {
            let line = house.portable(line);
            self.record.commands.entry(what).or_insert(line);
        };
        keep(format!("{setting}: stub"), &stage.stub.line);
        if let Some(proxy) = &stage.proxy {
            keep(subject.to_owned(), &proxy.line);
        }
        if let Ok(load) = case.load(house) {
            let command = load.command(&house.programs(), &house.other_cores);
            keep(
                format!("{setting}: load of {subject}"),
                &crate::process::shown(&command),
            );
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
impl Loaded {
    /// Requests a second, processor time a request and what of it guests took, memory.
    pub(crate) fn by_request(&self, subject: Subject) -> Vec<Measure> {
        let requests = self.report.requests as f64;
        let mut figures = vec![figure(name::RATE, "/s", self.report.rps)];
        if subject != Subject::Nobody {
            figures.push(figure(name::CPU, "µs", self.cpu as f64 / 1e3 / requests));
            if let Some(guests) = self.guests {
                figures.push(figure(name::GUEST, "µs", guests * 1e6 / requests));
            }
            figures.push(figure(name::RSS, "MiB", self.after.rss()));
        }
        figures
    }

    /// The same by token, with when they came.
    pub(crate) fn by_token(&self, subject: Subject) -> Vec<Measure> {
        let tokens = self.report.tokens as f64;
        let rate = tokens / self.report.seconds;
        let mut figures = vec![figure(name::TOKENS, "/s", rate)];
        if subject != Subject::Nobody {
            figures.push(figure(
                name::CPU_TOKEN,
                "µs",
                self.cpu as f64 / 1e3 / tokens,
            ));
            if let Some(guests) = self.guests {
                figures.push(figure(name::GUEST_TOKEN, "µs", guests * 1e6 / tokens));
            }
            figures.push(figure(name::RSS, "MiB", self.after.rss()));
        }
        figures.extend(self.report.first_token_us.figures(name::FIRST));
        figures.extend(self.report.inter_token_us.figures(name::BETWEEN));
        figures
    }
}

/// A value under a name.
pub(crate) const fn figure(name: &'static str, unit: &'static str, value: f64) -> Measure {
    Measure { name, unit, value }
}

/// Arguments, from words.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Values on one line.
pub(crate) fn brief(values: &[Measure]) -> String {
    let shown: Vec<String> = values
        .iter()
        .map(|it| format!("{} {} {}", it.name, super::table::number(it.value), it.unit))
        .collect();
    shown.join(", ")
}
