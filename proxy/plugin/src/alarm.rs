//! Rings when a plugin has failed, so that whoever looks after the generations looks at once.

use std::sync::{Arc, OnceLock};

/// Rings for all plugins of a loader. Silent until somebody listens.
#[derive(Clone, Default)]
pub(crate) struct Alarm(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

impl Alarm {
    /// Has it call that; who comes first stays.
    pub(crate) fn connect(&self, ring: Box<dyn Fn() + Send + Sync>) {
        let _ = self.0.set(ring);
    }

    pub(crate) fn ring(&self) {
        if let Some(ring) = self.0.get() {
            ring();
        }
    }
}
