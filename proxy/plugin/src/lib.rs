//! Hosts the plugins: the only part of Tollgate that touches wasmtime.
//!
//! The way of a component: [`Loader::load`] compiles it (or takes compiled code from
//! the [`Cache`]), checks its imports and its world, tries one instance, and asks who
//! it is. What comes out is a [`Generation`]; the [`Shelf`] holds those in force,
//! and those on trial, kept and leaving (`life.rs`).
//! Requests reach it through handles ([`Exchange`], [`Attempt`], [`Composition`],
//! [`Session`]), each one resource in one slot (`slot.rs`), each call under the budget
//! of `budget.rs` and the bounds of [`Limits`].
//!
//! Types of the contract are plain data and re-exported here by interface.
#![deny(unsafe_code)]

mod alarm;
mod aside;
mod bindings;
mod budget;
mod clock;
mod counters;
mod engine;
mod foreign;
mod generation;
mod guests;
mod host;
mod life;
mod limits;
mod loader;
pub mod manifest;
mod mask;
mod policy;
mod precompiled;
mod quarantine;
mod rehearsal;
mod shape;
mod shelf;
mod slot;
mod sources;
pub mod tap;
mod world;
mod written;

pub use aside::aside;
pub use bindings::{
    compose::exports::tollgate::plugin::composition,
    protocol::{
        exports::tollgate::plugin::{backend, frontend},
        tollgate::plugin::{inference, types},
    },
    worker::exports::tollgate::plugin::serving,
};
pub use budget::{Spent, TimeLimits, thread_cpu_time};
pub use counters::{Counters, Took, TrapKind};
pub use engine::{EngineError, HostLimits, Sandbox};
pub use generation::Generation;
pub use guests::{ALONE, Attempt, Composition, Exchange, LARGE, Session};
pub use life::{CanarySpec, CanarySpecError, Change, Choice, LifeError, LifeSpec, Reason, Signs};
pub use limits::Limits;
pub use loader::{LoadError, Loader, Order};
pub use mask::{Hide, Mask};
pub use policy::GuestPolicy;
pub use precompiled::{Cache, CacheError};
pub use quarantine::{Quarantine, QuarantineSpec};
pub use shelf::{Barred, GenerationChange, NoSuchPlugin, Report, Shelf, ShelfError, Standing};
pub use slot::GuestError;
/// Version of the contract that this host links.
pub const CONTRACT: &str = tollgate_contract::VERSION;

pub use sources::{CONVERTED, Misuse, Sources, encoding};
