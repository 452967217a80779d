//! What a run counted: cells, clients, stand-ins, and the digests that they hold for.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::stages::Counts;

/// Hexadecimal digits of a digest that stand in a row.
pub(super) const SHOWN: usize = 12;

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

    /// `openai 0123456789ab`, as it stands in a row.
    fn mark(&self) -> String {
        let head = self.sha256.get(..SHOWN).unwrap_or(&self.sha256);
        format!("{} `{head}`", self.name)
    }
}

/// The marks of some plugins: `openai 0123456789ab, tgis …`.
pub(super) fn marks(digests: &[Digest], plugins: &[impl AsRef<str>]) -> String {
    let taken = digests
        .iter()
        .filter(|digest| plugins.iter().any(|it| it.as_ref() == digest.name));
    let marks: Vec<String> = taken.map(Digest::mark).collect();
    marks.join(", ")
}

/// Outcomes of one form, unary or streaming.
pub(super) struct Outcomes {
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

    pub(super) fn shown(&self) -> String {
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
    /// `CLIENT → WORKER`.
    pub(super) name: String,
    /// Passed on, translated, …
    pub(super) way: String,
    /// The plugins that took part.
    pub(super) plugins: Vec<String>,
    pub(super) unary: Outcomes,
    pub(super) stream: Outcomes,
    /// Names of cases that the worker's protocol cannot say.
    pub(super) refused: Vec<String>,
    pub(super) failed: Vec<String>,
}

impl Cell {
    /// Reads what a script of `tests/conformance` wrote.
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
        let names = |name: &str| -> Vec<String> {
            let all = list(name);
            let texts = all.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        Ok(Self {
            name: text(value, "name")?,
            way: text(value, "way")?,
            plugins: names("plugins"),
            unary: Outcomes::read(&value["unary"])?,
            stream: Outcomes::read(&value["stream"])?,
            refused: names("refused"),
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
}

/// What a real client's script counted, or the tests of a stand-in.
pub(super) struct Asked {
    pub(super) client: String,
    pub(super) worker: String,
    pub(super) counts: Counts,
    pub(super) plugins: Vec<&'static str>,
}

/// What one group of servers gave.
#[derive(Default)]
pub(super) struct Part {
    pub(super) cells: Vec<Cell>,
    pub(super) clients: Vec<Asked>,
    /// By specification: never counted with the others.
    pub(super) specified: Vec<Asked>,
    /// Names and versions of what took part.
    pub(super) versions: Vec<(String, String)>,
}

impl Part {
    /// This and another.
    pub(super) fn add(&mut self, other: Self) {
        self.cells.extend(other.cells);
        self.clients.extend(other.clients);
        self.specified.extend(other.specified);
        self.versions.extend(other.versions);
    }

    /// Comparisons and checks that failed.
    pub(super) fn failed(&self) -> u64 {
        let cells = self.cells.iter().map(|c| c.unary.failed + c.stream.failed);
        let asked = self.clients.iter().chain(&self.specified);
        cells.chain(asked.map(|it| it.counts.failed)).sum()
    }
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
