//! Makes connections: name resolution, TCP, TLS and ALPN, within one time limit. Used by the pool,
//! and by whoever probes a worker outside it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::spec::{Spec, SpecError, Tls, Transport};

/// A peer that is gone without a word is noticed after about a minute of silence.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// No connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Name resolution, TCP, TLS or ALPN failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The time limit has passed.
    #[error("the connection was not made in time")]
    Timeout,
}

impl ConnectError {
    /// For everyone who waited for the same connection.
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::Io(error) => Self::Io(io::Error::new(error.kind(), error.to_string())),
            Self::Timeout => Self::Timeout,
        }
    }
}

/// Connects to one worker.
pub struct Connector {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    transport: Transport,
    timeout: Duration,
    /// Ends every connection that was made.
    end: CancellationToken,
}

impl Connector {
    /// Takes address, TLS, transport and time limit from `spec`.
    pub fn new(spec: &Spec) -> Result<Self, SpecError> {
        spec.check()?;
        let tls = match &spec.tls {
            Some(tls) => Some(client(tls, spec)?),
            None => None,
        };
        Ok(Self {
            address: spec.address.clone(),
            tls,
            transport: spec.transport,
            timeout: spec.connect_timeout,
            end: CancellationToken::new(),
        })
    }

    /// A new connection, ready for the first byte of HTTP. The addresses of a name are tried in
    /// turn.
    pub async fn connect(&self) -> Result<Stream, ConnectError> {
        match tokio::time::timeout(self.timeout, self.establish()).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(ConnectError::Timeout),
        }
    }

    /// Ends every connection that was made, with whatever is on it.
    pub fn sever(&self) {
        self.end.cancel();
    }

    async fn establish(&self) -> io::Result<Stream> {
        let tcp = TcpStream::connect(&self.address).await?;
        // A token leaves when it is written.
        tcp.set_nodelay(true)?;
        SockRef::from(&tcp).set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(KEEPALIVE_IDLE)
                .with_interval(KEEPALIVE_INTERVAL)
                .with_retries(KEEPALIVE_PROBES),
        )?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Stream::new(Wire::Plain(tcp), &self.end));
        };
        let tls = connector.connect(name.clone(), tcp).await?;
        if self.transport == Transport::H2 && tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the worker did not agree to HTTP/2 (ALPN h2)",
            ));
        }
        Ok(Stream::new(Wire::Tls(Box::new(tls)), &self.end))
    }
}

fn client(tls: &Tls, spec: &Spec) -> Result<(TlsConnector, ServerName<'static>), SpecError> {
    let mut roots = RootCertStore::empty();
    match &tls.ca_pem {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| SpecError::Ca(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| SpecError::Ca(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(SpecError::Ca("it holds no certificate".to_owned()));
            }
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![match spec.transport {
        Transport::H1 => b"http/1.1".to_vec(),
        Transport::H2 => b"h2".to_vec(),
    }];
    let name = match &tls.server_name {
        Some(name) => name.as_str(),
        None => spec.authority.host().trim_matches(['[', ']']),
    };
    let server = ServerName::try_from(name.to_owned())
        .map_err(|_| SpecError::ServerName(name.to_owned()))?;
    Ok((TlsConnector::from(Arc::new(config)), server))
}

/// A connection to a worker, plain or TLS.
pub struct Stream {
    wire: Wire,
    severed: Pin<Box<WaitForCancellationFutureOwned>>,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

// === impl Stream ===

impl Stream {
    fn new(wire: Wire, end: &CancellationToken) -> Self {
        Self {
            wire,
            severed: Box::pin(end.clone().cancelled_owned()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = match &mut this.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        // What has arrived is still given: only a wait ends.
        if read.is_pending() && this.severed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the worker was taken away",
            )));
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
