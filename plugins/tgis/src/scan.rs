//! Walks protocol-buffers messages that the host holds, without copying what is skipped.
//!
//! A [`Window`] is the part of the source that has been copied; a [`Cursor`] is a place
//! in a message. Cursors of nested messages share the window of the outer one, so that a
//! small message costs one read, and a big text inside a message costs none.

use tollgate_sdk_protocol::{Bytes, types::SourceId};

/// Bytes copied at a time. A field's key and length take at most 20.
const WINDOW: u32 = 4096;

/// Not a message: a field runs past the end, or has a wire type that proto3 has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is not valid protocol buffers")]
pub struct Malformed;

/// The copied part of a source, all of which has arrived.
pub struct Window<'a> {
    bytes: &'a dyn Bytes,
    source: SourceId,
    copied: Vec<u8>,
    from: u64,
}

impl<'a> Window<'a> {
    /// A window on a source that has arrived whole and was not released.
    pub fn new(bytes: &'a dyn Bytes, source: SourceId) -> Self {
        Self {
            bytes,
            source,
            copied: Vec::new(),
            from: 0,
        }
    }

    /// A copy of some of the source; shorter when the source ends before.
    pub fn copy(&self, offset: u64, len: u64) -> Vec<u8> {
        self.inside(offset, len).map_or_else(
            || self.bytes.read_all(self.source, offset, len),
            <[u8]>::to_vec,
        )
    }

    fn inside(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.from)?).ok()?;
        self.copied
            .get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }

    fn byte(&mut self, offset: u64) -> Result<u8, Malformed> {
        if self.inside(offset, 1).is_none() {
            self.copied = self.bytes.read(self.source, offset, WINDOW);
            self.from = offset;
        }
        self.inside(offset, 1).map(|byte| byte[0]).ok_or(Malformed)
    }
}

/// What stands under a field's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Wire type 0.
    Varint(u64),
    /// Wire types 1 and 5.
    Fixed,
    /// Wire type 2: where the contents begin, and how long they are.
    Bytes(u64, u64),
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
    /// The value.
    pub value: Value,
}

impl Field {
    /// A cursor on the message that this field holds, if it can hold one.
    pub fn message(&self) -> Result<Cursor, Malformed> {
        match self.value {
            Value::Bytes(offset, len) => Ok(Cursor {
                at: offset,
                end: offset + len,
            }),
            _ => Err(Malformed),
        }
    }
}

/// A place in a message.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    at: u64,
    end: u64,
}

impl Cursor {
    /// The beginning of a message that is a whole source.
    pub fn whole(len: u64) -> Self {
        Self { at: 0, end: len }
    }

    /// The next field, or none at the message's end.
    pub fn next(&mut self, window: &mut Window<'_>) -> Result<Option<Field>, Malformed> {
        if self.at == self.end {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint(window)?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        if number == 0 {
            return Err(Malformed);
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint(window)?),
            1 => self.skip(8).map(|_| Value::Fixed)?,
            5 => self.skip(4).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint(window)?;
                Value::Bytes(self.skip(len)?, len)
            }
            _ => return Err(Malformed),
        };
        Ok(Some(Field {
            number,
            start,
            end: self.at,
            value,
        }))
    }

    /// Goes on by `len`; gives where it was.
    fn skip(&mut self, len: u64) -> Result<u64, Malformed> {
        let from = self.at;
        self.at = from
            .checked_add(len)
            .filter(|to| *to <= self.end)
            .ok_or(Malformed)?;
        Ok(from)
    }

    fn varint(&mut self, window: &mut Window<'_>) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = window.byte(self.skip(1)?)?;
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use tollgate_sdk_protocol::testing::Memory;

    use super::*;

    fn fields(message: &[u8]) -> Result<Vec<Field>, Malformed> {
        let memory = Memory::default().with(0, message);
        let mut window = Window::new(&memory, 0);
        let mut cursor = Cursor::whole(message.len() as u64);
        let mut fields = Vec::new();
        while let Some(field) = cursor.next(&mut window)? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn every_wire_type_of_proto3_is_walked() {
        let message = [
            &[0x08, 0x96, 0x01][..],
            &[0x11, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0x1d, 1, 2, 3, 4],
            &[0x22, 0x02, b'h', b'i'],
        ]
        .concat();
        let values: Vec<_> = fields(&message)
            .unwrap()
            .iter()
            .map(|field| field.value)
            .collect();
        assert_eq!(
            values,
            [
                Value::Varint(150),
                Value::Fixed,
                Value::Fixed,
                Value::Bytes(19, 2)
            ]
        );
    }

    #[test]
    fn a_field_beyond_the_window_is_found() {
        let mut message = vec![0x1a, 0x80, 0x80, 0x01];
        message.extend(vec![b'x'; 1 << 14]);
        message.extend([0x08, 0x05]);
        let fields = fields(&message).unwrap();
        assert_eq!(fields[0].value, Value::Bytes(4, 1 << 14));
        assert_eq!(fields[1].value, Value::Varint(5));
    }

    #[test]
    fn what_is_cut_anywhere_within_a_field_is_malformed() {
        let message = [0x22, 0x03, b'a', b'b', b'c'];
        for len in 1..message.len() {
            assert_eq!(fields(&message[..len]), Err(Malformed), "{len}");
        }
        assert_eq!(fields(&[]), Ok(Vec::new()));
    }

    #[test]
    fn groups_number_zero_and_endless_varints_are_malformed() {
        assert_eq!(fields(&[0x0b, 0x0c]), Err(Malformed));
        assert_eq!(fields(&[0x00, 0x01]), Err(Malformed));
        assert_eq!(
            fields(&[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2]),
            Err(Malformed)
        );
        // A length that would overflow the address.
        assert_eq!(
            fields(&[0x12, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
            Err(Malformed)
        );
    }
}
