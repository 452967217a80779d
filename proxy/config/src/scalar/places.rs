//! Places: paths of files, and addresses to listen on.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::scalar::{Invalid, text};
use crate::section::{Context, Decode};
use crate::yaml::Node;

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
