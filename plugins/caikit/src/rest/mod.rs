//! The runtime's REST surface: bodies of requests and of results, read and written.

pub mod parameters;
pub mod request;
pub mod result;
