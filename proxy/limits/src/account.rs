//! What is kept of one tenant, or of one of its models: its own count, or what it has leased.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use crate::{
    fields::Item,
    levels::{Level, Told},
    places::Places,
    plan::{Kind, Meter, Plan},
};

/// Characters of names that stand for themselves in the store's keys: none of those that keys are
/// put together with.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'_')
    .remove(b'-')
    .remove(b'/');

/// An account. Locked in the order: a tenant's, then that of its model; never across an await.
pub(crate) struct Account {
    /// As the store keys it.
    pub(crate) name: Arc<str>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) of_model: bool,
    /// Requests at once, of a tenant.
    pub(crate) concurrency: Option<u32>,
    /// When it was last asked for, in microseconds of the limiter's clock.
    used: AtomicU64,
    state: Mutex<State>,
}

/// What changes. One level and one pool a meter, in the plan's order.
pub(crate) struct State {
    /// This proxy's own count: of everything where there is no store, of its share where it is away.
    pub(crate) levels: Vec<Level>,
    /// What the store has given.
    pub(crate) pools: Vec<Pool>,
    /// A question for a lease is under way.
    pub(crate) leasing: bool,
    /// When the store was last asked, and when something was last granted.
    pub(crate) asked: Option<Instant>,
    pub(crate) busy: Option<Instant>,
    pub(crate) places: Places,
}

/// Units of one meter that the store has given and nobody has used yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pool {
    /// Less than none: used, and not yet told to the store.
    pub(crate) credit: i64,
    /// The window that they are of.
    pub(crate) window: u64,
    /// What was left in the store when it was last asked, and until when.
    pub(crate) room: u64,
    pub(crate) reset: Option<Instant>,
    /// What the store refused last.
    pub(crate) blocked: Option<Blocked>,
}

/// A refusal of the store's that is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked {
    /// So much, or more.
    pub(crate) least: u64,
    /// Until then the store is not asked: others may have given something back by then.
    pub(crate) until: Instant,
    /// When there is room by what the store said: that is what a client is told.
    pub(crate) room: Instant,
}

impl Account {
    /// Of a tenant, whose requests at once may be limited.
    pub(crate) fn of_tenant(tenant: &str, plan: &Arc<Plan>, concurrency: Option<u32>) -> Self {
        Self {
            concurrency,
            ..Self::of_model(tenant, None, plan)
        }
    }

    /// Of one of its models, or without.
    pub(crate) fn of_model(tenant: &str, model: Option<&str>, plan: &Arc<Plan>) -> Self {
        let tenant = utf8_percent_encode(tenant, PLAIN);
        // The braces are a hash tag (Redis cluster specification, "Hash tags").
        let name = match model {
            None => format!("{{{tenant}}}"),
            Some(model) => format!("{{{tenant}}}:{}", utf8_percent_encode(model, PLAIN)),
        };
        let meters = plan.meters().len();
        Self {
            name: name.into(),
            of_model: model.is_some(),
            concurrency: None,
            used: AtomicU64::new(0),
            state: Mutex::new(State {
                levels: vec![Level::default(); meters],
                pools: vec![Pool::default(); meters],
                leasing: false,
                asked: None,
                busy: None,
                places: Places::default(),
            }),
            plan: plan.clone(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Goes on from what another one has counted, meter by meter of the same name.
    pub(crate) fn take_over(&self, former: &Self) {
        let levels = former.lock().levels.clone();
        let mut state = self.lock();
        for (meter, level) in former.plan.meters().iter().zip(levels) {
            let mut own = self.plan.meters().iter().zip(&mut state.levels);
            if let Some((_, own)) = own.find(|(it, _)| it.name() == meter.name()) {
                *own = level;
            }
        }
    }

    pub(crate) fn touch(&self, now: u64) {
        self.used.store(now, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether nothing would be forgotten with it at a time.
    pub(crate) fn is_new(&self, now: u64) -> bool {
        let state = self.lock();
        let mut levels = state.levels.iter().zip(self.plan.meters());
        levels.all(|(level, meter)| level.is_new(meter.kind(), now))
    }

    /// Whether it holds nothing that is the store's, or somebody's.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.lock();
        let even = state.pools.iter().all(|pool| pool.credit == 0);
        even && !state.leasing && state.places.is_idle()
    }
}

impl Pool {
    /// Takes in what the store says of it.
    pub(crate) fn hear(&mut self, told: &Told, now: Instant) {
        if told.window != self.window {
            // What is left of a window that is over is of no use in the next.
            self.credit = self.credit.min(0);
            self.window = told.window;
        }
        self.room = told.room;
        self.reset = now.checked_add(told.reset);
    }

    /// Whether so much would be refused again, and when it is worth coming back.
    pub(crate) fn is_blocked(&self, need: u64, now: Instant) -> Option<Duration> {
        let blocked = self.blocked?;
        (need >= blocked.least && now < blocked.until).then(|| blocked.room - now)
    }

    /// As a client is told.
    pub(crate) fn item(&self, meter: &Meter, of_model: bool, now: Instant) -> Item {
        Item {
            meter: *meter,
            of_model,
            left: self.room.saturating_add_signed(self.credit),
            reset: self
                .reset
                .map_or(Duration::ZERO, |at| at.saturating_duration_since(now)),
        }
    }
}

/// Units of a meter that are leased at a time: a share of what a rate holds. A quota holds far more
/// than is needed at once: of it a hundredth of that.
pub(crate) fn slice(meter: &Meter, percent: u64) -> u64 {
    let share = meter.holds().saturating_mul(percent) / 100;
    match meter.kind() {
        Kind::Rate { .. } => share,
        Kind::Quota { .. } => share / 100,
    }
}
