//! Checks the documents, so that what they say can be followed:
//!
//! 1. links that lead into the repository lead to something, and to a heading that is there;
//! 2. the reference of the configuration is what its schema says ([`reference`]);
//! 3. `cargo xtask` commands have verbs and flags that there are ([`commands`]);
//! 4. with the binary at hand: so do `tollgate` commands, and pieces of configurations are good ones
//!    ([`snippets`]).

mod anchors;
mod commands;
mod links;
mod markdown;
mod reference;
mod snippets;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::stages::Counts;
use crate::workspace::Workspace;

/// The reference of the configuration, and what it is made of.
const REFERENCE: [&str; 2] = ["docs/configuration.md", "config/schema.json"];

/// A document, and where it is.
pub(crate) struct Document {
    /// Path below the repository's folder.
    pub(crate) name: String,
    path: PathBuf,
    text: String,
}

/// `docs`: writes what is made and not written by hand.
///
/// # Errors
/// When the schema cannot be read, or the page not be written.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("cargo xtask docs");
    }
    let root = Workspace::load()?.root;
    fs::write(root.join(REFERENCE[0]), made(&root)?)?;
    println!("wrote {}", REFERENCE[0]);
    Ok(())
}

/// Checks every Markdown file of the repository, as far as it goes without the binary. `help` is what
/// `cargo xtask help` prints.
///
/// # Errors
/// Names each mistake, with file and line.
pub(crate) fn check(root: &Path, verbs: &[&str], help: &str) -> Result<()> {
    let documents = collect(root)?;
    let mut problems = Vec::new();
    for document in &documents {
        let mut found = links::problems(document, &documents);
        found.extend(commands::of_xtask(&document.text, verbs, help));
        found.sort();
        problems.extend(located(document, found));
    }
    if fs::read_to_string(root.join(REFERENCE[0])).ok().as_ref() != Some(&made(root)?) {
        let [page, schema] = REFERENCE;
        problems.push(format!(
            "{page} is not what {schema} says: run `cargo xtask docs`"
        ));
    }
    println!("  {} documents", documents.len());
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

/// Holds what the documents say of `tollgate` against the binary; counts documents.
///
/// # Errors
/// When files cannot be read or written; what is wrong is printed and counted.
pub(crate) fn check_with_binary(workspace: &Workspace) -> Result<Counts> {
    let mut counts = Counts::default();
    let folder = workspace.target.join("documents");
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder)?;
    let schema = fs::read_to_string(workspace.root.join(REFERENCE[1]))?;
    let sections = snippets::sections(&schema)?;
    let mut cli = commands::Cli::of(workspace.binary());
    for document in collect(&workspace.root)? {
        let mut found = cli.problems(&document.text);
        found.extend(snippets::problems(
            &document, &sections, &folder, workspace,
        )?);
        found.sort();
        if found.is_empty() {
            counts.passed += 1;
        } else {
            counts.failed += 1;
            println!("{}", located(&document, found).join("\n"));
        }
    }
    Ok(counts)
}

fn made(root: &Path) -> Result<String> {
    let schema = root.join(REFERENCE[1]);
    let text = fs::read_to_string(&schema).with_context(|| format!("{}", schema.display()))?;
    reference::page(&serde_json::from_str(&text)?)
}

fn located(document: &Document, problems: Vec<(usize, String)>) -> Vec<String> {
    let name = &document.name;
    let line = |(line, problem): (usize, String)| format!("{name}:{line}: {problem}");
    problems.into_iter().map(line).collect()
}

/// Every Markdown file, but for what is built or hidden.
fn collect(root: &Path) -> Result<Vec<Document>> {
    let mut paths = Vec::new();
    find(root, &mut paths)?;
    paths.sort();
    let document = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let name = path.strip_prefix(root).unwrap_or(&path);
        Ok(Document {
            name: name.to_string_lossy().into_owned(),
            path,
            text,
        })
    };
    paths.into_iter().map(document).collect()
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') && path.read_link().is_err() {
                find(&path, files)?;
            }
        } else if name.ends_with(".md") {
            files.push(path);
        }
    }
    Ok(())
}
