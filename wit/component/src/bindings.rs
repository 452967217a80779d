//! Bindings of the contract for C: a header, its implementation, and an object file that carries
//! the world, so that what is linked with it can be made a component.

use wit_bindgen_core::{
    Files,
    wit_parser::{Resolve, SourceMap},
};

use crate::Unreadable;

/// The files of a world's bindings for C, by name: `WORLD.h`, `WORLD.c` and
/// `WORLD_component_type.o`.
///
/// # Errors
/// When there is no such world.
pub fn c_bindings(world: &str) -> Result<Vec<(String, Vec<u8>)>, Unreadable> {
    let mut sources = SourceMap::new();
    for (name, text) in tollgate_contract::WIT {
        sources.push(name.as_ref(), *text);
    }
    let group = sources
        .parse()
        .map_err(|(_, error)| Unreadable::from(error))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).map_err(Unreadable::from)?;
    let id = resolve
        .select_world(&[package], Some(world))
        .map_err(|error| Unreadable(format!("{error:#}")))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, id, &mut files)
        .map_err(|error| Unreadable(format!("{error:#}")))?;
    Ok(files
        .iter()
        .map(|(name, content)| (name.to_owned(), content.to_vec()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WORLDS;

    #[test]
    fn every_world_has_bindings() {
        for world in WORLDS {
            let files = c_bindings(world).unwrap();
            let mut names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            let wanted = [".c", ".h", "_component_type.o"].map(|end| format!("{world}{end}"));
            assert_eq!(names, wanted);
        }
        assert!(c_bindings("cooking").is_err());
    }
}
