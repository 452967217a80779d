//! Checks what the image is built from without an engine: what the Dockerfile copies is there and not
//! ignored, stages and versions are named, the compiler is the one that the workspace wants, and the image
//! does not run as root.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Checks the Dockerfile of a repository.
///
/// # Errors
/// Names each line that cannot be followed.
pub(crate) fn check(root: &Path) -> Result<()> {
    let text = fs::read_to_string(root.join("Dockerfile")).context("Dockerfile")?;
    let ignored = fs::read_to_string(root.join(".dockerignore")).unwrap_or_default();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("Cargo.toml")?;
    let problems = problems(&text, &ignored, &manifest, |path| root.join(path).exists());
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    println!("  {} instructions", instructions(&text).len());
    Ok(())
}

/// An instruction, its continued lines joined, comments left out.
struct Instruction {
    line: usize,
    word: String,
    rest: String,
}

fn instructions(text: &str) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (start, mut whole) = open.take().unwrap_or((at + 1, String::new()));
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        whole.push_str(part);
        whole.push(' ');
        if goes_on {
            open = Some((start, whole));
        } else if let Some((word, rest)) = whole.split_once(char::is_whitespace) {
            found.push(Instruction {
                line: start,
                word: word.to_owned(),
                rest: rest.trim().to_owned(),
            });
        }
    }
    found
}

fn problems(
    text: &str,
    ignored: &str,
    manifest: &str,
    exists: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut stages: Vec<String> = Vec::new();
    let mut user = None;
    let mut arguments: HashMap<String, String> = HashMap::new();
    let steps = instructions(text);
    for step in &steps {
        let mut tell = |what: String| problems.push(format!("Dockerfile:{}: {what}", step.line));
        let words: Vec<&str> = step.rest.split_whitespace().collect();
        match step.word.as_str() {
            "ARG" => {
                if let Some((name, value)) = step.rest.split_once('=') {
                    arguments.insert(name.to_owned(), value.to_owned());
                }
            }
            "FROM" => {
                let mut image = words.first().copied().unwrap_or_default().to_owned();
                for (name, value) in &arguments {
                    image = image.replace(&format!("${{{name}}}"), value);
                }
                if let Some(version) = image.strip_prefix("rust:") {
                    let wanted = rust_version(manifest);
                    if !version.starts_with(wanted) {
                        tell(format!(
                            "builds by rust {version}, Cargo.toml wants {wanted}"
                        ));
                    }
                } else if image != "scratch" && !image.contains([':', '@']) {
                    tell(format!("`{image}` names no version"));
                }
                stages.push(words.last().copied().unwrap_or_default().to_owned());
                user = None;
            }
            "COPY" | "ADD" => {
                let from = words.iter().find_map(|it| it.strip_prefix("--from="));
                let paths = words.iter().copied().filter(|it| !it.starts_with("--"));
                let paths: Vec<&str> = paths.collect();
                if let Some(stage) = from {
                    if !stages.iter().any(|it| it == stage) {
                        tell(format!("there is no stage `{stage}`"));
                    }
                    continue;
                }
                // The last one is where they go.
                for &path in &paths[..paths.len().saturating_sub(1)] {
                    if !exists(path) {
                        tell(format!("`{path}` is not there"));
                    } else if ignored.lines().any(|it| it.trim() == path) {
                        tell(format!("`{path}` stands in .dockerignore"));
                    }
                }
            }
            // What the build copies around of the source.
            "RUN" => {
                for path in words.iter().copied().filter(|it| of_source(it)) {
                    if !exists(path) {
                        tell(format!("`{path}` is not there"));
                    }
                }
            }
            "USER" => user = Some(step.rest.clone()),
            _ => {}
        }
    }
    let number = |part: &str| part.parse::<u32>().is_ok_and(|it| it > 0);
    if !user.as_deref().is_some_and(|it| it.split(':').all(number)) {
        problems.push("Dockerfile: the image has no user by number, or runs as root".to_owned());
    }
    for word in ["ENTRYPOINT", "CMD", "HEALTHCHECK"] {
        if !steps.iter().any(|it| it.word == word) {
            problems.push(format!("Dockerfile: there is no {word}"));
        }
    }
    problems
}

/// Whether a word of a command is a path within the source, and not one that is made.
fn of_source(word: &str) -> bool {
    word.starts_with("config/") || word == "LICENSE"
}

/// `1.95` of `rust-version = "1.95"`.
fn rust_version(manifest: &str) -> &str {
    let mut lines = manifest.lines();
    let value = lines.find_map(|it| it.strip_prefix("rust-version = \""));
    value.map_or("?", |it| it.trim_end_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[workspace.package]\nrust-version = \"1.95\"\n";
    const GOOD: &str = "ARG RUST=rust:1.95.0-slim\nFROM ${RUST} AS build\nCOPY . .\n\
                        RUN a \\\n # why\n && install config/a.yaml /b\nFROM scratch\n\
                        COPY --from=build /b /b\nUSER 65532:65532\nHEALTHCHECK CMD [\"a\"]\n\
                        ENTRYPOINT [\"a\"]\nCMD [\"b\"]\n";

    fn told(text: &str) -> Vec<String> {
        problems(text, ".git\ntarget\n", MANIFEST, |path| {
            [".", "config/a.yaml", "target"].contains(&path)
        })
    }

    #[test]
    fn a_good_one_is_told_nothing() {
        assert_eq!(told(GOOD), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_followed_is_told_by_line() {
        for (from, to, problem) in [
            (
                "1.95.0",
                "1.80.0",
                "Dockerfile:2: builds by rust 1.80.0-slim",
            ),
            (
                "COPY . .",
                "COPY gone .",
                "Dockerfile:3: `gone` is not there",
            ),
            (
                "COPY . .",
                "COPY target /t",
                "Dockerfile:3: `target` stands in",
            ),
            (
                "config/a",
                "config/c",
                "Dockerfile:4: `config/c.yaml` is not there",
            ),
            (
                "--from=build",
                "--from=made",
                "Dockerfile:8: there is no stage `made`",
            ),
            (
                "FROM scratch",
                "FROM debian",
                "Dockerfile:7: `debian` names no version",
            ),
            ("65532:65532", "0", "runs as root"),
            ("65532:65532", "tollgate", "no user by number"),
            ("HEALTHCHECK", "LABEL", "there is no HEALTHCHECK"),
        ] {
            let found = told(&GOOD.replace(from, to)).join("\n");
            assert!(found.contains(problem), "{to}: {found}");
        }
    }
}
