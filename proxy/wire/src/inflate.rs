//! Bounded decompression of gzip (RFC 1952), zlib (RFC 1950) and raw deflate (RFC
//! 1951), as bytes arrive.
//!
//! Output comes in chunks of at most [`CHUNK`] bytes, so a small input that inflates a
//! thousandfold never stands in memory at once; the whole is bounded by the limit given
//! to [`Inflater::new`]. Checksums and lengths are verified, and input that ends too
//! early or goes on after the end is an error.
//!
//! A whole is inflated by [`Unpacking`], a slice of work at a time, so that whoever does
//! it can let others have their turn in between.

mod gzip;

use bytes::{Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

use self::gzip::{Header, Trailer};

/// The most that one [`Inflater::next`] yields, in bytes.
pub const CHUNK: usize = 64 * 1024;

/// The most that one [`Unpacking::step`] takes in or gives out, in bytes; a little more, where the
/// last chunk passes it.
pub const SLICE: usize = 256 * 1024;

/// Members of a gzip stream that may be as small as they like. Each costs a decompressor's setting
/// up, so beyond these they must hold a kilobyte on the average.
const SMALL_MEMBERS: u64 = 1024;

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
    /// Members of gzip that have ended.
    members: u64,
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
            members: 0,
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
                    self.members += 1;
                    if self.members > SMALL_MEMBERS + self.written / 1024 {
                        return Err(InflateError::Malformed);
                    }
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
pub fn inflate(input: Bytes, format: Format, limit: u64) -> Result<Bytes, InflateError> {
    let mut unpacking = Unpacking::new(input, format, limit);
    loop {
        if let Some(whole) = unpacking.step()? {
            return Ok(whole);
        }
    }
}

/// A whole that is being inflated. Between two steps it can wait, or be dropped.
pub struct Unpacking {
    inflater: Inflater,
    /// What has been begun, and what has not.
    slice: Bytes,
    input: Bytes,
    chunks: Vec<Bytes>,
}

// === impl Unpacking ===

impl Unpacking {
    /// Of these bytes, into at most `limit`.
    #[must_use]
    pub fn new(input: Bytes, format: Format, limit: u64) -> Self {
        Self {
            inflater: Inflater::new(format, limit),
            slice: Bytes::new(),
            input,
            chunks: Vec::new(),
        }
    }

    /// Does a [`SLICE`] of the work. Input counts as well as output: there are inputs of which
    /// nothing comes. The whole, once it is there; it is not to be called again then.
    ///
    /// # Errors
    /// See [`InflateError`]; there is no going on after one.
    pub fn step(&mut self) -> Result<Option<Bytes>, InflateError> {
        let mut worked = 0;
        while worked < SLICE {
            match self.inflater.next(&mut self.slice)? {
                Some(chunk) => {
                    worked += chunk.len();
                    self.chunks.push(chunk);
                }
                None if self.input.is_empty() => {
                    self.inflater.finish()?;
                    return Ok(Some(crate::source::join(std::mem::take(&mut self.chunks))));
                }
                None => {
                    self.slice = self.input.split_to(CHUNK.min(self.input.len()));
                    worked += self.slice.len();
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
