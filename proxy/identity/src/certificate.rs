//! Names in the certificate of a client, and to whom they belong.
//!
//! That the certificate is good (signed by a trusted authority, not revoked, its key held by the
//! client) is TLS's to say before anything here is asked. What is read of it: URIs and DNS names of
//! its subject alternative names, and the common name of its subject. A URI counts only where it is
//! the only one, as of a SPIFFE ID ("X.509-SVID", section 2: "An X.509 SVID MUST contain exactly one
//! URI SAN"); a common name only where it is the only one. Since a connection may outlive the
//! certificate that it began with, its end is looked at with every request.

use std::sync::Arc;

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::Clock;
use crate::failure::AuthFailure;
use crate::identity::{Grant, Identity};
use crate::parts::Parts;
use crate::tenant::Tenant;
use crate::way::{Presented, Verdict, Way};

/// Names of a certificate that are kept; one with more is taken for one without.
const MOST_NAMES: usize = 64;
/// Certificates whose holder is remembered.
const REMEMBERED: usize = 4096;

/// What is known of a client by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    sha256: [u8; 32],
    uri: Option<String>,
    dns: Vec<String>,
    common_name: Option<String>,
    /// Unix time, in seconds, after which it is none.
    not_after: u64,
}

/// What is no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the names of the client's certificate cannot be read")]
pub struct Unreadable;

/// Which of a certificate's names is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The only URI, such as a SPIFFE ID.
    Uri,
    /// A DNS name.
    Dns,
    /// The common name of the subject.
    CommonName,
}

/// Certificates with such a name belong to that tenant.
#[derive(Clone, Debug)]
pub struct CertificateRule {
    /// Which of the names.
    pub named: Named,
    /// What it has to be.
    pub pattern: Parts,
    /// Whose it is.
    pub tenant: Arc<Tenant>,
}

/// Tells clients by the names in their certificates: by the first rule that fits.
pub struct Certificates {
    rules: Vec<CertificateRule>,
    known: Cache<[u8; 32], Arc<Identity>>,
    clock: Clock,
}

// === impl Certificate ===

impl Certificate {
    /// Reads a certificate, as DER.
    ///
    /// # Errors
    /// When it is none, or its names are damaged or too many.
    pub fn read(der: &[u8]) -> Result<Self, Unreadable> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
        if !rest.is_empty() {
            return Err(Unreadable);
        }
        let (mut uris, mut dns) = (Vec::new(), Vec::new());
        let alternative = parsed.subject_alternative_name();
        if let Some(names) = alternative.map_err(|_| Unreadable)? {
            let names = &names.value.general_names;
            if names.len() > MOST_NAMES {
                return Err(Unreadable);
            }
            for name in names {
                match name {
                    GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                    GeneralName::DNSName(name) => dns.push(name.to_ascii_lowercase()),
                    GeneralName::Invalid(..) => return Err(Unreadable),
                    _ => {}
                }
            }
        }
        let mut common = parsed.subject().iter_common_name();
        let only = match (common.next(), common.next()) {
            (Some(only), None) => only.as_str().ok().map(str::to_owned),
            _ => None,
        };
        let not_after = parsed.validity().not_after.timestamp();
        Ok(Self {
            sha256: Sha256::digest(der).into(),
            uri: (uris.len() == 1).then(|| uris.remove(0)),
            dns,
            common_name: only,
            not_after: u64::try_from(not_after).unwrap_or(0),
        })
    }

    /// The name that a pattern is meant for and matches.
    fn matching(&self, named: Named, pattern: &Parts) -> Option<&str> {
        match named {
            Named::Uri => self.uri.as_deref().filter(|name| pattern.matches(name)),
            Named::CommonName => {
                let name = self.common_name.as_deref();
                name.filter(|name| pattern.matches(name))
            }
            Named::Dns => {
                let mut names = self.dns.iter().map(String::as_str);
                names.find(|name| pattern.matches(name))
            }
        }
    }
}

// === impl Certificates ===

impl Certificates {
    /// By these rules, the first that fits first.
    #[must_use]
    pub fn new(rules: Vec<CertificateRule>, clock: Clock) -> Self {
        Self {
            rules,
            known: Cache::new(REMEMBERED),
            clock,
        }
    }

    /// Certificates whose holder is remembered; at most 4096.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.known.len()
    }

    fn holder(&self, certificate: &Certificate) -> Option<Arc<Identity>> {
        if let Some(known) = self.known.get(&certificate.sha256) {
            return Some(known);
        }
        let identity = self.rules.iter().find_map(|rule| {
            let name = certificate.matching(rule.named, &rule.pattern)?;
            let grant = Grant {
                name: name.to_owned(),
                ..Grant::default()
            };
            Some(Arc::new(Identity::new(rule.tenant.clone(), grant)))
        })?;
        self.known.insert(certificate.sha256, identity.clone());
        Some(identity)
    }
}

impl Way for Certificates {
    fn look<'a>(&'a self, presented: Presented<'a>) -> Verdict<'a> {
        let Some(certificate) = presented.certificate else {
            return Verdict::Now(Ok(None));
        };
        let outcome = match self.holder(certificate) {
            Some(_) if certificate.not_after < self.clock.now() => Err(AuthFailure::Certificate),
            // Another way may know what came beside it.
            holder => Ok(holder),
        };
        Verdict::Now(outcome)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;
    use crate::parts::Separator;

    fn der(uris: &[&str], dns: &[&str], names: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        for uri in uris {
            let name = SanType::URI((*uri).try_into().unwrap());
            params.subject_alt_names.push(name);
        }
        for name in dns {
            let name = SanType::DnsName((*name).try_into().unwrap());
            params.subject_alt_names.push(name);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn rule(named: Named, pattern: &str, tenant: &str) -> CertificateRule {
        let separator = match named {
            Named::Uri => Separator::Slash,
            Named::Dns | Named::CommonName => Separator::Dot,
        };
        CertificateRule {
            named,
            pattern: Parts::new(pattern, separator).unwrap(),
            tenant: Tenant::plain(tenant),
        }
    }

    fn ways(now: u64) -> Certificates {
        let rules = vec![
            rule(Named::Uri, "spiffe://example.org/ns/team/sa/*", "by-uri"),
            rule(Named::Dns, "*.clients.example.org", "by-dns"),
            rule(Named::CommonName, "batch", "by-name"),
        ];
        Certificates::new(rules, Clock::new(move || now))
    }

    fn outcome(
        ways: &Certificates,
        certificate: &Certificate,
    ) -> Result<Option<Arc<Identity>>, AuthFailure> {
        let presented = Presented {
            certificate: Some(certificate),
            ..Presented::default()
        };
        match ways.look(presented) {
            Verdict::Now(outcome) => outcome,
            Verdict::Later(_) => panic!("nobody is asked"),
        }
    }

    fn tenant(uris: &[&str], dns: &[&str], names: &[&str]) -> Option<(String, String)> {
        let certificate = Certificate::read(&der(uris, dns, names)).unwrap();
        let ways = ways(0);
        let first = outcome(&ways, &certificate).unwrap();
        assert_eq!(outcome(&ways, &certificate).unwrap(), first, "remembered");
        assert_eq!(ways.remembered(), usize::from(first.is_some()));
        first.map(|it| (it.tenant().to_owned(), it.name().to_owned()))
    }

    #[test]
    fn the_first_rule_that_fits_says_whose_it_is() {
        let told = |tenant: &str, name: &str| Some((tenant.to_owned(), name.to_owned()));
        let uri = "spiffe://example.org/ns/team/sa/api";
        let dns = "a.clients.example.org";
        assert_eq!(tenant(&[uri], &[dns], &["batch"]), told("by-uri", uri));
        assert_eq!(tenant(&[], &[dns], &["batch"]), told("by-dns", dns));
        assert_eq!(tenant(&[], &[], &["batch"]), told("by-name", "batch"));
        assert_eq!(tenant(&["spiffe://other/x"], &["b.org"], &["x"]), None);
        assert_eq!(tenant(&[], &[], &[]), None);
    }

    #[test]
    fn a_second_uri_makes_neither_count() {
        let uri = "spiffe://example.org/ns/team/sa/api";
        assert_eq!(tenant(&[uri, "spiffe://example.org/other"], &[], &[]), None);
        assert_eq!(tenant(&[uri, uri], &[], &[]), None);
    }

    #[test]
    fn a_certificate_that_ends_under_a_connection_opens_nothing_any_more() {
        let der = der(&[], &["a.clients.example.org"], &[]);
        let mut certificate = Certificate::read(&der).unwrap();
        certificate.not_after = 100;
        assert!(outcome(&ways(100), &certificate).unwrap().is_some());
        assert_eq!(
            outcome(&ways(101), &certificate),
            Err(AuthFailure::Certificate)
        );
    }

    #[test]
    fn what_is_no_certificate_is_not_read() {
        let good = der(&[], &["a.example.org"], &[]);
        assert_eq!(Certificate::read(&[]), Err(Unreadable));
        assert_eq!(Certificate::read(&good[..good.len() - 1]), Err(Unreadable));
        assert_eq!(
            Certificate::read(&[good.as_slice(), b"x"].concat()),
            Err(Unreadable)
        );
        let many: Vec<String> = (0..=MOST_NAMES).map(|n| format!("h{n}.org")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(Certificate::read(&der(&[], &many, &[])), Err(Unreadable));
    }

    #[test]
    fn without_a_certificate_another_way_is_asked() {
        let ways = ways(0);
        assert!(matches!(
            ways.look(Presented::default()),
            Verdict::Now(Ok(None))
        ));
    }
}
