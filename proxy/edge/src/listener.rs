//! Accepting connections, up to a bound.
//!
//! 1. A place is taken before a connection is accepted: at the bound, new ones wait in the
//!    system's backlog, where they cost us nothing.
//!    A listener whose connections give way ([`Crowd`]) closes older ones for new ones before that.
//! 2. Each connection is a task; a panic in it ends it alone, and is counted.
//! 3. When the drain begins, whoever has connected by then is still let in, as far as there are places:
//!    with the socket the system would reset what waits in its backlog, and a client would lose what
//!    it has sent. Then the socket is closed, so that new connections are refused. What is open ends
//!    by itself or, at the deadline, is aborted. Only then is the listener over.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;
use tollgate_telemetry::Metrics;

use crate::BoxError;
use crate::connection::{self, Shared};
use crate::crowd::Crowd;
use crate::drain::Drain;
use crate::peer::Peer;
use crate::places::Place;
use crate::spec::ListenerSpec;
use crate::streams::Panics;
use crate::terms::Control;
use crate::tls::CertificateError;

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
    name: Arc<str>,
    control: Control,
    crowd: Option<Arc<Crowd>>,
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
        source: Box<CertificateError>,
    },
}

impl Listener {
    /// Reads the certificates and begins to listen; nothing is accepted before
    /// [`Listener::serve`].
    ///
    /// # Errors
    /// When the certificates cannot be used or the address cannot be had.
    pub async fn bind(spec: ListenerSpec, metrics: Arc<Metrics>) -> Result<Self, BindError> {
        let listen = || {
            let socket = match spec.address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(spec.address)?;
            socket.listen(BACKLOG)
        };
        let control = Self::control_of(&spec).await?;
        let socket = listen();
        Self::over(spec, control, socket, metrics)
    }

    /// As [`Listener::bind`], over a socket that listens already: one that was inherited, with
    /// whatever waits in its backlog.
    ///
    /// # Errors
    /// When the certificates or the socket cannot be used.
    pub async fn adopt(
        spec: ListenerSpec,
        socket: std::net::TcpListener,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BindError> {
        let control = Self::control_of(&spec).await?;
        let socket = socket
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(socket));
        Self::over(spec, control, socket, metrics)
    }

    async fn control_of(spec: &ListenerSpec) -> Result<Control, BindError> {
        let prepared = Control::prepare(spec.limits.clone(), spec.tls.as_ref()).await;
        prepared
            .map(Control::new)
            .map_err(|source| BindError::Certificates {
                name: spec.name.clone(),
                source: Box::new(source),
            })
    }

    fn over(
        spec: ListenerSpec,
        control: Control,
        socket: io::Result<TcpListener>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BindError> {
        let listening = socket.and_then(|socket| {
            let address = socket.local_addr()?;
            Ok((socket, address))
        });
        let (socket, address) = listening.map_err(|source| BindError::Address {
            name: spec.name.clone(),
            address: spec.address,
            source,
        })?;
        Ok(Self {
            socket,
            address,
            name: spec.name.as_str().into(),
            control,
            crowd: None,
            metrics,
        })
    }

    /// Its older connections give way to new ones, within the bounds of a crowd. They are to be below
    /// that of its connections, which counts those that are still being closed.
    #[must_use]
    pub fn giving_way(mut self, crowd: Arc<Crowd>) -> Self {
        self.crowd = Some(crowd);
        self
    }

    /// What can change of it while it serves.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Another handle of its socket, to be handed on: what listens stays open as long as one of
    /// them is.
    ///
    /// # Errors
    /// When the system has no room for one.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
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
        let name = self.name;
        let control = self.control;
        let mut tasks = JoinSet::new();
        let looking = control.clone();
        tasks.spawn(looking.look_after(name.clone(), self.metrics.clone(), drain.clone()));
        let panics = Panics {
            metrics: self.metrics.clone(),
            listener: name.clone(),
        };
        let tracker = TaskTracker::new();
        let mut host = Host {
            shared: Arc::new(Shared {
                name: name.clone(),
                terms: Arc::clone(&control.terms()),
                panics: panics.clone(),
                tracker: tracker.clone(),
            }),
            control: control.clone(),
            crowd: self.crowd,
            metrics: self.metrics,
            service,
            drain: drain.clone(),
        };

        loop {
            let accept = async {
                let place = control.places().take().await;
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
            host.welcome(&mut tasks, place, socket, address);
        }

        for (socket, address) in waiting(self.socket) {
            let Some(place) = control.places().try_take() else {
                break;
            };
            host.welcome(&mut tasks, place, socket, address);
        }
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
        tracker.close();
        tracker.wait().await;
    }
}

/// What each connection is served with.
struct Host<S> {
    /// On the terms of those that were accepted last.
    shared: Arc<Shared>,
    control: Control,
    crowd: Option<Arc<Crowd>>,
    metrics: Arc<Metrics>,
    service: S,
    drain: Drain,
}

impl<S> Host<S> {
    /// Serves a connection in a task of its own.
    fn welcome<F, B>(
        &mut self,
        tasks: &mut JoinSet<()>,
        place: Place,
        socket: TcpStream,
        address: SocketAddr,
    ) where
        S: Fn(Request<Incoming>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        prepare(&socket);
        {
            let terms = self.control.terms();
            if !Arc::ptr_eq(&self.shared.terms, &terms) {
                // Connections of the former terms keep theirs.
                Arc::make_mut(&mut self.shared).terms = Arc::clone(&terms);
            }
        }
        let connected = self.metrics.connected(&self.shared.name);
        let shared = self.shared.clone();
        let (service, drain) = (self.service.clone(), self.drain.clone());
        let stay = self.crowd.as_ref().map(|crowd| crowd.join(address.ip()));
        tasks.spawn(async move {
            // Made here: a future that is moved in has its room twice, before and after.
            match stay {
                None => connection::serve(shared, socket, address, service, drain).await,
                Some(stay) => {
                    let serve = connection::serve(shared, socket, address, service, drain);
                    let serving = Box::pin(serve);
                    tokio::select! {
                        () = serving => {}
                        () = stay.over() => {}
                    }
                }
            }
            drop((connected, place));
        });
    }
}

/// Those that wait in a socket's backlog, asked of the system itself: the runtime may not have heard
/// of them yet. The socket is closed behind them.
fn waiting(socket: TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let mut left = BACKLOG;
    let socket = socket.into_std().ok();
    std::iter::from_fn(move || {
        loop {
            left = left.checked_sub(1)?;
            match socket.as_ref()?.accept() {
                Ok((accepted, address)) => {
                    let ready = accepted.set_nonblocking(true);
                    if let Ok(accepted) = ready.and_then(|()| TcpStream::from_std(accepted)) {
                        return Some((accepted, address));
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return None,
            }
        }
    })
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
