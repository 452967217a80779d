//! HTTP/1.1 as bytes on a stream, from either side: heads, bodies, and whether they were whole.
//!
//! Reads what the other end may send, and writes whatever it is given, right or wrong.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A connection: TCP, or TLS on it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The head of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The first line.
    pub line: String,
    /// Names in lower case, values as they came.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// Every header of that name.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).collect()
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        Self {
            line,
            headers: headers.collect(),
        }
    }
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes are left.
    Known(u64),
    /// Chunks: so many bytes of the current one are left.
    Chunks(u64),
    /// The last chunk has come, or there never was a body.
    Over,
    /// To the end of the connection.
    ToClose,
}

impl Length {
    /// As the head says; `to_close` says whether a message without a length has one.
    #[must_use]
    pub fn of(head: &Head, to_close: bool) -> Self {
        let coding = head.get("transfer-encoding").unwrap_or_default();
        if coding.eq_ignore_ascii_case("chunked") {
            return Self::Chunks(0);
        }
        match head.get("content-length").map(str::parse) {
            Some(Ok(length)) => Self::Known(length),
            _ if to_close => Self::ToClose,
            _ => Self::Over,
        }
    }
}

/// A connection and what has been read from it.
pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    first_chunk: bool,
}

impl Wire {
    /// On an open connection.
    #[must_use]
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            first_chunk: true,
        }
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the other end has gone.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// When the other end has gone.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Reads what comes next; 0: the other end has closed.
    ///
    /// # Errors
    /// When it has reset the connection.
    pub async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.buffer).await
    }

    /// The next head; none when the connection is closed before one.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let text = self.buffer.split_to(at);
                self.buffer.advance(4);
                self.first_chunk = true;
                return Ok(Some(Head::parse(&String::from_utf8_lossy(&text))));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next piece of a body; none at its end.
    ///
    /// # Errors
    /// When the connection ends before the body does, or chunks are not chunks.
    pub async fn piece(&mut self, length: &mut Length) -> io::Result<Option<Bytes>> {
        loop {
            let left = match length {
                Length::Over | Length::Known(0) => return Ok(None),
                Length::Known(left) => *left,
                Length::ToClose => u64::MAX,
                Length::Chunks(0) => {
                    let Some(next) = self.chunk()? else {
                        self.more().await?;
                        continue;
                    };
                    *length = match next {
                        0 => Length::Over,
                        next => Length::Chunks(next),
                    };
                    continue;
                }
                Length::Chunks(left) => *left,
            };
            if self.buffer.is_empty() && self.fill().await? == 0 {
                return match length {
                    Length::ToClose => Ok(None),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            let taken = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            if let Length::Known(left) | Length::Chunks(left) = length {
                *left -= taken as u64;
            }
            return Ok(Some(self.buffer.split_to(taken).freeze()));
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.fill().await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// The length of the chunk that begins, once its line is there.
    fn chunk(&mut self) -> io::Result<Option<u64>> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "not a chunk");
        let before = if self.first_chunk { 0 } else { 2 };
        if self.buffer.len() < before {
            return Ok(None);
        }
        if self.buffer[..before] != b"\r\n"[..before] {
            return Err(bad());
        }
        let Some(at) = find(&self.buffer[before..], b"\r\n") else {
            return Ok(None);
        };
        let line = std::str::from_utf8(&self.buffer[before..before + at]).map_err(|_| bad())?;
        let digits = line.split(';').next().unwrap_or_default();
        let length = u64::from_str_radix(digits, 16).map_err(|_| bad())?;
        if length == 0 {
            // No trailers are sent to these tests: the empty line follows.
            if self.buffer.len() < before + at + 4 {
                return Ok(None);
            }
            self.buffer.advance(before + at + 4);
        } else {
            self.buffer.advance(before + at + 2);
        }
        self.first_chunk = false;
        Ok(Some(length))
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|it| it == wanted)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[tokio::test]
    async fn chunks_are_put_together_however_they_arrive() {
        let text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        for pace in [1, 2, 7, text.len()] {
            let (mut far, near) = tokio::io::duplex(pace);
            let sending = async move { far.write_all(text).await };
            let reading = async {
                let mut wire = Wire::new(Box::new(near));
                let head = wire.head().await.unwrap().unwrap();
                let mut length = Length::of(&head, true);
                let mut body = Vec::new();
                while let Some(piece) = wire.piece(&mut length).await.unwrap() {
                    body.extend_from_slice(&piece);
                }
                assert_eq!(body, b"abc0123456789");
                let next = wire.head().await.unwrap().unwrap();
                assert_eq!(next.line, "HTTP/1.1 204 No Content");
            };
            tokio::join!(sending, reading).0.unwrap();
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        for head in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
            let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nab");
            let (mut far, near) = tokio::io::duplex(1024);
            far.write_all(text.as_bytes()).await.unwrap();
            drop(far);
            let mut wire = Wire::new(Box::new(near));
            let mut length = Length::of(&wire.head().await.unwrap().unwrap(), true);
            while wire
                .piece(&mut length)
                .await
                .is_ok_and(|piece| piece.is_some())
            {}
            assert!(wire.piece(&mut length).await.is_err());
        }
    }
}
