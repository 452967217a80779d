//! An issuer's keys over time: read from a file or from where they are published, and read again.
//!
//! 1. One task reads, and nobody else: when it is time, or when a request met a key that is not
//!    there. Requests only ring and wait for the next round, so that one who leaves takes nothing
//!    with him, and however many ask, rounds are at least `least` apart.
//! 2. What was read is in force until the next good reading. Where that fails it stays, for as long
//!    as `stale` says; after that nobody is believed.
//! 3. Keys that are not there any more are not good any more: the generation changes with them, and
//!    what was verified under another is verified again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::keys::{Algorithm, KeySet, KeysError};
use crate::site::{Site, SiteError};

/// Where keys are read.
#[derive(Debug)]
pub enum Origin {
    /// In a file.
    File(PathBuf),
    /// At a server's path.
    Site(Site),
}

/// How keys are read, and how often.
#[derive(Debug)]
pub struct KeysSpec {
    /// Whose they are, for the log.
    pub name: String,
    /// Where they are.
    pub origin: Origin,
    /// Algorithms that are taken.
    pub algorithms: Vec<Algorithm>,
    /// How often they are read in any case.
    pub refresh: Duration,
    /// The least time between two readings.
    pub least: Duration,
    /// How old a good reading may become.
    pub stale: Duration,
    /// For one reading.
    pub timeout: Duration,
    /// Bytes of a reading.
    pub largest: usize,
    /// Keys of a reading.
    pub most: usize,
    /// Requests that may wait for a reading.
    pub waiting: usize,
}

/// An issuer's keys.
pub struct Keys {
    spec: KeysSpec,
    held: ArcSwapOption<Held>,
    /// How many readings there have been; each is told.
    rounds: watch::Sender<u64>,
    wanted: Notify,
    waiting: Semaphore,
    /// Milliseconds from `begun` to the end of the last reading; 0: none has been.
    last: AtomicU64,
    begun: Instant,
    failed: AtomicU64,
}

/// A reading that is in force.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) set: Arc<KeySet>,
    /// Another for other keys.
    pub(super) generation: u64,
    digest: [u8; 32],
    read: Instant,
}

/// Why keys were not read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("it took longer than {0:?}")]
    Slow(Duration),
}

impl Keys {
    /// Nothing is read before [`Keys::keep`] is.
    #[must_use]
    pub fn new(spec: KeysSpec) -> Self {
        Self {
            held: ArcSwapOption::empty(),
            rounds: watch::Sender::new(0),
            wanted: Notify::new(),
            waiting: Semaphore::new(spec.waiting),
            last: AtomicU64::new(0),
            begun: Instant::now(),
            failed: AtomicU64::new(0),
            spec,
        }
    }

    /// Reads them, again and again, for ever.
    pub async fn keep(&self) {
        loop {
            let read = timeout(self.spec.timeout, self.read()).await;
            let read = read.unwrap_or(Err(ReadError::Slow(self.spec.timeout)));
            let good = self.take(read);
            let now = Instant::now();
            let since = now.duration_since(self.begun).as_millis();
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            self.last.store(since.max(1), Ordering::Relaxed);
            // Who rang while it was read has its answer with this.
            let mut rung = std::pin::pin!(self.wanted.notified());
            if rung.as_mut().enable() {
                rung.set(self.wanted.notified());
            }
            self.rounds.send_modify(|rounds| *rounds += 1);
            let earliest = now + self.spec.least;
            // What failed is tried again as soon as may be.
            let due = if good {
                now + self.spec.refresh
            } else {
                earliest
            };
            tokio::select! {
                () = sleep_until(due) => {}
                () = async {
                    rung.await;
                    sleep_until(earliest).await;
                } => {}
            }
        }
    }

    async fn read(&self) -> Result<Bytes, ReadError> {
        match &self.spec.origin {
            Origin::File(path) => {
                let largest = self.spec.largest;
                let mut text = Vec::new();
                let file = tokio::fs::File::open(path).await?;
                file.take(largest as u64 + 1).read_to_end(&mut text).await?;
                if text.len() > largest {
                    return Err(SiteError::Long(largest).into());
                }
                Ok(text.into())
            }
            Origin::Site(site) => {
                let accept = "application/jwk-set+json, application/json";
                let accept = [(header::ACCEPT, HeaderValue::from_static(accept))];
                let (status, text) = site
                    .ask(
                        Method::GET,
                        "",
                        HeaderMap::from_iter(accept),
                        Bytes::new(),
                        self.spec.largest,
                        self.spec.timeout,
                    )
                    .await?;
                match status {
                    StatusCode::OK => Ok(text),
                    status => Err(SiteError::Status(status).into()),
                }
            }
        }
    }

    /// Puts a reading in force, if it is one.
    fn take(&self, read: Result<Bytes, ReadError>) -> bool {
        let name = self.spec.name.as_str();
        let before = self.held.load_full();
        let taken = read.and_then(|text| {
            let digest: [u8; 32] = Sha256::digest(&text).into();
            let read = Instant::now();
            if let Some(before) = before.as_deref().filter(|it| it.digest == digest) {
                let same = before.clone();
                return Ok(Held { read, ..same });
            }
            let set = KeySet::parse(&text, self.spec.most, &self.spec.algorithms)?;
            let (keys, left_out) = (set.len(), set.left_out());
            tracing::info!(issuer = name, keys, left_out, "an issuer's keys were read");
            Ok(Held {
                set: Arc::new(set),
                generation: before.as_ref().map_or(1, |it| it.generation + 1),
                digest,
                read,
            })
        });
        match taken {
            Ok(held) => {
                self.held.store(Some(Arc::new(held)));
                true
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    issuer = name,
                    %error,
                    "an issuer's keys were not read; those that were known stay for a while"
                );
                false
            }
        }
    }

    /// The keys in force, if there are any and they are not too old.
    pub(super) fn current(&self) -> Option<Arc<Held>> {
        let held = self.held.load_full()?;
        (held.read.elapsed() <= self.spec.stale).then_some(held)
    }

    /// Which keys are in force.
    pub(super) fn generation(&self) -> Option<u64> {
        let held = self.held.load();
        let held = held.as_deref()?;
        (held.read.elapsed() <= self.spec.stale).then_some(held.generation)
    }

    /// Has them read again, where that may be, and waits for it.
    pub(super) async fn newer(&self) {
        let mut rounds = self.rounds.subscribe();
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        if !last.is_zero() && self.begun.elapsed() < last + self.spec.least {
            return;
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return;
        };
        self.wanted.notify_one();
        // What there is then is looked at, whether it came in time or not.
        let _ = timeout(self.spec.timeout, rounds.changed()).await;
    }

    /// Whose they are.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How many are in force; 0 when they are too old.
    #[must_use]
    pub fn count(&self) -> usize {
        self.current().map_or(0, |held| held.set.len())
    }

    /// How long ago they were read, if they ever were.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.held.load().as_deref().map(|held| held.read.elapsed())
    }

    /// Readings so far, and those of them that failed.
    #[must_use]
    pub fn readings(&self) -> (u64, u64) {
        (*self.rounds.borrow(), self.failed.load(Ordering::Relaxed))
    }

    /// Requests that wait for a reading; at most as many as the specification says.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.spec.waiting - self.waiting.available_permits()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("name", &self.spec.name)
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}
