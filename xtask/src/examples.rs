//! Holds the example configurations against the binary: each must pass `tollgate check`.

use std::fs;
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
    for entry in fs::read_dir(&source).with_context(|| format!("{}", source.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else {
            continue;
        };
        fs::copy(&path, folder.join(name))?;
        let is_yaml = path.extension().is_some_and(|end| end == "yaml");
        let text = fs::read_to_string(&path).unwrap_or_default();
        // What has no listener is a part of another file: tokens.
        if is_yaml && text.lines().any(|line| line.starts_with("listeners:")) {
            examples.push((folder.join(name), text));
        }
    }
    examples.sort();
    let mut counts = Counts::default();
    for (file, text) in examples {
        materials::certificates(&text, &folder, &[])?;
        for tokens in token_files(&text) {
            if !folder.join(tokens).is_file() {
                materials::token(&folder.join(tokens))?;
            }
        }
        let mut command = Command::new(workspace.binary());
        match run(command.arg("check").arg(&file).current_dir(&folder)) {
            Ok(()) => counts.passed += 1,
            Err(problem) => {
                println!("{problem:#}");
                counts.failed += 1;
            }
        }
    }
    Ok(counts)
}

/// The files of tokens that a configuration names: `tokens: { file: … }`, or on the line after.
pub(crate) fn token_files(text: &str) -> Vec<&str> {
    let mut lines = text.lines().peekable();
    let mut files = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with("tokens:") {
            files.extend(materials::values(line, "file"));
            while let Some(line) = lines.next_if(|line| line.starts_with([' ', '#'])) {
                files.extend(materials::values(line, "file"));
            }
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
    }
}
