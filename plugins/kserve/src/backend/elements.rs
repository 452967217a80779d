//! Elements of small answers, in the guest's hands: texts, counts and vectors. Vectors that lie
//! as they are wanted stay with the host.

use std::str::FromStr;

use tollgate_sdk_protocol::{
    Bytes,
    inference::{Tensor, TensorData, Vector},
    types::{Datatype, Encoding, Failure, Held, Span},
};

use super::unreadable;
use crate::{
    codec::{contents, value},
    datatype,
};

/// Longest tensor that is read.
const MOST: u64 = 16 << 20;

/// The texts of a tensor of BYTES.
///
/// # Errors
/// It has none.
pub fn texts(bytes: &dyn Bytes, tensor: &Tensor) -> Result<Vec<String>, Failure> {
    if tensor.datatype != Datatype::Bytes {
        return Err(other(tensor, "BYTES"));
    }
    bounded(tensor)?;
    let elements = value::elements(bytes, tensor).map_err(|what| of(tensor, &what))?;
    let text = |raw: Vec<u8>| String::from_utf8_lossy(&raw).into_owned();
    Ok(elements.into_iter().map(text).collect())
}

/// The whole numbers of a tensor.
///
/// # Errors
/// It has none, or some below 0.
pub fn counts(bytes: &dyn Bytes, tensor: &Tensor) -> Result<Vec<u64>, Failure> {
    let raw = match small(bytes, tensor)? {
        Small::Raw(raw) => raw,
        Small::Json(raw) => {
            let (numbers, _) = listed(&raw).ok_or_else(|| other(tensor, "counts"))?;
            return Ok(numbers);
        }
    };
    macro_rules! each {
        ($type:ty) => {
            raw.chunks_exact(size_of::<$type>())
                .map(|element| {
                    let element = element.try_into().expect("as long as the type");
                    u64::try_from(<$type>::from_le_bytes(element)).ok()
                })
                .collect::<Option<Vec<u64>>>()
        };
    }
    let counts = match tensor.datatype {
        Datatype::Uint8 => each!(u8),
        Datatype::Uint16 => each!(u16),
        Datatype::Uint32 => each!(u32),
        Datatype::Uint64 => each!(u64),
        Datatype::Int8 => each!(i8),
        Datatype::Int16 => each!(i16),
        Datatype::Int32 => each!(i32),
        Datatype::Int64 => each!(i64),
        _ => None,
    };
    counts.ok_or_else(|| other(tensor, "counts"))
}

/// The rows of a tensor as vectors, of which there have to be `count`.
///
/// # Errors
/// Its shape or its elements are other ones.
pub fn vectors(bytes: &dyn Bytes, tensor: &Tensor, count: usize) -> Result<Vec<Vector>, Failure> {
    let (rows, length) = match tensor.shape[..] {
        [rows, length] => (usize::try_from(rows).ok(), usize::try_from(length).ok()),
        _ => {
            let what = format!(
                "its shape is {:?}, and not one vector for each text",
                tensor.shape
            );
            return Err(of(tensor, &what));
        }
    };
    let (Some(rows), Some(length @ 1..)) = (rows, length) else {
        return Err(of(tensor, "its shape cannot be"));
    };
    if rows != count {
        let what = format!("it has {rows} vectors for {count} texts");
        return Err(of(tensor, &what));
    }
    if let (Datatype::Fp32, TensorData::Held(held)) = (&tensor.datatype, &tensor.data)
        && matches!(held.written, Encoding::Tensor(_) | Encoding::Packed(_))
    {
        // Packed singles are the same bytes as raw ones.
        let each = length as u64 * 4;
        if held.at.len != each * rows as u64 {
            return Err(of(tensor, "it has not as many elements as its shape says"));
        }
        let row = |row: u64| {
            Vector::Held(Held {
                at: Span {
                    offset: held.at.offset + row * each,
                    len: each,
                    ..held.at
                },
                written: Encoding::Tensor(Datatype::Fp32),
            })
        };
        return Ok((0..rows as u64).map(row).collect());
    }
    let numbers = match small(bytes, tensor)? {
        Small::Raw(raw) => singles(&raw, &tensor.datatype),
        Small::Json(raw) => listed(&raw)
            .filter(|(_, lists)| *lists == [rows * length] || *lists == vec![length; rows])
            .map(|(numbers, _)| numbers),
    };
    let numbers = numbers.ok_or_else(|| other(tensor, "the numbers that its shape says"))?;
    if numbers.len() != rows * length {
        return Err(of(tensor, "it has not as many elements as its shape says"));
    }
    let row = |row: &[f32]| Vector::Floats(row.to_vec());
    Ok(numbers.chunks_exact(length).map(row).collect())
}

/// Numbers as singles; of those that a single has not the nearest.
fn singles(raw: &[u8], datatype: &Datatype) -> Option<Vec<f32>> {
    macro_rules! each {
        ($size:literal, $read:expr) => {
            raw.as_chunks::<$size>().0.iter().map($read).collect()
        };
    }
    Some(match datatype {
        Datatype::Fp32 => each!(4, |it| f32::from_le_bytes(*it)),
        Datatype::Fp64 => each!(8, |it| f64::from_le_bytes(*it) as f32),
        Datatype::Fp16 => each!(2, |it| half(u16::from_le_bytes(*it))),
        // The upper half of a single.
        Datatype::Bf16 => each!(2, |it| f32::from_bits(
            u32::from(u16::from_le_bytes(*it)) << 16
        )),
        _ => return None,
    })
}

/// A number of IEEE 754's binary16.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    match exponent {
        // Zero and what is below the normal numbers: so many 2^-24.
        0 => {
            let value = fraction as f32 * (-24_f32).exp2();
            f32::from_bits(value.to_bits() | sign)
        }
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13),
    }
}

enum Small {
    /// Little-endian elements.
    Raw(Vec<u8>),
    Json(Vec<u8>),
}

/// A tensor's bytes, which have arrived.
fn small(bytes: &dyn Bytes, tensor: &Tensor) -> Result<Small, Failure> {
    bounded(tensor)?;
    let held = match &tensor.data {
        TensorData::Inline(raw) => return Ok(Small::Raw(raw.clone())),
        TensorData::None => return Ok(Small::Raw(Vec::new())),
        TensorData::Held(held) => held,
    };
    let raw = bytes.read_all(held.at.source, held.at.offset, held.at.len);
    if raw.len() as u64 != held.at.len {
        return Err(of(tensor, "its data has not arrived"));
    }
    match &held.written {
        Encoding::Tensor(_) => Ok(Small::Raw(raw)),
        Encoding::JsonArray(_) => Ok(Small::Json(raw)),
        Encoding::Packed(datatype) => contents::unpack(&raw, datatype)
            .map(Small::Raw)
            .map_err(|what| of(tensor, &what)),
        _ => Err(of(tensor, "its encoding is not a tensor's")),
    }
}

/// The numbers of JSON lists, whatever their nesting, and how many each innermost list has. The
/// host has found that it is JSON.
fn listed<T: FromStr>(raw: &[u8]) -> Option<(Vec<T>, Vec<usize>)> {
    let text = std::str::from_utf8(raw).ok()?;
    let (mut numbers, mut lists) = (Vec::new(), Vec::new());
    for list in text.split(']') {
        let Some((_, inner)) = list.rsplit_once('[') else {
            // Between the ends of lists, and after the last.
            let rest = |it: char| it == ',' || it.is_ascii_whitespace();
            match list.trim_matches(rest).is_empty() {
                true => continue,
                false => return None,
            }
        };
        let before = numbers.len();
        if !inner.trim().is_empty() {
            for number in inner.split(',') {
                numbers.push(number.trim().parse().ok()?);
            }
        }
        lists.push(numbers.len() - before);
    }
    Some((numbers, lists))
}

fn bounded(tensor: &Tensor) -> Result<(), Failure> {
    match &tensor.data {
        TensorData::Held(held) if held.at.len > MOST => Err(of(tensor, "it is too long")),
        _ => Ok(()),
    }
}

fn other(tensor: &Tensor, wanted: &str) -> Failure {
    let name = datatype::name(&tensor.datatype);
    of(
        tensor,
        &format!("its elements, of {name}, are not {wanted}"),
    )
}

fn of(tensor: &Tensor, what: &str) -> Failure {
    unreadable(format!("output '{}': {what}", tensor.name))
}

#[cfg(test)]
mod tests {
    use tollgate_sdk_protocol::testing::Memory;

    use super::*;

    fn tensor(datatype: Datatype, shape: &[i64], written: Option<Encoding>, len: u64) -> Tensor {
        let held = |written| {
            TensorData::Held(Held {
                at: Span {
                    source: 3,
                    offset: 0,
                    len,
                },
                written,
            })
        };
        Tensor {
            name: "v".to_owned(),
            datatype,
            shape: shape.to_vec(),
            data: written.map_or(TensorData::None, held),
            parameters: Vec::new(),
        }
    }

    fn read(datatype: Datatype, json: bool, content: &[u8]) -> Result<Vec<Vector>, Failure> {
        let written = match json {
            true => Encoding::JsonArray(datatype.clone()),
            false => Encoding::Tensor(datatype.clone()),
        };
        let memory = Memory::default().with(3, content);
        let tensor = tensor(datatype, &[2, 2], Some(written), content.len() as u64);
        vectors(&memory, &tensor, 2)
    }

    fn floats(rows: [[f32; 2]; 2]) -> Vec<Vector> {
        rows.map(|row| Vector::Floats(row.to_vec())).to_vec()
    }

    #[test]
    fn numbers_of_every_kind_are_singles() {
        let expected = floats([[1.0, -0.5], [0.25, 1024.0]]);
        let doubles = [1.0_f64, -0.5, 0.25, 1024.0].map(f64::to_le_bytes).concat();
        assert_eq!(read(Datatype::Fp64, false, &doubles).unwrap(), expected);
        let halves = [0x3c00_u16, 0xb800, 0x3400, 0x6400].map(u16::to_le_bytes);
        assert_eq!(
            read(Datatype::Fp16, false, &halves.concat()).unwrap(),
            expected
        );
        let brains = [0x3f80_u16, 0xbf00, 0x3e80, 0x4480].map(u16::to_le_bytes);
        assert_eq!(
            read(Datatype::Bf16, false, &brains.concat()).unwrap(),
            expected
        );
        for json in ["[1, -0.5, 0.25, 1024]", "[[1,-0.5] ,[0.25, 1.024e3]]"] {
            let told = read(Datatype::Fp32, true, json.as_bytes()).unwrap();
            assert_eq!(told, expected, "{json}");
        }
    }

    #[test]
    fn halves_are_what_they_are_at_the_edges() {
        assert_eq!(half(0x0001), 2_f32.powi(-24));
        assert_eq!(half(0x03ff), 1023.0 * 2_f32.powi(-24));
        assert_eq!(half(0x0400), 2_f32.powi(-14));
        assert_eq!(half(0x7bff), 65504.0);
        assert_eq!(half(0xfc00), f32::NEG_INFINITY);
        assert!(half(0x7e00).is_nan());
        assert_eq!(half(0x8000).to_bits(), (-0.0_f32).to_bits());
    }

    #[test]
    fn singles_stay_where_they_lie() {
        let told = read(Datatype::Fp32, false, &[0; 16]).unwrap();
        let offsets: Vec<_> = told
            .iter()
            .map(|vector| match vector {
                Vector::Held(held) => (held.at.offset, held.at.len),
                Vector::Floats(_) => panic!("copied"),
            })
            .collect();
        assert_eq!(offsets, [(0, 8), (8, 8)]);
    }

    #[test]
    fn other_shapes_are_no_vectors() {
        let memory = Memory::default().with(3, vec![0; 16]);
        let raw = || Some(Encoding::Tensor(Datatype::Fp32));
        for (shape, texts) in [
            (&[2, 1, 2][..], 2),
            (&[4], 1),
            (&[2, 2], 3),
            (&[2, 3], 2),
            (&[2, 0], 2),
            (&[-1, 2], 2),
        ] {
            let tensor = tensor(Datatype::Fp32, shape, raw(), 16);
            assert!(vectors(&memory, &tensor, texts).is_err(), "{shape:?}");
        }
        for json in ["[[1,2,3],[4]]", "[1,2,3]", "[[1,2],[3,\"4\"]]", "[[],[]]"] {
            assert!(
                read(Datatype::Fp32, true, json.as_bytes()).is_err(),
                "{json}"
            );
        }
        assert!(read(Datatype::Int32, false, &[0; 16]).is_err());
    }

    #[test]
    fn counts_are_read_in_every_form() {
        let raw = [3_i64, 4].map(i64::to_le_bytes).concat();
        let memory = Memory::default().with(3, raw);
        let of = |datatype: Datatype, len| {
            let written = Encoding::Tensor(datatype.clone());
            counts(&memory, &tensor(datatype, &[2], Some(written), len))
        };
        assert_eq!(of(Datatype::Int64, 16).unwrap(), [3, 4]);
        assert_eq!(of(Datatype::Uint32, 8).unwrap(), [3, 0]);
        assert!(of(Datatype::Fp64, 16).is_err());
        let json = Memory::default().with(3, "[[3],[4]]");
        let written = Some(Encoding::JsonArray(Datatype::Int64));
        let told = counts(&json, &tensor(Datatype::Int64, &[2, 1], written, 9));
        assert_eq!(told.unwrap(), [3, 4]);
    }
}
