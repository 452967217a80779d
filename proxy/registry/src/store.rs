//! What was pulled, by its digest, and what tags have named: a start needs no registry then.
//!
//! Blobs are checked against their digests when they are read, so that a damaged one is as good as
//! none. What a tag has named is believed for the folder's sake, in which nobody else can write.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tollgate_config::Reference;
use tollgate_keep::{Folder, FolderError};

use crate::pull::sha256;

/// Bytes of what tags have named.
const NAMES: u64 = 1 << 20;

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("pulled components: {0}")]
pub struct StoreError(#[from] FolderError);

/// A bounded folder of pulled artefacts.
#[derive(Debug)]
pub struct Store {
    blobs: Folder,
    names: Folder,
}

#[derive(Deserialize, Serialize)]
struct Named {
    reference: String,
    /// Of the manifest.
    sha256: String,
}

impl Store {
    /// Opens or makes the folder; blobs in it have `bound` bytes together at most.
    ///
    /// # Errors
    /// When it cannot be made or read, or when others could have written to it.
    pub fn open(folder: &Path, bound: u64) -> Result<Self, StoreError> {
        Ok(Self {
            blobs: Folder::open(folder, ".blob", bound)?,
            names: Folder::open(folder, ".name", NAMES)?,
        })
    }

    /// Bytes of the blobs.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.blobs.held()
    }

    pub(crate) fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        let bytes = self.blobs.read(digest)?;
        if sha256(&bytes) == digest {
            return Some(bytes);
        }
        tracing::warn!(digest, "a pulled blob was damaged; it is fetched again");
        None
    }

    /// Keeps a blob, if that can be done.
    pub(crate) fn keep(&self, digest: &str, bytes: &[u8]) {
        match self.blobs.write(digest, &[bytes]) {
            Ok(true) => {}
            Ok(false) => tracing::warn!(digest, "larger than the whole store; it is not kept"),
            Err(error) => tracing::warn!(%error, digest, "cannot keep what was pulled"),
        }
    }

    /// The manifest that a tag named when it was last asked.
    pub(crate) fn named(&self, reference: &Reference) -> Option<String> {
        let reference = reference.to_string();
        let bytes = self.names.read(&sha256(reference.as_bytes()))?;
        let named: Named = serde_json::from_slice(&bytes).ok()?;
        let digits =
            named.sha256.len() == 64 && named.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (named.reference == reference && digits).then_some(named.sha256)
    }

    pub(crate) fn name(&self, reference: &Reference, digest: &str) {
        let reference = reference.to_string();
        let name = sha256(reference.as_bytes());
        let named = Named {
            reference,
            sha256: digest.to_owned(),
        };
        let bytes = serde_json::to_vec(&named).expect("texts are JSON");
        if let Err(error) = self.names.write(&name, &[&bytes]) {
            tracing::warn!(%error, "cannot keep what a tag names");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_and_names_come_back_and_damaged_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), 100).unwrap();
        let digest = sha256(b"one");
        store.keep(&digest, b"one");
        assert_eq!(store.blob(&digest).as_deref(), Some(&b"one"[..]));
        std::fs::write(folder.path().join(format!("{digest}.blob")), b"two").unwrap();
        assert_eq!(store.blob(&digest), None);

        let reference = Reference::parse("r.example.com/a:v1").unwrap();
        assert_eq!(store.named(&reference), None);
        store.name(&reference, &digest);
        assert_eq!(store.named(&reference), Some(digest));
        let other = Reference::parse("r.example.com/a:v2").unwrap();
        assert_eq!(store.named(&other), None);
    }

    #[test]
    fn blobs_are_bounded_and_the_latest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), 100).unwrap();
        for byte in 0..10 {
            store.keep(&sha256(&[byte; 40]), &[byte; 40]);
            assert!(store.held() <= 100);
        }
        assert!(store.blob(&sha256(&[9; 40])).is_some());
        assert!(store.blob(&sha256(&[0; 40])).is_none());
    }
}
