//! Connections to workers: a bounded pool of HTTP/1.1 or HTTP/2 connections a worker, and one way
//! to send a request over it.
//!
//! 1. [`Upstream::send`] takes a place: an idle HTTP/1.1 connection, a stream of an HTTP/2 one, or
//!    else a new connection. Connections, streams and waiters are bounded ([`Spec`], [`Bounds`]).
//! 2. The request's body is driven while the response is awaited, and on while it is read, so
//!    that both may flow at once.
//! 3. The response's body is read under flow control: what nobody reads is not taken from the
//!    worker. On HTTP/2 the connection's window covers every stream's, so that an unread stream
//!    holds nobody else up.
//! 4. Dropping the future or the [`Incoming`] body takes the request back at once: HTTP/2 resets
//!    the stream, HTTP/1.1 closes the connection.
//!
//! HTTP/1.1 is hyper's, with its connection polled by whoever reads the response: no task stands
//! between the socket and the reader, so there is no hop to wait for and nothing is read ahead.
//! HTTP/2 is `h2` itself: its flow-control handles are the back-pressure, its reset codes the
//! cancellation. parking_lot guards the pool: its lock is held for tens of nanoseconds and a
//! panic elsewhere does not poison it. No serving protocol is known here.

#![forbid(unsafe_code)]

mod body;
mod connect;
mod error;
mod head;
mod http1;
mod http2;
mod pool;
mod spec;
mod upstream;

pub use body::{Incoming, Outgoing, Response};
pub use connect::{ConnectError, Connector, Stream};
pub use error::{BodyError, BoxError, SendError};
pub use h2::Reason;
pub use pool::Gauges;
pub use spec::{Bounds, Spec, SpecError, Tls, Transport};
pub use upstream::Upstream;
