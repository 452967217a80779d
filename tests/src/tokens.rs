//! A file of tokens, with the hashes that the proxy wants.

use sha2::{Digest, Sha256};

/// A line of the file: `extra` is more YAML of the entry, `models: ["*"]` and the like.
#[must_use]
pub fn entry(name: &str, token: &str, extra: &str) -> String {
    let hash = hex::encode(Sha256::digest(token.as_bytes()));
    format!("  - {{ name: {name}, sha256: {hash}, {extra} }}\n")
}

/// The file.
#[must_use]
pub fn file(entries: &[String]) -> String {
    format!("tokens:\n{}", entries.concat())
}
