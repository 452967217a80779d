//! What one plugin may use.

use crate::{budget::TimeLimits, quarantine::QuarantineSpec};

/// Bounds of one plugin's instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes.
    pub memory: usize,
    /// Bytes of linear memory by which an instance may have grown and still be given new
    /// exchanges: memory does not shrink but with its instance.
    pub keep_memory: usize,
    /// Bytes that one call may hand to the host, results included.
    pub output: usize,
    /// Time of one call.
    pub time: TimeLimits,
    /// Exchanges, attempts or sessions in one instance at once: what a trap costs.
    pub per_slot: usize,
    /// Instances at once.
    pub slots: usize,
    /// Exchanges after which an instance is no longer used, on average.
    pub lifetime: u32,
    /// When a generation that keeps failing is kept out of service.
    pub quarantine: QuarantineSpec,
    /// A response that passes through while the plugin looks on goes on without it when it fails.
    pub bypass: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            keep_memory: 4 << 20,
            output: 16 << 20,
            time: TimeLimits::default(),
            per_slot: 64,
            slots: 32,
            lifetime: 16_384,
            quarantine: QuarantineSpec::default(),
            bypass: false,
        }
    }
}

impl Limits {
    /// A fresh instance for each exchange, for plugins one does not trust.
    #[must_use]
    pub fn isolated(mut self) -> Self {
        self.slots = self.slots.saturating_mul(self.per_slot).min(1024);
        self.per_slot = 1;
        self.lifetime = 1;
        self
    }
}
