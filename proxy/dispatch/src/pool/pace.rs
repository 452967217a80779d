//! How long a policy takes to decide: a statistic, not a limit of one step.
//!
//! Of [`STEPS`] steps in a row at most [`SLOW`] may take longer than the budget, which is to say
//! that the 99th percentile keeps it. With one more the policy is given up there and then: no later
//! step could mend the figure.

use std::time::Duration;

/// Steps that are counted together.
const STEPS: u32 = 1000;
/// Of these, the ones that may be slow.
const SLOW: u32 = 10;

/// The count of one policy.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// None: it may take what it likes.
    budget: Option<Duration>,
    steps: u32,
    slow: u32,
}

impl Pace {
    pub(super) fn new(budget: Option<Duration>) -> Self {
        Self {
            budget,
            steps: 0,
            slow: 0,
        }
    }

    /// A step took so long. Tells the budget when the policy has passed it too often.
    pub(super) fn step(&mut self, took: Duration) -> Option<Duration> {
        let budget = self.budget?;
        if self.steps == STEPS {
            (self.steps, self.slow) = (0, 0);
        }
        self.steps += 1;
        self.slow += u32::from(took > budget);
        (self.slow > SLOW).then_some(budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_micros(200);

    fn steps(pace: &mut Pace, many: u32, took: Duration) -> bool {
        (0..many).any(|_| pace.step(took).is_some())
    }

    #[test]
    fn ten_of_a_thousand_may_be_slow_and_not_eleven() {
        let mut pace = Pace::new(Some(BUDGET));
        let slow = BUDGET + Duration::from_nanos(1);
        for _ in 0..5 {
            assert!(!steps(&mut pace, 10, slow));
            assert!(!steps(&mut pace, 990, BUDGET));
        }
        assert!(!steps(&mut pace, 500, BUDGET));
        assert!(!steps(&mut pace, 10, slow));
        assert_eq!(pace.step(slow), Some(BUDGET));
    }

    #[test]
    fn without_a_budget_nothing_is_slow() {
        assert!(!steps(&mut Pace::new(None), 2000, Duration::MAX));
    }
}
