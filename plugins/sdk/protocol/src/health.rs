//! How a worker is, as [`Protocol::judge`](crate::Protocol::judge) says it.

use crate::{backend::Health, inference::ModelInfo};

/// A worker that is ready, with these models; of its load nothing is known.
#[must_use]
pub fn ready(models: Vec<ModelInfo>) -> Health {
    Health {
        ready: true,
        reason: None,
        queued: None,
        running: None,
        kv_cache_use: None,
        models,
        extensions: Vec::new(),
    }
}

/// A worker that cannot be used, and why.
#[must_use]
pub fn unwell(reason: impl Into<String>) -> Health {
    Health {
        ready: false,
        reason: Some(reason.into()),
        ..ready(Vec::new())
    }
}
