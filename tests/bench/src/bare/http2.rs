//! Cleartext HTTP/2 on both sides, with one connection to the upstream that all streams share.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc};

use http::{Request, Uri, uri::Authority};
use http_body_util::Either;
use hyper::{
    body::Incoming,
    client::conn::http2::{self as client, SendRequest},
    server::conn::http2 as server,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::Mutex};

use super::{Reply, bad_gateway, headers};
use crate::net;

/// Windows of a stream and of a connection: no reader here is so slow that they would matter,
/// and none so fast that the default of 64 KiB would not.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 26;
/// Streams that clients may take back before they were looked at.
const TAKEN_BACK: usize = 1 << 16;

/// Forwards every client, for ever.
pub(super) async fn serve(listener: &TcpListener, upstream: SocketAddr) {
    let upstream = Arc::new(Upstream {
        address: upstream,
        sender: Mutex::new(None),
    });
    loop {
        let stream = net::accept(listener).await;
        let upstream = upstream.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| forward(upstream.clone(), request));
            // A client that leaves is no error of ours.
            let _ = server::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_concurrent_streams(None)
                .max_pending_accept_reset_streams(TAKEN_BACK)
                .max_local_error_reset_streams(None)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

struct Upstream {
    address: SocketAddr,
    sender: Mutex<Option<SendRequest<Incoming>>>,
}

impl Upstream {
    async fn take(&self) -> io::Result<SendRequest<Incoming>> {
        let mut shared = self.sender.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = net::connect(self.address, None).await?;
        let (sender, connection) = client::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_reset_streams(TAKEN_BACK)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(async move { connection.await.ok() });
        *shared = Some(sender.clone());
        Ok(sender)
    }

    /// The same request, addressed: a client may have named no authority.
    fn addressed(&self, uri: &Uri) -> Option<Uri> {
        if uri.authority().is_some() {
            return None;
        }
        let mut parts = uri.clone().into_parts();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = self.address.to_string().parse::<Authority>().ok();
        Uri::from_parts(parts).ok()
    }
}

async fn forward(
    upstream: Arc<Upstream>,
    mut request: Request<Incoming>,
) -> Result<Reply<Incoming>, Infallible> {
    headers::strip(request.headers_mut(), true);
    if let Some(uri) = upstream.addressed(request.uri()) {
        *request.uri_mut() = uri;
    }
    let Ok(mut sender) = upstream.take().await else {
        return Ok(bad_gateway());
    };
    match sender.send_request(request).await {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            headers::strip(&mut parts.headers, true);
            Ok(Reply::from_parts(parts, Either::Left(body)))
        }
        Err(_) => Ok(bad_gateway()),
    }
}
