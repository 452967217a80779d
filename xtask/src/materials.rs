//! Gives a configuration the files that it names and that no repository should hold:
//! certificates with their keys, and tokens.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};

use crate::components::hex;

/// Who the certificates are for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The values of a key of a YAML text, in the order in which they stand, as in `key: value` and
/// `{ key: value, … }`. Enough for the files under `config/`, which are ours: plain scalars.
pub(crate) fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default();
        if line.trim_start().starts_with('#') {
            continue;
        }
        for (at, _) in line.match_indices(key) {
            let before = line[..at].chars().next_back();
            let Some(value) = line[at + key.len()..].strip_prefix(": ") else {
                continue;
            };
            if before.is_none_or(|c| c == ' ' || c == '{') {
                let value = value.split([',', '}']).next().unwrap_or_default();
                found.push(value.trim().trim_matches(['"', '\'']));
            }
        }
    }
    found
}

/// Writes a self-signed certificate and its key for every pair that the text names and that is
/// not there. `hosts` are names beyond those of this machine.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn certificates(text: &str, folder: &Path, hosts: &[String]) -> Result<()> {
    for (cert, key) in values(text, "cert").into_iter().zip(values(text, "key")) {
        let (cert, key) = (folder.join(cert), folder.join(key));
        if cert.is_file() && key.is_file() {
            continue;
        }
        let names = NAMES.iter().map(|&name| name.to_owned());
        let names: Vec<String> = names.chain(hosts.iter().cloned()).collect();
        let made = rcgen::generate_simple_self_signed(names)?;
        write(&cert, &made.cert.pem())?;
        write(&key, &made.signing_key.serialize_pem())?;
    }
    Ok(())
}

/// Writes an empty file for every authority and every token of our own that the text names and that is
/// not there: who checks a configuration only has to find them.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn placeholders(text: &str, folder: &Path) -> Result<()> {
    for name in ["ca", "token"]
        .into_iter()
        .flat_map(|key| values(text, key))
    {
        let path = folder.join(name);
        if !path.is_file() {
            write(&path, "")?;
        }
    }
    Ok(())
}

/// Writes a file of tokens that lets in one new random token, and returns that token.
///
/// # Errors
/// When the system gives no randomness, or the file cannot be written.
pub(crate) fn token(file: &Path) -> Result<String> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|problem| anyhow!("the system gives no randomness: {problem}"))?;
    let token = hex(&secret);
    // The file holds the digest of the token as it is sent: the text, not the bytes behind it.
    let digest = hex(&Sha256::digest(token.as_bytes()));
    let text = format!("tokens:\n  - name: demo\n    sha256: {digest}\n    models: [\"*\"]\n");
    write(file, &text)?;
    Ok(token)
}

/// Writes a file that only its owner may read, with the folders above it.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_both_ways_of_writing() {
        let text = "a:\n  - { cert: x/a.pem, key: x/a.key }   # key: no\n  # cert: no\n  - cert: \
                    \"b.pem\"\n    key: b.key\n    monkey: no\n";
        assert_eq!(values(text, "cert"), ["x/a.pem", "b.pem"]);
        assert_eq!(values(text, "key"), ["x/a.key", "b.key"]);
    }

    #[test]
    fn the_file_of_tokens_has_the_digest_and_not_the_token() {
        let folder = std::env::temp_dir().join(format!("tollgate-xtask-{}", std::process::id()));
        let file = folder.join("tokens.yaml");
        let one = token(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let two = token(&file).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(one.len(), 64);
        assert_ne!(one, two);
        assert!(!text.contains(&one));
        assert!(text.contains(&hex(&Sha256::digest(one.as_bytes()))));
    }
}
