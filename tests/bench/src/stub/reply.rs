//! A response's body over HTTP/1.1: known bytes, or a stream at its pace.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{answers::Writes, writes::Pace};

/// A response's body.
pub(super) enum Reply {
    /// Known bytes, in order.
    Parts([Option<Bytes>; 2]),
    /// A stream.
    Stream {
        writes: Writes,
        at: usize,
        pace: Pace,
        hold: bool,
    },
}

impl Body for Reply {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Parts(parts) => {
                let next = parts.iter_mut().find_map(Option::take);
                Poll::Ready(next.map(|part| Ok(Frame::data(part))))
            }
            Self::Stream {
                writes,
                at,
                pace,
                hold,
            } => {
                if *at == writes.len() {
                    return Poll::Ready(None);
                }
                if *at > 0 {
                    if *hold {
                        // The connection watches for the client's end by itself.
                        return Poll::Pending;
                    }
                    if let Err(error) = ready!(pace.poll(cx)) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                let write = writes[*at].clone();
                *at += 1;
                Poll::Ready(Some(Ok(Frame::data(write))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Parts(parts) => parts.iter().flatten().all(Bytes::is_empty),
            Self::Stream { writes, at, .. } => *at == writes.len(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Parts(parts) => {
                SizeHint::with_exact(parts.iter().flatten().map(|part| part.len() as u64).sum())
            }
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}
