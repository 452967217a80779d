//! A client that speaks HTTP/1.1 a byte at a time if need be.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{End, Request, Response};
use crate::{
    wire1::{Head, Length, Wire},
    within,
};

/// One connection.
pub struct Connection {
    wire: Wire,
    host: String,
    length: Length,
}

impl Connection {
    /// In the clear.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = tcp(address).await;
        Self::new(Wire::new(Box::new(stream)), address)
    }

    /// By TLS, as `localhost`; gives the protocol that was agreed on, too.
    ///
    /// # Panics
    /// When the handshake fails.
    pub async fn open_tls(address: SocketAddr, config: Arc<ClientConfig>) -> (Self, String) {
        let (stream, protocol) = tls(address, config).await;
        (Self::new(Wire::new(Box::new(stream)), address), protocol)
    }

    fn new(wire: Wire, address: SocketAddr) -> Self {
        Self {
            wire,
            host: address.to_string(),
            length: Length::Over,
        }
    }

    /// Sends a well-formed request.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send(&mut self, request: &Request) {
        let host = request.host.as_ref().unwrap_or(&self.host);
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {host}\r\n",
            request.method, request.path
        );
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &request.body {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(request.body.as_deref().unwrap_or_default());
        self.raw(bytes).await;
    }

    /// Sends bytes as they are. The proxy may answer and close before it has read them all: that
    /// is no failure of the test.
    pub async fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("a request is written", self.wire.write(bytes.as_ref())).await;
    }

    /// The head of the next response; none when the connection closes instead.
    pub async fn try_head(&mut self) -> Option<Head> {
        loop {
            let head = within("a response begins", self.wire.head()).await.ok()??;
            let status = status_of(&head);
            if status >= 200 {
                self.length = match status {
                    204 | 304 => Length::Over,
                    _ => Length::of(&head, true),
                };
                return Some(head);
            }
        }
    }

    /// The head of the next response.
    ///
    /// # Panics
    /// When there is none.
    pub async fn head(&mut self) -> Head {
        self.try_head()
            .await
            .expect("a response, not the connection's end")
    }

    /// The next piece of the body: some bytes, or how it ended.
    ///
    /// # Errors
    /// The end.
    pub async fn piece(&mut self) -> Result<Bytes, End> {
        match within("the response goes on", self.wire.piece(&mut self.length)).await {
            Ok(Some(piece)) => Ok(piece),
            Ok(None) => Err(End::Whole),
            Err(_) => Err(End::Cut),
        }
    }

    /// The next response, whole; none when the connection closes instead.
    pub async fn try_response(&mut self) -> Option<Response> {
        let head = self.try_head().await?;
        let mut body = Vec::new();
        let end = loop {
            match self.piece().await {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(end) => break end,
            }
        };
        Some(Response {
            status: status_of(&head),
            headers: head.headers,
            body: body.into(),
            end,
        })
    }

    /// The next response, whole.
    ///
    /// # Panics
    /// When there is none.
    pub async fn response(&mut self) -> Response {
        self.try_response()
            .await
            .expect("a response, not the connection's end")
    }

    /// Whether the other end has closed: true once it has.
    pub async fn closed(&mut self) -> bool {
        within("the connection closes", async {
            loop {
                match self.wire.fill().await {
                    Ok(0) | Err(_) => return true,
                    Ok(_) => {}
                }
            }
        })
        .await
    }
}

/// The status in a response's first line.
#[must_use]
pub fn status_of(head: &Head) -> u16 {
    let status = head.line.split(' ').nth(1);
    status.and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// One exchange by TLS, on a connection of its own.
///
/// # Panics
/// When the handshake fails, or there is no response.
pub async fn ask_tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    request: &Request,
) -> Response {
    let (mut connection, _) = Connection::open_tls(address, config).await;
    connection.send(request).await;
    connection.response().await
}

/// Asks once, on a connection of its own.
pub async fn ask(address: SocketAddr, request: &Request) -> Response {
    let mut connection = Connection::open(address).await;
    connection.send(request).await;
    connection.response().await
}

/// Asks with bytes, on a connection of its own; none when it was closed without an answer.
pub async fn ask_raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Option<Response> {
    let mut connection = Connection::open(address).await;
    connection.raw(bytes).await;
    connection.try_response().await
}

/// A connection in the clear.
///
/// # Panics
/// When nobody listens.
pub(super) async fn tcp(address: SocketAddr) -> TcpStream {
    let stream = within("a connection", TcpStream::connect(address))
        .await
        .expect("somebody listens");
    stream.set_nodelay(true).expect("the socket is open");
    stream
}

/// A connection by TLS, and the protocol that was agreed on.
pub(super) async fn tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> (tokio_rustls::client::TlsStream<TcpStream>, String) {
    let name = ServerName::try_from("localhost").expect("it is a name");
    let stream = tcp(address).await;
    let stream = within(
        "a handshake",
        TlsConnector::from(config).connect(name, stream),
    )
    .await
    .expect("the handshake succeeds");
    let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default();
    let protocol = String::from_utf8_lossy(protocol).into_owned();
    (stream, protocol)
}
