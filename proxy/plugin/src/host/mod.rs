//! What guests may call: one file an imported interface, and the state behind them.

mod body;
mod log;
mod meter;
mod types;

use std::sync::Arc;

pub(crate) use meter::Meter;
use wasmtime::StoreLimitsBuilder;

use crate::{
    budget::Budget, clock::Pacer, counters::Counters, engine::CORE_INSTANCES, limits::Limits,
    mask::Mask, sources::Sources,
};

/// The state of one instance's store.
pub(crate) struct Guest {
    pub(crate) plugin: Arc<str>,
    pub(crate) budget: Budget,
    pub(crate) meter: Meter,
    /// Bytes of the exchange or attempt that is being stepped; empty between calls.
    pub(crate) sources: Sources,
    /// Request id of the same.
    pub(crate) request: Option<Arc<str>>,
    /// It has been given large inputs: its memory is theirs as well.
    pub(crate) burdened: bool,
    /// Lines that may still be logged by the call that runs.
    log_allowance: u32,
    /// What its lines may not tell.
    mask: Mask,
    pub(crate) pacer: Pacer,
}

/// Log lines of one call; more are dropped.
const LOG_LINES: u32 = 8;

impl Guest {
    pub(crate) fn new(
        plugin: Arc<str>,
        limits: &Limits,
        pacer: Pacer,
        counters: Arc<Counters>,
        mask: Mask,
    ) -> Self {
        let bounds = StoreLimitsBuilder::new()
            .memory_size(limits.memory)
            .table_elements(16_384)
            .instances(CORE_INSTANCES as usize)
            .memories(2)
            .tables(8)
            .trap_on_grow_failure(true)
            .build();
        Self {
            plugin,
            budget: Budget::new(),
            meter: Meter::new(bounds, counters),
            sources: Sources::default(),
            request: None,
            burdened: false,
            log_allowance: LOG_LINES,
            mask,
            pacer,
        }
    }

    pub(crate) fn begin(&mut self, limits: &Limits, large: bool) {
        self.budget.begin(&limits.time, large);
        self.log_allowance = LOG_LINES;
    }
}
