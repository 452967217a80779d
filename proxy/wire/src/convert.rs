//! One value in another encoding, exactly: what cannot be carried over exactly is an
//! error.
//!
//! | from \ to | plain | JSON string | base64 | JSON array, tensor, packed |
//! |---|---|---|---|---|
//! | plain | copy | UTF-8 | yes | its bytes are a tensor's |
//! | JSON string | yes | copy | of its UTF-8 | no |
//! | base64 | yes | UTF-8 | copy | its bytes are a tensor's |
//! | JSON array, tensor, packed | a tensor's bytes | no | of a tensor's bytes | same datatype |
//!
//! Text is UTF-8, and lone surrogates are refused. Base64 is RFC 4648, section 4, with
//! padding, without line breaks; where it is taken from inside a JSON string, JSON's
//! escapes are understood (a backslash is no base64). For arrays see
//! [`crate::tensor`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::json;
use crate::tensor::{self, Datatype};

/// How a value is written down where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As it is: UTF-8 text, or opaque bytes.
    Plain,
    /// A JSON string, both quotes included.
    JsonString,
    /// Base64 with padding, without quotes.
    Base64,
    /// A JSON array, nested or flat: numbers, booleans or strings.
    JsonArray(Datatype),
    /// A row-major little-endian tensor without padding; `BYTES` elements are each a
    /// little-endian u32 length and then the bytes.
    Tensor(Datatype),
    /// Protocol-buffers packed scalars.
    Packed(Datatype),
}

/// Why a value cannot be written in another encoding. Offsets and indices count from
/// the value's beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// There is no such conversion.
    #[error("a value cannot be converted from {from:?} to {to:?}")]
    Unsupported {
        /// As it lies.
        from: Encoding,
        /// As it was wanted.
        to: Encoding,
    },
    /// It is not what its encoding says.
    #[error("{message} at byte {offset} of the value")]
    Malformed {
        /// Where.
        offset: usize,
        /// What is wrong there.
        message: &'static str,
    },
    /// A number is not one of the datatype's.
    #[error("element {index} is not a value of {datatype}")]
    Range {
        /// Position in row-major order.
        index: usize,
        /// What it should be.
        datatype: Datatype,
    },
    /// JSON has no such number.
    #[error("element {index} is NaN or infinite, which JSON cannot carry")]
    NotFinite {
        /// Position in row-major order.
        index: usize,
    },
    /// Text was wanted.
    #[error("the value is not UTF-8 from byte {offset} on")]
    NotUtf8 {
        /// Where.
        offset: usize,
    },
    /// It would be larger than it may.
    #[error("the converted value would be larger than {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// Its bytes are not held any more.
    #[error("the value's bytes have been released")]
    Released,
}

// === impl Encoding ===

impl Encoding {
    /// Whether a value is written with the same bytes in both.
    #[must_use]
    pub fn same_bytes(&self, other: &Encoding) -> bool {
        self == other
            || match (self.raw(), other.raw()) {
                (Some(one), Some(other)) => one == other || one.is_none() || other.is_none(),
                _ => false,
            }
    }

    /// For encodings that are a tensor's own bytes, its datatype (none: any).
    fn raw(&self) -> Option<Option<Datatype>> {
        match self {
            Encoding::Plain => Some(None),
            Encoding::Tensor(datatype)
            | Encoding::Packed(datatype @ (Datatype::Fp32 | Datatype::Fp64)) => {
                Some(Some(*datatype))
            }
            _ => None,
        }
    }

    fn datatype(&self) -> Option<Datatype> {
        match self {
            Encoding::JsonArray(datatype)
            | Encoding::Tensor(datatype)
            | Encoding::Packed(datatype) => Some(*datatype),
            _ => None,
        }
    }
}

/// The length that a value of `len` bytes takes in another encoding, where that
/// follows from the encodings alone.
#[must_use]
pub fn known_len(len: u64, from: &Encoding, to: &Encoding) -> Option<u64> {
    if from.same_bytes(to) {
        return Some(len);
    }
    (from.raw().is_some() && *to == Encoding::Base64).then(|| len.div_ceil(3).saturating_mul(4))
}

/// Writes a value in another encoding, in at most `max_out` bytes.
///
/// # Errors
/// See [`ConvertError`].
pub fn convert(
    bytes: &[u8],
    from: &Encoding,
    to: &Encoding,
    max_out: usize,
) -> Result<Bytes, ConvertError> {
    if from.same_bytes(to) {
        return sized(bytes.len(), max_out).map(|()| Bytes::copy_from_slice(bytes));
    }
    converted(bytes, from, to, max_out).map(Bytes::from)
}

/// As [`convert`], without a copy where the bytes stay the same: also of a JSON string
/// without escapes.
///
/// # Errors
/// See [`ConvertError`].
pub fn convert_shared(
    bytes: &Bytes,
    from: &Encoding,
    to: &Encoding,
    max_out: usize,
) -> Result<Bytes, ConvertError> {
    if from.same_bytes(to) {
        return sized(bytes.len(), max_out).map(|()| bytes.clone());
    }
    if (*from, *to) == (Encoding::JsonString, Encoding::Plain) {
        let (inside, escaped) = json_string(bytes)?;
        if !escaped {
            sized(inside.len(), max_out)?;
            return Ok(bytes.slice(1..bytes.len() - 1));
        }
    }
    converted(bytes, from, to, max_out).map(Bytes::from)
}

fn sized(len: usize, limit: usize) -> Result<(), ConvertError> {
    if len > limit {
        return Err(ConvertError::TooLarge { limit });
    }
    Ok(())
}

fn converted(
    bytes: &[u8],
    from: &Encoding,
    to: &Encoding,
    max_out: usize,
) -> Result<Vec<u8>, ConvertError> {
    use Encoding::{Base64, JsonString, Plain, Tensor};
    let unsupported = ConvertError::Unsupported {
        from: *from,
        to: *to,
    };
    match (from, to, from.datatype(), to.datatype()) {
        (_, _, Some(one), Some(other)) if one == other => tensor::recode(bytes, from, to, max_out),
        (_, _, Some(_), Some(_)) => Err(unsupported),

        (JsonString, Plain, ..) => {
            let (inside, _) = json_string(bytes)?;
            // The inside is never shorter than what it means.
            sized_text(inside, max_out)
        }
        (Plain, JsonString, ..) => quoted(bytes, max_out),
        (Plain, Base64, ..) => encoded(bytes, max_out),
        (Base64, Plain, ..) => decoded(bytes, max_out),
        (JsonString, Base64, ..) => {
            let (inside, _) = json_string(bytes)?;
            encoded(&sized_text(inside, max_out)?, max_out)
        }
        (Base64, JsonString, ..) => quoted(&decoded(bytes, max_out)?, max_out),

        (_, Base64, Some(datatype), None) => {
            let tensor = tensor::recode(bytes, from, &Tensor(datatype), max_out)?;
            encoded(&tensor, max_out)
        }
        (_, Plain, Some(datatype), None) => tensor::recode(bytes, from, &Tensor(datatype), max_out),
        (Base64, _, None, Some(datatype)) => {
            let tensor = decoded(bytes, bytes.len())?;
            tensor::recode(&tensor, &Tensor(datatype), to, max_out)
        }
        (Plain, _, None, Some(datatype)) => tensor::recode(bytes, &Tensor(datatype), to, max_out),
        _ => Err(unsupported),
    }
}

/// The inside of a JSON string that fills `bytes`, and whether it has escapes.
fn json_string(bytes: &[u8]) -> Result<(&[u8], bool), ConvertError> {
    let malformed = |(offset, message)| ConvertError::Malformed { offset, message };
    if bytes.first() != Some(&b'"') {
        return Err(malformed((0, "expected a JSON string")));
    }
    let (end, escaped) = json::string(bytes, 1).map_err(malformed)?;
    if end != bytes.len() {
        return Err(malformed((end, "unexpected bytes after a JSON string")));
    }
    let inside = &bytes[1..end - 1];
    utf8(inside)?;
    Ok((inside, escaped))
}

fn utf8(bytes: &[u8]) -> Result<&str, ConvertError> {
    std::str::from_utf8(bytes).map_err(|error| ConvertError::NotUtf8 {
        offset: error.valid_up_to(),
    })
}

/// What the inside of a JSON string means.
fn sized_text(inside: &[u8], max_out: usize) -> Result<Vec<u8>, ConvertError> {
    let mut text = Vec::with_capacity(inside.len().min(max_out));
    json::unescape(inside, &mut text).map_err(|offset| ConvertError::Malformed {
        offset: offset + 1,
        message: "an escape that is not a character",
    })?;
    sized(text.len(), max_out)?;
    Ok(text)
}

fn quoted(bytes: &[u8], max_out: usize) -> Result<Vec<u8>, ConvertError> {
    let text = utf8(bytes)?;
    sized(text.len().saturating_add(2), max_out)?;
    let mut out = Vec::with_capacity(text.len() + text.len() / 16 + 2);
    out.push(b'"');
    json::escape_into(text, &mut out);
    out.push(b'"');
    sized(out.len(), max_out)?;
    Ok(out)
}

fn encoded(bytes: &[u8], max_out: usize) -> Result<Vec<u8>, ConvertError> {
    sized(bytes.len().div_ceil(3).saturating_mul(4), max_out)?;
    Ok(STANDARD.encode(bytes).into_bytes())
}

fn decoded(bytes: &[u8], max_out: usize) -> Result<Vec<u8>, ConvertError> {
    if bytes.contains(&b'\\') {
        return base64_bytes(&sized_text(bytes, bytes.len())?, max_out);
    }
    base64_bytes(bytes, max_out)
}

fn base64_bytes(bytes: &[u8], max_out: usize) -> Result<Vec<u8>, ConvertError> {
    // Two less for padding: a bound from below, so that nothing too large is decoded.
    sized((bytes.len() / 4 * 3).saturating_sub(2), max_out)?;
    let malformed = |offset| ConvertError::Malformed {
        offset,
        message: "invalid base64",
    };
    let plain = STANDARD.decode(bytes).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
            malformed(at)
        }
        _ => malformed(bytes.len()),
    })?;
    sized(plain.len(), max_out)?;
    Ok(plain)
}

#[cfg(test)]
mod tests;
