//! The accounts that are held, bounded.
//!
//! At the bound, a sixteenth of them is let go at once: first those with which nothing is forgotten,
//! then those that were not asked for for longest. One that somebody has, or that owes the store
//! something or holds something of it, is never let go; where there are only such, there is no room
//! for another.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;

use crate::{account::Account, plan::TenantLimits};

/// The accounts of one call: the tenant's, and that of its model where it has one.
pub(crate) type Accounts = [Option<Arc<Account>>; 2];

/// A tenant's name, and its model's where the account is of one.
pub(crate) type Whose = (Box<str>, Option<Box<str>>);

pub(crate) struct Table {
    most: usize,
    tenants: RwLock<Tenants>,
    /// Let go: nothing was forgotten with them, and something was.
    evicted: [AtomicU64; 2],
}

#[derive(Default)]
struct Tenants {
    by_name: HashMap<Box<str>, Tenant>,
    held: usize,
}

struct Tenant {
    all: Arc<Account>,
    models: HashMap<Box<str>, Arc<Account>>,
}

/// There is no room for another account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Table {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(2),
            tenants: RwLock::default(),
            evicted: Default::default(),
        }
    }

    /// The accounts of a call, made if they are not there. `now` is the limiter's clock.
    pub(crate) fn find(
        &self,
        tenant: &str,
        limits: &TenantLimits,
        model: Option<&str>,
        now: u64,
    ) -> Result<Accounts, Full> {
        let model = model.and_then(|model| Some((model, limits.of_model(model)?)));
        {
            let tenants = self.tenants.read();
            if let Some(known) = tenants.by_name.get(tenant) {
                let all = || Some(known.all.clone());
                match model {
                    None => return Ok(touched([all(), None], now)),
                    Some((model, _)) => {
                        if let Some(account) = known.models.get(model) {
                            return Ok(touched([all(), Some(account.clone())], now));
                        }
                    }
                }
            }
        }
        let mut tenants = self.tenants.write();
        // Room for both, before either is there.
        if tenants.held + 2 > self.most {
            self.evict(&mut tenants, tenant, now);
            if tenants.held + 2 > self.most {
                return Err(Full);
            }
        }
        let Tenants { by_name, held } = &mut *tenants;
        let known = by_name.entry(tenant.into()).or_insert_with(|| {
            *held += 1;
            Tenant {
                all: Arc::new(Account::of_tenant(tenant, &limits.all, limits.concurrency)),
                models: HashMap::new(),
            }
        });
        let of_model = model.map(|(model, plan)| {
            let account = known.models.entry(model.into()).or_insert_with(|| {
                *held += 1;
                Arc::new(Account::of_model(tenant, Some(model), plan))
            });
            account.clone()
        });
        Ok(touched([Some(known.all.clone()), of_model], now))
    }

    /// Lets some go; not the account of `wanted`, which is about to be used.
    fn evict(&self, tenants: &mut Tenants, wanted: &str, now: u64) {
        let free = |account: &Arc<Account>| Arc::strong_count(account) == 1 && account.is_settled();
        let mut idle: Vec<(bool, u64, Whose)> = Vec::new();
        for (name, tenant) in &tenants.by_name {
            let mut whole = true;
            for (model, account) in &tenant.models {
                match free(account) {
                    true => {
                        let whose = (name.clone(), Some(model.clone()));
                        idle.push((!account.is_new(now), account.used(), whose));
                    }
                    false => whole = false,
                }
            }
            // A tenant goes after its models.
            if whole && tenant.models.is_empty() && free(&tenant.all) && **name != *wanted {
                let forgets = !tenant.all.is_new(now);
                idle.push((forgets, tenant.all.used(), (name.clone(), None)));
            }
        }
        idle.sort_unstable();
        for (forgets, _, (name, model)) in idle.into_iter().take((self.most / 16).max(2)) {
            let gone = match model {
                Some(model) => tenants
                    .by_name
                    .get_mut(&name)
                    .is_some_and(|tenant| tenant.models.remove(&model).is_some()),
                None => tenants.by_name.remove(&name).is_some(),
            };
            if gone {
                tenants.held -= 1;
                self.evicted[usize::from(forgets)].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// All accounts, to be looked through without the table's lock.
    pub(crate) fn all(&self) -> Vec<Arc<Account>> {
        let tenants = self.tenants.read();
        let each = tenants.by_name.values();
        each.flat_map(|tenant| tenant.models.values().chain([&tenant.all]))
            .cloned()
            .collect()
    }

    /// The same, with the names of their tenants and models.
    pub(crate) fn named(&self) -> Vec<(Whose, Arc<Account>)> {
        let tenants = self.tenants.read();
        let mut named = Vec::with_capacity(tenants.held);
        for (tenant, known) in &tenants.by_name {
            named.push(((tenant.clone(), None), known.all.clone()));
            for (model, account) in &known.models {
                named.push(((tenant.clone(), Some(model.clone())), account.clone()));
            }
        }
        named
    }

    pub(crate) fn held(&self) -> usize {
        self.tenants.read().held
    }

    pub(crate) fn evicted(&self) -> [u64; 2] {
        [0, 1].map(|at| self.evicted[at].load(Ordering::Relaxed))
    }
}

fn touched(accounts: Accounts, now: u64) -> Accounts {
    for account in accounts.iter().flatten() {
        account.touch(now);
    }
    accounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Kind, Meter, Pattern, Plan, Unit};

    fn limits() -> TenantLimits {
        let kind = Kind::Rate {
            amount: 1,
            per: std::time::Duration::from_secs(1),
            burst: 10,
        };
        let plan = Arc::new(Plan::new(vec![Meter::new(Unit::Requests, kind).unwrap()]).unwrap());
        TenantLimits {
            all: plan.clone(),
            models: vec![(Pattern::Begins(String::new()), plan)],
            concurrency: None,
        }
    }

    #[test]
    fn the_table_keeps_its_bound_and_lets_the_oldest_go() {
        let (table, limits) = (Table::new(32), limits());
        for now in 0..1000 {
            let name = format!("t{now}");
            let found = table.find(&name, &limits, None, now).unwrap();
            assert!(found[0].is_some() && found[1].is_none());
            assert!(table.held() <= 32);
        }
        assert_eq!(table.evicted()[1], 0, "nothing was forgotten");
        let held = table.all();
        assert!(held.iter().all(|account| account.used() >= 960));
    }

    #[test]
    fn what_somebody_has_stays() {
        let (table, limits) = (Table::new(4), limits());
        let held: Vec<_> = (0..2)
            .map(|at| {
                table
                    .find(&format!("t{at}"), &limits, Some("m"), at)
                    .unwrap()
            })
            .collect();
        assert_eq!(table.held(), 4);
        assert_eq!(table.find("other", &limits, None, 9).err(), Some(Full));
        // Those that are there are found all the same.
        assert!(table.find("t1", &limits, Some("m"), 9).is_ok());
        drop(held);
        assert!(table.find("other", &limits, None, 10).is_ok());
        assert!(table.held() <= 4);
    }

    #[test]
    fn an_account_is_the_same_one_as_long_as_it_is_held() {
        let (table, limits) = (Table::new(8), limits());
        let names = |tenant, model| {
            let found = table.find(tenant, &limits, Some(model), 0).unwrap();
            found.map(|account| account.unwrap().name.clone())
        };
        assert_eq!(
            names("a b", "org/m:1"),
            ["{a%20b}".into(), "{a%20b}:org/m%3A1".into()]
        );
        assert!(Arc::ptr_eq(&names("x", "m")[0], &names("x", "n")[0]));
        assert_eq!(table.held(), 5);
    }
}
