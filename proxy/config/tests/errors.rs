//! What is said about bad files: each file of `bad/` has the messages beside it.

mod golden;

use std::fs;
use std::path::Path;

use tollgate_config::tokens::TokenFile;
use tollgate_config::{Config, Errors, WorkerList};

fn messages(folder: &str, read: impl Fn(&str, &Path) -> Option<Errors>) -> usize {
    let files = golden::files(&golden::tests().join(folder), "yaml");
    for file in &files {
        let text = fs::read_to_string(file).expect("readable");
        let name = Path::new(file.file_name().expect("a file"));
        let errors = read(&text, name).unwrap_or_else(|| panic!("{} was accepted", file.display()));
        golden::expect(&format!("{errors}\n"), &file.with_extension("txt"));
    }
    files.len()
}

#[test]
fn bad_configurations() {
    let count = messages("bad", |text, name| Config::parse(text, name).err());
    assert!(count >= 20, "{count} files");
}

#[test]
fn bad_tokens() {
    messages("bad-tokens", |text, name| {
        TokenFile::parse(text, name).err()
    });
}

#[test]
fn bad_lists_of_workers() {
    messages("bad-lists", |text, name| {
        WorkerList::parse(text, name).err()
    });
}

/// Somebody who writes the token where its hash belongs must not find it in a log.
#[test]
fn a_token_in_the_place_of_its_hash_is_not_repeated() {
    let text = "tokens: [{ name: a, sha256: my-secret-token, models: [] }]";
    let errors = TokenFile::parse(text, Path::new("t.yaml")).expect_err("refused");
    assert!(!errors.to_string().contains("secret"), "{errors}");
}

#[test]
fn files_that_are_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tollgate.yaml");
    let missing = Config::load(&file).expect_err("no such file");
    assert_eq!(missing.problems()[0].position(), None);

    let text = "\
listeners:
  - name: a
    address: 127.0.0.1:0
    tls:
      certificates: [{ cert: there.pem, key: gone.key }]
tokens: { file: tokens.yaml }
plugins:
  mine: { source: gone.wasm }
  folder: { source: ./ }
  told: { source: there.pem, options: { text: { file: gone.txt } } }
workers:
  - { name: w, address: https://w, protocol: mine, tls: { ca: gone.pem } }
";
    fs::write(&file, text).expect("written");
    fs::write(folder.path().join("there.pem"), "").expect("written");
    fs::write(
        folder.path().join("tokens.yaml"),
        "tokens:\n  - { nam: a }\n",
    )
    .expect("written");
    let errors = Config::load(&file).expect_err("files are missing");
    let found = errors
        .to_string()
        .replace(&format!("{}/", folder.path().display()), "");
    golden::expect(
        &format!("{found}\n"),
        &golden::tests().join("missing-files.txt"),
    );
}
