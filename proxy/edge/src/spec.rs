//! What a listener is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A socket on which clients are served.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// Its name, in the log, in metrics and in [`Peer`](crate::Peer).
    pub name: String,
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
    /// TLS with HTTP/1.1 and HTTP/2 by ALPN. Without: HTTP/1.1, and HTTP/2 with prior knowledge, in
    /// the clear.
    pub tls: Option<TlsSpec>,
    /// Its bounds.
    pub limits: ListenerLimits,
}

/// TLS of a listener.
#[derive(Clone, Debug)]
pub struct TlsSpec {
    /// PEM files of certificate chains, the leaf first, and of their keys. The first serves clients
    /// that ask for no name or for one that no certificate has.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// Certificates of clients. None: they are not asked for any.
    pub clients: Option<ClientsSpec>,
    /// How often the files are looked at for changes.
    pub look: Duration,
}

impl TlsSpec {
    /// These certificates, looked at every two seconds.
    #[must_use]
    pub fn new(certificates: Vec<(PathBuf, PathBuf)>) -> Self {
        let look = Duration::from_secs(2);
        Self {
            certificates,
            clients: None,
            look,
        }
    }
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientsSpec {
    /// PEM file of the authorities that sign them, and no others.
    pub ca: PathBuf,
    /// PEM files of lists of those that were revoked. With any, a certificate whose signer has no
    /// list, or one that is past its next update, is refused.
    pub revoked: Vec<PathBuf>,
    /// A client without a certificate is refused in the handshake.
    pub required: bool,
}

/// Bounds of a listener, and of each of its connections.
#[derive(Clone, Debug)]
pub struct ListenerLimits {
    /// Open connections; further ones wait in the system's backlog.
    pub connections: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Fields of a request's head.
    pub header_count: usize,
    /// From a head's first byte to its last.
    pub header_timeout: Duration,
    /// How long a connection without a request stays open.
    pub idle_timeout: Duration,
    /// For the TLS handshake.
    pub handshake_timeout: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub h2_streams: u32,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            header_bytes: 32 * 1024,
            header_count: 100,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            handshake_timeout: Duration::from_secs(10),
            h2_streams: 256,
        }
    }
}
