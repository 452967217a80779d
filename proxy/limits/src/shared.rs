//! Limits that a store counts for several proxies.
//!
//! 1. **Leases.** While calls come one after the other, the store is asked for more than is needed: a
//!    slice of each meter, of which following calls are granted without a question. It was charged
//!    when it was given, so that all proxies together never grant more than the limit; what one of
//!    them holds the others cannot have, for as long as the lease's life after its last use. What
//!    settlements give back joins it; more than two slices are given back.
//! 2. **Refusals** are remembered for as long as the store said, at most for the lease's life: who is
//!    over its limit costs the store no question a request. Clients are told when there is room by
//!    the store's word, however short that life is.
//! 3. **Away.** When the store does not answer, the [`Away`] policy decides. What was granted without
//!    it is told to it when it is back as far as quotas go, and not for rates, which have leaked.
//! 4. What may or may not have been counted (an answer that did not come) is taken as counted.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::{
    account::{Account, Blocked, Pool, slice},
    fields::Fields,
    figures::Outcome,
    grant::{Grant, Via},
    levels::{Answer, Manner, Part, Verdict},
    limiter::{Admission, Limiter, Refusal, SOON, count, parts},
    plan::{Cost, Kind},
    seat::{Entry, Seat},
    store::{Ask, AskPlaces, Store, StoreError},
    table::Accounts,
};

/// What is done while the store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// Nothing is granted.
    Deny,
    /// Everything is granted.
    Allow,
    /// This proxy grants a share of each limit, in percent, by its own count.
    Local {
        /// From 1 to 100.
        percent: u64,
    },
}

/// How a store is used.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    /// While it is away.
    pub away: Away,
    /// Units of a lease, in percent of what a rate holds; of a quota, in percent of a hundredth of
    /// it. 0: each request is a question.
    pub lease: u64,
    /// What was leased and not used for so long is given back.
    pub life: Duration,
}

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sharing: Sharing,
}

/// A question that is under way: what was taken of leases for it is given back, unless it is granted.
struct Pending {
    limiter: Arc<Limiter>,
    accounts: Accounts,
    cost: Cost,
    parts: Vec<Part>,
    /// Of each part, units that came out of the lease; less than none: owed, and part of the need.
    borrowed: Vec<i64>,
    /// Whether it asks for a lease, too.
    leasing: [bool; 2],
    open: bool,
}

// === impl Limiter ===

impl Limiter {
    pub(crate) fn admit_shared(
        self: &Arc<Self>,
        shared: &Shared,
        accounts: Accounts,
        cost: Cost,
    ) -> Admission {
        if let Some(refusal) = Self::blocked(&accounts, cost) {
            self.figures.decided(Outcome::Blocked);
            return Admission::Decided(Err(refusal));
        }
        if let Some(grant) = self.by_lease(&accounts, cost) {
            self.figures.decided(Outcome::Here);
            return Admission::Decided(Ok(grant));
        }
        if !shared.store.is_there() {
            self.figures
                .asked::<()>(Duration::ZERO, &Err(StoreError::Away));
            return Admission::Decided(self.without(accounts, cost));
        }
        let (pending, ask) = self.borrow_from(shared, accounts, cost);
        let told = shared.store.ask(ask);
        let asking = async move {
            let began = Instant::now();
            let told = told.await;
            pending.limiter.figures.asked(began.elapsed(), &told);
            pending.end(told)
        };
        Admission::Asking(asking.boxed())
    }

    /// Whether the store has refused as much a moment ago.
    pub(crate) fn blocked(accounts: &Accounts, cost: Cost) -> Option<Refusal> {
        let now = Instant::now();
        for account in accounts.iter().flatten() {
            let state = account.lock();
            for (pool, meter) in state.pools.iter().zip(account.plan.meters()) {
                let need = cost.of(meter.unit());
                if let Some(wait) = pool.is_blocked(need, now) {
                    drop(state);
                    let fields = fields(accounts, now);
                    return Some(Refusal::used(account, meter, need, Some(wait), fields));
                }
            }
        }
        None
    }

    /// Grants out of what is leased, if all of it is there.
    fn by_lease(self: &Arc<Self>, accounts: &Accounts, cost: Cost) -> Option<Grant> {
        let now = Instant::now();
        let mut states: Vec<_> = accounts.iter().flatten().map(|it| it.lock()).collect();
        let plans = || accounts.iter().flatten().map(|account| &account.plan);
        let enough = states.iter().zip(plans()).all(|(state, plan)| {
            let mut pools = state.pools.iter().zip(plan.meters());
            pools.all(|(pool, meter)| pool.credit >= count(cost.of(meter.unit())))
        });
        if !enough {
            return None;
        }
        let mut windows = Vec::with_capacity(4);
        for (state, plan) in states.iter_mut().zip(plans()) {
            state.busy = Some(now);
            for (pool, meter) in state.pools.iter_mut().zip(plan.meters()) {
                pool.credit -= count(cost.of(meter.unit()));
                windows.push(pool.window);
            }
        }
        drop(states);
        let fields = fields(accounts, now);
        let accounts = accounts.clone();
        Some(Grant::new(
            self.clone(),
            accounts,
            cost,
            Via::Store,
            windows,
            fields,
        ))
    }

    /// What is missing, as a question.
    fn borrow_from(
        self: &Arc<Self>,
        shared: &Shared,
        accounts: Accounts,
        cost: Cost,
    ) -> (Pending, Ask) {
        let now = Instant::now();
        let each = [accounts[0].as_deref(), accounts[1].as_deref()];
        let mut parts = parts(each, |meter, _| count(cost.of(meter.unit())));
        let mut borrowed = Vec::with_capacity(parts.len());
        let mut leasing = [false; 2];
        let mut rest = parts.iter_mut();
        for (at, account) in each.into_iter().enumerate() {
            let Some(account) = account else { continue };
            let mut state = account.lock();
            let Sharing { lease, life, .. } = shared.sharing;
            // One question alone is no reason to hold anything.
            let busy = state.asked.is_some_and(|asked| now < asked + life);
            leasing[at] = busy && !state.leasing && lease > 0;
            state.leasing |= leasing[at];
            state.asked = Some(now);
            for pool in &mut state.pools {
                let Some(part) = rest.next() else { break };
                // A lease that covers it, a part of it, or what is owed.
                let taken = pool.credit.min(part.need);
                pool.credit -= taken;
                part.need -= taken;
                if leasing[at] && part.need > 0 {
                    part.extra = slice(&part.meter, lease);
                }
                borrowed.push(taken);
            }
        }
        let ask = Ask {
            accounts: accounts
                .iter()
                .flatten()
                .map(|it| it.name.clone())
                .collect(),
            parts: parts.clone(),
            manner: Manner::Request,
        };
        let pending = Pending {
            limiter: self.clone(),
            accounts,
            cost,
            parts,
            borrowed,
            leasing,
            open: true,
        };
        (pending, ask)
    }

    /// Decides while the store is away.
    fn without(self: &Arc<Self>, accounts: Accounts, cost: Cost) -> Result<Grant, Refusal> {
        let away = self.shared.as_ref().map(|shared| shared.sharing.away);
        let (granted, outcome) = match away {
            None | Some(Away::Deny) => (Err(Refusal::away()), Outcome::AwayDenied),
            Some(Away::Allow) => {
                let windows = owe(&accounts, cost);
                let fields = Fields::default();
                let via = Via::Nobody;
                let grant = Grant::new(self.clone(), accounts, cost, via, windows, fields);
                (Ok(grant), Outcome::AwayAllowed)
            }
            Some(Away::Local { percent }) => {
                let granted = self.decide_here(accounts.clone(), cost, Some(percent));
                let outcome = match &granted {
                    Ok(_) => {
                        owe(&accounts, cost);
                        Outcome::AwayShared
                    }
                    Err(_) => Outcome::AwayDenied,
                };
                (granted, outcome)
            }
        };
        self.figures.decided(outcome);
        granted
    }

    pub(crate) fn enter_shared(
        self: &Arc<Self>,
        shared: &Shared,
        account: Arc<Account>,
        most: u32,
    ) -> Entry {
        let now = Instant::now();
        let wanted = {
            let mut state = account.lock();
            if state.places.enter_held(now) {
                drop(state);
                return Entry::Decided(Ok(Seat::new(account)));
            }
            if !shared.store.is_there() {
                drop(state);
                return Entry::Decided(self.enter_without(account, most));
            }
            state
                .places
                .ask(most, spare(most, shared.sharing.lease), now)
        };
        let told = shared.store.places(AskPlaces {
            account: account.name.clone(),
            wanted: wanted.places,
            most,
            life: crate::places::LIFE,
        });
        let limiter = self.clone();
        // Made before it is first polled: who goes away before that waits no more, either.
        let mut waiting = Waiting {
            account: Some(account),
            wanted,
        };
        Entry::Asking(
            async move {
                let told = told.await;
                limiter.figures.asked(now.elapsed(), &told);
                let Some(account) = waiting.account.take() else {
                    return Err(Refusal::away());
                };
                let given = told.as_ref().ok().copied();
                let entered = account.lock().places.answered(wanted, given);
                match (entered, told) {
                    (true, _) => Ok(Seat::new(account)),
                    (false, Ok(_)) => Err(Refusal::concurrency(most)),
                    (false, Err(_)) => limiter.enter_without(account, most),
                }
            }
            .boxed(),
        )
    }

    fn enter_without(&self, account: Arc<Account>, most: u32) -> Result<Seat, Refusal> {
        let share = match self.shared.as_ref().map(|shared| shared.sharing.away) {
            None | Some(Away::Deny) => return Err(Refusal::away()),
            Some(Away::Allow) => u32::MAX,
            Some(Away::Local { percent }) => {
                let share = u64::from(most) * percent / 100;
                u32::try_from(share).unwrap_or(most).max(1)
            }
        };
        let entered = account.lock().places.enter(share);
        match entered {
            true => Ok(Seat::new(account)),
            false => Err(Refusal::concurrency(share)),
        }
    }
}

/// Places that are asked for beyond those needed.
pub(crate) fn spare(most: u32, lease: u64) -> u32 {
    u32::try_from(u64::from(most) * lease / 100).unwrap_or(0)
}

/// A request that waits for a place; one that goes away waits no more.
struct Waiting {
    account: Option<Arc<Account>>,
    wanted: crate::places::Wanted,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(account) = self.account.take() {
            // A place that the store gives meanwhile is given back when it is next asked.
            account.lock().places.answered(self.wanted, None);
        }
    }
}

/// What is told of these accounts, by what is known of them.
fn fields(accounts: &Accounts, now: Instant) -> Fields {
    let mut items = Vec::with_capacity(4);
    for account in accounts.iter().flatten() {
        let state = account.lock();
        for (pool, meter) in state.pools.iter().zip(account.plan.meters()) {
            items.push(pool.item(meter, account.of_model, now));
        }
    }
    Fields(items)
}

/// Notes what is granted without the store, to be told of quotas when it is back. Gives the windows.
fn owe(accounts: &Accounts, cost: Cost) -> Vec<u64> {
    let mut windows = Vec::with_capacity(4);
    for account in accounts.iter().flatten() {
        let mut state = account.lock();
        for (pool, meter) in state.pools.iter_mut().zip(account.plan.meters()) {
            if let Kind::Quota { .. } = meter.kind() {
                pool.credit = pool.credit.saturating_sub(count(cost.of(meter.unit())));
            }
            windows.push(pool.window);
        }
    }
    windows
}

// === impl Pending ===

impl Pending {
    fn end(mut self, told: Result<Answer, StoreError>) -> Result<Grant, Refusal> {
        let now = Instant::now();
        let limiter = self.limiter.clone();
        let answer = match told {
            Ok(answer) if answer.told.len() == self.parts.len() => answer,
            Ok(_) | Err(_) => {
                self.give_back();
                return limiter.without(self.accounts.clone(), self.cost);
            }
        };
        let denied = match answer.verdict {
            Verdict::Granted => None,
            Verdict::Denied { part, wait } => Some((part, wait)),
        };
        if denied.is_some() {
            self.give_back();
        }
        let mut at = 0;
        let mut windows = Vec::with_capacity(self.parts.len());
        for account in self.accounts.iter().flatten() {
            let mut state = account.lock();
            if denied.is_none() {
                state.busy = Some(now);
            }
            for pool in &mut state.pools {
                let (part, told) = (&self.parts[at], &answer.told[at]);
                pool.hear(told, now);
                windows.push(told.window);
                match denied {
                    None => pool.credit += count(told.extra.min(part.extra)),
                    Some((refusing, Some(wait))) if refusing == at => {
                        let wait = wait.min(LONGEST);
                        pool.blocked = Some(Blocked {
                            least: self.cost.of(part.meter.unit()),
                            until: now + wait.min(limiter.life()),
                            room: now + wait,
                        });
                    }
                    Some(_) => {}
                }
                at += 1;
            }
        }
        self.closed();
        let fields = fields(&self.accounts, now);
        match denied {
            None => {
                limiter.figures.decided(Outcome::Granted);
                let (accounts, via) = (self.accounts.clone(), Via::Store);
                Ok(Grant::new(
                    limiter, accounts, self.cost, via, windows, fields,
                ))
            }
            Some((refusing, wait)) => {
                limiter.figures.decided(Outcome::Denied);
                let part = &self.parts[refusing];
                let Some(account) = &self.accounts[part.account] else {
                    return Err(Refusal::away());
                };
                let cost = self.cost.of(part.meter.unit());
                let wait = wait.map(|wait| wait.max(Duration::from_millis(1)).min(LONGEST));
                Err(Refusal::used(account, &part.meter, cost, wait, fields))
            }
        }
    }

    /// Nothing was granted: what was taken for it is back.
    fn give_back(&mut self) {
        if !std::mem::replace(&mut self.open, false) {
            return;
        }
        let mut borrowed = self.borrowed.iter();
        for account in self.accounts.iter().flatten() {
            for pool in &mut account.lock().pools {
                pool.credit += borrowed.next().copied().unwrap_or_default();
            }
        }
        self.no_longer_leasing();
    }

    /// What was taken is used.
    fn closed(&mut self) {
        if std::mem::replace(&mut self.open, false) {
            self.no_longer_leasing();
        }
    }

    fn no_longer_leasing(&mut self) {
        for (account, leasing) in self.accounts.iter().zip(self.leasing) {
            if let (Some(account), true) = (account, leasing) {
                account.lock().leasing = false;
            }
        }
    }
}

impl Drop for Pending {
    /// Its client has gone.
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The longest wait that a client is told of.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

impl Limiter {
    pub(crate) fn life(&self) -> Duration {
        self.shared.as_ref().map_or(SOON, |it| it.sharing.life)
    }
}

/// What of a pool is given back, or charged, when the time for it has come: less than none is given
/// back.
pub(crate) fn due(pool: &Pool, slice: u64, idle: bool) -> i64 {
    match pool.credit {
        ..0 => -pool.credit,
        credit if idle => -credit,
        credit => -(credit - count(slice.saturating_mul(2))).max(0),
    }
}
