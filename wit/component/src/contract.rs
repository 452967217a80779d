//! The contract as a component is held against it: what its world grants, and what it owes.

use std::collections::BTreeSet;

use wit_component::DecodedWasm;
use wit_parser::{Resolve, SourceMap, WorldId, WorldItem};

use crate::Unreadable;

/// Names of the worlds.
pub const WORLDS: [&str; 4] = ["protocol", "compose", "scheduler", "worker"];

/// A component does not fit its world.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// It could not be read at all.
    #[error("cannot read the component: {0}")]
    Unreadable(#[from] Unreadable),
    /// The contract has no such world.
    #[error("the contract has no world `{0}`")]
    NoSuchWorld(String),
    /// Every import too many and every export too few.
    #[error("{}", .0.join("; "))]
    Names(Vec<String>),
}

/// The WIT package, read.
pub struct Contract {
    resolve: Resolve,
    worlds: Vec<(String, WorldId)>,
}

impl Contract {
    /// The contract that this program was built with.
    ///
    /// # Errors
    /// When its text cannot be parsed, which a test of this crate keeps from happening.
    pub fn load() -> Result<Self, Unreadable> {
        let mut sources = SourceMap::new();
        for (name, text) in tollgate_contract::WIT {
            sources.push(name.as_ref(), *text);
        }
        let group = sources
            .parse()
            .map_err(|(_, error)| Unreadable::from(error))?;
        let mut resolve = Resolve::default();
        let package = resolve.push_group(group).map_err(Unreadable::from)?;
        let worlds = resolve.packages[package]
            .worlds
            .iter()
            .map(|(name, id)| (name.clone(), *id))
            .collect();
        Ok(Self { resolve, worlds })
    }

    /// Checks that a component imports nothing outside its world, and exports all of it.
    ///
    /// # Errors
    /// Names every import too many and every export too few.
    pub fn check(&self, component: &[u8], world: &str) -> Result<(), Misfit> {
        let (_, id) = self
            .worlds
            .iter()
            .find(|(name, _)| name == world)
            .ok_or_else(|| Misfit::NoSuchWorld(world.to_owned()))?;
        let granted = names(&self.resolve, &self.resolve.worlds[*id].imports);
        let owed = names(&self.resolve, &self.resolve.worlds[*id].exports);
        let (imports, exports) = surface(component)?;

        let mut problems: Vec<String> = imports
            .difference(&granted)
            .map(|name| format!("imports {name}, which the world `{world}` does not grant"))
            .collect();
        problems.extend(
            owed.difference(&exports)
                .map(|name| format!("does not export {name}, which the world `{world}` asks for")),
        );
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Misfit::Names(problems))
        }
    }

    /// The world whose exports a component has, all of them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn world(&self, component: &[u8]) -> Result<Option<&str>, Misfit> {
        let (_, exports) = surface(component)?;
        Ok(self
            .worlds
            .iter()
            .find(|(_, id)| {
                names(&self.resolve, &self.resolve.worlds[*id].exports).is_subset(&exports)
            })
            .map(|(name, _)| name.as_str()))
    }
}

/// Names of what a component imports and exports.
pub(crate) fn surface(
    component: &[u8],
) -> Result<(BTreeSet<String>, BTreeSet<String>), Unreadable> {
    // A bare module would be read for what it carries of a world.
    if !wasmparser::Parser::is_component(component) {
        return Err(Unreadable("it is no component".into()));
    }
    match wit_component::decode(component) {
        Ok(DecodedWasm::Component(resolve, found)) => Ok((
            names(&resolve, &resolve.worlds[found].imports),
            names(&resolve, &resolve.worlds[found].exports),
        )),
        Ok(DecodedWasm::WitPackage(..)) => {
            Err(Unreadable("this is a WIT package and no component".into()))
        }
        Err(error) => Err(Unreadable(format!("{error:#}"))),
    }
}

fn names<'a>(
    resolve: &Resolve,
    items: impl IntoIterator<Item = (&'a wit_parser::WorldKey, &'a WorldItem)>,
) -> BTreeSet<String> {
    items
        .into_iter()
        .map(|(key, _)| resolve.name_world_key(key))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_read_from_what_the_program_carries() {
        let contract = Contract::load().unwrap();
        let mut worlds: Vec<_> = contract.worlds.iter().map(|it| it.0.as_str()).collect();
        worlds.sort_unstable();
        let mut known = WORLDS;
        known.sort_unstable();
        assert_eq!(worlds, known);
    }

    #[test]
    fn what_is_no_component_is_refused() {
        let contract = Contract::load().unwrap();
        assert!(matches!(
            contract.check(b"\0asm\x01\0\0\0", "protocol"),
            Err(Misfit::Unreadable(_))
        ));
        assert!(matches!(
            contract.check(b"", "cooking"),
            Err(Misfit::NoSuchWorld(_))
        ));
    }
}
