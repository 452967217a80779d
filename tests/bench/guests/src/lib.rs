//! Plugin cores at the same work twice: in the sandbox, by the public interface that the proxy uses,
//! and linked natively. What stands between the two figures is what the sandbox costs.
//!
//! Only calls into plugins are in them: bytes lie where the proxy holds them (`tollgate-wire`),
//! host functions are the proxy's own on both sides, and nothing is sent or rendered. The steps of
//! an exchange are written once ([`drive`](native::drive)) and compiled for either side's types.
#![forbid(unsafe_code)]
#![allow(
    clippy::duplicate_mod,
    reason = "the steps are the same for types that are not"
)]

pub mod cases;
pub mod hosted;
pub mod languages;
pub mod native;
pub mod rounds;
pub mod scheduler;
pub mod script;
