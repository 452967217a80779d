//! Neutral vectors as numbers, wherever they lie.

use crate::{
    Bytes, failure,
    inference::Vector,
    types::{Datatype, Encoding, Failure},
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The numbers of a vector.
///
/// # Errors
/// When held bytes are not what they are said to be.
pub fn floats(bytes: &dyn Bytes, vector: Vector) -> Result<Vec<f32>, Failure> {
    let held = match vector {
        Vector::Floats(values) => return Ok(values),
        Vector::Held(held) => held,
    };
    let odd = |what: &str| failure::upstream_invalid(format!("the worker's vector is no {what}"));
    let raw = bytes.read_all(held.at.source, held.at.offset, held.at.len);
    match held.written {
        Encoding::JsonArray(Datatype::Fp32) => {
            serde_json::from_slice(&raw).map_err(|_| odd("list of numbers"))
        }
        Encoding::Base64 => {
            let raw = STANDARD.decode(&raw).map_err(|_| odd("base64"))?;
            little_endian(&raw).ok_or_else(|| odd("list of singles"))
        }
        Encoding::Tensor(Datatype::Fp32) | Encoding::Packed(Datatype::Fp32) => {
            little_endian(&raw).ok_or_else(|| odd("list of singles"))
        }
        _ => Err(odd("list of numbers that can be read")),
    }
}

fn little_endian(raw: &[u8]) -> Option<Vec<f32>> {
    let (fours, rest) = raw.as_chunks::<4>();
    rest.is_empty()
        .then(|| fours.iter().map(|four| f32::from_le_bytes(*four)).collect())
}

#[cfg(test)]
mod tests {
    use crate::{
        testing::Memory,
        types::{Held, Span},
    };

    use super::*;

    #[test]
    fn a_vector_is_the_same_however_it_is_written() {
        let values = [0.5_f32, -1.25];
        let raw: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let written = [
            (Encoding::Tensor(Datatype::Fp32), raw.clone()),
            (Encoding::Base64, STANDARD.encode(&raw).into_bytes()),
            (
                Encoding::JsonArray(Datatype::Fp32),
                b"[0.5, -1.25]".to_vec(),
            ),
        ];
        for (encoding, content) in written {
            let len = content.len() as u64;
            let memory = Memory::default().with(3, content);
            let at = |len: u64| {
                Vector::Held(Held {
                    at: Span {
                        source: 3,
                        offset: 0,
                        len,
                    },
                    written: encoding.clone(),
                })
            };
            assert_eq!(floats(&memory, at(len)).unwrap(), values);
            assert!(floats(&memory, at(len - 1)).is_err(), "{encoding:?}");
        }
    }
}
