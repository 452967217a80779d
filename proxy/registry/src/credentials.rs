//! Credentials as docker and its kin keep them: `config.json`, its key `auths`.
//!
//! ```json
//! { "auths": { "registry.example.com:5000": { "auth": "dXNlcjpwYXNzd29yZA==" } } }
//! ```
//!
//! Helpers (`credHelpers`, `credsStore`) are programs of the desktop that would have to be run, and
//! are not.

use std::{collections::BTreeMap, fmt, fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tollgate_config::RegistryHost;

/// A file of credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("credentials {path}: {problem}")]
pub struct CredentialsError {
    path: String,
    problem: String,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

/// The password is in no log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials of {}", self.user)
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, serde_json::Value>,
    #[serde(default, rename = "credsStore")]
    helper: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity: Option<String>,
}

impl Credentials {
    /// What a file has for a registry; none: it is not in it.
    ///
    /// # Errors
    /// When the file cannot be read, or has for this registry what cannot be used.
    pub fn find(path: &Path, registry: &RegistryHost) -> Result<Option<Self>, CredentialsError> {
        let fail = |problem: String| CredentialsError {
            path: path.display().to_string(),
            problem,
        };
        let read = |error: io::Error| fail(error.to_string());
        if fs::metadata(path).map_err(read)?.len() > 1 << 20 {
            return Err(fail("it is larger than 1 MiB".to_owned()));
        }
        let text = fs::read(path).map_err(read)?;
        // What stands there is not repeated: it may be a secret.
        let file: File = serde_json::from_slice(&text).map_err(|error| {
            fail(format!(
                "it is no file as docker's config.json (line {}, column {})",
                error.line(),
                error.column()
            ))
        })?;
        let known = file.auths.iter().find(|(name, _)| same(name, registry));
        let Some((_, entry)) = known else {
            if file.helper.is_some() || file.helpers.contains_key(registry.as_str()) {
                return Err(fail(format!(
                    "{registry} is with a credential helper, which is not run here: put user and \
                     password into `auths`, as `docker login` does without a helper"
                )));
            }
            return Ok(None);
        };
        entry
            .read()
            .map(Some)
            .map_err(|problem| fail(format!("{registry}: {problem}")))
    }

    /// The value of an `Authorization` header (RFC 7617).
    pub(crate) fn basic(&self) -> String {
        let pair = format!("{}:{}", self.user, self.password);
        format!("Basic {}", STANDARD.encode(pair))
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }
}

impl Entry {
    fn read(&self) -> Result<Credentials, &'static str> {
        if let Some(auth) = self.auth.as_deref().filter(|auth| !auth.is_empty()) {
            let wrong = "`auth` is not the base64 of USER:PASSWORD";
            let pair = STANDARD.decode(auth.trim()).map_err(|_| wrong)?;
            let pair = String::from_utf8(pair).map_err(|_| wrong)?;
            let (user, password) = pair.split_once(':').ok_or(wrong)?;
            return Ok(Credentials {
                user: user.to_owned(),
                password: password.trim_end_matches('\0').to_owned(),
            });
        }
        match (&self.username, &self.password) {
            (Some(user), Some(password)) => Ok(Credentials {
                user: user.clone(),
                password: password.clone(),
            }),
            _ if self.identity.is_some() => {
                Err("an `identitytoken` is not used here: put user and password there")
            }
            _ => Err("neither `auth` nor `username` and `password` stand there"),
        }
    }
}

/// Names are hosts, and in old files the addresses of an interface.
fn same(name: &str, registry: &RegistryHost) -> bool {
    let bare = name
        .strip_prefix("https://")
        .or_else(|| name.strip_prefix("http://"))
        .unwrap_or(name);
    let host = bare.split('/').next().unwrap_or(bare);
    host.eq_ignore_ascii_case(registry.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Credentials::find(file.path(), &RegistryHost::parse(registry).unwrap())
    }

    const FILE: &str = r#"{ "auths": {
        "r.example.com": { "auth": "dTpwOnc=" },
        "https://old.example.com/v1/": { "username": "u", "password": "p:w" },
        "broken": { "auth": "dQ==" }, "empty": {}, "token": { "auth": "", "identitytoken": "x" }
    }, "credHelpers": { "helped": "desktop" }, "HttpHeaders": {} }"#;

    #[test]
    fn what_docker_writes_is_read() {
        for registry in ["r.example.com", "R.EXAMPLE.com", "old.example.com"] {
            let found = find(FILE, registry).unwrap().unwrap();
            assert_eq!(found.basic(), "Basic dTpwOnc=");
            assert!(!format!("{found:?}").contains("p:w"));
        }
        assert_eq!(find(FILE, "r.example.com:5000").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_used_is_told_without_the_secret() {
        for (registry, said) in [
            ("broken", "is not the base64"),
            ("empty", "neither `auth`"),
            ("token", "identitytoken"),
            ("helped", "a credential helper"),
        ] {
            let error = find(FILE, registry).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("dQ=="), "{error}");
        }
        let error = find("{ secret", "r").unwrap_err().to_string();
        assert!(
            error.contains("line 1") && !error.contains("secret"),
            "{error}"
        );
    }
}
