//! Certificates by the name that a client asks for, read again when their files change.
//!
//! Files are looked at every few seconds. A watch by the system would be told of one file; what
//! changes under Kubernetes is a symbolic link two folders up, which a look at the file's identity
//! and time notices. Certificate and key are two files and may be seen between two writes: such a
//! pair does not match and is kept out until the next look.
//!
//! Where clients have certificates too, who may sign them is read again likewise, and what serves is
//! made anew. No session is resumed there: a resumed one is not verified again, and a client that was
//! revoked would stay.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tollgate_telemetry::Metrics;

use crate::clients;
use crate::spec::{ClientsSpec, TlsSpec};

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
    clients: Option<ClientsSpec>,
    clients_loaded: Vec<Stamp>,
    serving: Serving,
}

/// How rustls serves, for each new connection.
pub(crate) type Serving = Arc<ArcSwap<ServerConfig>>;

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
    /// Clients' certificates cannot be judged by these files.
    #[error("{} cannot be used for clients' certificates: {why}", path.display())]
    Clients {
        /// File of the authorities.
        path: PathBuf,
        /// What is wrong.
        why: String,
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
        let loaded = stamps(of_pairs(&files)).await;
        let clients_loaded = stamps(of_clients(spec.clients.as_ref())).await;
        let first = read_all(&files, &provider).await?;
        let current = Arc::new(Current(ArcSwap::from_pointee(first)));
        let verifier = match &spec.clients {
            Some(clients) => Some(clients::verifier(clients, &provider).await?),
            None => None,
        };
        let config = server_config(&provider, &current, verifier);
        Ok(Self {
            files,
            look: spec.look,
            provider,
            current,
            loaded,
            clients: spec.clients.clone(),
            clients_loaded,
            serving: Arc::new(ArcSwap::from_pointee(config)),
        })
    }

    /// How rustls is to serve with them, now and later.
    pub(crate) fn serving(&self) -> Serving {
        self.serving.clone()
    }

    /// Looks at the files, for ever. Nothing is lost when it is dropped.
    pub(crate) async fn watch(&mut self, listener: &str, metrics: &Metrics) {
        let mut looks = tokio::time::interval(self.look.max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let looked = [self.look().await, self.look_at_clients().await];
            for taken in looked.into_iter().flatten() {
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
    }

    /// Makes anew what judges clients, if its files have changed since they were read last.
    async fn look_at_clients(&mut self) -> Option<Result<(), CertificateError>> {
        let clients = self.clients.as_ref()?;
        let stamps = stamps(of_clients(Some(clients))).await;
        if stamps == self.clients_loaded {
            return None;
        }
        let read = clients::verifier(clients, &self.provider).await;
        // Not before: who is interrupted while it reads has seen nothing.
        self.clients_loaded = stamps;
        Some(read.map(|verifier| {
            let config = server_config(&self.provider, &self.current, Some(verifier));
            self.serving.store(Arc::new(config));
        }))
    }

    /// Reads the files again if they have changed since they were read last.
    async fn look(&mut self) -> Option<Result<(), CertificateError>> {
        let stamps = stamps(of_pairs(&self.files)).await;
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

fn server_config(
    provider: &Arc<CryptoProvider>,
    current: &Arc<Current>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has suites for every version of TLS");
    let judges = clients.is_some();
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(current.clone());
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    if judges {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config
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

async fn stamps(files: Vec<PathBuf>) -> Vec<Stamp> {
    let mut stamps = Vec::with_capacity(files.len());
    for path in &files {
        stamps.push(Stamp::of(path).await);
    }
    stamps
}

fn of_pairs(files: &[(PathBuf, PathBuf)]) -> Vec<PathBuf> {
    let pairs = files.iter().cloned();
    pairs
        .flat_map(|(certificate, key)| [certificate, key])
        .collect()
}

fn of_clients(clients: Option<&ClientsSpec>) -> Vec<PathBuf> {
    let files = clients.into_iter();
    files
        .flat_map(|clients| std::iter::once(&clients.ca).chain(&clients.revoked))
        .cloned()
        .collect()
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
    let text = read(certificate, LARGEST).await?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| pem(certificate, "certificate"))?;
    if chain.is_empty() {
        return Err(pem(certificate, "certificate"));
    }
    let text = read(key, LARGEST).await?;
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|_| pem(key, "private key"))?;
    CertifiedKey::from_der(chain, private, provider).map_err(|source| CertificateError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })
}

pub(crate) async fn read(path: &Path, largest: u64) -> Result<Vec<u8>, CertificateError> {
    use tokio::io::AsyncReadExt;
    let read = async {
        let mut text = Vec::new();
        let file = tokio::fs::File::open(path).await?;
        file.take(largest).read_to_end(&mut text).await?;
        Ok(text)
    };
    read.await.map_err(|source| CertificateError::File {
        path: path.to_owned(),
        source,
    })
}
