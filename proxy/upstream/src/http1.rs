//! Exchanges over HTTP/1.1 (RFC 9112): one at a time on a connection.
//!
//! The connection is polled by whoever waits for the head or reads the body, so nothing is read
//! that nobody asked for, and dropping either closes the socket. Only when the response's head
//! comes before the request's body is out, a task takes the connection over, as the reader may
//! pause while the worker still wants the rest; such a connection is not used again.
//!
//! hyper reports what it cannot know better in one error, so how the request's body fared is kept
//! beside it, in [`Progress`].

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http1::{Builder, Connection as Wire, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::task::{AbortHandle, coop::unconstrained};

use crate::{
    body::{Boxed, Incoming, Outgoing, Reader as AnyReader, Response, boxed},
    connect::{ConnectError, Stream},
    error::{BodyError, BoxError, SendError},
    head::Target,
    pool::{Lease, Member, Pool, Seat, Terms},
};

/// Requests that a dead connection gave back unsent are sent again this often at most: each time
/// the pool drops what is idle, so the second is on a new connection.
const ATTEMPTS: usize = 3;

/// An idle connection, or one that is carrying an exchange.
pub(crate) struct Connection {
    sender: SendRequest<RequestBody>,
    wire: Pin<Box<Wire<TokioIo<Stream>, RequestBody>>>,
    progress: Arc<Progress>,
    /// The wire has ended and must not be polled again.
    ended: bool,
}

impl Member for Connection {
    const SHARED: bool = false;

    async fn open(terms: &Terms, _: Seat<Self>) -> Result<Self, ConnectError> {
        let stream = terms.connector.connect().await?;
        let header_bytes = terms.bounds.header_bytes as usize;
        let (sender, wire) = Builder::new()
            .max_buf_size(header_bytes)
            .max_header_size(header_bytes)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        Ok(Self {
            sender,
            wire: Box::pin(wire),
            progress: Arc::default(),
            ended: false,
        })
    }

    fn limit(&self) -> usize {
        1
    }

    fn usable(&mut self) -> bool {
        // Sees what has come since the last exchange: the end, or bytes that nobody asked for.
        // Outside tokio's budget of a task: with that spent, a live connection would look busy
        // and a dead one alive.
        let look = pin!(unconstrained(poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(())
        })));
        let _ = look.poll(&mut still());
        !self.ended && !self.sender.is_closed()
    }

    fn lend(slot: &mut Option<Self>) -> Option<Self> {
        slot.take()
    }
}

impl Connection {
    /// Moves bytes. How the wire ended is told to the exchange that is on it.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.ended && self.wire.as_mut().poll(cx).is_ready() {
            self.ended = true;
        }
    }

    /// Ready for the next exchange: both messages are complete and neither side closes
    /// (RFC 9112 section 9.3).
    fn reusable(&mut self) -> bool {
        self.usable() && self.progress.complete() && self.sender.is_ready()
    }
}

/// Sends one request and waits for its response's head.
pub(crate) async fn send(
    pool: &Arc<Pool<Connection>>,
    target: &Target,
    mut head: Request<()>,
    body: impl Outgoing,
) -> Result<Response, SendError> {
    let length = if body.is_end_stream() {
        Some(0)
    } else {
        body.size_hint().exact()
    };
    target.http1(&mut head, length)?;
    let mut body = boxed(body);
    for attempt in 1.. {
        let mut lease = pool.acquire().await?;
        let Some(connection) = lease.member.take() else {
            return Err(SendError::Closed);
        };
        // Without a body and with a method that may be repeated, nothing is lost if it was read
        // (RFC 9110 section 9.2.2); the head is kept for that.
        let again = lease.reused && attempt == 1 && body.is_none() && head.method().is_idempotent();
        let spare = again.then(|| head.clone());
        let request = head.map(|()| RequestBody::new(&connection.progress, body.take()));
        match exchange(lease, connection, request).await {
            Ok(response) => return Ok(response),
            Err(Failure::Unsent(request, _)) if attempt < ATTEMPTS => {
                pool.discard_idle();
                let (parts, mut unsent) = request.into_parts();
                head = Request::from_parts(parts, ());
                body = unsent.body.take();
            }
            Err(Failure::Unsent(_, source)) => {
                let started = false;
                return Err(SendError::Broken { started, source });
            }
            Err(Failure::Sent(source)) => match (spare, &source) {
                (Some(spare), BodyError::Truncated | BodyError::Connection(_)) => {
                    pool.discard_idle();
                    head = spare;
                }
                _ => {
                    let started = true;
                    return Err(SendError::Broken { started, source });
                }
            },
        }
    }
    Err(SendError::Closed)
}

/// Refuses a response whose end another reader could see elsewhere (RFC 9112 section 6.3): with a
/// length beside `Transfer-Encoding`, or with codings other than one `chunked`, which are undone by
/// nobody here. A length that is told twice, and the same, is told once (RFC 9110 section 8.6).
fn one_length(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let more = codings.next().is_some();
    if let Some(coding) = coding {
        if more || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("a Transfer-Encoding that was not asked for");
        }
        return match headers.contains_key(CONTENT_LENGTH) {
            true => Err("both Content-Length and Transfer-Encoding"),
            false => Ok(()),
        };
    }
    let mut lengths = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    let Some(length) = lengths.next() else {
        return Ok(());
    };
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err("a Content-Length that is no number");
    }
    let mut again = false;
    for other in lengths {
        if other != length {
            return Err("two lengths");
        }
        again = true;
    }
    if again {
        let length = HeaderValue::from_bytes(length).map_err(|_| "a Content-Length")?;
        headers.insert(CONTENT_LENGTH, length);
    }
    Ok(())
}

enum Failure {
    /// Not a byte was written.
    Unsent(Box<Request<RequestBody>>, BodyError),
    Sent(BodyError),
}

async fn exchange(
    lease: Lease<Connection>,
    mut connection: Connection,
    request: Request<RequestBody>,
) -> Result<Response, Failure> {
    let mut answer = pin!(connection.sender.try_send_request(request));
    // Borrowed apart from the sender, which the answer holds.
    let (wire, ended) = (&mut connection.wire, &mut connection.ended);
    let answered = poll_fn(|cx| {
        // As for a body, below.
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut still()) {
            return Poll::Ready(answer);
        }
        if !*ended && wire.as_mut().poll(cx).is_ready() {
            *ended = true;
        }
        answer.as_mut().poll(cx)
    })
    .await;
    let response = match answered {
        Ok(response) => response,
        Err(mut error) => {
            let request = error.take_message();
            let cause = connection.progress.failure.lock().take();
            let error = BodyError::from_hyper(error.into_error(), cause);
            return Err(match request {
                Some(request) => Failure::Unsent(Box::new(request), error),
                None => Failure::Sent(error),
            });
        }
    };
    let (mut head, body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let refused = "an upgrade that nobody asked for".into();
        return Err(Failure::Sent(BodyError::Protocol(refused)));
    }
    one_length(&mut head.headers)
        .map_err(|refused| Failure::Sent(BodyError::Protocol(refused.into())))?;
    let mut reader = Reader::new(lease, connection, body);
    let reader = if reader.body.is_end_stream() && reader.give_back() {
        AnyReader::Done
    } else {
        AnyReader::Http1(reader)
    };
    let body = Incoming::new(reader);
    Ok(Response { head, body })
}

/// Reads one response's body.
pub(crate) struct Reader {
    body: hyper::body::Incoming,
    progress: Arc<Progress>,
    /// None: given back, or run by `task`.
    connection: Option<Connection>,
    task: Option<Task>,
    lease: Option<Lease<Connection>>,
}

impl Reader {
    fn new(
        lease: Lease<Connection>,
        mut connection: Connection,
        body: hyper::body::Incoming,
    ) -> Self {
        let progress = connection.progress.clone();
        let mut reader = Self {
            body,
            progress,
            connection: None,
            task: None,
            lease: Some(lease),
        };
        if connection.progress.complete() || connection.ended {
            reader.connection = Some(connection);
        } else {
            // Tracked by its abort handle: it ends with this reader.
            let run = async move { poll_fn(|cx| connection.poll_end(cx)).await };
            reader.task = Some(Task(tokio::spawn(run).abort_handle()));
        }
        reader
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = match &mut self.connection {
            None => Pin::new(&mut self.body).poll_frame(cx),
            Some(connection) => {
                // 1. takes what is there, or says that there is room, with no waker: so step 2 does
                //    not wake the task that it runs in; 2. moves bytes, and has this task woken
                //    when there are more; 3. takes what that brought, with a waker, as a task
                //    whose budget is spent is told that there is nothing, and to come again.
                match Pin::new(&mut self.body).poll_frame(&mut still()) {
                    Poll::Pending => {
                        connection.drive(cx);
                        Pin::new(&mut self.body).poll_frame(cx)
                    }
                    ready => ready,
                }
            }
        };
        polled.map(|frame| match frame {
            Some(Ok(frame)) => {
                if frame.is_trailers() {
                    self.give_back();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                let cause = self.progress.failure.lock().take();
                Some(Err(BodyError::from_hyper(error, cause)))
            }
            None => {
                self.give_back();
                None
            }
        })
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// The response is complete: the connection goes back if it may carry another. True when it
    /// does, and so nothing is left to do.
    fn give_back(&mut self) -> bool {
        let Some(connection) = self.connection.take_if(Connection::reusable) else {
            return false;
        };
        connection.progress.failure.lock().take();
        if let Some(mut lease) = self.lease.take() {
            lease.member = Some(connection);
        }
        true
    }
}

impl Connection {
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.drive(cx);
        if self.ended {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Read to the last byte, but not past it.
        if self.body.is_end_stream() {
            self.give_back();
        }
    }
}

/// For a poll that nobody is to be woken for.
fn still() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A task that ends with its owner.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How far the request's body is. One a connection, so that an exchange allocates none.
#[derive(Default)]
pub(crate) struct Progress {
    sending: AtomicBool,
    failure: Mutex<Option<BoxError>>,
}

impl Progress {
    fn complete(&self) -> bool {
        !self.sending.load(Ordering::Acquire)
    }
}

/// A request's body on its way through hyper, which drops it when it is done with it.
pub(crate) struct RequestBody {
    body: Option<Boxed>,
    progress: Arc<Progress>,
}

impl RequestBody {
    fn new(progress: &Arc<Progress>, body: Option<Boxed>) -> Self {
        progress.sending.store(true, Ordering::Release);
        Self {
            body,
            progress: progress.clone(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.progress.sending.store(false, Ordering::Release);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        Pin::new(body).poll_frame(cx).map(|frame| {
            frame.map(|frame| {
                frame.map_err(|cause| {
                    *self.progress.failure.lock() = Some(cause);
                    "the request's body failed"
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}
