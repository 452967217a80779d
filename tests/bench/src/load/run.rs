//! Closed and open loops: who may begin a request, and when.
//!
//! Open loop, in order:
//! 1. The pacer walks through the schedule and, at each instant, gives out one permit.
//! 2. A lane that is free takes a permit, and with it the next instant of its own copy of the same
//!    schedule: so a request that found no free lane knows when it was due. Nothing is queued.
//! 3. After the last instant every lane gets one permit more, finds the schedule at its end, and
//!    ends. What was due and not begun when the drain is over is counted as unsent.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    fault::{Fault, Trouble},
    lane::{Lane, Turn},
    options::{Mode, Pacing, Plan, Until},
    record::{Recorder, Report},
    schedule::Schedule,
};
use crate::{alarm::Alarm, process::Usage};

/// Who may begin, and when.
struct Gate {
    /// From when on requests count.
    from: Instant,
    rule: Rule,
    /// Requests that count and have begun.
    begun: AtomicU64,
}

enum Rule {
    /// Until an instant.
    Time(Instant),
    /// So many that count.
    Requests(u64),
    /// By a schedule.
    Due {
        schedule: Mutex<Schedule>,
        permits: Semaphore,
    },
}

impl Gate {
    /// The next request of a lane; none when there is none left.
    async fn next(&self) -> Option<Turn> {
        let due = match &self.rule {
            Rule::Time(until) => Some(Instant::now()).filter(|now| now < until),
            Rule::Requests(count) => {
                let now = Instant::now();
                if now >= self.from && self.begun.fetch_add(1, Ordering::Relaxed) >= *count {
                    self.begun.fetch_sub(1, Ordering::Relaxed);
                    return None;
                }
                let counted = now >= self.from;
                return Some(Turn { due: now, counted });
            }
            Rule::Due { schedule, permits } => {
                permits.acquire().await.ok()?.forget();
                schedule.lock().next()
            }
        }?;
        let counted = due >= self.from;
        self.begun.fetch_add(u64::from(counted), Ordering::Relaxed);
        Some(Turn { due, counted })
    }

    /// What was due and has not begun.
    fn unsent(&self) -> u64 {
        match &self.rule {
            Rule::Due { schedule, .. } => {
                let rest = schedule.lock().clone();
                rest.filter(|due| *due >= self.from).count() as u64
            }
            _ => 0,
        }
    }
}

/// Runs a closed or an open loop to its end.
pub(super) async fn run(plan: Plan) -> io::Result<Report> {
    paced(plan, Alarm::fine()?).await
}

async fn paced(plan: Plan, alarm: Alarm) -> io::Result<Report> {
    let Mode::Paced(pacing) = plan.mode else {
        return Err(io::Error::other("this is for loops"));
    };
    let plan = Arc::new(plan);
    let (lanes, recorders) = Lane::all(&plan);
    let count = lanes.len();
    let gate = Arc::new(gate(&plan, pacing, Instant::now()));
    let mut tasks = JoinSet::new();
    for mut lane in lanes {
        let gate = gate.clone();
        tasks.spawn(async move {
            while let Some(turn) = gate.next().await {
                lane.turn(turn).await;
            }
        });
    }
    let mut pacer = JoinSet::new();
    if let Rule::Due { schedule, .. } = &gate.rule {
        let (schedule, gate) = (schedule.lock().clone(), gate.clone());
        pacer.spawn(async move { pace(schedule, alarm, &gate, count).await });
    }
    tokio::time::sleep_until(gate.from).await;
    let own = std::process::id();
    let (before, own_before) = (look(&plan.watch)?, Usage::of(own)?);
    // How long requests are begun.
    match (&gate.rule, pacing.until) {
        (Rule::Requests(_), _) => while tasks.join_next().await.is_some() {},
        (Rule::Due { .. }, _) => while pacer.join_next().await.is_some() {},
        (Rule::Time(until), _) => tokio::time::sleep_until(*until).await,
    }
    let drained = timeout_at(Instant::now() + plan.drain, async {
        while tasks.join_next().await.is_some() {}
    });
    // What is not done by then is counted below.
    let _ = drained.await;
    let (after, own_after) = (look(&plan.watch)?, Usage::of(own)?);
    let unsent = gate.unsent();
    tasks.shutdown().await;
    let mut all = Recorder::new(plan.kinds.len());
    for recorder in recorders {
        let own = std::mem::replace(&mut *recorder.lock(), Recorder::new(plan.kinds.len()));
        all.merge(own);
    }
    let unfinished = gate
        .begun
        .load(Ordering::Relaxed)
        .saturating_sub(all.endings());
    let drain = format!("within {:?} after the last was due", plan.drain);
    all.failed(&Fault::new(Trouble::Unsent, &drain), unsent);
    all.failed(&Fault::new(Trouble::Unfinished, &drain), unfinished);
    let names: Vec<_> = plan.kinds.iter().map(|kind| kind.name.clone()).collect();
    let mut report = all.report(&names, gate.from);
    report.0["own_cpu_ns"] = own_after.since(&own_before).cpu_ns.into();
    if !plan.watch.is_empty() {
        report.0["watched"] = watched(&before, &after);
    }
    Ok(report)
}

fn gate(plan: &Plan, pacing: Pacing, start: Instant) -> Gate {
    let from = start + pacing.warmup;
    let rule = match (pacing.rate, pacing.until) {
        (None, Until::Time(time)) => Rule::Time(from + time),
        (None, Until::Requests(count)) => Rule::Requests(count),
        (Some(rate), until) => {
            let (arrivals, seed) = (pacing.arrivals, plan.seed);
            let schedule = match until {
                Until::Time(time) => Schedule::until(start, rate, arrivals, seed, from + time),
                Until::Requests(count) => Schedule::count(start, rate, arrivals, seed, from, count),
            };
            Rule::Due {
                schedule: Mutex::new(schedule),
                permits: Semaphore::new(0),
            }
        }
    };
    Gate {
        from,
        rule,
        begun: AtomicU64::new(0),
    }
}

async fn pace(schedule: Schedule, mut alarm: Alarm, gate: &Gate, lanes: usize) {
    let Rule::Due { permits, .. } = &gate.rule else {
        return;
    };
    for due in schedule {
        if alarm.until(due).await.is_err() {
            // Without the timer, a coarser one: late, and counted as late.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        permits.add_permits(1);
    }
    permits.add_permits(lanes);
}

fn look(pids: &[u32]) -> io::Result<Vec<Usage>> {
    pids.iter().map(|pid| Usage::of(*pid)).collect()
}

fn watched(before: &[Usage], after: &[Usage]) -> Value {
    let spent = before.iter().zip(after).map(|(before, after)| {
        let spent = after.since(before);
        json!({
            "pid": after.pid, "cpu_ns": spent.cpu_ns, "cpu_source": spent.source,
            "rss_bytes": after.rss_bytes, "threads": after.threads, "fds": after.fds,
        })
    });
    spent.collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use clap::Parser;
    use http_body_util::Full;
    use hyper::{Response, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;

    use super::*;
    use crate::{load::Arguments, net, stub::answers};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// A server that answers after a millisecond, and not at all within a stall.
    async fn server(stall: std::ops::Range<Duration>) -> std::net::SocketAddr {
        let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let body = answers::Answers::new(answers::shape(160, 1))
            .openai
            .completion;
        let start = Instant::now();
        tokio::spawn(async move {
            loop {
                let stream = net::accept(&listener).await;
                let (body, stall) = (body.clone(), stall.clone());
                let service = service_fn(move |_| {
                    let (body, stall) = (body.clone(), stall.clone());
                    async move {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        if stall.contains(&start.elapsed()) {
                            tokio::time::sleep_until(start + stall.end).await;
                        }
                        let mut response = Response::new(Full::<Bytes>::new(body));
                        let json = http::HeaderValue::from_static("application/json");
                        response.headers_mut().insert("content-type", json);
                        Ok::<_, Infallible>(response)
                    }
                });
                tokio::spawn(async move {
                    let connection = http1::Builder::new();
                    connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok()
                });
            }
        });
        address
    }

    async fn load(stall: std::ops::Range<Duration>, more: &[&str]) -> Value {
        let address = server(stall).await;
        let target = format!("http://{address}");
        let line = [
            "load",
            "--protocol",
            "openai-completion",
            "--target",
            &target,
        ];
        let line = Line::parse_from(line.iter().chain(more));
        let plan = Plan::new(line.arguments, 1).unwrap();
        paced(plan, Alarm::coarse()).await.unwrap().0
    }

    const STALL: std::ops::Range<Duration> = Duration::from_secs(4)..Duration::from_secs(6);

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_shows_a_stall_to_all_that_was_due_meanwhile() {
        let report = load(STALL, &["--rate", "100", "--duration", "10"]).await;
        assert_eq!(report["errors"], json!({}), "{report}");
        assert_eq!(report["requests"], 1000);
        let at = |quantile: &str| report["latency_us"][quantile].as_f64().unwrap() / 1e6;
        // A fifth was due within the two seconds, and half of it in the first of them.
        assert!(at("p50") < 0.1, "{report}");
        assert!((0.8..1.5).contains(&at("p90")), "{report}");
        assert!((1.8..2.2).contains(&at("p99")), "{report}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_shows_it_to_one() {
        let report = load(STALL, &["--duration", "10"]).await;
        assert_eq!(report["errors"], json!({}), "{report}");
        let at = |quantile: &str| report["latency_us"][quantile].as_f64().unwrap() / 1e6;
        assert!(at("p99") < 0.1 && at("max") > 1.8, "{report}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_due_and_not_sent_is_counted() {
        let hour = Duration::from_secs(4)..Duration::from_secs(3600);
        let report = load(hour, &["--rate", "100", "--duration", "10", "--drain", "5"]).await;
        let unsent = report["errors"]["unsent"].as_u64().unwrap();
        assert_eq!(report["errors"]["unfinished"], 1, "{report}");
        assert_eq!(report["requests"].as_u64().unwrap() + unsent + 1, 1000);
        assert!((590..=605).contains(&unsent), "{report}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_warm_up_does_not_count() {
        let never = Duration::ZERO..Duration::ZERO;
        let line = ["--rate", "50", "--warmup", "2", "--requests", "70"];
        let report = load(never, &line).await;
        assert_eq!(report["requests"], 70);
        assert!(
            (1.3..1.5).contains(&report["seconds"].as_f64().unwrap()),
            "{report}"
        );
    }
}
