//! gRPC on the HTTP/2 client: messages in frames, the status at the end.

use std::{io::Write as _, net::SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::HeaderMap;
use prost::Message;

use super::{
    Request,
    http2::{Connection, Next, Open},
};

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The gRPC code.
    pub code: u32,
    /// `grpc-message`, decoded.
    pub message: String,
}

/// A call that has begun.
pub struct Call {
    open: Open,
    /// The response's head, once it has come.
    pub headers: HeaderMap,
    buffer: BytesMut,
    begun: bool,
    status: Option<Status>,
}

/// A message in its frame.
#[must_use]
pub fn framed(message: &[u8]) -> Bytes {
    frame(0, message)
}

/// A frame with a flag byte of one's choice.
///
/// # Panics
/// When the message is longer than a frame can be.
#[must_use]
pub fn frame(flag: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(message.len()).expect("it fits a frame"));
    bytes.put_slice(message);
    bytes.freeze()
}

/// Bytes as gzip.
///
/// # Panics
/// Never: memory takes all that is written.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// The head of a call.
#[must_use]
pub fn request(method: &str) -> Request {
    Request::get(&format!("/{method}"))
        .method("POST")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// Makes a call with one message on a connection of its own; gives what was answered, and how it
/// ended.
pub async fn ask<A: Message + Default>(
    address: SocketAddr,
    request: &Request,
    message: &impl Message,
) -> (Vec<A>, Status) {
    let mut connection = Connection::open(address).await;
    ask_on(&mut connection, request, message).await
}

/// Makes a call with one message.
pub async fn ask_on<A: Message + Default>(
    connection: &mut Connection,
    request: &Request,
    message: &impl Message,
) -> (Vec<A>, Status) {
    let mut call = Call::begin(connection, request).await;
    call.send(message, true).await;
    call.all().await
}

impl Call {
    /// Sends the head.
    pub async fn begin(connection: &mut Connection, request: &Request) -> Self {
        Self {
            open: connection.begin(request, false).await,
            headers: HeaderMap::new(),
            buffer: BytesMut::new(),
            begun: false,
            status: None,
        }
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &impl Message, end: bool) {
        self.raw(framed(&message.encode_to_vec()), end).await;
    }

    /// Sends bytes as they are.
    pub async fn raw(&mut self, bytes: impl Into<Bytes>, end: bool) {
        self.open.write(bytes.into(), end).await;
    }

    /// Resets the call.
    pub fn reset(self) {
        self.open.reset();
    }

    /// Waits for the response's head.
    ///
    /// # Panics
    /// When the stream is reset instead.
    pub async fn head(&mut self) {
        if self.begun {
            return;
        }
        let (status, headers) = self.open.head().await.expect("a response, not a reset");
        assert_eq!(status, 200, "gRPC answers 200, always: {headers:?}");
        self.status = status_in(&headers);
        self.headers = headers;
        self.begun = true;
    }

    /// The next message's bytes; none at the end.
    ///
    /// # Panics
    /// When the stream is reset, or a message is cut short.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.head().await;
        loop {
            if self.buffer.len() >= 5 {
                let length = u32::from_be_bytes(self.buffer[1..5].try_into().expect("four bytes"));
                let length = length as usize;
                if self.buffer.len() >= 5 + length {
                    assert_eq!(self.buffer[0], 0, "answers are not compressed unasked");
                    self.buffer.advance(5);
                    return Some(self.buffer.split_to(length).freeze());
                }
            }
            match self.open.next().await {
                Next::Data(data) => self.buffer.put_slice(&data),
                Next::End(trailers) => {
                    assert!(self.buffer.is_empty(), "a message is cut short");
                    if let Some(found) = trailers.as_ref().and_then(status_in) {
                        self.status = Some(found);
                    }
                    return None;
                }
                Next::Reset(reason) => panic!("the call was reset: {reason:?}"),
            }
        }
    }

    /// The next message; none at the end.
    ///
    /// # Panics
    /// When it is none of that kind.
    pub async fn message<A: Message + Default>(&mut self) -> Option<A> {
        let bytes = self.next().await?;
        Some(A::decode(bytes).expect("it is that message"))
    }

    /// All messages that are left, and the status.
    pub async fn all<A: Message + Default>(&mut self) -> (Vec<A>, Status) {
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            messages.push(message);
        }
        (messages, self.status())
    }

    /// The status.
    ///
    /// # Panics
    /// When it has not come.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.clone().expect("calls end with a status")
    }
}

fn status_in(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message");
    let message = message.map(http::HeaderValue::as_bytes).unwrap_or_default();
    Some(Status {
        code,
        message: decoded(message),
    })
}

/// Undoes the percent-encoding of `grpc-message`.
fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if text[at] == b'%' => {
                bytes.push(byte);
                at += 3;
            }
            _ => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(bytes).expect("grpc-message is UTF-8")
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn messages_of_a_status_are_decoded() {
        assert_eq!(decoded(b"100%25 m%C3%BCde%"), "100% müde%");
    }
}
