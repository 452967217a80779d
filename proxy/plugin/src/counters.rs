//! What one generation costs: counts, times and sizes, each written by whoever calls its guests
//! and read when an operator asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Why a guest's store was ended. The label is a metric's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapKind {
    /// A trap of the code's own: unreachable, out of bounds, stack overflow.
    Trap,
    /// Processor or wall time.
    Time,
    /// Memory or table growth.
    Memory,
    /// It handed over more than `Limits::output`.
    Output,
    /// It named what it does not have, or answered what the contract forbids.
    Nonsense,
}

impl TrapKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Trap,
        Self::Time,
        Self::Memory,
        Self::Output,
        Self::Nonsense,
    ];

    /// Metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Time => "time",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::Nonsense => "nonsense",
        }
    }
}

/// Counts of one generation, all monotonic but `exchanges` and `memory`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Linear memory of its instances, in bytes.
    pub memory: AtomicU64,
    /// The most that one of them ever had, in bytes.
    pub memory_peak: AtomicU64,
    /// Instances that take no new exchange because they have grown.
    pub retired: AtomicU64,
    /// Bytes of requests and answers that were copied into the guest.
    pub read: AtomicU64,
    /// Bytes that it put out itself, those that it only named not counted.
    pub written: AtomicU64,
    /// Calls into the guest.
    pub calls: AtomicU64,
    /// Time that they took, in nanoseconds: on the wall, with what the host did for the guest
    /// when it was called back.
    pub nanos: AtomicU64,
    /// The same, call by call.
    pub took: Took,
    /// Instances made.
    pub instantiated: AtomicU64,
    /// Exchanges, attempts and sessions that live now.
    pub exchanges: AtomicUsize,
    /// Those that ended.
    pub served: AtomicU64,
    /// Of these, those that ended with an error, whoever's fault it was.
    pub failed: AtomicU64,
    /// Responses that went on without it when it had failed.
    pub bypassed: AtomicU64,
    /// Times that the built-in rules had to take a scheduler's place.
    pub replaced: AtomicU64,
    /// Calls that waited because their instance was being called.
    pub waits: AtomicU64,
    /// Time that they waited, in nanoseconds.
    pub waited: AtomicU64,
    traps: [AtomicU64; TrapKind::ALL.len()],
    /// Held for what its end does.
    _alive: Alive,
}

/// A generation among those of its loader that are in memory, until the last that is left of it is
/// gone: itself, its instances, and who holds one of them.
#[derive(Debug, Default)]
struct Alive(Option<Arc<AtomicU64>>);

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(alive) = &self.0 {
            alive.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Counters {
    /// Those of a generation that is one of `alive` for as long as there are any.
    pub(crate) fn among(alive: &Arc<AtomicU64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self {
            _alive: Alive(Some(alive.clone())),
            ..Self::default()
        }
    }

    /// Stores ended by a trap or limit.
    #[must_use]
    pub fn traps(&self) -> u64 {
        self.traps.iter().map(|it| it.load(Ordering::Relaxed)).sum()
    }

    /// Stores ended in this way.
    #[must_use]
    pub fn traps_of(&self, kind: TrapKind) -> u64 {
        self.traps[kind as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn trapped(&self, kind: TrapKind) {
        self.traps[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A call that began then is over.
    pub(crate) fn called(&self, began: Instant) {
        let nanos = nanos(began);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.took.observe(nanos);
    }

    /// A call has waited since then for its instance.
    pub(crate) fn waited(&self, since: Instant) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.waited.fetch_add(nanos(since), Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, failed: bool) {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(failed.into(), Ordering::Relaxed);
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Upper bounds of the buckets, in nanoseconds: from a method without arguments to the largest
/// budget of a call.
const BOUNDS: [u64; 12] = [
    2_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    2_500_000,
    10_000_000,
    50_000_000,
    250_000_000,
];

/// How long calls took, in buckets.
#[derive(Debug, Default)]
pub struct Took([AtomicU64; BOUNDS.len() + 1]);

impl Took {
    fn observe(&self, nanos: u64) {
        let at = BOUNDS.iter().position(|bound| nanos <= *bound);
        self.0[at.unwrap_or(BOUNDS.len())].fetch_add(1, Ordering::Relaxed);
    }

    /// Each bucket's upper bound, with the calls in it and not in the one before; the last one has
    /// none.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS
            .iter()
            .map(|bound| Some(Duration::from_nanos(*bound)));
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        bounds.chain([None]).zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_in_one_bucket() {
        let took = Took::default();
        for nanos in [0, 2_000, 2_001, 250_000_000, 250_000_001, u64::MAX] {
            took.observe(nanos);
        }
        let counts: Vec<u64> = took.buckets().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[1]), (2, 1));
        assert_eq!(counts[11..], [1, 2]);
        assert_eq!(counts.iter().sum::<u64>(), 6);
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn a_generation_is_in_memory_until_the_last_of_it_is_gone() {
        let alive = Arc::default();
        let first = Arc::new(Counters::among(&alive));
        let (held, second) = (first.clone(), Counters::among(&alive));
        let count = || alive.load(Ordering::Relaxed);
        assert_eq!(count(), 2);
        drop((first, second));
        assert_eq!(count(), 1);
        drop(held);
        assert_eq!(count(), 0);
    }

    #[test]
    fn traps_are_counted_by_kind() {
        let counters = Counters::default();
        for (at, kind) in TrapKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            for _ in 0..=at {
                counters.trapped(kind);
            }
        }
        assert_eq!(counters.traps_of(TrapKind::Nonsense), 5);
        assert_eq!(counters.traps(), 15);
    }
}
