//! What stands around a gzip member's deflate stream (RFC 1952, section 2.3).

use bytes::Bytes;
use flate2::Crc;

use super::InflateError;

const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// The most that a header's optional fields may take, in bytes: they carry nothing for
/// a proxy, and their own bounds are none.
const MAX_HEADER: usize = 128 * 1024;

#[derive(Default)]
enum Part {
    #[default]
    Fixed,
    ExtraLen,
    Extra(usize),
    Name,
    Comment,
    Check,
    Done,
}

/// A header that is being read. Optional fields are skipped, but for its checksum.
#[derive(Default)]
pub(super) struct Header {
    part: Part,
    bytes: Vec<u8>,
    flags: u8,
    skipped: usize,
    /// Of all bytes so far; a checksum at the end is its lower half.
    sum: Crc,
}

impl Header {
    /// Takes bytes of the header; true when it is complete.
    pub(super) fn take(&mut self, input: &mut Bytes) -> Result<bool, InflateError> {
        loop {
            match self.part {
                Part::Fixed => {
                    if !self.gather(input, 10) {
                        return Ok(false);
                    }
                    self.flags = self.bytes[3];
                    if self.bytes[..3] != [0x1f, 0x8b, 8] || self.flags & RESERVED != 0 {
                        return Err(InflateError::Malformed);
                    }
                    self.part = Part::ExtraLen;
                }
                Part::ExtraLen if self.flags & FEXTRA == 0 => self.part = Part::Name,
                Part::ExtraLen => {
                    if !self.gather(input, 2) {
                        return Ok(false);
                    }
                    let len = u16::from_le_bytes([self.bytes[0], self.bytes[1]]);
                    self.part = Part::Extra(usize::from(len));
                }
                Part::Extra(left) => {
                    let taken = left.min(input.len());
                    self.skip(input, taken);
                    if taken < left {
                        self.part = Part::Extra(left - taken);
                        return Ok(false);
                    }
                    self.part = Part::Name;
                }
                Part::Name => {
                    if self.flags & FNAME != 0 && !self.skip_text(input)? {
                        return Ok(false);
                    }
                    self.part = Part::Comment;
                }
                Part::Comment => {
                    if self.flags & FCOMMENT != 0 && !self.skip_text(input)? {
                        return Ok(false);
                    }
                    self.part = Part::Check;
                }
                Part::Check => {
                    if self.flags & FHCRC != 0 {
                        let sum = (self.sum.sum() as u16).to_le_bytes();
                        if !gather(&mut self.bytes, input, 2) {
                            return Ok(false);
                        }
                        if self.bytes[..] != sum {
                            return Err(InflateError::Malformed);
                        }
                    }
                    self.part = Part::Done;
                }
                Part::Done => return Ok(true),
            }
            self.bytes.clear();
        }
    }

    /// Gathers `len` bytes; false when there are not enough yet.
    fn gather(&mut self, input: &mut Bytes, len: usize) -> bool {
        let whole = gather(&mut self.bytes, input, len);
        if whole {
            self.sum.update(&self.bytes);
        }
        whole
    }

    fn skip(&mut self, input: &mut Bytes, len: usize) {
        self.sum.update(&input.split_to(len));
    }

    /// Skips a text that ends with a zero byte.
    fn skip_text(&mut self, input: &mut Bytes) -> Result<bool, InflateError> {
        let end = input.iter().position(|&byte| byte == 0);
        let len = end.map_or(input.len(), |end| end + 1);
        self.skip(input, len);
        self.skipped += len;
        if self.skipped > MAX_HEADER {
            return Err(InflateError::Malformed);
        }
        Ok(end.is_some())
    }
}

/// Gathers up to `len` bytes; false when there are not enough yet.
fn gather(bytes: &mut Vec<u8>, input: &mut Bytes, len: usize) -> bool {
    let missing = len - bytes.len();
    bytes.extend_from_slice(&input.split_to(missing.min(input.len())));
    bytes.len() == len
}

/// A trailer that is being read: checksum and length of the member's content.
#[derive(Default)]
pub(super) struct Trailer {
    bytes: Vec<u8>,
}

impl Trailer {
    /// Takes bytes of the trailer; both numbers when it is complete.
    pub(super) fn take(&mut self, input: &mut Bytes) -> Option<(u32, u32)> {
        gather(&mut self.bytes, input, 8);
        let (sum, len) = self.bytes.split_first_chunk::<4>()?;
        let len = len.first_chunk::<4>()?;
        Some((u32::from_le_bytes(*sum), u32::from_le_bytes(*len)))
    }
}
