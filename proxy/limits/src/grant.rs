//! What a call was granted, until it is settled.
//!
//! What it used is known in one of these ways, the first that holds:
//!
//! 1. It never reached a worker: everything is given back, the request too.
//! 2. Its worker failed before any output: its tokens are given back.
//! 3. The worker told its usage: that counts. Where only one side was told, what was believed of the
//!    other counts.
//! 4. It was a stream that a proxy could follow, and broke off, or its client left: its input as it
//!    was believed to be, and the output tokens that came.
//! 5. Nothing is known of it: what it was believed to need.

use std::sync::Arc;

use crate::{
    fields::Fields,
    levels::Manner,
    limiter::{Limiter, count, parts},
    plan::{Cost, Kind, Unit},
    table::Accounts,
};

/// Who granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// This proxy by its own count: of all, or of its share in percent while the store is away.
    Here { share: Option<u64> },
    /// The store, now or by a lease.
    Store,
    /// Nobody: the store is away, and everything is allowed.
    Nobody,
}

/// How far the call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Sent,
    Failed,
}

/// A call's share of its tenant's limits. Dropped, it is settled.
pub struct Grant {
    limiter: Arc<Limiter>,
    accounts: Accounts,
    cost: Cost,
    via: Via,
    /// The window that each meter was charged in.
    windows: Vec<u64>,
    fields: Fields,
    fate: Fate,
    input: Option<u64>,
    output: Option<u64>,
    /// Output tokens that came, as far as they were seen.
    came: u64,
}

impl Grant {
    pub(crate) fn new(
        limiter: Arc<Limiter>,
        accounts: Accounts,
        cost: Cost,
        via: Via,
        windows: Vec<u64>,
        fields: Fields,
    ) -> Self {
        Self {
            limiter,
            accounts,
            cost,
            via,
            windows,
            fields,
            fate: Fate::Waiting,
            input: None,
            output: None,
            came: 0,
        }
    }

    /// What its client is told of its limits.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// It is on its way to a worker.
    pub fn sent(&mut self) {
        self.fate = Fate::Sent;
    }

    /// Its worker failed, as far as is known before it made anything.
    pub fn failed(&mut self) {
        if self.fate == Fate::Sent {
            self.fate = Fate::Failed;
        }
    }

    /// What it used so far, as its worker tells; what is told later counts.
    pub fn used(&mut self, input: Option<u64>, output: Option<u64>) {
        self.input = input.or(self.input);
        self.output = output.or(self.output);
    }

    /// Output tokens came.
    pub fn came(&mut self, tokens: u64) {
        self.came = self.came.saturating_add(tokens);
    }

    /// What it has used of a unit, as far as that is known.
    fn spent(&self, unit: Unit) -> u64 {
        let told = self.input.is_some() || self.output.is_some();
        match (self.fate, unit) {
            (Fate::Waiting, _) => 0,
            (_, Unit::Requests) => 1,
            (Fate::Failed, Unit::Tokens) if !told && self.came == 0 => 0,
            (_, Unit::Tokens) => {
                let output = match self.came {
                    0 => self.cost.output,
                    came => came,
                };
                Cost {
                    input: self.input.unwrap_or(self.cost.input),
                    output: self.output.unwrap_or(output),
                }
                .of(unit)
            }
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let change = |unit| count(self.spent(unit)) - count(self.cost.of(unit));
        let tokens = change(Unit::Tokens);
        if tokens != 0 {
            self.limiter.figures.settled(tokens);
        }
        if tokens == 0 && change(Unit::Requests) == 0 {
            return;
        }
        let each = [self.accounts[0].as_deref(), self.accounts[1].as_deref()];
        if let Via::Here { share } = self.via {
            let mut parts = parts(each, |meter, _| change(meter.unit()));
            for (part, window) in parts.iter_mut().zip(&self.windows) {
                part.window = *window;
                if let Some(percent) = share {
                    part.meter = part.meter.share(percent);
                }
            }
            self.limiter
                .on_levels(&self.accounts, &parts, Manner::Settle);
            if share.is_none() {
                return;
            }
        }
        let mut windows = self.windows.iter();
        for account in each.into_iter().flatten() {
            let mut state = account.lock();
            for (meter, pool) in account.plan.meters().iter().zip(&mut state.pools) {
                let window = windows.next().copied().unwrap_or_default();
                let change = change(meter.unit());
                match meter.kind() {
                    // What was granted without the store is not owed to it.
                    Kind::Rate { .. } if self.via != Via::Store => continue,
                    Kind::Rate { .. } => {}
                    // It came from a window that is over.
                    Kind::Quota { .. } if change < 0 && window != pool.window => continue,
                    Kind::Quota { .. } => {}
                }
                pool.credit = pool.credit.saturating_sub(change);
                if change < 0 {
                    pool.blocked = None;
                }
            }
        }
    }
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("cost", &self.cost)
            .field("via", &self.via)
            .finish_non_exhaustive()
    }
}
