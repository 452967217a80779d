//! The file of hashed tokens: who may come in, and what they may use there.
//!
//! Hashes are plain SHA-256. Slow, salted hashes protect passwords, which people choose and which
//! can be guessed; a token is made of at least 128 random bits, which nobody can, and it is checked
//! on every request, which a slow hash would not allow.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::problem::{Errors, Problem, nearest};
use crate::scalar::{Invalid, Name, word};
use crate::section::{Context, Decode, choice, section};
use crate::yaml::{self, Kind, Node, steps};

section! {
    /// A file of hashed tokens.
    #[name = "file of tokens"]
    pub struct TokenFile {
        /// The tokens. An empty list lets nobody in.
        pub tokens: Vec<TokenEntry>,
    }
}

section! {
    /// A token and what it opens.
    #[name = "token"]
    pub struct TokenEntry {
        /// Name of its holder, for the log; never the token itself.
        pub name: Name,
        /// SHA-256 of the token's bytes, as 64 hexadecimal digits.
        pub sha256: Digest,
        /// Models, by the names that clients use; `*` at the end stands for anything. Empty: none.
        pub models: Vec<ModelPattern>,
        /// Tasks, by their names in the contract, or by those under which plugins claim what they
        /// only pass on. Absent: all but `admin`.
        pub tasks: Option<Vec<Task>> = None,
        /// Instant from which it is refused, in UTC (RFC 3339). Absent: never.
        pub expires: Option<Instant> = None,
        /// Requests of one tenant share its part of the capacity. Absent: the name.
        tenant: Option<Name> = None,
        /// Greater goes first, as far as the scheduler minds it; from -1000 to 1000.
        pub priority: Priority = Priority::default(),
    }
}

impl TokenFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::parse(&crate::config::read(path)?, path)
    }

    /// Reads a text; `origin` is the file that problems name.
    ///
    /// # Errors
    /// When something in it is wrong.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Errors> {
        let root = yaml::parse(text, origin)?;
        let mut cx = Context::new(origin);
        let file = Self::decode(&root, &mut cx);
        let (mut names, mut digests) = (HashSet::new(), HashMap::new());
        for (index, entry) in file.iter().flat_map(|file| &file.tokens).enumerate() {
            let at = |key| root.locate(steps!["tokens", index, key]);
            if !names.insert(&entry.name) {
                cx.refuse::<()>(at("name"), format!("a second token `{}`", entry.name), None);
            }
            if let Some(earlier) = digests.insert(entry.sha256, &entry.name) {
                let what = format!("the same token as that of `{earlier}`");
                cx.refuse::<()>(at("sha256"), what, None);
            }
        }
        Errors::check(cx.problems)?;
        file.ok_or_else(|| Problem::new(origin, None, "this is no file of tokens").into())
    }
}

impl TokenEntry {
    /// The tenant: the name when none is given.
    pub fn tenant(&self) -> &Name {
        self.tenant.as_ref().unwrap_or(&self.name)
    }

    /// Whether a model, by the name that clients use, is allowed.
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.iter().any(|pattern| pattern.matches(model))
    }

    /// Whether a task, by its name in the contract, is allowed.
    pub fn allows_task(&self, task: &str) -> bool {
        self.tasks
            .as_ref()
            .is_none_or(|tasks| tasks.iter().any(|t| t.as_str() == task))
    }

    /// Whether it is refused at an instant, in seconds since 1970-01-01T00:00:00Z.
    pub fn expired(&self, unix_time: u64) -> bool {
        self.expires
            .is_some_and(|expires| expires.unix_time() <= unix_time)
    }
}

choice! {
    /// A task of the contract's `inference` interface, by its name.
    pub enum Known {
        /// Text from text.
        Generate = "generate",
        /// The next message of a conversation.
        Chat = "chat",
        /// Vectors of texts.
        Embed = "embed",
        /// Documents in the order of their fitness for a query.
        Rerank = "rerank",
        /// How alike texts are.
        Similarity = "similarity",
        /// Tokens of a text.
        Tokenize = "tokenize",
        /// The text of tokens.
        Detokenize = "detokenize",
        /// Tensors from tensors.
        Infer = "infer",
        /// Which models there are.
        ListModels = "list-models",
        /// What a model takes and gives.
        ModelMetadata = "model-metadata",
        /// Whether a model can be used.
        ModelReady = "model-ready",
        /// Whether the server lives.
        ServerLive = "server-live",
        /// Whether the server can be used.
        ServerReady = "server-ready",
        /// What the server is.
        ServerMetadata = "server-metadata",
        /// What a plugin offers to operators; never without being listed.
        Admin = "admin",
    }
}

/// A task, by its name: one of the contract's, or one that a plugin claims and no worker is asked in
/// neutral words. Which of the latter there are plugins say, and not the configuration: of a name that
/// is none nothing is allowed. One that is nearly the contract's is taken for a slip.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task(Name);

impl Task {
    /// # Errors
    /// When the text is no name, or all but one of the contract's.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let name = Name::new(text)?;
        let mut known = Known::ALL.iter().map(|task| task.as_str());
        match nearest(text, known.clone()) {
            Some(hint) if !known.any(|task| task == text) => {
                Err(Invalid::new("no task has this name").hint(Some(hint)))
            }
            _ => Ok(Self(name)),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it is the contract's.
    pub fn is_known(&self) -> bool {
        Known::ALL.iter().any(|task| task.as_str() == self.as_str())
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

word!(
    Task,
    "the name of a task",
    json_schema!({
        "anyOf": [
            { "enum": Known::ALL },
            { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" },
        ],
    })
);

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Reads 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digit = |d: u8| char::from(d).to_digit(16);
        let mut digest = [0; 32];
        if text.len() != 2 * digest.len() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Some(Self(digest))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Decode for Digest {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let digest = match &node.kind {
            Kind::Scalar { text, .. } => Self::parse(text),
            _ => None,
        };
        if digest.is_none() {
            // What stands there is not repeated: it may be the token itself.
            cx.refuse::<()>(node.at, "a SHA-256 has 64 hexadecimal digits", None);
        }
        digest
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A model's name, or the beginning of one and `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPattern {
    text: String,
    open: bool,
}

impl ModelPattern {
    /// # Errors
    /// When the text is empty or has a `*` anywhere but at its end.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (begin, open) = match text.strip_suffix('*') {
            Some(begin) => (begin, true),
            None => (text, false),
        };
        if begin.contains('*') {
            return Err(Invalid::new("`*` can only stand at the end"));
        }
        if !open {
            crate::scalar::ModelName::new(begin)?;
        }
        Ok(Self {
            text: begin.to_owned(),
            open,
        })
    }

    /// The name, or the beginning of names.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is the beginning of names.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it means every model that another one means.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match self.open {
            true => other.text.starts_with(&self.text),
            false => !other.open && other.text == self.text,
        }
    }

    /// Whether a model is meant; case matters.
    pub fn matches(&self, model: &str) -> bool {
        match self.open {
            true => model.starts_with(&self.text),
            false => model == self.text,
        }
    }
}

impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.open { "*" } else { "" })
    }
}

word!(
    ModelPattern,
    "a model's name",
    json_schema!({
        "type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[^*]*\\*?$",
    })
);

/// An instant, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let time = humantime::parse_rfc3339(text).map_err(|_| {
            Invalid::new("an instant is written in UTC like `2027-01-01T00:00:00Z`")
        })?;
        time.duration_since(std::time::UNIX_EPOCH)
            .map(|since| Self(since.as_secs()))
            .map_err(|_| Invalid::new("an instant before 1970"))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix_time(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(self.0);
        humantime::format_rfc3339_seconds(time).fmt(f)
    }
}

word!(
    Instant,
    "an instant like `2027-01-01T00:00:00Z`",
    json_schema!({
        "type": "string", "format": "date-time",
    })
);

/// A whole number from -1000 to 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Priority(i32);

impl Priority {
    const MAX: i32 = 1000;

    /// The number.
    pub fn get(self) -> i32 {
        self.0
    }
}

impl Decode for Priority {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Kind::Scalar { text, plain: true } = &node.kind
            && let Ok(value) = text.parse::<i32>()
            && (-Self::MAX..=Self::MAX).contains(&value)
        {
            return Some(Self(value));
        }
        let max = Self::MAX;
        let what = format!(
            "expected a whole number from -{max} to {max}, found {}",
            node.describe()
        );
        cx.refuse(node.at, what, None)
    }
}

impl JsonSchema for Priority {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Priority".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": -Self::MAX, "maximum": Self::MAX })
    }
}
