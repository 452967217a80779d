//! Options of a component: a JSON object that only the component understands, in which
//! `{ file: PATH }` stands for the text of a file.
//!
//! 1. Decoding makes JSON of the YAML, and remembers where such a mapping stands.
//! 2. Values that a reference (`${env:NAME}`) stands for are kept apart as secrets: they are handed to
//!    the component, and shown to nobody.
//! 3. [`Options::read`] puts the files' texts in their places. It is called whenever a component is
//!    loaded, so that a changed file comes into force as a changed component does.

use std::fmt;
use std::fs::File;
use std::io::Read;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value};

use crate::problem::Position;
use crate::scalar::{FilePath, MIB};
use crate::secrets::Secrets;
use crate::section::{Context, Decode};
use crate::yaml::{Kind, Node};

/// The one key of a mapping that stands for a file.
const FILE: &str = "file";
/// Bytes of one file.
const MOST_BYTES: usize = 4 * MIB as usize;
/// Files in one component's options.
const MOST_FILES: usize = 64;

/// What is shown in the place of a secret.
const SECRET: &str = "(secret)";

/// Options of a component: a JSON object that only the component understands. Written, shown and
/// debugged without what references in it stand for.
#[derive(Clone, Default, PartialEq)]
pub struct Options {
    object: Map<String, Value>,
    files: Vec<Reference>,
    /// JSON pointers (RFC 6901) of what references stand for.
    secrets: Vec<String>,
}

/// A `{ file: … }` in options.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reference {
    /// JSON pointer (RFC 6901) of the mapping.
    pointer: String,
    /// Where it stands in the configuration.
    pub(crate) at: Position,
    pub(crate) path: FilePath,
}

/// A file that options name cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// It cannot be read.
    #[error("{path} cannot be read: {error}")]
    Read {
        /// The file.
        path: FilePath,
        /// Why.
        error: std::io::Error,
    },
    /// It is too long.
    #[error("{0} is longer than {most} MiB", most = MOST_BYTES >> 20)]
    TooLong(FilePath),
    /// It is no text.
    #[error("{0} is no text in UTF-8")]
    NotText(FilePath),
}

// === impl Options ===

impl Options {
    /// The object. A file is named there and not yet read.
    pub fn as_object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// The files that belong to them.
    pub fn paths(&self) -> impl Iterator<Item = &FilePath> {
        self.files.iter().map(|reference| &reference.path)
    }

    /// The object as it may be shown.
    fn shown(&self) -> Value {
        let mut whole = Value::Object(self.object.clone());
        for pointer in &self.secrets {
            if let Some(place) = whole.pointer_mut(pointer) {
                *place = Value::String(SECRET.to_owned());
            }
        }
        whole
    }

    pub(crate) fn files(&self) -> &[Reference] {
        &self.files
    }

    /// Compact JSON (RFC 8259), with every file's text in its place.
    ///
    /// # Errors
    /// When a file is not there, too long, or no text.
    pub fn read(&self) -> Result<String, OptionsError> {
        let mut whole = Value::Object(self.object.clone());
        for reference in &self.files {
            if let Some(place) = whole.pointer_mut(&reference.pointer) {
                *place = Value::String(reference.read()?);
            }
        }
        Ok(whole.to_string())
    }

    /// What nobody may be shown of these options, as [`read`](Self::read) gave them: the component
    /// that was handed them may quote them in what it says.
    pub fn secrets(&self, read: &str) -> Secrets {
        let whole: Value = serde_json::from_str(read).unwrap_or_default();
        let files = self.files.iter().map(|reference| &reference.pointer);
        let pointers = self.secrets.iter().chain(files);
        Secrets::new(
            pointers.filter_map(|pointer| match whole.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                // Of these there are too few to be secret.
                _ => None,
            }),
        )
    }
}

impl Decode for Options {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let mut found = Found::default();
        let json = json(node, String::new(), &mut found, cx)?;
        let Found { files, secrets } = found;
        if let Some(reference) = files.get(MOST_FILES) {
            let what = format!("more than {MOST_FILES} files in one component's options");
            return cx.refuse(reference.at, what, None);
        }
        match json {
            Value::Object(object) if files.iter().all(|file| !file.pointer.is_empty()) => {
                Some(Self {
                    object,
                    files,
                    secrets,
                })
            }
            _ => cx.refuse(
                node.at,
                format!("expected a mapping of options, found {}", node.describe()),
                None,
            ),
        }
    }
}

impl JsonSchema for Options {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Options".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// What stands in options beside plain values.
#[derive(Default)]
struct Found {
    files: Vec<Reference>,
    secrets: Vec<String>,
}

/// The core schema of YAML 1.2, as far as JSON can say it: what is no null, boolean or JSON number
/// is a text.
fn json(node: &Node, pointer: String, found: &mut Found, cx: &mut Context<'_>) -> Option<Value> {
    if node.written.is_some() {
        found.secrets.push(pointer.clone());
    }
    Some(match &node.kind {
        _ if node.is_null() => Value::Null,
        Kind::Scalar { text, plain: true } => match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            other => match other.parse::<Number>() {
                Ok(number) => Value::Number(number),
                Err(_) => Value::String(other.to_owned()),
            },
        },
        Kind::Scalar { text, .. } => Value::String(text.clone()),
        Kind::List(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                list.push(json(item, format!("{pointer}/{index}"), found, cx)?);
            }
            Value::Array(list)
        }
        Kind::Map(entries) => {
            if let [(key, value)] = entries.as_slice()
                && key.text == FILE
                && let Kind::Scalar { .. } = value.kind
            {
                let path = FilePath::decode(value, cx)?;
                found.files.push(Reference {
                    pointer,
                    at: value.at,
                    path: path.clone(),
                });
                return Some(serde_json::json!({ FILE: path }));
            }
            let mut object = Map::new();
            for (key, value) in entries {
                // RFC 6901, section 3.
                let token = key.text.replace('~', "~0").replace('/', "~1");
                let value = json(value, format!("{pointer}/{token}"), found, cx)?;
                object.insert(key.text.clone(), value);
            }
            Value::Object(object)
        }
    })
}

// === impl Reference ===

impl Reference {
    /// # Errors
    /// See [`OptionsError`].
    pub(crate) fn read(&self) -> Result<String, OptionsError> {
        let path = || self.path.clone();
        let mut bytes = Vec::new();
        // One byte more than allowed tells that there is more.
        File::open(&self.path)
            .and_then(|file| file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes))
            .map_err(|error| OptionsError::Read {
                path: path(),
                error,
            })?;
        if bytes.len() > MOST_BYTES {
            return Err(OptionsError::TooLong(path()));
        }
        String::from_utf8(bytes).map_err(|_| OptionsError::NotText(path()))
    }
}

/// Compact JSON (RFC 8259), files named and not read.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().fmt(f)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Options").field(&self.shown()).finish()
    }
}

impl Serialize for Options {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Config;

    fn options(yaml: &str, folder: &Path) -> Result<Options, String> {
        let text = format!(
            "listeners: [{{ name: a, address: \"127.0.0.1:0\" }}]\n\
             plugins: {{ p: {{ source: \"bundled:p\", options: {yaml} }} }}\n"
        );
        let config =
            Config::parse(&text, &folder.join("t.yaml")).map_err(|errors| errors.to_string())?;
        Ok(config.plugins.into_values().next().unwrap().options)
    }

    #[test]
    fn a_file_is_read_where_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a b.txt"), "one \"two\"\n").unwrap();
        let options = options(
            r#"{ "x/y~z": [1, { file: "a b.txt" }], both: { file: f, other: 1 }, file: 7 }"#,
            folder.path(),
        )
        .unwrap();
        assert_eq!(options.paths().count(), 1);
        let read: Value = serde_json::from_str(&options.read().unwrap()).unwrap();
        let wanted = serde_json::json!({
            "x/y~z": [1, "one \"two\"\n"], "both": {"file": "f", "other": 1}, "file": 7
        });
        assert_eq!(read, wanted);
        let secrets = options.secrets(&read.to_string());
        assert_eq!(
            secrets.masked(r#"got "one \"two\"\n""#),
            r#"got "(masked)\n""#
        );
        // What changes is read again.
        std::fs::write(folder.path().join("a b.txt"), "three").unwrap();
        assert!(options.read().unwrap().contains("three"));
        assert!(!options.to_string().contains("three"));
    }

    #[test]
    fn what_is_no_text_of_that_size_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let read = |content: &[u8]| {
            std::fs::write(folder.path().join("f"), content).unwrap();
            options("{ x: { file: f } }", folder.path()).unwrap().read()
        };
        assert!(read(&vec![b'a'; MOST_BYTES]).is_ok());
        assert!(matches!(
            read(&vec![b'a'; MOST_BYTES + 1]),
            Err(OptionsError::TooLong(_))
        ));
        assert!(matches!(read(b"\xff"), Err(OptionsError::NotText(_))));
        std::fs::remove_file(folder.path().join("f")).unwrap();
        let gone = options("{ x: { file: f } }", folder.path()).unwrap();
        assert!(matches!(gone.read(), Err(OptionsError::Read { .. })));
    }

    #[test]
    fn what_a_reference_stands_for_is_read_and_shown_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "swordfish\r\n").unwrap();
        let yaml = r#"
listeners: [{ name: a, address: "127.0.0.1:0" }]
plugins:
  p:
    source: "bundled:p"
    options: { auth: ["Bearer ${file:key}", "$${not}"], plain: 7 }
"#;
        let path = folder.path().join("t.yaml");
        std::fs::write(&path, yaml).unwrap();
        let loaded = Config::load_with_files(&path).unwrap();
        assert_eq!(loaded.files, [path, folder.path().join("key")]);
        let options = &loaded.config.plugins.values().next().unwrap().options;
        let read: Value = serde_json::from_str(&options.read().unwrap()).unwrap();
        let wanted = serde_json::json!({"auth": ["Bearer swordfish", "${not}"], "plain": 7});
        assert_eq!(read, wanted);
        let secrets = options.secrets(&read.to_string());
        let said = "`Bearer swordfish` is none, swordfish is no token, ${not} is 7";
        let told = "`(masked)` is none, (masked) is no token, ${not} is 7";
        assert_eq!(secrets.masked(said), told);
        let shown = serde_json::json!({"auth": ["(secret)", "${not}"], "plain": 7});
        assert_eq!(serde_json::to_value(options).unwrap(), shown);
        for told in [
            format!("{options}"),
            format!("{:?}", loaded.config),
            crate::explain(&loaded.config),
        ] {
            assert!(!told.contains("swordfish"), "{told}");
        }
    }

    #[test]
    fn there_are_not_too_many_files_and_options_are_none() {
        let folder = Path::new("/nowhere");
        let many = |count: usize| format!("{{ x: [{}] }}", vec!["{ file: f }"; count].join(", "));
        assert!(options(&many(MOST_FILES), folder).is_ok());
        let refused = options(&many(MOST_FILES + 1), folder).unwrap_err();
        assert!(refused.contains("64 files"), "{refused}");
        let refused = options("{ file: f }", folder).unwrap_err();
        assert!(refused.contains("mapping of options"), "{refused}");
    }
}
