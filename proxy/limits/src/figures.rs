//! What is counted of decisions and of the store, for the page of metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::store::StoreError;

/// How a decision came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Out of what this proxy has: its own count, or a lease.
    Here,
    /// The store granted it.
    Granted,
    /// It was more than is left, by this proxy's own count or the store's.
    Denied,
    /// Refused without a decision: the store had refused as much a moment ago, or no request at all
    /// has room.
    Blocked,
    /// The store is away, and everything is allowed meanwhile.
    AwayAllowed,
    /// The store is away, and this proxy's share had room for it.
    AwayShared,
    /// The store is away: denied by the policy for it, or by the share.
    AwayDenied,
    /// There was no room for another account.
    NoRoom,
}

impl Outcome {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Here, "here"),
        (Self::Granted, "granted"),
        (Self::Denied, "denied"),
        (Self::Blocked, "blocked"),
        (Self::AwayAllowed, "away-allowed"),
        (Self::AwayShared, "away-shared"),
        (Self::AwayDenied, "away-denied"),
        (Self::NoRoom, "no-room"),
    ];
}

/// Upper bounds of the buckets of the store's times; the last bucket has none.
const BOUNDS: [Duration; 10] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

/// The counts.
#[derive(Debug, Default)]
pub struct Figures {
    decisions: [AtomicU64; 8],
    errors: [AtomicU64; StoreError::LABELS.len()],
    times: [AtomicU64; BOUNDS.len() + 1],
    /// Microseconds.
    took: AtomicU64,
    returned: AtomicU64,
    charged: AtomicU64,
    lost: AtomicU64,
}

impl Figures {
    pub(crate) fn decided(&self, outcome: Outcome) {
        self.decisions[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn asked<T>(&self, took: Duration, told: &Result<T, StoreError>) {
        if let Err(error) = told {
            self.errors[error.position()].fetch_add(1, Ordering::Relaxed);
        }
        if matches!(told, Err(StoreError::Away)) {
            return;
        }
        let at = BOUNDS.iter().position(|bound| took <= *bound);
        self.times[at.unwrap_or(BOUNDS.len())].fetch_add(1, Ordering::Relaxed);
        let micros = crate::levels::micros(took);
        self.took.fetch_add(micros, Ordering::Relaxed);
    }

    /// Tokens that a call used more (or fewer) than it was believed to need.
    pub(crate) fn settled(&self, change: i64) {
        let (counter, tokens) = match change {
            ..0 => (&self.returned, change.unsigned_abs()),
            _ => (&self.charged, change.unsigned_abs()),
        };
        counter.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Leased units that may or may not have been given back.
    pub(crate) fn lost(&self, units: u64) {
        self.lost.fetch_add(units, Ordering::Relaxed);
    }

    /// Decisions by how they came about.
    pub fn decisions(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.decisions.iter().zip(Outcome::ALL);
        counts.map(|(count, (_, label))| (label, count.load(Ordering::Relaxed)))
    }

    /// Questions that the store did not answer, by why.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.errors.iter().zip(StoreError::LABELS);
        counts.map(|(count, label)| (label, count.load(Ordering::Relaxed)))
    }

    /// How long the store took: the sum, and each bucket's upper bound and count.
    pub fn times(&self) -> (Duration, impl Iterator<Item = (Option<Duration>, u64)>) {
        let sum = Duration::from_micros(self.took.load(Ordering::Relaxed));
        let bounds = BOUNDS.iter().copied().map(Some).chain([None]);
        let buckets = bounds.zip(&self.times);
        (
            sum,
            buckets.map(|(bound, count)| (bound, count.load(Ordering::Relaxed))),
        )
    }

    /// Tokens that were reserved and not used; those that were used beyond what was reserved; and
    /// leased units that were lost since the store did not say whether it took them back.
    #[must_use]
    pub fn settlements(&self) -> [(&'static str, u64); 3] {
        [
            ("returned", self.returned.load(Ordering::Relaxed)),
            ("charged", self.charged.load(Ordering::Relaxed)),
            ("lost", self.lost.load(Ordering::Relaxed)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_lie_where_they_are_counted() {
        for (at, (outcome, _)) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, at);
        }
    }

    #[test]
    fn times_are_counted_in_their_buckets_and_absence_is_no_time() {
        let figures = Figures::default();
        figures.asked(Duration::from_micros(100), &Ok(()));
        figures.asked(Duration::from_millis(2), &Ok(()));
        figures.asked(Duration::from_secs(5), &Err::<(), _>(StoreError::Timeout));
        figures.asked(Duration::from_secs(5), &Err::<(), _>(StoreError::Away));
        let (sum, buckets) = figures.times();
        let counts: Vec<u64> = buckets.map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(sum, Duration::from_micros(5_002_100));
        let errors: Vec<_> = figures.errors().filter(|(_, count)| *count > 0).collect();
        assert_eq!(errors, [("away", 1), ("timeout", 1)]);
    }
}
