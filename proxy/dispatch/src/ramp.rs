//! A slow start: how many of its slots a worker is given while it is fresh or has just come back.
//! Sans I/O; times are microseconds of any monotonic clock.
//!
//! It begins with one slot, and the rest come evenly over the time of the ramp, in at most
//! [`STAGES`] stages, so that a scheduler is not told of each slot.

/// Stages of a ramp.
const STAGES: u32 = 20;

/// The ramp of one worker. A time of zero: there is none, and all slots are given at once.
#[derive(Clone, Debug)]
pub(crate) struct Ramp {
    slots: u32,
    time: u64,
    /// Since when it has been given work; none: it is not.
    since: Option<u64>,
}

// === impl Ramp ===

impl Ramp {
    pub(crate) fn new(slots: u32, time: u64) -> Self {
        Self {
            slots,
            time,
            since: None,
        }
    }

    /// It is given work from now on, or no longer. Said again, nothing changes.
    pub(crate) fn accepts(&mut self, now: u64, accepting: bool) {
        self.since = accepting.then(|| self.since.unwrap_or(now));
    }

    /// It has other slots; where it is on its ramp stays.
    pub(crate) fn resize(&mut self, slots: u32) {
        self.slots = slots;
    }

    /// Slots that it is given at an instant.
    pub(crate) fn slots(&self, now: u64) -> u32 {
        let passed = self.since.map_or(0, |since| now.saturating_sub(since));
        if passed >= self.time {
            return self.slots;
        }
        let rest = u64::from(self.slots - 1);
        let come = u128::from(rest) * u128::from(passed) / u128::from(self.time);
        let stage = self.stage();
        let come = u32::try_from(come).unwrap_or(u32::MAX) / stage * stage;
        1 + come
    }

    /// When it is given more.
    pub(crate) fn next(&self, now: u64) -> Option<u64> {
        let since = self.since?;
        let given = self.slots(now);
        if given >= self.slots || self.time == 0 {
            return None;
        }
        let more = (given - 1 + self.stage()).min(self.slots - 1);
        let passed = u128::from(more) * u128::from(self.time);
        let passed = passed.div_ceil(u128::from(self.slots - 1));
        let passed = u64::try_from(passed).unwrap_or(u64::MAX).min(self.time);
        Some(since.saturating_add(passed))
    }

    fn stage(&self) -> u32 {
        (self.slots - 1).div_ceil(STAGES).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every stage of a ramp, as `(when, slots)`, followed from its start at 1000.
    fn stages(slots: u32, time: u64) -> Vec<(u64, u32)> {
        let mut ramp = Ramp::new(slots, time);
        ramp.accepts(1000, true);
        let mut now = 1000;
        let mut all = vec![(now, ramp.slots(now))];
        while let Some(next) = ramp.next(now) {
            assert!(next > now, "it goes on");
            assert_eq!(ramp.slots(next - 1), ramp.slots(now), "none comes early");
            now = next;
            all.push((now, ramp.slots(now)));
        }
        all
    }

    #[test]
    fn other_slots_come_as_far_as_the_ramp_is() {
        let mut ramp = Ramp::new(11, 100);
        ramp.accepts(0, true);
        assert_eq!(ramp.slots(50), 6);
        ramp.resize(21);
        assert_eq!((ramp.slots(50), ramp.next(50)), (11, Some(55)));
        ramp.resize(1);
        assert_eq!((ramp.slots(50), ramp.next(50)), (1, None));
    }

    #[test]
    fn slots_come_evenly_and_all_of_them() {
        assert_eq!(stages(4, 300), [(1000, 1), (1100, 2), (1200, 3), (1300, 4)]);
        for (slots, time) in [(1, 10), (2, 1), (3, 7), (64, 1_000_000), (65_536, 999)] {
            let stages = stages(slots, time);
            assert!(stages.len() <= STAGES as usize + 1, "{slots}: {stages:?}");
            assert!(stages.is_sorted_by(|a, b| a.1 < b.1), "{stages:?}");
            let (when, last) = stages[stages.len() - 1];
            assert!(last == slots && when <= 1000 + time, "{slots}: {stages:?}");
        }
    }

    #[test]
    fn without_a_time_there_is_no_ramp() {
        assert_eq!(stages(8, 0), [(1000, 8)]);
    }

    #[test]
    fn one_that_comes_back_begins_anew() {
        let mut ramp = Ramp::new(4, 300);
        ramp.accepts(0, true);
        ramp.accepts(200, true);
        assert_eq!(ramp.slots(200), 3, "said again, nothing changes");
        ramp.accepts(250, false);
        assert_eq!(ramp.next(250), None);
        ramp.accepts(900, true);
        assert_eq!((ramp.slots(900), ramp.next(900)), (1, Some(1000)));
    }
}
