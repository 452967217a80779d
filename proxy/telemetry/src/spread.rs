//! Lengths of time by how often they came, cheap enough for every request, from which percentiles of
//! the last seconds can be told.
//!
//! 1. A [`Spread`] counts into buckets an eighth of an octave wide: one atomic addition, no lock, and
//!    a figure that is at most 7 % off. It only grows.
//! 2. [`Spread::counts`] reads it; what came since an earlier reading is [`Counts::since`], a handful
//!    of buckets ([`Few`]) that can be kept for each second.
//! 3. Seconds are put together by [`Counts::add`], and [`Counts::quantile`] tells a percentile.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets an octave, as a power of two.
const FINE: u32 = 3;
/// Octaves of microseconds above the first eight: the last bucket begins at 36 hours.
const OCTAVES: usize = 34;
/// Buckets in all; the first eight are a microsecond wide.
const BUCKETS: usize = (OCTAVES + 1) << FINE;

/// How often which lengths of time came, since the process began.
pub struct Spread {
    buckets: [AtomicU64; BUCKETS],
}

/// A reading of a [`Spread`], or several put together.
#[derive(Clone, PartialEq, Eq)]
pub struct Counts {
    buckets: Box<[u64; BUCKETS]>,
}

/// What came in a short time: the buckets that are not empty, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Few {
    buckets: Box<[(u16, u32)]>,
}

// === impl Spread ===

impl Spread {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }

    /// Counts one.
    pub fn observe(&self, took: Duration) {
        self.buckets[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// All that came up to now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (to, from) in counts.buckets.iter_mut().zip(&self.buckets) {
            *to = from.load(Ordering::Relaxed);
        }
        counts
    }
}

impl Default for Spread {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts().fmt(f)
    }
}

// === impl Counts ===

impl Counts {
    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What came between an earlier reading and this one. What does not fit a sample's small counter
    /// is told as that counter's most.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Few {
        let pairs = self.buckets.iter().zip(earlier.buckets.iter());
        let grown = pairs.enumerate().filter_map(|(at, (now, then))| {
            let more = now.saturating_sub(*then);
            let at = u16::try_from(at).ok().filter(|_| more > 0)?;
            Some((at, u32::try_from(more).unwrap_or(u32::MAX)))
        });
        Few {
            buckets: grown.collect(),
        }
    }

    /// Adds what came in a short time.
    pub fn add(&mut self, few: &Few) {
        for (at, count) in &few.buckets {
            self.buckets[usize::from(*at)] += u64::from(*count);
        }
    }

    /// Adds another reading.
    pub fn merge(&mut self, other: &Self) {
        for (to, from) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *to += from;
        }
    }

    /// The length within which this part of all lay, from 0 to 1: the middle of its bucket. None:
    /// there was nothing.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let counts = self.buckets.iter().copied().enumerate();
        quantile(self.total(), part, counts)
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            buckets: Box::new([0; BUCKETS]),
        }
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counts")
            .field("total", &self.total())
            .field("half", &self.quantile(0.5))
            .finish()
    }
}

// === impl Few ===

impl Few {
    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets
            .iter()
            .map(|(_, count)| u64::from(*count))
            .sum()
    }

    /// As [`Counts::quantile`].
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let counts = self.buckets.iter();
        let counts = counts.map(|(at, count)| (usize::from(*at), u64::from(*count)));
        quantile(self.total(), part, counts)
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a count is at most that count"
)]
fn quantile(total: u64, part: f64, counts: impl Iterator<Item = (usize, u64)>) -> Option<Duration> {
    // The one with this rank, counted from 1.
    let rank = ((total as f64 * part.clamp(0.0, 1.0)).ceil() as u64).max(1);
    let mut before = 0;
    for (at, count) in counts {
        before += count;
        if before >= rank {
            return Some(middle(at));
        }
    }
    None
}

/// Where a length is counted: below 8 µs a bucket is a microsecond; above, the three bits behind the
/// highest one tell which eighth of its octave it is in.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let octave = micros.max(1).ilog2();
    if octave < FINE {
        return usize::try_from(micros).unwrap_or_default();
    }
    let shift = octave - FINE;
    let eighth = usize::try_from((micros >> shift) & 7).unwrap_or_default();
    let octaves = usize::try_from(shift + 1).unwrap_or(OCTAVES);
    ((octaves << FINE) + eighth).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle(at: usize) -> Duration {
    let (octaves, eighth) = (at >> FINE, (at & 7) as u64);
    if octaves == 0 {
        return Duration::from_micros(eighth);
    }
    let width = 1_u64 << (octaves - 1);
    Duration::from_micros((8 + eighth) * width + width / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut last = 0;
        for micros in 0..100_000 {
            let at = bucket(Duration::from_micros(micros));
            assert!(at == last || at == last + 1, "{micros}: {last}, {at}");
            last = at;
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert_eq!(bucket(Duration::from_secs(60 * 3600)), BUCKETS - 1);
        assert!(bucket(Duration::from_secs(8 * 3600)) < BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn a_figure_is_near_what_it_stands_for(micros in 0_u64..30_000_000_000) {
            let told = middle(bucket(Duration::from_micros(micros))).as_micros();
            let off = told.abs_diff(u128::from(micros));
            prop_assert!(off * 100 <= u128::from(micros) * 7, "{micros}: {told}");
        }

        #[test]
        fn seconds_put_together_are_the_whole(
            early in proptest::collection::vec(0_u64..10_000_000, 0..50),
            late in proptest::collection::vec(0_u64..10_000_000, 0..50),
        ) {
            let spread = Spread::new();
            let see = |all: &[u64]| for &one in all {
                spread.observe(Duration::from_micros(one));
            };
            let none = spread.counts();
            see(&early);
            let first = spread.counts();
            see(&late);
            let second = spread.counts();
            prop_assert_eq!(second.since(&first).total(), late.len() as u64);
            let mut whole = Counts::default();
            whole.add(&first.since(&none));
            whole.add(&second.since(&first));
            prop_assert_eq!(&whole, &second);
            let mut merged = first.clone();
            merged.merge(&none);
            prop_assert_eq!(merged, first);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_ranks() {
        let spread = Spread::new();
        assert_eq!(spread.counts().quantile(0.5), None);
        for millis in 1..=100 {
            spread.observe(Duration::from_millis(millis));
        }
        let counts = spread.counts();
        let few = counts.since(&Counts::default());
        for (part, millis) in [
            (0.0, 1.0),
            (0.5, 50.0),
            (0.9, 90.0),
            (0.99, 99.0),
            (1.0, 100.0),
        ] {
            let told = counts.quantile(part).unwrap();
            let off = (told.as_secs_f64() * 1000.0 - millis).abs();
            assert!(off <= millis * 0.07, "{part}: {told:?}");
            assert_eq!(few.quantile(part), Some(told));
        }
        assert_eq!(few.total(), 100);
        assert!(Few::default().quantile(0.5).is_none());
    }
}
