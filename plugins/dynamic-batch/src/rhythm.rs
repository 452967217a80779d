//! How often company comes: the time between arrivals that may go together, for each sort.

use tollgate_sdk_scheduler::recent::{Recent, mixed};
use tollgate_sdk_scheduler::scheduling::Request;

/// Sorts that are remembered.
const SORTS: usize = 4096;

#[derive(Clone, Copy, Default)]
struct Rhythm {
    last: u64,
    /// Mean time between arrivals; none before the second one.
    gap: Option<f64>,
}

/// Rhythms of arrivals. Bounded.
pub(crate) struct Rhythms {
    by_sort: Recent<Rhythm>,
}

impl Rhythms {
    pub(crate) fn new() -> Self {
        Self {
            by_sort: Recent::new(SORTS),
        }
    }

    /// One has come.
    pub(crate) fn arrived(&mut self, now: u64, request: &Request) {
        if request.batch_key == 0 {
            return;
        }
        let first = Rhythm {
            last: now,
            gap: None,
        };
        let rhythm = self.by_sort.touch(sort(request), || first);
        let since = now.saturating_sub(rhythm.last) as f64;
        if rhythm.last != now || rhythm.gap.is_some() {
            rhythm.gap = Some(rhythm.gap.map_or(since, |gap| gap + (since - gap) / 8.0));
        }
        rhythm.last = now;
    }

    /// Whether another one is to be expected before an instant. While nothing is known, it is.
    pub(crate) fn expects(&self, request: &Request, now: u64, until: u64) -> bool {
        let rhythm = self.by_sort.peek(sort(request));
        let Some(gap) = rhythm.and_then(|rhythm| rhythm.gap) else {
            return true;
        };
        // What has no memory comes as late from now on as it would have from the last one.
        (now as f64 + gap) < until as f64
    }
}

fn sort(request: &Request) -> u64 {
    mixed(u64::from(request.model) << 32 | u64::from(request.batch_key))
}
