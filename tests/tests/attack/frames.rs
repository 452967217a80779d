//! HTTP/2 (RFC 9113) frame by frame, for what no library would send.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::within;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame that came.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

/// How a stream of ours was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a response of this status.
    Status(u16),
    /// With RST_STREAM.
    Reset(u32),
    /// With the connection's end by GOAWAY, with an error.
    GoAway(u32),
    /// With its end without a word.
    Closed,
}

impl Outcome {
    /// Whether nothing was done for the request.
    pub(crate) fn is_refusal(self) -> bool {
        match self {
            Self::Status(status) => (400..500).contains(&status),
            Self::Reset(_) | Self::GoAway(_) | Self::Closed => true,
        }
    }
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).expect("a frame's length");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields as HPACK literals that are not indexed (RFC 7541, section 6.2.2), byte for byte.
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            text_length(text.len(), &mut block);
            block.extend_from_slice(text);
        }
    }
    block
}

/// A length in seven bits, or more (RFC 7541, section 5.1).
fn text_length(length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(u8::try_from(length).expect("seven bits"));
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("seven bits") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("seven bits"));
}

/// A settings frame.
pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in values {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, payload)
}

/// A well-formed GET of the models.
pub(crate) fn get(stream: u32) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/v1/models"),
    ];
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block(&fields))
}

/// The head of a well-formed POST of a completion, and more fields.
pub(crate) fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/v1/completions"),
        ("content-type", "application/json"),
    ];
    fields.extend_from_slice(more);
    frame(HEADERS, END_HEADERS, stream, block(&fields))
}

/// The end of a request's body.
pub(crate) fn last(stream: u32, body: impl AsRef<[u8]>) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, body)
}

/// A connection.
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    /// One that has said hello, with settings of its own.
    pub(crate) async fn open(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        let stream = within("a connection", TcpStream::connect(address))
            .await
            .expect("somebody listens");
        let mut raw = Self {
            stream,
            buffer: BytesMut::new(),
        };
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        // No table (RFC 7541, section 4.2), so that each block can be read by itself.
        let values = [&[(1, 0)], values].concat();
        raw.write(settings(&values)).await;
        raw
    }

    /// Writes; false when the other end has gone.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let write = self.stream.write_all(bytes.as_ref());
        within("frames are taken", write).await.is_ok()
    }

    /// Writes what the other end may never read; false when it has gone. It reads meanwhile, and
    /// keeps what came.
    pub(crate) async fn press(&mut self, bytes: &[u8]) -> bool {
        let (mut reader, mut writer) = self.stream.split();
        let write = writer.write_all(bytes);
        tokio::pin!(write);
        loop {
            tokio::select! {
                biased;
                read = reader.read_buf(&mut self.buffer) => match read {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return false,
                },
                wrote = &mut write => return wrote.is_ok(),
            }
        }
    }

    /// The next frame; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let [a, b, c, kind, flags, rest @ ..] = &self.buffer[..]
                && rest.len() >= 4
            {
                let (kind, flags) = (*kind, *flags);
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                let stream = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
                if rest.len() >= 4 + length {
                    self.buffer.advance(9);
                    let payload = self.buffer.split_to(length).freeze();
                    return Some(Frame {
                        kind,
                        flags,
                        stream,
                        payload,
                    });
                }
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match within("a frame comes", read).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    /// How a stream was met.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        while let Some(frame) = self.next().await {
            match frame.kind {
                HEADERS if frame.stream == stream => {
                    return Outcome::Status(status(&frame.payload));
                }
                RST_STREAM if frame.stream == stream => return Outcome::Reset(code(&frame, 0)),
                GOAWAY if code(&frame, 4) != 0 => return Outcome::GoAway(code(&frame, 4)),
                _ => {}
            }
        }
        Outcome::Closed
    }

    /// How the connection ended: with which error in GOAWAY, or without.
    pub(crate) async fn ended(&mut self) -> Outcome {
        let mut outcome = Outcome::Closed;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                outcome = Outcome::GoAway(code(&frame, 4));
            }
        }
        outcome
    }
}

fn code(frame: &Frame, at: usize) -> u32 {
    let bytes = frame.payload.get(at..at + 4).expect("an error code");
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// The status of a response's block, which stands first in it (RFC 7541, appendices A and B).
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size may come before.
    let skip = block
        .iter()
        .take_while(|byte| **byte & 0xe0 == 0x20)
        .count();
    let block = &block[skip..];
    if let 0x88..=0x8e = block[0] {
        return INDEXED[usize::from(block[0] - 0x88)];
    }
    assert!(
        matches!(block[0], 0x48 | 0x08 | 0x18),
        "a status: {block:x?}"
    );
    let length = usize::from(block[1] & 0x7f);
    let text = &block[2..2 + length];
    if block[1] & 0x80 == 0 {
        return std::str::from_utf8(text)
            .ok()
            .and_then(|it| it.parse().ok())
            .expect("digits");
    }
    let bits: Vec<u8> = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let number = |bits: &[u8]| {
        bits.iter()
            .fold(0u16, |number, bit| number << 1 | u16::from(*bit))
    };
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        // 0, 1 and 2 have five bits; 3 to 9 have six, from 011001 on.
        let five = number(&bits[at..at + 5]);
        let (digit, width) = match five {
            0..=2 => (five, 5),
            _ => (number(&bits[at..at + 6]) - 0b01_1001 + 3, 6),
        };
        value = value * 10 + digit;
        at += width;
    }
    value
}

#[test]
fn statuses_are_read_however_they_are_written() {
    assert_eq!(status(&[0x88]), 200);
    assert_eq!(status(&[0x20, 0x8c]), 400);
    assert_eq!(status(&[0x08, 3, b'4', b'1', b'7']), 417);
    // 401: 011010 00000 00001, filled up with ones.
    assert_eq!(status(&[0x48, 0x82, 0b0110_1000, 0b0000_0001]), 401);
}
