//! Certificates by the name that a client asks for, read again when their files change.
//!
//! Files are looked at every few seconds. A watch by the system would be told of one file; what
//! changes under Kubernetes is a symbolic link two folders up, which a look at the file's identity
//! and time notices. Certificate and key are two files and may be seen between two writes: such a
//! pair does not match and is kept out until the next look.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tollgate_telemetry::Metrics;

use crate::spec::TlsSpec;

/// What is offered by ALPN, the preferred one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Largest file that is read.
const LARGEST: u64 = 1024 * 1024;

/// The certificates of a listener.
pub(crate) struct Certificates {
    files: Vec<(PathBuf, PathBuf)>,
    look: Duration,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    loaded: Vec<Stamp>,
}

/// Those in use, in the order of the configuration; never empty.
#[derive(Debug)]
struct Current(ArcSwap<Vec<Arc<CertifiedKey>>>);

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There are none.
    #[error("TLS needs a certificate")]
    None,
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds no certificate or key as PEM.
    #[error("{} holds no PEM {what}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// Certificate and key do not go together, or one of them is of no known kind.
    #[error("{} and {} cannot be used together: {source}", certificate.display(), key.display())]
    Pair {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// What tells one state of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(Option<(SystemTime, u64, u64)>);

// === impl Certificates ===

impl Certificates {
    /// Reads the files.
    pub(crate) async fn load(spec: &TlsSpec) -> Result<Self, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let files = spec.certificates.clone();
        // Before the files, so that a change in between is noticed at the next look.
        let loaded = stamps(&files).await;
        let first = read_all(&files, &provider).await?;
        Ok(Self {
            files,
            look: spec.look,
            provider,
            current: Arc::new(Current(ArcSwap::from_pointee(first))),
            loaded,
        })
    }

    /// How rustls is to serve with them.
    pub(crate) fn server_config(&self) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(self.provider.clone());
        let mut config = builder
            .with_safe_default_protocol_versions()
            .expect("ring has suites for every version of TLS")
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        config
    }

    /// Looks at the files, for ever.
    pub(crate) async fn watch(mut self, listener: &str, metrics: &Metrics) {
        let mut looks = tokio::time::interval(self.look.max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let Some(taken) = self.look().await else {
                continue;
            };
            metrics.certificates_changed(listener, taken.is_ok());
            match taken {
                Ok(()) => tracing::info!(listener, "new certificates are in use"),
                Err(error) => tracing::error!(
                    listener,
                    %error,
                    "changed certificates cannot be used; the former ones stay"
                ),
            }
        }
    }

    /// Reads the files again if they have changed since they were read last.
    async fn look(&mut self) -> Option<Result<(), CertificateError>> {
        let stamps = stamps(&self.files).await;
        if stamps == self.loaded {
            return None;
        }
        self.loaded = stamps;
        let read = read_all(&self.files, &self.provider).await;
        Some(read.map(|read| self.current.0.store(Arc::new(read))))
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

// === impl Current ===

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.0.load();
        let asked = hello
            .server_name()
            .and_then(|name| ServerName::try_from(name).ok());
        let named = asked.and_then(|name| certificates.iter().find(|held| is_for(held, &name)));
        named.or_else(|| certificates.first()).cloned()
    }
}

/// Whether a certificate is for a name (RFC 9525; `*` stands for one label).
fn is_for(certificate: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let leaf = certificate.end_entity_cert().ok();
    let leaf = leaf.and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    leaf.is_some_and(|leaf| verify_server_name(&leaf, name).is_ok())
}

// === files ===

async fn stamps(files: &[(PathBuf, PathBuf)]) -> Vec<Stamp> {
    let mut stamps = Vec::with_capacity(2 * files.len());
    for path in files
        .iter()
        .flat_map(|(certificate, key)| [certificate, key])
    {
        stamps.push(Stamp::of(path).await);
    }
    stamps
}

impl Stamp {
    async fn of(path: &Path) -> Self {
        // Follows links; a missing file is a state like any other.
        let metadata = tokio::fs::metadata(path).await.ok();
        Self(metadata.and_then(|m| Some((m.modified().ok()?, m.len(), identity(&m)))))
    }
}

/// Which file it is, not only what it is called.
#[cfg(unix)]
fn identity(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> u64 {
    0
}

async fn read_all(
    files: &[(PathBuf, PathBuf)],
    provider: &CryptoProvider,
) -> Result<Vec<Arc<CertifiedKey>>, CertificateError> {
    if files.is_empty() {
        return Err(CertificateError::None);
    }
    let mut all = Vec::with_capacity(files.len());
    for (certificate, key) in files {
        all.push(Arc::new(pair(certificate, key, provider).await?));
    }
    Ok(all)
}

async fn pair(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, CertificateError> {
    let pem = |path: &Path, what| CertificateError::Pem {
        path: path.to_owned(),
        what,
    };
    let text = read(certificate).await?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| pem(certificate, "certificate"))?;
    if chain.is_empty() {
        return Err(pem(certificate, "certificate"));
    }
    let text = read(key).await?;
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|_| pem(key, "private key"))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|source| CertificateError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })
}

async fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    use tokio::io::AsyncReadExt;
    let read = async {
        let mut text = Vec::new();
        let file = tokio::fs::File::open(path).await?;
        file.take(LARGEST).read_to_end(&mut text).await?;
        Ok(text)
    };
    read.await.map_err(|source| CertificateError::File {
        path: path.to_owned(),
        source,
    })
}
