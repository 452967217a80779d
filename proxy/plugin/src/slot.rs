//! Instances and who shares them.
//!
//! A slot is one instance in a store of its own. It holds many exchanges as resources,
//! at most `Limits::per_slot`, and is called by one thread at a time. A trap ends the
//! store, and with it every exchange in it: their next call says [`GuestError::Lost`].
//! A slot takes no new exchange after a random number of them, so that state that a
//! plugin should not keep shows itself early.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::{Mutex, MutexGuard, RwLock};
use wasmtime::{Store, UpdateDeadline};

use crate::{
    alarm::Alarm,
    budget::Spent,
    clock::Running,
    counters::{Counters, TrapKind},
    engine::{Place, Sandbox},
    host::Guest,
    limits::Limits,
    mask::Mask,
    quarantine::Quarantine,
    sources::{Misuse, Sources},
    world::World,
};

/// How a call into a plugin ended badly.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GuestError {
    /// The guest trapped, or passed a limit, in this very call.
    #[error("plugin {plugin} failed: {reason}")]
    Trapped {
        /// Its name in the configuration.
        plugin: Arc<str>,
        /// For the log.
        reason: String,
        /// Which limit or rule it was.
        kind: TrapKind,
        /// It was a limit of memory or time, and the inputs were large: they are to blame.
        burdened: bool,
    },
    /// The instance ended while another exchange was being served.
    #[error("plugin {plugin} failed beside another request")]
    Lost {
        /// Its name in the configuration.
        plugin: Arc<str>,
    },
    /// Its generation is no longer in force, and the time that its exchanges had is over.
    #[error("plugin {plugin} was replaced, and the time to drain is over")]
    Overdue {
        /// Its name in the configuration.
        plugin: Arc<str>,
    },
    /// It has failed too often of late; see [`crate::quarantine`].
    #[error("plugin {plugin} is in quarantine")]
    Quarantined {
        /// Its name in the configuration.
        plugin: Arc<str>,
    },
    /// Every slot is full.
    #[error("plugin {plugin} has no free instance")]
    Full {
        /// Its name in the configuration.
        plugin: Arc<str>,
    },
}

impl GuestError {
    /// Whether what it was given is to blame.
    #[must_use]
    pub fn is_of_input(&self) -> bool {
        matches!(self, Self::Trapped { burdened: true, .. })
    }

    /// The plugin's name in the configuration.
    #[must_use]
    pub fn plugin(&self) -> &str {
        match self {
            Self::Trapped { plugin, .. }
            | Self::Lost { plugin }
            | Self::Overdue { plugin }
            | Self::Quarantined { plugin }
            | Self::Full { plugin } => plugin,
        }
    }
}

pub(crate) struct Slot<W: World> {
    inner: Mutex<Option<Inner<W>>>,
    live: AtomicUsize,
    remaining: AtomicU32,
}

struct Inner<W: World> {
    store: Store<Guest>,
    world: W,
    _place: Place,
}

/// The instances of one generation.
pub(crate) struct SlotPool<W: World> {
    plugin: Arc<str>,
    sandbox: Sandbox,
    pre: W::Pre,
    options: Arc<str>,
    mask: Mask,
    limits: Limits,
    slots: RwLock<Vec<Arc<Slot<W>>>>,
    counters: Arc<Counters>,
    quarantine: Quarantine,
    alarm: Alarm,
    /// It is no longer in force: an instance ends with its last exchange.
    retired: AtomicBool,
    /// How often everything that it served was ended.
    cuts: AtomicU64,
}

impl<W: World> SlotPool<W> {
    pub(crate) fn new(
        plugin: Arc<str>,
        sandbox: Sandbox,
        pre: W::Pre,
        (options, mask): (Arc<str>, Mask),
        limits: Limits,
        counters: Arc<Counters>,
        alarm: Alarm,
    ) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            sandbox,
            pre,
            options,
            mask,
            quarantine: Quarantine::new(limits.quarantine),
            limits,
            slots: RwLock::new(Vec::new()),
            counters,
            alarm,
            retired: AtomicBool::new(false),
            cuts: AtomicU64::new(0),
        })
    }

    /// Gives no instance to a second exchange any more, and ends those that have none.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        let mut slots = self.slots.write();
        for slot in slots.iter() {
            slot.remaining.store(0, Ordering::SeqCst);
        }
        let over: Vec<_> = slots
            .extract_if(.., |slot| slot.live.load(Ordering::SeqCst) == 0)
            .collect();
        drop(slots);
        // What stores hold is given back without the lock.
        drop(over);
    }

    /// Is as it was before it was retired.
    pub(crate) fn revive(&self) {
        self.retired.store(false, Ordering::SeqCst);
    }

    /// Whether nothing is to begin here.
    pub(crate) fn is_out(&self) -> bool {
        self.retired.load(Ordering::Relaxed) || self.quarantine.is_on()
    }

    /// Ends every instance, whatever it serves.
    pub(crate) fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        let slots = std::mem::take(&mut *self.slots.write());
        for slot in slots {
            slot.remaining.store(0, Ordering::SeqCst);
            *slot.inner.lock() = None;
        }
    }

    pub(crate) fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    fn admits(&self) -> Result<(), GuestError> {
        match self.quarantine.admits() {
            true => Ok(()),
            false => Err(GuestError::Quarantined {
                plugin: self.plugin.clone(),
            }),
        }
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots.read().len()
    }

    pub(crate) fn idle(&self) -> usize {
        let slots = self.slots.read();
        let idle = slots.iter().map(|slot| slot.live.load(Ordering::Relaxed));
        idle.filter(|live| *live == 0).count()
    }

    /// A place for one exchange: in a slot that is free at this moment if there is one,
    /// else in a new one, else in the least used one.
    pub(crate) fn lease(self: &Arc<Self>) -> Result<Lease<W>, GuestError> {
        self.admits()?;
        if let Some(lease) = self.lease_among_slots(true) {
            return Ok(lease);
        }
        if self.slots.read().len() < self.limits.slots
            && let Some(lease) = self.lease_new_slot()?
        {
            return Ok(lease);
        }
        self.lease_among_slots(false)
            .ok_or_else(|| GuestError::Full {
                plugin: self.plugin.clone(),
            })
    }

    /// A place in an instance that nobody else shares, past `Limits::slots` if need be:
    /// for the one replay of an exchange that was lost with its slot.
    pub(crate) fn lease_alone(self: &Arc<Self>) -> Result<Lease<W>, GuestError> {
        self.admits()?;
        let slot = Arc::new(self.instantiate()?);
        slot.remaining.store(0, Ordering::Relaxed);
        slot.live.store(1, Ordering::Relaxed);
        Ok(self.leased(slot))
    }

    fn leased(self: &Arc<Self>, slot: Arc<Slot<W>>) -> Lease<W> {
        self.counters.exchanges.fetch_add(1, Ordering::Relaxed);
        Lease {
            slot,
            pool: self.clone(),
            cuts: self.cuts.load(Ordering::SeqCst),
        }
    }

    fn lease_among_slots(self: &Arc<Self>, idle_only: bool) -> Option<Lease<W>> {
        let slots = self.slots.read();
        let open = slots.iter().filter(|slot| {
            slot.remaining.load(Ordering::Relaxed) > 0
                && slot.live.load(Ordering::Relaxed) < self.limits.per_slot
                && (!idle_only || !slot.inner.is_locked())
        });
        let slot = if idle_only {
            open.into_iter().next()
        } else {
            open.min_by_key(|slot| slot.live.load(Ordering::Relaxed))
        }?;
        let taken = slot
            .live
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |live| {
                (live < self.limits.per_slot).then_some(live + 1)
            })
            .is_ok();
        if !taken {
            return None;
        }
        let _ = slot
            .remaining
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        Some(self.leased(slot.clone()))
    }

    fn lease_new_slot(self: &Arc<Self>) -> Result<Option<Lease<W>>, GuestError> {
        let slot = Arc::new(self.instantiate()?);
        let mut slots = self.slots.write();
        slots.retain(|slot| {
            slot.remaining.load(Ordering::Relaxed) > 0 || slot.live.load(Ordering::Relaxed) > 0
        });
        if slots.len() >= self.limits.slots {
            return Ok(None);
        }
        slot.live.store(1, Ordering::Relaxed);
        // While it was made, `retire` may have gone over the others.
        if self.retired.load(Ordering::SeqCst) {
            slot.remaining.store(0, Ordering::SeqCst);
        }
        slots.push(slot.clone());
        Ok(Some(self.leased(slot)))
    }

    fn instantiate(&self) -> Result<Slot<W>, GuestError> {
        let place = self.sandbox.place().ok_or_else(|| GuestError::Full {
            plugin: self.plugin.clone(),
        })?;
        let (store, world) = instantiate::<W>(
            &self.sandbox,
            &self.pre,
            &self.plugin,
            &self.options,
            &self.limits,
            (&self.counters, &self.mask),
        )
        .map_err(|error| self.trapped(&error, false))?;
        self.counters.instantiated.fetch_add(1, Ordering::Relaxed);
        Ok(Slot {
            inner: Mutex::new(Some(Inner {
                store,
                world,
                _place: place,
            })),
            live: AtomicUsize::new(0),
            remaining: AtomicU32::new(match self.retired.load(Ordering::SeqCst) {
                true => 0,
                false => random_lifetime(self.limits.lifetime),
            }),
        })
    }

    fn trapped(&self, error: &wasmtime::Error, burdened: bool) -> GuestError {
        self.failed(classify(error), reason(error), burdened)
    }

    /// What the inputs are to blame for is not counted against the plugin: whoever sends what it
    /// cannot bear would take it from everybody.
    fn failed(&self, kind: TrapKind, reason: String, burdened: bool) -> GuestError {
        // Before it is cut: nobody would find a piece of a secret.
        let mut reason = self.mask.text(reason);
        reason.truncate(reason.floor_char_boundary(REASON));
        self.counters.trapped(kind);
        tracing::warn!(plugin = &*self.plugin, kind = kind.label(), %reason, "a plugin failed");
        let time = match burdened {
            true => None,
            false => self.quarantine.trapped(),
        };
        if let Some(time) = time {
            tracing::error!(
                plugin = &*self.plugin,
                ?time,
                "a plugin keeps failing: quarantine"
            );
        }
        self.alarm.ring();
        GuestError::Trapped {
            plugin: self.plugin.clone(),
            reason,
            kind,
            burdened,
        }
    }
}

/// Makes a store, instantiates, and configures: every instance goes through here, the
/// one on trial included.
pub(crate) fn instantiate<W: World>(
    sandbox: &Sandbox,
    pre: &W::Pre,
    plugin: &Arc<str>,
    options: &str,
    limits: &Limits,
    noting: (&Arc<Counters>, &Mask),
) -> wasmtime::Result<(Store<Guest>, W)> {
    let (mut store, world) = instantiate_bare::<W>(sandbox, pre, plugin, limits, noting)?;
    let _running = prepare(&mut store, limits, true);
    world
        .configure(&mut store, options)?
        .map_err(|_| Misuse::TooMany("problems: options that were accepted are refused now"))?;
    store.data_mut().meter.ready();
    Ok((store, world))
}

/// Makes a store and instantiates, without options: for `describe`.
pub(crate) fn instantiate_bare<W: World>(
    sandbox: &Sandbox,
    pre: &W::Pre,
    plugin: &Arc<str>,
    limits: &Limits,
    (counters, mask): (&Arc<Counters>, &Mask),
) -> wasmtime::Result<(Store<Guest>, W)> {
    let guest = Guest::new(
        plugin.clone(),
        limits,
        sandbox.pacer(),
        counters.clone(),
        mask.clone(),
    );
    let mut store = Store::new(sandbox.engine(), guest);
    store.limiter(|guest| &mut guest.meter);
    store.epoch_deadline_callback(|mut context| {
        context.data_mut().budget.tick()?;
        Ok(UpdateDeadline::Continue(1))
    });
    let _running = prepare(&mut store, limits, true);
    let world = W::instantiate(pre, &mut store)?;
    Ok((store, world))
}

/// Readies a store for one call, which ends when what this gives back is dropped.
pub(crate) fn prepare(store: &mut Store<Guest>, limits: &Limits, large: bool) -> Running {
    store.data_mut().begin(limits, large);
    store.set_hostcall_fuel(limits.output);
    store.set_epoch_deadline(1);
    store.data().pacer.running()
}

pub(crate) fn classify(error: &wasmtime::Error) -> TrapKind {
    if error.is::<Spent>() {
        return TrapKind::Time;
    }
    if error.is::<Misuse>() {
        return TrapKind::Nonsense;
    }
    let said = format!("{error:#}");
    if said.contains("growing memory") || said.contains("growing table") {
        TrapKind::Memory
    } else if said.contains("fuel") {
        TrapKind::Output
    } else {
        TrapKind::Trap
    }
}

/// Bytes of a reason that are kept.
const REASON: usize = 300;

/// The innermost words of an error, which say what happened; the backtrace of frames
/// without names in between does not help an operator.
fn reason(error: &wasmtime::Error) -> String {
    format!("{:#}", error.root_cause())
}

/// Between half and one and a half of the mean.
fn random_lifetime(mean: u32) -> u32 {
    if mean <= 1 {
        return mean;
    }
    let mut bytes = [0; 4];
    let random = getrandom::fill(&mut bytes).map_or(0, |()| u32::from_le_bytes(bytes));
    (mean / 2).max(1) + random % mean
}

/// One exchange's place in a slot.
pub(crate) struct Lease<W: World> {
    slot: Arc<Slot<W>>,
    pool: Arc<SlotPool<W>>,
    /// How often everything had been ended when it began.
    cuts: u64,
}

/// For whom a call is made.
pub(crate) struct Scope<'a> {
    pub(crate) sources: &'a mut Sources,
    pub(crate) request: &'a Arc<str>,
    /// The inputs or what they name are large: a larger budget.
    pub(crate) large: bool,
}

impl<W: World> Lease<W> {
    /// Calls into the guest. An error ends the slot.
    pub(crate) fn call<T>(
        &self,
        scope: Scope<'_>,
        call: impl FnOnce(&W, &mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> Result<T, GuestError> {
        let mut inner = self.turn();
        if self.cuts != self.pool.cuts.load(Ordering::SeqCst) {
            self.end(&mut inner);
            return Err(GuestError::Overdue {
                plugin: self.pool.plugin.clone(),
            });
        }
        let Some(Inner { store, world, .. }) = inner.as_mut() else {
            return Err(GuestError::Lost {
                plugin: self.pool.plugin.clone(),
            });
        };
        let began = Instant::now();
        let running = prepare(store, &self.pool.limits, scope.large);
        let guest = store.data_mut();
        std::mem::swap(&mut guest.sources, scope.sources);
        guest.request = Some(scope.request.clone());
        guest.burdened |= scope.large;
        let result = call(world, store);
        std::mem::swap(&mut store.data_mut().sources, scope.sources);
        drop(running);
        self.pool.counters.called(began);
        self.retire_if_grown(store);
        let burdened = store.data().burdened;
        result.map_err(|error| {
            self.end(&mut inner);
            let burdened = match classify(&error) {
                // What earlier ones took is still taken.
                TrapKind::Memory => burdened,
                TrapKind::Time => scope.large,
                _ => false,
            };
            self.pool.trapped(&error, burdened)
        })
    }

    /// What the guest may not tell.
    pub(crate) fn mask(&self) -> &Mask {
        &self.pool.mask
    }

    /// Linear memory of its instance, in bytes; 0 when that has ended.
    pub(crate) fn memory(&self) -> u64 {
        let inner = self.slot.inner.lock();
        let memory = inner.as_ref().map(|it| it.store.data().meter.memory());
        memory.unwrap_or_default() as u64
    }

    /// The instance, once nobody else calls it.
    fn turn(&self) -> MutexGuard<'_, Option<Inner<W>>> {
        if let Some(inner) = self.slot.inner.try_lock() {
            return inner;
        }
        let since = Instant::now();
        let inner = self.slot.inner.lock();
        self.pool.counters.waited(since);
        inner
    }

    /// The guest put out so many bytes of its own.
    pub(crate) fn wrote(&self, bytes: u64) {
        let written = &self.pool.counters.written;
        written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The guest answered what the contract forbids: ends the slot.
    pub(crate) fn condemn(&self, reason: String) -> GuestError {
        self.end(&mut self.slot.inner.lock());
        self.pool.failed(TrapKind::Nonsense, reason, false)
    }

    /// An instance that has grown serves those that it has and nobody else: what a large request
    /// took would stay with it.
    fn retire_if_grown(&self, store: &Store<Guest>) {
        if store.data().meter.grown() > self.pool.limits.keep_memory
            && self.slot.remaining.swap(0, Ordering::Relaxed) > 0
        {
            self.pool.counters.retired.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(&self, inner: &mut Option<Inner<W>>) {
        // Stores are dropped whole: after a trap no resource in them can be dropped.
        *inner = None;
        self.slot.remaining.store(0, Ordering::Relaxed);
    }

    /// Drops what this lease's exchange has in the guest.
    pub(crate) fn drop_resource(&self, resource: wasmtime::component::ResourceAny) {
        let mut inner = self.slot.inner.lock();
        if let Some(Inner { store, .. }) = inner.as_mut() {
            let began = Instant::now();
            let running = prepare(store, &self.pool.limits, false);
            let dropped = resource.resource_drop(&mut *store);
            drop(running);
            self.pool.counters.called(began);
            if let Err(error) = dropped {
                self.end(&mut inner);
                let _ = self.pool.trapped(&error, false);
            }
        }
    }
}

impl<W: World> Drop for Lease<W> {
    fn drop(&mut self) {
        self.pool.counters.exchanges.fetch_sub(1, Ordering::Relaxed);
        // In one order with `retire`, which takes what this does not.
        let was = self.slot.live.fetch_sub(1, Ordering::SeqCst);
        if was == 1 && self.slot.remaining.load(Ordering::SeqCst) == 0 {
            self.pool
                .slots
                .write()
                .retain(|slot| !Arc::ptr_eq(slot, &self.slot));
        }
    }
}
