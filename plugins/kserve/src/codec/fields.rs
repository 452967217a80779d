//! Walks protocol-buffers messages that the host holds. What is stepped over is not read,
//! and need not have arrived.

use prost::encoding::decode_varint;
use tollgate_sdk_protocol::{
    Bytes,
    types::{Progress, SourceId},
};

use super::Stop;

/// Bytes read at a time: some keys, lengths and names.
const WINDOW: u32 = 512;

/// Most bytes of a key and a length.
const KEY: u64 = 15;

/// One field: from the first byte of its key to past the last one of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub number: u32,
    pub start: u64,
    pub end: u64,
    /// Where the value begins.
    pub value: u64,
    /// The value has a length: it is a text, bytes, a message or packed.
    pub delimited: bool,
    /// A varint's value.
    pub varint: u64,
}

impl Field {
    /// Length of the value.
    pub fn len(&self) -> u64 {
        self.end - self.value
    }
}

/// Reads one source.
pub struct Reader<'a> {
    bytes: &'a dyn Bytes,
    source: SourceId,
    available: u64,
    window: Vec<u8>,
    from: u64,
}

impl<'a> Reader<'a> {
    /// A reader of as much as has arrived.
    pub fn new(bytes: &'a dyn Bytes, progress: &Progress) -> Self {
        Self {
            bytes,
            source: progress.source,
            available: progress.available,
            window: Vec::new(),
            from: 0,
        }
    }

    /// The source that is read.
    pub fn source(&self) -> SourceId {
        self.source
    }

    /// Some bytes.
    pub fn copy(&mut self, offset: u64, len: u64) -> Result<Vec<u8>, Stop> {
        let end = offset.checked_add(len).ok_or_else(malformed)?;
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
            Err(malformed())
        }
    }

    /// A field's value as text.
    pub fn text(&mut self, field: &Field) -> Result<String, Stop> {
        String::from_utf8(self.message(field)?).map_err(|_| malformed())
    }

    /// A field's value as the bytes of a message.
    pub fn message(&mut self, field: &Field) -> Result<Vec<u8>, Stop> {
        if !field.delimited {
            return Err(malformed());
        }
        self.copy(field.value, field.len())
    }

    /// The field at `at`, in a message that ends at `end`.
    pub fn field(&mut self, at: u64, end: u64) -> Result<Field, Stop> {
        let wanted = end.min(at.saturating_add(KEY));
        if at >= self.available {
            return Err(Stop::More(wanted));
        }
        let seen = wanted.min(self.available) - at;
        if self.inside(at, seen).is_none() {
            self.window = self.bytes.read(self.source, at, WINDOW);
            self.from = at;
        }
        let head = self.inside(at, seen).ok_or_else(malformed)?;
        match parse(head, at) {
            Some(field) if field.end <= end => Ok(field),
            // Cut off here, it may be whole with what is still to come.
            None if self.available < wanted => Err(Stop::More(wanted)),
            _ => Err(malformed()),
        }
    }

    fn inside(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.from)?).ok()?;
        let len = usize::try_from(len).ok()?;
        self.window.get(start..start.checked_add(len)?)
    }
}

/// This is no message.
pub fn malformed() -> Stop {
    Stop::bad("the message is not valid protocol buffers")
}

/// The field whose first bytes these are, which lie at `at`.
fn parse(head: &[u8], at: u64) -> Option<Field> {
    let mut rest = head;
    let key = decode_varint(&mut rest).ok()?;
    let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0)?;
    let begins = |rest: &[u8]| at + (head.len() - rest.len()) as u64;
    let (value, len, delimited, varint) = match key & 7 {
        0 => {
            let value = begins(rest);
            let varint = decode_varint(&mut rest).ok()?;
            (value, begins(rest) - value, false, varint)
        }
        1 => (begins(rest), 8, false, 0),
        2 => {
            let len = decode_varint(&mut rest).ok()?;
            (begins(rest), len, true, 0)
        }
        5 => (begins(rest), 4, false, 0),
        _ => return None,
    };
    Some(Field {
        number,
        start: at,
        end: value.checked_add(len)?,
        value,
        delimited,
        varint,
    })
}

#[cfg(test)]
mod tests {
    use tollgate_sdk_protocol::testing::Memory;

    use super::*;
    use crate::proto;

    fn walk(message: &[u8], shown: usize) -> Result<Vec<Field>, Stop> {
        let mut memory = Memory::default();
        memory.add(3, message);
        memory.show(3, shown, shown == message.len());
        let mut reader = Reader::new(&memory, &memory.progress(3));
        let (mut at, mut all) = (0, Vec::new());
        while at < message.len() as u64 {
            let field = reader.field(at, message.len() as u64)?;
            at = field.end;
            all.push(field);
        }
        Ok(all)
    }

    fn message() -> Vec<u8> {
        let mut message = proto::text(1, "model");
        message.extend([0x18, 0xac, 0x02]);
        message.extend(proto::prefix(7, 5000));
        message.extend(vec![7; 5000]);
        message
    }

    #[test]
    fn a_value_that_has_not_arrived_is_found() {
        let message = message();
        let whole = walk(&message, message.len()).unwrap();
        assert_eq!(whole[1].varint, 300);
        assert_eq!((whole[2].number, whole[2].len()), (7, 5000));
        for shown in message.len() - 5000..message.len() {
            assert_eq!(walk(&message, shown).as_ref(), Ok(&whole), "{shown}");
        }
    }

    #[test]
    fn what_is_missing_is_asked_for_and_is_never_past_the_end() {
        let message = message();
        for shown in 0..message.len() - 5000 {
            let Err(Stop::More(wanted)) = walk(&message, shown) else {
                panic!("{shown}: more was needed");
            };
            assert!(wanted > shown as u64 && wanted <= message.len() as u64);
        }
    }

    #[test]
    fn nonsense_is_malformed() {
        for message in [
            &[0x0b][..],
            &[0x00, 0x01],
            &[0x0a, 0x05, b'x'],
            &[0x08],
            &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
        ] {
            assert_eq!(
                walk(message, message.len()),
                Err(malformed()),
                "{message:?}"
            );
        }
    }
}
