//! Guests: the packages that become components, and what a component may ask of its host.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::{Resolve, WorldId, WorldItem};

use crate::workspace::Workspace;

/// A package that is built as a component.
pub(crate) struct Guest {
    /// The package's name, as cargo knows it.
    pub(crate) package: String,
    /// Its short name: `openai`, `parcel`.
    pub(crate) name: String,
    /// The world of `wit/` that it implements.
    pub(crate) world: String,
    /// Name of the cargo target that becomes the module.
    pub(crate) library: String,
    /// Test fixtures are kept apart from what ships in the binary.
    pub(crate) fixture: bool,
}

impl Guest {
    /// Path of the component below the folder of components.
    pub(crate) fn file(&self) -> String {
        if self.fixture {
            format!("fixtures/{}.wasm", self.name)
        } else {
            format!("{}.wasm", self.name)
        }
    }
}

/// Every package with `[package.metadata.tollgate] world = …`, in order of name.
///
/// # Errors
/// When one lies outside `plugins/` and `tests/fixtures/`, or is no `cdylib`.
pub(crate) fn all(workspace: &Workspace) -> Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for package in &workspace.packages {
        let Some(world) = &package.world else {
            continue;
        };
        let fixture = package.folder.starts_with("tests/fixtures/");
        if !fixture && !package.folder.starts_with("plugins/") {
            bail!(
                "{} names a world, but guests live in plugins/ or tests/fixtures/, not in {}/",
                package.name,
                package.folder
            );
        }
        let prefix = if fixture {
            "tollgate-fixture-"
        } else {
            "tollgate-plugin-"
        };
        guests.push(Guest {
            name: package
                .name
                .strip_prefix(prefix)
                .unwrap_or(&package.name)
                .to_owned(),
            package: package.name.clone(),
            world: world.clone(),
            library: package.library.clone().with_context(|| {
                format!(
                    "{}: a guest needs `crate-type = [\"cdylib\", …]`",
                    package.name
                )
            })?,
            fixture,
        });
    }
    guests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(guests)
}

/// Makes a core module, as rustc links it, a component. The result is validated.
///
/// # Errors
/// When the module carries no world, or does not fit the one that it carries.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)?
        .encode()
}

/// The contract: the WIT package in `wit/`.
pub(crate) struct Contract {
    resolve: Resolve,
    worlds: Vec<(String, WorldId)>,
}

impl Contract {
    /// # Errors
    /// When the WIT package cannot be parsed.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let mut resolve = Resolve::default();
        let (package, _) = resolve
            .push_dir(folder)
            .with_context(|| format!("cannot parse {}", folder.display()))?;
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
    pub(crate) fn check(&self, component: &[u8], world: &str) -> Result<()> {
        let (_, id) = self
            .worlds
            .iter()
            .find(|(name, _)| name == world)
            .with_context(|| format!("wit/ has no world `{world}`"))?;
        let granted = names(&self.resolve, &self.resolve.worlds[*id].imports);
        let owed = names(&self.resolve, &self.resolve.worlds[*id].exports);

        let DecodedWasm::Component(resolve, found) =
            wit_component::decode(component).context("cannot read the component")?
        else {
            bail!("this is a WIT package and no component");
        };
        let imports = names(&resolve, &resolve.worlds[found].imports);
        let exports = names(&resolve, &resolve.worlds[found].exports);

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
            bail!("{}", problems.join("; "))
        }
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
