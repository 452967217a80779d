//! Numbers, booleans and strings of one datatype: JSON arrays, little-endian tensors
//! and packed protocol-buffers scalars, into each other.
//!
//! * Integers are read and written as integers, never by way of a float, and must lie
//!   in their datatype's range. `1.0` is no integer.
//! * Floats are rounded correctly when read, also straight to 32 bits, and written with
//!   the fewest digits that read back to the same. JSON has no NaN and no infinity;
//!   those, and numbers beyond the datatype's range, are refused.
//! * 16-bit floats have no JSON form and no packed form.
//! * Nested arrays are flattened in row-major order; every level must have one length.
//!   Arrays are written flat.
//! * Packed: `bool` for BOOL, `int32` for the signed types up to 32 bits, `uint32` for
//!   the unsigned ones, `int64`, `uint64`, `float` and `double`. As protocol buffers
//!   say, a varint in a 32-bit field is cut to 32 bits; it must then be in range.

mod from_json;
mod packed;
mod to_json;

use std::fmt;

use crate::convert::{ConvertError, Encoding};

/// Element type of a tensor, named as in the Open Inference Protocol, V2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// One byte, 0 or 1.
    Boolean,
    /// 1 byte.
    Uint8,
    /// 2 bytes.
    Uint16,
    /// 4 bytes.
    Uint32,
    /// 8 bytes.
    Uint64,
    /// 1 byte.
    Int8,
    /// 2 bytes.
    Int16,
    /// 4 bytes.
    Int32,
    /// 8 bytes.
    Int64,
    /// IEEE 754 half precision.
    Fp16,
    /// IEEE 754 single precision.
    Fp32,
    /// IEEE 754 double precision.
    Fp64,
    /// The upper half of an FP32.
    Bf16,
    /// Elements of any length.
    Bytes,
}

impl Datatype {
    /// Every datatype.
    pub const ALL: [Datatype; 14] = [
        Datatype::Boolean,
        Datatype::Uint8,
        Datatype::Uint16,
        Datatype::Uint32,
        Datatype::Uint64,
        Datatype::Int8,
        Datatype::Int16,
        Datatype::Int32,
        Datatype::Int64,
        Datatype::Fp16,
        Datatype::Fp32,
        Datatype::Fp64,
        Datatype::Bf16,
        Datatype::Bytes,
    ];

    /// Its name in the Open Inference Protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Datatype::Boolean => "BOOL",
            Datatype::Uint8 => "UINT8",
            Datatype::Uint16 => "UINT16",
            Datatype::Uint32 => "UINT32",
            Datatype::Uint64 => "UINT64",
            Datatype::Int8 => "INT8",
            Datatype::Int16 => "INT16",
            Datatype::Int32 => "INT32",
            Datatype::Int64 => "INT64",
            Datatype::Fp16 => "FP16",
            Datatype::Fp32 => "FP32",
            Datatype::Fp64 => "FP64",
            Datatype::Bf16 => "BF16",
            Datatype::Bytes => "BYTES",
        }
    }

    /// Bytes of an element; none for those of any length.
    #[must_use]
    pub fn size(self) -> Option<usize> {
        match self {
            Datatype::Boolean | Datatype::Uint8 | Datatype::Int8 => Some(1),
            Datatype::Uint16 | Datatype::Int16 | Datatype::Fp16 | Datatype::Bf16 => Some(2),
            Datatype::Uint32 | Datatype::Int32 | Datatype::Fp32 => Some(4),
            Datatype::Uint64 | Datatype::Int64 | Datatype::Fp64 => Some(8),
            Datatype::Bytes => None,
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Between the encodings of one datatype; the caller has seen that it is one.
pub(crate) fn recode(
    bytes: &[u8],
    from: &Encoding,
    to: &Encoding,
    max_out: usize,
) -> Result<Vec<u8>, ConvertError> {
    use Encoding::{JsonArray, Packed, Tensor};
    // An element takes at most eight times as much as a tensor as it takes packed.
    let between = max_out.saturating_mul(8);
    // What is too large for that is too large for what was asked, which is what is told.
    let told = |error| match error {
        ConvertError::TooLarge { .. } => ConvertError::TooLarge { limit: max_out },
        other => other,
    };
    let packable = |datatype| match datatype {
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Bytes => Err(ConvertError::Unsupported {
            from: *from,
            to: *to,
        }),
        _ => Ok(()),
    };
    let in_json = |datatype| match datatype {
        Datatype::Fp16 | Datatype::Bf16 => Err(ConvertError::Unsupported {
            from: *from,
            to: *to,
        }),
        _ => Ok(()),
    };
    match (from, to) {
        (JsonArray(datatype), Tensor(_)) => {
            in_json(*datatype)?;
            from_json::read(bytes, *datatype, max_out)
        }
        (Tensor(datatype), JsonArray(_)) => {
            in_json(*datatype)?;
            to_json::write(bytes, *datatype, max_out)
        }
        (Packed(datatype), Tensor(_)) => {
            packable(*datatype)?;
            packed::read(bytes, *datatype, max_out)
        }
        (Tensor(datatype), Packed(_)) => {
            packable(*datatype)?;
            packed::write(bytes, *datatype, max_out)
        }
        (JsonArray(datatype), Packed(_)) => {
            packable(*datatype)?;
            let tensor = from_json::read(bytes, *datatype, between).map_err(told)?;
            packed::write(&tensor, *datatype, max_out)
        }
        (Packed(datatype), JsonArray(_)) => {
            packable(*datatype)?;
            let tensor = packed::read(bytes, *datatype, between).map_err(told)?;
            to_json::write(&tensor, *datatype, max_out)
        }
        _ if from == to && bytes.len() <= max_out => Ok(bytes.to_vec()),
        _ if from == to => Err(ConvertError::TooLarge { limit: max_out }),
        _ => Err(ConvertError::Unsupported {
            from: *from,
            to: *to,
        }),
    }
}

/// Fixed-size elements of a tensor.
fn elements<const N: usize>(bytes: &[u8]) -> Result<&[[u8; N]], ConvertError> {
    let (elements, rest) = bytes.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(ConvertError::Malformed {
            offset: bytes.len() - rest.len(),
            message: "half an element",
        });
    }
    Ok(elements)
}

/// A boolean's byte.
fn boolean(index: usize, byte: u8) -> Result<bool, ConvertError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ConvertError::Range {
            index,
            datatype: Datatype::Boolean,
        }),
    }
}
