//! What both sides of the contract agree on beyond the types: the version, and what
//! each failure looks like over HTTP, over gRPC and in a metric.
#![forbid(unsafe_code)]

pub mod failure;

/// Version of the WIT package in this folder.
pub const VERSION: &str = "0.1.0";
