//! Keeps a generation out of service that does nothing but fail.
//!
//! 1. Every trap is counted within a window, and so is every exchange that begins beside it.
//! 2. Many traps that are a large share of the exchanges put the generation into quarantine: who
//!    asks for an instance is told no at once, and nothing is instantiated. A share, so that one
//!    client whose requests a plugin cannot bear does not take it from everybody.
//! 3. A trap for want of memory or time counts for nothing where the inputs were large: it is they
//!    that the plugin cannot bear, and one client may send many of them.
//! 4. Quarantine ends by itself. If the generation comes back to it before a window has passed, it
//!    stays twice as long, up to the longest time.
//!
//! While nothing fails an exchange costs one count and one look. Times are since any beginning.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// When a generation is put into quarantine, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineSpec {
    /// Traps within the window.
    pub traps: u64,
    /// Their share of the exchanges that began meanwhile, in hundredths.
    pub percent: u64,
    /// The window.
    pub window: Duration,
    /// First time of quarantine, doubled each time that it comes back to it.
    pub first: Duration,
    /// Longest time.
    pub longest: Duration,
}

impl Default for QuarantineSpec {
    fn default() -> Self {
        Self {
            traps: 10,
            percent: 50,
            window: Duration::from_secs(10),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
        }
    }
}

/// The state of one generation.
#[derive(Debug)]
pub struct Quarantine {
    spec: QuarantineSpec,
    origin: Instant,
    /// Exchanges begun.
    begun: AtomicU64,
    /// When it ends, in nanoseconds since the origin; 0: there is none.
    until: AtomicU64,
    entered: AtomicU64,
    refused: AtomicU64,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// When the first trap in it was; none: it has not begun.
    since: Option<Duration>,
    traps: u64,
    /// Exchanges that had begun before.
    before: u64,
    /// The last quarantine: how long, and when it ended.
    last: Option<(Duration, Duration)>,
}

impl Quarantine {
    pub(crate) fn new(spec: QuarantineSpec) -> Self {
        Self {
            spec,
            origin: Instant::now(),
            begun: AtomicU64::new(0),
            until: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            window: Mutex::default(),
        }
    }

    /// Whether it is in quarantine now.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.until.load(Ordering::Relaxed) != 0 && !self.over(self.origin.elapsed())
    }

    /// How often it was put there.
    #[must_use]
    pub fn entered(&self) -> u64 {
        self.entered.load(Ordering::Relaxed)
    }

    /// Exchanges that were told no.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// An exchange asks for an instance. False: it gets none.
    pub(crate) fn admits(&self) -> bool {
        if self.until.load(Ordering::Relaxed) != 0 {
            return self.admits_at(self.origin.elapsed());
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn admits_at(&self, now: Duration) -> bool {
        if self.over(now) {
            self.until.store(0, Ordering::Relaxed);
            self.begun.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn over(&self, now: Duration) -> bool {
        now.as_nanos() >= u128::from(self.until.load(Ordering::Relaxed))
    }

    /// An instance was ended by a trap. How long the quarantine is that follows, if one does.
    pub(crate) fn trapped(&self) -> Option<Duration> {
        self.trapped_at(self.origin.elapsed())
    }

    fn trapped_at(&self, now: Duration) -> Option<Duration> {
        let mut window = self.window.lock();
        let begun = self.begun.load(Ordering::Relaxed);
        let spec = &self.spec;
        if window.since.is_none_or(|since| now >= since + spec.window) {
            window.since = Some(now);
            window.traps = 0;
            // The one that trapped is among those that began.
            window.before = begun.saturating_sub(1);
        }
        window.traps += 1;
        let share = begun.saturating_sub(window.before).max(1);
        let many = window.traps >= spec.traps
            && window.traps.saturating_mul(100) >= share.saturating_mul(spec.percent);
        if !many {
            return None;
        }
        let time = match window.last {
            Some((time, end)) if now < end + spec.window => {
                time.saturating_mul(2).min(spec.longest)
            }
            _ => spec.first.min(spec.longest),
        };
        let end = now + time;
        window.last = Some((time, end));
        window.since = None;
        let until = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.until.store(until, Ordering::Relaxed);
        self.entered.fetch_add(1, Ordering::Relaxed);
        Some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn quarantine() -> Quarantine {
        Quarantine::new(QuarantineSpec {
            traps: 4,
            percent: 50,
            window: secs(10),
            first: secs(1),
            longest: secs(3),
        })
    }

    /// So many exchanges at one time, of which some trap.
    fn serve(it: &Quarantine, now: Duration, exchanges: u64, traps: u64) -> Option<Duration> {
        for _ in 0..exchanges {
            it.begun.fetch_add(1, Ordering::Relaxed);
        }
        (0..traps).filter_map(|_| it.trapped_at(now)).last()
    }

    #[test]
    fn many_traps_in_a_window_are_too_many() {
        let it = quarantine();
        assert_eq!(serve(&it, secs(0), 3, 3), None);
        assert!(it.admits() && !it.is_on());
        assert_eq!(serve(&it, secs(1), 1, 1), Some(secs(1)));
        assert!(!it.admits_at(Duration::from_millis(1999)));
        assert_eq!((it.entered(), it.refused()), (1, 1));
        assert!(it.admits_at(secs(2)));
        assert!(it.admits(), "and nobody looks at the time again");
    }

    #[test]
    fn few_at_a_time_are_not() {
        let it = quarantine();
        for window in 0..20 {
            assert_eq!(serve(&it, secs(window * 10), 3, 3), None);
        }
    }

    #[test]
    fn one_bad_client_among_many_does_not_take_it_from_them() {
        let it = quarantine();
        for _ in 0..10 {
            assert_eq!(serve(&it, secs(1), 9, 0), None);
            serve(&it, secs(1), 1, 1);
        }
        assert_eq!(it.entered(), 0, "ten of a hundred");
    }

    #[test]
    fn who_comes_back_stays_longer_up_to_the_longest() {
        let it = quarantine();
        let mut now = secs(0);
        for time in [1, 2, 3, 3] {
            assert_eq!(serve(&it, now, 4, 4), Some(secs(time)));
            now += secs(time);
            assert!(it.admits_at(now));
        }
        now += secs(10);
        assert_eq!(
            serve(&it, now, 4, 4),
            Some(secs(1)),
            "it did well for a window"
        );
    }
}
