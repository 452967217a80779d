//! Values of one word: names, counts, sizes, periods, paths. Each is checked where it is made, so
//! that no invalid one can exist.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::section::{Context, Decode};
use crate::yaml::{Kind, Node};

/// Why a word is not the value that was wanted; completes "`word`: …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Invalid {
    what: String,
    hint: Option<String>,
}

impl Invalid {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// Reads a text, plain or quoted, by a type's own rule.
pub(crate) fn text<T>(
    node: &Node,
    cx: &mut Context<'_>,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Option<T> {
    match &node.kind {
        Kind::Scalar { text, .. } if !node.is_null() => match parse(text) {
            Ok(value) => Some(value),
            Err(Invalid { what, hint }) => {
                cx.refuse(node.at, format!("{}: {what}", node.describe()), hint)
            }
        },
        _ => cx.refuse(
            node.at,
            format!("expected {expected}, found {}", node.describe()),
            None,
        ),
    }
}

/// `JsonSchema` and `Decode` for a type read from a text and written as one.
macro_rules! word {
    ($name:ident $(<$(const $p:ident: $t:ty),+>)?, $expected:expr, $schema:expr) => {
        impl $(<$(const $p: $t),+>)? Decode for $name $(<$($p),+>)? {
            fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
                crate::scalar::text(node, cx, &$expected, Self::parse)
            }
        }

        impl $(<$(const $p: $t),+>)? JsonSchema for $name $(<$($p),+>)? {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }

        impl $(<$(const $p: $t),+>)? Serialize for $name $(<$($p),+>)? {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
pub(crate) use word;

/// Name of a thing in the configuration: 1 to 64 letters, digits, `.`, `_`, `-`, beginning with a
/// letter or digit. It is used in logs, metrics and paths, hence the narrow alphabet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// # Errors
    /// When the text breaks the rule above.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let bytes = text.as_bytes();
        let begins = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        if begins && bytes.len() <= 64 && bytes.iter().copied().all(word) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(
            "a name has 1 to 64 letters, digits, `.`, `_` or `-` and begins with a letter or digit",
        ))
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        Self::new(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

word!(
    Name,
    "a name",
    json_schema!({
        "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
    })
);

/// Name of a model, as clients and workers write it: 1 to 256 bytes without control characters and
/// without space at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName(String);

impl ModelName {
    /// # Errors
    /// When the text breaks the rule above.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        let clean = text.trim() == text && !text.chars().any(char::is_control);
        if clean && (1..=256).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(
            "a model's name has 1 to 256 bytes, no control characters and no space at its ends",
        ))
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        Self::new(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

word!(
    ModelName,
    "a model's name",
    json_schema!({
        "type": "string", "minLength": 1, "maxLength": 256,
    })
);

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Count<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// For defaults: out of range does not compile in a constant.
    pub(crate) const fn of(value: u64) -> Self {
        assert!(MIN <= value && value <= MAX && MAX <= u32::MAX as u64);
        Self(value)
    }

    /// The number. `MAX` fits 32 bits.
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// The number, for interfaces of that width.
    pub const fn get_u32(self) -> u32 {
        self.0 as u32
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Count<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u64, const MAX: u64> Decode for Count<MIN, MAX> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Kind::Scalar { text, plain: true } = &node.kind
            && let Ok(value) = text.parse::<u64>()
            && (MIN..=MAX).contains(&value)
        {
            return Some(Self(value));
        }
        let what = format!(
            "expected a whole number from {MIN} to {MAX}, found {}",
            node.describe()
        );
        cx.refuse(node.at, what, None)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Count<MIN, MAX> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A length of time from `MIN` to `MAX` milliseconds, written `250ms`, `5s`, `1m 30s`, `2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Period<MIN, MAX> {
    pub(crate) const fn millis(millis: u64) -> Self {
        assert!(MIN <= millis && millis <= MAX);
        Self(Duration::from_millis(millis))
    }

    pub(crate) const fn secs(secs: u64) -> Self {
        Self::millis(secs * 1000)
    }

    /// The length.
    pub const fn get(self) -> Duration {
        self.0
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
        let value = humantime::parse_duration(text).map_err(|_| {
            Invalid::new("a length of time is written like `250ms`, `5s` or `1m 30s`")
        })?;
        if (min..=max).contains(&value) {
            return Ok(Self(value));
        }
        let (min, max) = (
            humantime::format_duration(min),
            humantime::format_duration(max),
        );
        Err(Invalid::new(format!(
            "out of range, which is from {min} to {max}"
        )))
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Period<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

word!(Period<const MIN: u64, const MAX: u64>, "a length of time like `5s`", json_schema!({
    "type": "string",
    "pattern": "^([0-9]+ ?[a-z]+ ?)+$|^0$",
    "examples": ["250ms", "5s", "1m 30s"],
}));

/// A number of bytes from `MIN` to `MAX`, written `512B`, `256KiB`, `16MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size<const MIN: u64, const MAX: u64>(u64);

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
const UNITS: [(&str, u64); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    pub(crate) const fn of(bytes: u64) -> Self {
        assert!(MIN <= bytes && bytes <= MAX);
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// The number of bytes, for interfaces of that width.
    pub const fn get_u64(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("a size is written like `512B`, `256KiB`, `16MiB` or `1GiB`");
        let (number, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
            .ok_or_else(wrong)?;
        let number: u64 = number.trim_end().parse().map_err(|_| wrong())?;
        match number.checked_mul(unit) {
            Some(bytes) if (MIN..=MAX).contains(&bytes) => Ok(Self(bytes)),
            _ => {
                let (min, max) = (Size::<0, { u64::MAX }>(MIN), Size::<0, { u64::MAX }>(MAX));
                Err(Invalid::new(format!(
                    "out of range, which is from {min} to {max}"
                )))
            }
        }
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Size<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, unit): &&(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        let (suffix, unit) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{suffix}", self.0 / unit)
    }
}

word!(Size<const MIN: u64, const MAX: u64>, "a size like `256KiB`", json_schema!({
    "type": "string",
    "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)$",
    "examples": ["256KiB", "16MiB"],
}));

/// Path of a file or folder; a relative one was resolved against the configuration's folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct FilePath(PathBuf);

impl FilePath {
    /// # Errors
    /// When the text is empty.
    pub(crate) fn resolve(base: &Path, text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::new("a path cannot be empty"));
        }
        Ok(Self(base.join(text)))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Decode for FilePath {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let base = cx.base.to_owned();
        text(node, cx, "a path", |word| Self::resolve(&base, word))
    }
}

impl JsonSchema for FilePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FilePath".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl Decode for SocketAddr {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        text(node, cx, "an address like `127.0.0.1:8080`", |word| {
            word.parse().map_err(|_| {
                Invalid::new(
                    "an address is an IP address and a port, like `127.0.0.1:8080` or `[::]:0`",
                )
            })
        })
    }
}
