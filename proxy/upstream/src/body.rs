//! Bodies: what a caller sends, and what it reads.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

use crate::{
    error::{BodyError, BoxError},
    http1, http2,
};

/// A request's body: any [`http_body::Body`] of [`Bytes`], so that a server's incoming body is
/// one as it stands. It is polled when there is room for what it yields, and not again after an
/// error; an error takes the request back. A body that says at once that it is at its end sends
/// a request without one; an exact size hint gives HTTP/1.1 its Content-Length.
pub trait Outgoing: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static> Outgoing for B {}

/// A request's body inside: one type for every connection.
pub(crate) type Boxed = UnsyncBoxBody<Bytes, BoxError>;

/// None: there is nothing to send.
pub(crate) fn boxed(body: impl Outgoing) -> Option<Boxed> {
    (!body.is_end_stream()).then(|| body.map_err(Into::into).boxed_unsync())
}

/// A worker's answer.
#[derive(Debug)]
pub struct Response {
    /// Status and headers.
    pub head: response::Parts,
    /// The body, still coming.
    pub body: Incoming,
}

/// A response's body. Also an [`http_body::Body`], for passing it on as it is.
///
/// * Bytes are taken from the worker as they are read here, a chunk at a time as it arrived.
/// * The request's body goes on being sent as long as this lives and is not at its end.
/// * Dropped before the end, the request is taken back at once: an HTTP/2 stream is reset with
///   CANCEL, an HTTP/1.1 connection is closed.
pub struct Incoming {
    reader: Reader,
    trailers: Option<HeaderMap>,
}

pub(crate) enum Reader {
    Http1(http1::Reader),
    Http2(http2::Reader),
    /// At its end, and the connection given back.
    Done,
}

impl Incoming {
    pub(crate) fn new(reader: Reader) -> Self {
        Self {
            reader,
            trailers: None,
        }
    }

    /// The next bytes, never empty; None at the end of the data.
    pub async fn data(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            match poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await? {
                Err(error) => return Some(Err(error)),
                Ok(frame) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Some(Ok(data)),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        return None;
                    }
                },
            }
        }
    }

    /// The trailers, if any came: reads to the end, and discards data that was not read before.
    /// They are given once.
    pub async fn trailers(&mut self) -> Result<Option<HeaderMap>, BodyError> {
        while let Some(data) = self.data().await {
            data?;
        }
        Ok(self.trailers.take())
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = match &mut this.reader {
            Reader::Http1(reader) => reader.poll_frame(cx),
            Reader::Http2(reader) => reader.poll_frame(cx),
            Reader::Done => return Poll::Ready(None),
        };
        let last = match &polled {
            Poll::Pending => false,
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
        };
        if last {
            // Gives the connection back, or closes it if it is not at its end.
            this.reader = Reader::Done;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.reader {
            Reader::Http1(reader) => reader.is_end_stream(),
            Reader::Http2(reader) => reader.is_end_stream(),
            Reader::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.reader {
            Reader::Http1(reader) => reader.size_hint(),
            Reader::Http2(reader) => reader.size_hint(),
            Reader::Done => SizeHint::with_exact(0),
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming")
            .field("end", &self.is_end_stream())
            .finish_non_exhaustive()
    }
}
