//! Pieces of configurations in documents: each has to be a good one.
//!
//! A block of YAML whose keys are all sections of a configuration is one. Where it does not stand alone,
//! it is completed: by a listener, a file of tokens, the bundled plugins, a worker for each of them, and a
//! route. So a document may show the part that it is about, and name `vllm-0` in it. Blocks with `…` in
//! them, and those with other keys, are not looked at.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Document, markdown};
use crate::process::output;
use crate::workspace::Workspace;
use crate::{examples, materials};

const LISTENERS: &str = "listeners: [{ name: completed, address: \"127.0.0.1:8080\" }]\n";
const TOKENS: &str = "tokens: { file: tokens.yaml }\n";
const ROUTES: &str =
    "routes: [{ name: completed, frontends: [openai], workers: [vllm-0], auth: open }]\n";
/// Name and line of what is added to a section that does not have it.
const PLUGINS: [(&str, &str); 4] = [
    ("openai:", "  openai: { source: \"bundled:openai\" }\n"),
    ("tgis:", "  tgis: { source: \"bundled:tgis\" }\n"),
    ("caikit:", "  caikit: { source: \"bundled:caikit\" }\n"),
    ("kserve:", "  kserve: { source: \"bundled:kserve\" }\n"),
];
const WORKERS: [(&str, &str); 4] = [
    (
        "name: vllm-0",
        "  - { name: vllm-0, address: \"http://127.0.0.1:8000\", protocol: openai }\n",
    ),
    (
        "name: tgis-0",
        "  - { name: tgis-0, address: \"grpc://127.0.0.1:8033\", protocol: tgis }\n",
    ),
    (
        "name: caikit-0",
        "  - { name: caikit-0, address: \"grpc://127.0.0.1:8085\", protocol: caikit }\n",
    ),
    (
        "name: triton-0",
        "  - { name: triton-0, address: \"http://127.0.0.1:8001\", protocol: kserve }\n",
    ),
];

/// The sections that a configuration may have, by its schema.
///
/// # Errors
/// When the schema is none.
pub(super) fn sections(schema: &str) -> Result<BTreeSet<String>> {
    let schema: Value = serde_json::from_str(schema)?;
    let properties = schema["properties"].as_object();
    let properties = properties.context("the schema of a configuration has no properties")?;
    Ok(properties.keys().cloned().collect())
}

/// Checks the pieces of one document by the binary; `folder` is for what that reads.
///
/// # Errors
/// When files cannot be written.
pub(super) fn problems(
    document: &Document,
    sections: &BTreeSet<String>,
    folder: &Path,
    workspace: &Workspace,
) -> Result<Vec<(usize, String)>> {
    let mut problems = Vec::new();
    for block in markdown::parts(&document.text).blocks {
        let text = block.lines.join("\n");
        if block.language != "yaml" || !is_piece(&text, sections) {
            continue;
        }
        // In a pod files have other places than here.
        let whole = completed(&text)
            .replace(" /etc/", " etc/")
            .replace(" /var/", " var/");
        let name = document.name.replace('/', "-");
        let folder = folder.join(format!("{name}-{}", block.line));
        let file = folder.join("tollgate.yaml");
        fs::create_dir_all(&folder)?;
        fs::write(&file, &whole)?;
        materials::certificates(&whole, &folder, &[])?;
        for tokens in examples::token_files(&whole) {
            materials::token(&folder.join(tokens))?;
        }
        let check = || {
            let mut command = Command::new(workspace.binary());
            // The components and keys that a document names are nobody's.
            command.args(["check", "--no-load"]).arg(&file);
            output(command.current_dir(&folder))
        };
        let mut checked = check();
        if let Err(problem) = &checked {
            // What a document's files hold is nothing that it shows.
            for path in unread(&problem.to_string(), &folder) {
                fs::create_dir_all(path.parent().unwrap_or(&folder))?;
                fs::write(path, "")?;
            }
            checked = check();
        }
        if let Err(problem) = checked {
            problems.push((block.line, format!("{problem:#}")));
        }
    }
    Ok(problems)
}

/// Files below a folder that a check has not found.
fn unread(said: &str, folder: &Path) -> Vec<PathBuf> {
    let path = |line: &str| {
        let (before, _) = line.split_once(" cannot be read: No such file")?;
        let path = PathBuf::from(before.rsplit(": ").next()?);
        path.starts_with(folder).then_some(path)
    };
    said.lines().filter_map(path).collect()
}

/// The keys at the left edge.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let key = line.split(':').next()?;
        let plain = |c: char| c.is_ascii_lowercase() || c == '-';
        (key.len() < line.len() && !key.is_empty() && key.chars().all(plain)).then_some(key)
    })
}

fn is_piece(text: &str, sections: &BTreeSet<String>) -> bool {
    let mut keys = keys(text).peekable();
    keys.peek().is_some() && !text.contains('…') && keys.all(|key| sections.contains(key))
}

/// A piece, and what it takes to stand alone.
fn completed(text: &str) -> String {
    let has = |section: &str| keys(text).any(|key| key == section);
    let mut whole = String::new();
    for line in text.lines() {
        let _ = writeln!(whole, "{line}");
        match line {
            "plugins:" => whole.push_str(&missing(text, &PLUGINS)),
            "workers:" => whole.push_str(&missing(text, &WORKERS)),
            _ => {}
        }
    }
    for (section, lines) in [("plugins", &PLUGINS), ("workers", &WORKERS)] {
        if !has(section) {
            let _ = write!(whole, "{section}:\n{}", missing("", lines));
        }
    }
    for (section, line) in [
        ("listeners", LISTENERS),
        ("tokens", TOKENS),
        ("routes", ROUTES),
    ] {
        if !has(section) {
            whole.push_str(line);
        }
    }
    whole
}

/// The lines of those that a text does not name.
fn missing(text: &str, lines: &[(&str, &str)]) -> String {
    let named = |name: &str| {
        let mut before = ["  ", "- ", "{ "].iter();
        before.any(|it| text.contains(&format!("{it}{name}")))
    };
    let left = lines.iter().filter(|(name, _)| !named(name));
    left.map(|(_, line)| *line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections_of_tests() -> BTreeSet<String> {
        sections(r#"{"properties": {"plugins": {}, "workers": {}, "log": {}}}"#).unwrap()
    }

    #[test]
    fn pieces_are_told_from_other_yaml() {
        let sections = sections_of_tests();
        assert!(is_piece(
            "# a\nplugins:\n  a: 1\nlog: { b: c }\n",
            &sections
        ));
        for other in [
            "apiVersion: v1\nkind: Pod\n",
            "options:\n  a: 1\n",
            "plugins:\n  a: …\n",
            "- a\n",
        ] {
            assert!(!is_piece(other, &sections), "{other}");
        }
    }

    #[test]
    fn files_that_were_not_found_are_those_of_the_folder() {
        let said = "x ended with 1\n/d/a.yaml:1:2: /d/b/c.jinja cannot be read: No such file or \
                    directory (os error 2)\n/d/a.yaml:1:2: /etc/x cannot be read: No such file\n";
        assert_eq!(unread(said, Path::new("/d")), [Path::new("/d/b/c.jinja")]);
    }

    #[test]
    fn what_a_piece_lacks_is_added_and_what_it_has_is_not() {
        let whole = completed("workers:\n  - name: vllm-0\n    address: x\nlog: { level: info }\n");
        for part in [
            "listeners:",
            "tokens:",
            "routes:",
            "  kserve:",
            "name: tgis-0",
        ] {
            assert_eq!(whole.matches(part).count(), 1, "{part}: {whole}");
        }
        assert_eq!(whole.matches("name: vllm-0").count(), 1, "{whole}");
        assert_eq!(whole.matches("workers:\n").count(), 1, "{whole}");
        let whole = completed("plugins:\n  chat: { source: a }\n  tgis: { source: b }\n");
        assert_eq!(whole.matches("  tgis: {").count(), 1, "{whole}");
        assert_eq!(whole.matches("  openai: {").count(), 1, "{whole}");
    }
}
