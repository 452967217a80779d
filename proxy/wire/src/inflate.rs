//! Bounded decompression of gzip (RFC 1952), zlib (RFC 1950) and raw deflate (RFC
//! 1951), as bytes arrive.
//!
//! Output comes in chunks of at most [`CHUNK`] bytes, so a small input that inflates a
//! thousandfold never stands in memory at once; the whole is bounded by the limit given
//! to [`Inflater::new`]. Checksums and lengths are verified, and input that ends too
//! early or goes on after the end is an error.

mod gzip;

use bytes::{Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

use self::gzip::{Header, Trailer};

/// The most that one [`Inflater::next`] yields, in bytes.
pub const CHUNK: usize = 64 * 1024;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `gzip` and `x-gzip`, also of several members.
    Gzip,
    /// `deflate`: zlib as RFC 9110, section 8.4.1.2, says, or raw deflate as some
    /// peers send; the first two bytes tell.
    Deflate,
}

impl Format {
    /// The format by its content coding's name, in any case.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Some(Format::Gzip)
            }
            name if name.eq_ignore_ascii_case("deflate") => Some(Format::Deflate),
            _ => None,
        }
    }
}

/// Why bytes cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// The output would be larger than it may.
    #[error("decompressed, it would be larger than {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// Not what the format says, or a wrong checksum.
    #[error("malformed compressed bytes")]
    Malformed,
    /// The input ended too early.
    #[error("compressed bytes end too early")]
    Truncated,
}

enum Stage {
    /// Of `deflate`: the first bytes, until zlib and raw can be told apart.
    Sniff(Vec<u8>),
    Header(Header),
    Body,
    Trailer(Trailer),
    /// A gzip member has ended; another may follow.
    Between,
    Done,
}

/// A decompressor.
pub struct Inflater {
    stage: Stage,
    gzip: bool,
    raw: Decompress,
    crc: flate2::Crc,
    limit: u64,
    written: u64,
    /// Room that the last chunks left.
    buffer: BytesMut,
}

// === impl Inflater ===

impl Inflater {
    /// A decompressor that yields at most `limit` bytes altogether.
    #[must_use]
    pub fn new(format: Format, limit: u64) -> Self {
        let gzip = format == Format::Gzip;
        Self {
            stage: if gzip {
                Stage::Header(Header::default())
            } else {
                Stage::Sniff(Vec::with_capacity(2))
            },
            gzip,
            raw: Decompress::new(false),
            crc: flate2::Crc::new(),
            limit,
            written: 0,
            buffer: BytesMut::new(),
        }
    }

    /// Takes bytes from the front of `input` and yields what comes of them: none when
    /// all input is used up. To be called until it does.
    ///
    /// # Errors
    /// See [`InflateError`]; there is no going on after one.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, InflateError> {
        loop {
            match &mut self.stage {
                Stage::Sniff(first) => {
                    let missing = 2 - first.len();
                    first.extend_from_slice(&input.split_to(missing.min(input.len())));
                    let [method, flags] = first[..] else {
                        return Ok(None);
                    };
                    // RFC 1950, section 2.2: deflate, a window of at most 32 KiB, and
                    // both bytes together a multiple of 31.
                    let zlib = method & 0x0f == 8
                        && method >> 4 <= 7
                        && u16::from_be_bytes([method, flags]) % 31 == 0;
                    let first = std::mem::take(first);
                    self.raw = Decompress::new(zlib);
                    self.stage = Stage::Body;
                    if let Some(bytes) = self.body(&mut Bytes::from(first))? {
                        return Ok(Some(bytes));
                    }
                }
                Stage::Header(header) => {
                    if !header.take(input)? {
                        return Ok(None);
                    }
                    self.stage = Stage::Body;
                }
                Stage::Body => {
                    if let Some(bytes) = self.body(input)? {
                        return Ok(Some(bytes));
                    }
                    if let Stage::Body = self.stage {
                        return Ok(None);
                    }
                }
                Stage::Trailer(trailer) => {
                    let Some((sum, len)) = trailer.take(input) else {
                        return Ok(None);
                    };
                    if (sum, len) != (self.crc.sum(), self.crc.amount()) {
                        return Err(InflateError::Malformed);
                    }
                    self.stage = Stage::Between;
                }
                Stage::Between if input.is_empty() => return Ok(None),
                Stage::Between => {
                    self.raw = Decompress::new(false);
                    self.crc.reset();
                    self.stage = Stage::Header(Header::default());
                }
                Stage::Done if input.is_empty() => return Ok(None),
                Stage::Done => return Err(InflateError::Malformed),
            }
        }
    }

    /// Inflates until there is a chunk, the input is used up, or the body ends (then
    /// the stage changes).
    fn body(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, InflateError> {
        loop {
            if self.buffer.is_empty() {
                // Small input, small buffer: a token's worth must not cost 64 KiB.
                let guess = input.len().saturating_mul(4).clamp(512, CHUNK);
                self.buffer = BytesMut::zeroed(guess);
            }
            let (read, wrote) = (self.raw.total_in(), self.raw.total_out());
            let status = self
                .raw
                .decompress(input, &mut self.buffer, FlushDecompress::None)
                .map_err(|_| InflateError::Malformed)?;
            let read = (self.raw.total_in() - read) as usize;
            let wrote = (self.raw.total_out() - wrote) as usize;
            let _ = input.split_to(read);
            let bytes = self.buffer.split_to(wrote).freeze();
            self.written += wrote as u64;
            if self.written > self.limit {
                return Err(InflateError::TooLarge { limit: self.limit });
            }
            if status == Status::StreamEnd {
                self.stage = if self.gzip {
                    Stage::Trailer(Trailer::default())
                } else {
                    Stage::Done
                };
            }
            if wrote > 0 {
                if self.gzip {
                    self.crc.update(&bytes);
                }
                return Ok(Some(bytes));
            }
            if status == Status::StreamEnd || (read == 0 && !self.buffer.is_empty()) {
                return Ok(None);
            }
        }
    }

    /// To be called when no more input comes.
    ///
    /// # Errors
    /// The input ended too early.
    pub fn finish(&self) -> Result<(), InflateError> {
        match self.stage {
            Stage::Done | Stage::Between => Ok(()),
            _ => Err(InflateError::Truncated),
        }
    }
}

/// Inflates a whole into at most `limit` bytes.
///
/// # Errors
/// See [`InflateError`].
pub fn inflate(mut input: Bytes, format: Format, limit: u64) -> Result<Bytes, InflateError> {
    let mut inflater = Inflater::new(format, limit);
    let mut chunks = Vec::new();
    while let Some(chunk) = inflater.next(&mut input)? {
        chunks.push(chunk);
    }
    inflater.finish()?;
    Ok(crate::source::join(chunks))
}

#[cfg(test)]
mod tests;
