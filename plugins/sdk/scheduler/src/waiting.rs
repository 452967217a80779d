//! The requests that wait, by what they ask of a worker, by batch key, and in fair order.
//!
//! Requests that may use the same workers form a *class*; those of a class with equal batch keys
//! form a *lane*. Each class knows the first place of each lane, so that finding whose turn it is
//! costs one look for each class, however many lanes there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::fair::{Fair, Front, Ticket};
use crate::ledger::Ledger;
use crate::roster::Asks;
use crate::scheduling::{RejectReason, Request};

/// A request that waits.
#[derive(Clone)]
pub struct Waiter {
    /// As the host told it.
    pub request: Request,
    /// Its place among others.
    pub ticket: Ticket,
    /// Which batches it may join; 0: none.
    pub key: u32,
    /// The only worker that it may go to; [`HOMELESS`] while there is none.
    pub home: Option<u32>,
    /// How often the host would not let it go.
    pub refusals: u32,
}

/// The home of a pinned request that no worker can serve at present.
pub const HOMELESS: u32 = u32::MAX;

/// Bounds on what waits.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests of all tenants.
    pub all: usize,
    /// Requests of one tenant.
    pub each: usize,
}

/// A request is turned away.
#[derive(Debug)]
pub struct Turned {
    /// Which one: not always the one that came.
    pub id: u64,
    /// Why.
    pub reason: RejectReason,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ClassKey {
    model: u32,
    home: Option<u32>,
    eligible: Vec<u32>,
    avoid: Vec<u32>,
}

/// Requests that may go together.
#[derive(Default)]
pub struct Lane {
    fair: Fair,
    /// `(arrived, id)`.
    ages: BTreeSet<(u64, u64)>,
    /// `(due, id)`.
    dues: BTreeSet<(u64, u64)>,
    listed: Option<Front>,
}

#[derive(Default)]
struct Class {
    lanes: BTreeMap<u32, Lane>,
    /// The first place of each lane, as it was last seen, and its batch key.
    heads: BTreeSet<(Front, u32)>,
}

/// Names a class while requests of it wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassId(usize);

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What it asks of workers.
    pub class: ClassId,
    /// Which batches it may join; 0: none.
    pub key: u32,
    /// The request.
    pub front: Front,
}

/// All that wait. Bounded for those that come; those that come back are taken in any case, since
/// the host has admitted them before.
pub struct Waiting {
    bounds: Bounds,
    waiters: BTreeMap<u64, (ClassId, Waiter)>,
    names: BTreeMap<ClassKey, ClassId>,
    classes: BTreeMap<ClassId, (ClassKey, Class)>,
    next_class: usize,
    /// `(deadline, id)` of those that have one.
    deadlines: BTreeSet<(u64, u64)>,
    /// Requests of each tenant: the least important and newest first.
    tenants: BTreeMap<u32, BTreeSet<(i32, Reverse<u64>)>>,
    /// `(how many, tenant)`.
    heaviest: BTreeSet<(usize, u32)>,
}

// === impl Lane ===

impl Lane {
    /// Requests in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fair.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fair.is_empty()
    }

    /// When the one that has waited longest came.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.ages.first().map(|(arrived, _)| *arrived)
    }

    /// When the first one should be done.
    #[must_use]
    pub fn first_due(&self) -> Option<u64> {
        self.dues.first().map(|(due, _)| *due)
    }
}

// === impl Class ===

impl Class {
    /// Brings a lane's place among the heads up to date.
    fn relist(&mut self, key: u32) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        let now = lane.fair.listed();
        if now == lane.listed {
            return;
        }
        if let Some(before) = std::mem::replace(&mut lane.listed, now) {
            self.heads.remove(&(before, key));
        }
        match now {
            Some(front) => {
                self.heads.insert((front, key));
            }
            None => {
                self.lanes.remove(&key);
            }
        }
    }

    /// The first place of all lanes but those that are held. A listed place is never too far back,
    /// so that the first one that proves to be right is the first of all.
    fn front(&mut self, ledger: &Ledger, held: impl Fn(u32) -> bool) -> Option<(Front, u32)> {
        loop {
            let (listed, key) = *self.heads.iter().find(|(_, key)| !held(*key))?;
            let front = self.lanes.get_mut(&key)?.fair.front(ledger)?;
            if front == listed {
                return Some((front, key));
            }
            self.relist(key);
        }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Nobody yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiters: BTreeMap::new(),
            names: BTreeMap::new(),
            classes: BTreeMap::new(),
            next_class: 0,
            deadlines: BTreeSet::new(),
            tenants: BTreeMap::new(),
            heaviest: BTreeSet::new(),
        }
    }

    /// Takes in a request that comes, if there is room. When all places are taken, a tenant that
    /// has more of them than the newcomer's gives one back: the newest of its least important,
    /// unless that is more important than the newcomer.
    pub fn admit(&mut self, waiter: Waiter, ledger: &mut Ledger) -> Option<Turned> {
        let id = waiter.ticket.id;
        let tenant = waiter.ticket.tenant;
        let own = self.tenants.get(&tenant).map_or(0, BTreeSet::len);
        if own >= self.bounds.each {
            return Some(Turned {
                id,
                reason: RejectReason::OverShare,
            });
        }
        if self.waiters.len() < self.bounds.all {
            self.put(waiter, ledger);
            return None;
        }
        let victim = self.heaviest.last().copied().and_then(|(most, heavy)| {
            let (priority, Reverse(newest)) = *self.tenants.get(&heavy)?.first()?;
            (most > own + 1 && priority <= waiter.ticket.priority).then_some(newest)
        });
        if let Some(victim) = victim {
            self.take(victim, ledger);
            self.put(waiter, ledger);
            return Some(Turned {
                id: victim,
                reason: RejectReason::OverShare,
            });
        }
        let share = self.bounds.all / self.tenants.len().max(1);
        let reason = if own > share {
            RejectReason::OverShare
        } else {
            RejectReason::Overloaded
        };
        Some(Turned { id, reason })
    }

    /// Takes a request in. One that waits already is replaced: the host's newer word counts.
    pub fn put(&mut self, waiter: Waiter, ledger: &mut Ledger) {
        let ticket = waiter.ticket;
        self.take(ticket.id, ledger);
        let name = ClassKey {
            model: waiter.request.model,
            home: waiter.home,
            eligible: waiter.request.eligible.clone(),
            avoid: waiter.request.avoid.clone(),
        };
        let class = match self.names.get(&name) {
            Some(class) => *class,
            None => {
                self.next_class += 1;
                let class = ClassId(self.next_class);
                self.names.insert(name.clone(), class);
                self.classes.insert(class, (name, Class::default()));
                class
            }
        };
        ledger.enter(ticket.tenant);
        self.count(ticket, true);
        if let Some(deadline) = waiter.request.deadline {
            self.deadlines.insert((deadline, ticket.id));
        }
        if let Some((_, class)) = self.classes.get_mut(&class) {
            let lane = class.lanes.entry(waiter.key).or_default();
            lane.fair.insert(ticket, ledger);
            lane.ages.insert((waiter.request.arrived, ticket.id));
            lane.dues.insert((ticket.due, ticket.id));
            class.relist(waiter.key);
        }
        self.waiters.insert(ticket.id, (class, waiter));
    }

    /// Takes a request out.
    pub fn take(&mut self, id: u64, ledger: &mut Ledger) -> Option<Waiter> {
        let (at, waiter) = self.waiters.remove(&id)?;
        let ticket = waiter.ticket;
        if let Some(deadline) = waiter.request.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        let mut empty = false;
        if let Some((_, class)) = self.classes.get_mut(&at) {
            if let Some(lane) = class.lanes.get_mut(&waiter.key) {
                lane.fair.remove(ticket);
                lane.ages.remove(&(waiter.request.arrived, id));
                lane.dues.remove(&(ticket.due, id));
            }
            class.relist(waiter.key);
            empty = class.lanes.is_empty();
        }
        if empty && let Some((name, _)) = self.classes.remove(&at) {
            self.names.remove(&name);
        }
        self.count(ticket, false);
        ledger.leave(ticket.tenant);
        Some(waiter)
    }

    fn count(&mut self, ticket: Ticket, more: bool) {
        let own = self.tenants.entry(ticket.tenant).or_default();
        self.heaviest.remove(&(own.len(), ticket.tenant));
        let place = (ticket.priority, Reverse(ticket.id));
        if more {
            own.insert(place);
        } else {
            own.remove(&place);
        }
        if own.is_empty() {
            self.tenants.remove(&ticket.tenant);
        } else {
            self.heaviest.insert((own.len(), ticket.tenant));
        }
    }

    /// Whose turn it is, among the classes that are not `passed` over and the lanes that are not
    /// `held` back.
    pub fn foremost(
        &mut self,
        ledger: &Ledger,
        passed: &[ClassId],
        held: &[(ClassId, u32)],
    ) -> Option<Turn> {
        let mut best: Option<Turn> = None;
        for (id, (_, class)) in &mut self.classes {
            if passed.contains(id) {
                continue;
            }
            let front = class.front(ledger, |key| held.contains(&(*id, key)));
            if let Some((front, key)) = front
                && best.is_none_or(|best| front < best.front)
            {
                best = Some(Turn {
                    class: *id,
                    key,
                    front,
                });
            }
        }
        best
    }

    /// Whose turn it is in a lane.
    pub fn front_of(&mut self, class: ClassId, key: u32, ledger: &Ledger) -> Option<Front> {
        let (_, class) = self.classes.get_mut(&class)?;
        let front = class.lanes.get_mut(&key)?.fair.front(ledger);
        class.relist(key);
        front
    }

    /// A lane.
    #[must_use]
    pub fn lane(&self, class: ClassId, key: u32) -> Option<&Lane> {
        self.classes.get(&class)?.1.lanes.get(&key)
    }

    /// What a class asks of workers, and its home.
    #[must_use]
    pub fn asks(&self, class: ClassId) -> Option<(Asks<'_>, Option<u32>)> {
        let (name, _) = self.classes.get(&class)?;
        let asks = Asks {
            model: name.model,
            eligible: &name.eligible,
            avoid: &name.avoid,
        };
        Some((asks, name.home))
    }

    /// Requests that are bound to one worker.
    #[must_use]
    pub fn pinned(&self) -> Vec<u64> {
        if !self.names.keys().any(|name| name.home.is_some()) {
            return Vec::new();
        }
        let pinned = self.waiters.values().filter(|(_, one)| one.home.is_some());
        pinned.map(|(_, one)| one.ticket.id).collect()
    }

    /// A request that waits.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Waiter> {
        self.waiters.get(&id).map(|(_, waiter)| waiter)
    }

    /// The first one whose deadline has come.
    #[must_use]
    pub fn overdue(&self, now: u64) -> Option<u64> {
        let (deadline, id) = *self.deadlines.first()?;
        (deadline <= now).then_some(id)
    }

    /// The next deadline.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Whether nobody does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduling::Affinity;

    fn waiter(id: u64, tenant: u32, priority: i32, key: u32) -> Waiter {
        let request = Request {
            id,
            model: 1,
            tenant,
            batch_key: key,
            eligible: Vec::new(),
            priority,
            input_cost: 1,
            output_cost: 0,
            arrived: id,
            deadline: Some(1000 + id),
            affinity: Affinity::None,
            attempts: 0,
            avoid: Vec::new(),
        };
        Waiter {
            ticket: Ticket {
                id,
                priority,
                tenant,
                due: 1000 + id,
            },
            request,
            key,
            home: None,
            refusals: 0,
        }
    }

    #[test]
    fn a_full_queue_takes_from_who_has_most() {
        let mut ledger = Ledger::new(8);
        let mut waiting = Waiting::new(Bounds { all: 6, each: 5 });
        for id in 1..=5 {
            assert!(waiting.admit(waiter(id, 1, 0, 0), &mut ledger).is_none());
        }
        let over = waiting.admit(waiter(6, 1, 0, 0), &mut ledger).unwrap();
        assert_eq!((over.id, over.reason), (6, RejectReason::OverShare));
        assert!(waiting.admit(waiter(7, 2, 0, 0), &mut ledger).is_none());
        let taken = waiting.admit(waiter(8, 3, 0, 0), &mut ledger).unwrap();
        assert_eq!((taken.id, taken.reason), (5, RejectReason::OverShare));
        assert!(waiting.get(8).is_some() && waiting.get(5).is_none());
        assert_eq!(waiting.len(), 6);
        // The heaviest one's are more important: the newcomer goes.
        let low = waiting.admit(waiter(9, 4, -1, 0), &mut ledger).unwrap();
        assert_eq!((low.id, low.reason), (9, RejectReason::Overloaded));
    }

    #[test]
    fn the_foremost_of_many_lanes_is_that_of_all_requests() {
        let mut ledger = Ledger::new(8);
        let mut waiting = Waiting::new(Bounds {
            all: 1000,
            each: 1000,
        });
        let mut state = 5;
        for id in 0..300 {
            state = crate::recent::mixed(state);
            let [tenant, priority, key] = [state % 5, state >> 8 & 1, (state >> 16) % 9];
            let waiter = waiter(id, tenant as u32, priority as i32, key as u32);
            assert!(waiting.admit(waiter, &mut ledger).is_none());
        }
        while let Some(turn) = waiting.foremost(&ledger, &[], &[]) {
            let all = waiting.waiters.values().map(|(_, one)| {
                let served = ledger.served(one.ticket.tenant);
                (Reverse(one.ticket.priority), served, one.ticket.due)
            });
            let front = turn.front;
            assert_eq!(
                all.min().unwrap(),
                (front.priority, front.served, front.due)
            );
            let held = waiting.foremost(&ledger, &[], &[(turn.class, turn.key)]);
            assert!(held.is_none_or(|held| held.key != turn.key && held.front > front));
            waiting.take(front.id, &mut ledger).unwrap();
            ledger.charge(front.tenant, 1 + front.id % 7);
        }
        assert!(waiting.is_empty() && waiting.classes.is_empty() && waiting.tenants.is_empty());
        assert_eq!(ledger.active(), 0);
    }
}
