//! Packed protocol-buffers scalars to and from tensors.

use super::{Datatype, boolean, elements};
use crate::convert::ConvertError;

/// Reads packed scalars into a tensor of at most `max_out` bytes.
pub(super) fn read(
    bytes: &[u8],
    datatype: Datatype,
    max_out: usize,
) -> Result<Vec<u8>, ConvertError> {
    if let Datatype::Fp32 | Datatype::Fp64 = datatype {
        return float(bytes, datatype, max_out);
    }
    let mut out = Vec::with_capacity(bytes.len().min(max_out));
    let mut at = 0;
    let mut index = 0;
    macro_rules! cut {
        ($number:expr, $carrier:ty, $type:ty) => {
            // Cut to the carrier's width, as protocol buffers say; then in range or not.
            match <$type>::try_from($number as $carrier) {
                Ok(number) => out.extend_from_slice(&number.to_le_bytes()),
                Err(_) => return Err(ConvertError::Range { index, datatype }),
            }
        };
    }
    while at < bytes.len() {
        let (number, len) = varint(&bytes[at..]).ok_or(ConvertError::Malformed {
            offset: at,
            message: "invalid varint",
        })?;
        match datatype {
            Datatype::Boolean => out.push(u8::from(number != 0)),
            Datatype::Uint8 => cut!(number, u32, u8),
            Datatype::Uint16 => cut!(number, u32, u16),
            Datatype::Uint32 => cut!(number, u32, u32),
            Datatype::Uint64 => out.extend_from_slice(&number.to_le_bytes()),
            Datatype::Int8 => cut!(number, i32, i8),
            Datatype::Int16 => cut!(number, i32, i16),
            Datatype::Int32 => cut!(number, i32, i32),
            Datatype::Int64 => out.extend_from_slice(&number.to_le_bytes()),
            // Refused by the caller.
            _ => return Err(ConvertError::Range { index, datatype }),
        }
        if out.len() > max_out {
            return Err(ConvertError::TooLarge { limit: max_out });
        }
        at += len;
        index += 1;
    }
    Ok(out)
}

/// Writes a tensor as packed scalars of at most `max_out` bytes.
pub(super) fn write(
    bytes: &[u8],
    datatype: Datatype,
    max_out: usize,
) -> Result<Vec<u8>, ConvertError> {
    let mut out = Vec::with_capacity(bytes.len().min(max_out));
    macro_rules! integers {
        ($type:ty, $wide:ty) => {
            for element in elements(bytes)? {
                // Negative numbers are extended to 64 bits.
                let number = <$wide>::from(<$type>::from_le_bytes(*element));
                put_varint(number as u64, &mut out);
                if out.len() > max_out {
                    return Err(ConvertError::TooLarge { limit: max_out });
                }
            }
        };
    }
    match datatype {
        Datatype::Boolean => {
            for (index, byte) in bytes.iter().enumerate() {
                out.push(u8::from(boolean(index, *byte)?));
            }
        }
        Datatype::Uint8 => integers!(u8, u64),
        Datatype::Uint16 => integers!(u16, u64),
        Datatype::Uint32 => integers!(u32, u64),
        Datatype::Uint64 => integers!(u64, u64),
        Datatype::Int8 => integers!(i8, i64),
        Datatype::Int16 => integers!(i16, i64),
        Datatype::Int32 => integers!(i32, i64),
        Datatype::Int64 => integers!(i64, i64),
        _ => return float(bytes, datatype, max_out),
    }
    if out.len() > max_out {
        return Err(ConvertError::TooLarge { limit: max_out });
    }
    Ok(out)
}

/// Floats are the same bytes either way.
fn float(bytes: &[u8], datatype: Datatype, max_out: usize) -> Result<Vec<u8>, ConvertError> {
    match datatype {
        Datatype::Fp32 => drop(elements::<4>(bytes)?),
        Datatype::Fp64 => drop(elements::<8>(bytes)?),
        // Refused by the caller.
        _ => return Err(ConvertError::Range { index: 0, datatype }),
    }
    if bytes.len() > max_out {
        return Err(ConvertError::TooLarge { limit: max_out });
    }
    Ok(bytes.to_vec())
}

/// A varint at the beginning, and its length: at most 10 bytes and 64 bits.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if index == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * index);
        if byte < 0x80 {
            return Some((number, index + 1));
        }
    }
    None
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
