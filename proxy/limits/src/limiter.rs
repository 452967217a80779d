//! The limits of all tenants: who asks is granted what a call needs, and settles it with what the
//! call used.
//!
//! 1. A call is counted on the meters of its tenant, and on those of its tenant's model, together:
//!    all of them have room, or nothing is charged.
//! 2. What it is believed to need is charged at once ([`Limiter::admit`]): a request, and its tokens.
//!    A charge leaks like any other, so that a proxy that ends without a word takes nothing for ever.
//! 3. When the [`Grant`] is dropped, the difference to what was used is charged or given back.
//!
//! Where there is no store, this proxy counts by itself, and answers at once. Where there is one, see
//! `shared`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::BoxFuture;

use crate::{
    account::Account,
    fields::{Fields, Item},
    figures::{Figures, Outcome},
    grant::{Grant, Via},
    levels::{Answer, Level, Manner, Part, Verdict, decide, micros},
    plan::{Cost, Meter, Rules, Unit},
    seat::{Entry, Seat},
    shared::{Shared, Sharing},
    store::Store,
    table::{Accounts, Table},
};

/// Unix time, in microseconds.
type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// The limits.
pub struct Limiter {
    pub(crate) rules: Rules,
    pub(crate) table: Table,
    pub(crate) shared: Option<Shared>,
    pub(crate) figures: Figures,
    clock: Clock,
}

/// What becomes of a call.
pub enum Admission {
    /// It is not limited.
    Free,
    /// It was decided here.
    Decided(Result<Grant, Refusal>),
    /// The store decides.
    Asking(BoxFuture<'static, Result<Grant, Refusal>>),
}

/// Why a call may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A limit is used up for now.
    Used,
    /// It needs more than a limit ever holds.
    TooLarge,
    /// As many requests of the tenant run as may.
    Concurrency,
    /// The store is away, and nothing is granted meanwhile.
    Away,
    /// There is no room for another tenant or model.
    NoRoom,
}

impl Why {
    /// Its metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Used => "tenant-limit",
            Self::TooLarge => "tenant-limit-size",
            Self::Concurrency => "tenant-concurrency",
            Self::Away => "tenant-limit-away",
            Self::NoRoom => "tenant-limit-room",
        }
    }
}

/// A call that may not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub why: Why,
    /// For the client; names limits and none of their neighbours.
    pub message: String,
    /// When to come again; none: not with this.
    pub wait: Option<Duration>,
    /// What is left of the limits.
    pub fields: Fields,
}

/// Who comes again because of something that passes comes after so long.
pub(crate) const SOON: Duration = Duration::from_secs(1);

// === impl Refusal ===

impl Refusal {
    fn no_room() -> Self {
        Self {
            why: Why::NoRoom,
            message: "the proxy counts for as many tenants as it can".to_owned(),
            wait: Some(SOON),
            fields: Fields::default(),
        }
    }

    pub(crate) fn away() -> Self {
        Self {
            why: Why::Away,
            message: "this tenant's limits cannot be checked now".to_owned(),
            wait: Some(SOON),
            fields: Fields::default(),
        }
    }

    pub(crate) fn concurrency(most: u32) -> Self {
        Self {
            why: Why::Concurrency,
            message: format!("{most} requests of this tenant run already, which is its limit"),
            wait: Some(SOON),
            fields: Fields::default(),
        }
    }

    /// For a meter that has no room.
    pub(crate) fn used(
        account: &Account,
        meter: &Meter,
        cost: u64,
        wait: Option<Duration>,
        fields: Fields,
    ) -> Self {
        let of = match account.of_model {
            true => "of this tenant for this model",
            false => "of this tenant",
        };
        let (why, message) = match wait {
            Some(_) => (Why::Used, format!("the limit {of} is used up: {meter}")),
            None => (
                Why::TooLarge,
                format!(
                    "this request may need {cost} {}, and the limit {of} allows {} at once",
                    meter.unit().name(),
                    meter.holds()
                ),
            ),
        };
        Self {
            why,
            message,
            wait,
            fields,
        }
    }
}

// === impl Limiter ===

impl Limiter {
    /// Limits that this proxy counts by itself. At most `most` accounts (tenants, and models of
    /// tenants) are held at once.
    #[must_use]
    pub fn new(rules: Rules, most: usize) -> Self {
        Self::with_clock(rules, most, system)
    }

    /// The same by a clock of one's own, which tells unix time in microseconds. It may jump.
    #[must_use]
    pub fn with_clock(
        rules: Rules,
        most: usize,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            rules,
            table: Table::new(most),
            shared: None,
            figures: Figures::default(),
            clock: Box::new(clock),
        }
    }

    /// With a store that counts for several proxies. [`Limiter::keep`] has to run then.
    #[must_use]
    pub fn sharing(mut self, store: Arc<dyn Store>, sharing: Sharing) -> Self {
        self.shared = Some(Shared { store, sharing });
        self
    }

    /// With what another one has counted by itself: a change of limits is no new beginning. Meters of
    /// the same tenant, model and name go on from there; what was granted there is settled there.
    #[must_use]
    pub fn after(self, former: &Self) -> Self {
        let now = (self.clock)();
        for ((tenant, model), counted) in former.table.named() {
            let Some(limits) = self.rules.of(&tenant) else {
                continue;
            };
            // What finds no room begins anew.
            let Ok([all, of_model]) = self.table.find(&tenant, limits, model.as_deref(), now)
            else {
                continue;
            };
            let account = if model.is_some() { of_model } else { all };
            if let Some(account) = account {
                account.take_over(&counted);
            }
        }
        self
    }

    /// What is counted.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Accounts that are held.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.table.held()
    }

    /// Accounts that were let go at the bound: those with which nothing was forgotten, and those with
    /// which something was.
    #[must_use]
    pub fn evicted(&self) -> [u64; 2] {
        self.table.evicted()
    }

    /// Units that are leased and not used, or used and not told, by unit; the latter less than none.
    #[must_use]
    pub fn leased(&self) -> [(Unit, i64); 2] {
        let mut sums = Unit::ALL.map(|unit| (unit, 0));
        for account in self.table.all() {
            let state = account.lock();
            for (pool, meter) in state.pools.iter().zip(account.plan.meters()) {
                if let Some((_, sum)) = sums.iter_mut().find(|(unit, _)| *unit == meter.unit()) {
                    *sum += pool.credit;
                }
            }
        }
        sums
    }

    /// Requests of tenants whose concurrency is limited, and places that the store has given for them.
    #[must_use]
    pub fn seats(&self) -> (u64, u64) {
        let all = self.table.all();
        all.iter().fold((0, 0), |(used, held), account| {
            let state = account.lock();
            let places = &state.places;
            (
                used + u64::from(places.in_use()),
                held + u64::from(places.held()),
            )
        })
    }

    /// Whether the store can be asked; none: there is no store.
    #[must_use]
    pub fn store_is_there(&self) -> Option<bool> {
        self.shared.as_ref().map(|shared| shared.store.is_there())
    }

    /// Admits a call of a tenant for a model, by the name that clients use.
    pub fn admit(self: &Arc<Self>, tenant: &str, model: &str, cost: Cost) -> Admission {
        let Some(limits) = self.rules.of(tenant) else {
            return Admission::Free;
        };
        let now = (self.clock)();
        let accounts = match self.table.find(tenant, limits, Some(model), now) {
            Ok(accounts) => accounts,
            Err(_) => {
                self.figures.decided(Outcome::NoRoom);
                return Admission::Decided(Err(Refusal::no_room()));
            }
        };
        if accounts
            .iter()
            .flatten()
            .all(|it| it.plan.meters().is_empty())
        {
            return Admission::Free;
        }
        match &self.shared {
            Some(shared) => self.admit_shared(shared, accounts, cost),
            None => {
                let decided = self.decide_here(accounts, cost, None);
                let outcome = match &decided {
                    Ok(_) => Outcome::Here,
                    Err(_) => Outcome::Denied,
                };
                self.figures.decided(outcome);
                Admission::Decided(decided)
            }
        }
    }

    /// Whether a request of a tenant would be refused whatever it asks for: told before its body is
    /// read. Nothing is charged, and a store is not asked.
    pub fn peek(&self, tenant: &str) -> Result<(), Refusal> {
        let Some(limits) = self.rules.of(tenant) else {
            return Ok(());
        };
        let now = (self.clock)();
        let Ok([Some(account), _]) = self.table.find(tenant, limits, None, now) else {
            return Ok(());
        };
        let peeked = match &self.shared {
            None => {
                let parts = parts([Some(&account), None], |meter, _| {
                    i64::from(meter.unit() == Unit::Requests)
                });
                // A copy: nothing is charged.
                let mut levels = account.lock().levels.clone();
                let mut levels: Vec<&mut Level> = levels.iter_mut().collect();
                let answer = decide(&mut levels, &parts, Manner::Request, now);
                match answer.verdict {
                    Verdict::Granted => Ok(()),
                    Verdict::Denied { part, wait } => {
                        let items = items([Some(&account), None], &answer);
                        Err(Refusal::used(&account, &parts[part].meter, 1, wait, items))
                    }
                }
            }
            Some(_) => Self::blocked(&[Some(account), None], Cost::default()).map_or(Ok(()), Err),
        };
        peeked.inspect_err(|_| self.figures.decided(Outcome::Blocked))
    }

    /// A place among the requests of a tenant that may run at once.
    pub fn enter(self: &Arc<Self>, tenant: &str) -> Entry {
        let limits = self.rules.of(tenant);
        let Some((limits, most)) = limits.and_then(|it| Some((it, it.concurrency?))) else {
            return Entry::Free;
        };
        let now = (self.clock)();
        match self.table.find(tenant, limits, None, now) {
            Ok([Some(account), _]) => match &self.shared {
                Some(shared) => self.enter_shared(shared, account, most),
                None => {
                    let entered = account.lock().places.enter(most);
                    Entry::Decided(match entered {
                        true => Ok(Seat::new(account)),
                        false => Err(Refusal::concurrency(most)),
                    })
                }
            },
            _ => Entry::Decided(Err(Refusal::no_room())),
        }
    }

    /// Decides by this proxy's own count: of everything, or of its share of it in percent.
    pub(crate) fn decide_here(
        self: &Arc<Self>,
        accounts: Accounts,
        cost: Cost,
        share: Option<u64>,
    ) -> Result<Grant, Refusal> {
        let each = [accounts[0].as_deref(), accounts[1].as_deref()];
        let mut parts = parts(each, |meter, _| count(cost.of(meter.unit())));
        for part in &mut parts {
            if let Some(percent) = share {
                part.meter = part.meter.share(percent);
            }
        }
        let answer = self.on_levels(&accounts, &parts, Manner::Request);
        let fields = items(each, &answer);
        match answer.verdict {
            Verdict::Granted => {
                let windows = answer.told.iter().map(|told| told.window).collect();
                let via = Via::Here { share };
                Ok(Grant::new(
                    self.clone(),
                    accounts,
                    cost,
                    via,
                    windows,
                    fields,
                ))
            }
            Verdict::Denied { part, wait } => {
                let Part { account, meter, .. } = &parts[part];
                let Some(account) = each[*account] else {
                    return Err(Refusal::away());
                };
                let cost = cost.of(meter.unit());
                Err(Refusal::used(account, meter, cost, wait, fields))
            }
        }
    }

    /// Decides over the levels of these accounts.
    pub(crate) fn on_levels(&self, accounts: &Accounts, parts: &[Part], manner: Manner) -> Answer {
        let now = (self.clock)();
        let mut states: Vec<_> = accounts.iter().flatten().map(|it| it.lock()).collect();
        let mut levels: Vec<&mut Level> = states
            .iter_mut()
            .flat_map(|state| state.levels.iter_mut())
            .collect();
        decide(&mut levels, parts, manner, now)
    }
}

/// Each meter of some accounts, with what is needed of it: told by the meter, and by its position.
pub(crate) fn parts(
    accounts: [Option<&Account>; 2],
    need: impl Fn(&Meter, usize) -> i64,
) -> Vec<Part> {
    let mut parts = Vec::with_capacity(4);
    for (account, of) in accounts.iter().enumerate() {
        for meter in of.iter().flat_map(|account| account.plan.meters()) {
            parts.push(Part {
                account,
                meter: *meter,
                need: need(meter, parts.len()),
                extra: 0,
                window: 0,
            });
        }
    }
    parts
}

/// What a client is told after a decision.
fn items(accounts: [Option<&Account>; 2], answer: &Answer) -> Fields {
    let meters = accounts.iter().flatten().flat_map(|account| {
        let of_model = account.of_model;
        account.plan.meters().iter().map(move |it| (it, of_model))
    });
    let told = meters.zip(&answer.told);
    let item = told.map(|((meter, of_model), told)| Item {
        meter: *meter,
        of_model,
        left: told.room,
        reset: told.reset,
    });
    Fields(item.collect())
}

/// Units as they are reckoned with: below 2^50, see [`Meter`].
pub(crate) fn count(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

/// Unix time, in microseconds; a clock from before 1970 stands still.
fn system() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, micros)
}
