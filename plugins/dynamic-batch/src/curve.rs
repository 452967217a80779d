//! How long a batch takes, as a function of its size, learned from those that end.
//!
//! A line `fixed + each · size`, fitted by least squares in which each observation weighs a little
//! less than the one after it. Until sizes have differed nothing is known of the slope: a smaller
//! batch is then believed to take as long as those seen, and a larger one as much longer as it is
//! larger.
//!
//! What nobody has added to for long says nothing, and is learned anew: a worker that was slow once,
//! and is asked no more because of that, is tried again.

use tollgate_sdk_scheduler::recent::{Recent, mixed};

/// What an observation keeps of its weight at each one that follows.
const KEEP: f64 = 0.98;
/// Observations before a curve says anything.
const ENOUGH: u32 = 4;
/// A curve speaks for so long after the last observation (microseconds).
const STALE: u64 = 30_000_000;
/// Curves that are kept: one for each worker and model, and one for each model.
const CURVES: usize = 1024;

/// The times of one sort of batch, in microseconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Curve {
    seen: u32,
    /// When it was added to last.
    last: u64,
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    /// How far off it was lately, in the mean.
    off: f64,
}

/// Curves of all workers and models. Bounded.
pub(crate) struct Curves {
    by_key: Recent<Curve>,
}

// === impl Curve ===

impl Curve {
    fn is_stale(&self, now: u64) -> bool {
        now.saturating_sub(self.last) > STALE
    }

    fn observe(&mut self, now: u64, size: u32, took: u64) {
        if self.is_stale(now) {
            *self = Self::default();
        }
        self.last = now;
        let (x, y) = (f64::from(size), took as f64);
        if let Some(guess) = self.time(size) {
            self.off += ((y - guess).abs() - self.off) / 16.0;
        }
        self.seen = self.seen.saturating_add(1);
        for (sum, term) in [
            (&mut self.weight, 1.0),
            (&mut self.x, x),
            (&mut self.y, y),
            (&mut self.xx, x * x),
            (&mut self.xy, x * y),
        ] {
            *sum = *sum * KEEP + term;
        }
    }

    /// How long a batch of this size takes. None: not enough is known.
    pub(crate) fn time(&self, size: u32) -> Option<f64> {
        if self.seen < ENOUGH {
            return None;
        }
        let size = f64::from(size);
        let (mean_x, mean_y) = (self.x / self.weight, self.y / self.weight);
        let spread = self.xx / self.weight - mean_x * mean_x;
        if spread < 0.05 {
            return Some(mean_y * (size / mean_x).max(1.0));
        }
        let slope = ((self.xy / self.weight - mean_x * mean_y) / spread).max(0.0);
        let fixed = mean_y - slope * mean_x;
        if fixed < 0.0 {
            // No batch is done before it begins: the line goes through nothing.
            return Some(mean_y / mean_x * size);
        }
        Some(fixed + slope * size)
    }

    /// The shortest time that a batch of this size can be hoped to take.
    pub(crate) fn hope(&self, size: u32) -> Option<f64> {
        self.time(size).map(|time| (time - 2.0 * self.off).max(0.0))
    }
}

// === impl Curves ===

impl Curves {
    pub(crate) fn new() -> Self {
        Self {
            by_key: Recent::new(CURVES),
        }
    }

    /// A batch has ended well.
    pub(crate) fn observe(&mut self, now: u64, worker: u32, model: u32, size: u32, took: u64) {
        for worker in [worker, 0] {
            let curve = self.by_key.touch(key(worker, model), Curve::default);
            curve.observe(now, size, took);
        }
    }

    /// The curve of a worker and a model; that of the model on all workers while the worker's own
    /// says nothing; nothing when neither does.
    pub(crate) fn of(&self, now: u64, worker: u32, model: u32) -> Option<Curve> {
        [worker, 0]
            .into_iter()
            .filter_map(|worker| self.by_key.peek(key(worker, model)).copied())
            .find(|curve| curve.seen >= ENOUGH && !curve.is_stale(now))
    }
}

fn key(worker: u32, model: u32) -> u64 {
    mixed(u64::from(worker) << 32 | u64::from(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_learned_and_followed_when_it_changes() {
        let mut curves = Curves::new();
        assert!(curves.of(1, 1, 1).is_none());
        for round in 0..40 {
            let size = 1 + round % 8;
            curves.observe(1, 1, 1, size, 5000 + 300 * u64::from(size));
        }
        let curve = curves.of(1, 1, 1).unwrap();
        for size in [1, 8, 20] {
            let off = curve.time(size).unwrap() - (5000.0 + 300.0 * f64::from(size));
            assert!(off.abs() < 1.0, "{size}: {off}");
        }
        assert!(
            curves.of(1, 2, 1).is_some(),
            "another worker: as the model elsewhere"
        );
        assert!(curves.of(1, 1, 2).is_none());
        for round in 0..400 {
            let size = 1 + round % 8;
            curves.observe(1, 1, 1, size, 9000 + 100 * u64::from(size));
        }
        let off = curves.of(1, 1, 1).unwrap().time(8).unwrap() - 9800.0;
        assert!(off.abs() < 20.0, "{off}");
    }

    #[test]
    fn what_was_learned_long_ago_is_learned_anew() {
        let mut curves = Curves::new();
        for at in 0..100 {
            curves.observe(at, 1, 1, 4, 900_000);
            curves.observe(at, 2, 1, 4, 5_000);
        }
        let later = 100 + STALE;
        for at in 0..4 {
            curves.observe(later + at, 2, 1, 4, 5_000);
        }
        let time = |curves: &Curves| curves.of(later + 9, 1, 1).unwrap().time(4).unwrap();
        assert_eq!(time(&curves).round(), 5_000.0, "as the model elsewhere");
        for at in 0..4 {
            curves.observe(later + at, 1, 1, 4, 7_000);
        }
        assert_eq!(time(&curves).round(), 7_000.0);
        assert!(curves.of(later + 10 + STALE, 1, 1).is_none());
    }

    #[test]
    fn one_size_says_nothing_of_the_slope() {
        let mut curves = Curves::new();
        for _ in 0..10 {
            curves.observe(1, 1, 1, 4, 8000);
        }
        let curve = curves.of(1, 1, 1).unwrap();
        let times = [1, 4, 8].map(|size| curve.time(size).unwrap().round());
        assert_eq!(times, [8000.0, 8000.0, 16000.0]);
    }

    #[test]
    fn no_time_is_negative() {
        let mut curves = Curves::new();
        for (size, took) in [(1, 10), (8, 9000), (1, 20), (8, 9500), (2, 15), (7, 8000)] {
            curves.observe(1, 1, 1, size, took);
        }
        let curve = curves.of(1, 1, 1).unwrap();
        assert!((1..20).all(|size| curve.time(size).unwrap() >= 0.0));
    }
}
