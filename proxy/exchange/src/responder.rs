//! The client's side of a response: a head, then a body that drives the exchange.
//!
//! An exchange is one future. It is polled as the service's future until it has a
//! head, and from then on as the response's body: no task of its own, so a client that
//! goes away drops it at once, wherever it is, and a client that does not read leaves
//! it unpolled, which is the back-pressure. Between the two lies a queue that holds at
//! most [`ROOM`] bytes before [`Responder::data`] waits.
//!
//! An unpolled exchange does not see its own deadline pass either, and would keep its
//! worker's slot for as long as the client likes. So a response that is not over with its
//! head is watched: at the deadline the exchange is polled once more, and then dropped.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::{task::AbortHandle, time::Instant};
use tollgate_payloads::Tap;

use crate::cors::Dress;

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
    /// When the exchange has to be over.
    deadline: Option<Instant>,
    /// What the head says of the page that asked.
    dress: Option<Box<Dress>>,
    /// Who takes copies of what goes out.
    tap: Option<Tap>,
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
    pub(crate) fn head(&mut self, mut head: Response<()>) {
        let mut shared = self.shared.lock();
        if !shared.begun {
            shared.begun = true;
            if let Some(dress) = shared.dress.take() {
                dress.put_on(head.headers_mut());
            }
            if let Some(tap) = &shared.tap {
                tap.head(head.status().as_u16(), head.headers());
            }
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
        if let Some(tap) = &shared.tap {
            tap.response(&bytes);
        }
        shared.queued += bytes.len();
        if shared.frames.capacity() == 0 {
            // Not the four of a first push: most streams never hold more than one.
            shared.frames.reserve_exact(1);
        }
        shared.frames.push_back(Frame::data(bytes));
    }

    /// What the head is to say of the page that asked.
    pub(crate) fn dress(&self, dress: Dress) {
        self.shared.lock().dress = Some(Box::new(dress));
    }

    /// Who takes copies of what goes out from now on.
    pub(crate) fn tap(&self, tap: Tap) {
        self.shared.lock().tap = Some(tap);
    }

    /// Trailers, which end the body.
    pub(crate) fn trailers(&mut self, trailers: HeaderMap) {
        self.shared
            .lock()
            .frames
            .push_back(Frame::trailers(trailers));
    }

    /// When the exchange has to be over, whether or not the client reads.
    pub(crate) fn until(&self, deadline: Instant) {
        self.shared.lock().deadline = Some(deadline);
    }

    /// The body ends here, and not well.
    pub(crate) fn broken(&mut self, why: &'static str) {
        self.shared.lock().broken = Some(why);
    }
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An exchange that goes on after its head.
struct Running {
    /// None: it is over.
    driver: Option<Driver>,
    /// Whom the last poll of the body left waiting.
    waiting: Option<Waker>,
}

/// A response body that drives its exchange.
pub struct Body {
    running: Arc<Mutex<Running>>,
    shared: Arc<Mutex<Shared>>,
    watch: Option<AbortHandle>,
}

impl Body {
    fn new(driver: Option<Driver>, shared: Arc<Mutex<Shared>>) -> Self {
        let deadline = shared.lock().deadline.filter(|_| driver.is_some());
        let running = Arc::new(Mutex::new(Running {
            driver,
            waiting: None,
        }));
        let watch = deadline.map(|deadline| {
            tokio::spawn(watch(running.clone(), shared.clone(), deadline)).abort_handle()
        });
        Self {
            running,
            shared,
            watch,
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
            // The task keeps what it watches until it has been dropped itself.
            let driver = self.running.lock().driver.take();
            drop(driver);
        }
    }
}

/// Ends an exchange at its deadline.
async fn watch(running: Arc<Mutex<Running>>, shared: Arc<Mutex<Shared>>, deadline: Instant) {
    tokio::time::sleep_until(deadline).await;
    let waiting = std::future::poll_fn(|context| {
        let mut running = running.lock();
        if let Some(mut driver) = running.driver.take()
            // It finds its deadline passed, and says so in the client's dialect.
            && driver.as_mut().poll(context).is_pending()
        {
            shared.lock().broken = Some("deadline-exceeded");
        }
        Poll::Ready(running.waiting.take())
    })
    .await;
    if let Some(waiting) = waiting {
        waiting.wake();
    }
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
    let body = Body::new(driver, shared);
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
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut running = self.running.lock();
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
            let Some(driver) = running.driver.as_mut() else {
                let broken = self.shared.lock().broken.take();
                return Poll::Ready(broken.map(|why| Err(Broken(why))));
            };
            match driver.as_mut().poll(context) {
                Poll::Ready(()) => running.driver = None,
                Poll::Pending if self.shared.lock().frames.is_empty() => {
                    if !(running.waiting.as_ref())
                        .is_some_and(|waker| waker.will_wake(context.waker()))
                    {
                        running.waiting = Some(context.waker().clone());
                    }
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let over = self.running.lock().driver.is_none();
        let shared = self.shared.lock();
        over && shared.frames.is_empty() && shared.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let over = self.running.lock().driver.is_none();
        let shared = self.shared.lock();
        if over && shared.broken.is_none() && shared.frames.iter().all(Frame::is_data) {
            SizeHint::with_exact(shared.queued as u64)
        } else {
            SizeHint::default()
        }
    }
}
