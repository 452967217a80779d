//! A client that speaks HTTP/2 by h2: streams, resets, trailers.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Uri};
use rustls::ClientConfig;
use tokio::task::JoinHandle;

use super::{End, Request, Response, http1};
use crate::{wire1::Stream, within};

/// One connection. Dropped, it closes.
pub struct Connection {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
    authority: String,
    scheme: &'static str,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// In the clear, with prior knowledge.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = http1::tcp(address).await;
        Self::on(Box::new(stream), address, "http").await
    }

    /// By TLS, as `localhost`.
    ///
    /// # Panics
    /// When HTTP/2 is not agreed on.
    pub async fn open_tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let (stream, protocol) = http1::tls(address, config).await;
        assert_eq!(protocol, "h2");
        Self::on(Box::new(stream), address, "https").await
    }

    async fn on(stream: Box<dyn Stream>, address: SocketAddr, scheme: &'static str) -> Self {
        let (requests, connection) = within("HTTP/2 begins", h2::client::handshake(stream))
            .await
            .expect("HTTP/2 begins");
        let driver = tokio::spawn(async move {
            // Its end is seen by its streams.
            let _ = connection.await;
        });
        Self {
            requests,
            driver,
            authority: address.to_string(),
            scheme,
        }
    }

    /// Begins a request; its body may follow.
    ///
    /// # Panics
    /// When the connection is gone or the request cannot be written.
    pub async fn begin(&mut self, request: &Request, end: bool) -> Open {
        let begun = self.try_begin(request, end).await;
        begun.expect("the connection is open")
    }

    /// The same; none: the connection takes no more requests.
    ///
    /// # Panics
    /// When the request is none.
    pub async fn try_begin(&mut self, request: &Request, end: bool) -> Option<Open> {
        let authority = request.host.as_ref().unwrap_or(&self.authority);
        let uri: Uri = format!("{}://{authority}{}", self.scheme, request.path)
            .parse()
            .expect("a path");
        let mut head = http::Request::builder()
            .method(request.method.as_str())
            .uri(uri)
            .version(http::Version::HTTP_2);
        for (name, value) in &request.headers {
            head = head.header(name, value);
        }
        let head = head.body(()).expect("a good head");
        let mut requests = within("the connection has room", self.requests.clone().ready())
            .await
            .ok()?;
        let (response, body) = requests.send_request(head, end).ok()?;
        Some(Open {
            response: Some(response),
            request: body,
            body: None,
        })
    }

    /// Sends a request whole and awaits its response; none: the other end has not taken it, and says
    /// so (GOAWAY, or a refused stream): it may be sent again elsewhere (RFC 9113, section 8.7).
    ///
    /// # Panics
    /// When the request was taken and is not answered.
    pub async fn try_ask(&mut self, request: &Request) -> Option<Response> {
        let mut open = self.try_begin(request, request.body.is_none()).await?;
        if let Some(body) = &request.body {
            open.write(body.clone(), true).await;
        }
        let (status, headers) = match open.head().await {
            Ok(head) => head,
            Err(error) => {
                let refused = error.reason() == Some(Reason::REFUSED_STREAM);
                assert!(
                    refused || error.is_go_away(),
                    "it was taken, and lost: {error}"
                );
                return None;
            }
        };
        Some(open.rest(status, &headers).await)
    }

    /// Sends a request whole.
    pub async fn send(&mut self, request: &Request) -> Open {
        match &request.body {
            None => self.begin(request, true).await,
            Some(body) => {
                let mut open = self.begin(request, false).await;
                open.write(body.clone(), true).await;
                open
            }
        }
    }

    /// Sends a request whole and awaits its response.
    pub async fn ask(&mut self, request: &Request) -> Response {
        self.send(request).await.response().await
    }
}

/// One stream.
pub struct Open {
    response: Option<h2::client::ResponseFuture>,
    request: SendStream<Bytes>,
    body: Option<RecvStream>,
}

/// What comes next in a response.
#[derive(Debug)]
pub enum Next {
    /// Bytes of the body.
    Data(Bytes),
    /// The end, with trailers if there were any.
    End(Option<HeaderMap>),
    /// The stream was reset, or its connection lost.
    Reset(Option<Reason>),
}

impl Open {
    /// Writes of the body, as the other end makes room. False: it has closed the stream; it may
    /// have answered already.
    pub async fn write(&mut self, mut bytes: Bytes, end: bool) -> bool {
        let write = async {
            while !bytes.is_empty() {
                self.request.reserve_capacity(bytes.len());
                let room = std::future::poll_fn(|context| self.request.poll_capacity(context));
                match room.await {
                    Some(Ok(room)) => {
                        let part = bytes.split_to(room.min(bytes.len()));
                        if self.request.send_data(part, false).is_err() {
                            return false;
                        }
                    }
                    _ => return false,
                }
            }
            !end || self.request.send_data(Bytes::new(), true).is_ok()
        };
        within("a body is written", write).await
    }

    /// Resets the stream.
    pub fn reset(mut self) {
        self.request.send_reset(Reason::CANCEL);
    }

    /// Waits until the other end resets the stream; gives why. None: its connection is lost.
    pub async fn reset_by_peer(&mut self) -> Option<Reason> {
        let reset = std::future::poll_fn(|context| self.request.poll_reset(context));
        within("the stream is reset", reset).await.ok()
    }

    /// The response's head.
    ///
    /// # Errors
    /// When the stream was reset instead.
    ///
    /// # Panics
    /// When it was asked for before.
    pub async fn head(&mut self) -> Result<(u16, HeaderMap), h2::Error> {
        let response = self.response.take().expect("the head comes once");
        let (head, body) = within("a response begins", response).await?.into_parts();
        self.body = Some(body);
        Ok((head.status.as_u16(), head.headers))
    }

    /// What comes next in the body.
    ///
    /// # Panics
    /// When the head has not come.
    pub async fn next(&mut self) -> Next {
        let body = self.body.as_mut().expect("the head comes first");
        let next = async {
            match body.data().await {
                Some(Ok(data)) => {
                    // Fails when the stream is over, and then there is nothing to release.
                    let _ = body.flow_control().release_capacity(data.len());
                    Next::Data(data)
                }
                Some(Err(error)) => Next::Reset(error.reason()),
                None => match body.trailers().await {
                    Ok(trailers) => Next::End(trailers),
                    Err(error) => Next::Reset(error.reason()),
                },
            }
        };
        within("the response goes on", next).await
    }

    /// The response, whole.
    ///
    /// # Panics
    /// When it does not begin.
    pub async fn response(&mut self) -> Response {
        let (status, headers) = self.head().await.expect("a response, not a reset");
        self.rest(status, &headers).await
    }

    /// What follows a head.
    async fn rest(&mut self, status: u16, headers: &HeaderMap) -> Response {
        let mut body = Vec::new();
        let end = loop {
            match self.next().await {
                Next::Data(data) => body.extend_from_slice(&data),
                Next::End(_) => break End::Whole,
                Next::Reset(_) => break End::Cut,
            }
        };
        let headers = headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        Response {
            status,
            headers: headers.collect(),
            body: body.into(),
            end,
        }
    }
}
