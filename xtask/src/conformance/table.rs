//! The table of conformance: written from what was counted, and read again to find stale rows.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::stages::Counts;

/// The worker that embeds, behind a scheduler of its own.
const EMBEDDER: &str = "embedder";
/// Hexadecimal digits of a digest that stand in a row.
const SHOWN: usize = 12;

/// SHA-256 of a component.
pub(super) struct Digest {
    /// As the configuration names it: `openai`.
    pub(super) name: String,
    pub(super) sha256: String,
}

impl Digest {
    /// Reads the format of `sha256sum`, and leaves out what lies in subfolders: fixtures.
    pub(super) fn read(text: &str) -> Vec<Self> {
        text.lines()
            .filter_map(|line| line.split_once("  "))
            .filter(|(_, file)| !file.contains('/'))
            .filter_map(|(sha256, file)| {
                Some(Self {
                    name: file.strip_suffix(".wasm")?.to_owned(),
                    sha256: sha256.to_owned(),
                })
            })
            .collect()
    }
}

/// Outcomes of one form, unary or streaming.
struct Outcomes {
    same: u64,
    refused: u64,
    failed: u64,
}

impl Outcomes {
    fn read(value: &Value) -> Result<Self> {
        let count = |name: &str| {
            value[name]
                .as_u64()
                .with_context(|| format!("no count of `{name}`"))
        };
        Ok(Self {
            same: count("same")?,
            refused: count("refused")?,
            failed: count("FAILED")?,
        })
    }

    fn shown(&self) -> String {
        if self.same + self.refused + self.failed == 0 {
            return "–".to_owned();
        }
        let mut text = format!("{} same", self.same);
        if self.refused > 0 {
            let _ = write!(text, ", {} refused", self.refused);
        }
        if self.failed > 0 {
            let _ = write!(text, ", **{} failed**", self.failed);
        }
        text
    }
}

/// A client's protocol in front of a worker.
pub(super) struct Cell {
    client: String,
    worker: String,
    unary: Outcomes,
    stream: Outcomes,
    /// Names of cases that the worker's protocol cannot say.
    refused: Vec<String>,
    failed: Vec<String>,
}

impl Cell {
    /// Reads what `cells.py` wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn read(text: &str) -> Result<Vec<Self>> {
        let cells: Vec<Value> = serde_json::from_str(text)?;
        cells.iter().map(Self::parse).collect()
    }

    fn parse(value: &Value) -> Result<Self> {
        let text = |value: &Value, name: &str| {
            value[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("a cell without `{name}`"))
        };
        let list = |name: &str| value[name].as_array().cloned().unwrap_or_default();
        Ok(Self {
            client: text(value, "client")?,
            worker: text(value, "worker")?,
            unary: Outcomes::read(&value["unary"])?,
            stream: Outcomes::read(&value["stream"])?,
            refused: list("refused")
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
            failed: list("failed")
                .iter()
                .map(|failure| {
                    let detail = text(failure, "detail")?;
                    let detail: String = detail.chars().take(200).collect();
                    Ok(format!(
                        "{}, {}: `{}`",
                        text(failure, "case")?,
                        text(failure, "form")?,
                        detail.replace(['\n', '`', '|'], " ")
                    ))
                })
                .collect::<Result<_>>()?,
        })
    }

    /// The plugins that took part: the client's, that of the worker, and the scheduler.
    fn plugins(&self) -> Vec<&'static str> {
        let mut names = vec![plugin(&self.client), plugin(&self.worker)];
        names.dedup();
        if self.worker == EMBEDDER {
            names.push("fcfs");
        }
        names
    }

    fn way(&self) -> &'static str {
        if self.worker == EMBEDDER {
            "passed on, merged when they wait"
        } else if plugin(&self.client) == plugin(&self.worker) {
            "passed on"
        } else {
            "translated"
        }
    }

    fn name(&self) -> String {
        format!("{} → {}", protocol(&self.client), server(&self.worker))
    }
}

fn plugin(name: &str) -> &'static str {
    match name {
        "tgis" => "tgis",
        _ => "openai",
    }
}

fn protocol(client: &str) -> &'static str {
    match client {
        "tgis" => "TGIS",
        _ => "OpenAI API",
    }
}

fn server(worker: &str) -> &'static str {
    match worker {
        "tgis" => "TGIS",
        EMBEDDER => "vLLM, embeddings",
        _ => "vLLM",
    }
}

/// What a real client's script counted.
pub(super) struct Asked {
    pub(super) client: String,
    pub(super) worker: String,
    pub(super) counts: Counts,
}

/// Everything that the table tells.
pub(super) struct Report {
    pub(super) cells: Vec<Cell>,
    pub(super) clients: Vec<Asked>,
    pub(super) digests: Vec<Digest>,
    pub(super) versions: Vec<(String, String)>,
    pub(super) date: String,
}

impl Report {
    /// Comparisons and checks that failed.
    pub(super) fn failed(&self) -> u64 {
        let cells = self.cells.iter().map(|c| c.unary.failed + c.stream.failed);
        let clients = self.clients.iter().map(|asked| asked.counts.failed);
        cells.chain(clients).sum()
    }

    /// The document.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "# Conformance\n\n\
             Made on {} by `cargo xtask conformance`, which writes this file: real clients and real servers, and\n\
             Tollgate between them. A case is asked of the server directly and then through Tollgate, over TLS and with a\n\
             token, with sampling off or seeded; text, counts of tokens, reasons of ending, log probabilities and codes of\n\
             errors must be the same. Refused means that the worker's protocol cannot say it and the client was told so.\n\
             The cases are in [`conformance/`](conformance), the servers in [`real/`](real), the clients in\n\
             [`clients/`](clients). A row holds for the components whose digests begin as shown.\n\n\
             | client → worker | way | unary | streaming | components |\n|---|---|---|---|---|\n",
            self.date
        );
        for cell in &self.cells {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                cell.name(),
                cell.way(),
                cell.unary.shown(),
                cell.stream.shown(),
                self.marks(&cell.plugins())
            );
        }
        text.push_str(
            "\n| real client | worker | passed | failed | components |\n|---|---|---|---|---|\n",
        );
        for asked in &self.clients {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                asked.client,
                asked.worker,
                asked.counts.passed,
                asked.counts.failed,
                self.marks(&["openai", "tgis"])
            );
        }
        self.details(&mut text);
        text.push_str("\n| what | version |\n|---|---|\n");
        for (name, version) in &self.versions {
            let _ = writeln!(text, "| {name} | {version} |");
        }
        text.push_str("\n| component | SHA-256 |\n|---|---|\n");
        for digest in &self.digests {
            let _ = writeln!(text, "| {} | `{}` |", digest.name, digest.sha256);
        }
        text
    }

    /// What was refused and what failed, by cell.
    fn details(&self, text: &mut String) {
        for cell in &self.cells {
            if !cell.refused.is_empty() {
                let _ = writeln!(
                    text,
                    "\n{} refuses: {}.",
                    cell.name(),
                    cell.refused.join(", ")
                );
            }
            if !cell.failed.is_empty() {
                let _ = writeln!(text, "\n{} failed:\n", cell.name());
                for failure in &cell.failed {
                    let _ = writeln!(text, "* {failure}");
                }
            }
        }
    }

    /// `openai 0123456789ab, tgis …`.
    fn marks(&self, plugins: &[&str]) -> String {
        let marks: Vec<String> = self
            .digests
            .iter()
            .filter(|digest| plugins.contains(&digest.name.as_str()))
            .map(|digest| format!("{} `{}`", digest.name, head(&digest.sha256)))
            .collect();
        marks.join(", ")
    }
}

fn head(sha256: &str) -> &str {
    sha256.get(..SHOWN).unwrap_or(sha256)
}

/// Names of the rows made with components that are others now, and which these are.
pub(super) fn stale(markdown: &str, now: &[Digest]) -> Vec<String> {
    let mut found = Vec::new();
    for row in markdown.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        // Only the tables of rows have five columns, their heads among them.
        let [name, second, _, _, marks] = cells[..] else {
            continue;
        };
        let changed: Vec<&str> = marks
            .split(", ")
            .filter_map(|mark| mark.split_once(' '))
            .filter(|(plugin, digest)| {
                let digest = digest.trim_matches('`');
                digest.len() == SHOWN
                    && !now
                        .iter()
                        .any(|one| one.name == *plugin && one.sha256.starts_with(digest))
            })
            .map(|(plugin, _)| plugin)
            .collect();
        if !changed.is_empty() {
            let row = if name.contains('→') {
                name.to_owned()
            } else {
                format!("{name}, {second}")
            };
            found.push(format!("{row}: {} changed since", changed.join(" and ")));
        }
    }
    found
}

/// The version that `text` pins a package to: `package==version`.
pub(super) fn pinned<'a>(text: &'a str, package: &str) -> Option<&'a str> {
    text.split(|c: char| c.is_whitespace() || c == '\'')
        .filter_map(|word| word.split_once("=="))
        .find(|(name, _)| *name == package)
        .map(|(_, version)| version)
}

/// Reads `12 passed, 3 failed`.
pub(super) fn closing(line: &str) -> Option<Counts> {
    let (passed, failed) = line.split_once(" passed, ")?;
    Some(Counts {
        passed: passed.parse().ok()?,
        failed: failed.strip_suffix(" failed")?.parse().ok()?,
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
