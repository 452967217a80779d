//! Names: of things in the configuration, and of models.

use std::fmt;

use schemars::json_schema;

use crate::scalar::{Invalid, word};

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
