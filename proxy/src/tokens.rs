//! The file of hashed tokens, at start and when it changes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tollgate_config::{Errors, tokens::TokenFile};
use tollgate_edge::{TokenEntry, Tokens};
use tollgate_exchange::tasks;
use tollgate_identity::{Grant, Tenants};
use tollgate_plugin::Shelf;

use crate::life::Running;

/// How often files of tokens are looked at.
const WATCH: Duration = Duration::from_secs(2);

/// Reads the file.
pub(crate) fn load(path: &Path, shelf: &Shelf, tenants: &Tenants) -> Result<Tokens, Errors> {
    Ok(Tokens::new(entries(path, shelf, tenants)?))
}

/// Takes in files of tokens that change, until it is dropped.
pub(crate) async fn keep(running: Arc<Running>) {
    let mut seen: Vec<_> = files(&running).map(|(path, _)| stamp(&path)).collect();
    if seen.is_empty() {
        return;
    }
    loop {
        tokio::time::sleep(WATCH).await;
        for ((path, tokens), seen) in files(&running).zip(&mut seen) {
            let now = stamp(&path);
            if now.is_some() && now != *seen {
                *seen = now;
                let assembled = &running.assembled;
                let tenants = &assembled.identities.tenants;
                reload(tokens, &path, &assembled.house.shelf, tenants);
            }
        }
    }
}

/// Reads all files of tokens again.
pub(crate) fn reload_all(running: &Running) {
    let assembled = &running.assembled;
    for (path, tokens) in files(running) {
        let tenants = &assembled.identities.tenants;
        reload(tokens, &path, &assembled.house.shelf, tenants);
    }
}

/// The files of a configuration, and what was made of each.
fn files(running: &Running) -> impl Iterator<Item = (PathBuf, &Arc<Tokens>)> {
    let assembled = &running.assembled;
    let config = &assembled.config;
    let clients = config.tokens.as_ref().map(|section| &section.file);
    let admins = config.admin.as_ref().and_then(|it| it.tokens.as_ref());
    let files = [
        clients.zip(assembled.tokens.as_ref()),
        admins.zip(assembled.operators.as_ref()),
    ];
    let files = files.into_iter().flatten();
    files.map(|(path, tokens)| (path.as_path().to_owned(), tokens))
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads it again; a broken file changes nothing.
pub(crate) fn reload(tokens: &Tokens, path: &Path, shelf: &Shelf, tenants: &Tenants) {
    match entries(path, shelf, tenants) {
        Ok(entries) => {
            tracing::info!(tokens = entries.len(), "the tokens were read again");
            tokens.replace(entries);
        }
        Err(errors) => tracing::error!(%errors, "the tokens in force stay"),
    }
}

fn entries(path: &Path, shelf: &Shelf, tenants: &Tenants) -> Result<Vec<TokenEntry>, Errors> {
    let file = TokenFile::load(path)?;
    mention_strangers(&file, shelf);
    Ok(file
        .tokens
        .iter()
        .map(|entry| TokenEntry {
            sha256: *entry.sha256.as_bytes(),
            expires: entry.expires.map(|expires| expires.unix_time()),
            tenant: tenants.of(entry.tenant().as_str()),
            grant: Grant {
                name: entry.name.to_string(),
                models: Some(entry.models.iter().map(ToString::to_string).collect()),
                tasks: entry
                    .tasks
                    .as_ref()
                    .map(|tasks| tasks.iter().map(ToString::to_string).collect()),
                priority: entry.priority.get(),
            },
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
