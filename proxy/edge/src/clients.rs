//! Certificates of clients: who may sign them, and which were revoked.
//!
//! A chain has to end in one of the listener's own authorities; the web's count for nothing here.
//! With lists of revoked certificates, the client's own has to be on none, and its signer's list has
//! to be there and not past its next update: a list that could not be fetched for long enough says
//! nothing of who was revoked meanwhile.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::spec::ClientsSpec;
use crate::tls::{CertificateError, read};

/// Largest file of revoked certificates that is read: some hundred thousand of them.
const LARGEST_LIST: u64 = 16 * 1024 * 1024;
/// Largest file of authorities.
const LARGEST_CA: u64 = 1024 * 1024;

/// Reads the files, and makes of them what judges a client's certificate.
pub(crate) async fn verifier(
    spec: &ClientsSpec,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let mut roots = RootCertStore::empty();
    let text = read(&spec.ca, LARGEST_CA).await?;
    for authority in CertificateDer::pem_slice_iter(&text) {
        let authority = authority.map_err(|_| pem(&spec.ca, "certificate"))?;
        roots
            .add(authority)
            .map_err(|source| unusable(&spec.ca, source))?;
    }
    if roots.is_empty() {
        return Err(pem(&spec.ca, "certificate"));
    }
    let mut lists = Vec::with_capacity(spec.revoked.len());
    for path in &spec.revoked {
        let text = read(path, LARGEST_LIST).await?;
        let before = lists.len();
        for list in CertificateRevocationListDer::pem_slice_iter(&text) {
            lists.push(list.map_err(|_| pem(path, "list of revoked certificates"))?);
        }
        if lists.len() == before {
            return Err(pem(path, "list of revoked certificates"));
        }
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let builder = builder
        .with_crls(lists)
        .only_check_end_entity_revocation()
        .enforce_revocation_expiration();
    let builder = match spec.required {
        true => builder,
        false => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|source| unusable(&spec.ca, source))
}

fn pem(path: &Path, what: &'static str) -> CertificateError {
    CertificateError::Pem {
        path: path.to_owned(),
        what,
    }
}

fn unusable(path: &Path, source: impl std::fmt::Display) -> CertificateError {
    CertificateError::Clients {
        path: path.to_owned(),
        why: source.to_string(),
    }
}
