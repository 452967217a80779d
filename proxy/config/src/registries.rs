//! `registries`: where components come from that are named `oci://…`, and such names.

use std::fmt;

use schemars::json_schema;

use crate::scalar::{FilePath, GIB, Invalid, KIB, MIB, Period, Size, word};
use crate::section::settings;
use crate::tokens::Digest;

settings! {
    /// How OCI registries are reached, for plugins and schedulers with a source `oci://…`. What was
    /// pulled is kept in a folder below `runtime.cache-dir`, if that is given, so that a start
    /// needs no registry.
    #[name = "registries section"]
    pub struct Registries {
        /// Credentials, as docker and its kin keep them (`config.json`, its key `auths`). Read again
        /// at every pull.
        pub credentials: Option<FilePath> = None,
        /// Hosts that are reached without TLS. Absent: those of this machine (`localhost`, `127.…`,
        /// `[::1]`).
        pub plain_http: Option<Vec<RegistryHost>> = None,
        /// Authorities of the registries' certificates, PEM; and no others. Absent: the web's.
        pub ca: Option<FilePath> = None,
        /// One pull, from the first connection to the last byte.
        pub timeout: Period<100, 3_600_000> = Period::secs(60),
        /// A larger component is not pulled.
        pub largest: Size<KIB, GIB> = Size::of(64 * MIB),
        /// What was pulled and is kept, in bytes; what was not used for longest goes first.
        pub cache_size: Size<MIB, { 1024 * GIB }> = Size::of(512 * MIB),
    }
}

/// A registry: a host, and a port unless it is the scheme's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryHost(String);

impl RegistryHost {
    /// # Errors
    /// When it is no host with or without a port.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "a registry is a host, and a port where it is not the usual one, like \
                 `registry.example.com:5000`",
            )
        };
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => {
                host.parse::<std::net::Ipv6Addr>().map_err(|_| invalid())?;
                match port.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if port.is_empty() => (host, None),
                    None => return Err(invalid()),
                }
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
                if host.is_empty() || host.len() > 253 || !host.bytes().all(part) {
                    return Err(invalid());
                }
                (host, port)
            }
        };
        if host.is_empty()
            || port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0))
        {
            return Err(invalid());
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// As it was written, in small letters: `host` or `host:port`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        match self.0.strip_prefix('[').and_then(|it| it.split_once(']')) {
            Some((host, _)) => host,
            None => self.0.split_once(':').map_or(&self.0, |(host, _)| host),
        }
    }

    /// The port, if one was given.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let behind = self
            .0
            .rsplit_once(']')
            .map_or(self.0.as_str(), |(_, it)| it);
        behind.rsplit_once(':')?.1.parse().ok()
    }

    /// Whether it is of this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

word!(
    RegistryHost,
    "a registry's host",
    json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9.:\\[\\]-]+$" })
);

/// An artefact in a registry: `REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]`, by the OCI distribution
/// specification 1.1. With a digest the tag says nothing; with neither the tag is `latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: RegistryHost,
    repository: String,
    tag: String,
    digest: Option<Digest>,
}

const FORM: &str = "REGISTRY/REPOSITORY, then `:TAG` or `@sha256:DIGEST`";

impl Reference {
    /// Reads what stands behind `oci://`.
    ///
    /// # Errors
    /// Says which part is wrong, and how it is written.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let Some((registry, rest)) = text.split_once('/') else {
            return Err(Invalid::new(format!("an artefact is written {FORM}")));
        };
        let registry = RegistryHost::parse(registry)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => {
                let digits = digest.strip_prefix("sha256:").and_then(Digest::parse);
                let digest = digits.ok_or_else(|| {
                    Invalid::new("a digest is `sha256:` and 64 hexadecimal digits")
                })?;
                (rest, Some(digest))
            }
            None => (rest, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, tag),
            None => (rest, "latest"),
        };
        if !is_repository(repository) {
            return Err(Invalid::new(format!(
                "`{repository}` is no repository: small letters and digits, between which `.`, \
                 `_`, `-` and `/` may stand"
            )));
        }
        let begins = tag.bytes().next();
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let tagged = begins.is_some_and(word)
            && tag.len() <= 128
            && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
        if !tagged {
            return Err(Invalid::new(format!(
                "`{tag}` is no tag: 1 to 128 letters, digits, `_`, `.` and `-`"
            )));
        }
        Ok(Self {
            registry,
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest,
        })
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &RegistryHost {
        &self.registry
    }

    /// The repository in it.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag: what it names may change.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The manifest's digest, which names one thing for ever.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

/// Components of letters and digits, separated inside by one `.`, one or two `_`, or any `-`.
fn is_repository(text: &str) -> bool {
    let component = |part: &str| {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = part.as_bytes();
        let ends =
            bytes.first().copied().is_some_and(word) && bytes.last().copied().is_some_and(word);
        let separators = part.split(|c: char| word(c as u8) && c.is_ascii());
        ends && separators.into_iter().all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-')
        })
    };
    text.len() <= 255 && text.split('/').all(component)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.digest {
            Some(digest) => write!(f, "@sha256:{digest}"),
            None => write!(f, ":{}", self.tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_told() {
        let digest = "ab".repeat(32);
        for (text, told) in [
            ("r.example.com/a", "r.example.com/a:latest"),
            (
                "R.example.com:5000/a/b-c__d:v1.0",
                "r.example.com:5000/a/b-c__d:v1.0",
            ),
            ("[::1]:5000/x:1", "[::1]:5000/x:1"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), told);
        }
        let exact = format!("localhost/a:v1@sha256:{digest}");
        let exact = Reference::parse(&exact).unwrap();
        assert_eq!(exact.to_string(), format!("localhost/a@sha256:{digest}"));
        assert_eq!((exact.tag(), exact.registry().port()), ("v1", None));
        assert!(exact.registry().is_loopback());
        let six = RegistryHost::parse("[::1]:5000").unwrap();
        assert!(six.is_loopback() && six.port() == Some(5000) && six.host() == "::1");
        assert!(
            !RegistryHost::parse("localhost.example.com")
                .unwrap()
                .is_loopback()
        );
    }

    #[test]
    fn what_is_no_reference_is_refused_with_the_form() {
        for (text, why) in [
            ("r.example.com", "is written REGISTRY/REPOSITORY"),
            ("r.example.com:0/a", "a registry is a host"),
            ("[::1/a", "a registry is a host"),
            ("bad host/a", "a registry is a host"),
            ("r/A", "is no repository"),
            ("r/a//b", "is no repository"),
            ("r/a___b", "is no repository"),
            ("r/../a", "is no repository"),
            ("r/a:", "is no tag"),
            ("r/a:-x", "is no tag"),
            ("r/a@sha256:12", "64 hexadecimal digits"),
            ("r/a@md5:12", "64 hexadecimal digits"),
        ] {
            let said = Reference::parse(text).unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
