//! The pool's clock: microseconds of the runtime's monotonic time, which tests can pause.

use std::time::Duration;

use tokio::time::Instant;

/// Counts microseconds since it was made. Copies count the same.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Microseconds since the beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// An instant as this clock counts; 0 when it lies before the beginning.
    #[must_use]
    pub fn at(&self, instant: Instant) -> u64 {
        micros(instant.saturating_duration_since(self.origin))
    }

    /// The instant of a count. What lies too far ahead is a year away.
    #[must_use]
    pub fn instant(&self, at: u64) -> Instant {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let ahead = Duration::from_micros(at);
        self.origin
            .checked_add(ahead)
            .unwrap_or_else(|| Instant::now() + YEAR)
    }
}

/// A duration in whole microseconds.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
