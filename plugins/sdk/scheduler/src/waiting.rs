//! The requests that wait, by what they ask of a worker, by batch key, and in fair order.
//!
//! Requests that may use the same workers form a *class*; those of a class with equal batch keys
//! form a *lane*. Each class knows the first place of each lane, and all classes are kept in the
//! order of their first places, so that finding whose turn it is costs a logarithm, however many
//! classes and lanes there are.
//!
//! Whose turn it is, and who cannot go now, is left out until something changes:
//! 1. A class whose workers have no room is *parked*: nobody looks at it before a worker that may
//!    serve it has got room ([`Waiting::opened`]), or the workers are others than they were.
//! 2. A lane that waits for company is *held*, and a request that would do better elsewhere is *set
//!    aside*, both until the end of the step ([`Waiting::release`]).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::fair::{Fair, Front, Ticket};
use crate::ledger::Ledger;
use crate::recent::ByNumber;
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
    /// Tenants share the places; else who comes when all are taken is turned away.
    pub shared: bool,
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
    held: bool,
}

#[derive(Default)]
struct Class {
    lanes: BTreeMap<u32, Lane>,
    /// The first place of each lane that is not held, as it was last seen, and its batch key.
    heads: BTreeSet<(Front, u32)>,
    /// Its place among the classes, while it is not parked.
    listed: Option<Front>,
    parked: bool,
    levels: BTreeMap<i32, Level>,
}

/// How many of one priority wait.
#[derive(Default)]
struct Level {
    all: usize,
    tenants: BTreeMap<u32, usize>,
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
    /// Boxed: they are moved from the queue to a batch to what is under way.
    waiters: ByNumber<(ClassId, Box<Waiter>)>,
    names: BTreeMap<ClassKey, ClassId>,
    classes: BTreeMap<ClassId, (ClassKey, Class)>,
    next_class: usize,
    /// The first place of each class that is not parked, as it was last seen: the true one is this
    /// or later.
    fronts: BTreeSet<(Front, ClassId)>,
    /// Those that are parked, by the worker that they belong to, or by model.
    parked: BTreeMap<Lot, BTreeSet<ClassId>>,
    /// Lanes that are held.
    held: Vec<(ClassId, u32)>,
    /// Requests that are set aside.
    aside: Vec<u64>,
    /// `(deadline, id)` of those that have one.
    deadlines: BTreeSet<(u64, u64)>,
    /// Requests of each tenant, whether tenants share or not: the least important and newest first.
    tenants: BTreeMap<u32, BTreeSet<(i32, Reverse<u64>)>>,
    /// `(how many, tenant)`, kept while half of the places are taken and up to a quarter: who has most
    /// of them is asked when none is left.
    heaviest: Option<BTreeSet<(usize, u32)>>,
}

/// Where a class is parked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lot {
    Home(u32),
    Model(u32),
}

// === impl ClassKey ===

impl ClassKey {
    fn of(request: &Request, home: Option<u32>) -> Self {
        Self {
            model: request.model,
            home,
            eligible: request.eligible.clone(),
            avoid: request.avoid.clone(),
        }
    }

    fn lot(&self) -> Lot {
        self.home.map_or(Lot::Model(self.model), Lot::Home)
    }
}

// === impl Lane ===

impl Lane {
    /// Requests in it that are not set aside.
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
        let now = if lane.held { None } else { lane.fair.listed() };
        if now != lane.listed {
            if let Some(before) = std::mem::replace(&mut lane.listed, now) {
                self.heads.remove(&(before, key));
            }
            if let Some(front) = now {
                self.heads.insert((front, key));
            }
        }
        // What is set aside is in it still.
        if lane.ages.is_empty() {
            self.lanes.remove(&key);
        }
    }

    /// The first place of all lanes but those that are held. A listed place is never too far back,
    /// so that the first one that proves to be right is the first of all.
    fn front(&mut self, ledger: &Ledger) -> Option<(Front, u32)> {
        loop {
            let (listed, key) = *self.heads.first()?;
            let front = self.lanes.get_mut(&key)?.fair.front(ledger)?;
            if front == listed {
                return Some((front, key));
            }
            self.relist(key);
        }
    }
}

// === impl Level ===

impl Level {
    /// How many of these are served before one more of the tenant, when tenants take turns.
    fn before(&self, tenant: u32) -> usize {
        let own = self.tenants.get(&tenant).copied().unwrap_or(0);
        self.all.min((own + 1) * self.tenants.len())
    }
}

// === impl Waiting ===

impl Waiting {
    /// Nobody yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiters: ByNumber::default(),
            names: BTreeMap::new(),
            classes: BTreeMap::new(),
            next_class: 0,
            fronts: BTreeSet::new(),
            parked: BTreeMap::new(),
            held: Vec::new(),
            aside: Vec::new(),
            deadlines: BTreeSet::new(),
            tenants: BTreeMap::new(),
            heaviest: None,
        }
    }

    /// Takes in a request that comes, if there is room. When all places are taken, and tenants
    /// share, a tenant that has more of them than the newcomer's gives one back: the newest of its
    /// least important, unless that is more important than the newcomer.
    ///
    /// Who has had its share is told so; that there is too much for everybody is told where nobody
    /// has more of it than others could have.
    pub fn admit(&mut self, waiter: Box<Waiter>, ledger: &mut Ledger) -> Option<Turned> {
        let id = waiter.ticket.id;
        let tenant = waiter.request.tenant;
        let own = self.tenants.get(&tenant).map_or(0, BTreeSet::len);
        let full = self.waiters.len() >= self.bounds.all;
        if full && own == self.waiters.len() {
            // Whose place it would be does not matter: nobody else asks.
            return Some(Turned {
                id,
                reason: RejectReason::Overloaded,
            });
        }
        if own >= self.bounds.each {
            return Some(Turned {
                id,
                reason: RejectReason::OverShare,
            });
        }
        if !full {
            self.put(waiter, ledger);
            return None;
        }
        let heaviest = self.heaviest.as_ref().filter(|_| self.bounds.shared);
        let heaviest = heaviest.and_then(BTreeSet::last).copied();
        let victim = heaviest.and_then(|(most, heavy)| {
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
        let reason = if self.bounds.shared && own > share {
            RejectReason::OverShare
        } else {
            RejectReason::Overloaded
        };
        Some(Turned { id, reason })
    }

    /// Takes a request in. One that waits already is replaced: the host's newer word counts.
    pub fn put(&mut self, waiter: Box<Waiter>, ledger: &mut Ledger) {
        let ticket = waiter.ticket;
        self.take(ticket.id, ledger);
        let name = ClassKey::of(&waiter.request, waiter.home);
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
        self.count(&waiter, true);
        if let Some(deadline) = waiter.request.deadline {
            self.deadlines.insert((deadline, ticket.id));
        }
        if let Some((_, class)) = self.classes.get_mut(&class) {
            let lane = class.lanes.entry(waiter.key).or_default();
            lane.fair.insert(ticket, ledger);
            lane.ages.insert((waiter.request.arrived, ticket.id));
            lane.dues.insert((ticket.due, ticket.id));
            class.relist(waiter.key);
            let level = class.levels.entry(ticket.priority).or_default();
            level.all += 1;
            *level.tenants.entry(ticket.tenant).or_default() += 1;
        }
        self.list(class);
        self.waiters.insert(ticket.id, (class, waiter));
    }

    /// Brings a class's place among the others up to date.
    fn list(&mut self, id: ClassId) {
        let Some((_, class)) = self.classes.get_mut(&id) else {
            return;
        };
        let now = class.heads.first().map(|(front, _)| *front);
        let now = now.filter(|_| !class.parked);
        if now != class.listed {
            if let Some(before) = std::mem::replace(&mut class.listed, now) {
                self.fronts.remove(&(before, id));
            }
            if let Some(front) = now {
                self.fronts.insert((front, id));
            }
        }
    }

    /// Takes a request out.
    pub fn take(&mut self, id: u64, ledger: &mut Ledger) -> Option<Box<Waiter>> {
        let (at, waiter) = self.waiters.remove(&id)?;
        let ticket = waiter.ticket;
        if let Some(deadline) = waiter.request.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        let (mut empty, mut over) = (false, false);
        if let Some((_, class)) = self.classes.get_mut(&at) {
            if let Some(lane) = class.lanes.get_mut(&waiter.key) {
                lane.fair.remove(ticket);
                lane.ages.remove(&(waiter.request.arrived, id));
                lane.dues.remove(&(ticket.due, id));
                over = lane.fair.is_empty();
            }
            // Else its place is looked at when it comes first: one that is too early is put right
            // then, once for all that have left meanwhile.
            if over {
                class.relist(waiter.key);
            }
            if let Some(level) = class.levels.get_mut(&ticket.priority) {
                level.all -= 1;
                if let Some(count) = level.tenants.get_mut(&ticket.tenant) {
                    *count -= 1;
                    if *count == 0 {
                        level.tenants.remove(&ticket.tenant);
                    }
                }
                if level.all == 0 {
                    class.levels.remove(&ticket.priority);
                }
            }
            empty = class.lanes.is_empty();
        }
        if over {
            self.list(at);
        }
        if empty && let Some((name, class)) = self.classes.remove(&at) {
            if class.parked {
                self.leave_lot(name.lot(), at);
            }
            self.names.remove(&name);
        }
        self.count(&waiter, false);
        ledger.leave(ticket.tenant);
        Some(waiter)
    }

    fn count(&mut self, waiter: &Waiter, more: bool) {
        let tenant = waiter.request.tenant;
        let own = self.tenants.entry(tenant).or_default();
        let before = own.len();
        let place = (waiter.ticket.priority, Reverse(waiter.ticket.id));
        if more {
            own.insert(place);
        } else {
            own.remove(&place);
        }
        let now = own.len();
        if now == 0 {
            self.tenants.remove(&tenant);
        }
        // The one that is counted is put among the others after this, and has been taken out before.
        let all = self.waiters.len();
        match &mut self.heaviest {
            Some(_) if all < self.bounds.all / 4 => self.heaviest = None,
            Some(heaviest) => {
                heaviest.remove(&(before, tenant));
                if now > 0 {
                    heaviest.insert((now, tenant));
                }
            }
            None if all >= self.bounds.all / 2 => {
                let tenants = self.tenants.iter();
                self.heaviest = Some(tenants.map(|(tenant, own)| (own.len(), *tenant)).collect());
            }
            None => {}
        }
    }

    // === whose turn it is ===

    /// Whose turn it is, among those that may go now.
    pub fn foremost(&mut self, ledger: &Ledger) -> Option<Turn> {
        loop {
            let (listed, class) = *self.fronts.first()?;
            let front = self.classes.get_mut(&class)?.1.front(ledger);
            if let Some((front, key)) = front
                && front == listed
            {
                return Some(Turn { class, key, front });
            }
            self.list(class);
        }
    }

    /// Whose turn it is in a lane.
    pub fn front_of(&mut self, class: ClassId, key: u32, ledger: &Ledger) -> Option<Front> {
        let (_, it) = self.classes.get_mut(&class)?;
        it.lanes.get_mut(&key)?.fair.front(ledger)
    }

    /// No worker of a class has room: it has no turn before that has changed.
    pub fn park(&mut self, id: ClassId) {
        if let Some((name, class)) = self.classes.get_mut(&id) {
            class.parked = true;
            self.parked.entry(name.lot()).or_default().insert(id);
            self.list(id);
        }
    }

    fn leave_lot(&mut self, lot: Lot, class: ClassId) {
        if let Some(parked) = self.parked.get_mut(&lot) {
            parked.remove(&class);
            if parked.is_empty() {
                self.parked.remove(&lot);
            }
        }
    }

    fn clear_lot(&mut self, lot: Lot) {
        for id in self.parked.remove(&lot).unwrap_or_default() {
            if let Some((_, class)) = self.classes.get_mut(&id) {
                class.parked = false;
                self.list(id);
            }
        }
    }

    /// A worker that serves these models has got room: those that are parked because of it have
    /// their turns again.
    pub fn opened(&mut self, worker: u32, models: &[u32]) {
        if self.parked.is_empty() {
            return;
        }
        self.clear_lot(Lot::Home(worker));
        self.clear_lot(Lot::Model(0));
        if models.len() <= self.parked.len() {
            for model in models {
                self.clear_lot(Lot::Model(*model));
            }
            return;
        }
        let lots = self.parked.keys().copied().filter(|lot| match lot {
            Lot::Home(_) => false,
            Lot::Model(model) => models.contains(model),
        });
        for lot in lots.collect::<Vec<_>>() {
            self.clear_lot(lot);
        }
    }

    /// The workers are others than they were: everybody has a turn again.
    pub fn reshuffled(&mut self) {
        while let Some((lot, _)) = self.parked.first_key_value() {
            self.clear_lot(*lot);
        }
    }

    /// Lets a lane wait for company, until [`Waiting::release`].
    pub fn hold(&mut self, class: ClassId, key: u32) {
        let lane = self.classes.get_mut(&class);
        if let Some((_, it)) = lane
            && let Some(lane) = it.lanes.get_mut(&key)
        {
            lane.held = true;
            it.relist(key);
            self.held.push((class, key));
            self.list(class);
        }
    }

    /// Leaves a request out, until [`Waiting::recall`] or [`Waiting::release`]. False: it does not
    /// wait, or has been left out before.
    pub fn set_aside(&mut self, id: u64) -> bool {
        let Some((class, waiter)) = self.waiters.get(&id) else {
            return false;
        };
        let (class, key, ticket) = (*class, waiter.key, waiter.ticket);
        let mut found = false;
        if let Some((_, it)) = self.classes.get_mut(&class) {
            if let Some(lane) = it.lanes.get_mut(&key) {
                found = lane.fair.remove(ticket);
            }
            it.relist(key);
        }
        self.list(class);
        if found {
            self.aside.push(id);
        }
        found
    }

    /// How many are set aside.
    #[must_use]
    pub fn aside(&self) -> usize {
        self.aside.len()
    }

    /// Takes back in what was set aside, but for the first so many.
    pub fn recall(&mut self, keep: usize, ledger: &Ledger) {
        for id in self.aside.split_off(keep.min(self.aside.len())) {
            let Some((class, waiter)) = self.waiters.get(&id) else {
                continue;
            };
            let (class, key, ticket) = (*class, waiter.key, waiter.ticket);
            if let Some((_, it)) = self.classes.get_mut(&class) {
                if let Some(lane) = it.lanes.get_mut(&key) {
                    lane.fair.insert(ticket, ledger);
                }
                it.relist(key);
            }
            self.list(class);
        }
    }

    /// Ends what was held and set aside.
    pub fn release(&mut self, ledger: &Ledger) {
        self.recall(0, ledger);
        for (class, key) in std::mem::take(&mut self.held) {
            if let Some((_, it)) = self.classes.get_mut(&class) {
                if let Some(lane) = it.lanes.get_mut(&key) {
                    lane.held = false;
                }
                it.relist(key);
            }
            self.list(class);
        }
    }

    /// How many of those that wait for the same workers are served before a request of this
    /// priority and tenant: all that are more important, and of those that are as important no
    /// more than its tenant's own for each tenant that waits.
    #[must_use]
    pub fn ahead(&self, request: &Request, home: Option<u32>, tenant: u32) -> usize {
        let name = ClassKey::of(request, home);
        let class = self.names.get(&name).and_then(|id| self.classes.get(id));
        let Some((_, class)) = class else {
            return 0;
        };
        let above = class.levels.range(request.priority.saturating_add(1)..);
        let above: usize = above.map(|(_, level)| level.all).sum();
        let level = class.levels.get(&request.priority);
        above + level.map_or(0, |level| level.before(tenant))
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
        let mut pinned: Vec<u64> = pinned.map(|(_, one)| one.ticket.id).collect();
        // They are bound anew in the order in which they came.
        pinned.sort_unstable();
        pinned
    }

    /// A request that waits.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Waiter> {
        self.waiters.get(&id).map(|(_, waiter)| &**waiter)
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

    fn waiter(id: u64, tenant: u32, priority: i32, key: u32) -> Box<Waiter> {
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
        Box::new(Waiter {
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
        })
    }

    #[test]
    fn a_full_queue_takes_from_who_has_most() {
        let mut ledger = Ledger::new(8);
        let mut waiting = Waiting::new(Bounds {
            all: 6,
            each: 5,
            shared: true,
        });
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
            shared: true,
        });
        let mut state = 5;
        for id in 0..300 {
            state = crate::recent::mixed(state);
            let [tenant, priority, key] = [state % 5, state >> 8 & 1, (state >> 16) % 9];
            let waiter = waiter(id, tenant as u32, priority as i32, key as u32);
            assert!(waiting.admit(waiter, &mut ledger).is_none());
        }
        while let Some(turn) = waiting.foremost(&ledger) {
            let all = waiting.waiters.values().map(|(_, one)| {
                let served = ledger.served(one.ticket.tenant);
                (Reverse(one.ticket.priority), served, one.ticket.due)
            });
            let front = turn.front;
            assert_eq!(
                all.min().unwrap(),
                (front.priority, front.served, front.due)
            );
            waiting.hold(turn.class, turn.key);
            let held = waiting.foremost(&ledger);
            assert!(held.is_none_or(|held| held.key != turn.key && held.front > front));
            waiting.release(&ledger);
            assert!(waiting.set_aside(front.id) && !waiting.set_aside(front.id));
            let next = waiting.foremost(&ledger);
            assert!(next.is_none_or(|next| next.front > front));
            waiting.release(&ledger);
            assert_eq!(waiting.foremost(&ledger), Some(turn), "all is as it was");
            waiting.take(front.id, &mut ledger).unwrap();
            ledger.charge(front.tenant, 1 + front.id % 7);
        }
        assert!(waiting.is_empty() && waiting.classes.is_empty() && waiting.tenants.is_empty());
        assert!(waiting.fronts.is_empty() && waiting.names.is_empty());
        assert_eq!(ledger.active(), 0);
    }

    #[test]
    fn whose_fault_a_full_queue_is() {
        let full = |bounds: Bounds, tenants: &[u32], newcomer: u32| {
            let mut ledger = Ledger::new(8);
            let mut waiting = Waiting::new(bounds);
            for (id, tenant) in (1..).zip(tenants) {
                assert!(
                    waiting
                        .admit(waiter(id, *tenant, 0, 0), &mut ledger)
                        .is_none()
                );
            }
            let turned = waiting
                .admit(waiter(99, newcomer, 0, 0), &mut ledger)
                .unwrap();
            (turned.id, turned.reason)
        };
        let shared = Bounds {
            all: 4,
            each: 4,
            shared: true,
        };
        // It is alone: nobody is wronged by it, and there is too much.
        assert_eq!(full(shared, &[1; 4], 1), (99, RejectReason::Overloaded));
        // It has all places that one may have, and others wait too.
        let few = Bounds { each: 2, ..shared };
        assert_eq!(full(few, &[1, 1], 1), (99, RejectReason::OverShare));
        assert_eq!(full(few, &[1, 1, 2], 1), (99, RejectReason::OverShare));
        assert_eq!(
            full(shared, &[1, 1, 1, 2], 1),
            (99, RejectReason::OverShare)
        );
        assert_eq!(full(shared, &[1, 1, 1, 2], 2), (3, RejectReason::OverShare));
        // Who does not share has no share to be over, but still a bound of its own.
        let alone = Bounds {
            shared: false,
            ..shared
        };
        assert_eq!(
            full(alone, &[1, 1, 1, 2], 1),
            (99, RejectReason::Overloaded)
        );
        assert_eq!(
            full(alone, &[1, 1, 1, 2], 2),
            (99, RejectReason::Overloaded)
        );
        let few = Bounds { each: 2, ..alone };
        assert_eq!(full(few, &[1, 1], 1), (99, RejectReason::OverShare));
    }

    #[test]
    fn those_who_cannot_go_are_not_looked_at_before_something_opens() {
        let mut ledger = Ledger::new(8);
        let mut waiting = Waiting::new(Bounds {
            all: 1000,
            each: 1000,
            shared: true,
        });
        for id in 1..=200 {
            let mut one = waiter(id, 1, 0, 0);
            one.request.model = id as u32;
            one.home = (id > 100).then_some(7 + (id % 2) as u32);
            assert!(waiting.admit(one, &mut ledger).is_none());
        }
        while let Some(turn) = waiting.foremost(&ledger) {
            waiting.park(turn.class);
        }
        let open = |waiting: &mut Waiting| {
            let mut ids = Vec::new();
            while let Some(turn) = waiting.foremost(&ledger) {
                ids.push(turn.front.id);
                waiting.park(turn.class);
            }
            ids
        };
        assert!(open(&mut waiting).is_empty());
        waiting.opened(99, &[3, 5, 500]);
        assert_eq!(open(&mut waiting), [3, 5]);
        waiting.opened(99, &(1..=1000).collect::<Vec<_>>());
        assert_eq!(open(&mut waiting), (1..=100).collect::<Vec<_>>());
        waiting.opened(7, &[]);
        assert!(open(&mut waiting).iter().all(|id| *id > 100 && id % 2 == 0));
        waiting.reshuffled();
        assert_eq!(open(&mut waiting).len(), 200);
        // Who joins a class that is parked waits with it, and it goes with its last one.
        let mut ledger = Ledger::new(8);
        let mut more = waiter(300, 1, 9, 0);
        more.request.model = 3;
        assert!(waiting.admit(more, &mut ledger).is_none());
        assert!(waiting.foremost(&ledger).is_none());
        for id in (1..=200).chain([300]) {
            assert!(waiting.take(id, &mut ledger).is_some());
        }
        assert!(waiting.parked.is_empty() && waiting.classes.is_empty());
    }

    #[test]
    fn only_those_who_go_first_at_the_same_workers_are_ahead() {
        let mut ledger = Ledger::new(8);
        let mut waiting = Waiting::new(Bounds {
            all: 1000,
            each: 1000,
            shared: true,
        });
        let mut admit = |id: u64, tenant: u32, priority: i32, model: u32| {
            let mut one = waiter(id, tenant, priority, 0);
            one.request.model = model;
            assert!(waiting.admit(one, &mut ledger).is_none());
        };
        for id in 0..50 {
            admit(id, 1, 0, 1);
            admit(100 + id, 1, 0, 2);
            admit(200 + id, 1, -1, 1);
        }
        admit(300, 2, 0, 1);
        admit(301, 3, 5, 1);
        let ahead = |tenant: u32, priority: i32, model: u32| {
            let mut request = waiter(999, tenant, priority, 0).request;
            request.model = model;
            waiting.ahead(&request, None, tenant)
        };
        assert_eq!(ahead(1, 5, 1), 1);
        assert_eq!(ahead(1, 1, 1), 1, "of higher priority");
        assert_eq!(ahead(1, 0, 1), 1 + 51);
        assert_eq!(ahead(2, 0, 1), 1 + 4, "tenants take turns");
        assert_eq!(ahead(9, 0, 1), 1 + 2);
        assert_eq!(ahead(1, -9, 1), 102);
        assert_eq!(ahead(1, 0, 3), 0);
    }
}
