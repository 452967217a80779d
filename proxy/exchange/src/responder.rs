//! The client's side of a response: a head, then a body that drives the exchange.
//!
//! An exchange is one future. It is polled as the service's future until it has a
//! head, and from then on as the response's body: no task of its own, so a client that
//! goes away drops it at once, wherever it is, and a client that does not read leaves
//! it unpolled, which is the back-pressure. Between the two lies a queue that holds at
//! most [`ROOM`] bytes before [`Responder::frame`] waits.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

/// Bytes that may wait for the client before the exchange does.
pub(crate) const ROOM: usize = 64 << 10;

/// The body broke off: hyper resets the stream or closes the connection, so that the
/// client cannot take what it got for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the response broke off: {0}")]
pub struct Broken(pub(crate) &'static str);

#[derive(Default)]
struct Shared {
    head: Option<Response<()>>,
    frames: VecDeque<Frame<Bytes>>,
    queued: usize,
    begun: bool,
    broken: Option<&'static str>,
}

/// Where an exchange writes its response.
#[derive(Clone, Default)]
pub(crate) struct Responder {
    shared: Arc<Mutex<Shared>>,
}

impl Responder {
    /// Whether anything has gone out.
    pub(crate) fn begun(&self) -> bool {
        self.shared.lock().begun
    }

    /// The head. Only the first one counts.
    pub(crate) fn head(&mut self, head: Response<()>) {
        let mut shared = self.shared.lock();
        if !shared.begun {
            shared.begun = true;
            shared.head = Some(head);
        }
    }

    /// A piece of the body. Waits while the client has not taken the pieces before.
    pub(crate) async fn data(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        std::future::poll_fn(|_| {
            // No waker: only the body's own poll makes room, and it polls this future next.
            if self.shared.lock().queued < ROOM {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        let mut shared = self.shared.lock();
        shared.queued += bytes.len();
        shared.frames.push_back(Frame::data(bytes));
    }

    /// Trailers, which end the body.
    pub(crate) fn trailers(&mut self, trailers: HeaderMap) {
        self.shared
            .lock()
            .frames
            .push_back(Frame::trailers(trailers));
    }

    /// The body ends here, and not well.
    pub(crate) fn broken(&mut self, why: &'static str) {
        self.shared.lock().broken = Some(why);
    }
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A response body that drives its exchange.
pub struct Body {
    driver: Option<Driver>,
    shared: Arc<Mutex<Shared>>,
}

/// Runs an exchange up to its head.
pub(crate) async fn respond(driver: Driver, responder: &Responder) -> Response<Body> {
    let shared = responder.shared.clone();
    let mut driver = Some(driver);
    let head = std::future::poll_fn(|context| {
        let ended = driver
            .as_mut()
            .is_some_and(|driver| driver.as_mut().poll(context).is_ready());
        if ended {
            driver = None;
        }
        let head = shared.lock().head.take();
        match head {
            Some(head) => Poll::Ready(Some(head)),
            None if ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    })
    .await;
    let body = Body { driver, shared };
    match head {
        Some(head) => head.map(|()| body),
        None => {
            let mut response = Response::new(body);
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            {
                let mut shared = self.shared.lock();
                if let Some(frame) = shared.frames.pop_front() {
                    if let Some(data) = frame.data_ref() {
                        shared.queued -= data.remaining();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
            let Some(driver) = self.driver.as_mut() else {
                let broken = self.shared.lock().broken.take();
                return Poll::Ready(broken.map(|why| Err(Broken(why))));
            };
            match driver.as_mut().poll(context) {
                Poll::Ready(()) => self.driver = None,
                Poll::Pending if self.shared.lock().frames.is_empty() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.lock();
        self.driver.is_none() && shared.frames.is_empty() && shared.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.lock();
        if self.driver.is_none()
            && shared.broken.is_none()
            && shared.frames.iter().all(Frame::is_data)
        {
            SizeHint::with_exact(shared.queued as u64)
        } else {
            SizeHint::default()
        }
    }
}
