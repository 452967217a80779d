//! Guests: the packages that become components.

use anyhow::{Context, Result, bail};

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
    /// What does not ship in the binary is kept in a folder of this name.
    pub(crate) apart: Option<&'static str>,
}

/// Beginnings of folders and of packages' names, and the folder of components of what lies there.
const PLACES: [(&str, &str, Option<&str>); 3] = [
    ("tests/fixtures/", "tollgate-fixture-", Some("fixtures")),
    ("plugins/examples/", "tollgate-example-", Some("examples")),
    ("plugins/", "tollgate-plugin-", None),
];

impl Guest {
    /// Path of the component below the folder of components.
    pub(crate) fn file(&self) -> String {
        match self.apart {
            Some(folder) => format!("{folder}/{}.wasm", self.name),
            None => format!("{}.wasm", self.name),
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
        let place = PLACES
            .iter()
            .find(|(folder, ..)| package.folder.starts_with(folder));
        let Some((_, prefix, apart)) = place else {
            bail!(
                "{} names a world, but guests live in plugins/ or tests/fixtures/, not in {}/",
                package.name,
                package.folder
            );
        };
        guests.push(Guest {
            name: package
                .name
                .strip_prefix(*prefix)
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
            apart: *apart,
        });
    }
    guests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(guests)
}
