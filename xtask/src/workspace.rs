//! The workspace as `cargo metadata` tells it: where it is, and which packages it has.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{cargo, output};

/// The workspace and its members.
pub(crate) struct Workspace {
    /// Folder of the root `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where cargo builds: `target/`, unless the environment says otherwise.
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// A member of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its folder, relative to the workspace's root, with forward slashes.
    pub(crate) folder: String,
    /// `package.metadata.tollgate.world`: what makes it a guest.
    pub(crate) world: Option<String>,
    /// Name of its `cdylib` target.
    pub(crate) library: Option<String>,
    /// Names of what its manifest depends on, for building and for tests too.
    pub(crate) dependencies: Vec<String>,
}

impl Workspace {
    /// Asks cargo, from the folder of this crate.
    ///
    /// # Errors
    /// When cargo fails, which a broken `Cargo.toml` of any member makes it.
    pub(crate) fn load() -> Result<Self> {
        // Where cargo runs us from, which need not be where we were compiled.
        let here = std::env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let text = output(cargo().current_dir(here).args([
            "metadata",
            "--format-version=1",
            "--no-deps",
        ]))?;
        Self::parse(&serde_json::from_str(&text)?)
    }

    fn parse(metadata: &Value) -> Result<Self> {
        let root = PathBuf::from(text(metadata, "workspace_root")?);
        let target = PathBuf::from(text(metadata, "target_directory")?);
        let packages = metadata["packages"]
            .as_array()
            .context("cargo metadata names no packages")?
            .iter()
            .map(|package| Package::parse(package, &root))
            .collect::<Result<_>>()?;
        Ok(Self {
            root,
            target,
            packages,
        })
    }

    /// Where finished components are put.
    pub(crate) fn components(&self) -> PathBuf {
        self.target.join("components")
    }

    /// The proxy, as it ships.
    pub(crate) fn shipped(&self) -> PathBuf {
        self.target.join("shipped/tollgate")
    }

    /// The proxy, as the dev profile builds it.
    pub(crate) fn binary(&self) -> PathBuf {
        self.target.join("debug/tollgate")
    }
}

impl Package {
    fn parse(package: &Value, root: &Path) -> Result<Self> {
        let manifest = PathBuf::from(text(package, "manifest_path")?);
        let folder = manifest.parent().context("a manifest has a folder")?;
        let folder = folder.strip_prefix(root).unwrap_or(folder);
        let library = package["targets"].as_array().and_then(|targets| {
            let library = targets.iter().find(|target| {
                target["kind"]
                    .as_array()
                    .is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"))
            })?;
            Some(library["name"].as_str()?.to_owned())
        });
        Ok(Self {
            name: text(package, "name")?.to_owned(),
            folder: folder.to_string_lossy().replace('\\', "/"),
            world: package["metadata"]["tollgate"]["world"]
                .as_str()
                .map(str::to_owned),
            library,
            dependencies: package["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|dependency| dependency["name"].as_str())
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Whether it becomes a component, or is only there for those that do.
    pub(crate) fn is_guest(&self) -> bool {
        self.world.is_some() || self.folder.starts_with("tests/fixtures/")
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key]
        .as_str()
        .with_context(|| format!("cargo metadata has no `{key}`"))
}
