//! One worker, as the rest of the proxy sees it.

use std::sync::Arc;

use http::{Request, uri::PathAndQuery};

use crate::{
    body::{Outgoing, Response},
    connect::Connector,
    error::SendError,
    head::Target,
    http1, http2,
    pool::{Gauges, Pool, Terms},
    spec::{Bounds, Spec, SpecError, Transport},
};

/// The connections to one worker.
pub struct Upstream {
    target: Target,
    pool: Transported,
}

enum Transported {
    Http1(Arc<Pool<http1::Connection>>),
    Http2(Arc<Pool<http2::Connection>>),
}

impl Upstream {
    /// No connection is made yet.
    pub fn new(spec: Spec) -> Result<Arc<Self>, SpecError> {
        Self::with_bounds(spec, Bounds::default())
    }

    /// As [`new`](Self::new), for a worker below a path: `base` stands before that of every request.
    /// A slash at its end counts for nothing.
    pub fn under(spec: Spec, base: &str) -> Result<Arc<Self>, SpecError> {
        let base = base.trim_end_matches('/');
        let is_path = base.starts_with('/')
            && !base.contains(['?', '#'])
            && base.parse::<PathAndQuery>().is_ok();
        if !base.is_empty() && !is_path {
            return Err(SpecError::Base(base.to_owned()));
        }
        Self::made(spec, Bounds::default(), base)
    }

    /// As [`new`](Self::new), with other bounds than the usual.
    pub fn with_bounds(spec: Spec, bounds: Bounds) -> Result<Arc<Self>, SpecError> {
        Self::made(spec, bounds, "")
    }

    fn made(spec: Spec, bounds: Bounds, base: &str) -> Result<Arc<Self>, SpecError> {
        bounds.check()?;
        let connector = Connector::new(&spec)?;
        let width = match spec.transport {
            Transport::H1 => 1,
            Transport::H2 => spec.max_streams as usize,
        };
        let terms = Terms {
            connector,
            bounds,
            max_connections: spec.max_connections,
            width,
            idle_timeout: spec.idle_timeout,
        };
        let pool = match spec.transport {
            Transport::H1 => Transported::Http1(Pool::new(terms)),
            Transport::H2 => Transported::Http2(Pool::new(terms)),
        };
        let target = Target::new(spec.authority, spec.tls.is_some(), base);
        Ok(Arc::new(Self { target, pool }))
    }

    /// Sends a request and returns at the response's head.
    ///
    /// Of the head's URI only path and query count; `Host` and authority are the worker's, and
    /// fields that belong to a connection are dropped. CONNECT and upgrades are refused, 1xx heads
    /// skipped. The wait for a place is bounded in number, not in time: the caller's deadline is
    /// this future's life. Dropping it takes the request back.
    ///
    /// A request that an idle HTTP/1.1 connection gave back without a byte written, or one
    /// without body and with an idempotent method that met such a connection's end, is sent again
    /// on a new connection.
    pub async fn send(
        self: &Arc<Self>,
        head: Request<()>,
        body: impl Outgoing,
    ) -> Result<Response, SendError> {
        match &self.pool {
            Transported::Http1(pool) => http1::send(pool, &self.target, head, body).await,
            Transported::Http2(pool) => http2::send(pool, &self.target, head, body).await,
        }
    }

    /// How full the connections are.
    pub fn gauges(&self) -> Gauges {
        match &self.pool {
            Transported::Http1(pool) => pool.gauges(),
            Transported::Http2(pool) => pool.gauges(),
        }
    }

    /// Opens connections until so many requests have a place each, and returns when they are there
    /// or have failed. Fewer where a connection carries many, and never more than the bound.
    pub async fn warm(&self, requests: usize) {
        match &self.pool {
            Transported::Http1(pool) => pool.warm(requests).await,
            Transported::Http2(pool) => pool.warm(requests).await,
        }
    }

    /// Closes idle connections, fails those who wait, and lets nobody in any more. Requests that
    /// are running go on to their end.
    pub fn close(&self) {
        match &self.pool {
            Transported::Http1(pool) => pool.close(),
            Transported::Http2(pool) => pool.close(),
        }
    }

    /// As [`close`](Self::close), and ends every connection with what is on it: a response that
    /// waits for the worker breaks off.
    pub fn sever(&self) {
        self.close();
        match &self.pool {
            Transported::Http1(pool) => pool.sever(),
            Transported::Http2(pool) => pool.sever(),
        }
    }
}
