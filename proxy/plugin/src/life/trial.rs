//! A canary's terms, and how it is judged by what is seen of it and of the one beside it.

use std::time::Duration;

use super::Reason;

/// What is seen of a generation. All but `exchanges` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Exchanges, attempts, compositions and sessions that ended.
    pub served: u64,
    /// Of these, those that ended with an error, whoever's fault it was.
    pub failed: u64,
    /// Instances ended by a trap or a limit.
    pub traps: u64,
    /// Times that it was kept out of service; of a scheduler, that the built-in rules took its
    /// place.
    pub quarantines: u64,
    /// What it serves now.
    pub exchanges: usize,
}

impl Signs {
    /// What has come since.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            served: self.served.saturating_sub(before.served),
            failed: self.failed.saturating_sub(before.failed),
            traps: self.traps.saturating_sub(before.traps),
            quarantines: self.quarantines.saturating_sub(before.quarantines),
            exchanges: self.exchanges,
        }
    }
}

/// The terms on which a canary is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanarySpec {
    percent: u32,
    hold: Duration,
    exchanges: u64,
    traps: u64,
    errors: u64,
}

/// Terms that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanarySpecError {
    /// A share of nothing, or of more than there is.
    #[error("a canary is given from 1 to 100 hundredths of the exchanges, not {0}")]
    Percent(u32),
    /// No trap at all would end it.
    #[error("a canary is taken back after one trap at least")]
    Traps,
}

impl CanarySpec {
    /// `percent`: its share of the exchanges. It is promoted when it has `hold` for that long and
    /// served so many `exchanges`, and taken back after so many `traps`, or when its share of
    /// failed exchanges is `errors` hundredths larger than of the one in force beside it.
    ///
    /// # Errors
    /// See [`CanarySpecError`].
    pub fn new(
        percent: u32,
        hold: Duration,
        exchanges: u64,
        traps: u64,
        errors: u64,
    ) -> Result<Self, CanarySpecError> {
        if !(1..=100).contains(&percent) {
            return Err(CanarySpecError::Percent(percent));
        }
        if traps == 0 {
            return Err(CanarySpecError::Traps);
        }
        Ok(Self {
            percent,
            hold,
            exchanges,
            traps,
            errors,
        })
    }

    /// Its share of the exchanges, in hundredths.
    #[must_use]
    pub fn percent(&self) -> u32 {
        self.percent
    }
}

/// Exchanges of a canary before its errors say anything.
const JUDGED: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wait,
    Promote,
    Withdraw(Reason),
}

/// Judges a canary that has held for so long, by what was seen of it and meanwhile of the one in
/// force.
pub(super) fn judge(spec: &CanarySpec, held: Duration, its: &Signs, beside: &Signs) -> Verdict {
    if its.quarantines > 0 {
        return Verdict::Withdraw(Reason::Failing);
    }
    // What both cannot bear is the clients' doing.
    let larger = |its_part: u64, its: u64, part: u64, all: u64, margin: u64| {
        let scaled = |part: u64, all: u64| u128::from(part) * 100 / u128::from(all.max(1));
        scaled(its_part, its) > scaled(part, all) + u128::from(margin)
    };
    let begun = its.served.max(its.traps);
    if its.traps >= spec.traps && larger(its.traps, begun, beside.traps, beside.served, 0) {
        return Verdict::Withdraw(Reason::Traps);
    }
    if its.served >= JUDGED
        && larger(
            its.failed,
            its.served,
            beside.failed,
            beside.served,
            spec.errors,
        )
    {
        return Verdict::Withdraw(Reason::Errors);
    }
    if held >= spec.hold && its.served >= spec.exchanges {
        return Verdict::Promote;
    }
    Verdict::Wait
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> CanarySpec {
        CanarySpec::new(10, Duration::from_secs(60), 20, 2, 5).unwrap()
    }

    fn signs(served: u64, failed: u64, traps: u64) -> Signs {
        Signs {
            served,
            failed,
            traps,
            ..Signs::default()
        }
    }

    fn judged(secs: u64, its: Signs, beside: Signs) -> Verdict {
        judge(&spec(), Duration::from_secs(secs), &its, &beside)
    }

    #[test]
    fn terms_that_make_no_sense_are_refused() {
        let with = |percent, traps| CanarySpec::new(percent, Duration::ZERO, 0, traps, 0);
        assert_eq!(with(0, 1), Err(CanarySpecError::Percent(0)));
        assert_eq!(with(101, 1), Err(CanarySpecError::Percent(101)));
        assert_eq!(with(1, 0), Err(CanarySpecError::Traps));
        assert!(with(100, 1).is_ok());
    }

    #[test]
    fn it_is_promoted_when_it_held_and_served_enough() {
        assert_eq!(
            judged(59, signs(100, 0, 0), signs(900, 0, 0)),
            Verdict::Wait
        );
        assert_eq!(judged(60, signs(19, 0, 0), signs(900, 0, 0)), Verdict::Wait);
        assert_eq!(
            judged(60, signs(20, 0, 0), signs(180, 0, 0)),
            Verdict::Promote
        );
    }

    #[test]
    fn traps_take_it_back_unless_the_one_beside_it_has_as_many() {
        let back = Verdict::Withdraw(Reason::Traps);
        assert_eq!(judged(1, signs(5, 1, 1), signs(45, 0, 0)), Verdict::Wait);
        assert_eq!(judged(1, signs(0, 0, 2), signs(45, 0, 0)), back);
        assert_eq!(judged(1, signs(8, 2, 2), signs(72, 0, 1)), back);
        assert_eq!(judged(1, signs(8, 2, 2), signs(72, 18, 18)), Verdict::Wait);
    }

    #[test]
    fn errors_take_it_back_when_they_are_more_than_beside_it() {
        let back = Verdict::Withdraw(Reason::Errors);
        assert_eq!(judged(1, signs(9, 9, 0), signs(90, 0, 0)), Verdict::Wait);
        assert_eq!(judged(1, signs(10, 10, 0), signs(90, 0, 0)), back);
        assert_eq!(
            judged(1, signs(100, 25, 0), signs(900, 180, 0)),
            Verdict::Wait
        );
        assert_eq!(judged(1, signs(100, 26, 0), signs(900, 180, 0)), back);
        // Nobody beside it: it is compared with one without errors.
        assert_eq!(judged(1, signs(10, 1, 0), Signs::default()), back);
    }

    #[test]
    fn one_that_is_in_quarantine_is_taken_back_at_once() {
        let its = Signs {
            quarantines: 1,
            ..signs(1, 0, 0)
        };
        assert_eq!(
            judged(100, its, Signs::default()),
            Verdict::Withdraw(Reason::Failing)
        );
    }
}
