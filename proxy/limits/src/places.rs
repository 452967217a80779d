//! Requests of one tenant at once: counted here, or within places that a store gives to proxies for a
//! time.
//!
//! A proxy asks for as many places as it needs, and a few more; it asks again before their time is
//! over, for what it needs then. A proxy that ends without a word has its places no longer than that.

use std::time::Duration;

use tokio::time::Instant;

/// How long places that the store has given are this proxy's.
pub(crate) const LIFE: Duration = Duration::from_secs(10);

/// They are asked for again when they have been held for so long.
const RENEW: Duration = Duration::from_secs(3);

/// One tenant's places.
#[derive(Debug, Default)]
pub(crate) struct Places {
    in_use: u32,
    /// Requests that wait for the store's answer.
    pending: u32,
    /// What the store has given, those that are in use included, and until when.
    held: u32,
    until: Option<Instant>,
    /// Questions are numbered: an answer that was overtaken by a later one says nothing.
    asked: u64,
    heard: u64,
    entered: Option<Instant>,
    renewed: Option<Instant>,
}

/// A question for places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) places: u32,
    number: u64,
    at: Instant,
}

impl Places {
    /// Whether it holds nothing, here or in the store.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_use == 0 && self.pending == 0 && self.held == 0
    }

    pub(crate) fn in_use(&self) -> u32 {
        self.in_use
    }

    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// Enters if fewer than `most` are in use here.
    pub(crate) fn enter(&mut self, most: u32) -> bool {
        let enters = self.in_use < most;
        self.in_use += u32::from(enters);
        enters
    }

    /// Enters if what the store has given has room.
    pub(crate) fn enter_held(&mut self, now: Instant) -> bool {
        let valid = self.until.is_some_and(|until| now < until);
        // Those that wait will need theirs.
        if !valid || self.in_use + self.pending >= self.held {
            return false;
        }
        self.in_use += 1;
        self.entered = Some(now);
        true
    }

    pub(crate) fn leave(&mut self) {
        self.in_use = self.in_use.saturating_sub(1);
    }

    /// What is to be asked of the store for one more.
    pub(crate) fn ask(&mut self, most: u32, spare: u32, now: Instant) -> Wanted {
        self.pending += 1;
        self.entered = Some(now);
        let need = self.in_use + self.pending;
        self.wanted(need.saturating_add(spare).min(most), now)
    }

    fn wanted(&mut self, places: u32, now: Instant) -> Wanted {
        self.asked += 1;
        self.renewed = Some(now);
        Wanted {
            places,
            number: self.asked,
            at: now,
        }
    }

    /// The store's answer to one that waits, or none; whether it enters.
    pub(crate) fn answered(&mut self, wanted: Wanted, given: Option<u32>) -> bool {
        self.pending -= 1;
        let Some(given) = given else {
            return false;
        };
        self.hear(wanted, given);
        let enters = self.in_use < self.held;
        self.in_use += u32::from(enters);
        enters
    }

    pub(crate) fn hear(&mut self, wanted: Wanted, given: u32) {
        if wanted.number > self.heard {
            self.heard = wanted.number;
            self.held = given.min(wanted.places);
            self.until = Some(wanted.at + LIFE);
        }
    }

    /// What is to be asked so that places stay this proxy's, or are given back, if it is time.
    pub(crate) fn renew(
        &mut self,
        most: u32,
        spare: u32,
        now: Instant,
        leaving: bool,
    ) -> Option<Wanted> {
        let since = |at: Option<Instant>, time| at.is_none_or(|at| now >= at + time);
        if self.held == 0 && self.in_use == 0 || !leaving && !since(self.renewed, RENEW) {
            return None;
        }
        let spare = match leaving || since(self.entered, RENEW) {
            true => 0,
            false => spare,
        };
        let need = self.in_use + self.pending;
        let wanted = need.saturating_add(spare).min(most);
        // What is about to be given back cannot be entered any more.
        self.held = self.held.min(wanted);
        Some(self.wanted(wanted, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_entered_within_what_was_given_and_for_its_time() {
        let mut places = Places::default();
        let now = Instant::now();
        assert!(!places.enter_held(now));
        let wanted = places.ask(10, 2, now);
        assert_eq!(wanted.places, 3);
        assert!(places.answered(wanted, Some(3)));
        assert!(places.enter_held(now) && places.enter_held(now));
        assert!(!places.enter_held(now));
        places.leave();
        assert!(places.enter_held(now + LIFE / 2));
        places.leave();
        assert!(!places.enter_held(now + LIFE), "its time is over");
    }

    #[test]
    fn two_who_wait_at_once_both_get_in_in_whatever_order_they_hear() {
        let mut places = Places::default();
        let now = Instant::now();
        let first = places.ask(10, 0, now);
        let second = places.ask(10, 0, now);
        assert_eq!((first.places, second.places), (1, 2));
        assert!(places.answered(second, Some(2)));
        assert!(places.answered(first, Some(1)), "it was overtaken");
        assert_eq!((places.in_use(), places.held()), (2, 2));
        let third = places.ask(10, 0, now);
        assert!(!places.answered(third, Some(2)));
        let fourth = places.ask(10, 0, now);
        assert!(!places.answered(fourth, None));
    }

    #[test]
    fn what_is_not_needed_is_given_back_and_cannot_be_entered_meanwhile() {
        let mut places = Places::default();
        let now = Instant::now();
        let wanted = places.ask(10, 4, now);
        assert!(places.answered(wanted, Some(5)));
        assert_eq!(places.renew(10, 4, now, false), None, "too early");
        let later = now + RENEW;
        let wanted = places.renew(10, 4, later, false).unwrap();
        assert_eq!(wanted.places, 1, "nobody came in since");
        assert!(!places.enter_held(later));
        places.hear(wanted, 1);
        places.leave();
        let wanted = places.renew(10, 4, later + RENEW, false).unwrap();
        assert_eq!(wanted.places, 0);
        places.hear(wanted, 0);
        assert!(places.is_idle());
        assert_eq!(places.renew(10, 4, later + 2 * RENEW, true), None);
    }
}
