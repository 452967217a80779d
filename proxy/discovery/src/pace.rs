//! When to look again, and whether to believe that there is nothing: a state machine, sans I/O.
//!
//! * What was found holds for as long as its records say, within two bounds.
//! * That nothing is there is believed when it has been said so often in a row; until then it is
//!   asked for as soon as may be. From then on the pause doubles, up to the longest.
//! * After an error the pause doubles too. What was known stays known, for as long as it takes.

use std::time::Duration;

/// The pace of one name, or of one file.
#[derive(Clone, Debug)]
pub struct Pace {
    least: Duration,
    most: Duration,
    gone_after: u32,
    /// Empty answers in a row.
    empty: u32,
    /// The pause, if the next answer is again none or an error.
    pause: Duration,
}

/// A pace that cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pause must be longer than zero, and the longest not shorter than the shortest")]
pub struct PaceError;

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something, which holds for so long.
    Found(Duration),
    /// That there is nothing.
    Nothing,
    /// An error.
    Failed,
}

// === impl Pace ===

impl Pace {
    /// A pace between `least` and `most`; `gone_after` empty answers in a row are believed.
    ///
    /// # Errors
    /// The bounds leave no pause.
    pub fn new(least: Duration, most: Duration, gone_after: u32) -> Result<Self, PaceError> {
        if least.is_zero() || least > most {
            return Err(PaceError);
        }
        Ok(Self {
            least,
            most,
            gone_after: gone_after.max(1),
            empty: 0,
            pause: least,
        })
    }

    /// Takes what came of a look: whether to believe it, and how long to wait until the next.
    pub fn heard(&mut self, heard: Heard) -> (bool, Duration) {
        match heard {
            Heard::Found(holds) => {
                self.empty = 0;
                self.pause = self.least;
                (true, holds.clamp(self.least, self.most))
            }
            Heard::Nothing => {
                self.empty = self.empty.saturating_add(1);
                if self.empty < self.gone_after {
                    return (false, self.least);
                }
                (true, self.longer())
            }
            Heard::Failed => (false, self.longer()),
        }
    }

    fn longer(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = pause.saturating_mul(2).min(self.most);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn what_was_found_holds_for_its_time_within_the_bounds() {
        let mut pace = Pace::new(secs(1), secs(30), 3).unwrap();
        for (holds, pause) in [(0, 1), (5, 5), (30, 30), (3600, 30)] {
            assert_eq!(pace.heard(Heard::Found(secs(holds))), (true, secs(pause)));
        }
    }

    #[test]
    fn nothing_is_believed_when_it_was_said_so_often_in_a_row() {
        let mut pace = Pace::new(secs(1), secs(10), 3).unwrap();
        for _ in 0..2 {
            assert_eq!(pace.heard(Heard::Nothing), (false, secs(1)));
            assert_eq!(pace.heard(Heard::Nothing), (false, secs(1)));
            assert_eq!(pace.heard(Heard::Found(secs(2))), (true, secs(2)));
        }
        assert!(!pace.heard(Heard::Nothing).0);
        assert!(!pace.heard(Heard::Failed).0, "an error says nothing of it");
        assert!(!pace.heard(Heard::Nothing).0);
        let heard: Vec<_> = (0..5).map(|_| pace.heard(Heard::Nothing)).collect();
        assert_eq!(heard, [2, 4, 8, 10, 10].map(|pause| (true, secs(pause))));
    }

    #[test]
    fn errors_are_never_believed_and_asked_about_less_and_less() {
        let mut pace = Pace::new(secs(1), secs(5), 1).unwrap();
        for pause in [1, 2, 4, 5, 5] {
            assert_eq!(pace.heard(Heard::Failed), (false, secs(pause)));
        }
        pace.heard(Heard::Found(secs(3)));
        assert_eq!(pace.heard(Heard::Failed), (false, secs(1)));
    }

    #[test]
    fn bounds_that_leave_no_pause_are_refused() {
        assert!(Pace::new(secs(0), secs(1), 1).is_err());
        assert!(Pace::new(secs(2), secs(1), 1).is_err());
    }
}
