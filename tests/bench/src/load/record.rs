//! What has happened: counts, and histograms exact to three digits in bounded memory.

use std::{collections::BTreeMap, io::Write, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::fault::Fault;

/// What one exchange brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Brought {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) tokens: u64,
    /// From when it was due to the first text of a stream.
    pub(super) first: Option<Duration>,
}

/// How an exchange ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    Aborted,
}

/// Longest time that is told apart; anything longer is as long.
const LONGEST: u64 = 600_000_000_000;

/// Times, in nanoseconds.
struct Times(Histogram<u64>);

impl Times {
    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are fixed and good"))
    }

    fn add(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(LONGEST);
        self.0.saturating_record(ns.max(1));
    }

    /// In microseconds.
    fn json(&self) -> Value {
        if self.0.is_empty() {
            return json!({"count": 0, "p50": null, "p90": null, "p99": null, "p999": null,
                "max": null, "mean": null});
        }
        let us = |ns: f64| (ns / 100.0).round() / 10.0;
        let at = |quantile| us(self.0.value_at_quantile(quantile) as f64);
        json!({
            "count": self.0.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99),
            "p999": at(0.999), "max": us(self.0.max() as f64), "mean": us(self.0.mean()),
        })
    }
}

#[derive(Clone, Debug, Default, Serialize)]
struct Counts {
    requests: u64,
    errors: BTreeMap<String, u64>,
    aborted: u64,
}

impl Counts {
    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.aborted += other.aborted;
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
    }
}

/// What has happened so far, on one thread's lanes.
pub(super) struct Recorder {
    counts: Counts,
    kinds: Vec<Counts>,
    samples: BTreeMap<String, String>,
    brought: Brought,
    latency: Times,
    first: Times,
    between: Times,
    /// Until those who were turned away knew.
    refused: Times,
    /// Of these, who was not told when to come again.
    untold: u64,
    last: Option<Instant>,
}

impl Recorder {
    /// For so many kinds of requests.
    pub(super) fn new(kinds: usize) -> Self {
        Self {
            counts: Counts::default(),
            kinds: vec![Counts::default(); kinds],
            samples: BTreeMap::new(),
            brought: Brought::default(),
            latency: Times::new(),
            first: Times::new(),
            between: Times::new(),
            refused: Times::new(),
            untold: 0,
            last: None,
        }
    }

    /// Time between two arrivals of text in a stream.
    pub(super) fn between(&mut self, time: Duration) {
        self.between.add(time);
    }

    /// An exchange has ended, which was due at an instant.
    pub(super) fn ended(
        &mut self,
        kind: usize,
        due: Instant,
        now: Instant,
        brought: Brought,
        end: &Result<End, Fault>,
    ) {
        self.last = self.last.max(Some(now));
        self.brought.bytes_in += brought.bytes_in;
        self.brought.bytes_out += brought.bytes_out;
        self.brought.tokens += brought.tokens;
        match end {
            Ok(End::Answered) => {
                self.counts.requests += 1;
                self.kinds[kind].requests += 1;
                self.latency.add(now - due);
                if let Some(first) = brought.first {
                    self.first.add(first);
                }
            }
            Ok(End::Aborted) => {
                self.counts.aborted += 1;
                self.kinds[kind].aborted += 1;
            }
            Err(fault) => {
                self.failed(fault, 1);
                if fault.turned_away() {
                    self.refused.add(now - due);
                    self.untold += u64::from(!fault.told_when);
                }
                let errors = &mut self.kinds[kind].errors;
                *errors.entry(fault.trouble.to_string()).or_default() += 1;
            }
        }
    }

    /// A stream's first text, for those that are held.
    pub(super) fn opened(&mut self, brought: Brought, now: Instant) {
        self.last = self.last.max(Some(now));
        self.counts.requests += 1;
        self.brought.bytes_in += brought.bytes_in;
        self.brought.bytes_out += brought.bytes_out;
        self.brought.tokens += brought.tokens;
        if let Some(first) = brought.first {
            self.first.add(first);
        }
    }

    /// So many failed, of no kind of request.
    pub(super) fn failed(&mut self, fault: &Fault, count: u64) {
        if count > 0 {
            let kind = fault.trouble.to_string();
            *self.counts.errors.entry(kind.clone()).or_default() += count;
            let sample = self.samples.entry(kind);
            sample.or_insert_with(|| fault.detail.clone());
        }
    }

    /// Exchanges that have ended so far.
    pub(super) fn endings(&self) -> u64 {
        self.counts.requests + self.counts.aborted + self.counts.errors.values().sum::<u64>()
    }

    /// Adds another's.
    pub(super) fn merge(&mut self, other: Self) {
        self.counts.merge(other.counts);
        for (kind, counts) in self.kinds.iter_mut().zip(other.kinds) {
            kind.merge(counts);
        }
        self.samples.extend(other.samples);
        self.brought.bytes_in += other.brought.bytes_in;
        self.brought.bytes_out += other.brought.bytes_out;
        self.brought.tokens += other.brought.tokens;
        for (own, others) in [
            (&mut self.latency, &other.latency),
            (&mut self.first, &other.first),
            (&mut self.between, &other.between),
            (&mut self.refused, &other.refused),
        ] {
            own.0.add(&others.0).expect("the bounds are the same");
        }
        self.untold += other.untold;
        self.last = self.last.max(other.last);
    }

    /// The report, of what began from an instant on.
    pub(super) fn report(self, names: &[String], from: Instant) -> Report {
        let seconds = self.last.map_or(0.0, |last| (last - from).as_secs_f64());
        let rps = if seconds > 0.0 {
            self.counts.requests as f64 / seconds
        } else {
            0.0
        };
        let mut json = json!({
            "requests": self.counts.requests,
            "errors": self.counts.errors,
            "error_samples": self.samples,
            "aborted": self.counts.aborted,
            "seconds": seconds,
            "rps": rps,
            "bytes_in": self.brought.bytes_in,
            "bytes_out": self.brought.bytes_out,
            "tokens": self.brought.tokens,
            "latency_us": self.latency.json(),
            "first_token_us": self.first.json(),
            "inter_token_us": self.between.json(),
            "refused_us": self.refused.json(),
            "refused_untold": self.untold,
        });
        if names.len() > 1 {
            let kinds = names
                .iter()
                .cloned()
                .zip(self.kinds.iter().map(|kind| json!(kind)));
            json["kinds"] = Value::Object(kinds.collect());
        }
        Report(json)
    }
}

/// The report, as it is printed.
#[derive(Clone, Debug)]
pub struct Report(pub Value);

impl Report {
    /// Prints it, as one line.
    ///
    /// # Errors
    /// When nobody reads.
    pub fn print(&self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", self.0)?;
        out.flush()
    }
}
