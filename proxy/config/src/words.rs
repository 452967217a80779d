//! Words of `authentication`: texts, pointers, patterns of names, places where something is asked.

use std::fmt;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::scalar::{FilePath, Invalid, text, word};
use crate::section::{Context, Decode};
use crate::workers::{NetworkAddress, Scheme};
use crate::yaml::Node;

/// A text of 1 to 512 bytes without control characters and without space at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text(String);

impl Text {
    /// For defaults.
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let clean = text.trim() == text && !text.chars().any(char::is_control);
        if clean && (1..=512).contains(&text.len()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(
            "a text has 1 to 512 bytes, no control characters and no space at its ends",
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

word!(
    Text,
    "a text",
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 512 })
);

/// A JSON pointer (RFC 6901) to something within an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(String);

impl Pointer {
    /// For defaults.
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let mut escapes = text.split('~').skip(1);
        let escaped = escapes.all(|rest| rest.starts_with(['0', '1']));
        if text.starts_with('/') && text.len() <= 512 && escaped {
            return Ok(Self(text.to_owned()));
        }
        Err(Invalid::new(
            "a pointer is written like `/sub` or `/access/models`, with `~1` for a `/` in a name and \
             `~0` for a `~`",
        ))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

word!(
    Pointer,
    "a pointer like `/sub`",
    json_schema!({ "type": "string", "pattern": "^/", "maxLength": 512 })
);

/// A name that comes in parts, with `*` in place of those that may be anything. What separates the
/// parts is said where it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let Text(text) = Text::parse(text)?;
        let separates = |c: Option<char>| c.is_none_or(|c| matches!(c, '/' | '.' | ':'));
        let whole = text.match_indices('*').all(|(at, star)| {
            let (before, after) = (&text[..at], &text[at + star.len()..]);
            separates(before.chars().next_back()) && separates(after.chars().next())
        });
        match whole {
            true => Ok(Self(text)),
            false => Err(Invalid::new(
                "`*` can only stand for a whole part of a name",
            )),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

word!(
    NamePattern,
    "a name, with `*` for parts of it",
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 512 })
);

/// Where something is asked over HTTP: over TLS, or in the clear on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebAddress {
    at: NetworkAddress,
    path: String,
}

impl WebAddress {
    /// The API server as it is known in every pod of a cluster.
    pub(crate) fn of_a_pod() -> Self {
        let host = "kubernetes.default.svc".to_owned();
        Self {
            at: NetworkAddress::new(Scheme::Https, host, 443),
            path: String::new(),
        }
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("an address is written like `https://example.com/keys`");
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        if !matches!(scheme, "http" | "https") {
            return Err(wrong());
        }
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let at = NetworkAddress::parse(&format!("{scheme}://{authority}"))?;
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err(Invalid::new(
                "the path has a character that has to be escaped",
            ));
        }
        let here = at.host() == "localhost"
            || at.host().parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
        if !at.scheme().is_tls() && !here {
            return Err(Invalid::new(
                "in the clear anybody on the way could answer; use `https`",
            ));
        }
        let path = path.strip_suffix('/').unwrap_or(path).to_owned();
        Ok(Self { at, path })
    }

    /// Host and port, and whether it is TLS.
    pub fn at(&self) -> &NetworkAddress {
        &self.at
    }

    /// Path and query, without a `/` at its end; empty for none.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.at.scheme(),
            self.at.authority(),
            self.path
        )
    }
}

word!(
    WebAddress,
    "an address like `https://example.com`",
    json_schema!({ "type": "string", "pattern": "^https?://" })
);

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// In a file.
    File(FilePath),
    /// Where they are published.
    Web(WebAddress),
}

impl Decode for KeyPlace {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let base = cx.base.to_owned();
        let expected = "a path, or an address like `https://example.com/keys`";
        text(node, cx, expected, |word| match word.contains("://") {
            true => WebAddress::parse(word).map(Self::Web),
            false => FilePath::resolve(&base, word).map(Self::File),
        })
    }
}

impl JsonSchema for KeyPlace {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeyPlace".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl Serialize for KeyPlace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Web(address) => address.fmt(f),
        }
    }
}
