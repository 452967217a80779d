//! The reference of the configuration, made of its schema: a table for each mapping, one under the other in
//! the order in which one writes them.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

/// Sections that come first; others follow by name.
const ORDER: [&str; 7] = [
    "listeners",
    "admin",
    "tokens",
    "plugins",
    "schedulers",
    "workers",
    "routes",
];

const HEAD: &str = "# Configuration

Every key of a configuration, made of [its schema](../config/schema.json) by `cargo xtask docs`.
`tollgate schema` prints the schema of the binary at hand, for editors that complete and check while one writes.
Examples that are tested: [config/](../config).

`tollgate check FILE` says what is wrong: by line and column, and, for options of plugins and schedulers, in
their own words. `tollgate check --explain FILE` says what a configuration does. A key that is not here is
refused. A key without a default may be left out, unless it is **required**.

* **Time** is written `250ms`, `5s`, `1m 30s`; **size** `512B`, `256KiB`, `16MiB`, `1GiB`.
* **File** is a path; a relative one begins at the folder of the configuration.
* **Name** is made of letters, digits, `.`, `_` and `-`, at most 64, and begins with a letter or digit.
";

/// The page.
///
/// # Errors
/// When the schema is not of the form that is made of the configuration's types.
pub(super) fn page(schema: &Value) -> Result<String> {
    let maker = Maker { schema };
    let properties = members(schema).context("the schema has no properties")?;
    let place = |name: &str| {
        ORDER
            .iter()
            .position(|it| *it == name)
            .unwrap_or(ORDER.len())
    };
    let mut names: Vec<&String> = properties.keys().collect();
    names.sort_by_key(|name| (place(name), *name));
    let mut page = HEAD.to_owned();
    page.push_str("\n| section | what |\n|---|---|\n");
    for name in &names {
        let property = &properties[*name];
        let needed = if maker.required(schema, name) {
            " **Required.**"
        } else {
            ""
        };
        let about = maker.about(property);
        let anchor = super::anchors::slug(name);
        let _ = writeln!(page, "| [`{name}`](#{anchor}) | {about}{needed} |");
    }
    for name in names {
        maker.section(&mut page, name, &properties[name], 2);
    }
    Ok(page)
}

struct Maker<'a> {
    schema: &'a Value,
}

impl<'a> Maker<'a> {
    /// What is behind a reference, and behind `anyOf` with null.
    fn seen(&self, value: &'a Value) -> &'a Value {
        if let Some(path) = value["$ref"].as_str()
            && let Some(found) = path
                .strip_prefix('#')
                .and_then(|it| self.schema.pointer(it))
        {
            return self.seen(found);
        }
        match self.choices(value).as_slice() {
            [only] => self.seen(only),
            _ => value,
        }
    }

    /// The members of an `anyOf` or `oneOf`, without null.
    fn choices(&self, value: &'a Value) -> Vec<&'a Value> {
        let list = value["anyOf"].as_array().or(value["oneOf"].as_array());
        let list = list.map_or(&[][..], Vec::as_slice);
        list.iter().filter(|it| it["type"] != "null").collect()
    }

    /// What it is said to be; where nothing is said, what its type is said to be.
    fn about(&self, value: &'a Value) -> String {
        let said = value["description"].as_str();
        let said = said.or_else(|| self.seen(value)["description"].as_str());
        let said = said.unwrap_or_default().split_whitespace();
        said.collect::<Vec<_>>().join(" ").replace('|', "\\|")
    }

    fn required(&self, owner: &Value, name: &str) -> bool {
        let list = owner["required"].as_array().map_or(&[][..], Vec::as_slice);
        list.iter().any(|it| it == name)
    }

    /// A heading, what it is, its table, and the mappings within it under headings of their own.
    fn section(&self, page: &mut String, path: &str, value: &'a Value, level: usize) {
        let seen = self.seen(value);
        let (path, inner) = if let Some(items) = seen.get("items") {
            (format!("{path}[]"), self.seen(items))
        } else if let Some(named) = by_name(seen) {
            (format!("{path}.NAME"), self.seen(named))
        } else {
            (path.to_owned(), seen)
        };
        let marks = "#".repeat(level.min(4));
        // A section is found by its name alone; what is within it by its place.
        let title = match level {
            2 => path.trim_end_matches("[]").trim_end_matches(".NAME"),
            _ => path.as_str(),
        };
        let _ = write!(page, "\n{marks} `{title}`\n\n");
        let about = self.about(value);
        let also = self.about(inner);
        let _ = writeln!(page, "{about}");
        if also != about && !also.is_empty() {
            let _ = writeln!(page, "\n{also}");
        }
        let parts = self.mappings(inner);
        for &part in &parts {
            if parts.len() > 1 {
                let _ = writeln!(page, "\n{}", self.about(part));
            }
            self.table(page, &path, part, level);
        }
    }

    /// The mappings that a value is, may be, or lists. One of constants alone needs no table.
    fn mappings(&self, value: &'a Value) -> Vec<&'a Value> {
        let seen = self.seen(value);
        if let Some(members) = members(seen) {
            let plain = members.values().all(|it| it.get("const").is_some());
            return if plain { Vec::new() } else { vec![seen] };
        }
        if let Some(listed) = seen.get("items").or_else(|| by_name(seen)) {
            return self.mappings(listed);
        }
        let choices = self.choices(seen);
        choices
            .into_iter()
            .flat_map(|it| self.mappings(it))
            .collect()
    }

    fn table(&self, page: &mut String, path: &str, value: &'a Value, level: usize) {
        let Some(properties) = members(value) else {
            return;
        };
        page.push_str("\n| key | what it takes | default | |\n|---|---|---|---|\n");
        let mut names: Vec<&String> = properties.keys().collect();
        names.sort_by_key(|name| (!self.required(value, name), *name));
        let mut within = Vec::new();
        for name in names {
            let property = &properties[name];
            let default = if self.required(value, name) {
                "**required**".to_owned()
            } else {
                default(property)
            };
            let takes = if self.mappings(property).is_empty() {
                self.takes(property)
            } else {
                within.push((name, property));
                let plain = self.takes(property);
                let place = format!("{path}.{name}{}", self.suffix(property));
                format!("{plain}: [below](#{})", super::anchors::slug(&place))
            };
            let about = self.about(property);
            let _ = writeln!(page, "| `{name}` | {takes} | {default} | {about} |");
        }
        for (name, property) in within {
            self.section(page, &format!("{path}.{name}"), property, level + 1);
        }
    }

    /// What a heading has behind the path of a list or of a mapping by names.
    fn suffix(&self, value: &'a Value) -> &'static str {
        let seen = self.seen(value);
        if seen.get("items").is_some() {
            "[]"
        } else if by_name(seen).is_some() {
            ".NAME"
        } else {
            ""
        }
    }

    /// What one writes there, in words.
    fn takes(&self, value: &'a Value) -> String {
        let seen = self.seen(value);
        let choices = self.choices(seen);
        if choices.len() > 1 {
            let mut words: Vec<String> = choices.iter().map(|it| self.takes(it)).collect();
            words.dedup();
            return words.join(" or ");
        }
        if let Some(only) = seen.get("const") {
            return format!("`{}`", plain(only));
        }
        if let Some(list) = seen["enum"].as_array() {
            let words = list.iter().filter(|it| !it.is_null());
            let words = words.map(|it| format!("`{}`", plain(it)));
            return words.collect::<Vec<_>>().join(", ");
        }
        match kind(seen) {
            "array" => match seen.get("items") {
                Some(items) => format!("list of {}", several(self.takes(items))),
                None => "list".to_owned(),
            },
            "object" => match members(seen) {
                Some(members) if members.values().all(|it| it.get("const").is_some()) => {
                    let word =
                        |(name, it): (&String, &Value)| format!("{name}: {}", plain(&it["const"]));
                    let words: Vec<String> = members.iter().map(word).collect();
                    format!("`{{ {} }}`", words.join(", "))
                }
                Some(_) => "mapping".to_owned(),
                None if by_name(seen).is_some() => "mapping by names".to_owned(),
                None => "mapping".to_owned(),
            },
            "string" => text(seen).to_owned(),
            "integer" | "number" => match (seen.get("minimum"), seen.get("maximum")) {
                (Some(least), Some(most)) => format!("{least} to {most}"),
                (Some(least), None) => format!("number from {least}"),
                _ => "number".to_owned(),
            },
            "boolean" => "`true` or `false`".to_owned(),
            _ => "anything".to_owned(),
        }
    }
}

fn members(value: &Value) -> Option<&Map<String, Value>> {
    value["properties"].as_object()
}

/// What each member is of a mapping whose keys are names.
fn by_name(value: &Value) -> Option<&Value> {
    let patterns = value["patternProperties"].as_object();
    let patterns = patterns.and_then(|it| it.values().next());
    patterns.or_else(|| {
        value
            .get("additionalProperties")
            .filter(|it| it.is_object())
    })
}

/// Its type, without null.
fn kind(value: &Value) -> &str {
    match &value["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str);
            kinds.find(|it| *it != "null").unwrap_or_default()
        }
        _ => "",
    }
}

/// What a text is, by its pattern.
fn text(value: &Value) -> &'static str {
    match value["pattern"].as_str() {
        Some("^([0-9]+ ?[a-z]+ ?)+$|^0$") => "time",
        Some("^[0-9]+ ?(B|KiB|MiB|GiB)$") => "size",
        Some("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$") => "name",
        _ => "text",
    }
}

/// More than one of what [`Maker::takes`] says.
fn several(what: String) -> String {
    match what.as_str() {
        "mapping" | "name" | "text" => what + "s",
        _ => what,
    }
}

fn default(value: &Value) -> String {
    match value.get("default") {
        None | Some(Value::Null | Value::Object(_)) => String::new(),
        Some(it) => format!("`{}`", plain(it)),
    }
}

/// As one would write it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_becomes_tables() {
        let schema = json!({
            "$defs": {
                "Worker": {
                    "description": "One model\n server.",
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "probe": {"anyOf": [{"const": "off", "type": "string"}, {"$ref": "#/$defs/Probe"}],
                                  "description": "How it is asked.", "default": {"every": "5s"}},
                        "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
                                 "description": "Its | name."},
                        "slots": {"type": "integer", "minimum": 1, "maximum": 9, "default": 4,
                                  "description": "At once."},
                        "level": {"enum": ["low", "high", null], "type": ["string", "null"]}
                    }
                },
                "Probe": {
                    "description": "A probe.", "type": "object",
                    "properties": {"every": {"type": "string", "pattern": "^([0-9]+ ?[a-z]+ ?)+$|^0$",
                                             "default": "5s", "description": "So often."}}
                }
            },
            "type": "object",
            "required": ["workers"],
            "properties": {
                "log": {"description": "Last.", "type": "object", "properties": {}},
                "workers": {"description": "Servers.", "type": "array", "items": {"$ref": "#/$defs/Worker"}}
            }
        });
        let page = page(&schema).unwrap();
        for part in [
            "| [`workers`](#workers) | Servers. **Required.** |\n| [`log`](#log) | Last. |",
            "## `workers`\n\nServers.\n\nOne model server.\n",
            "| `name` | name | **required** | Its \\| name. |\n| `level` | `low`, `high` |  |  |",
            "| `probe` | `off` or mapping: [below](#workersprobe) |  | How it is asked. |",
            "| `slots` | 1 to 9 | `4` | At once. |",
            "### `workers[].probe`\n\nHow it is asked.\n",
            "| `every` | time | `5s` | So often. |",
        ] {
            assert!(page.contains(part), "{part}\n---\n{page}");
        }
    }
}
