//! Builds the Kubernetes manifests of `config/kubernetes` as an operator would, and holds the objects
//! against the schemas that Kubernetes and KServe publish, strictly: a member that is not known is a
//! mistake. What the configurations and the pods around them have to agree on is checked there too, by
//! `manifests/validate.py`. The configurations themselves are examples like all others (`examples`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{output, run};
use crate::workspace::Workspace;

/// The release that they are held against: the first in which a container may sleep before it ends
/// (`preStop.sleep`) without being asked to by a feature gate is 1.30.
const KUBERNETES: &str = "1.33";
/// What kustomize reads in each folder.
const KUSTOMIZATION: &str = "kustomization.yaml";
/// What the manifests need of KServe's custom resource definitions; it says where it is from.
const KSERVE: &str = "xtask/schemas/serving.kserve.io.json";

/// Checks that each folder's kustomization names its files and no others, that each component is part of
/// something that is built, and every object that is built.
///
/// # Errors
/// When an object does not fit, a file is there and not named, or something cannot be built.
pub(crate) fn check(workspace: &Workspace, venv: &Path) -> Result<()> {
    let root = workspace.root.join("config/kubernetes");
    let built = workspace.target.join("manifests");
    fs::remove_dir_all(&built).ok();
    fs::create_dir_all(&built)?;
    let mut parts = Vec::new();
    let mut all = String::new();
    let mut objects = Vec::new();
    for folder in folders(&root)? {
        let named = fs::read_to_string(folder.join(KUSTOMIZATION))
            .with_context(|| format!("{}", folder.display()))?;
        if let Some(name) = unnamed(&folder, &named)?.first() {
            bail!("{} does not name {name}", folder.display());
        }
        if is_component(&named) {
            parts.push(folder);
            continue;
        }
        let made = output(
            Command::new(venv.join("bin/kubectl"))
                .arg("kustomize")
                .arg(&folder),
        )?;
        let name = folder
            .strip_prefix(&root)?
            .to_string_lossy()
            .replace('/', ".");
        let file = built.join(format!("{name}.yaml"));
        fs::write(&file, &made)?;
        objects.push(file);
        all.push_str(&named);
    }
    for part in parts {
        let name = part.file_name().unwrap_or_default().to_string_lossy();
        // One that only other components have is built with them.
        if name != "common" && !all.contains(&format!("/{name}]")) {
            bail!("nothing is built with {}", part.display());
        }
    }
    run(Command::new(venv.join("bin/python"))
        .arg(workspace.root.join("xtask/src/manifests/validate.py"))
        .arg(KUBERNETES)
        .arg(workspace.root.join(KSERVE))
        .args(objects))
}

/// A part of others, which cannot be built alone.
fn is_component(kustomization: &str) -> bool {
    kustomization.lines().any(|line| line == "kind: Component")
}

/// Files of a folder that its kustomization does not name.
fn unnamed(folder: &Path, kustomization: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_yaml = path.extension().is_some_and(|end| end == "yaml");
        if is_yaml && name != KUSTOMIZATION && !kustomization.contains(&*name) {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

/// Every folder below one that has YAML in it, sorted.
fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in entries(root)? {
        if path.is_dir() {
            let inside = entries(&path)?;
            if inside.iter().any(|it| it.is_file()) {
                found.push(path.clone());
            }
            found.extend(folders(&path)?);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_nobody_names_are_found_in_folders_of_any_depth() {
        let root = std::env::temp_dir().join(format!("tollgate-manifests-{}", std::process::id()));
        let deep = root.join("a/b");
        fs::create_dir_all(&deep).unwrap();
        for name in [KUSTOMIZATION, "one.yaml", "two.yaml", "notes.txt"] {
            fs::write(deep.join(name), "").unwrap();
        }
        let found = folders(&root).unwrap();
        let left = unnamed(&deep, "resources:\n  - one.yaml\n").unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [deep]);
        assert_eq!(left, ["two.yaml"]);
    }

    #[test]
    fn components_are_told_from_what_is_built() {
        assert!(is_component("apiVersion: x\nkind: Component\n"));
        assert!(!is_component(
            "# not a kind: Component\nkind: Kustomization\n"
        ));
    }
}
