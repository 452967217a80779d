//! How often company comes: the time between arrivals that may go together, for each sort.
//!
//! A pause is not longer than twice what anybody waits for: whether it was a second or an hour,
//! nobody was to be expected in it, and what comes in a burst after it is soon expected again.

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
    /// A gap counts for no more.
    longest: u64,
    by_sort: Recent<Rhythm>,
}

impl Rhythms {
    /// `wait`: the longest that anybody waits for company.
    pub(crate) fn new(wait: u64) -> Self {
        Self {
            longest: wait.saturating_mul(2).max(1),
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
        let since = now.saturating_sub(rhythm.last).min(self.longest) as f64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_sdk_scheduler::scheduling::Affinity;

    fn request() -> Request {
        Request {
            id: 1,
            model: 1,
            tenant: 0,
            batch_key: 1,
            eligible: Vec::new(),
            priority: 0,
            input_cost: 1,
            output_cost: 1,
            arrived: 0,
            deadline: None,
            affinity: Affinity::None,
            attempts: 0,
            avoid: Vec::new(),
        }
    }

    #[test]
    fn a_pause_is_soon_forgotten_and_a_slow_rhythm_is_not() {
        let request = request();
        let mut rhythms = Rhythms::new(1_000);
        let mut now = 0;
        let mut come = |rhythms: &mut Rhythms, after: u64| {
            now += after;
            rhythms.arrived(now, &request);
            rhythms.expects(&request, now, now + 1_000)
        };
        for _ in 0..50 {
            come(&mut rhythms, 100);
        }
        // An hour, and a burst after it.
        assert!(come(&mut rhythms, 3_600_000_000));
        assert!(come(&mut rhythms, 100));
        // Who comes once in a second is not waited for, and a burst after that is before long.
        let expected = (0..50).map(|_| come(&mut rhythms, 1_000_000));
        assert!(!expected.collect::<Vec<_>>().pop().unwrap());
        let soon = (0..8).map(|_| come(&mut rhythms, 100));
        assert!(soon.collect::<Vec<_>>().pop().unwrap());
    }
}
