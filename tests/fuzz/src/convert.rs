//! Conversions, held to their own way back and to serde_json's reading of arrays.

use bytes::Bytes;
use serde_json::value::RawValue;
use tollgate_wire::convert::{convert_shared, known_len};
use tollgate_wire::{ConvertError, Datatype, Encoding, convert};

const LARGE: usize = 1 << 20;
/// Arrays that are nested more deeply are left to the other oracles.
const DEEP: usize = 100;

fn encodings() -> impl Iterator<Item = Encoding> {
    [Encoding::Plain, Encoding::JsonString, Encoding::Base64]
        .into_iter()
        .chain(Datatype::ALL.map(Encoding::JsonArray))
        .chain(Datatype::ALL.map(Encoding::Tensor))
        .chain(Datatype::ALL.map(Encoding::Packed))
}

/// The encoding that a byte chooses.
fn chosen(byte: u8) -> Encoding {
    encodings()
        .nth(usize::from(byte) % 45)
        .expect("there are 45")
}

fn convert_values(from: Encoding, to: Encoding, data: &[u8]) {
    let shared = convert_shared(&Bytes::copy_from_slice(data), &from, &to, LARGE);
    let plain = convert(data, &from, &to, LARGE);
    assert_eq!(plain, shared, "{from:?} to {to:?}");
    let Ok(out) = plain else { return };
    if let Some(known) = known_len(data.len() as u64, &from, &to) {
        assert_eq!(out.len() as u64, known, "{from:?} to {to:?}");
    }
    assert_eq!(convert(data, &from, &to, out.len()).as_ref(), Ok(&out));
    if let Some(limit) = out.len().checked_sub(1) {
        let refused = convert(data, &from, &to, limit);
        assert_eq!(refused, Err(ConvertError::TooLarge { limit }));
    }
    // The way back may write the same value differently, but it is the same value.
    match convert(&out, &to, &from, LARGE) {
        Err(ConvertError::Unsupported { .. }) => {}
        back => {
            let back = back.unwrap_or_else(|error| panic!("{from:?} to {to:?}: {error}"));
            let again = convert(&back, &from, &to, LARGE);
            assert_eq!(again, Ok(out), "{from:?} to {to:?} and back");
        }
    }
}

fn convert_arrays(datatype: Datatype, data: &[u8]) {
    let (array, tensor) = (Encoding::JsonArray(datatype), Encoding::Tensor(datatype));
    if matches!(datatype, Datatype::Fp16 | Datatype::Bf16) || nested(data) > DEEP {
        return;
    }
    let ours = convert(data, &array, &tensor, LARGE).ok();
    let theirs = std::str::from_utf8(data).ok().and_then(|text| {
        let mut out = Vec::new();
        text.trim_start_matches([' ', '\n', '\r', '\t'])
            .starts_with('[')
            .then(|| shape(text, datatype, &mut out))
            .flatten()
            .map(|_| out)
    });
    assert_eq!(ours.as_deref(), theirs.as_deref(), "{datatype}");
}

fn nested(data: &[u8]) -> usize {
    data.iter().filter(|byte| **byte == b'[').count()
}

/// Lengths of the levels of an array whose elements are appended; none when serde_json or Rust's
/// own numbers refuse something, or two arrays of a level differ.
fn shape(text: &str, datatype: Datatype, out: &mut Vec<u8>) -> Option<Vec<usize>> {
    let text = text.trim_matches([' ', '\n', '\r', '\t']);
    if !text.starts_with('[') {
        element(text, datatype, out)?;
        return Some(Vec::new());
    }
    let values: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let mut inner = None;
    for value in &values {
        let shape = shape(value.get(), datatype, out)?;
        if *inner.get_or_insert_with(|| shape.clone()) != shape {
            return None;
        }
    }
    let mut shape = vec![values.len()];
    shape.extend(inner.unwrap_or_default());
    Some(shape)
}

fn element(text: &str, datatype: Datatype, out: &mut Vec<u8>) -> Option<()> {
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    macro_rules! integer {
        ($type:ty) => {{
            is_number.then_some(())?;
            // In JSON, -0 is a number like any other, and unsigned types do not parse it.
            let number = <$type>::try_from(text.parse::<i128>().ok()?).ok()?;
            out.extend_from_slice(&number.to_le_bytes());
        }};
    }
    macro_rules! float {
        ($type:ty) => {{
            is_number.then_some(())?;
            let number = text.parse::<$type>().ok()?;
            number.is_finite().then_some(())?;
            out.extend_from_slice(&number.to_le_bytes());
        }};
    }
    match datatype {
        Datatype::Boolean => out.push(u8::from(serde_json::from_str::<bool>(text).ok()?)),
        Datatype::Bytes => {
            let text: String = serde_json::from_str(text).ok()?;
            out.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        Datatype::Uint8 => integer!(u8),
        Datatype::Uint16 => integer!(u16),
        Datatype::Uint32 => integer!(u32),
        Datatype::Uint64 => integer!(u64),
        Datatype::Int8 => integer!(i8),
        Datatype::Int16 => integer!(i16),
        Datatype::Int32 => integer!(i32),
        Datatype::Int64 => integer!(i64),
        Datatype::Fp32 => float!(f32),
        Datatype::Fp64 => float!(f64),
        Datatype::Fp16 | Datatype::Bf16 => return None,
    }
    Some(())
}

pub(crate) fn convert_bytes(data: &[u8]) {
    let [from, to, data @ ..] = data else { return };
    let from = chosen(*from);
    convert_values(from, chosen(*to), data);
    if let Encoding::JsonArray(datatype) = from {
        convert_arrays(datatype, data);
    }
}
