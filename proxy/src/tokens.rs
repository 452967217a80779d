//! The file of hashed tokens, at start and when it changes.

use std::path::Path;

use tollgate_config::{Errors, tokens::TokenFile};
use tollgate_edge::{TokenEntry, Tokens};

/// Reads the file.
pub(crate) fn load(path: &Path) -> Result<Tokens, Errors> {
    Ok(Tokens::new(entries(path)?))
}

/// Reads it again; a broken file changes nothing.
pub(crate) fn reload(tokens: &Tokens, path: &Path) {
    match entries(path) {
        Ok(entries) => {
            tracing::info!(tokens = entries.len(), "the tokens were read again");
            tokens.replace(entries);
        }
        Err(errors) => tracing::error!(%errors, "the tokens in force stay"),
    }
}

fn entries(path: &Path) -> Result<Vec<TokenEntry>, Errors> {
    Ok(TokenFile::load(path)?
        .tokens
        .iter()
        .map(|entry| TokenEntry {
            sha256: *entry.sha256.as_bytes(),
            expires: entry.expires.map(|expires| expires.unix_time()),
            name: entry.name.to_string(),
            tenant: entry.tenant().to_string(),
            models: entry.models.iter().map(ToString::to_string).collect(),
            tasks: entry
                .tasks
                .as_ref()
                .map(|tasks| tasks.iter().map(ToString::to_string).collect()),
            priority: entry.priority.get(),
        })
        .collect())
}
