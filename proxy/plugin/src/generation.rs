//! A plugin with its options and limits, as one thing that is swapped as one thing.
//!
//! An exchange keeps the generation that it began with: the handle that it holds keeps
//! the instances alive. Replacing a generation in the [`Shelf`] stalls nobody.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use arc_swap::ArcSwap;

use crate::{
    bindings::{compose, protocol, scheduler, worker},
    manifest::{Claim, Manifest},
    quarantine::Quarantine,
    slot::{Counters, SlotPool},
    tap::Watch,
};

/// One loaded and configured plugin.
pub struct Generation {
    pub(crate) name: Arc<str>,
    pub(crate) number: u64,
    pub(crate) digest: String,
    /// SHA-256 of its options.
    pub(crate) configured: [u8; 32],
    pub(crate) manifest: Manifest,
    pub(crate) claims: Vec<Claim>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) kind: Kind,
    pub(crate) options: Arc<str>,
    pub(crate) watch: Watch,
}

/// The instances, by world.
pub(crate) enum Kind {
    Protocol(Arc<SlotPool<protocol::Protocol>>),
    Compose(Arc<SlotPool<compose::Compose>>),
    Scheduler(Arc<SlotPool<scheduler::Scheduler>>),
    Worker(Arc<SlotPool<worker::Worker>>),
    None,
}

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

    /// Whether another generation is of the same component with the same options.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest && self.configured == other.configured
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

    /// Instances alive.
    #[must_use]
    pub fn slots(&self) -> usize {
        match &self.kind {
            Kind::Protocol(pool) => pool.slots(),
            Kind::Compose(pool) => pool.slots(),
            Kind::Scheduler(pool) => pool.slots(),
            Kind::Worker(pool) => pool.slots(),
            Kind::None => 0,
        }
    }

    /// Whether it is kept out of service.
    #[must_use]
    pub fn quarantine(&self) -> Option<&Quarantine> {
        match &self.kind {
            Kind::Protocol(pool) => Some(pool.quarantine()),
            Kind::Compose(pool) => Some(pool.quarantine()),
            Kind::Scheduler(pool) => Some(pool.quarantine()),
            Kind::Worker(pool) => Some(pool.quarantine()),
            Kind::None => None,
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

/// A plugin is not there, or is of another world.
#[derive(Debug, thiserror::Error)]
#[error("there is no {world} plugin named {name}")]
pub struct NoSuchPlugin {
    name: String,
    world: &'static str,
}

/// The generations in force, by name. Bounded by the configuration's plugins.
#[derive(Debug, Default)]
pub struct Shelf {
    plugins: ArcSwap<HashMap<Arc<str>, Arc<Generation>>>,
}

impl Shelf {
    /// Puts a generation in force; gives back the one that it replaces.
    pub fn put(&self, generation: Arc<Generation>) -> Option<Arc<Generation>> {
        let before = self.plugins.rcu(|plugins| {
            let mut plugins = HashMap::clone(plugins);
            plugins.insert(generation.name.clone(), generation.clone());
            plugins
        });
        before.get(&generation.name).cloned()
    }

    /// The generation in force.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Generation>> {
        self.plugins.load().get(name).cloned()
    }

    /// The generation in force, if it is of that world.
    ///
    /// # Errors
    /// When it is not there or of another world.
    pub fn get_world(
        &self,
        name: &str,
        world: &'static str,
    ) -> Result<Arc<Generation>, NoSuchPlugin> {
        self.get(name)
            .filter(|generation| generation.world() == world)
            .ok_or_else(|| NoSuchPlugin {
                name: name.to_owned(),
                world,
            })
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Generation>> {
        let mut all: Vec<_> = self.plugins.load().values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

impl Generation {
    /// A generation of no plugin at all: it claims nothing and serves nothing. For
    /// tests of what only needs a name.
    #[must_use]
    pub fn empty(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            number: 0,
            digest: String::new(),
            configured: [0; 32],
            manifest: Manifest::default(),
            claims: Vec::new(),
            counters: Arc::new(Counters::default()),
            kind: Kind::None,
            options: Arc::from(""),
            watch: Watch::default(),
        })
    }
}
