//! One configured wasmtime engine for every plugin, and the clock that interrupts it.
//!
//! The engine runs synchronous components only: component-model async is off, which
//! makes each call two to five times cheaper. Memory comes from wasmtime's pooling
//! allocator where the address space allows it, else on demand.
//!
//! While a guest is being called, a thread advances the engine's epoch
//! ([`crate::clock`]).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::clock::{Clock, Pacer};

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Core instances of one component at most. A plugin that a compiler linked has a few; one that
/// brings an interpreter, and libraries linked to it at its start, has some forty.
pub(crate) const CORE_INSTANCES: u32 = 64;

/// Bounds that hold for all plugins of a process together.
#[derive(Clone, Copy, Debug)]
pub struct HostLimits {
    /// Instances alive at once, over all plugins and generations.
    pub instances: u32,
    /// Largest linear memory of any plugin, in bytes.
    pub memory: usize,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            instances: 512,
            memory: 256 << 20,
        }
    }
}

/// The engine could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the WebAssembly engine: {0}")]
pub struct EngineError(String);

/// The engine, with what identifies code compiled by it.
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
    fingerprint: Arc<str>,
    instances: Arc<AtomicU64>,
    limits: HostLimits,
    pooled: bool,
    clock: Arc<Clock>,
}

impl Sandbox {
    /// Starts the engine and its clock. The clock stops with the last clone.
    ///
    /// # Errors
    /// When neither allocator works here, or the thread cannot be started.
    pub fn new(limits: HostLimits) -> Result<Self, EngineError> {
        let pooled = Engine::new(&config(limits, true));
        let (engine, pooled) = match pooled {
            Ok(engine) => (engine, true),
            Err(refusal) => {
                tracing::info!(%refusal, "no room for pooled memories; allocating on demand");
                let engine = Engine::new(&config(limits, false))
                    .map_err(|error| EngineError(format!("{error:#}")))?;
                (engine, false)
            }
        };
        let allocator = if pooled { "pooling" } else { "on-demand" };
        let instances = Arc::new(AtomicU64::new(0));
        let clock = Clock::start(&engine).map_err(|error| EngineError(error.to_string()))?;
        let compatibility = {
            use std::hash::{Hash, Hasher};
            let mut hasher = std::hash::DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        Ok(Self {
            engine,
            fingerprint: format!("{allocator}-{compatibility:016x}").into(),
            instances,
            limits,
            pooled,
            clock: Arc::new(clock),
        })
    }

    /// Compiles a component for this engine, by an engine of its own: a compiler keeps what it
    /// worked with, tens of megabytes, for as long as its engine lives.
    ///
    /// # Errors
    /// When it is no component that this engine's settings allow.
    pub(crate) fn compile(&self, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
        Engine::new(&config(self.limits, self.pooled))?.precompile_component(wasm)
    }

    /// What a store's calls keep the clock going with.
    pub(crate) fn pacer(&self) -> Pacer {
        self.clock.pacer()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Names wasmtime's version, its configuration and this processor: code compiled
    /// under another fingerprint must not be loaded.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Bytes of linear memory that an instance may be given at most, whatever its own limit is.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.limits.memory
    }

    /// Instances alive now.
    #[must_use]
    pub fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
    }

    /// Takes a place for an instance, if there is one.
    pub(crate) fn place(&self) -> Option<Place> {
        let bound = u64::from(self.limits.instances);
        self.instances
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| {
                (live < bound).then_some(live + 1)
            })
            .ok()
            .map(|_| Place(self.instances.clone()))
    }
}

/// One instance's place among [`HostLimits::instances`].
pub(crate) struct Place(Arc<AtomicU64>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn config(limits: HostLimits, pooling: bool) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .max_wasm_stack(512 << 10);
    #[cfg(feature = "perfmap")]
    config.profiler(wasmtime::ProfilingStrategy::PerfMap);
    if pooling {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(limits.instances)
            .total_core_instances(limits.instances * CORE_INSTANCES)
            .total_memories(limits.instances)
            .total_tables(limits.instances * 2)
            .max_memory_size(limits.memory)
            .max_core_instances_per_component(CORE_INSTANCES)
            .max_memories_per_component(2)
            .max_tables_per_component(4)
            .table_elements(16_384)
            .max_unused_warm_slots(16);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}
