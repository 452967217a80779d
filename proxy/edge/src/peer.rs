//! The other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use tollgate_identity::Certificate;

/// Who is at the other end, and how the connection was made; one for all its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name of the listener.
    pub listener: Arc<str>,
    /// The client's address, or that of whatever stands in front of us.
    pub address: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The name that the client asked for in the handshake, in lower case.
    pub sni: Option<String>,
    /// HTTP/2; else HTTP/1.1.
    pub h2: bool,
    /// The certificate that the client has proven to hold, signed by whom the listener trusts.
    pub certificate: Option<Arc<Certificate>>,
}
