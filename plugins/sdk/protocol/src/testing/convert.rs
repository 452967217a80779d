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
        (Encoding::JsonArray(datatype), Encoding::Tensor(_) | Encoding::Packed(_)) => {
            let value: Value = serde_json::from_slice(raw).map_err(|error| error.to_string())?;
            let mut out = Vec::new();
            flatten(&value, datatype, &mut out)?;
            Ok(out)
        }
        (Encoding::Tensor(datatype) | Encoding::Packed(datatype), Encoding::JsonArray(_)) => {
            numbers(raw, datatype)
        }
        (Encoding::Base64, Encoding::JsonArray(datatype)) => numbers(
            &STANDARD.decode(raw).map_err(|error| error.to_string())?,
            datatype,
        ),
        (Encoding::JsonArray(datatype), Encoding::Base64) => {
            let tensor = Encoding::Tensor(datatype.clone());
            Ok(STANDARD.encode(convert(raw, from, &tensor)?).into_bytes())
        }
        (Encoding::Tensor(_), Encoding::Packed(_)) | (Encoding::Packed(_), Encoding::Tensor(_)) => {
            Ok(raw.to_vec())
        }
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
    match datatype {
        Datatype::Fp32 => {
            out.extend((value.as_f64().ok_or_else(odd)? as f32).to_le_bytes());
        }
        Datatype::Fp64 => out.extend(value.as_f64().ok_or_else(odd)?.to_le_bytes()),
        Datatype::Int64 => out.extend(value.as_i64().ok_or_else(odd)?.to_le_bytes()),
        Datatype::Int32 => {
            let value = value.as_i64().and_then(|value| i32::try_from(value).ok());
            out.extend(value.ok_or_else(odd)?.to_le_bytes());
        }
        Datatype::Uint8 => {
            let value = value.as_u64().and_then(|value| u8::try_from(value).ok());
            out.push(value.ok_or_else(odd)?);
        }
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
    let values: Vec<Value> = match datatype {
        Datatype::Fp32 => raw
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .map(number)
            .collect::<Result<_, _>>()?,
        Datatype::Int64 => raw
            .chunks_exact(8)
            .map(|bytes| i64::from_le_bytes(bytes.try_into().expect("eight bytes")).into())
            .collect(),
        Datatype::Int32 => raw
            .chunks_exact(4)
            .map(|bytes| i32::from_le_bytes(bytes.try_into().expect("four bytes")).into())
            .collect(),
        Datatype::Uint8 => raw.iter().map(|byte| Value::from(*byte)).collect(),
        other => return Err(format!("tests do not convert {other:?}")),
    };
    serde_json::to_vec(&values).map_err(|error| error.to_string())
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
        let cases: [(&[u8], Encoding, Encoding); 4] = [
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
