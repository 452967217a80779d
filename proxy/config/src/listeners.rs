//! `listeners`: where clients come in.

use std::net::SocketAddr;

use crate::scalar::{Count, FilePath, KIB, MIB, Name, Period, Size};
use crate::section::{choice, section, settings};

section! {
    /// A socket on which clients are served.
    #[name = "listener"]
    pub struct Listener {
        /// Name, used by routes and in the log.
        pub name: Name,
        /// IP address and port. Port 0 lets the system choose.
        pub address: SocketAddr,
        /// TLS. Absent: plain HTTP/1.1, and HTTP/2 with prior knowledge, on the same port.
        pub tls: Option<ListenerTls> = None,
        /// What one client, and all together, may use.
        pub limits: ListenerLimits = ListenerLimits::default(),
    }
}

section! {
    /// TLS of a listener; HTTP/1.1 and HTTP/2 are offered by ALPN.
    #[name = "TLS section"]
    pub struct ListenerTls {
        /// Certificates, chosen by the name that the client asks for (SNI); the first one serves
        /// clients that name no known host. Reloaded when the files change.
        pub certificates: Vec<Certificate>,
        /// Certificates of clients. Absent: they are not asked for one.
        pub clients: Option<ListenerClients> = None,
    }
}

section! {
    /// Certificates of clients. Whom one makes its holder is said in `authentication`.
    #[name = "section of clients' certificates"]
    pub struct ListenerClients {
        /// PEM file of the authorities that sign them, and no others. Reloaded when it changes.
        pub ca: FilePath,
        /// PEM files of lists of those that were revoked, likewise. With any, a certificate is
        /// refused whose signer has no list here, or one that is past its next update.
        pub revoked: Vec<FilePath> = Vec::new(),
        /// Whether a client has to have one.
        pub demand: Demand = Demand::Required,
    }
}

choice! {
    /// Whether a client has to have a certificate.
    pub enum Demand {
        /// Without one the handshake fails.
        Required = "required",
        /// Without one it goes on; a bad one is refused all the same.
        Optional = "optional",
    }
}

section! {
    /// A certificate and its key, both as PEM.
    #[name = "certificate"]
    pub struct Certificate {
        /// File of the certificate chain, the leaf first.
        pub cert: FilePath,
        /// File of the private key.
        pub key: FilePath,
    }
}

settings! {
    /// Bounds of a listener.
    #[name = "listener's limits"]
    pub struct ListenerLimits {
        /// Open connections. Further ones wait in the system's backlog.
        pub connections: Count<1, 1_000_000> = Count::of(4096),
        /// Bytes of a request's head.
        pub header_bytes: Size<KIB, MIB> = Size::of(32 * KIB),
        /// Header fields of a request.
        pub header_count: Count<1, 1000> = Count::of(100),
        /// From a request's first byte to the end of its head.
        pub header_timeout: Period<100, 300_000> = Period::secs(10),
        /// How long a connection without a request stays open.
        pub idle_timeout: Period<100, 86_400_000> = Period::secs(75),
        /// Requests at once on one HTTP/2 connection.
        pub h2_streams: Count<1, 10_000> = Count::of(256),
        /// For the TLS handshake.
        pub handshake_timeout: Period<100, 300_000> = Period::secs(10),
    }
}
