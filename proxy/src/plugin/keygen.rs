//! `tollgate plugin keygen`: a pair of keys for signing components.

use std::{
    ffi::OsString,
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::Args;
use tollgate_trust::SecretKey;

use super::Outcome;

/// Where the keys go.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The pair: PATH.key, for who signs, and PATH.pub, for who runs what was signed.
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

/// Makes a pair. Files that are there already stay.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let (private, public) = (with(&arguments.path, ".key"), with(&arguments.path, ".pub"));
    for path in [&private, &public] {
        if fs::symlink_metadata(path).is_ok() {
            return Err(format!(
                "{} is there already; a key that was used is not written over",
                path.display()
            )
            .into());
        }
    }
    let key = SecretKey::generate()?;
    write(&private, key.to_pem().as_bytes(), 0o600)?;
    write(&public, key.public().to_pem().as_bytes(), 0o644)?;
    println!(
        "{}: the private key; keep it where components are signed, and nowhere else\n\
         {}: the public key {}; for a configuration:\n\n  \
         trust:\n    keys: [{{ name: {}, file: {} }}]",
        private.display(),
        public.display(),
        key.public().id(),
        name(&arguments.path),
        public.display()
    );
    Ok(())
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(ending);
    name.into()
}

/// A name that a configuration takes.
fn name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy());
    match name {
        Some(name) if tollgate_config::Name::new(&name).is_ok() => name.into_owned(),
        _ => "signer".to_owned(),
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> Outcome {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    file.write_all(content)?;
    Ok(())
}
