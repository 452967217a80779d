//! Request bodies on their way to a worker: pieces, one writer after the other, polled
//! by the connection under its flow control.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tollgate_plugin::CONVERTED;
use tollgate_wire::{
    failure::Failure,
    grpc,
    piece::{Piece, WriteError, Writer, settle},
};

use crate::pieces::all_inline;

/// Pieces that are ready to be written.
pub(crate) struct Sending {
    /// Their bytes, when nothing has to be waited for or copied from a source.
    inline: Option<Bytes>,
    writer: Writer,
    /// Length of all of them, when it is known.
    pub(crate) length: Option<u64>,
}

/// Readies pieces; `framed`: as one gRPC message, whose length must be known.
///
/// # Errors
/// When a value cannot be converted, or a message's length is not known.
pub(crate) fn writer(mut pieces: Vec<Piece>, framed: bool) -> Result<Sending, Failure> {
    let mut length = settle(&mut pieces, CONVERTED)
        .map_err(|problem| Failure::invalid_argument(problem.to_string()))?;
    if framed {
        let len = length
            .and_then(|len| u32::try_from(len).ok())
            .ok_or_else(|| Failure::internal("a message's length is not known or too large"))?;
        pieces.insert(0, Piece::Inline(Bytes::copy_from_slice(&grpc::prefix(len))));
        length = length.map(|len| len + 5);
    }
    Ok(Sending {
        inline: all_inline(&pieces),
        writer: Writer::new(pieces),
        length,
    })
}

impl Sending {
    /// The next bytes; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, WriteError>> {
        if let Some(inline) = self.inline.take() {
            self.writer = Writer::new(Vec::new());
            return (!inline.is_empty()).then_some(Ok(inline));
        }
        self.writer.next().await
    }
}

/// A request body.
pub(crate) struct Outgoing {
    stream: BoxStream<'static, Result<Bytes, WriteError>>,
    length: Option<u64>,
    left: Option<u64>,
}

impl Outgoing {
    /// The first piece, then whatever is sent.
    pub(crate) fn new(first: Sending, more: mpsc::Receiver<Sending>, length: Option<u64>) -> Self {
        let state = (Some(first), more);
        let stream = stream::unfold(state, |(mut current, mut more)| async move {
            loop {
                if let Some(sending) = &mut current
                    && let Some(item) = sending.next().await
                {
                    return Some((item, (current, more)));
                }
                current = Some(more.recv().await?);
            }
        });
        Self {
            stream: stream.boxed(),
            length,
            left: length,
        }
    }

    /// A body of one piece.
    pub(crate) fn whole(first: Sending) -> Self {
        let length = first.length;
        let stream = stream::unfold(first, |mut sending| async move {
            let item = sending.next().await?;
            Some((item, sending))
        });
        Self {
            stream: stream.boxed(),
            length,
            left: length,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = WriteError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WriteError>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.stream).poll_next(context);
        polled.map(|item| {
            item.map(|item| {
                item.map(|bytes| {
                    let len = bytes.len() as u64;
                    self.left = self.left.map(|left| left.saturating_sub(len));
                    Frame::data(bytes)
                })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        match (self.length, self.left) {
            (Some(_), Some(left)) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}
