//! `tollgate plugin verify`: whether a key has signed a component.

use std::path::PathBuf;

use clap::Args;
use tollgate_trust::{Keyring, PublicKey, Unsigned, Verdict};

use super::Outcome;
use crate::supply;

/// What is looked at, and by which keys.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The component; its signature is inside it or beside it (FILE.sig).
    file: PathBuf,
    /// A public key, in PEM; with several, one of them has to have signed.
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
}

/// Says who signed, or why that does not hold.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut keys = Vec::new();
    for path in &arguments.key {
        let key = PublicKey::parse(&supply::read(path, 64 << 10)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        keys.push((path.display().to_string(), key));
    }
    let file = arguments.file.display();
    let (component, signature) = supply::file(&arguments.file)?;
    let verdict = Keyring::new(keys, Unsigned::Refuse)
        .judge(&component, signature.as_deref())
        .map_err(|error| format!("{file}: {error}"))?;
    match verdict {
        Verdict::Signed(key) => println!("{file}: signed by {key}"),
        Verdict::Unsigned | Verdict::Unchecked => {
            return Err(format!("{file}: no signature was checked").into());
        }
    }
    Ok(())
}
