//! Elements that are in the guest's hands: typed contents that are not in one piece, and
//! BYTES. Everything else is converted by the host.

use serde::{Serialize, Serializer};
use tollgate_sdk_protocol::types::Datatype;

/// Packed scalars as a little-endian tensor, as the protocol's typed contents carry them.
///
/// # Errors
/// A value that is none, or is out of the datatype's range.
pub fn unpack(packed: &[u8], datatype: &Datatype) -> Result<Vec<u8>, String> {
    if matches!(datatype, Datatype::Fp32 | Datatype::Fp64) {
        return Ok(packed.to_vec());
    }
    let (mut rest, mut out) = (packed, Vec::with_capacity(packed.len() * 4));
    let mut index = 0_u64;
    while !rest.is_empty() {
        let value = prost::encoding::decode_varint(&mut rest)
            .map_err(|_| "the contents are not valid protocol buffers".to_owned())?;
        if !put(&mut out, value, datatype) {
            return Err(out_of_range(index, datatype));
        }
        index += 1;
    }
    Ok(out)
}

/// A varint's value as an element. A 32-bit field is cut to 32 bits, as protocol buffers
/// say; what is left must be in range.
fn put(out: &mut Vec<u8>, value: u64, datatype: &Datatype) -> bool {
    let (signed, unsigned) = (value as i32, value as u32);
    macro_rules! fit {
        ($value:expr => $type:ty) => {
            match <$type>::try_from($value) {
                Ok(value) => out.extend_from_slice(&value.to_le_bytes()),
                Err(_) => return false,
            }
        };
    }
    match datatype {
        Datatype::Boolean => out.push(u8::from(value != 0)),
        Datatype::Int8 => fit!(signed => i8),
        Datatype::Int16 => fit!(signed => i16),
        Datatype::Int32 => fit!(signed => i32),
        Datatype::Uint8 => fit!(unsigned => u8),
        Datatype::Uint16 => fit!(unsigned => u16),
        Datatype::Uint32 => fit!(unsigned => u32),
        Datatype::Int64 | Datatype::Uint64 => out.extend_from_slice(&value.to_le_bytes()),
        _ => return false,
    }
    true
}

fn out_of_range(index: u64, datatype: &Datatype) -> String {
    let name = crate::datatype::name(datatype);
    format!("element {index} is not a value of {name}")
}

/// A BYTES tensor of these elements. None: one is too long to be told.
pub fn pack_bytes<T: AsRef<[u8]>>(elements: impl IntoIterator<Item = T>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for element in elements {
        let element = element.as_ref();
        out.extend_from_slice(&u32::try_from(element.len()).ok()?.to_le_bytes());
        out.extend_from_slice(element);
    }
    Some(out)
}

/// The elements of a BYTES tensor.
///
/// # Errors
/// The lengths do not fit.
pub fn split_bytes(raw: &[u8]) -> Result<Vec<&[u8]>, String> {
    let (mut rest, mut all) = (raw, Vec::new());
    while !rest.is_empty() {
        let element = rest.split_first_chunk::<4>().and_then(|(len, after)| {
            let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
            Some((after.get(..len)?, after.get(len..)?))
        });
        let Some((element, after)) = element else {
            return Err("the elements' lengths do not fit the tensor's".to_owned());
        };
        all.push(element);
        rest = after;
    }
    Ok(all)
}

/// A tensor's bytes as packed scalars. BYTES have no packed form.
pub fn repack(raw: &[u8], datatype: &Datatype) -> Option<Vec<u8>> {
    if matches!(datatype, Datatype::Fp32 | Datatype::Fp64) {
        return Some(raw.to_vec());
    }
    let mut out = Vec::new();
    macro_rules! each {
        ($type:ty as $wide:ty) => {{
            for element in raw.chunks_exact(size_of::<$type>()) {
                let value = <$type>::from_le_bytes(element.try_into().ok()?);
                prost::encoding::encode_varint(value as $wide as u64, &mut out);
            }
        }};
    }
    match datatype {
        Datatype::Boolean | Datatype::Uint8 => each!(u8 as u64),
        Datatype::Uint16 => each!(u16 as u64),
        Datatype::Uint32 => each!(u32 as u64),
        Datatype::Uint64 => each!(u64 as u64),
        Datatype::Int8 => each!(i8 as i64),
        Datatype::Int16 => each!(i16 as i64),
        Datatype::Int32 => each!(i32 as i64),
        Datatype::Int64 => each!(i64 as i64),
        _ => return None,
    }
    Some(out)
}

/// A tensor's bytes as a flat JSON array.
///
/// # Errors
/// An element that JSON cannot carry.
pub fn to_json(raw: &[u8], datatype: &Datatype) -> Result<Vec<u8>, String> {
    macro_rules! each {
        ($type:ty) => {{
            let (elements, _) = raw.as_chunks::<{ size_of::<$type>() }>();
            list(
                elements
                    .iter()
                    .map(|element| <$type>::from_le_bytes(*element)),
            )
        }};
    }
    macro_rules! finite {
        ($type:ty) => {{
            let (elements, _) = raw.as_chunks::<{ size_of::<$type>() }>();
            let values = elements
                .iter()
                .map(|element| <$type>::from_le_bytes(*element));
            match values.clone().position(|value| !value.is_finite()) {
                None => list(values),
                Some(index) => Err(format!(
                    "element {index} is NaN or infinite, which JSON cannot carry"
                )),
            }
        }};
    }
    match datatype {
        Datatype::Boolean => list(raw.iter().map(|byte| *byte != 0)),
        Datatype::Uint8 => each!(u8),
        Datatype::Uint16 => each!(u16),
        Datatype::Uint32 => each!(u32),
        Datatype::Uint64 => each!(u64),
        Datatype::Int8 => each!(i8),
        Datatype::Int16 => each!(i16),
        Datatype::Int32 => each!(i32),
        Datatype::Int64 => each!(i64),
        // Straight from 32 bits: the shortest digits, not those of a double.
        Datatype::Fp32 => finite!(f32),
        Datatype::Fp64 => finite!(f64),
        Datatype::Bytes => {
            let text = |(index, element)| {
                std::str::from_utf8(element)
                    .map_err(|_| format!("element {index} is not UTF-8, which JSON cannot carry"))
            };
            let elements = split_bytes(raw)?.into_iter().enumerate();
            list(elements.map(text).collect::<Result<Vec<_>, _>>()?)
        }
        _ => {
            let name = crate::datatype::name(datatype);
            Err(format!("{name} has no form in JSON"))
        }
    }
}

/// Written one after the other: a million of them as values would be ten times their size.
fn list<T: Serialize>(values: impl IntoIterator<Item = T>) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let written = serde_json::Serializer::new(&mut out).collect_seq(values);
    written.map_err(|error| error.to_string())?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_from_both_forms() {
        let tensor: Vec<u8> = [i32::MIN, -1, 0, 300, i32::MAX]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let packed = repack(&tensor, &Datatype::Int32).unwrap();
        assert_eq!(unpack(&packed, &Datatype::Int32).unwrap(), tensor);
        let json = to_json(&tensor, &Datatype::Int32).unwrap();
        assert_eq!(json, b"[-2147483648,-1,0,300,2147483647]");
        let large = u64::MAX.to_le_bytes();
        assert_eq!(
            to_json(&large, &Datatype::Uint64).unwrap(),
            b"[18446744073709551615]"
        );
        let tenth = 0.1_f32.to_le_bytes();
        assert_eq!(to_json(&tenth, &Datatype::Fp32).unwrap(), b"[0.1]");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let packed = repack(&300_i32.to_le_bytes(), &Datatype::Int32).unwrap();
        let error = unpack(&packed, &Datatype::Int8).unwrap_err();
        assert_eq!(error, "element 0 is not a value of INT8");
        assert!(unpack(&[0x80], &Datatype::Int8).is_err());
        assert!(to_json(&f32::NAN.to_le_bytes(), &Datatype::Fp32).is_err());
        assert!(to_json(&f64::INFINITY.to_le_bytes(), &Datatype::Fp64).is_err());
        assert!(to_json(&[0, 0], &Datatype::Fp16).is_err());
    }

    #[test]
    fn bytes_are_taken_apart_and_put_together() {
        let raw = pack_bytes(["a", "", "\u{e9}"]).unwrap();
        assert_eq!(
            split_bytes(&raw).unwrap(),
            [&b"a"[..], b"", "\u{e9}".as_bytes()]
        );
        assert_eq!(
            to_json(&raw, &Datatype::Bytes).unwrap(),
            "[\"a\",\"\",\"\u{e9}\"]".as_bytes()
        );
        for cut in 1..raw.len() {
            // Cut between elements it is a shorter tensor.
            assert_eq!(
                split_bytes(&raw[..cut]).is_ok(),
                cut == 5 || cut == 9,
                "{cut}"
            );
        }
        assert!(to_json(&pack_bytes([[0xff]]).unwrap(), &Datatype::Bytes).is_err());
    }
}
