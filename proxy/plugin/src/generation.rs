//! A plugin with its options and limits, as one thing that is swapped as one thing.
//!
//! An exchange keeps the generation that it began with: the handle that it holds keeps
//! the instances alive. Replacing a generation on the [`Shelf`](crate::Shelf) stalls nobody.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    bindings::{compose, protocol, scheduler, worker},
    counters::Counters,
    life::Signs,
    manifest::{Claim, Manifest},
    mask::Mask,
    quarantine::Quarantine,
    slot::SlotPool,
    tap::Watch,
};

/// One loaded and configured plugin.
pub struct Generation {
    pub(crate) name: Arc<str>,
    pub(crate) number: u64,
    pub(crate) digest: String,
    /// SHA-256 of its options.
    pub(crate) configured: [u8; 32],
    pub(crate) bypass: bool,
    pub(crate) manifest: Manifest,
    pub(crate) claims: Vec<Claim>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) kind: Kind,
    pub(crate) options: Arc<str>,
    pub(crate) watch: Watch,
    pub(crate) mask: Mask,
}

/// The instances, by world.
pub(crate) enum Kind {
    Protocol(Arc<SlotPool<protocol::Protocol>>),
    Compose(Arc<SlotPool<compose::Compose>>),
    Scheduler(Arc<SlotPool<scheduler::Scheduler>>),
    Worker(Arc<SlotPool<worker::Worker>>),
    None,
}

/// Does the same to the instances of any world.
macro_rules! each {
    ($kind:expr, $pool:ident => $do:expr, $none:expr) => {
        match $kind {
            Kind::Protocol($pool) => $do,
            Kind::Compose($pool) => $do,
            Kind::Scheduler($pool) => $do,
            Kind::Worker($pool) => $do,
            Kind::None => $none,
        }
    };
}

/// One generation is itself and no other: its number is no other's.
impl PartialEq for Generation {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Generation {}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("name", &self.name)
            .field("number", &self.number)
            .field("world", &self.world())
            .finish_non_exhaustive()
    }
}

impl Generation {
    /// Name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Unlike every other generation's of this process.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// SHA-256 of the component, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The options that it was configured with, as JSON.
    #[must_use]
    pub fn options(&self) -> &str {
        &self.options
    }

    /// What it may not tell anybody.
    #[must_use]
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// Whether another generation is of the same component with the same options.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest && self.configured == other.configured
    }

    /// Whether a response that passes through while it looks on goes on without it when it fails.
    #[must_use]
    pub fn is_bypassed(&self) -> bool {
        self.bypass
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it claims, given its options. Positions are claim numbers.
    #[must_use]
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// Its counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Instances alive that are given exchanges.
    #[must_use]
    pub fn slots(&self) -> usize {
        each!(&self.kind, pool => pool.slots(), 0)
    }

    /// Of these, those that have no exchange now.
    #[must_use]
    pub fn idle(&self) -> usize {
        each!(&self.kind, pool => pool.idle(), 0)
    }

    /// Whether it is kept out of service.
    #[must_use]
    pub fn quarantine(&self) -> Option<&Quarantine> {
        each!(&self.kind, pool => Some(pool.quarantine()), None)
    }

    /// Whether nothing is to begin with it: it is kept out of service, or has lost its place. A look
    /// at two numbers.
    #[must_use]
    pub fn is_out(&self) -> bool {
        each!(&self.kind, pool => pool.is_out(), false)
    }

    /// It is no longer in force: instances are kept for what they serve, and then no more.
    pub(crate) fn retire(&self) {
        each!(&self.kind, pool => pool.retire(), ());
    }

    /// It is in force, maybe again.
    pub(crate) fn revive(&self) {
        each!(&self.kind, pool => pool.revive(), ());
    }

    /// Ends its instances, and what they serve: the next call of each exchange is told that its
    /// instance is lost.
    pub(crate) fn cut(&self) {
        each!(&self.kind, pool => pool.cut(), ());
    }

    /// An exchange, attempt, composition or session that began with it is over.
    pub fn ended(&self, failed: bool) {
        self.counters.ended(failed);
    }

    /// A response goes on without it.
    pub fn bypassed(&self) {
        self.counters.bypassed.fetch_add(1, Ordering::Relaxed);
    }

    /// Something outside of its instances had to take its place: the built-in rules a scheduler's.
    pub fn replaced(&self) {
        self.counters.replaced.fetch_add(1, Ordering::Relaxed);
    }

    /// How it fares.
    #[must_use]
    pub fn signs(&self) -> Signs {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let entered = self.quarantine().map_or(0, Quarantine::entered);
        Signs {
            served: count(&self.counters.served),
            failed: count(&self.counters.failed),
            traps: self.counters.traps(),
            quarantines: entered + count(&self.counters.replaced),
            exchanges: self.exchanges(),
        }
    }

    /// Exchanges, attempts and sessions that live in it.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.counters.exchanges.load(Ordering::Relaxed)
    }

    /// Name of its world.
    #[must_use]
    pub fn world(&self) -> &'static str {
        match self.kind {
            Kind::Protocol(_) => "protocol",
            Kind::Compose(_) => "compose",
            Kind::Scheduler(_) => "scheduler",
            Kind::Worker(_) => "worker",
            Kind::None => "none",
        }
    }
}

impl Generation {
    /// A generation of no plugin at all: it claims nothing and serves nothing. For
    /// tests of what only needs a name.
    #[must_use]
    pub fn empty(name: &str) -> Arc<Self> {
        Self::empty_of(name, "")
    }

    pub(crate) fn empty_of(name: &str, digest: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            number: 0,
            digest: digest.to_owned(),
            configured: [0; 32],
            bypass: false,
            manifest: Manifest::default(),
            claims: Vec::new(),
            counters: Arc::new(Counters::default()),
            kind: Kind::None,
            options: Arc::from(""),
            watch: Watch::default(),
            mask: Mask::default(),
        })
    }
}
