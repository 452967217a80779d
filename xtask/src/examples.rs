//! Holds the example configurations against the binary: each must pass `tollgate check`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::materials;
use crate::process::run;
use crate::stages::Counts;
use crate::workspace::Workspace;

/// Copies `config/` below the target folder, adds the certificates that the examples name, and
/// has the binary check each of them.
///
/// # Errors
/// When a file cannot be copied; an example that fails is printed and counted.
pub(crate) fn check(workspace: &Workspace) -> Result<Counts> {
    let folder = workspace.target.join("examples");
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder)?;
    let mut examples = Vec::new();
    let source = workspace.root.join("config");
    for path in files(&source)? {
        let copy = folder.join(path.strip_prefix(&source)?);
        if let Some(within) = copy.parent() {
            fs::create_dir_all(within)?;
        }
        let is_yaml = path.extension().is_some_and(|end| end == "yaml");
        // In a pod files have other places than here.
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{}", path.display()))?
            .replace(" /etc/", " etc/")
            .replace(" /var/", " var/");
        fs::write(&copy, &text)?;
        // What has no listener is a part of another file: tokens, manifests.
        if is_yaml && text.lines().any(|line| line.starts_with("listeners:")) {
            examples.push((copy, text));
        }
    }
    examples.sort();
    let mut counts = Counts::default();
    for (file, text) in examples {
        let folder = file.parent().unwrap_or(&folder);
        materials::certificates(&text, folder, &[])?;
        materials::placeholders(&text, folder)?;
        for tokens in token_files(&text) {
            let tokens = folder.join(tokens);
            if !tokens.is_file() {
                fs::create_dir_all(tokens.parent().unwrap_or(folder))?;
                materials::token(&tokens)?;
            }
        }
        let mut command = Command::new(workspace.binary());
        // Some of their files are empty ones by us. `tests/tests/contract.rs` has examples loaded.
        command.args(["check", "--no-load"]).arg(&file);
        match run(command.current_dir(folder)) {
            Ok(()) => counts.passed += 1,
            Err(problem) => {
                println!("{problem:#}");
                counts.failed += 1;
            }
        }
    }
    Ok(counts)
}

/// Files below a folder, all of them text.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// The files of tokens that a configuration names: `tokens: { file: … }` and `admin: { tokens: … }`,
/// or on the lines after.
pub(crate) fn token_files(text: &str) -> Vec<&str> {
    let mut lines = text.lines().peekable();
    let mut files = Vec::new();
    while let Some(line) = lines.next() {
        let key = match line.split(':').next() {
            Some("tokens") => "file",
            Some("admin") => "tokens",
            _ => continue,
        };
        files.extend(materials::values(line, key));
        while let Some(line) = lines.next_if(|line| line.starts_with([' ', '#'])) {
            files.extend(materials::values(line, key));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tokens_are_found_and_other_files_are_not() {
        assert_eq!(token_files("tokens: { file: a.yaml }\n"), ["a.yaml"]);
        assert_eq!(
            token_files("tokens:\n  # ours\n  file: b.yaml\nlog:\n  file: c\n"),
            ["b.yaml"]
        );
        assert_eq!(
            token_files("admin:\n  address: a:1\n  tokens: c.yaml\nlog:\n  tokens: d\n"),
            ["c.yaml"]
        );
    }
}
