//! Exchanges over HTTP/1.1: one connection, kept open, one exchange at a time.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;

use super::{
    exchange::{Exchange, Next},
    fault::{Fault, Trouble},
    record::End,
};
use crate::net;

/// A lane's connection to one target.
#[derive(Default)]
pub(super) struct Client {
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// One exchange. The connection is kept when the exchange has come to its end, and closed
    /// otherwise.
    pub(super) async fn exchange(
        &mut self,
        target: SocketAddr,
        source: Option<SocketAddr>,
        exchange: &mut Exchange<'_>,
    ) -> Result<End, Fault> {
        let kind = exchange.kind;
        let mut request = Request::new(Full::new(kind.body.clone()));
        *request.method_mut() = kind.head.method().clone();
        *request.uri_mut() = kind.head.uri().clone();
        *request.headers_mut() = kind.head.headers().clone();
        let (response, sender) = loop {
            let (mut sender, used) = self.take(target, source).await?;
            let Some(sent) = exchange.head(sender.try_send_request(request)).await else {
                return Ok(End::Aborted);
            };
            match sent {
                Ok(response) => break (response, sender),
                // Closed while it was idle, as a server may: the request did not go out.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if used => request = unsent,
                    _ => return Err(Fault::new(Trouble::Send, chain(&error.into_error()))),
                },
            }
        };
        let (head, mut body) = response.into_parts();
        if exchange.begin(&head)? == Next::Break {
            return Ok(End::Aborted);
        }
        loop {
            let at_hand = body.frame().now_or_never();
            let together = at_hand.is_some();
            let frame = match at_hand {
                Some(frame) => frame,
                None => body.frame().await,
            };
            let Some(frame) = frame else {
                break;
            };
            let frame = frame.map_err(|error| Fault::new(Trouble::Cut, chain(&error)))?;
            if let Ok(data) = frame.into_data()
                && exchange.data(&data, together).await? == Next::Break
            {
                return Ok(End::Aborted);
            }
        }
        self.sender = Some(sender);
        exchange.end(&head, None)?;
        Ok(End::Answered)
    }

    /// A connection, and whether it has been used before.
    async fn take(
        &mut self,
        target: SocketAddr,
        source: Option<SocketAddr>,
    ) -> Result<(SendRequest<Full<Bytes>>, bool), Fault> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok((sender, true));
        }
        let failed = |error: &dyn std::error::Error| Fault::new(Trouble::Connect, chain(error));
        let stream = net::connect(target, source)
            .await
            .map_err(|error| failed(&error))?;
        let (sender, connection) = Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // Ends with the sender, or with the server.
        tokio::spawn(async move { connection.await.ok() });
        Ok((sender, false))
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
