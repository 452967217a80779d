//! What a page for operators needs of every request beyond the metrics: percentiles of the last
//! seconds, how requests ended, and the last ones that ended badly.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::spread::{Counts, Spread};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Well,
    /// It was not to be served: a fault of whoever asked, or too much at once.
    Refused,
    /// It was to be served, and was not.
    Failed,
    /// The client went away first.
    Gone,
}

impl Ending {
    /// Its name for operators.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

/// A request that ended badly. Nothing of what it asked or was answered: names and numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Counted from 1 since the process began, those included that are not remembered.
    pub number: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at: u64,
    /// How it ended.
    pub ending: Ending,
    /// The same as a label of metrics.
    pub outcome: String,
    /// Status of the response's head.
    pub status: Option<u16>,
    /// Status in gRPC's trailers.
    pub grpc: Option<u32>,
    /// From its head to its end.
    pub took: Duration,
    /// Names it in the log.
    pub request_id: String,
    /// Its route.
    pub route: Arc<str>,
    /// The plugin that spoke to the client.
    pub frontend: Option<String>,
    /// The plugin that is to blame.
    pub culprit: Option<String>,
    /// The worker that was asked last.
    pub worker: Option<String>,
    /// The model, as the client named it.
    pub model: Option<String>,
    /// What was asked.
    pub task: Option<String>,
}

/// The last requests that ended badly: at most as many as it was made for.
pub struct Failures {
    most: usize,
    total: AtomicU64,
    /// Those for which there was no time: another was just being written down.
    missed: AtomicU64,
    last: Mutex<VecDeque<Failure>>,
}

/// Every request, as the page for operators sees it.
pub struct Pulse {
    took: Spread,
    first_byte: Spread,
    refused: AtomicU64,
    failed: AtomicU64,
    gone: AtomicU64,
    failures: Failures,
}

/// A reading of a [`Pulse`].
#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// Whole requests; their number is that of all requests.
    pub took: Counts,
    /// Until the first byte of the response's body.
    pub first_byte: Counts,
    /// Requests that were refused.
    pub refused: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests whose clients went away.
    pub gone: u64,
}

// === impl Failures ===

impl Failures {
    /// Remembers at most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            total: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }

    /// Remembers one, unless somebody else is doing so or reading at this moment: no request waits
    /// for it.
    fn note(&self, failure: impl FnOnce(u64) -> Failure) {
        let number = self.total.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(mut last) = self.last.try_lock() else {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if last.len() >= self.most {
            last.pop_front();
        }
        if self.most > 0 {
            last.push_back(failure(number));
        }
    }

    /// Requests that ended badly since the process began.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Of these, those that were never remembered.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// How many are remembered now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.last.lock().len()
    }

    /// The last ones, the latest first, at most so many.
    #[must_use]
    pub fn last(&self, most: usize) -> Vec<Failure> {
        self.last.lock().iter().rev().take(most).cloned().collect()
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures")
            .field("most", &self.most)
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}

// === impl Pulse ===

impl Pulse {
    /// Nothing yet; remembers at most so many requests that end badly.
    #[must_use]
    pub fn new(failures: usize) -> Self {
        Self {
            took: Spread::new(),
            first_byte: Spread::new(),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            failures: Failures::new(failures),
        }
    }

    /// A request is over. `failure` is asked only where it ended badly.
    pub(crate) fn ended(
        &self,
        took: Duration,
        first_byte: Option<Duration>,
        ending: Ending,
        failure: impl FnOnce(u64) -> Failure,
    ) {
        self.took.observe(took);
        if let Some(first_byte) = first_byte {
            self.first_byte.observe(first_byte);
        }
        let count = match ending {
            Ending::Well => return,
            Ending::Refused => &self.refused,
            Ending::Failed => &self.failed,
            Ending::Gone => &self.gone,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.failures.note(failure);
    }

    /// All that came up to now.
    #[must_use]
    pub fn beat(&self) -> Beat {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Beat {
            took: self.took.counts(),
            first_byte: self.first_byte.counts(),
            refused: count(&self.refused),
            failed: count(&self.failed),
            gone: count(&self.gone),
        }
    }

    /// Those that ended badly.
    #[must_use]
    pub fn failures(&self) -> &Failures {
        &self.failures
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse")
            .field("took", &self.took)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z.
#[must_use]
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    u64::try_from(millis).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(number: u64, ending: Ending) -> Failure {
        Failure {
            number,
            at: unix_millis(),
            ending,
            outcome: "overloaded".to_owned(),
            status: Some(503),
            grpc: None,
            took: Duration::from_millis(1),
            request_id: format!("r-{number}"),
            route: "all".into(),
            frontend: None,
            culprit: None,
            worker: None,
            model: None,
            task: None,
        }
    }

    #[test]
    fn the_last_failures_are_remembered_and_no_more() {
        let pulse = Pulse::new(3);
        let second = Duration::from_secs(1);
        for ending in [
            Ending::Refused,
            Ending::Well,
            Ending::Failed,
            Ending::Gone,
            Ending::Failed,
        ] {
            let first = (ending == Ending::Well).then_some(second);
            pulse.ended(second, first, ending, |number| failure(number, ending));
        }
        let beat = pulse.beat();
        assert_eq!((beat.took.total(), beat.first_byte.total()), (5, 1));
        assert_eq!((beat.refused, beat.failed, beat.gone), (1, 2, 1));
        let failures = pulse.failures();
        assert_eq!(
            (failures.total(), failures.held(), failures.missed()),
            (4, 3, 0)
        );
        let numbers: Vec<_> = failures.last(9).iter().map(|it| it.number).collect();
        assert_eq!(numbers, [4, 3, 2], "the latest first");
        assert_eq!(failures.last(1)[0].request_id, "r-4");
    }

    #[test]
    fn who_reads_keeps_no_request_waiting() {
        let pulse = Pulse::new(3);
        let reading = pulse.failures.last.lock();
        pulse.ended(Duration::ZERO, None, Ending::Failed, |number| {
            failure(number, Ending::Failed)
        });
        drop(reading);
        let failures = pulse.failures();
        assert_eq!(
            (failures.total(), failures.held(), failures.missed()),
            (1, 0, 1)
        );
        assert_eq!(pulse.beat().failed, 1, "it is counted all the same");
    }
}
