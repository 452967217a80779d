//! When exports are made, and how often again.
//!
//! 1. Spans are taken out of the tracer's queue when a batch of them waits, and at least every
//!    interval; metrics are read off their page every interval.
//! 2. An export that fails and may be sent again is: so many times, after a pause
//!    that doubles each time, or as long as the collector says. Meanwhile the tracer's queue
//!    fills, and then drops. One export of a kind is under way at a time, so that is all there is.
//! 3. At the end what waits is sent once, within one timeout.
//!
//! Trouble is told once when it begins and once when it is over, and counted each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prost::Message;
use tollgate_telemetry::{Metrics, Samples, Tracer, page};

use crate::client::{Client, Signal};
use crate::messages::{KeyValue, Resource, Value, text};
use crate::spec::{Spec, SpecError};
use crate::{metrics, traces};

/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_secs(30);

/// Sends traces and metrics to a collector.
pub struct Exporter {
    client: Client,
    resource: Resource,
    attempts: u32,
    pause: Duration,
    since: u64,
    traces: Counts,
    metrics: Counts,
}

/// What became of what was exported, in spans or points.
#[derive(Default)]
struct Counts {
    exported: AtomicU64,
    rejected: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
    in_trouble: AtomicBool,
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

impl Exporter {
    /// One for this collector; no connection is made yet.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub fn new(spec: Spec) -> Result<Arc<Self>, SpecError> {
        let attributes = spec.resource.iter();
        let attributes = attributes.map(|(name, value)| {
            let value = Value::Text(text(value.clone().into()));
            KeyValue::new(name.clone().into(), value)
        });
        Ok(Arc::new(Self {
            resource: Resource {
                attributes: attributes.collect(),
            },
            attempts: spec.attempts,
            pause: spec.pause.min(LONGEST),
            client: Client::new(spec)?,
            since: now(),
            traces: Counts::default(),
            metrics: Counts::default(),
        }))
    }

    /// Exports spans until it is dropped; at least every interval.
    pub async fn keep_traces(self: Arc<Self>, tracer: Arc<Tracer>, interval: Duration) {
        loop {
            // Either is as good.
            let _ = tokio::time::timeout(interval, tracer.full()).await;
            while self.send_traces(&tracer, self.attempts).await {}
        }
    }

    /// Exports the page every interval until it is dropped.
    pub async fn keep_metrics(self: Arc<Self>, page: Arc<Metrics>, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            self.send_metrics(&page, self.attempts).await;
        }
    }

    /// Sends once what there is, for the end.
    pub async fn flush(&self, tracer: Option<&Tracer>, page: Option<&Arc<Metrics>>) {
        if let Some(tracer) = tracer {
            // What is away now does not come back for the next batch.
            while self.send_traces(tracer, 1).await && !self.traces.is_in_trouble() {}
        }
        if let Some(page) = page {
            self.send_metrics(page, 1).await;
        }
    }

    /// Sends a batch; whether there was one.
    async fn send_traces(&self, tracer: &Tracer, attempts: u32) -> bool {
        let batch = tracer.batch();
        if batch.is_empty() {
            return false;
        }
        let (export, spans) = traces::export(&self.resource, batch);
        self.send(Signal::Traces, &export, spans, attempts).await;
        true
    }

    async fn send_metrics(&self, page: &Arc<Metrics>, attempts: u32) {
        let page = page.clone();
        let span = metrics::Span {
            since: self.since,
            now: now(),
        };
        let resource = self.resource.clone();
        // A page of thousands of series takes a while, and others use this thread.
        let read = tokio::task::spawn_blocking(move || {
            metrics::export(&resource, page::read(&page.encode()), span)
        });
        if let Ok((export, points)) = read.await {
            self.send(Signal::Metrics, &export, points, attempts).await;
        }
    }

    async fn send(&self, signal: Signal, export: &impl Message, items: u64, attempts: u32) {
        let counts = match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
        };
        let mut pause = self.pause;
        for attempt in 1.. {
            let error = match self.client.export(signal, export).await {
                Ok(partial) => {
                    let rejected = partial.as_ref().map_or(0, |it| it.rejected.max(0));
                    let rejected = u64::try_from(rejected).unwrap_or(0).min(items);
                    counts.sent(signal, items - rejected);
                    counts.rejected.fetch_add(rejected, Ordering::Relaxed);
                    if let Some(partial) = partial {
                        tracing::warn!(
                            signal = signal.name(),
                            rejected,
                            said = partial.error_message.chars().take(200).collect::<String>(),
                            "the collector did not take all of it"
                        );
                    }
                    return;
                }
                Err(error) => error,
            };
            counts.failed(signal, &error.to_string());
            if !error.again || attempt >= attempts {
                counts.lost.fetch_add(items, Ordering::Relaxed);
                return;
            }
            tokio::time::sleep(error.after.unwrap_or(pause)).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Its figures; without one they are there too, and zero.
    pub fn collect(exporter: Option<&Self>, samples: &mut Samples) {
        let none = Counts::default();
        for (signal, counts) in [
            (Signal::Traces, exporter.map_or(&none, |it| &it.traces)),
            (Signal::Metrics, exporter.map_or(&none, |it| &it.metrics)),
        ] {
            let labels: &[(&'static str, &str)] = &[("signal", signal.name())];
            let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
            samples.counter(
                "otlp_exported",
                "Spans or points that the collector took",
                labels,
                read(&counts.exported),
            );
            samples.counter(
                "otlp_rejected",
                "Spans or points of exports that the collector took only a part of, and not these",
                labels,
                read(&counts.rejected),
            );
            samples.counter(
                "otlp_lost",
                "Spans or points that were given up",
                labels,
                read(&counts.lost),
            );
            samples.counter(
                "otlp_failures",
                "Exports that failed, each time that one was sent",
                labels,
                read(&counts.failures),
            );
        }
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

// === impl Counts ===

impl Counts {
    fn is_in_trouble(&self) -> bool {
        self.in_trouble.load(Ordering::Relaxed)
    }

    fn sent(&self, signal: Signal, items: u64) {
        self.exported.fetch_add(items, Ordering::Relaxed);
        if self.in_trouble.swap(false, Ordering::Relaxed) {
            tracing::info!(
                signal = signal.name(),
                "the collector takes telemetry again"
            );
        }
    }

    fn failed(&self, signal: Signal, error: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !self.in_trouble.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                signal = signal.name(),
                error,
                "the collector takes no telemetry"
            );
        }
    }
}
