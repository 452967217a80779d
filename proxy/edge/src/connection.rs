//! One connection, from its first byte to its last.
//!
//! 1. TLS: the handshake, within its limit; ALPN names the protocol. In the clear: HTTP/2 if the
//!    first bytes are its preface (RFC 9113, section 3.4), HTTP/1.1 if they are anything else.
//! 2. Requests go to the service, each with the [`Peer`]. When the client goes away, what serves it
//!    is dropped at once: hyper drops an HTTP/1.1 request's future or body when the socket ends,
//!    and an HTTP/2 request's when its stream is reset or the connection ends.
//! 3. It ends when the client closes it, a limit is passed, or the drain begins and the requests
//!    under way are over. A client that has just sent a request on a connection which we close at
//!    that moment would lose it: so over HTTP/1.1 the next answer says `Connection: close`, and
//!    only who asks nothing for [`PART`] is closed; over HTTP/2 GOAWAY tells what is still taken.
//! 4. An HTTP/1.1 connection that we closed lingers: a socket that is closed while bytes still come
//!    in resets the connection, and the client would lose an answer that it has not read yet.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tollgate_identity::Certificate;

use crate::BoxError;
use crate::activity::{Activity, Limits, Passed};
use crate::body::Tracked;
use crate::drain::Drain;
use crate::head;
use crate::peer::Peer;
use crate::spec::ListenerLimits;
use crate::streams::{Panics, Streams};
use crate::terms::Terms;
use crate::transport::{Socket, Transport};

/// How HTTP/2 begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What one request's body may have in flight towards us, and all of a connection together.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What one response may have written ahead of the client's reading.
const SEND_BUFFER: usize = 256 * 1024;
/// Streams that a client opened and reset before we saw them, and streams that we reset for its
/// errors, that are remembered; more end the connection (CVE-2023-44487, CVE-2025-8671).
const RESET_STREAMS: usize = 64;
/// How often an HTTP/2 client is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection that is to end may take to do so when no request is under way.
const LEAVE: Duration = Duration::from_secs(2);
/// How long a connection without a request waits for one, once the drain has begun.
const PART: Duration = Duration::from_secs(1);
/// How long, and for how many bytes, we wait for a client to close after us.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;
/// Number of header fields for which hyper keeps room on the stack.
const FIELDS_ON_STACK: usize = 100;

/// What the connections of a listener share that were accepted on the same terms.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) terms: Arc<Terms>,
    pub(crate) panics: Panics,
    pub(crate) tracker: TaskTracker,
}

/// How a connection begins.
struct Opening {
    socket: Socket,
    ahead: Bytes,
    sni: Option<String>,
    h2: bool,
    certificate: Option<Arc<Certificate>>,
    /// When the first head must be whole, if some of it has been read.
    first_head: Option<Instant>,
}

/// Serves a connection to its end.
pub(crate) async fn serve<S, F, B>(
    shared: Arc<Shared>,
    socket: TcpStream,
    address: SocketAddr,
    service: S,
    mut drain: Drain,
) where
    S: Fn(Request<Incoming>, Arc<Peer>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let parted = async {
        drain.started().await;
        tokio::time::sleep(PART).await;
    };
    let opening = tokio::select! {
        biased;
        // Boxed: a handshake takes twice the room of all that follows, for a moment.
        opening = Box::pin(shared.open(socket)) => opening,
        // A connection on which nothing has been asked has nothing to end.
        () = parted => return,
    };
    let Some(opening) = opening else { return };

    let limits = &shared.terms.limits;
    let peer = Arc::new(Peer {
        listener: shared.name.clone(),
        address,
        tls: matches!(opening.socket, Socket::Tls(_)),
        sni: opening.sni,
        h2: opening.h2,
        certificate: opening.certificate,
    });
    let activity = Arc::new(Activity::default());
    let transport = Transport::new(opening.socket, opening.ahead, activity.clone());
    let transport = TokioIo::new(transport);
    let mut timing = Limits::new(
        activity.clone(),
        !opening.h2,
        limits.idle_timeout,
        limits.header_timeout,
        opening.first_head,
    );

    let fields = limits.header_count;
    let over_h1 = !opening.h2;
    let seen = activity.clone();
    let ending = drain.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (service, peer, under_way) = (service.clone(), peer.clone(), seen.request());
        let ending = ending.clone();
        async move {
            // hyper counts them in HTTP/1.1 only.
            if request.headers().len() > fields {
                let mut refusal = Response::new(Tracked::empty(under_way));
                *refusal.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                return Ok::<_, Infallible>(refusal);
            }
            let mut response = service(head::detached(request), peer).await;
            // Asked of the drain itself: the connection may not have heard of it yet.
            if over_h1 && ending.is_draining() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok(response.map(|body| Tracked::new(body, under_way)))
        }
    });

    if opening.h2 {
        let (streams, _end) = Streams::new(
            shared.tracker.clone(),
            shared.panics.clone(),
            activity.clone(),
            limits.idle_timeout,
        );
        // Boxed: here it would take its room in every task, and most carry HTTP/1.1.
        let mut connection = Box::pin(h2(limits, streams).serve_connection(transport, service));
        drive(connection.as_mut(), &mut timing, &activity, &mut drain).await;
    } else {
        let mut connection = h1(limits).serve_connection(transport, service);
        let over = drive(
            Pin::new(&mut connection),
            &mut timing,
            &activity,
            &mut drain,
        )
        .await;
        if over == Over::Answered && !activity.is_eof() {
            linger(connection.into_parts().io.into_inner()).await;
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Finds out what a connection speaks. `None`: it ended, or took too long.
    async fn open(&self, socket: TcpStream) -> Option<Opening> {
        match &self.terms.tls {
            Some(serving) => self.handshake(serving.load_full().into(), socket).await,
            None => self.detect(socket).await,
        }
    }

    async fn handshake(&self, acceptor: TlsAcceptor, socket: TcpStream) -> Option<Opening> {
        let handshake = timeout(self.terms.limits.handshake_timeout, acceptor.accept(socket));
        let failure = match handshake.await {
            Ok(Ok(socket)) => {
                let (_, tls) = socket.get_ref();
                return Some(Opening {
                    h2: tls.alpn_protocol() == Some(b"h2"),
                    sni: tls.server_name().map(str::to_ascii_lowercase),
                    certificate: tls.peer_certificates().and_then(known),
                    socket: Socket::Tls(Box::new(socket)),
                    ahead: Bytes::new(),
                    first_head: None,
                });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        self.panics.metrics.handshake_failed(&self.name);
        tracing::debug!(
            listener = &*self.name,
            why = failure,
            "TLS handshake failed"
        );
        None
    }

    async fn detect(&self, mut socket: TcpStream) -> Option<Opening> {
        let mut ahead = BytesMut::with_capacity(PREFACE.len());
        let first = read(&mut socket, &mut ahead);
        timeout(self.terms.limits.idle_timeout, first)
            .await
            .ok()??;
        let whole = Instant::now() + self.terms.limits.header_timeout;
        while ahead.len() < PREFACE.len() && PREFACE.starts_with(&ahead) {
            let more = read(&mut socket, &mut ahead);
            tokio::time::timeout_at(whole, more).await.ok()??;
        }
        Some(Opening {
            h2: *ahead == *PREFACE,
            socket: Socket::Plain(socket),
            ahead: ahead.freeze(),
            sni: None,
            certificate: None,
            first_head: Some(whole),
        })
    }
}

/// What is known of a client by its certificate, which has been verified. One whose names cannot be
/// read names nobody.
fn known(chain: &[CertificateDer<'_>]) -> Option<Arc<Certificate>> {
    let read = Certificate::read(chain.first()?);
    if let Err(error) = &read {
        tracing::debug!(%error, "a client's certificate is of no use");
    }
    read.ok().map(Arc::new)
}

/// Reads what there is room for; `None` at the end.
async fn read(socket: &mut TcpStream, into: &mut BytesMut) -> Option<()> {
    let room = (PREFACE.len() - into.len()) as u64;
    let read = AsyncReadExt::take(socket, room).read_buf(into).await;
    read.ok().filter(|read| *read > 0).map(|_| ())
}

fn h1(limits: &ListenerLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // See `activity` for why.
        .header_read_timeout(None)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(64 * 1024))
        .keep_alive(true)
        // A client that closes its side is gone: nobody waits for its answer.
        .half_close(false);
    if limits.header_count != FIELDS_ON_STACK {
        builder.max_headers(limits.header_count);
    }
    builder
}

fn h2(limits: &ListenerLimits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .adaptive_window(false)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(RESET_STREAMS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// How a connection was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// By hyper, which has sent its last answer.
    Answered,
    /// By a limit, in the midst of something or of nothing.
    Cut,
}

/// hyper's connections, both.
trait Served: Future<Output = hyper::Result<()>> {
    /// Whether the client is told at once which of its requests are still taken.
    const TELLS: bool;

    fn leave(self: Pin<&mut Self>);
}

impl<S, B> Served for http1::Connection<TokioIo<Transport>, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<BoxError>,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    const TELLS: bool = false;

    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, B> Served for http2::Connection<TokioIo<Transport>, S, Streams>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    const TELLS: bool = true;

    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Lets a connection go on until it is over.
async fn drive<C: Served>(
    mut connection: Pin<&mut C>,
    timing: &mut Limits,
    activity: &Activity,
    drain: &mut Drain,
) -> Over {
    enum Event {
        Over(hyper::Result<()>),
        Passed(Passed),
    }
    let (mut parting, mut leaving) = (false, false);
    // When a client that has asked nothing yet is told.
    let mut later: Option<Pin<Box<Sleep>>> = None;
    loop {
        let event = poll_fn(|cx| {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(Event::Over(result));
            }
            timing.poll(cx).map(Event::Passed)
        });
        tokio::select! {
            biased;
            event = event => match event {
                Event::Over(result) => {
                    let Err(error) = result else {
                        return Over::Answered;
                    };
                    tracing::debug!(%error, "connection ended");
                    // A response that broke off is over for the client when the socket is.
                    return if error.is_user() {
                        Over::Cut
                    } else {
                        Over::Answered
                    };
                }
                Event::Passed(Passed::Idle) if !leaving => {}
                Event::Passed(_) => return Over::Cut,
            },
            () = drain.started(), if !parting => {
                parting = true;
                if !C::TELLS {
                    timing.wait(PART);
                    continue;
                }
                // One that is only just open has a client that is about to ask.
                if !activity.has_begun() {
                    later = Some(Box::pin(tokio::time::sleep(PART)));
                    continue;
                }
            }
            () = over(&mut later), if later.is_some() => later = None,
            // The phase is looked at again.
            () = activity.idle() => continue,
        }
        leaving = true;
        connection.as_mut().leave();
        timing.hasten(LEAVE);
    }
}

/// When a timer is over that is set.
async fn over(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}

/// Waits for the client to close, so that it reads what it was sent.
async fn linger(mut transport: impl AsyncRead + Unpin) {
    let drained = async {
        let mut sink = vec![0; 8 * 1024];
        let mut left = LINGER_BYTES;
        while let Ok(read @ 1..) = transport.read(&mut sink).await {
            left = left.saturating_sub(read);
            if left == 0 {
                break;
            }
        }
    };
    // In vain or not, the socket is closed now.
    let _ = timeout(LINGER, drained).await;
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    #[test]
    fn a_connection_takes_little_room() {
        type Begin<S, F> = fn(Arc<Shared>, TcpStream, SocketAddr, S, Drain) -> F;

        fn room<S, F>(_: &S, _: Begin<S, F>) -> usize {
            size_of::<F>()
        }
        async fn answer(_: Request<Incoming>, _: Arc<Peer>) -> Response<Empty<Bytes>> {
            Response::default()
        }
        let room = room(&answer, serve);
        assert!(room <= 2 << 10, "{room} bytes");
    }
}
