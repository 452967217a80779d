//! Hostile plugins, and a hostile scheduler, beside healthy ones: what clients of the healthy ones
//! notice, beside the same load without an attack.
//!
//! 1. The healthy load is far below what the proxy can do: what fails is harmed, and not crowded out.
//! 2. Each attacker has a route of its own and asks it at a pace of its own, whatever it is answered.
//!    What it may take is bounded as it is for any plugin, by the default limits and quarantine.
//! 3. A healthy request that fails is the end of a measurement, and so is an attack that no metric or
//!    no line of the log names.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::json;

use super::swap;
use crate::bench::ask::pause;
use crate::bench::house::MODEL;
use crate::bench::load::Load;
use crate::bench::measure::{Bench, Case, Stage, figure, name, words};
use crate::bench::metrics::Metrics;
use crate::bench::results::Measure;
use crate::bench::running::Running;
use crate::bench::subjects::{HOSTILE, PAIR, Subject};

/// Healthy requests a second.
const RATE: &str = "1000";
pub(crate) const SETTING: &str = "mixed, 1000/s";
/// From one call of an attacker to its next.
const PACE: Duration = Duration::from_millis(50);
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds of a run before it counts.
const WARM: u64 = 1;
/// The healthy plugins.
const HEALTHY: [&str; 2] = ["openai", "tgis"];

/// Who attacks: by the name that `tests/bench/hostile.yaml` gives to the plugin or scheduler, its
/// route and its prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attack {
    Plugin(&'static str),
    Scheduler(&'static str),
}

const ATTACKS: [Attack; 6] = [
    Attack::Plugin("traps"),
    Attack::Plugin("loops"),
    Attack::Plugin("grows"),
    Attack::Plugin("floods"),
    Attack::Plugin("raves"),
    Attack::Scheduler("crashes"),
];

/// What an attacker was answered.
#[derive(Debug, Default, Serialize)]
struct Answered {
    calls: u64,
    /// By status, or `none`.
    statuses: BTreeMap<String, u64>,
    /// The first `Proxy-Status`: whom a client is told to blame.
    blamed: Option<String>,
}

/// Where an operator reads who it was.
#[derive(Debug, PartialEq, Serialize)]
struct Named {
    /// The counter of what it did, and where it stands.
    metric: &'static str,
    times: f64,
    /// How often it was put into quarantine, and how many were refused there.
    quarantines: f64,
    refused: f64,
    /// Lines of the log that name it.
    lines: usize,
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let house = bench.house;
    let components = house.components();
    for (from, name) in [
        ("openai", "openai"),
        ("tgis", "tgis"),
        ("fcfs", "fcfs"),
        ("fixtures/bad", "bad"),
        ("fixtures/lifo", "lifo"),
    ] {
        let from = components.join(format!("{from}.wasm"));
        fs::copy(&from, house.folder.join(format!("{name}.wasm"))).with_context(|| {
            format!(
                "{}: `cargo xtask components {name}` makes it",
                from.display()
            )
        })?;
    }
    let url = HOSTILE.url(Subject::Tollgate).context("nobody to ask")?;
    let mix = house.folder.join("hostile-mix.json");
    fs::write(&mix, swap::kinds(&url).to_string())?;
    let load = Load::new(["--target", &url, "--token", &house.token])
        .with(["--mix", &mix.to_string_lossy(), "--connections", "32"])
        .with(["--streams-per-connection", "8", "--rate", RATE]);
    let cases: Vec<Case> = [PAIR[0], Subject::Beside, PAIR[1]]
        .into_iter()
        .map(|subject| Case {
            setting: SETTING.to_owned(),
            subject,
            way: HOSTILE,
            stub: words("--tokens 16 --interval 1000"),
            load: words(&format!("--rate {RATE}")),
        })
        .collect();
    bench.rounds(&cases, |bench, case, stage| {
        measured(bench, case, stage, &load)
    });
    Ok(())
}

fn measured(
    bench: &mut Bench<'_>,
    case: &Case,
    stage: &Stage,
    load: &Load,
) -> Result<Vec<Measure>> {
    let house = bench.house;
    let run = |seconds: u64| {
        let load = load.with(["--duration", &seconds.to_string()]);
        load.run(&house.programs(), &house.other_cores)
    };
    run(WARM)?.0.sound().context("while it was warmed")?;
    let address = HOSTILE.address(case.subject).context("nobody to ask")?;
    let over = AtomicBool::new(false);
    let seconds = bench.seconds;
    let attacked = case.subject == Subject::Beside;
    let (loaded, answered) = std::thread::scope(|scope| {
        let attacks = ATTACKS.iter().filter(|_| attacked);
        let attacking: Vec<_> = attacks
            .map(|attack| scope.spawn(|| attack.keep_on(address, &over)))
            .collect();
        let loaded = run(seconds);
        over.store(true, Ordering::Relaxed);
        let answered: Vec<Answered> = attacking
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect();
        (loaded, answered)
    });
    let (report, raw) = loaded?;
    let metrics = house.metrics()?;
    let proxy = stage.proxy.as_ref().context("there is no proxy")?;
    let named: Vec<Named> = match attacked {
        true => ATTACKS.iter().map(|it| it.named(&metrics, proxy)).collect(),
        false => Vec::new(),
    };
    bench.record.raw.push(json!({
        "setting": case.setting,
        "subject": case.subject.name(),
        "report": raw,
        "attacks": ATTACKS.iter().zip(answered.iter().zip(&named)).map(|(attack, (answered, named))| json!({
            "attack": attack.name(), "answered": answered, "named": named,
        })).collect::<Vec<_>>(),
    }));
    for (attack, (answered, named)) in ATTACKS.iter().zip(answered.iter().zip(&named)) {
        println!("    {}", told(*attack, answered, named));
    }
    report.sound().context("healthy requests were harmed")?;
    if attacked {
        judge(&answered, &named, &metrics)?;
    }
    let after = house.usage(Some(proxy))?;
    let mut figures = swap::failures(&report);
    figures.extend(report.latency_us.figures(name::P));
    figures.extend(report.inter_token_us.figures(name::BETWEEN));
    figures.push(figure(name::RSS, "MiB", after.rss()));
    Ok(figures)
}

/// One line about an attack.
fn told(attack: Attack, answered: &Answered, named: &Named) -> String {
    let statuses: Vec<String> = answered
        .statuses
        .iter()
        .map(|(status, count)| format!("{status}: {count}"))
        .collect();
    let Named {
        metric,
        times,
        quarantines,
        refused,
        lines,
    } = named;
    format!(
        "{:<8} {} calls, answered {}; {metric} {times}, quarantined {quarantines}×, refused there \
         {refused}; in {lines} lines of the log; {}",
        attack.name(),
        answered.calls,
        statuses.join(", "),
        answered.blamed.as_deref().unwrap_or("no client is told"),
    )
}

/// Whether every attack took place and is told, and no healthy plugin is blamed for one.
fn judge(answered: &[Answered], named: &[Named], metrics: &Metrics) -> Result<()> {
    if answered.len() != ATTACKS.len() {
        bail!("an attacker panicked");
    }
    for (attack, (answered, named)) in ATTACKS.iter().zip(answered.iter().zip(named)) {
        if answered.calls == 0 || answered.statuses.contains_key(NONE) {
            bail!("{}: not answered: {answered:?}", attack.name());
        }
        if named.times == 0.0 || named.lines == 0 {
            bail!("{} is not named: {named:?}", attack.name());
        }
    }
    for name in HEALTHY {
        let traps = metrics.sum_of(TRAPS, &format!("plugin=\"{name}\""));
        if traps != 0.0 {
            bail!("{name} is healthy, and {traps} of its instances were ended");
        }
    }
    Ok(())
}

const TRAPS: &str = "tollgate_plugin_traps_total";
const REPLACED: &str = "tollgate_scheduler_replaced_total";
/// In the place of a status.
const NONE: &str = "none";

impl Attack {
    const fn name(self) -> &'static str {
        match self {
            Self::Plugin(name) | Self::Scheduler(name) => name,
        }
    }

    /// What it sends.
    fn request(self) -> String {
        let (path, body) = match self {
            Self::Plugin(_) => ("/bad/echo", json!({})),
            Self::Scheduler(_) => (
                "/v1/completions",
                json!({"model": MODEL, "prompt": "x", "max_tokens": 16}),
            ),
        };
        let body = body.to_string();
        format!(
            "POST /{}{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.name(),
            body.len()
        )
    }

    /// Asks at its pace until it is over. A call that takes longer makes the next ones late, and
    /// none of them is left out.
    fn keep_on(self, address: SocketAddr, over: &AtomicBool) -> Answered {
        let request = self.request();
        let mut answered = Answered::default();
        let begun = Instant::now();
        for call in 0_u32.. {
            pause((PACE * call).saturating_sub(begun.elapsed()));
            if over.load(Ordering::Relaxed) {
                break;
            }
            answered.calls += 1;
            answered.count(&ask(address, &request).unwrap_or_default());
        }
        answered
    }

    fn named(self, metrics: &Metrics, proxy: &Running) -> Named {
        let name = self.name();
        match self {
            Self::Plugin(_) => {
                let sum = |family| metrics.sum_of(family, &format!("plugin=\"{name}\""));
                Named {
                    metric: TRAPS,
                    times: sum(TRAPS),
                    quarantines: sum("tollgate_plugin_quarantines_total"),
                    refused: sum("tollgate_plugin_quarantine_refused_total"),
                    lines: proxy.lines(&["a plugin failed", &format!("\"plugin\":\"{name}\"")]),
                }
            }
            Self::Scheduler(_) => Named {
                metric: REPLACED,
                times: metrics.sum_of(REPLACED, &format!("scheduler=\"{name}\"")),
                quarantines: 0.0,
                refused: 0.0,
                lines: proxy.lines(&[
                    "take a scheduler's place",
                    &format!("\"scheduler\":\"{name}\""),
                ]),
            },
        }
    }
}

/// An answer's head; empty when there is none.
fn ask(address: SocketAddr, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, _) = answer.split_once("\r\n\r\n").context("no whole head")?;
    Ok(head.to_owned())
}

impl Answered {
    /// Takes an answer's head in.
    fn count(&mut self, head: &str) {
        let status = head.split(' ').nth(1).unwrap_or(NONE);
        *self.statuses.entry(status.to_owned()).or_default() += 1;
        if self.blamed.is_none() {
            let fields = head.lines().filter_map(|line| line.split_once(": "));
            let mut fields = fields.filter(|(name, _)| name.eq_ignore_ascii_case("proxy-status"));
            self.blamed = fields.next().map(|(_, value)| value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_status_and_the_culprit_is_read() {
        let mut answered = Answered::default();
        answered.count("HTTP/1.1 200 OK\r\nserver: x");
        answered.count("HTTP/1.1 502 Bad Gateway\r\nProxy-Status: tollgate; details=\"a\"");
        answered.count("HTTP/1.1 502 Bad Gateway");
        answered.count("");
        let statuses: Vec<_> = answered.statuses.iter().map(|(k, v)| (&**k, *v)).collect();
        assert_eq!(statuses, [("200", 1), ("502", 2), ("none", 1)]);
        assert_eq!(answered.blamed.as_deref(), Some("tollgate; details=\"a\""));
    }

    #[test]
    fn an_attack_that_nothing_names_is_no_good_measurement() {
        let answered = || {
            ATTACKS.map(|_| {
                let mut answered = Answered {
                    calls: 1,
                    ..Answered::default()
                };
                answered.count("HTTP/1.1 502 Bad Gateway");
                answered
            })
        };
        let named = |lines| {
            ATTACKS.map(|_| Named {
                metric: TRAPS,
                times: 1.0,
                quarantines: 0.0,
                refused: 0.0,
                lines,
            })
        };
        let healthy = Metrics::default();
        assert!(judge(&answered(), &named(1), &healthy).is_ok());
        assert!(judge(&answered(), &named(0), &healthy).is_err());
        let blamed = Metrics::read("tollgate_plugin_traps_total{plugin=\"tgis\"} 1\n");
        assert!(judge(&answered(), &named(1), &blamed).is_err());
    }

    #[test]
    fn every_attacker_is_in_the_configuration_with_a_route_of_its_own() {
        let yaml = include_str!("../../../../tests/bench/hostile.yaml");
        for attack in ATTACKS {
            let prefix = format!("prefix: /{},", attack.name());
            assert_eq!(yaml.matches(&prefix).count(), 1, "{prefix}");
            assert!(
                attack
                    .request()
                    .starts_with(&format!("POST /{}/", attack.name()))
            );
        }
    }
}
