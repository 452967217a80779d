//! HTTP/1.1 on both sides.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, header::HOST};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use hyper::{
    body::Incoming,
    client::conn::http1::{self as client, SendRequest},
    server::conn::http1 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::{Reply, bad_gateway, headers};
use crate::net;

/// Forwards every client, for ever.
pub(super) async fn serve(listener: &TcpListener, upstream: SocketAddr) {
    let pool = Arc::new(Pool {
        upstream,
        idle: Mutex::default(),
    });
    loop {
        let stream = net::accept(listener).await;
        let pool = pool.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| forward(pool.clone(), request));
            // A client that leaves is no error of ours.
            let _ = server::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Connections that are not in use; the last one given back is taken first.
struct Pool {
    upstream: SocketAddr,
    idle: Mutex<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    /// A connection, and whether it has been used before.
    async fn take(&self) -> io::Result<(SendRequest<Incoming>, bool)> {
        loop {
            let idle = self.idle.lock().pop();
            let Some(mut sender) = idle else {
                return Ok((self.connect().await?, false));
            };
            // It was given back when its last body ended, which its own task may not know yet.
            if sender.ready().await.is_ok() {
                return Ok((sender, true));
            }
        }
    }

    async fn connect(&self) -> io::Result<SendRequest<Incoming>> {
        let stream = net::connect(self.upstream, None).await?;
        let (sender, connection) = client::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}

async fn forward(
    pool: Arc<Pool>,
    mut request: Request<Incoming>,
) -> Result<Reply<Returned>, Infallible> {
    headers::strip(request.headers_mut(), false);
    if !request.headers().contains_key(HOST) {
        // A client of HTTP/1.0.
        let Ok(host) = HeaderValue::try_from(pool.upstream.to_string()) else {
            return Ok(bad_gateway());
        };
        request.headers_mut().insert(HOST, host);
    }
    loop {
        let Ok((mut sender, used)) = pool.take().await else {
            return Ok(bad_gateway());
        };
        match sender.try_send_request(request).await {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                headers::strip(&mut parts.headers, false);
                let body = Returned {
                    body,
                    sender: Some(sender),
                    pool,
                };
                return Ok(Reply::from_parts(parts, Either::Left(body)));
            }
            // Closed while it was idle, and nothing of the request went out: the next one.
            Err(mut error) => match error.take_message() {
                Some(unsent) if used => request = unsent,
                _ => return Ok(bad_gateway()),
            },
        }
    }
}

/// An upstream's body; at its end the connection is given back, and before it is closed.
struct Returned {
    body: Incoming,
    sender: Option<SendRequest<Incoming>>,
    pool: Arc<Pool>,
}

impl Drop for Returned {
    fn drop(&mut self) {
        if self.body.is_end_stream()
            && let Some(sender) = self.sender.take()
            && !sender.is_closed()
        {
            self.pool.idle.lock().push(sender);
        }
    }
}

impl Body for Returned {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
