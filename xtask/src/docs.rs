//! Checks the documents: links that lead into the repository must lead to something, and a
//! `cargo xtask` verb that a document names must be one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Checks every Markdown file of the repository.
///
/// # Errors
/// Names each broken link and unknown verb, with file and line.
pub(crate) fn check(root: &Path, verbs: &[&str]) -> Result<()> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    let mut problems = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        let folder = file.parent().unwrap_or(root);
        let shown = file.strip_prefix(root).unwrap_or(file).display();
        for (line, problem) in problems_of(&text, verbs, |link| folder.join(link).exists()) {
            problems.push(format!("{shown}:{line}: {problem}"));
        }
    }
    println!("  {} documents", files.len());
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') && path.read_link().is_err() {
                collect(&path, files)?;
            }
        } else if name.ends_with(".md") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// Line numbers, from 1, and what is wrong there.
fn problems_of(text: &str, verbs: &[&str], exists: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
    let mut problems = Vec::new();
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        for rest in line.split("cargo xtask ").skip(1) {
            let verb: String = rest
                .chars()
                .take_while(|c| c.is_ascii_lowercase())
                .collect();
            if !verb.is_empty() && !verbs.contains(&verb.as_str()) {
                problems.push((at + 1, format!("no verb `cargo xtask {verb}`")));
            }
        }
        if fenced {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let Some((link, _)) = rest.split_once(')') else {
                continue;
            };
            let path = link.split('#').next().unwrap_or_default();
            let outside = link.contains("://") || link.starts_with("mailto:");
            if !path.is_empty() && !outside && !exists(path) {
                problems.push((at + 1, format!("the link `{link}` leads nowhere")));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_links_and_unknown_verbs_are_told_by_line() {
        let text = "[a](there.md) [b](gone.md#x)\n\
                    `cargo xtask test`, `cargo xtask fly`\n\
                    ```\n[c](gone.md)\ncargo xtask swim\n```\n\
                    [d](https://example.com) [e](#here)\n";
        let found = problems_of(text, &["test"], |link| link == "there.md");
        assert_eq!(
            found,
            [
                (1, "the link `gone.md#x` leads nowhere".to_owned()),
                (2, "no verb `cargo xtask fly`".to_owned()),
                (5, "no verb `cargo xtask swim`".to_owned()),
            ]
        );
    }
}
