//! Tensors to flat JSON arrays.

use super::{Datatype, boolean, elements};
use crate::convert::ConvertError;
use crate::json;

/// Writes a tensor as a flat JSON array of at most `max_out` bytes.
pub(super) fn write(
    bytes: &[u8],
    datatype: Datatype,
    max_out: usize,
) -> Result<Vec<u8>, ConvertError> {
    let mut writer = Writer {
        out: Vec::with_capacity(bytes.len().saturating_mul(2).saturating_add(2).min(max_out)),
        max_out,
    };
    macro_rules! integers {
        ($type:ty) => {{
            let mut digits = itoa::Buffer::new();
            for element in elements(bytes)? {
                writer.put(digits.format(<$type>::from_le_bytes(*element)).as_bytes())?;
            }
        }};
    }
    macro_rules! floats {
        ($type:ty) => {{
            let mut digits = zmij::Buffer::new();
            for (index, element) in elements(bytes)?.iter().enumerate() {
                let number = <$type>::from_le_bytes(*element);
                if !number.is_finite() {
                    return Err(ConvertError::NotFinite { index });
                }
                writer.put(digits.format_finite(number).as_bytes())?;
            }
        }};
    }
    match datatype {
        Datatype::Boolean => {
            for (index, byte) in bytes.iter().enumerate() {
                let word: &[u8] = if boolean(index, *byte)? {
                    b"true"
                } else {
                    b"false"
                };
                writer.put(word)?;
            }
        }
        Datatype::Uint8 => integers!(u8),
        Datatype::Uint16 => integers!(u16),
        Datatype::Uint32 => integers!(u32),
        Datatype::Uint64 => integers!(u64),
        Datatype::Int8 => integers!(i8),
        Datatype::Int16 => integers!(i16),
        Datatype::Int32 => integers!(i32),
        Datatype::Int64 => integers!(i64),
        Datatype::Fp32 => floats!(f32),
        Datatype::Fp64 => floats!(f64),
        Datatype::Bytes => writer.strings(bytes)?,
        // Refused by the caller.
        Datatype::Fp16 | Datatype::Bf16 => return Err(ConvertError::Range { index: 0, datatype }),
    }
    writer.finish()
}

struct Writer {
    out: Vec<u8>,
    max_out: usize,
}

impl Writer {
    /// `[` before the first element, `,` before the others.
    fn separate(&mut self) {
        let byte = if self.out.is_empty() { b'[' } else { b',' };
        self.out.push(byte);
    }

    fn check(&self) -> Result<(), ConvertError> {
        if self.out.len() > self.max_out {
            return Err(ConvertError::TooLarge {
                limit: self.max_out,
            });
        }
        Ok(())
    }

    fn put(&mut self, element: &[u8]) -> Result<(), ConvertError> {
        self.separate();
        self.out.extend_from_slice(element);
        self.check()
    }

    fn strings(&mut self, bytes: &[u8]) -> Result<(), ConvertError> {
        let mut at = 0;
        while at < bytes.len() {
            let malformed = |message| ConvertError::Malformed {
                offset: at,
                message,
            };
            let rest = &bytes[at..];
            let (len, rest) = rest
                .split_first_chunk::<4>()
                .ok_or_else(|| malformed("half an element's length"))?;
            let len = u32::from_le_bytes(*len) as usize;
            let element = rest
                .get(..len)
                .ok_or_else(|| malformed("an element that is longer than the tensor"))?;
            let text = std::str::from_utf8(element).map_err(|error| ConvertError::NotUtf8 {
                offset: at + 4 + error.valid_up_to(),
            })?;
            self.separate();
            self.out.push(b'"');
            json::escape_into(text, &mut self.out);
            self.out.push(b'"');
            self.check()?;
            at += 4 + len;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, ConvertError> {
        if self.out.is_empty() {
            self.out.push(b'[');
        }
        self.out.push(b']');
        self.check()?;
        Ok(self.out)
    }
}
