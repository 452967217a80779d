//! How much of a meter is used, and the one decision over several: all of it, or nothing.
//!
//! 1. Each level is brought to the present: a rate's debt has leaked since it was last looked at, a
//!    quota begins at nothing in a new window. A clock that went back leaks nothing, and opens no old
//!    window again.
//! 2. In a request, every part that needs more than there is room for refuses, and nothing is
//!    charged; the longest wait of these counts. In a settlement nothing refuses: what was used was
//!    used.
//! 3. What is needed is charged, and of what is wanted beyond (a lease) at most half of the room that
//!    is left, so that leases shrink as a limit comes near.
//!
//! The store's script (`redis/decide.lua`) does the same in the same order with the same numbers,
//! which are doubles there; a test holds the two to each other.

use std::time::Duration;

use crate::{
    calendar::Window,
    plan::{Kind, Meter},
};

/// What is used of one meter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// Units: a rate's debt, or what a quota's window has seen.
    used: f64,
    /// A rate's: when that was, in microseconds. A quota's: its window.
    stamp: u64,
}

/// What is asked of one meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which account of those that are asked together.
    pub account: usize,
    /// The meter.
    pub meter: Meter,
    /// Units; less than none are given back.
    pub need: i64,
    /// Units that would be welcome beyond.
    pub extra: u64,
    /// The window that units which are given back came from.
    pub window: u64,
}

/// Whether something is asked for, or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// All is granted, or nothing.
    Request,
    /// It has been used, or is given back.
    Settle,
}

/// What a decision says of one part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Units that were given beyond those needed.
    pub extra: u64,
    /// Whole units that are left.
    pub room: u64,
    /// The window that is open; 0 for a rate.
    pub window: u64,
    /// Until it is full again (a rate), or its next window (a quota).
    pub reset: Duration,
}

/// How a decision came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it.
    Granted,
    /// Nothing of it.
    Denied {
        /// Position of the part that refuses for longest.
        part: usize,
        /// Until it would not; none: never, for it needs more than the meter holds.
        wait: Option<Duration>,
    },
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it came out.
    pub verdict: Verdict,
    /// Each part, in the order of the question.
    pub told: Vec<Told>,
}

/// Microseconds.
const SECOND: u64 = 1_000_000;

/// The longest time that is told, some thirty years in microseconds: a large debt that leaks slowly
/// takes longer than numbers of the store's hold.
const LONGEST: f64 = 1e15;

/// Microseconds of a duration.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Level {
    /// Brings it to the present.
    fn bring(&mut self, kind: Kind, now: u64) {
        match kind {
            Kind::Rate { amount, per, .. } => {
                if now > self.stamp {
                    let leaked = (now - self.stamp) as f64 * amount as f64 / micros(per) as f64;
                    self.used = (self.used - leaked).max(0.0);
                }
                self.stamp = now;
            }
            Kind::Quota { window, .. } => {
                let number = window.number(now / SECOND);
                if number > self.stamp {
                    *self = Self {
                        used: 0.0,
                        stamp: number,
                    };
                }
            }
        }
    }

    /// Whether nothing of it is used at a time.
    pub(crate) fn is_new(mut self, kind: Kind, now: u64) -> bool {
        self.bring(kind, now);
        self.used <= 0.0
    }

    /// Until there would be room for `need`; none: never.
    fn wait(&self, kind: Kind, holds: u64, need: f64, now: u64) -> Option<u64> {
        if need > holds as f64 {
            return None;
        }
        Some(match kind {
            Kind::Rate { amount, per, .. } => {
                let over = self.used + need - holds as f64;
                (over * micros(per) as f64 / amount as f64)
                    .ceil()
                    .min(LONGEST) as u64
            }
            Kind::Quota { window, .. } => self.left(window, now),
        })
    }

    /// Microseconds until a quota's window ends.
    fn left(&self, window: Window, now: u64) -> u64 {
        (window.end(self.stamp) * SECOND).saturating_sub(now)
    }

    fn tell(&self, meter: &Meter, extra: u64, now: u64) -> Told {
        let room = (meter.holds() as f64 - self.used).max(0.0).floor() as u64;
        let (window, reset) = match meter.kind() {
            Kind::Rate { amount, per, .. } => {
                let full = self.used * micros(per) as f64 / amount as f64;
                (0, full.ceil().min(LONGEST) as u64)
            }
            Kind::Quota { window, .. } => (self.stamp, self.left(window, now)),
        };
        Told {
            extra,
            room,
            window,
            reset: Duration::from_micros(reset),
        }
    }
}

/// Decides over several levels together; `level` gives that of a part's position. `now` is unix time
/// in microseconds.
pub fn decide(levels: &mut [&mut Level], parts: &[Part], manner: Manner, now: u64) -> Answer {
    let mut denied: Option<(usize, Option<u64>)> = None;
    let mut needs = Vec::with_capacity(parts.len());
    for (at, (level, part)) in levels.iter_mut().zip(parts).enumerate() {
        let kind = part.meter.kind();
        level.bring(kind, now);
        let mut need = part.need as f64;
        if need < 0.0 && matches!(kind, Kind::Quota { .. }) && part.window != level.stamp {
            // It came from a window that is over.
            need = 0.0;
        }
        needs.push(need);
        let holds = part.meter.holds();
        if manner == Manner::Request && need > 0.0 && level.used + need > holds as f64 {
            let wait = level.wait(kind, holds, need, now);
            let longer = match (denied, wait) {
                (None, _) => true,
                (Some((_, None)), _) => false,
                (Some(_), None) => true,
                (Some((_, Some(earlier))), Some(wait)) => wait > earlier,
            };
            if longer {
                denied = Some((at, wait));
            }
        }
    }
    let mut told = Vec::with_capacity(parts.len());
    for ((level, part), need) in levels.iter_mut().zip(parts).zip(needs) {
        let mut extra = 0.0;
        if denied.is_none() {
            level.used = (level.used + need).max(0.0);
            let room = part.meter.holds() as f64 - level.used;
            extra = (part.extra as f64).min((room.max(0.0) / 2.0).floor());
            level.used += extra;
        }
        told.push(level.tell(&part.meter, extra as u64, now));
    }
    let verdict = match denied {
        None => Verdict::Granted,
        Some((part, wait)) => Verdict::Denied {
            part,
            wait: wait.map(Duration::from_micros),
        },
    };
    Answer { verdict, told }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Unit;

    fn rate(amount: u64, seconds: u64, burst: u64) -> Meter {
        let per = Duration::from_secs(seconds);
        Meter::new(Unit::Tokens, Kind::Rate { amount, per, burst }).unwrap()
    }

    fn quota(amount: u64, window: Window) -> Meter {
        Meter::new(Unit::Tokens, Kind::Quota { amount, window }).unwrap()
    }

    fn part(meter: &Meter, need: i64, extra: u64) -> Part {
        Part {
            account: 0,
            meter: *meter,
            need,
            extra,
            window: 0,
        }
    }

    fn one(level: &mut Level, meter: &Meter, need: i64, extra: u64, now: u64) -> (Verdict, Told) {
        let answer = decide(
            &mut [level],
            &[part(meter, need, extra)],
            Manner::Request,
            now * SECOND,
        );
        (answer.verdict, answer.told[0])
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (meter, mut level) = (rate(10, 10, 5), Level::default());
        for left in (0..5).rev() {
            let (verdict, told) = one(&mut level, &meter, 1, 0, 1000);
            assert_eq!((verdict, told.room), (Verdict::Granted, left));
        }
        let (verdict, told) = one(&mut level, &meter, 2, 0, 1000);
        let wait = Some(Duration::from_secs(2));
        assert_eq!(verdict, Verdict::Denied { part: 0, wait });
        assert_eq!(told.reset, Duration::from_secs(5));
        assert_eq!(one(&mut level, &meter, 2, 0, 1002).0, Verdict::Granted);
        let never = Verdict::Denied {
            part: 0,
            wait: None,
        };
        assert_eq!(one(&mut level, &meter, 6, 0, 9999).0, never);
    }

    #[test]
    fn a_clock_that_jumps_gives_at_most_a_burst() {
        let (meter, mut level) = (rate(1, 1, 10), Level::default());
        assert_eq!(one(&mut level, &meter, 10, 0, 5000).0, Verdict::Granted);
        // Back by an hour: nothing has leaked, and leaking goes on from there.
        assert_ne!(one(&mut level, &meter, 1, 0, 1400).0, Verdict::Granted);
        assert_eq!(one(&mut level, &meter, 1, 0, 1401).0, Verdict::Granted);
        // Ahead by a day: it is full, and no more.
        assert_eq!(one(&mut level, &meter, 10, 0, 90_000).0, Verdict::Granted);
        assert_ne!(one(&mut level, &meter, 1, 0, 90_000).0, Verdict::Granted);
    }

    #[test]
    fn a_time_of_ages_is_told_as_thirty_years() {
        let all = 1_000_000_000_000_000;
        let (meter, mut level) = (rate(1, 86_400, all), Level::default());
        let ages = Duration::from_micros(all);
        let need = i64::try_from(all).unwrap();
        let (verdict, told) = one(&mut level, &meter, need, 0, 1000);
        assert_eq!((verdict, told.reset), (Verdict::Granted, ages));
        let (verdict, _) = one(&mut level, &meter, need, 0, 1000);
        let wait = Some(ages);
        assert_eq!(verdict, Verdict::Denied { part: 0, wait });
    }

    #[test]
    fn a_quota_opens_with_its_window_and_never_an_old_one() {
        let (meter, mut level) = (quota(10, Window::Day), Level::default());
        let day = 86_400;
        let (verdict, told) = one(&mut level, &meter, 10, 0, 5 * day + 400);
        assert_eq!((verdict, told.window), (Verdict::Granted, 5));
        assert_eq!(told.reset, Duration::from_secs(day - 400));
        let (verdict, _) = one(&mut level, &meter, 1, 0, 6 * day - 1);
        let wait = Some(Duration::from_secs(1));
        assert_eq!(verdict, Verdict::Denied { part: 0, wait });
        // A clock that goes back opens no window again.
        assert_ne!(one(&mut level, &meter, 1, 0, 2 * day).0, Verdict::Granted);
        assert_eq!(one(&mut level, &meter, 10, 0, 6 * day).0, Verdict::Granted);
    }

    #[test]
    fn one_part_that_refuses_keeps_all_from_being_charged() {
        let meters = [rate(10, 10, 100), quota(5, Window::Month)];
        let (mut wide, mut narrow) = (Level::default(), Level::default());
        let parts = [part(&meters[0], 6, 50), part(&meters[1], 6, 0)];
        let answer = decide(
            &mut [&mut wide, &mut narrow],
            &parts,
            Manner::Request,
            SECOND,
        );
        let never = Verdict::Denied {
            part: 1,
            wait: None,
        };
        assert_eq!(answer.verdict, never);
        assert_eq!((answer.told[0].room, answer.told[0].extra), (100, 0));
    }

    #[test]
    fn a_settlement_is_never_refused_and_what_is_given_back_comes_back() {
        let (meter, mut level) = (rate(1, 1000, 10), Level::default());
        let mut settle = |need| {
            let parts = [part(&meter, need, 0)];
            decide(&mut [&mut level], &parts, Manner::Settle, SECOND).told[0].room
        };
        assert_eq!(settle(15), 0);
        assert_eq!(settle(-6), 1);
        assert_eq!(settle(-90), 10, "never more than it holds");
    }

    #[test]
    fn what_came_of_a_window_that_is_over_is_not_given_back_to_the_next() {
        let (meter, mut level) = (quota(10, Window::Day), Level::default());
        one(&mut level, &meter, 8, 0, 86_400);
        let mut back = part(&meter, -5, 0);
        back.window = 0;
        let answer = decide(
            &mut [&mut level],
            &[back.clone()],
            Manner::Settle,
            86_401 * SECOND,
        );
        assert_eq!(answer.told[0].room, 2);
        back.window = 1;
        let answer = decide(&mut [&mut level], &[back], Manner::Settle, 86_401 * SECOND);
        assert_eq!(answer.told[0].room, 7);
    }

    #[test]
    fn a_lease_takes_half_of_what_is_left_at_most() {
        let (meter, mut level) = (rate(1, 1000, 100), Level::default());
        let (_, told) = one(&mut level, &meter, 10, 30, 1);
        assert_eq!((told.extra, told.room), (30, 60));
        let (_, told) = one(&mut level, &meter, 10, 30, 1);
        assert_eq!((told.extra, told.room), (25, 25));
        let (_, told) = one(&mut level, &meter, 25, 30, 1);
        assert_eq!((told.extra, told.room), (0, 0));
    }
}
