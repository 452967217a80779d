//! What is different between two configurations, by paths, for the log; and what of it cannot
//! change while the proxy serves.
//!
//! Both are told as they are written, with secrets hidden, so that a secret's change is told and
//! neither of its values. Items of lists that have names are told apart by them.

use std::fmt;

use serde_json::Value;

use crate::config::Config;

/// Characters of a value that are shown.
const SHOWN: usize = 80;

/// One thing that is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    path: String,
    before: Option<String>,
    after: Option<String>,
}

impl Change {
    /// Where: `routes[chat].limits.timeout`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            before,
            after,
        } = self;
        match (before, after) {
            (None, None) => write!(f, "{path}: a secret has changed"),
            (None, Some(_)) => write!(f, "{path} is new"),
            (Some(_), None) => write!(f, "{path} is gone"),
            (Some(before), Some(after)) => write!(f, "{path}: {before} → {after}"),
        }
    }
}

/// What is different, in the order of the file's sections; empty: they say the same.
pub fn changes(before: &Config, after: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    if before == after {
        return changes;
    }
    if let (Ok(one), Ok(other)) = (serde_json::to_value(before), serde_json::to_value(after)) {
        differ(String::new(), &one, &other, &mut changes);
    }
    for path in hidden(before, after) {
        let below = format!("{path}.");
        let told = |change: &Change| change.path.starts_with(&below);
        if !changes.iter().any(told) {
            changes.push(Change {
                path,
                before: None,
                after: None,
            });
        }
    }
    changes
}

/// Sections with options that are different, maybe only in what is not shown.
fn hidden(before: &Config, after: &Config) -> Vec<String> {
    let plugins = before.plugins.iter().filter_map(|(name, plugin)| {
        let other = after.plugins.get(name)?;
        (plugin.options != other.options).then(|| format!("plugins.{name}"))
    });
    let schedulers = before.schedulers.iter().filter_map(|(name, scheduler)| {
        let other = after.schedulers.get(name)?;
        (scheduler.options != other.options).then(|| format!("schedulers.{name}"))
    });
    let workers = before.workers.iter().filter_map(|worker| {
        let other = after.worker(&worker.name)?;
        (worker.options != other.options).then(|| format!("workers[{}]", worker.name))
    });
    plugins.chain(schedulers).chain(workers).collect()
}

/// What is different and takes another process: the sockets, and what the process was built upon.
/// Paths, as [`Change::path`] has them.
pub fn fixed(before: &Config, after: &Config) -> Vec<String> {
    let mut fixed = Vec::new();
    for listener in &before.listeners {
        match after.listener(&listener.name) {
            None => fixed.push(format!("listeners[{}]", listener.name)),
            Some(other) if other.address != listener.address => {
                fixed.push(format!("listeners[{}].address", listener.name));
            }
            Some(_) => {}
        }
    }
    for listener in &after.listeners {
        if before.listener(&listener.name).is_none() {
            fixed.push(format!("listeners[{}]", listener.name));
        }
    }
    match (&before.admin, &after.admin) {
        (Some(one), Some(other)) => {
            for (key, differs) in [
                ("address", one.address != other.address),
                ("tls", one.tls != other.tls),
                ("from-elsewhere", one.from_elsewhere != other.from_elsewhere),
                ("hosts", one.hosts != other.hosts),
            ] {
                if differs {
                    fixed.push(format!("admin.{key}"));
                }
            }
        }
        (None, None) => {}
        (None, Some(_)) | (Some(_), None) => fixed.push("admin".to_owned()),
    }
    let (one, other) = (&before.runtime, &after.runtime);
    for (key, differs) in [
        ("threads", one.threads != other.threads),
        ("cache-dir", one.cache_dir != other.cache_dir),
        ("cache-size", one.cache_size != other.cache_size),
    ] {
        if differs {
            fixed.push(format!("runtime.{key}"));
        }
    }
    if before.telemetry != after.telemetry {
        fixed.push("telemetry".to_owned());
    }
    if before.log.format != after.log.format {
        fixed.push("log.format".to_owned());
    }
    fixed
}

fn differ(path: String, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(one), Value::Object(other)) => {
            let below = |key: &str| match path.is_empty() {
                true => key.to_owned(),
                false => format!("{path}.{key}"),
            };
            for (key, value) in one {
                match other.get(key) {
                    Some(after) => differ(below(key), value, after, changes),
                    None => changes.push(gone(below(key), value)),
                }
            }
            for (key, value) in other.iter().filter(|(key, _)| !one.contains_key(*key)) {
                changes.push(new(below(key), value));
            }
        }
        (Value::Array(one), Value::Array(other)) if named(one) && named(other) => {
            let find = |list: &[Value], name: &Value| {
                list.iter().find(|item| item["name"] == *name).cloned()
            };
            let below = |name: &Value| format!("{path}[{}]", name.as_str().unwrap_or_default());
            let before = changes.len();
            for item in one {
                let name = &item["name"];
                match find(other, name) {
                    Some(after) => differ(below(name), item, &after, changes),
                    None => changes.push(gone(below(name), item)),
                }
            }
            for item in other {
                if find(one, &item["name"]).is_none() {
                    changes.push(new(below(&item["name"]), item));
                }
            }
            if changes.len() == before {
                changes.push(Change {
                    path,
                    before: Some("another order".to_owned()),
                    after: Some("this one".to_owned()),
                });
            }
        }
        _ => {
            let (before, after) = match is_foreign(&path) {
                true => (hidden_text(before), hidden_text(after)),
                false => (short(before), short(after)),
            };
            changes.push(Change {
                path,
                before: Some(before),
                after: Some(after),
            });
        }
    }
}

/// What only a component or another server understands may hold anything, also a secret that is written
/// out.
fn is_foreign(path: &str) -> bool {
    let names = ["options", "headers", "metadata", "parameters"];
    path.split('.').any(|part| names.contains(&part))
}

fn hidden_text(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => short(value),
        _ => "(not shown)".to_owned(),
    }
}

fn gone(path: String, value: &Value) -> Change {
    Change {
        path,
        before: Some(short(value)),
        after: None,
    }
}

fn new(path: String, value: &Value) -> Change {
    Change {
        path,
        before: None,
        after: Some(short(value)),
    }
}

fn named(list: &[Value]) -> bool {
    list.iter().all(|item| item["name"].is_string())
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        value => value.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BASE: &str = r#"
listeners:
  - { name: a, address: "127.0.0.1:1" }
  - { name: b, address: "127.0.0.1:2" }
plugins: { p: { source: "bundled:p", options: { x: 1 } }, q: { source: "bundled:q" } }
workers: [{ name: w, address: "http://w", protocol: p }]
routes: [{ name: r, frontends: [p], workers: [w], auth: open }]
"#;

    fn read(yaml: &str) -> Config {
        Config::parse(yaml, Path::new("t.yaml")).expect("it is right")
    }

    fn told(change: impl Fn(&str) -> String) -> Vec<String> {
        let changes = changes(&read(BASE), &read(&change(BASE)));
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn changes_are_told_by_their_paths() {
        assert!(told(str::to_owned).is_empty());
        assert!(told(|yaml| format!("# nothing\n{yaml}")).is_empty());
        assert_eq!(
            told(|yaml| yaml.replace("auth: open", "auth: open, limits: { timeout: 1m }")),
            [r#"routes[r].limits.timeout: "5m" → "1m""#]
        );
        assert_eq!(
            told(|yaml| yaml
                .replace("x: 1", "x: 2")
                .replace("name: w,", "name: w, slots: 9,")),
            ["plugins.p.options.x: 1 → 2", "workers[w].slots: 64 → 9"]
        );
        assert_eq!(
            told(|yaml| yaml
                .replace("  - { name: b", "  - { name: c")
                .replace("q: {", "z: {")),
            [
                "listeners[b] is gone",
                "listeners[c] is new",
                "plugins.q is gone",
                "plugins.z is new"
            ]
        );
    }

    #[test]
    fn texts_that_only_a_component_understands_are_not_repeated() {
        assert_eq!(
            told(|yaml| yaml.replace("x: 1", "x: swordfish")),
            ["plugins.p.options.x: 1 → (not shown)"]
        );
    }

    #[test]
    fn a_secret_that_changes_is_told_and_neither_of_its_values() {
        let folder = tempfile::tempdir().expect("there is a place");
        let path = folder.path().join("t.yaml");
        let yaml = BASE.replace("x: 1", "x: \"${file:key}\"");
        std::fs::write(&path, yaml).expect("it can be written");
        let read = |key: &str| {
            std::fs::write(folder.path().join("key"), key).expect("it can be written");
            Config::load(&path).expect("it is right")
        };
        let (before, after) = (read("first"), read("second"));
        let changes: Vec<_> = changes(&before, &after)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(changes, ["plugins.p: a secret has changed"]);
    }

    #[test]
    fn what_takes_another_process_is_named() {
        let fixed = |change: &dyn Fn(&str) -> String| fixed(&read(BASE), &read(&change(BASE)));
        assert!(fixed(&|yaml| yaml.replace("auth: open", "auth: open, hosts: [a.b]")).is_empty());
        assert_eq!(
            fixed(&|yaml| yaml.replace("127.0.0.1:2", "127.0.0.1:3")),
            ["listeners[b].address"]
        );
        assert_eq!(
            fixed(&|yaml| yaml.replace("name: b", "name: c")),
            ["listeners[b]", "listeners[c]"]
        );
        assert_eq!(
            fixed(&|yaml| format!(
                "{yaml}admin: {{ address: \"127.0.0.1:9\" }}\nruntime: {{ threads: 3 }}\nlog: {{ \
                 format: json, level: debug }}\n"
            )),
            ["admin", "runtime.threads", "log.format"]
        );
    }
}
