//! What native tests of compositions need.

use crate::types::Context;

/// A context as a request might have.
#[must_use]
pub fn context() -> Context {
    Context {
        request_id: "request-1".to_owned(),
        unix_time: 1_700_000_000,
        seed: 7,
        route: "route".to_owned(),
        default_model: None,
        deadline_ms: None,
        extensions: Vec::new(),
    }
}
