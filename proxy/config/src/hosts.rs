//! What a route matches on: patterns of hosts and prefixes of paths.

use std::fmt;

use schemars::json_schema;

use crate::scalar::{Invalid, word};
use crate::workers::ServerName;

/// A host's name or IP address, or `*.` and a name: any number of labels, at least one, before it.
/// Compared without regard to case (RFC 9110, section 4.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    wildcard: bool,
    /// In lower case; for a wildcard what follows `*.`.
    name: String,
}

impl HostPattern {
    /// # Errors
    /// When the text is no host, or has a `*` anywhere but as its first label.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.contains(':') && !text.starts_with('[') {
            return Err(Invalid::new("a host is written without a port"));
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
            let address: std::net::Ipv6Addr = inner
                .parse()
                .map_err(|_| Invalid::new("what stands in brackets must be an IPv6 address"))?;
            return Ok(Self {
                wildcard: false,
                name: format!("[{address}]"),
            });
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(Invalid::new(
                "`*` can only be the first label, as in `*.example.com`",
            ));
        }
        let name = ServerName::parse(name)?.as_str().to_owned();
        Ok(Self { wildcard, name })
    }

    /// True for `*.example.com`.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Whether a request's host (no port, any case, a final dot allowed) is meant.
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if !self.wildcard {
            return host.eq_ignore_ascii_case(&self.name);
        }
        let Some(dot) = host.len().checked_sub(self.name.len() + 1) else {
            return false;
        };
        // Bytes: a foreign host may hold anything, and a slice of it may split a character.
        let (label, rest) = host.as_bytes().split_at(dot);
        !label.is_empty()
            && rest.first() == Some(&b'.')
            && rest[1..].eq_ignore_ascii_case(self.name.as_bytes())
    }

    /// Greater is more particular: an exact host, then wildcards by their length.
    pub(crate) fn rank(&self) -> (bool, usize) {
        (!self.wildcard, self.name.len())
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.wildcard { "*." } else { "" })?;
        f.write_str(&self.name)
    }
}

word!(
    HostPattern,
    "a host like `models.example.com`",
    json_schema!({
        "type": "string", "minLength": 1, "maxLength": 255,
    })
);

/// A prefix of whole path segments: `/a` is one of `/a` and `/a/b`, not of `/ab`. Compared byte by
/// byte with the path as it came; so it holds only characters that nobody needs to encode
/// (RFC 3986, unreserved), at most 256.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// # Errors
    /// When the text breaks the rule above, has an empty, `.` or `..` segment, or ends with `/`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let Some(segments) = text.strip_prefix('/') else {
            return Err(Invalid::new("a prefix begins with `/`"));
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        for segment in segments.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(Invalid::new(
                    "a prefix has no empty, `.` or `..` segments and no `/` at its end",
                ));
            }
            if !segment.bytes().all(plain) {
                return Err(Invalid::new(
                    "a prefix is made of letters, digits, `-`, `.`, `_` and `~` between slashes",
                ));
            }
        }
        match text.len() <= 256 {
            true => Ok(Self(text.to_owned())),
            false => Err(Invalid::new("a prefix has at most 256 bytes")),
        }
    }

    /// What is left of a path without the prefix, `/` at least; none when it has another one.
    pub fn strip<'p>(&self, path: &'p str) -> Option<&'p str> {
        match path.strip_prefix(&self.0)? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }

    /// The prefix, with the first slash and without a last one.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

word!(
    PathPrefix,
    "a path prefix like `/namespace/model`",
    json_schema!({
        "type": "string", "pattern": "^(/[A-Za-z0-9._~-]+)+$", "maxLength": 256,
    })
);
