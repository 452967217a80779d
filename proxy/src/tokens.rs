//! The file of hashed tokens, at start and when it changes.

use std::{collections::BTreeSet, path::Path};

use tollgate_config::{Errors, tokens::TokenFile};
use tollgate_edge::{TokenEntry, Tokens};
use tollgate_exchange::tasks;
use tollgate_plugin::Shelf;

/// Reads the file.
pub(crate) fn load(path: &Path, shelf: &Shelf) -> Result<Tokens, Errors> {
    Ok(Tokens::new(entries(path, shelf)?))
}

/// Reads it again; a broken file changes nothing.
pub(crate) fn reload(tokens: &Tokens, path: &Path, shelf: &Shelf) {
    match entries(path, shelf) {
        Ok(entries) => {
            tracing::info!(tokens = entries.len(), "the tokens were read again");
            tokens.replace(entries);
        }
        Err(errors) => tracing::error!(%errors, "the tokens in force stay"),
    }
}

fn entries(path: &Path, shelf: &Shelf) -> Result<Vec<TokenEntry>, Errors> {
    let file = TokenFile::load(path)?;
    mention_strangers(&file, shelf);
    Ok(file
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

/// Says which listed tasks are none: neither the contract's nor any plugin's. They allow nothing, so
/// that a slip in one is safe, and hard to see.
fn mention_strangers(file: &TokenFile, shelf: &Shelf) {
    let claimed: BTreeSet<String> = shelf
        .all()
        .iter()
        .flat_map(|generation| generation.claims())
        .filter_map(|claim| claim.task.as_ref())
        .map(|task| tasks::name(task).to_owned())
        .collect();
    for entry in &file.tokens {
        for task in entry.tasks.iter().flatten() {
            if !task.is_known() && !claimed.contains(task.as_str()) {
                let holder = entry.name.as_str();
                tracing::warn!(%task, holder, "no plugin has a task of this name: it allows nothing");
            }
        }
    }
}
