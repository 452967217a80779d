//! Element types: their names in the protocol, their sizes, and how many bytes a shape is.

use tollgate_sdk_protocol::types::Datatype;

/// Name, type and bytes of an element; none: elements of any length.
const ALL: [(&str, Datatype, Option<u64>); 14] = [
    ("BOOL", Datatype::Boolean, Some(1)),
    ("UINT8", Datatype::Uint8, Some(1)),
    ("UINT16", Datatype::Uint16, Some(2)),
    ("UINT32", Datatype::Uint32, Some(4)),
    ("UINT64", Datatype::Uint64, Some(8)),
    ("INT8", Datatype::Int8, Some(1)),
    ("INT16", Datatype::Int16, Some(2)),
    ("INT32", Datatype::Int32, Some(4)),
    ("INT64", Datatype::Int64, Some(8)),
    ("FP16", Datatype::Fp16, Some(2)),
    ("FP32", Datatype::Fp32, Some(4)),
    ("FP64", Datatype::Fp64, Some(8)),
    ("BF16", Datatype::Bf16, Some(2)),
    ("BYTES", Datatype::Bytes, None),
];

/// The type of this name.
pub fn named(name: &str) -> Option<Datatype> {
    let mut all = ALL.into_iter();
    all.find(|known| known.0 == name).map(|known| known.1)
}

/// A type's name here; one that this protocol has not keeps its own.
pub fn name(datatype: &Datatype) -> &str {
    match datatype {
        Datatype::Other(name) => name,
        known => ALL
            .iter()
            .find(|row| row.1 == *known)
            .map_or("", |row| row.0),
    }
}

/// Bytes of an element; none for elements of any length.
pub fn size(datatype: &Datatype) -> Option<u64> {
    ALL.iter().find(|row| row.1 == *datatype)?.2
}

/// Whether elements can be written in JSON, and in typed contents.
pub fn has_text(datatype: &Datatype) -> bool {
    !matches!(
        datatype,
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Other(_)
    )
}

/// Elements of a shape. None: a size below 0, or more than can be counted.
pub fn count(shape: &[i64]) -> Option<u64> {
    shape.iter().try_fold(1_u64, |count, size| {
        count.checked_mul(u64::try_from(*size).ok()?)
    })
}

/// Bytes of a raw tensor of elements of a fixed size. None: they have none, or the shape
/// cannot be.
pub fn raw_len(shape: &[i64], datatype: &Datatype) -> Option<u64> {
    count(shape)?.checked_mul(size(datatype)?)
}

/// The member of `InferTensorContents` that has elements of this type.
pub fn contents_field(datatype: &Datatype) -> Option<u32> {
    Some(match datatype {
        Datatype::Boolean => 1,
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => 2,
        Datatype::Int64 => 3,
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => 4,
        Datatype::Uint64 => 5,
        Datatype::Fp32 => 6,
        Datatype::Fp64 => 7,
        Datatype::Bytes => 8,
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Other(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back() {
        for (known, datatype, bytes) in ALL {
            assert_eq!(named(known).as_ref(), Some(&datatype));
            assert_eq!(name(&datatype), known);
            assert_eq!(size(&datatype), bytes);
        }
        assert_eq!(named("fp32"), None, "names have one spelling");
        assert_eq!(name(&Datatype::Other("FP8".to_owned())), "FP8");
    }

    #[test]
    fn lengths_of_shapes_that_cannot_be_are_none() {
        assert_eq!(raw_len(&[], &Datatype::Fp64), Some(8), "a scalar");
        assert_eq!(raw_len(&[3, 0], &Datatype::Fp64), Some(0));
        assert_eq!(raw_len(&[2, 3], &Datatype::Bf16), Some(12));
        assert_eq!(raw_len(&[-1, 3], &Datatype::Fp32), None);
        assert_eq!(raw_len(&[i64::MAX, 2], &Datatype::Fp32), None);
        assert_eq!(raw_len(&[i64::MAX, 4], &Datatype::Int8), None);
        assert_eq!(raw_len(&[1], &Datatype::Bytes), None);
    }
}
