//! Texts that are kept beside what made them. `TOLLGATE_BLESS=1` writes them anew, for a person
//! to read through in the diff.

#![allow(
    dead_code,
    reason = "every test binary has its own copy, and none needs all of it"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// This crate's `tests` folder.
pub(crate) fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The repository's `config` folder.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

/// The files of a folder with that ending, in order.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|end| end == ending));
    files.sort();
    files
}

/// Panics with both texts when they differ.
pub(crate) fn expect(found: &str, golden: &Path) {
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::write(golden, found).expect("the golden text can be written");
    }
    let expected = fs::read_to_string(golden).unwrap_or_default();
    assert!(
        found == expected,
        "{} differs.\n--- expected\n{expected}\n--- found\n{found}",
        golden.display()
    );
}
