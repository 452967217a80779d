//! The log of a route: what is told, within which bounds, and what has become of it.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::sync::{Notify, mpsc};

use crate::courier::Courier;
use crate::event::{Common, Content, Event};
use crate::room::Budget;
use crate::tap::Tap;

/// What is told of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What was asked and what was answered.
    All,
    /// What was asked.
    Request,
    /// What was answered.
    Response,
}

/// Where events go.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// Over TLS.
    pub tls: bool,
    /// `host:port`, an IPv6 address in brackets.
    pub authority: String,
    /// Begins with `/`.
    pub path: String,
    /// File of the authorities, as PEM, that vouch for it; none: the web's.
    pub ca: Option<PathBuf>,
    /// Events that are posted at once.
    pub connections: usize,
    /// For one to be taken.
    pub timeout: Duration,
    /// How events are written.
    pub content: Content,
}

/// How a log is made.
#[derive(Clone, Debug)]
pub struct PayloadLogSpec {
    /// Where events go.
    pub sink: SinkSpec,
    /// The attribute `source`.
    pub source: String,
    /// Extension attributes that every event has.
    pub extensions: Vec<(&'static str, String)>,
    /// Headers of requests that are told.
    pub metadata: Vec<HeaderName>,
    /// What is told.
    pub mode: Mode,
    /// Of so many requests in a hundred.
    pub percent: u32,
    /// Bytes of a body that are told.
    pub body: u64,
    /// Events that wait.
    pub queue: usize,
    /// Bytes that are held in all.
    pub memory: u64,
}

/// A log that cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum PayloadLogError {
    /// A bound is zero.
    #[error("a payload log's {0} must be greater than zero")]
    Bound(&'static str),
    /// The sink cannot be reached as it is described.
    #[error("the payload log's sink: {0}")]
    Sink(String),
}

/// What has become of events.
#[derive(Debug, Default)]
pub struct Counts {
    /// Taken by the sink.
    pub(crate) sent: AtomicU64,
    /// Not taken by it, or not in time.
    pub(crate) failed: AtomicU64,
    /// There was no place in the queue.
    pub(crate) queue_full: AtomicU64,
    /// There were no bytes left.
    pub(crate) memory_full: AtomicU64,
    /// The proxy ended before it was their turn.
    pub(crate) unsent: AtomicU64,
    pub(crate) waiting: AtomicUsize,
}

/// The payload log of one route.
#[derive(Debug)]
pub struct PayloadLog {
    pub(crate) mode: Mode,
    percent: u32,
    pub(crate) body: u64,
    pub(crate) metadata: Vec<HeaderName>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) common: Common,
    pub(crate) counts: Counts,
    pub(crate) closing: Notify,
    queue: mpsc::Sender<Event>,
    chance: RandomState,
    drawn: AtomicU64,
}

impl PayloadLog {
    /// A log, and its one task, which the caller runs.
    ///
    /// # Errors
    /// See [`PayloadLogError`].
    pub fn new(spec: PayloadLogSpec) -> Result<(Arc<Self>, Courier), PayloadLogError> {
        let bounds = [
            ("queue", spec.queue == 0),
            ("memory", spec.memory == 0),
            ("percentage", spec.percent == 0),
            ("connections", spec.sink.connections == 0),
            ("timeout", spec.sink.timeout.is_zero()),
        ];
        if let Some((name, _)) = bounds.iter().find(|(_, zero)| *zero) {
            return Err(PayloadLogError::Bound(name));
        }
        let (queue, events) = mpsc::channel(spec.queue);
        let log = Arc::new(Self {
            mode: spec.mode,
            percent: spec.percent,
            body: spec.body,
            metadata: spec.metadata,
            budget: Budget::new(spec.memory),
            common: Common {
                source: spec.source,
                extensions: spec.extensions,
            },
            counts: Counts::default(),
            closing: Notify::new(),
            queue,
            chance: RandomState::new(),
            drawn: AtomicU64::new(0),
        });
        let courier = Courier::new(&spec.sink, events, log.clone())?;
        Ok((log, courier))
    }

    /// Whether a request is told of: if so, who takes its bodies. `headers` are the request's.
    #[must_use]
    pub fn begin(self: &Arc<Self>, request_id: &str, headers: &HeaderMap) -> Option<Tap> {
        if self.percent < 100 {
            // A hash under a key of its own is chance enough, and no lock.
            let number = self.drawn.fetch_add(1, Ordering::Relaxed);
            if self.chance.hash_one(number) % 100 >= u64::from(self.percent) {
                return None;
            }
        }
        Some(Tap::new(self.clone(), request_id, headers))
    }

    /// Puts an event into the queue, if there is a place.
    pub(crate) fn tell(&self, event: Event) {
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if let Err(refused) = self.queue.try_send(event) {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            let count = match refused {
                mpsc::error::TrySendError::Full(_) => &self.counts.queue_full,
                mpsc::error::TrySendError::Closed(_) => &self.counts.unsent,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes no more events. Its task ends when it has posted those that wait.
    pub fn close(&self) {
        self.closing.notify_one();
    }

    /// Events that wait, or are being posted.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.counts.waiting.load(Ordering::Relaxed)
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.budget.taken()
    }

    /// What has become of events, by a word each.
    #[must_use]
    pub fn outcomes(&self) -> [(&'static str, u64); 5] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        [
            ("sent", read(&counts.sent)),
            ("failed", read(&counts.failed)),
            ("queue-full", read(&counts.queue_full)),
            ("memory-full", read(&counts.memory_full)),
            ("unsent", read(&counts.unsent)),
        ]
    }
}
