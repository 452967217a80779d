//! Processor time of one call into a guest.
//!
//! Epoch ticks are wall time, and on busy cores an innocent call of one millisecond
//! may span many. So a tick only wakes [`Budget::tick`], which reads the thread's
//! processor clock, lets the call go on while its budget lasts, and ends it when it is
//! spent. A generous wall limit backs it. The clock is first read at the first tick,
//! so calls shorter than a tick never pay for reading it.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How long one call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimits {
    /// Processor time of one call.
    pub cpu: Duration,
    /// Processor time of a call whose inputs or whose spans are large (over 64 KiB).
    pub cpu_large: Duration,
    /// Time on the wall, however little of it was the guest's.
    pub wall: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(10),
            cpu_large: Duration::from_millis(250),
            wall: Duration::from_secs(5),
        }
    }
}

/// Which limit a call passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Spent {
    /// Processor time.
    #[error("spent its processor time of {0:?}")]
    Cpu(Duration),
    /// Time on the wall.
    #[error("spent its wall time of {0:?}")]
    Wall(Duration),
}

/// The budget of the call that is running.
#[derive(Debug)]
pub(crate) struct Budget {
    cpu: Duration,
    wall: Duration,
    began: Option<(Duration, Instant)>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            cpu: Duration::MAX,
            wall: Duration::MAX,
            began: None,
        }
    }

    /// A new call begins.
    pub(crate) fn begin(&mut self, limits: &TimeLimits, large: bool) {
        self.cpu = if large { limits.cpu_large } else { limits.cpu };
        self.wall = limits.wall;
        self.began = None;
    }

    /// A tick fell into the call.
    pub(crate) fn tick(&mut self) -> Result<(), Spent> {
        let cpu = thread_cpu_time();
        let Some((cpu_began, wall_began)) = self.began else {
            self.began = Some((cpu, Instant::now()));
            return Ok(());
        };
        if cpu.saturating_sub(cpu_began) > self.cpu {
            return Err(Spent::Cpu(self.cpu));
        }
        if wall_began.elapsed() > self.wall {
            return Err(Spent::Wall(self.wall));
        }
        Ok(())
    }
}

/// Processor time that this thread has used.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_costs_nothing_and_working_does() {
        let mut budget = Budget::new();
        let limits = TimeLimits {
            cpu: Duration::from_millis(20),
            cpu_large: Duration::from_secs(60),
            wall: Duration::from_secs(60),
        };
        budget.begin(&limits, false);
        assert_eq!(budget.tick(), Ok(()));
        std::thread::park_timeout(Duration::from_millis(60));
        assert_eq!(budget.tick(), Ok(()), "waiting is not processor time");
        let begun = Instant::now();
        let mut spent = Ok(());
        while spent.is_ok() && begun.elapsed() < Duration::from_secs(30) {
            spent = budget.tick();
        }
        assert_eq!(spent, Err(Spent::Cpu(limits.cpu)));
        budget.begin(&limits, true);
        assert_eq!((budget.tick(), budget.tick()), (Ok(()), Ok(())));
    }

    #[test]
    fn the_wall_limit_backs_it() {
        let mut budget = Budget::new();
        budget.begin(
            &TimeLimits {
                wall: Duration::from_millis(1),
                ..TimeLimits::default()
            },
            false,
        );
        assert_eq!(budget.tick(), Ok(()));
        std::thread::park_timeout(Duration::from_millis(20));
        assert_eq!(budget.tick(), Err(Spent::Wall(Duration::from_millis(1))));
    }
}
