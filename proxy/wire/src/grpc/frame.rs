//! Length-prefixed messages.
//!
//! A message is a flag (0: plain, 1: compressed), its length as a big-endian u32, and
//! its bytes. [`FrameDecoder`] tells of a message as it arrives, so a large one can be
//! streamed; [`MessageReader`] gathers whole messages and decompresses them.

use std::mem;

use bytes::Bytes;

use crate::inflate::{Format, InflateError, inflate};
use crate::source::join;

/// Length of a message's prefix, in bytes.
pub const PREFIX: usize = 5;

/// The value of `grpc-accept-encoding`: what [`Compression`] understands.
pub const ACCEPT_ENCODING: &str = "identity,gzip,deflate";

/// The prefix of a plain message.
#[must_use]
pub fn prefix(len: u32) -> [u8; PREFIX] {
    let [a, b, c, d] = len.to_be_bytes();
    [0, a, b, c, d]
}

/// Why frames cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than it may be.
    #[error("a message of {len} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// As its prefix says.
        len: u64,
        /// In bytes.
        limit: u64,
    },
    /// A flag that is neither 0 nor 1.
    #[error("a message has the invalid flag {0}")]
    Flag(u8),
    /// The stream ended inside a message or a prefix.
    #[error("the stream ended inside a message")]
    Truncated,
    /// A compressed message where no compression was announced.
    #[error("a compressed message came without grpc-encoding")]
    Unannounced,
    /// It cannot be decompressed.
    #[error(transparent)]
    Inflate(#[from] InflateError),
}

/// What a decoder tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message begins.
    Start {
        /// Its length as sent.
        len: u32,
        /// Its bytes are compressed.
        compressed: bool,
    },
    /// Some of its bytes, never none.
    Data(Bytes),
    /// All of its bytes have come.
    End,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Prefix { bytes: [u8; PREFIX], have: usize },
    Message { left: usize },
}

const START: Stage = Stage::Prefix {
    bytes: [0; PREFIX],
    have: 0,
};

/// Cuts a stream into messages without gathering them.
#[derive(Debug)]
pub struct FrameDecoder {
    stage: Stage,
    limit: u64,
}

// === impl FrameDecoder ===

impl FrameDecoder {
    /// A decoder that refuses messages of more than `limit` bytes, as sent.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            stage: START,
            limit,
        }
    }

    /// Takes bytes from the front of `input` and tells what they mean: none when all
    /// input is used up. To be called until it does.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] or [`FrameError::Flag`]; there is no going on then.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Frame>, FrameError> {
        match &mut self.stage {
            Stage::Prefix { bytes, have } => {
                let taken = input.split_to((PREFIX - *have).min(input.len()));
                bytes[*have..*have + taken.len()].copy_from_slice(&taken);
                *have += taken.len();
                if *have < PREFIX {
                    return Ok(None);
                }
                let [flag, a, b, c, d] = *bytes;
                let len = u32::from_be_bytes([a, b, c, d]);
                if flag > 1 {
                    return Err(FrameError::Flag(flag));
                }
                if u64::from(len) > self.limit {
                    return Err(FrameError::TooLarge {
                        len: u64::from(len),
                        limit: self.limit,
                    });
                }
                self.stage = Stage::Message { left: len as usize };
                Ok(Some(Frame::Start {
                    len,
                    compressed: flag == 1,
                }))
            }
            Stage::Message { left: 0 } => {
                self.stage = START;
                Ok(Some(Frame::End))
            }
            Stage::Message { .. } if input.is_empty() => Ok(None),
            Stage::Message { left } => {
                let data = input.split_to((*left).min(input.len()));
                *left -= data.len();
                Ok(Some(Frame::Data(data)))
            }
        }
    }

    /// To be called when no more input comes.
    ///
    /// # Errors
    /// The stream ended inside a message or a prefix.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.stage {
            Stage::Prefix { have: 0, .. } => Ok(()),
            _ => Err(FrameError::Truncated),
        }
    }
}

/// How messages with the flag are compressed: `grpc-encoding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950.
    Deflate,
}

impl Compression {
    /// By its name; none for one that is not understood, to be answered with
    /// `UNIMPLEMENTED` and [`ACCEPT_ENCODING`].
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "identity" => Some(Compression::Identity),
            "gzip" => Some(Compression::Gzip),
            "deflate" => Some(Compression::Deflate),
            _ => None,
        }
    }

    /// Decompresses one message into at most `limit` bytes.
    ///
    /// # Errors
    /// It is malformed, too large, or should not have been compressed.
    pub fn inflate(self, message: Bytes, limit: u64) -> Result<Bytes, FrameError> {
        Ok(inflate(message, self.format()?, limit)?)
    }

    /// The format of a message that says that it is compressed.
    ///
    /// # Errors
    /// It should not have been compressed.
    pub fn format(self) -> Result<Format, FrameError> {
        match self {
            Compression::Identity => Err(FrameError::Unannounced),
            Compression::Gzip => Ok(Format::Gzip),
            Compression::Deflate => Ok(Format::Deflate),
        }
    }
}

/// Gathers whole messages, decompressed.
#[derive(Debug)]
pub struct MessageReader {
    decoder: FrameDecoder,
    compression: Compression,
    compressed: bool,
    pieces: Vec<Bytes>,
}

// === impl MessageReader ===

impl MessageReader {
    /// A reader that refuses messages of more than `limit` bytes, as sent or
    /// decompressed. It holds one message at a time.
    #[must_use]
    pub fn new(compression: Compression, limit: u64) -> Self {
        Self {
            decoder: FrameDecoder::new(limit),
            compression,
            compressed: false,
            pieces: Vec::new(),
        }
    }

    /// Takes bytes from the front of `input` and yields the next message: none when
    /// all input is used up. A message that came in one piece is not copied.
    ///
    /// # Errors
    /// See [`FrameError`]; there is no going on after one.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        while let Some(frame) = self.decoder.decode(input)? {
            match frame {
                Frame::Start { compressed, .. } => {
                    if compressed && self.compression == Compression::Identity {
                        return Err(FrameError::Unannounced);
                    }
                    self.compressed = compressed;
                }
                Frame::Data(data) => self.gather(data),
                Frame::End => {
                    let message = join(mem::take(&mut self.pieces));
                    if !self.compressed {
                        return Ok(Some(message));
                    }
                    let limit = self.decoder.limit;
                    return self.compression.inflate(message, limit).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Keeps a piece. Small ones are joined, so that a message that drips byte by byte
    /// does not cost a handle for each.
    fn gather(&mut self, data: Bytes) {
        const SMALL: usize = 1024;
        if self.pieces.len() >= 64
            && data.len() < SMALL
            && let Some(last) = self.pieces.last_mut()
            && last.len() < 64 * SMALL
        {
            let mut joined = mem::take(last)
                .try_into_mut()
                .unwrap_or_else(|shared| shared[..].into());
            joined.extend_from_slice(&data);
            *last = joined.freeze();
            return;
        }
        self.pieces.push(data);
    }

    /// To be called when no more input comes.
    ///
    /// # Errors
    /// The stream ended inside a message or a prefix.
    pub fn finish(&self) -> Result<(), FrameError> {
        self.decoder.finish()
    }
}
