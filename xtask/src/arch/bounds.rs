//! The table of bounds (`proxy/BOUNDS.md`): what it names is there, and what grows is named in it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::source::Source;

/// Where the table is.
pub(super) const TABLE: &str = "proxy/BOUNDS.md";

/// Columns of a row: what, where, bound, what happens, figure, test.
const COLUMNS: usize = 6;

/// What grows while a proxy runs: collections in fields, by their type.
const COLLECTIONS: [&str; 8] = [
    "HashMap",
    "HashSet",
    "DashMap",
    "VecDeque",
    "BTreeMap",
    "BTreeSet",
    "FuturesUnordered",
    "JoinSet",
];

/// What starts something that outlives the function: tasks, threads and queues between them.
const STARTS: [&str; 3] = ["spawn", "channel", "sync_channel"];

/// Constructors without a bound.
const BOUNDLESS: [&str; 4] = [
    "unbounded_channel",
    "unbounded",
    "UnboundedSender",
    "UnboundedReceiver",
];

/// Names in the table that are not to be found; `schema` is that of a configuration.
pub(super) fn table(text: &str, schema: &Value, sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for (at, cells) in rows(text) {
        let mut wrong = |what: String| violations.push(format!("{TABLE}:{at}: {what}"));
        if cells.len() != COLUMNS {
            wrong(format!("{} columns, not {COLUMNS}", cells.len()));
            continue;
        }
        let files = names(cells[1]);
        if files.is_empty() {
            wrong("no file".to_owned());
        }
        for file in files {
            if !sources.iter().any(|source| source.path == file) {
                wrong(format!("there is no file {file}"));
            }
        }
        for option in names(cells[2])
            .into_iter()
            .filter(|name| name.contains('.'))
        {
            if !is_option(schema, option) {
                wrong(format!("there is no option {option}"));
            }
        }
        for figure in names(cells[4]) {
            let literal = format!("\"{figure}\"");
            if !host(sources).any(|source| source.text.contains(&literal)) {
                wrong(format!("there is no figure {figure}"));
            }
        }
        for test in names(cells[5]) {
            let function = format!("fn {test}(");
            if !sources.iter().any(|source| source.text.contains(&function)) {
                wrong(format!("there is no test {test}"));
            }
        }
    }
    violations
}

/// Files of the host that keep, queue or start something, and that the table does not name.
pub(super) fn unnamed(text: &str, sources: &[Source]) -> Vec<String> {
    let named: BTreeSet<&str> = rows(text).flat_map(|(_, cells)| names(cells[1])).collect();
    let mut violations = Vec::new();
    for source in host(sources).filter(|source| !source.is_test()) {
        if named.contains(source.path.as_str()) {
            continue;
        }
        if let Some((line, what)) = grows(source) {
            violations.push(format!(
                "{}:{line}: {what} is in no row of {TABLE}",
                source.path
            ));
        }
    }
    violations
}

/// Constructors that take no bound.
pub(super) fn boundless(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in host(sources) {
        for word in BOUNDLESS {
            let lines = source.lines_with(word);
            violations.extend(lines.map(|line| format!("{}:{line}: {word}", source.path)));
        }
    }
    violations
}

/// The first line outside of tests with a field that is a collection, or that starts something.
fn grows(source: &Source) -> Option<(usize, &'static str)> {
    let mut inside = false;
    for (at, line) in source.code.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("#[cfg(test)]") {
            return None;
        }
        // A field stands in a struct or a variant, and ends with a comma; an argument does too, but
        // those of functions are borrowed or moved in from a field.
        if line.ends_with('{') {
            let declares = ["struct ", "enum "].iter().any(|word| line.contains(word));
            inside = declares || (inside && !line.contains("fn ") && !line.starts_with("impl"));
        }
        if inside
            && let Some((_, kind)) = line.split_once(": ")
            && let Some(word) = COLLECTIONS
                .iter()
                .find(|word| kind.contains(&format!("{word}<")))
        {
            return Some((at + 1, word));
        }
        let started = STARTS.iter().find(|word| {
            line.match_indices(&format!("{word}(")).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_some_and(|c| c == '.' || c == ':' || c == ' ')
                    && !line[..at].ends_with("fn ")
                    && !line[..at].ends_with("oneshot::")
            })
        });
        if let Some(word) = started {
            return Some((at + 1, word));
        }
    }
    None
}

/// Rows of the table with their lines, without its head.
fn rows(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| line.starts_with('|'));
    lines.skip(2).map(|(at, line)| {
        let cells = line.trim().trim_matches('|').split('|');
        (at + 1, cells.map(str::trim).collect())
    })
}

/// What stands between backticks.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn is_option(schema: &Value, option: &str) -> bool {
    option.split_once('.').is_some_and(|(section, key)| {
        let properties = &schema["$defs"][section]["properties"];
        properties.get(key).is_some()
    })
}

fn host(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources
        .iter()
        .filter(|source| source.path.starts_with("proxy/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HEAD: &str = "| what | where | bound | at | figure | test |\n|---|---|---|---|---|---|\n";

    fn check(row: &str) -> Vec<String> {
        let sources = [
            Source::new("proxy/a/src/a.rs", "gauge(\"queue\")"),
            Source::new("tests/tests/a.rs", "async fn it_is_full() {}"),
        ];
        let schema = json!({"$defs": {"Queue": {"properties": {"requests": {}}}}});
        table(&format!("{HEAD}{row}\n"), &schema, &sources)
    }

    #[test]
    fn what_the_table_names_is_looked_for() {
        let whole = "| it | `proxy/a/src/a.rs` | `Queue.requests` | 503 | `queue` | `it_is_full` |";
        assert_eq!(check(whole), [""; 0]);
        for (name, wrong) in [
            ("a/src/a.rs", "file"),
            ("requests", "option"),
            ("`queue", "figure"),
            ("it_is_full", "test"),
        ] {
            let found = check(&whole.replace(name, &format!("{name}s")));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(wrong), "{found:?}");
        }
        assert_eq!(check("| it | `proxy/a/src/a.rs` |").len(), 1);
    }

    #[test]
    fn what_grows_is_to_be_named() {
        let grown = |code: &str| {
            let sources = [Source::new("proxy/a/src/a.rs", code)];
            unnamed(HEAD, &sources).len()
        };
        for code in [
            "struct A {\n    kept: HashMap<u32, B>,\n}",
            "enum A {\n    B {\n        kept: Mutex<VecDeque<B>>,\n    },\n}",
            "fn f() {\n    tokio::spawn(g());\n}",
            "fn f() {\n    let (a, b) = mpsc::channel(16);\n}",
        ] {
            assert_eq!(grown(code), 1, "{code}");
        }
        for code in [
            "fn f(kept: &HashMap<u32, B>) {\n    g();\n}",
            "fn channel(limit: usize) {}",
            "fn f() {\n    let (a, b) = oneshot::channel();\n}",
            "#[cfg(test)]\nmod tests {\n    struct A {\n        kept: HashMap<u32, B>,\n    }\n}",
        ] {
            assert_eq!(grown(code), 0, "{code}");
        }
        let row = "| it | `proxy/a/src/a.rs` | 1 | | | |\n";
        let sources = [Source::new(
            "proxy/a/src/a.rs",
            "fn f() {\n    tokio::spawn(g());\n}",
        )];
        assert_eq!(unnamed(&format!("{HEAD}{row}"), &sources), [""; 0]);
    }

    #[test]
    fn constructors_without_a_bound_are_found() {
        let text = "let (a, b) = mpsc::unbounded_channel();";
        assert_eq!(boundless(&[Source::new("proxy/a/src/a.rs", text)]).len(), 1);
        let text = "let (a, b) = mpsc::channel(1); // unbounded_channel";
        assert!(boundless(&[Source::new("proxy/a/src/a.rs", text)]).is_empty());
    }
}
