//! Why a request could not be sent or a body not be read to its end.
//!
//! The words name no peer: it is a worker, a collector, a cluster's API. Whoever asked names it.

use std::io;

use h2::Reason;

use crate::connect::ConnectError;

/// Any cause, as bodies of others report them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The request got no response head.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No connection could be made: name resolution, TCP, TLS or ALPN.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// No connection was made within [`Spec::connect_timeout`](crate::Spec::connect_timeout).
    #[error("cannot connect in time")]
    Timeout,
    /// Every connection is in use and [`Bounds::max_waiting`](crate::Bounds::max_waiting)
    /// requests wait already.
    #[error("too many requests wait for a connection")]
    Saturated,
    /// [`Upstream::close`](crate::Upstream::close) was called.
    #[error("the connections have been closed")]
    Closed,
    /// The request cannot be put into the worker's HTTP version.
    #[error("not a request that can be sent: {0}")]
    Invalid(&'static str),
    /// The worker turned this one request away, by RST_STREAM or GOAWAY.
    #[error("the request was refused: {reason}")]
    Refused {
        /// The worker says that it has not begun it: REFUSED_STREAM, or GOAWAY with a last stream
        /// below this one (RFC 9113 sections 6.8 and 8.7).
        not_processed: bool,
        /// The code that it gave.
        reason: Reason,
    },
    /// The connection broke, the worker broke the protocol, or the request's body failed.
    #[error("the request broke off: {source}")]
    Broken {
        /// Some of the request may have reached the worker.
        started: bool,
        /// What broke.
        source: BodyError,
    },
}

impl SendError {
    /// True only when the worker cannot have begun the request, so that sending it again, here or
    /// elsewhere, cannot make it happen twice.
    pub fn untouched(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Timeout | Self::Saturated | Self::Closed => true,
            Self::Invalid(_) => true,
            Self::Refused { not_processed, .. } => *not_processed,
            Self::Broken { started, .. } => !started,
        }
    }

    /// An HTTP/2 failure before the response's head.
    pub(crate) fn from_h2(error: h2::Error, request: Option<BoxError>) -> Self {
        match BodyError::from_h2(error, request) {
            BodyError::Reset(reason) => Self::Refused {
                not_processed: reason == Reason::REFUSED_STREAM,
                reason,
            },
            // `h2` ends a stream with the peer's GOAWAY only if the stream is above the last one
            // that the peer named; those below go on.
            BodyError::GoAway(reason) => Self::Refused {
                not_processed: true,
                reason,
            },
            source => Self::Broken {
                started: true,
                source,
            },
        }
    }
}

impl From<ConnectError> for SendError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Io(error) => Self::Connect(error),
            ConnectError::Timeout => Self::Timeout,
        }
    }
}

/// A body that did not reach its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The worker reset the stream (RFC 9113 section 6.4).
    #[error("the stream was reset: {0}")]
    Reset(Reason),
    /// The worker is going away and will not answer this stream (RFC 9113 section 6.8).
    #[error("the other end went away: {0}")]
    GoAway(Reason),
    /// The worker closed the connection inside the message (RFC 9112 section 8).
    #[error("the connection was closed inside the message")]
    Truncated,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Connection(#[source] io::Error),
    /// The worker sent what HTTP does not allow, or more than the bounds allow.
    #[error("the other end broke the protocol: {0}")]
    Protocol(#[source] BoxError),
    /// The request's body failed, and with it the exchange.
    #[error("the request's body failed: {0}")]
    Request(#[source] BoxError),
}

impl BodyError {
    /// `request`: how the request's body failed, if it did.
    pub(crate) fn from_h2(error: h2::Error, request: Option<BoxError>) -> Self {
        if let Some(cause) = request {
            return Self::Request(cause);
        }
        match error.reason() {
            Some(reason) if error.is_remote() && error.is_reset() => Self::Reset(reason),
            Some(reason) if error.is_remote() && error.is_go_away() => Self::GoAway(reason),
            _ if error.is_io() => match error.into_io() {
                Some(cause) => Self::Connection(cause),
                None => Self::Connection(io::ErrorKind::BrokenPipe.into()),
            },
            _ => Self::Protocol(error.into()),
        }
    }

    /// `request`: how the request's body failed, if it did.
    pub(crate) fn from_hyper(error: hyper::Error, request: Option<BoxError>) -> Self {
        if let Some(cause) = request {
            return Self::Request(cause);
        }
        if error.is_incomplete_message() {
            return Self::Truncated;
        }
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            if let Some(io) = inner.downcast_ref::<io::Error>() {
                return match io.kind() {
                    io::ErrorKind::UnexpectedEof => Self::Truncated,
                    // How hyper says that a chunk's framing is wrong.
                    io::ErrorKind::InvalidInput
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::Other => Self::Protocol(error.into()),
                    kind => Self::Connection(io::Error::new(kind, error)),
                };
            }
            cause = inner.source();
        }
        if error.is_closed() || error.is_canceled() {
            Self::Connection(io::Error::new(io::ErrorKind::ConnectionAborted, error))
        } else {
            Self::Protocol(error.into())
        }
    }
}
