//! Exchanges over HTTP/2 (RFC 9113): a stream each.
//!
//! A task a connection moves its frames. The request's body is pumped by whoever waits for the
//! response's head; if the head comes first, a task takes the rest over, so that both bodies flow
//! at once.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{Builder, SendRequest},
};
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use tokio::{sync::oneshot, task::AbortHandle};

use crate::{
    body::{Boxed, Incoming, Outgoing, Reader as AnyReader, Response, boxed},
    connect::ConnectError,
    error::{BodyError, BoxError, SendError},
    head::Target,
    pool::{Lease, Member, Pool, Seat, Terms},
};

/// Connections that say, before a stream is begun on them, that they take no more.
const ATTEMPTS: usize = 3;

/// Bytes of a request's body that wait for the socket, a stream.
const SEND_BUFFER: usize = 256 * 1024;

/// The longest frame that a worker may send, in bytes: a tensor comes in a quarter of the frames
/// that the protocol's least (16 KiB) would make of it, each of which is handed on by itself. A
/// connection holds one that is not whole yet.
const FRAME: u32 = 64 * 1024;

/// Streams that we have reset and whose last frames may still come, a connection.
const RESET_STREAMS: usize = 1024;

/// `h2` charges each unread DATA frame below 256 bytes for what it lacks of that, and closes the
/// connection, with all its streams, when the sum passes a budget. With one of 15 bytes for each
/// of the window, only frames below 16 bytes on the average, every window full of them and nobody
/// reading, can reach it: a reader that stops beside a stream of tokens costs its neighbours
/// nothing.
const SMALL_FRAMES: usize = 15;

/// A connection's sender: what opens its streams.
pub(crate) struct Connection(SendRequest<Bytes>);

impl Member for Connection {
    const SHARED: bool = true;

    async fn open(terms: &Terms, seat: Seat<Self>) -> Result<Self, ConnectError> {
        let stream = terms.connector.connect().await?;
        let streams = u32::try_from(terms.width).unwrap_or(u32::MAX);
        let (stream_window, connection_window) = terms.bounds.windows(streams);
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(stream_window)
            .initial_connection_window_size(connection_window)
            .max_frame_size(FRAME)
            .data_frame_budget((connection_window as usize).saturating_mul(SMALL_FRAMES))
            .max_header_list_size(terms.bounds.header_bytes)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(RESET_STREAMS)
            .initial_max_send_streams(terms.width)
            .handshake::<_, Bytes>(stream)
            .await
            .map_err(std::io::Error::other)?;
        // Not tracked: it ends with the last sender and the last stream, or with the socket. Its
        // error is each stream's too.
        tokio::spawn(async move {
            let _ = poll_fn(|cx| {
                let end = Pin::new(&mut connection).poll(cx);
                // A limit may have been raised (SETTINGS), or the connection be closing (GOAWAY).
                seat.changed();
                end
            })
            .await;
            seat.ended();
        });
        Ok(Self(sender))
    }

    fn limit(&self) -> usize {
        self.0.current_max_send_streams()
    }

    fn usable(&mut self) -> bool {
        let mut still = Context::from_waker(Waker::noop());
        matches!(self.0.poll_ready(&mut still), Poll::Ready(Ok(())))
    }

    fn lend(slot: &mut Option<Self>) -> Option<Self> {
        slot.as_ref().map(|connection| Self(connection.0.clone()))
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
    target.http2(&mut head, length)?;
    let (lease, mut sender) = place(pool).await?;
    let body = boxed(body);
    let (mut answer, stream) = match sender.0.send_request(head, body.is_none()) {
        Ok(opened) => opened,
        Err(error) if error.is_io() || error.is_go_away() => {
            // The connection ended in the moment since it was asked: the stream is not begun.
            let source = BodyError::from_h2(error, None);
            lease.condemn();
            let started = false;
            return Err(SendError::Broken { started, source });
        }
        Err(_) => return Err(SendError::Invalid("the head cannot be put into HTTP/2")),
    };
    // The connection stays open as long as a sender lives: the pool's is enough.
    drop(sender);
    let mut pump = body.map(|body| Pump { body, stream });
    let answered = poll_fn(|cx| {
        let pumped = pump.as_mut().map(|pump| pump.poll(cx));
        match pumped {
            Some(Poll::Ready(Ok(()))) => pump = None,
            Some(Poll::Ready(Err(cause))) => return Poll::Ready(Err(cause)),
            Some(Poll::Pending) | None => {}
        }
        Pin::new(&mut answer).poll(cx).map(Ok)
    })
    .await;
    let response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(SendError::from_h2(error, None)),
        Err(cause) => {
            let source = BodyError::Request(cause);
            let started = true;
            return Err(SendError::Broken { started, source });
        }
    };
    let (head, stream) = response.into_parts();
    let reader = if stream.is_end_stream() {
        // Trailers-only of gRPC, 204, HEAD: what is left of the request is of no use to anybody.
        AnyReader::Done
    } else {
        AnyReader::Http2(Reader {
            stream,
            data: true,
            pump: pump.map(Background::new),
            _lease: lease,
        })
    };
    let body = Incoming::new(reader);
    Ok(Response { head, body })
}

/// A place on a connection that has not said that it takes no more.
async fn place(pool: &Arc<Pool<Connection>>) -> Result<(Lease<Connection>, Connection), SendError> {
    for _ in 0..ATTEMPTS {
        let mut lease = pool.acquire().await?;
        // Handed over by another task, it may have ended since.
        if let Some(mut sender) = lease.member.take()
            && sender.usable()
        {
            return Ok((lease, sender));
        }
        lease.condemn();
    }
    Err(SendError::Refused {
        not_processed: true,
        reason: Reason::REFUSED_STREAM,
    })
}

/// Reads one response's body.
pub(crate) struct Reader {
    stream: RecvStream,
    /// Data are still to come; else trailers.
    data: bool,
    pump: Option<Background>,
    /// The stream's place, for as long as it is open.
    _lease: Lease<Connection>,
}

impl Reader {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while self.data {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Credit goes back for what a reader has taken, and for nothing else. It
                    // fails only when the stream is at its end, and needs none.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(self.failed(error).map(Err)),
                None => self.data = false,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(self.failed(error).map(Err)),
        }
    }

    /// NO_ERROR comes after a complete response, to ask that the rest of the request be kept
    /// (RFC 9113 section 8.1): that is the end.
    fn failed(&mut self, error: h2::Error) -> Option<BodyError> {
        let cause = self.pump.as_mut().and_then(Background::failure);
        if cause.is_none() && error.is_reset() && error.reason() == Some(Reason::NO_ERROR) {
            return None;
        }
        Some(BodyError::from_h2(error, cause))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Carries the request's body into its stream. It asks the body for more only when there is
/// credit for a byte at least, so no more than one chunk waits here.
struct Pump {
    body: Boxed,
    stream: SendStream<Bytes>,
}

impl Pump {
    /// Ready when the body is out, or the stream takes no more, which the response tells; an
    /// error is the body's, and the stream has been reset for it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.stream.reserve_capacity(1);
            while self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(Ok(())),
                }
            }
            let sent = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.end(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let end = self.body.is_end_stream();
                        if data.is_empty() && !end {
                            continue;
                        }
                        self.stream.send_data(data, end).map(|()| end)
                    }
                    Err(frame) => self.end(frame.into_trailers().ok()),
                },
                Some(Err(cause)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(cause));
                }
            };
            match sent {
                Ok(false) => {}
                // The stream has been closed from the other side.
                Ok(true) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<bool, h2::Error> {
        self.stream.reserve_capacity(0);
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers)?,
            None => self.stream.send_data(Bytes::new(), true)?,
        }
        Ok(true)
    }
}

/// A pump in a task of its own, which ends with its reader.
struct Background {
    task: AbortHandle,
    failure: oneshot::Receiver<BoxError>,
}

impl Background {
    fn new(mut pump: Pump) -> Self {
        let (tell, failure) = oneshot::channel();
        let run = async move {
            if let Err(cause) = poll_fn(|cx| pump.poll(cx)).await {
                let _ = tell.send(cause);
            }
        };
        let task = tokio::spawn(run).abort_handle();
        Self { task, failure }
    }

    fn failure(&mut self) -> Option<BoxError> {
        self.failure.try_recv().ok()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Drops the sending half, without which the stream would not be reset.
        self.task.abort();
    }
}
