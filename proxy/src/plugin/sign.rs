//! `tollgate plugin sign`: a signature beside a component, or inside it.

use std::path::PathBuf;

use clap::Args;
use tollgate_trust::{Binary, SecretKey, Signatures};

use super::Outcome;
use crate::supply;

/// What is signed by whom.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The component.
    file: PathBuf,
    /// The private key, in PEM, as `keygen` or `openssl genpkey -algorithm ed25519` writes it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Puts the signature into the component, where it travels with it, instead of beside it
    /// (FILE.sig). The component's SHA-256 is another then.
    #[arg(long)]
    embed: bool,
}

/// Signs. Signatures of others over the same component stay.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let path = &arguments.file;
    let (component, beside) = supply::file(path)?;
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let binary = Binary::parse(&component).map_err(|error| named(&error))?;
    let key = supply::read(&arguments.key, 64 << 10)?;
    let key =
        SecretKey::parse(&key).map_err(|error| format!("{}: {error}", arguments.key.display()))?;
    let kept = match arguments.embed {
        true => binary.signature(),
        false => beside.as_deref(),
    };
    // A damaged one is replaced.
    let mut signatures = kept
        .and_then(|bytes| Signatures::parse(bytes).ok())
        .unwrap_or_default();
    signatures.sign(&binary, &key);
    let bytes = signatures.to_bytes();
    let (target, content) = match arguments.embed {
        true => (path.clone(), binary.embed(&bytes)),
        false => (supply::signature_file(path), bytes),
    };
    super::files::replace(&target, &content)?;
    println!("{}: signed by key {}", target.display(), key.public().id());
    Ok(())
}
