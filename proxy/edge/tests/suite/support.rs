//! A listener whose service is told what to do by the path, and reports what happens to it.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tollgate_edge::{
    Control, DrainHandle, Listener, ListenerLimits, ListenerSpec, Peer, TlsSpec, drain,
};
use tollgate_telemetry::Metrics;

/// Nothing here takes this long, but for a defect.
const CEILING: Duration = Duration::from_secs(20);

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    let outcome = tokio::time::timeout(CEILING, future).await;
    outcome.expect("this should have happened by now")
}

/// What happened to a request, by its path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Began(String),
    /// Its future was dropped before it answered.
    Dropped(String),
    /// Its response's body was dropped.
    BodyDropped(String),
}

/// A listener that runs.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) drain: DrainHandle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) control: Control,
    pub(crate) events: mpsc::Receiver<Event>,
    desk: Arc<Desk>,
}

/// Where the service finds what it is to do.
struct Desk {
    events: mpsc::Sender<Event>,
    bodies: Mutex<HashMap<String, mpsc::Sender<Bytes>>>,
}

impl Server {
    pub(crate) async fn start(limits: ListenerLimits, tls: Option<TlsSpec>) -> Self {
        let spec = ListenerSpec {
            name: "front".to_owned(),
            address: ([127, 0, 0, 1], 0).into(),
            tls,
            limits,
        };
        let metrics = Arc::new(Metrics::new());
        let listener = Listener::bind(spec, metrics.clone()).await.unwrap();
        let address = listener.local_addr();
        let control = listener.control();
        let (sender, events) = mpsc::channel(1024);
        let desk = Arc::new(Desk {
            events: sender,
            bodies: Mutex::default(),
        });
        let (handle, drain) = drain();
        let service = {
            let desk = desk.clone();
            move |request, peer| answer(desk.clone(), request, peer)
        };
        Self {
            address,
            drain: handle,
            metrics,
            control,
            serving: tokio::spawn(listener.serve(service, drain)),
            events,
            desk,
        }
    }

    pub(crate) async fn plain() -> Self {
        Self::start(ListenerLimits::default(), None).await
    }

    pub(crate) async fn event(&mut self) -> Event {
        within(self.events.recv()).await.unwrap()
    }

    /// The next event must be this one.
    pub(crate) async fn expect(&mut self, event: Event) {
        assert_eq!(self.event().await, event);
    }

    /// Sends a piece of a streamed body.
    pub(crate) async fn feed(&self, path: &str, piece: &'static str) {
        let body = self.desk.bodies.lock().get(path).cloned();
        let body = body.expect("the body is there once its request has begun");
        body.send(Bytes::from_static(piece.as_bytes()))
            .await
            .unwrap();
    }

    /// Ends a streamed body.
    pub(crate) fn end(&self, path: &str) {
        self.desk.bodies.lock().remove(path).unwrap();
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// A metric's line, without its name and labels.
    pub(crate) fn metric(&self, series: &str) -> Option<String> {
        let page = self.metrics.encode();
        let line = page.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next().map(str::to_owned)
    }
}

async fn answer(desk: Arc<Desk>, request: Request<Incoming>, peer: Arc<Peer>) -> Response<Answer> {
    let path = request.uri().path().to_owned();
    // Registered before the event, so that whoever has seen it can feed.
    let pieces = path.starts_with("/stream").then(|| {
        let (sender, receiver) = mpsc::channel(16);
        desk.bodies.lock().insert(path.clone(), sender);
        receiver
    });
    let _ = desk.events.send(Event::Began(path.clone())).await;
    match path.as_str() {
        path if path.starts_with("/hold") => {
            let _note = Note(desk, Event::Dropped(path.to_owned()));
            std::future::pending().await
        }
        path if path.starts_with("/panic") => panic!("as asked"),
        "/refuse" => {
            let mut response = Response::new(Answer::text("too large"));
            *response.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
            response
        }
        "/certificate" => {
            let certificate = peer.certificate.as_deref();
            Response::new(Answer::text(&format!("{certificate:?}")))
        }
        "/count" => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(Answer::text(&body.len().to_string()))
        }
        _ => match pieces {
            Some(pieces) => Response::new(Answer::Fed {
                pieces,
                _note: Note(desk, Event::BodyDropped(path)),
            }),
            None => {
                let Peer {
                    listener,
                    tls,
                    sni,
                    h2,
                    ..
                } = &*peer;
                let sni = sni.as_deref().unwrap_or("-");
                Response::new(Answer::text(&format!(
                    "{listener} tls={tls} sni={sni} h2={h2}"
                )))
            }
        },
    }
}

pub(crate) struct Note(Arc<Desk>, Event);

impl Drop for Note {
    fn drop(&mut self) {
        let event = std::mem::replace(&mut self.1, Event::Began(String::new()));
        let _ = self.0.events.try_send(event);
    }
}

/// The service's bodies.
pub(crate) enum Answer {
    Text(Option<Bytes>),
    Fed {
        pieces: mpsc::Receiver<Bytes>,
        _note: Note,
    },
}

impl Answer {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(Some(Bytes::copy_from_slice(text.as_bytes())))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Fed { pieces, .. } => pieces.poll_recv(cx).map(|p| p.map(|p| Ok(Frame::data(p)))),
        }
    }
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Fed { .. } => SizeHint::default(),
        }
    }
}

pub(crate) type Http1 = http1::SendRequest<Empty<Bytes>>;
pub(crate) type Http2 = http2::SendRequest<Empty<Bytes>>;

/// A client and the task that runs its connection; aborting that closes the socket.
pub(crate) async fn http1(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> (Http1, JoinHandle<()>) {
    let (client, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    (client, tokio::spawn(async { drop(connection.await) }))
}

/// A client of HTTP/2; dropping a response before its end resets its stream.
pub(crate) async fn http2(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> (Http2, JoinHandle<()>) {
    let io = TokioIo::new(socket);
    let (client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    (client, tokio::spawn(async { drop(connection.await) }))
}

pub(crate) fn get(path: &str) -> Request<Empty<Bytes>> {
    let request = Request::get(format!("http://front.example{path}"));
    let request = request.header("host", "front.example");
    request.body(Empty::new()).unwrap()
}

/// Status and text.
pub(crate) async fn read(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = within(response.into_body().collect()).await.unwrap();
    (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

pub(crate) fn field<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// All that comes until the other side closes or resets.
pub(crate) async fn rest(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = within(socket.read(&mut piece)).await {
        all.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&all).into_owned()
}
