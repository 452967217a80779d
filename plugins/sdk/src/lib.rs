//! What every Tollgate plugin shares: the bindings of the contract, a trait for each
//! side of each world, and the macro that makes a component of them.
//!
//! A plugin's core is plain Rust against these traits, tested natively; the component
//! is the thin shell that [`export_protocol!`] and its siblings write.

#[cfg(feature = "compose")]
pub mod compose;
#[cfg(feature = "protocol")]
pub mod protocol;
#[cfg(feature = "scheduler")]
pub mod scheduler;
#[cfg(feature = "worker")]
pub mod worker;

pub use tollgate_contract as contract;
