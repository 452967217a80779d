//! The document: written from what a run counted, and from the rows of an older one for all that was
//! not asked again.
//!
//! 1. The older document is read back into rows, notes, and versions.
//! 2. A new row takes the place of the older one of its name; the others keep their date and their
//!    digests, and say that they are stale where a component has changed since.
//! 3. A note belongs to the row whose name it begins with, and goes with it.

use std::fmt::Write as _;

use super::table::{Asked, Digest, Part, SHOWN, marks};

/// The tables of rows, by the heads of their first two columns.
const CELLS: [&str; 2] = ["client → worker", "way"];
const CLIENTS: [&str; 2] = ["real client", "worker"];
const SPECIFIED: [&str; 2] = ["by specification", "stand-in"];
/// Said of a row whose components have changed.
const STALE: &str = ", stale";

/// A row of one of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// What stands before the marks, the first one or two being its name.
    columns: [String; 4],
    marks: String,
    date: String,
}

impl Row {
    fn is_stale(&self, now: &[Digest]) -> bool {
        !changed(&self.marks, now).is_empty()
    }

    fn line(&self, now: &[Digest]) -> String {
        let stale = if self.is_stale(now) { STALE } else { "" };
        let columns = self.columns.join(" | ");
        format!("| {columns} | {} | {}{stale} |\n", self.marks, self.date)
    }
}

/// Plugins of a row's marks that have another digest now.
fn changed<'a>(marks: &'a str, now: &[Digest]) -> Vec<&'a str> {
    marks
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
        .collect()
}

/// The rows of a document, and what stands beside them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Book {
    cells: Vec<Row>,
    clients: Vec<Row>,
    specified: Vec<Row>,
    /// Of what cells refuse, and what failed: each begins with the name of its cell.
    notes: Vec<String>,
    versions: Vec<(String, String)>,
}

impl Book {
    /// Reads a document back. What is none of ours is left out.
    pub(super) fn read(markdown: &str) -> Self {
        let mut book = Self::default();
        let mut table = [""; 2];
        for line in markdown.lines() {
            if let Some(row) = line.strip_prefix("| ") {
                let columns: Vec<&str> = row.trim_end_matches('|').split(" | ").collect();
                let columns: Vec<&str> = columns.iter().map(|it| it.trim()).collect();
                let head = [columns[0], columns.get(1).copied().unwrap_or_default()];
                if [
                    CELLS,
                    CLIENTS,
                    SPECIFIED,
                    ["what", "version"],
                    ["component", "SHA-256"],
                ]
                .contains(&head)
                {
                    table = head;
                } else {
                    book.row(table, &columns);
                }
            } else if line.contains(" → ")
                && (line.contains(" refuses: ") || line.ends_with(" failed:"))
            {
                book.notes.push(line.to_owned());
            } else if let (Some(last), true) = (book.notes.last_mut(), line.starts_with("* ")) {
                let _ = write!(last, "\n{line}");
            }
        }
        book
    }

    fn row(&mut self, table: [&str; 2], columns: &[&str]) {
        if let (["what", "version"], [name, version]) = (table, columns) {
            self.versions
                .push(((*name).to_owned(), (*version).to_owned()));
        }
        let [a, b, c, d, marks, date] = columns[..] else {
            return;
        };
        let row = Row {
            columns: [a, b, c, d].map(str::to_owned),
            marks: marks.to_owned(),
            date: date.trim_end_matches(STALE).to_owned(),
        };
        match table {
            CELLS => self.cells.push(row),
            CLIENTS => self.clients.push(row),
            SPECIFIED => self.specified.push(row),
            _ => {}
        }
    }

    /// Puts what a run counted in place of what was there of the same names.
    pub(super) fn take(&mut self, part: &Part, digests: &[Digest], date: &str) {
        for cell in &part.cells {
            let row = Row {
                columns: [
                    cell.name.clone(),
                    cell.way.clone(),
                    cell.unary.shown(),
                    cell.stream.shown(),
                ],
                marks: marks(digests, &cell.plugins),
                date: date.to_owned(),
            };
            put(&mut self.cells, row, 1);
            let of_it = |note: &String| {
                note.strip_prefix(&cell.name).is_some_and(|rest| {
                    rest.starts_with(" refuses: ") || rest.starts_with(" failed:")
                })
            };
            self.notes.retain(|note| !of_it(note));
            if !cell.refused.is_empty() {
                let refused = cell.refused.join(", ");
                self.notes
                    .push(format!("{} refuses: {refused}.", cell.name));
            }
            if !cell.failed.is_empty() {
                let mut note = format!("{} failed:", cell.name);
                for failure in &cell.failed {
                    let _ = write!(note, "\n* {failure}");
                }
                self.notes.push(note);
            }
        }
        let row = |asked: &Asked| Row {
            columns: [
                asked.client.clone(),
                asked.worker.clone(),
                asked.counts.passed.to_string(),
                asked.counts.failed.to_string(),
            ],
            marks: marks(digests, &asked.plugins),
            date: date.to_owned(),
        };
        for asked in &part.clients {
            put(&mut self.clients, row(asked), 2);
        }
        for asked in &part.specified {
            put(&mut self.specified, row(asked), 2);
        }
        for (name, version) in &part.versions {
            match self.versions.iter_mut().find(|known| known.0 == *name) {
                Some(known) => known.1.clone_from(version),
                None => self.versions.push((name.clone(), version.clone())),
            }
        }
    }

    /// The document, with the components that are built now.
    pub(super) fn markdown(&self, now: &[Digest]) -> String {
        let mut text = "# Conformance\n\n\
             Made by `cargo xtask conformance [GROUP…]`, which writes this file: real clients and real servers, and\n\
             Tollgate between them. A case is asked of the server directly and then through Tollgate, over TLS and with a\n\
             token, with sampling off or seeded; texts, tensors, counts of tokens, reasons of ending, log probabilities and\n\
             codes of errors must be the same. Refused means that the worker's protocol cannot say it and the client was\n\
             told so. The cases are in [`conformance/`](conformance), the servers in [`real/`](real), the clients in\n\
             [`clients/`](clients). A row holds for the components whose digests begin as shown, and for the day on which it\n\
             was made; it is stale where a component has changed since.\n"
            .to_owned();
        let mut table = |head: [&str; 2], more: [&str; 2], rows: &[Row]| {
            if rows.is_empty() {
                return;
            }
            let [first, second] = head;
            let [third, fourth] = more;
            let _ = write!(
                text,
                "\n| {first} | {second} | {third} | {fourth} | components | made |\n|---|---|---|---|---|---|\n"
            );
            for row in rows {
                text.push_str(&row.line(now));
            }
        };
        table(CELLS, ["unary", "streaming"], &self.cells);
        table(CLIENTS, ["passed", "failed"], &self.clients);
        for note in &self.notes {
            // A list wants a line of its own before it.
            let _ = write!(text, "\n{}\n", note.replacen("\n* ", "\n\n* ", 1));
        }
        if !self.specified.is_empty() {
            text.push_str(
                "\nWhat follows is no comparison with a server: these answer as the sources of the servers say, which\n\
                 [`src/standin/`](src/standin) cites, and what is counted are tests.\n",
            );
            let mut table = String::new();
            let [first, second] = SPECIFIED;
            let _ = write!(
                table,
                "\n| {first} | {second} | passed | failed | components | made |\n|---|---|---|---|---|---|\n"
            );
            for row in &self.specified {
                table.push_str(&row.line(now));
            }
            text.push_str(&table);
        }
        text.push_str("\n| what | version |\n|---|---|\n");
        for (name, version) in &self.versions {
            let _ = writeln!(text, "| {name} | {version} |");
        }
        text.push_str("\n| component | SHA-256 |\n|---|---|\n");
        for digest in now {
            let _ = writeln!(text, "| {} | `{}` |", digest.name, digest.sha256);
        }
        text
    }

    /// Names of the rows made with components that are others now, and which these are.
    pub(super) fn stale(&self, now: &[Digest]) -> Vec<String> {
        let mut found = Vec::new();
        for (rows, names) in [(&self.cells, 1), (&self.clients, 2), (&self.specified, 2)] {
            for row in rows {
                let changed = changed(&row.marks, now);
                if !changed.is_empty() {
                    let name = row.columns[..names].join(", ");
                    found.push(format!("{name}: {} changed since", changed.join(" and ")));
                }
            }
        }
        found
    }
}

/// Replaces the row whose first columns are the same, or adds one.
fn put(rows: &mut Vec<Row>, row: Row, names: usize) {
    let same = |known: &&mut Row| known.columns[..names] == row.columns[..names];
    match rows.iter_mut().find(same) {
        Some(known) => *known = row,
        None => rows.push(row),
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
