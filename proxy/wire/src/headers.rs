//! What may not be passed on.
