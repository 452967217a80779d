//! The bounds of a store's memory and tables, and how much memory it has taken and how many bytes
//! it has read.

use std::sync::{Arc, atomic::Ordering};

use wasmtime::{ResourceLimiter, StoreLimits};

use crate::counters::Counters;

/// Bounds what a store takes, and counts its linear memory among its generation's.
pub(crate) struct Meter {
    limits: StoreLimits,
    counters: Arc<Counters>,
    memory: usize,
    /// What it had taken when it was ready to serve.
    base: usize,
}

impl Meter {
    pub(crate) fn new(limits: StoreLimits, counters: Arc<Counters>) -> Self {
        Self {
            limits,
            counters,
            memory: 0,
            base: 0,
        }
    }

    /// It is ready to serve: what it takes from now on is for requests.
    pub(crate) fn ready(&mut self) {
        self.base = self.memory;
    }

    /// Bytes of a source were copied to it.
    pub(crate) fn read(&self, bytes: usize) {
        self.counters
            .read
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of linear memory that it has.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Bytes of linear memory that it has taken for requests. Memory never shrinks.
    pub(crate) fn grown(&self) -> usize {
        self.memory - self.base
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let memory = &self.counters.memory;
        memory.fetch_sub(self.memory as u64, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let may = self.limits.memory_growing(current, desired, maximum)?;
        if may {
            let more = desired.saturating_sub(current);
            self.memory += more;
            let memory = &self.counters.memory;
            memory.fetch_add(more as u64, Ordering::Relaxed);
            let peak = &self.counters.memory_peak;
            peak.fetch_max(self.memory as u64, Ordering::Relaxed);
        }
        Ok(may)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.limits.memory_grow_failed(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.limits.table_growing(current, desired, maximum)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.limits.table_grow_failed(error)
    }

    fn instances(&self) -> usize {
        self.limits.instances()
    }

    fn tables(&self) -> usize {
        self.limits.tables()
    }

    fn memories(&self) -> usize {
        self.limits.memories()
    }
}
