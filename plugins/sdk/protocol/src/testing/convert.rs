//! The conversions that tests need, done simply.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::types::{Datatype, Encoding};

/// Converts as the host does, for texts and for tensors of numbers.
///
/// # Errors
/// Says what cannot be read or written.
pub fn convert(raw: &[u8], from: &Encoding, to: &Encoding) -> Result<Vec<u8>, String> {
    if from == to {
        return Ok(raw.to_vec());
    }
    match (from, to) {
        (Encoding::JsonArray(datatype), Encoding::Packed(_)) => {
            let tensor = Encoding::Tensor(datatype.clone());
            convert(&convert(raw, from, &tensor)?, &tensor, to)
        }
        (Encoding::Packed(datatype), Encoding::JsonArray(_)) => {
            let tensor = Encoding::Tensor(datatype.clone());
            convert(&convert(raw, from, &tensor)?, &tensor, to)
        }
        (Encoding::JsonArray(datatype), Encoding::Tensor(_)) => {
            let value: Value = serde_json::from_slice(raw).map_err(|error| error.to_string())?;
            let mut out = Vec::new();
            flatten(&value, datatype, &mut out)?;
            Ok(out)
        }
        (Encoding::Tensor(datatype), Encoding::JsonArray(_)) => numbers(raw, datatype),
        (Encoding::Base64, Encoding::JsonArray(datatype)) => numbers(
            &STANDARD.decode(raw).map_err(|error| error.to_string())?,
            datatype,
        ),
        (Encoding::JsonArray(datatype), Encoding::Base64) => {
            let tensor = Encoding::Tensor(datatype.clone());
            Ok(STANDARD.encode(convert(raw, from, &tensor)?).into_bytes())
        }
        (Encoding::Tensor(datatype), Encoding::Packed(_)) => pack(raw, datatype),
        (Encoding::Packed(datatype), Encoding::Tensor(_)) => unpack(raw, datatype),
        _ => write_plain(&read_plain(raw, from)?, to),
    }
}

fn read_plain(raw: &[u8], from: &Encoding) -> Result<Vec<u8>, String> {
    match from {
        Encoding::Plain | Encoding::Tensor(_) | Encoding::Packed(_) => Ok(raw.to_vec()),
        Encoding::JsonString => serde_json::from_slice::<String>(raw)
            .map(String::into_bytes)
            .map_err(|error| error.to_string()),
        Encoding::Base64 => STANDARD.decode(raw).map_err(|error| error.to_string()),
        other => Err(format!("cannot read {other:?}")),
    }
}

fn write_plain(plain: &[u8], to: &Encoding) -> Result<Vec<u8>, String> {
    match to {
        Encoding::Plain | Encoding::Tensor(_) | Encoding::Packed(_) => Ok(plain.to_vec()),
        Encoding::JsonString => {
            let text = std::str::from_utf8(plain).map_err(|error| error.to_string())?;
            Ok(crate::text::quoted(text))
        }
        Encoding::Base64 => Ok(STANDARD.encode(plain).into_bytes()),
        other => Err(format!("cannot write {other:?}")),
    }
}

fn flatten(value: &Value, datatype: &Datatype, out: &mut Vec<u8>) -> Result<(), String> {
    if let Value::Array(values) = value {
        return values
            .iter()
            .try_for_each(|value| flatten(value, datatype, out));
    }
    let odd = || format!("{value} is no {datatype:?}");
    macro_rules! integer {
        ($type:ty, $read:ident) => {{
            let value = value.$read().and_then(|it| <$type>::try_from(it).ok());
            out.extend(value.ok_or_else(odd)?.to_le_bytes());
        }};
    }
    match datatype {
        Datatype::Boolean => out.push(value.as_bool().ok_or_else(odd)?.into()),
        Datatype::Fp32 => {
            out.extend((value.as_f64().ok_or_else(odd)? as f32).to_le_bytes());
        }
        Datatype::Fp64 => out.extend(value.as_f64().ok_or_else(odd)?.to_le_bytes()),
        Datatype::Int8 => integer!(i8, as_i64),
        Datatype::Int16 => integer!(i16, as_i64),
        Datatype::Int32 => integer!(i32, as_i64),
        Datatype::Int64 => integer!(i64, as_i64),
        Datatype::Uint8 => integer!(u8, as_u64),
        Datatype::Uint16 => integer!(u16, as_u64),
        Datatype::Uint32 => integer!(u32, as_u64),
        Datatype::Uint64 => integer!(u64, as_u64),
        Datatype::Bytes => {
            let text = value.as_str().ok_or_else(odd)?;
            out.extend((text.len() as u32).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        other => return Err(format!("tests do not convert {other:?}")),
    }
    Ok(())
}

fn numbers(raw: &[u8], datatype: &Datatype) -> Result<Vec<u8>, String> {
    macro_rules! integers {
        ($type:ty) => {
            raw.chunks_exact(size_of::<$type>())
                .map(|bytes| {
                    let bytes = bytes.try_into().expect("as long as the type");
                    <$type>::from_le_bytes(bytes).into()
                })
                .collect()
        };
    }
    let values: Vec<Value> = match datatype {
        Datatype::Fp32 => raw
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .map(number)
            .collect::<Result<_, _>>()?,
        Datatype::Fp64 => raw
            .chunks_exact(8)
            .map(|bytes| f64::from_le_bytes(bytes.try_into().expect("eight bytes")))
            .map(|value| match serde_json::Number::from_f64(value) {
                Some(number) => Ok(number.into()),
                None => Err(format!("JSON cannot carry {value}")),
            })
            .collect::<Result<_, _>>()?,
        Datatype::Boolean => raw.iter().map(|byte| Value::from(*byte != 0)).collect(),
        Datatype::Int8 => integers!(i8),
        Datatype::Int16 => integers!(i16),
        Datatype::Int32 => integers!(i32),
        Datatype::Int64 => integers!(i64),
        Datatype::Uint8 => integers!(u8),
        Datatype::Uint16 => integers!(u16),
        Datatype::Uint32 => integers!(u32),
        Datatype::Uint64 => integers!(u64),
        Datatype::Bytes => texts(raw)?,
        other => return Err(format!("tests do not convert {other:?}")),
    };
    serde_json::to_vec(&values).map_err(|error| error.to_string())
}

/// Bytes of an element that is packed as a varint, and whether it has a sign; none: it is
/// packed as it is.
fn width(datatype: &Datatype) -> Option<(usize, bool)> {
    Some(match datatype {
        Datatype::Boolean | Datatype::Uint8 => (1, false),
        Datatype::Uint16 => (2, false),
        Datatype::Uint32 => (4, false),
        Datatype::Uint64 => (8, false),
        Datatype::Int8 => (1, true),
        Datatype::Int16 => (2, true),
        Datatype::Int32 => (4, true),
        Datatype::Int64 => (8, true),
        _ => return None,
    })
}

fn pack(raw: &[u8], datatype: &Datatype) -> Result<Vec<u8>, String> {
    let Some((width, signed)) = width(datatype) else {
        return Ok(raw.to_vec());
    };
    let mut out = Vec::new();
    for element in raw.chunks_exact(width) {
        let negative = signed && element[width - 1] & 0x80 != 0;
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..width].copy_from_slice(element);
        let mut left = u64::from_le_bytes(wide);
        while left >= 0x80 {
            out.push(left as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
    }
    Ok(out)
}

fn unpack(raw: &[u8], datatype: &Datatype) -> Result<Vec<u8>, String> {
    let Some((width, _)) = width(datatype) else {
        return Ok(raw.to_vec());
    };
    let (mut out, mut value, mut shift) = (Vec::new(), 0_u64, 0);
    for byte in raw {
        if shift > 63 {
            return Err("a number that is too long".to_owned());
        }
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            out.extend_from_slice(&value.to_le_bytes()[..width]);
            (value, shift) = (0, 0);
        }
    }
    Ok(out)
}

/// Elements that are each a length and a text.
fn texts(mut raw: &[u8]) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    while let Some((len, rest)) = raw.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len) as usize;
        let text = rest.get(..len).ok_or("an element that is cut off")?;
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
        values.push(text.into());
        raw = &rest[len..];
    }
    Ok(values)
}

/// The shortest decimal that is this `f32`.
fn number(value: f32) -> Result<Value, String> {
    if !value.is_finite() {
        return Err(format!("JSON cannot carry {value}"));
    }
    serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_survive_the_way_there_and_back() {
        let cases: [(&[u8], Encoding, Encoding); 7] = [
            (
                b"[true,false]",
                Encoding::JsonArray(Datatype::Boolean),
                Encoding::Packed(Datatype::Boolean),
            ),
            (
                b"[-128,127]",
                Encoding::JsonArray(Datatype::Int8),
                Encoding::Packed(Datatype::Int8),
            ),
            (
                b"[\"a\",\"\"]",
                Encoding::JsonArray(Datatype::Bytes),
                Encoding::Tensor(Datatype::Bytes),
            ),
            ("a\"ü".as_bytes(), Encoding::Plain, Encoding::JsonString),
            (b"\x00\x01", Encoding::Plain, Encoding::Base64),
            (
                b"[0.1,-2]",
                Encoding::JsonArray(Datatype::Fp32),
                Encoding::Tensor(Datatype::Fp32),
            ),
            (
                b"[1,-2]",
                Encoding::JsonArray(Datatype::Int64),
                Encoding::Packed(Datatype::Int64),
            ),
        ];
        for (raw, from, to) in cases {
            let there = convert(raw, &from, &to).unwrap();
            assert_eq!(convert(&there, &to, &from).unwrap(), raw, "{from:?} {to:?}");
        }
    }
}
