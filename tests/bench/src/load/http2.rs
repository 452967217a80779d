//! Exchanges over cleartext HTTP/2: one connection that several lanes share, a stream for each
//! exchange.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Request;
use tokio::sync::Mutex;

use super::{
    exchange::{Exchange, Next},
    fault::{Fault, Trouble},
    record::End,
};
use crate::{frames, net};

/// Windows that the load itself never fills: what is measured is the other side's pace.
const STREAM_WINDOW: u32 = 1 << 24;
const CONNECTION_WINDOW: u32 = 1 << 30;
/// Streams that were broken off here and of which something may still come.
const BROKEN_OFF: usize = 1 << 16;

/// A connection to one target.
#[derive(Default)]
pub(super) struct Client {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    sender: Option<SendRequest<Bytes>>,
    /// Counts connections, so that one that broke is given up once.
    number: u64,
}

impl Client {
    /// One exchange. Broken off, its stream is reset, and the connection stays.
    pub(super) async fn exchange(
        &self,
        target: SocketAddr,
        source: Option<SocketAddr>,
        exchange: &mut Exchange<'_>,
    ) -> Result<End, Fault> {
        let kind = exchange.kind;
        let broke = |error: h2::Error| Fault::new(Trouble::Send, error);
        let (response, mut stream) = self.send(target, source, &kind.head).await?;
        let head = {
            let body = kind.body.clone();
            let answered = async {
                let mut response = std::pin::pin!(response);
                // An answer may come before all is sent; then the rest is of no use.
                tokio::select! {
                    biased;
                    head = &mut response => head,
                    sent = frames::send(&mut stream, body, true) => match sent {
                        // How it broke is in the answer.
                        Ok(()) | Err(_) => response.await,
                    },
                }
            };
            match exchange.head(answered).await {
                Some(head) => head.map_err(broke)?,
                None => {
                    stream.send_reset(h2::Reason::CANCEL);
                    return Ok(End::Aborted);
                }
            }
        };
        let (head, mut body) = head.into_parts();
        let cut = |error: h2::Error| Fault::new(Trouble::Cut, error);
        if exchange.begin(&head)? == Next::Break {
            stream.send_reset(h2::Reason::CANCEL);
            return Ok(End::Aborted);
        }
        loop {
            let at_hand = body.data().now_or_never();
            let together = at_hand.is_some();
            let data = match at_hand {
                Some(data) => data,
                None => body.data().await,
            };
            let Some(data) = data else {
                break;
            };
            let data = data.map_err(cut)?;
            let next = exchange.data(&data, together).await?;
            let _ = body.flow_control().release_capacity(data.len());
            if next == Next::Break {
                stream.send_reset(h2::Reason::CANCEL);
                return Ok(End::Aborted);
            }
        }
        let trailers = body.trailers().await.map_err(cut)?;
        exchange.end(&head, trailers.as_ref())?;
        Ok(End::Answered)
    }

    async fn send(
        &self,
        target: SocketAddr,
        source: Option<SocketAddr>,
        head: &Request<()>,
    ) -> Result<(ResponseFuture, h2::SendStream<Bytes>), Fault> {
        loop {
            let (sender, number, fresh) = self.take(target, source).await?;
            let mut request = Request::new(());
            *request.method_mut() = head.method().clone();
            *request.uri_mut() = head.uri().clone();
            *request.headers_mut() = head.headers().clone();
            let sent = match sender.ready().await {
                Ok(mut sender) => sender.send_request(request, false),
                Err(error) => Err(error),
            };
            match sent {
                Ok(sent) => return Ok(sent),
                Err(error) => {
                    self.give_up(number).await;
                    // One that was at hand may have ended while it was idle, as a server may.
                    if fresh {
                        return Err(Fault::new(Trouble::Send, error));
                    }
                }
            }
        }
    }

    async fn take(
        &self,
        target: SocketAddr,
        source: Option<SocketAddr>,
    ) -> Result<(SendRequest<Bytes>, u64, bool), Fault> {
        let mut shared = self.shared.lock().await;
        if let Some(sender) = &shared.sender {
            return Ok((sender.clone(), shared.number, false));
        }
        let failed = |error: &dyn std::fmt::Display| Fault::new(Trouble::Connect, error);
        let stream = net::connect(target, source)
            .await
            .map_err(|error| failed(&error))?;
        let (sender, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_reset_streams(BROKEN_OFF)
            .handshake(stream)
            .await
            .map_err(|error| failed(&error))?;
        // Ends with the last sender, or with the server.
        tokio::spawn(async move { connection.await.ok() });
        shared.number += 1;
        shared.sender = Some(sender.clone());
        Ok((sender, shared.number, true))
    }

    async fn give_up(&self, number: u64) {
        let mut shared = self.shared.lock().await;
        if shared.number == number {
            shared.sender = None;
        }
    }
}
