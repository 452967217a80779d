//! Accepting connections, up to a bound.
//!
//! 1. A place is taken before a connection is accepted: at the bound, new ones wait in the
//!    system's backlog, where they cost us nothing.
//! 2. Each connection is a task; a panic in it ends it alone, and is counted.
//! 3. When the drain begins the socket is closed, so that new connections are refused. What is open
//!    ends by itself or, at the deadline, is aborted. Only then is the listener over.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tollgate_telemetry::Metrics;

use crate::BoxError;
use crate::connection::{self, Shared};
use crate::drain::Drain;
use crate::peer::Peer;
use crate::spec::ListenerSpec;
use crate::streams::Panics;
use crate::tls::{CertificateError, Certificates};

/// Connections that the system holds for us.
const BACKLOG: u32 = 1024;
/// After this long without a byte the system asks whether the other end is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long accepting rests when the system is out of descriptors or memory.
const REST: Duration = Duration::from_millis(100);

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    spec: ListenerSpec,
    certificates: Option<Certificates>,
    metrics: Arc<Metrics>,
}

/// Why a listener cannot be.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Its address cannot be had.
    #[error("listener `{name}` cannot listen on {address}: {source}")]
    Address {
        /// Name of the listener.
        name: String,
        /// What was wanted.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Its certificates cannot be used.
    #[error("listener `{name}`: {source}")]
    Certificates {
        /// Name of the listener.
        name: String,
        /// What is wrong.
        source: CertificateError,
    },
}

impl Listener {
    /// Reads the certificates and begins to listen; nothing is accepted before
    /// [`Listener::serve`].
    ///
    /// # Errors
    /// When the certificates cannot be used or the address cannot be had.
    pub async fn bind(spec: ListenerSpec, metrics: Arc<Metrics>) -> Result<Self, BindError> {
        let name = || spec.name.clone();
        let certificates =
            match &spec.tls {
                Some(tls) => Some(Certificates::load(tls).await.map_err(|source| {
                    BindError::Certificates {
                        name: name(),
                        source,
                    }
                })?),
                None => None,
            };
        let listen = || {
            let socket = match spec.address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(spec.address)?;
            let socket = socket.listen(BACKLOG)?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let (socket, address) = listen().map_err(|source| BindError::Address {
            name: name(),
            address: spec.address,
            source,
        })?;
        Ok(Self {
            socket,
            address,
            certificates,
            spec,
            metrics,
        })
    }

    /// Where it listens, with the port that the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves clients until the drain is over and every connection gone.
    ///
    /// The service's future and the body that it answers with are dropped as soon as their client
    /// is gone. In HTTP/1.1 that is noticed only once the request's body has been read, and not
    /// while a pipelined request waits: until then the client's end is hidden behind bytes.
    pub async fn serve<S, F, B>(self, service: S, mut drain: Drain)
    where
        S: Fn(Request<Incoming>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let name: Arc<str> = self.spec.name.as_str().into();
        let places = Arc::new(Semaphore::new(self.spec.limits.connections));
        let mut tasks = JoinSet::new();
        let tls = self.certificates.map(|certificates| {
            let acceptor = TlsAcceptor::from(Arc::new(certificates.server_config()));
            let (metrics, name) = (self.metrics.clone(), name.clone());
            let mut drain = drain.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = certificates.watch(&name, &metrics) => {}
                    () = drain.started() => {}
                }
            });
            acceptor
        });
        let panics = Panics {
            metrics: self.metrics.clone(),
            listener: name.clone(),
        };
        let shared = Arc::new(Shared {
            name: name.clone(),
            tls,
            limits: self.spec.limits,
            panics: panics.clone(),
            tracker: TaskTracker::new(),
        });

        loop {
            let accept = async {
                // The semaphore is never closed.
                let place = places.clone().acquire_owned().await.ok();
                (place, self.socket.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = drain.started() => break,
                Some(ended) = tasks.join_next() => {
                    panics.note(&ended);
                    continue;
                }
                accepted = accept => accepted,
            };
            let (socket, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if !is_of_one_connection(&error) {
                        tracing::warn!(listener = &*name, %error, "cannot accept connections");
                        tokio::time::sleep(REST).await;
                    }
                    continue;
                }
            };
            prepare(&socket);
            let connected = self.metrics.connected(&name);
            let (shared, service, drain) = (shared.clone(), service.clone(), drain.clone());
            tasks.spawn(async move {
                // Made here: a future that is moved in has its room twice, before and after.
                connection::serve(shared, socket, address, service, drain).await;
                drop((connected, place));
            });
        }

        drop(self.socket);
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(ended) => panics.note(&ended),
                    None => break,
                },
                () = drain.deadline() => {
                    tasks.shutdown().await;
                    break;
                }
            }
        }
        shared.tracker.close();
        shared.tracker.wait().await;
    }
}

/// Tokens leave as they come, and a host that vanished is noticed even while nothing is sent.
fn prepare(socket: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    let set = socket
        .set_nodelay(true)
        .and_then(|()| SockRef::from(socket).set_tcp_keepalive(&keepalive));
    if let Err(error) = set {
        // It is closed already, or slower.
        tracing::debug!(%error, "socket options were refused");
    }
}

/// Whether accepting failed for one client alone, so that the next may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    let kinds = [
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        Interrupted,
    ];
    kinds.contains(&error.kind())
}
