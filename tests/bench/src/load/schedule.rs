//! When requests are due: by a rate, whatever becomes of them.

use std::time::Duration;

use clap::ValueEnum;
use tokio::time::Instant;

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arrivals {
    /// The same time between any two.
    Even,
    /// As of many clients that know nothing of each other (exponential times between).
    Poisson,
}

/// The instants at which requests are due. Two of the same seed are the same.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    next: Instant,
    /// Nanoseconds that rounding has left over.
    rest: f64,
    between: f64,
    arrivals: Arrivals,
    rng: fastrand::Rng,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    At(Instant),
    After { counted_from: Instant, left: u64 },
}

impl Schedule {
    /// From `start` on, so many a second; until an instant.
    pub(super) fn until(
        start: Instant,
        rate: f64,
        arrivals: Arrivals,
        seed: u64,
        end: Instant,
    ) -> Self {
        Self::new(start, rate, arrivals, seed, End::At(end))
    }

    /// From `start` on, so many a second; until so many from an instant on.
    pub(super) fn count(
        start: Instant,
        rate: f64,
        arrivals: Arrivals,
        seed: u64,
        counted_from: Instant,
        left: u64,
    ) -> Self {
        Self::new(
            start,
            rate,
            arrivals,
            seed,
            End::After { counted_from, left },
        )
    }

    fn new(start: Instant, rate: f64, arrivals: Arrivals, seed: u64, end: End) -> Self {
        Self {
            next: start,
            rest: 0.0,
            between: 1e9 / rate,
            arrivals,
            rng: fastrand::Rng::with_seed(seed),
            end,
        }
    }
}

impl Iterator for Schedule {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        let due = self.next;
        match &mut self.end {
            End::At(end) if due >= *end => return None,
            End::After { left: 0, .. } => return None,
            End::After { counted_from, left } if due >= *counted_from => *left -= 1,
            _ => {}
        }
        let step = match self.arrivals {
            Arrivals::Even => self.between,
            // 1 - f64() is above 0, so that its logarithm is a number.
            Arrivals::Poisson => -self.between * (1.0 - self.rng.f64()).ln(),
        };
        self.rest += step;
        // To the nearest, so that what is left over never adds up.
        let whole = self.rest.round().max(0.0);
        self.rest -= whole;
        self.next += Duration::from_nanos(whole as u64);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_over_a_long_time() {
        let start = Instant::now();
        let end = start + Duration::from_secs(100);
        let even = Schedule::until(start, 3.0, Arrivals::Even, 1, end);
        assert_eq!(even.count(), 300);
        let poisson = Schedule::until(start, 1000.0, Arrivals::Poisson, 1, end);
        let count = poisson.clone().count();
        assert!((98_000..102_000).contains(&count), "{count}");
        assert!(poisson.clone().eq(poisson));
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_begins_where_it_is_told() {
        let start = Instant::now();
        let from = start + Duration::from_secs(1);
        let all: Vec<_> = Schedule::count(start, 10.0, Arrivals::Even, 1, from, 5).collect();
        assert_eq!(all.iter().filter(|due| **due >= from).count(), 5);
        assert_eq!(all.len(), 15);
    }
}
