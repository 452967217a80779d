//! A response's body, which keeps its request under way for as long as it is held, and notes whose
//! turn it is.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::activity::UnderWay;
use crate::stall::{self, Turn};

/// The service's body, or none where the edge itself answers.
pub(crate) struct Tracked<B> {
    body: Option<Pin<Box<B>>>,
    _request: UnderWay,
}

impl<B> Tracked<B> {
    pub(crate) fn new(body: B, request: UnderWay) -> Self {
        Self {
            body: Some(Box::pin(body)),
            _request: request,
        }
    }

    pub(crate) fn empty(request: UnderWay) -> Self {
        Self {
            body: None,
            _request: request,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = body.as_mut().poll_frame(cx);
        stall::note(match &polled {
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => Turn::Client,
            _ => Turn::Ours,
        });
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}
