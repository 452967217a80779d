//! Fields of protocol-buffers messages that the host holds: found without reading the
//! values that are stepped over, which need not have arrived; and written before values
//! that the host has.
//!
//! The wire format is that of <https://protobuf.dev/programming-guides/encoding/>, without
//! groups, which proto3 has not.

use crate::{
    Bytes,
    types::{Progress, SourceId},
};

/// Bytes read at a time: some keys, lengths and names.
const WINDOW: u32 = 512;

/// Most bytes of a key, and of the varint or the length after it.
const KEY: u64 = 20;

/// Wire type of a value that has a length.
const DELIMITED: u32 = 2;

/// Why a field is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The source must get this far first.
    More(u64),
    /// This is no message: a field runs past its end, or has a wire type that there is not.
    Malformed,
}

/// One field: from the first byte of its key to past the last one of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number.
    pub number: u32,
    /// First byte of the key.
    pub start: u64,
    /// Past the last byte of the value.
    pub end: u64,
    /// Where the value begins, past its length if it has one.
    pub value: u64,
    /// The value has a length: it is a text, bytes, a message or packed.
    pub delimited: bool,
    /// A varint's value; 0 of all others.
    pub varint: u64,
}

impl Field {
    /// Length of the value.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is no collection")]
    pub fn len(&self) -> u64 {
        self.end - self.value
    }
}

/// Length of the message that is a whole source.
///
/// # Errors
/// While it is not known.
pub fn length(progress: &Progress) -> Result<u64, Stop> {
    match progress.total {
        Some(total) => Ok(total),
        None if progress.end => Ok(progress.available),
        None => Err(Stop::More(u64::MAX)),
    }
}

/// Reads one source. It holds one window of it.
pub struct Reader<'a> {
    bytes: &'a dyn Bytes,
    source: SourceId,
    available: u64,
    size: u32,
    window: Vec<u8>,
    from: u64,
}

impl<'a> Reader<'a> {
    /// A reader of as much as has arrived.
    #[must_use]
    pub fn new(bytes: &'a dyn Bytes, progress: &Progress) -> Self {
        Self::whole(bytes, progress.source, progress.available)
    }

    /// A reader of a source of which so much is there.
    #[must_use]
    pub fn whole(bytes: &'a dyn Bytes, source: SourceId, len: u64) -> Self {
        Self {
            bytes,
            source,
            available: len,
            size: WINDOW,
            window: Vec::new(),
            from: 0,
        }
    }

    /// Reads so many bytes at a time, for messages of many small fields.
    #[must_use]
    pub fn window(self, size: u32) -> Self {
        Self {
            size: size.max(WINDOW),
            ..self
        }
    }

    /// The source that is read.
    #[must_use]
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// Some bytes.
    ///
    /// # Errors
    /// When they have not arrived.
    pub fn copy(&self, offset: u64, len: u64) -> Result<Vec<u8>, Stop> {
        let end = offset.checked_add(len).ok_or(Stop::Malformed)?;
        if end > self.available {
            return Err(Stop::More(end));
        }
        if let Some(bytes) = self.inside(offset, len) {
            return Ok(bytes.to_vec());
        }
        let bytes = self.bytes.read_all(self.source, offset, len);
        if bytes.len() as u64 == len {
            Ok(bytes)
        } else {
            Err(Stop::Malformed)
        }
    }

    /// A field's value as text.
    ///
    /// # Errors
    /// When it has not arrived, or is none.
    pub fn text(&self, field: &Field) -> Result<String, Stop> {
        String::from_utf8(self.message(field)?).map_err(|_| Stop::Malformed)
    }

    /// A field's value as the bytes of a message.
    ///
    /// # Errors
    /// When it has not arrived, or is none.
    pub fn message(&self, field: &Field) -> Result<Vec<u8>, Stop> {
        if !field.delimited {
            return Err(Stop::Malformed);
        }
        self.copy(field.value, field.len())
    }

    /// The field at `at`, in a message that ends at `end`.
    ///
    /// # Errors
    /// When its key has not arrived, or it is none. [`Stop::More`] is never past `end`.
    pub fn field(&mut self, at: u64, end: u64) -> Result<Field, Stop> {
        let wanted = end.min(at.saturating_add(KEY));
        if at >= self.available {
            return Err(Stop::More(wanted));
        }
        let seen = wanted.min(self.available).saturating_sub(at);
        if self.inside(at, seen).is_none() {
            self.window = self.bytes.read(self.source, at, self.size);
            self.from = at;
        }
        let head = self.inside(at, seen).ok_or(Stop::Malformed)?;
        match parse(head, at) {
            Some(field) if field.end <= end => Ok(field),
            // Cut off here, it may be whole with what is still to come.
            None if self.available < wanted => Err(Stop::More(wanted)),
            _ => Err(Stop::Malformed),
        }
    }

    fn inside(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.from)?).ok()?;
        let len = usize::try_from(len).ok()?;
        self.window.get(start..start.checked_add(len)?)
    }
}

/// The field whose first bytes these are, which lie at `at`.
fn parse(head: &[u8], at: u64) -> Option<Field> {
    let mut rest = head;
    // Of 32 bits, or it is none: there are readers that drop what is above them, and to those it
    // would be the key of another field, such as the one that names the model.
    let key = u32::try_from(varint(&mut rest)?).ok()?;
    let number = Some(key >> 3).filter(|number| *number > 0)?;
    let begins = |rest: &[u8]| at + (head.len() - rest.len()) as u64;
    let (value, len, varint) = match key & 7 {
        0 => {
            let value = begins(rest);
            let varint = varint(&mut rest)?;
            (value, begins(rest) - value, varint)
        }
        1 => (begins(rest), 8, 0),
        DELIMITED => {
            let len = varint(&mut rest)?;
            (begins(rest), len, 0)
        }
        5 => (begins(rest), 4, 0),
        _ => return None,
    };
    Some(Field {
        number,
        start: at,
        end: value.checked_add(len)?,
        value,
        delimited: key & 7 == DELIMITED,
        varint,
    })
}

/// Takes a varint off the front; none when it does not end, or has more than 64 bits.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        // The tenth byte has room for one bit.
        if shift == 63 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Key and length of a field whose value of `len` bytes follows.
#[must_use]
pub fn prefix(number: u32, len: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put(u64::from(number) << 3 | u64::from(DELIMITED), &mut out);
    put(len, &mut out);
    out
}

/// A field with a text.
#[must_use]
pub fn text(number: u32, text: &str) -> Vec<u8> {
    let mut out = prefix(number, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
    out
}

fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests;
