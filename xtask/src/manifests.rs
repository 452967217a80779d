//! Holds the Kubernetes manifests of `config/kubernetes` against the schemas that Kubernetes publishes,
//! strictly: a member that is not known is a mistake. The configurations among them are examples like
//! all others (`examples`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::run;
use crate::workspace::Workspace;

/// The release that they are held against: the first in which a container may sleep before it ends
/// (`preStop.sleep`) without being asked to by a feature gate is 1.30.
const KUBERNETES: &str = "1.33";
/// Read by kustomize, and no objects.
const PARTS: [&str; 2] = ["kustomization.yaml", "tollgate.yaml"];

/// Checks every object, and that each folder's kustomization names its files and no others.
///
/// # Errors
/// When an object does not fit, or a file is named and not there, or there and not named.
pub(crate) fn check(workspace: &Workspace, venv: &Path) -> Result<()> {
    let mut files = Vec::new();
    for folder in folders(&workspace.root.join("config/kubernetes"))? {
        let named = fs::read_to_string(folder.join("kustomization.yaml"))
            .with_context(|| format!("{}", folder.display()))?;
        for file in yaml(&folder)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if name == PARTS[0] {
                continue;
            }
            if !named.contains(&*name) {
                bail!("{} does not name {name}", folder.display());
            }
            if !PARTS.contains(&&*name) {
                files.push(file);
            }
        }
    }
    println!("  {} objects of Kubernetes {KUBERNETES}", files.len());
    run(Command::new(venv.join("bin/kubernetes-validate"))
        .args(["--strict", "--quiet", "--kubernetes-version", KUBERNETES])
        .args(files))
}

fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = entries(root)?;
    found.retain(|path| path.is_dir());
    Ok(found)
}

fn yaml(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = entries(folder)?;
    found.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
