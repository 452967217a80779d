//! The workers of the pool, as far as the host has told, and who has room.
//!
//! Workers with room are found in two ways, neither of which looks at all of them: by how busy
//! they are, the least first; and any two at random, for the power of two choices.

use std::collections::{BTreeMap, BTreeSet};

use crate::scheduling::{Request, Worker};

/// What a request asks of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Asks<'a> {
    /// 0: any.
    pub model: u32,
    /// Empty: all that have the model.
    pub eligible: &'a [u32],
    /// Only where there is no other.
    pub avoid: &'a [u32],
}

/// Bounds on what one worker is given, beyond its own slots.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Batches under way at once.
    pub in_flight: u32,
    /// A worker that has work of ours and in whose own queue more than so many wait, by its last
    /// probe, gets no more.
    pub own_queue: u32,
}

struct Seat {
    worker: Worker,
    slots: u32,
    /// Dispatches counted in `busy` that the host has not confirmed by a newer word about this
    /// worker.
    unconfirmed: u32,
    /// The host refused a dispatch here without a reason that we know: nothing more until it says
    /// something new about the worker, or until this instant.
    stalled_until: Option<u64>,
    /// Cost of what is under way there.
    cost: u64,
    /// Requests that it had beside ours when it was last probed.
    foreign: u32,
    /// Its place on the ladder and among the open ones, while it has room.
    rung: Option<(u64, usize)>,
}

/// Workers by number. The host bounds how many there are.
pub struct Roster {
    caps: Caps,
    seats: BTreeMap<u32, Seat>,
    /// `(load, worker)` of those with room.
    ladder: BTreeSet<(u64, u32)>,
    /// Those with room, in no order.
    open: Vec<u32>,
    stalls: BTreeSet<(u64, u32)>,
    free: u64,
    slots: u64,
    /// Those that have got room since they were asked for.
    opened: BTreeSet<u32>,
    /// Who may serve what is not what it was when that was asked for.
    reshuffled: bool,
}

// === impl Asks ===

impl<'a> Asks<'a> {
    /// What this request asks.
    #[must_use]
    pub fn of(request: &'a Request) -> Self {
        Self {
            model: request.model,
            eligible: &request.eligible,
            avoid: &request.avoid,
        }
    }
}

// === impl Seat ===

impl Seat {
    fn room(&self, caps: Caps) -> u32 {
        let crowded = self.worker.busy > 0
            && self
                .worker
                .queued
                .is_some_and(|queued| queued > caps.own_queue);
        if !self.worker.accepting || self.stalled_until.is_some() || crowded {
            return 0;
        }
        self.slots.saturating_sub(self.worker.busy)
    }

    /// Busy relative to slots.
    fn load(&self) -> u64 {
        (u64::from(self.worker.busy) << 32) / u64::from(self.slots.max(1))
    }

    fn fits(&self, asks: Asks<'_>) -> bool {
        (asks.model == 0 || self.worker.models.binary_search(&asks.model).is_ok())
            && (asks.eligible.is_empty() || asks.eligible.contains(&self.worker.id))
    }
}

// === impl Roster ===

impl Roster {
    /// Nobody yet.
    #[must_use]
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            seats: BTreeMap::new(),
            ladder: BTreeSet::new(),
            open: Vec::new(),
            stalls: BTreeSet::new(),
            free: 0,
            slots: 0,
            opened: BTreeSet::new(),
            reshuffled: false,
        }
    }

    /// Changes a seat, and keeps what is known of all of them.
    fn change<T>(&mut self, id: u32, change: impl FnOnce(&mut Seat) -> T) -> Option<T> {
        let seat = self.seats.get_mut(&id)?;
        let before = seat.room(self.caps);
        let stalled = seat.stalled_until;
        let answer = change(seat);
        let after = seat.room(self.caps);
        self.free = self.free - u64::from(before) + u64::from(after);
        if stalled != seat.stalled_until {
            if let Some(until) = stalled {
                self.stalls.remove(&(until, id));
            }
            if let Some(until) = seat.stalled_until {
                self.stalls.insert((until, id));
            }
        }
        let load = seat.load();
        match (seat.rung, after > 0) {
            (Some((old, at)), true) => {
                if old != load {
                    seat.rung = Some((load, at));
                    self.ladder.remove(&(old, id));
                    self.ladder.insert((load, id));
                }
            }
            (None, true) => {
                self.opened.insert(id);
                seat.rung = Some((load, self.open.len()));
                self.open.push(id);
                self.ladder.insert((load, id));
            }
            (Some((old, at)), false) => {
                seat.rung = None;
                self.unlist(id, old, at);
            }
            (None, false) => {}
        }
        Some(answer)
    }

    fn unlist(&mut self, id: u32, load: u64, at: usize) {
        self.ladder.remove(&(load, id));
        self.open.swap_remove(at);
        let moved = self.open.get(at).copied();
        if let Some(seat) = moved.and_then(|moved| self.seats.get_mut(&moved))
            && let Some((_, place)) = &mut seat.rung
        {
            *place = at;
        }
    }

    /// New or changed. The host's count of busy slots replaces ours. True: what it may be asked
    /// for is not what it was.
    pub fn changed(&mut self, mut worker: Worker) -> bool {
        worker.models.sort_unstable();
        let id = worker.id;
        let slots = worker.slots.min(self.caps.in_flight);
        let known = worker.queued.is_some() || worker.running.is_some();
        let inside = worker
            .queued
            .unwrap_or(0)
            .saturating_add(worker.running.unwrap_or(0));
        let foreign = if known {
            inside.saturating_sub(worker.busy)
        } else {
            0
        };
        let before = self
            .seats
            .get(&id)
            .map(|seat| (seat.slots, seat.worker.accepting));
        self.slots -= before.map_or(
            0,
            |(slots, accepting)| {
                if accepting { u64::from(slots) } else { 0 }
            },
        );
        if worker.accepting {
            self.slots += u64::from(slots);
        }
        if before.is_none() {
            let seat = Seat {
                worker: Worker {
                    accepting: false,
                    ..worker.clone()
                },
                slots,
                unconfirmed: 0,
                stalled_until: None,
                cost: 0,
                foreign,
                rung: None,
            };
            self.seats.insert(id, seat);
        }
        let other = self.change(id, |seat| {
            let other = seat.worker.accepting != worker.accepting
                || seat.worker.models != worker.models
                || before.is_none();
            seat.worker = worker;
            seat.slots = slots;
            seat.unconfirmed = 0;
            seat.stalled_until = None;
            seat.foreign = foreign;
            other
        });
        let other = other.unwrap_or(false);
        self.reshuffled |= other;
        other
    }

    /// It has left.
    pub fn gone(&mut self, id: u32) {
        let accepting = self.change(id, |seat| {
            let accepting = std::mem::replace(&mut seat.worker.accepting, false);
            seat.stalled_until = None;
            accepting
        });
        if let Some(seat) = self.seats.remove(&id) {
            self.opened.remove(&id);
            self.reshuffled = true;
            if accepting == Some(true) {
                self.slots -= u64::from(seat.slots);
            }
        }
    }

    /// What has become possible since this was asked last: whether the workers are others than they
    /// were; and those that have got room, and have it still.
    pub fn news(&mut self) -> (bool, Vec<u32>) {
        let opened = std::mem::take(&mut self.opened);
        let opened = opened.into_iter().filter(|id| self.is_free(*id));
        let opened = opened.collect();
        (std::mem::take(&mut self.reshuffled), opened)
    }

    /// A batch of it has ended.
    pub fn finished(&mut self, id: u32) {
        self.change(id, |seat| {
            seat.worker.busy = seat.worker.busy.saturating_sub(1);
            seat.unconfirmed = seat.unconfirmed.min(seat.worker.busy);
            seat.stalled_until = None;
        });
    }

    /// It is given a batch.
    pub fn dispatched(&mut self, id: u32) {
        self.change(id, |seat| {
            seat.worker.busy += 1;
            seat.unconfirmed += 1;
        });
    }

    /// A dispatch was not carried out.
    pub fn refused(&mut self, id: u32, stalled_until: Option<u64>) {
        self.change(id, |seat| {
            if seat.unconfirmed > 0 {
                seat.unconfirmed -= 1;
                seat.worker.busy = seat.worker.busy.saturating_sub(1);
            }
            seat.stalled_until = stalled_until.or(seat.stalled_until);
        });
    }

    /// Work for it begins, or ends.
    pub fn works(&mut self, id: u32, begins: u64, ends: u64) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.cost = seat.cost.saturating_add(begins).saturating_sub(ends);
        }
    }

    /// Ends the stalls whose time has come.
    pub fn wake(&mut self, now: u64) {
        while let Some((until, id)) = self.stalls.first().copied()
            && until <= now
        {
            self.change(id, |seat| seat.stalled_until = None);
        }
    }

    /// When the next stall ends.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        self.stalls.first().map(|(until, _)| *until)
    }

    /// Batches that may be sent now, to all together.
    #[must_use]
    pub fn free_slots(&self) -> u64 {
        self.free
    }

    /// Batches that may run at once on those that accept.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.slots
    }

    /// Requests that one batch on this worker may have, at least one.
    #[must_use]
    pub fn max_batch(&self, id: u32) -> u32 {
        self.seats
            .get(&id)
            .map_or(1, |seat| seat.worker.max_batch.max(1))
    }

    /// Cost of what is under way there, and what `each` of those that others sent would cost, for
    /// one slot.
    #[must_use]
    pub fn load(&self, id: u32, each: f64) -> f64 {
        self.seats.get(&id).map_or(0.0, |seat| {
            (seat.cost as f64 + f64::from(seat.foreign) * each) / f64::from(seat.slots.max(1))
        })
    }

    /// The models that it serves, in order.
    #[must_use]
    pub fn models(&self, id: u32) -> &[u32] {
        self.seats
            .get(&id)
            .map_or(&[], |seat| seat.worker.models.as_slice())
    }

    /// What it is called by at every proxy.
    #[must_use]
    pub fn identity(&self, id: u32) -> u64 {
        self.seats.get(&id).map_or(0, |seat| seat.worker.identity)
    }

    /// Batches that may run at once on one worker.
    #[must_use]
    pub fn slots_of(&self, id: u32) -> u32 {
        self.seats.get(&id).map_or(0, |seat| seat.slots)
    }

    /// Batches under way there.
    #[must_use]
    pub fn busy_of(&self, id: u32) -> u32 {
        self.seats.get(&id).map_or(0, |seat| seat.worker.busy)
    }

    /// Use of its KV cache in thousandths, by its last probe.
    #[must_use]
    pub fn kv_cache_use(&self, id: u32) -> Option<u32> {
        self.seats.get(&id)?.worker.kv_cache_use
    }

    /// Whether a worker accepts and could serve it, once it has room.
    #[must_use]
    pub fn holds(&self, id: u32, asks: Asks<'_>) -> bool {
        self.seats
            .get(&id)
            .is_some_and(|seat| seat.worker.accepting && seat.fits(asks))
    }

    /// Whether it has room.
    #[must_use]
    pub fn is_free(&self, id: u32) -> bool {
        self.seats.get(&id).is_some_and(|seat| seat.rung.is_some())
    }

    /// Workers that accept and may serve the request. Those where it failed are among them only
    /// when there are no others, with room or not.
    pub fn candidates<'a>(&'a self, asks: Asks<'a>) -> impl Iterator<Item = u32> + 'a {
        let spare = self.all_avoided(asks);
        self.seats.values().filter_map(move |seat| {
            let id = seat.worker.id;
            let welcome =
                seat.worker.accepting && seat.fits(asks) && (spare || !asks.avoid.contains(&id));
            welcome.then_some(id)
        })
    }

    /// The least busy candidate with room; of equals the lowest number.
    #[must_use]
    pub fn least_busy(&self, asks: Asks<'_>) -> Option<u32> {
        let spare = self.all_avoided(asks);
        self.ladder.iter().map(|(_, id)| *id).find(|id| {
            (spare || !asks.avoid.contains(id))
                && self.seats.get(id).is_some_and(|seat| seat.fits(asks))
        })
    }

    /// Up to two different candidates with room, chosen by the numbers of `chance`; fewer when
    /// not many have room, or luck had it so.
    #[must_use]
    pub fn two(&self, asks: Asks<'_>, mut chance: impl FnMut() -> u64) -> [Option<u32>; 2] {
        const TRIES: usize = 8;
        let mut found = [None; 2];
        if self.open.is_empty() {
            return found;
        }
        let spare = self.all_avoided(asks);
        let many = self.open.len();
        let mut first = None;
        for _ in 0..TRIES {
            // The second is drawn of the others.
            let at = match first {
                None => (chance() % many as u64) as usize,
                Some(_) if many == 1 => break,
                Some(first) => (first + 1 + (chance() % (many as u64 - 1)) as usize) % many,
            };
            let id = self.open[at];
            let welcome = (spare || !asks.avoid.contains(&id))
                && self.seats.get(&id).is_some_and(|seat| seat.fits(asks));
            if welcome && first.is_some() {
                found[1] = Some(id);
                break;
            }
            if welcome {
                found[0] = Some(id);
                first = Some(at);
            }
        }
        found
    }

    /// Whether the request failed wherever it could go.
    fn all_avoided(&self, asks: Asks<'_>) -> bool {
        !asks.avoid.is_empty()
            && !self.seats.values().any(|seat| {
                seat.worker.accepting && seat.fits(asks) && !asks.avoid.contains(&seat.worker.id)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: u32, busy: u32, slots: u32) -> Worker {
        Worker {
            id,
            accepting: true,
            models: vec![3, 1],
            slots,
            busy,
            max_batch: 4,
            identity: u64::from(id),
            queued: None,
            running: None,
            kv_cache_use: None,
        }
    }

    const ANY: Asks<'static> = Asks {
        model: 1,
        eligible: &[],
        avoid: &[],
    };

    fn roster() -> Roster {
        Roster::new(Caps {
            in_flight: 8,
            own_queue: 4,
        })
    }

    /// What is kept of all is what a look at each says.
    fn check(roster: &Roster) {
        let rooms = roster.seats.values().map(|seat| seat.room(roster.caps));
        assert_eq!(roster.free, rooms.map(u64::from).sum::<u64>());
        let open = roster
            .seats
            .values()
            .filter(|seat| seat.room(roster.caps) > 0);
        assert_eq!(open.count(), roster.open.len());
        assert_eq!(roster.open.len(), roster.ladder.len());
        for (at, id) in roster.open.iter().enumerate() {
            let seat = &roster.seats[id];
            assert_eq!(seat.rung, Some((seat.load(), at)));
            assert!(roster.ladder.contains(&(seat.load(), *id)));
        }
        let slots = roster.seats.values().filter(|seat| seat.worker.accepting);
        assert_eq!(
            roster.slots,
            slots.map(|seat| u64::from(seat.slots)).sum::<u64>()
        );
    }

    #[test]
    fn the_least_busy_goes_first_and_a_full_one_not_at_all() {
        let mut roster = roster();
        for (id, busy, slots) in [(1, 3, 4), (2, 1, 2), (3, 2, 4), (4, 2, 2)] {
            roster.changed(worker(id, busy, slots));
            check(&roster);
        }
        let mut order = Vec::new();
        while let Some(id) = roster.least_busy(ANY) {
            roster.dispatched(id);
            check(&roster);
            order.push(id);
        }
        assert_eq!(order, [2, 3, 1, 3]);
        assert_eq!(roster.free_slots(), 0);
        roster.finished(4);
        assert_eq!(roster.least_busy(ANY), Some(4));
        roster.refused(3, Some(50));
        check(&roster);
        assert!(!roster.is_free(3));
        roster.wake(50);
        assert!(roster.is_free(3));
        roster.gone(3);
        roster.gone(1);
        check(&roster);
    }

    #[test]
    fn what_has_become_possible_is_told_once() {
        let mut roster = roster();
        roster.changed(worker(1, 0, 1));
        roster.changed(worker(2, 1, 1));
        assert_eq!(roster.news(), (true, vec![1]));
        assert_eq!(roster.news(), (false, vec![]));
        roster.finished(2);
        roster.dispatched(1);
        roster.finished(1);
        roster.dispatched(1);
        assert_eq!(roster.news(), (false, vec![2]), "1 has no room any more");
        roster.finished(1);
        assert_eq!(roster.news(), (false, vec![1]));
        roster.refused(1, Some(9));
        roster.changed(worker(2, 0, 1));
        assert_eq!(roster.news(), (false, vec![]));
        roster.wake(9);
        assert_eq!(roster.news(), (false, vec![1]));
        roster.gone(1);
        assert_eq!(roster.news(), (true, vec![]));
    }

    #[test]
    fn caps_and_a_crowded_queue_close_a_worker() {
        let mut roster = roster();
        roster.changed(worker(1, 8, 100));
        assert_eq!(roster.free_slots(), 0, "capped at eight");
        roster.changed(Worker {
            queued: Some(5),
            running: Some(9),
            ..worker(1, 1, 100)
        });
        assert!(!roster.is_free(1));
        assert!(roster.load(1, 2.0) > 0.0, "others' work counts");
        roster.finished(1);
        assert!(roster.is_free(1), "nothing of ours is there: it is tried");
        check(&roster);
    }

    #[test]
    fn two_are_different_and_fit() {
        let mut roster = roster();
        for id in 1..=20 {
            roster.changed(Worker {
                models: vec![id % 2],
                ..worker(id, 0, 1)
            });
        }
        let mut state = 7;
        for _ in 0..100 {
            let [one, other] = roster.two(ANY, || {
                state = crate::recent::mixed(state);
                state
            });
            assert!(one.is_none() || one != other);
            assert!(one.is_some() || other.is_none());
            assert!([one, other].into_iter().flatten().all(|id| id % 2 == 1));
        }
        for id in 3..=20 {
            roster.gone(id);
        }
        roster.changed(worker(2, 0, 1));
        for _ in 0..1000 {
            let pair = roster.two(ANY, || {
                state = crate::recent::mixed(state);
                state
            });
            assert!(
                pair.iter().all(Option::is_some),
                "of two that are there, both"
            );
        }
        let avoid = Asks {
            eligible: &[1],
            avoid: &[1],
            ..ANY
        };
        assert_eq!(
            roster.least_busy(avoid),
            Some(1),
            "it failed wherever it could go"
        );
    }
}
