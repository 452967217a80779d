//! Whose turn it is: priority first, then the tenant that was served least, then the earliest
//! deadline, then who came first.
//!
//! A tenant's counter changes while its requests wait. It only grows, so a place computed from an
//! older counter is never too far back: what stands first is looked at again, and moved if its
//! counter has grown, until the first place is right.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::Ledger;

/// What places a request. Times are microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The request.
    pub id: u64,
    /// Higher goes first.
    pub priority: i32,
    /// Who is charged.
    pub tenant: u32,
    /// When it should be done.
    pub due: u64,
}

/// A place in the order of all that wait: the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Front {
    /// Higher first.
    pub priority: Reverse<i32>,
    /// What its tenant was served.
    pub served: u64,
    /// When it should be done.
    pub due: u64,
    /// The request.
    pub id: u64,
    /// Who is charged.
    pub tenant: u32,
}

#[derive(Default)]
struct Turns {
    /// The counter with which the first turn stands among the heads.
    served: u64,
    /// `(due, id)`.
    turns: BTreeSet<(u64, u64)>,
}

#[derive(Default)]
struct Level {
    /// `(served, due, id, tenant)` of each tenant's first.
    heads: BTreeSet<(u64, u64, u64, u32)>,
    tenants: BTreeMap<u32, Turns>,
}

/// Requests in fair order. Its owner bounds how many.
#[derive(Default)]
pub struct Fair {
    levels: BTreeMap<Reverse<i32>, Level>,
    len: usize,
}

// === impl Level ===

impl Level {
    /// Changes a tenant's turns and keeps its place among the heads.
    fn change(&mut self, tenant: u32, change: impl FnOnce(&mut Turns) -> bool) -> bool {
        let turns = self.tenants.entry(tenant).or_default();
        if let Some((due, id)) = turns.turns.first() {
            self.heads.remove(&(turns.served, *due, *id, tenant));
        }
        let changed = change(turns);
        match turns.turns.first() {
            Some((due, id)) => {
                self.heads.insert((turns.served, *due, *id, tenant));
            }
            None => {
                self.tenants.remove(&tenant);
            }
        }
        changed
    }
}

// === impl Fair ===

impl Fair {
    /// Takes a request in.
    pub fn insert(&mut self, ticket: Ticket, ledger: &Ledger) {
        let level = self.levels.entry(Reverse(ticket.priority)).or_default();
        let new = level.change(ticket.tenant, |turns| {
            turns.served = ledger.served(ticket.tenant);
            turns.turns.insert((ticket.due, ticket.id))
        });
        self.len += usize::from(new);
    }

    /// Takes a request out. False: it is not here.
    pub fn remove(&mut self, ticket: Ticket) -> bool {
        let priority = Reverse(ticket.priority);
        let Some(level) = self.levels.get_mut(&priority) else {
            return false;
        };
        let found = level.change(ticket.tenant, |turns| {
            turns.turns.remove(&(ticket.due, ticket.id))
        });
        if level.tenants.is_empty() {
            self.levels.remove(&priority);
        }
        self.len -= usize::from(found);
        found
    }

    /// The first place as it was when its tenant was last looked at: the true one is this or later.
    #[must_use]
    pub fn listed(&self) -> Option<Front> {
        let (priority, level) = self.levels.first_key_value()?;
        let (served, due, id, tenant) = *level.heads.first()?;
        Some(Front {
            priority: *priority,
            served,
            due,
            id,
            tenant,
        })
    }

    /// Whose turn it is now.
    pub fn front(&mut self, ledger: &Ledger) -> Option<Front> {
        loop {
            let front = self.listed()?;
            let served = ledger.served(front.tenant);
            if served == front.served {
                return Some(front);
            }
            let level = self.levels.get_mut(&front.priority)?;
            level.change(front.tenant, |turns| {
                turns.served = served;
                true
            });
        }
    }

    /// Requests in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(id: u64, priority: i32, tenant: u32, due: u64) -> Ticket {
        Ticket {
            id,
            priority,
            tenant,
            due,
        }
    }

    #[test]
    fn priority_then_share_then_deadline_then_age() {
        let mut ledger = Ledger::new(8);
        let mut fair = Fair::default();
        let all = [
            ticket(1, 0, 1, 50),
            ticket(2, 0, 1, 20),
            ticket(3, 0, 2, 90),
            ticket(4, 1, 1, 99),
            ticket(5, 0, 1, 20),
        ];
        for ticket in all {
            ledger.enter(ticket.tenant);
            fair.insert(ticket, &ledger);
        }
        let mut order = Vec::new();
        while let Some(front) = fair.front(&ledger) {
            let ticket = all[front.id as usize - 1];
            assert!(fair.remove(ticket) && !fair.remove(ticket));
            ledger.charge(front.tenant, 10);
            order.push(front.id);
        }
        // 4 by priority; tenant 1 has been served then, so 3; both even: the earliest.
        assert_eq!(order, [4, 3, 2, 5, 1]);
        assert!(fair.is_empty() && fair.listed().is_none());
    }
}
