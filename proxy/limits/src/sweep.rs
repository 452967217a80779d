//! What is done from time to time where a store counts: leases that nobody uses are given back, what
//! was used beyond them is charged, places are kept or given back. At the end, all of it at once.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::{
    account::{Account, slice},
    levels::Manner,
    limiter::{Limiter, parts},
    places::LIFE,
    shared::{Shared, due, spare},
    store::{Ask, AskPlaces, StoreError},
};

/// Accounts that are settled at once.
const TOGETHER: usize = 16;

/// How often at most.
const OFTEN: Duration = Duration::from_millis(50);

impl Limiter {
    /// For ever; over at once where there is no store.
    pub async fn keep(&self) {
        let Some(shared) = &self.shared else {
            return;
        };
        // Places are renewed within their life.
        let every = (shared.sharing.life / 2).clamp(OFTEN, LIFE / 10);
        loop {
            tokio::time::sleep(every).await;
            self.sweep(shared, false).await;
        }
    }

    /// Gives everything back, as far as the store answers.
    pub async fn close(&self) {
        if let Some(shared) = &self.shared {
            self.sweep(shared, true).await;
        }
    }

    async fn sweep(&self, shared: &Shared, leaving: bool) {
        if !shared.store.is_there() {
            return;
        }
        let accounts = stream::iter(self.table.all());
        accounts
            .for_each_concurrent(TOGETHER, |account| async move {
                self.settle(shared, &account, leaving).await;
                self.renew(shared, &account, leaving).await;
            })
            .await;
    }

    async fn settle(&self, shared: &Shared, account: &Arc<Account>, leaving: bool) {
        let sharing = &shared.sharing;
        let ask = {
            let mut state = account.lock();
            // What is asked for now will be used, or given back later.
            if state.leasing && !leaving {
                return;
            }
            let now = Instant::now();
            let used = state.busy.is_some_and(|busy| now < busy + sharing.life);
            let idle = leaving || !used;
            let mut dues = Vec::with_capacity(state.pools.len());
            for (pool, meter) in state.pools.iter_mut().zip(account.plan.meters()) {
                let due = due(pool, slice(meter, sharing.lease), idle);
                pool.credit += due;
                dues.push((due, pool.window));
            }
            if dues.iter().all(|(due, _)| *due == 0) {
                return;
            }
            let mut parts = parts([Some(account), None], |_, at| dues[at].0);
            for (part, (_, window)) in parts.iter_mut().zip(dues) {
                part.window = window;
            }
            Ask {
                accounts: vec![account.name.clone()],
                parts,
                manner: Manner::Settle,
            }
        };
        let parts = ask.parts.clone();
        let began = Instant::now();
        let told = shared.store.ask(ask).await;
        self.figures.asked(began.elapsed(), &told);
        let mut state = account.lock();
        let now = Instant::now();
        match told {
            Ok(answer) => {
                for (pool, told) in state.pools.iter_mut().zip(&answer.told) {
                    pool.hear(told, now);
                    pool.blocked = None;
                }
            }
            Err(error) => {
                for (pool, part) in state.pools.iter_mut().zip(&parts) {
                    match part.need {
                        // It may be back in the store: then it is not here.
                        ..0 if error != StoreError::Away => {
                            self.figures.lost(part.need.unsigned_abs());
                        }
                        need => pool.credit -= need,
                    }
                }
            }
        }
    }

    async fn renew(&self, shared: &Shared, account: &Arc<Account>, leaving: bool) {
        let Some(most) = account.concurrency else {
            return;
        };
        let spare = spare(most, shared.sharing.lease);
        let now = Instant::now();
        let wanted = account.lock().places.renew(most, spare, now, leaving);
        let Some(wanted) = wanted else { return };
        let told = shared.store.places(AskPlaces {
            account: account.name.clone(),
            wanted: wanted.places,
            most,
            life: LIFE,
        });
        let told = told.await;
        self.figures.asked(now.elapsed(), &told);
        if let Ok(given) = told {
            account.lock().places.hear(wanted, given);
        }
    }
}
