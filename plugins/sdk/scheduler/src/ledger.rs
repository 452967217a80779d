//! Fairness among tenants by what they were served: a virtual counter of cost for each.
//!
//! After Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024): whoever has been
//! served the least goes next, and a tenant that comes back after a pause is lifted to the least
//! of those that wait, so that nobody saves up what was not asked for. Cost is what a request is
//! believed to need, charged when it is sent, and settled when it is known what it used: what was
//! charged too little is charged then, and what was charged too much is credit, which is used up
//! before the counter moves again. So a counter only grows.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Default)]
struct Account {
    served: u64,
    waiting: u32,
    /// Charged too much so far.
    credit: u64,
}

/// The counters of the tenants that wait, and of some that did.
pub struct Ledger {
    bound: usize,
    accounts: BTreeMap<u32, Account>,
    /// `(served, tenant)` of those that wait.
    active: BTreeSet<(u64, u32)>,
    /// The same of those that do not.
    idle: BTreeSet<(u64, u32)>,
    /// The counter of the tenant that stopped waiting last.
    last: u64,
}

impl Ledger {
    /// Remembers so many tenants that do not wait. Of more, those that were served least are
    /// forgotten: it is they who would be lifted anyway.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            accounts: BTreeMap::new(),
            active: BTreeSet::new(),
            idle: BTreeSet::new(),
            last: 0,
        }
    }

    /// A request of the tenant waits.
    pub fn enter(&mut self, tenant: u32) {
        let floor = self.active.first().map_or(self.last, |(least, _)| *least);
        let account = self.accounts.entry(tenant).or_default();
        if account.waiting == 0 {
            self.idle.remove(&(account.served, tenant));
            // What it is lifted over, it has not saved either.
            account.credit = account.credit.min(account.served.saturating_sub(floor));
            account.served = account.served.max(floor);
            self.active.insert((account.served, tenant));
        }
        account.waiting += 1;
    }

    /// A request of the tenant waits no longer.
    pub fn leave(&mut self, tenant: u32) {
        let Some(account) = self.accounts.get_mut(&tenant) else {
            return;
        };
        account.waiting = account.waiting.saturating_sub(1);
        if account.waiting == 0 && self.active.remove(&(account.served, tenant)) {
            self.last = account.served;
            self.idle.insert((account.served, tenant));
            if self.idle.len() > self.bound
                && let Some((_, forgotten)) = self.idle.pop_first()
            {
                self.accounts.remove(&forgotten);
            }
        }
    }

    /// The tenant is served this much.
    pub fn charge(&mut self, tenant: u32, cost: u64) {
        let Some(account) = self.accounts.get_mut(&tenant) else {
            return;
        };
        let before = (account.served, tenant);
        let covered = account.credit.min(cost);
        account.credit -= covered;
        account.served = account.served.saturating_add(cost - covered);
        for set in [&mut self.active, &mut self.idle] {
            if set.remove(&before) {
                set.insert((account.served, tenant));
            }
        }
    }

    /// What was charged as `believed` has turned out to be `used`.
    pub fn settle(&mut self, tenant: u32, believed: u64, used: u64) {
        if used > believed {
            self.charge(tenant, used - believed);
        } else if let Some(account) = self.accounts.get_mut(&tenant) {
            account.credit = account.credit.saturating_add(believed - used);
        }
    }

    /// What the tenant was served, as far as it counts.
    #[must_use]
    pub fn served(&self, tenant: u32) -> u64 {
        self.accounts
            .get(&tenant)
            .map_or(0, |account| account.served)
    }

    /// Requests of the tenant that wait.
    #[must_use]
    pub fn waiting(&self, tenant: u32) -> u32 {
        self.accounts
            .get(&tenant)
            .map_or(0, |account| account.waiting)
    }

    /// Tenants that wait.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_is_lifted_and_keeps_a_debt() {
        let mut ledger = Ledger::new(8);
        ledger.enter(1);
        ledger.enter(2);
        ledger.charge(1, 100);
        ledger.charge(2, 40);
        ledger.enter(3);
        assert_eq!(ledger.served(3), 40, "lifted to the least that waits");
        ledger.leave(2);
        ledger.leave(3);
        ledger.leave(1);
        ledger.enter(2);
        assert_eq!(ledger.served(2), 100, "to the one that left last");
        ledger.charge(2, 1000);
        ledger.leave(2);
        ledger.enter(4);
        ledger.enter(2);
        assert_eq!((ledger.served(4), ledger.served(2)), (1100, 1100));
        assert_eq!((ledger.active(), ledger.waiting(2)), (2, 1));
    }

    #[test]
    fn what_was_charged_wrongly_is_settled() {
        let mut ledger = Ledger::new(8);
        ledger.enter(1);
        ledger.enter(2);
        ledger.charge(1, 10);
        ledger.settle(1, 10, 90);
        assert_eq!(ledger.served(1), 90);
        ledger.charge(2, 100);
        ledger.settle(2, 100, 30);
        assert_eq!(ledger.served(2), 100, "a counter never falls");
        ledger.charge(2, 50);
        assert_eq!(ledger.served(2), 100);
        ledger.charge(2, 50);
        assert_eq!(ledger.served(2), 130, "as if it had been 30, 50 and 50");
        // Credit is not saved up over a pause in which others were served more.
        ledger.settle(2, 130, 0);
        ledger.leave(2);
        ledger.charge(1, 1000);
        ledger.enter(2);
        ledger.charge(2, 10);
        assert_eq!(ledger.served(2), 1100);
    }

    #[test]
    fn idle_tenants_are_forgotten_beyond_the_bound() {
        let mut ledger = Ledger::new(3);
        for tenant in 0..100 {
            ledger.enter(tenant);
            ledger.charge(tenant, 1);
            ledger.leave(tenant);
            assert!(ledger.accounts.len() <= 4);
            assert_eq!(ledger.accounts.len(), ledger.idle.len());
        }
    }
}
