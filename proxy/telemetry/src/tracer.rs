//! Which requests are sampled, and the queue in which their spans wait to be exported.
//!
//! * **Who decides.** The client's trace, where it sent one and clients are followed: whoever began
//!   the trace has decided for all of it. Else the trace's id: a ratio of all ids, the same ones at
//!   every proxy that has the same ratio (OpenTelemetry's `TraceIdRatioBased`, over the 56 random
//!   bits that W3C Trace Context Level 2 promises).
//! * **The queue** has room for so many spans. A request whose spans find none loses all of them,
//!   which is counted: half a trace says less than none.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use crate::samples::Samples;
use crate::spans::{Recorded, SPANS, Trail};
use crate::trace::TraceContext;

/// How a tracer works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TracerSpec {
    /// The share of requests without a trace of their client's that are recorded, 0 to 1.
    pub ratio: f64,
    /// A client's trace says itself whether it is recorded.
    pub follow: bool,
    /// Spans that may wait.
    pub queue: usize,
    /// Spans that wake the one who exports.
    pub batch: usize,
}

/// A [`TracerSpec`] that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum TracerError {
    /// No share.
    #[error("the share of requests that are traced is from 0 to 1")]
    Ratio,
    /// Not even one request's spans fit, or a batch that is never full.
    #[error("the queue has room for {SPANS} spans or more, and for a batch of one or more")]
    Queue,
}

/// Samples requests and keeps their spans until they are taken.
pub struct Tracer {
    /// Ids whose random bits are below it are sampled.
    below: u64,
    spec: TracerSpec,
    waiting: Mutex<Waiting>,
    held: AtomicUsize,
    recorded: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    traces: VecDeque<Recorded>,
    wakes: Option<Waker>,
}

/// The random bits of a trace's id.
const RANDOM: u32 = 56;

impl Tracer {
    /// # Errors
    /// See [`TracerError`].
    pub fn new(spec: TracerSpec) -> Result<Arc<Self>, TracerError> {
        if !(0.0..=1.0).contains(&spec.ratio) {
            return Err(TracerError::Ratio);
        }
        if spec.queue < SPANS || !(1..=spec.queue).contains(&spec.batch) {
            return Err(TracerError::Queue);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of 2^56, which is exact in 64 bits of floating point"
        )]
        let below = (spec.ratio * (1u64 << RANDOM) as f64) as u64;
        Ok(Arc::new(Self {
            below,
            spec,
            waiting: Mutex::default(),
            held: AtomicUsize::new(0),
            recorded: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }))
    }

    /// Begins what is recorded of a request; empty, if it is not sampled.
    #[must_use]
    pub fn begin(self: &Arc<Self>, context: &TraceContext) -> Trail {
        if self.samples(context) {
            Trail::new(self, context)
        } else {
            Trail::default()
        }
    }

    fn samples(&self, context: &TraceContext) -> bool {
        if self.spec.follow && context.is_remote() {
            return context.is_sampled();
        }
        let [.., a, b, c, d, e, f, g] = context.trace_id().to_bytes();
        u64::from_be_bytes([0, a, b, c, d, e, f, g]) < self.below
    }

    /// Takes a request's spans, or none of them.
    pub(crate) fn take(&self, trace: Recorded) {
        let spans = trace.spans.len();
        if spans == 0 {
            return;
        }
        let mut waiting = self.waiting.lock();
        let held = self.held.load(Ordering::Relaxed);
        if held + spans > self.spec.queue {
            drop(waiting);
            self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
            return;
        }
        waiting.traces.push_back(trace);
        self.held.store(held + spans, Ordering::Relaxed);
        let wakes = match held + spans >= self.spec.batch {
            true => waiting.wakes.take(),
            false => None,
        };
        drop(waiting);
        self.recorded.fetch_add(spans as u64, Ordering::Relaxed);
        if let Some(wakes) = wakes {
            wakes.wake();
        }
    }

    /// The requests that ended first, with about a batch of spans; nothing: none waits.
    #[must_use]
    pub fn batch(&self) -> Vec<Recorded> {
        let mut waiting = self.waiting.lock();
        let mut batch = Vec::new();
        let mut spans = 0;
        while spans < self.spec.batch
            && let Some(trace) = waiting.traces.pop_front()
        {
            spans += trace.spans.len();
            batch.push(trace);
        }
        self.held.fetch_sub(spans, Ordering::Relaxed);
        batch
    }

    /// Resolves when a whole batch waits. For one who exports.
    pub async fn full(&self) {
        poll_fn(|context| {
            let mut waiting = self.waiting.lock();
            if self.held.load(Ordering::Relaxed) >= self.spec.batch {
                return Poll::Ready(());
            }
            waiting.wakes = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Spans that wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Spans for which there was no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Its figures; without one they are there too, and zero.
    #[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
    pub fn collect(tracer: Option<&Self>, samples: &mut Samples) {
        samples.gauge(
            "trace_spans_waiting",
            "Spans that wait to be exported",
            &[],
            tracer.map_or(0.0, |it| it.held() as f64),
        );
        samples.counter(
            "trace_spans_recorded",
            "Spans that were put in the queue of those to be exported",
            &[],
            tracer.map_or(0, |it| it.recorded.load(Ordering::Relaxed)),
        );
        samples.counter(
            "trace_spans_dropped",
            "Spans for which that queue had no room",
            &[],
            tracer.map_or(0, Self::dropped),
        );
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("spec", &self.spec)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tracer_tests.rs"]
mod tests;
