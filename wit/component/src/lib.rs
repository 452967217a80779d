//! What becomes of a plugin between its compiler and the proxy: a core module is made a component,
//! and the component is held against its world of the contract.
//!
//! Those who build this repository and those who build plugins elsewhere go through here.
#![forbid(unsafe_code)]

mod anatomy;
mod bindings;
mod contract;

pub use anatomy::{Anatomy, Memory};
pub use bindings::c_bindings;
pub use contract::{Contract, Misfit, WORLDS};

use wit_component::ComponentEncoder;

/// The files of the contract, by name: what tools of other languages begin with.
#[must_use]
pub fn wit() -> &'static [(&'static str, &'static str)] {
    tollgate_contract::WIT
}

/// A module that could not be made a component, or a component that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Unreadable {
    fn from(error: impl std::fmt::Debug) -> Self {
        // The whole chain of causes in one line, as the tools below write it.
        Self(format!("{error:?}").trim().to_owned())
    }
}

/// Makes a core module, as a compiler links it, a component. The result is validated. A component
/// is given back as it is.
///
/// # Errors
/// When the module carries no world, or does not fit the one that it carries.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, Unreadable> {
    if wasmparser::Parser::is_component(module) {
        return Ok(module.to_vec());
    }
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| Unreadable(format!("{error:#}")))
}
