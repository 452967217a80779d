use base64::Engine as _;
use proptest::prelude::*;
use serde_json::Value;

use super::Encoding::{Base64, JsonArray, JsonString, Packed, Plain, Tensor};
use super::*;
use crate::tensor::Datatype;

const NO_LIMIT: usize = 1 << 20;

fn to(bytes: &[u8], from: Encoding, to: Encoding) -> Result<Vec<u8>, ConvertError> {
    let shared = convert_shared(&Bytes::copy_from_slice(bytes), &from, &to, NO_LIMIT);
    let result = convert(bytes, &from, &to, NO_LIMIT);
    assert_eq!(shared, result);
    if let (Ok(out), Some(len)) = (&result, known_len(bytes.len() as u64, &from, &to)) {
        assert_eq!(out.len() as u64, len);
    }
    if let Ok(out) = &result {
        // The bound is exact: one byte less is too little.
        assert!(convert(bytes, &from, &to, out.len()).is_ok());
        if let Some(limit) = out.len().checked_sub(1) {
            let refused = Err(ConvertError::TooLarge { limit });
            assert_eq!(convert(bytes, &from, &to, limit), refused);
        }
    }
    result.map(|bytes| bytes.to_vec())
}

fn text(bytes: &[u8], from: Encoding, to_: Encoding) -> String {
    String::from_utf8(to(bytes, from, to_).unwrap()).unwrap()
}

fn json(text: &str, datatype: Datatype) -> Result<Vec<u8>, ConvertError> {
    to(text.as_bytes(), JsonArray(datatype), Tensor(datatype))
}

#[test]
fn strings() {
    assert_eq!(
        text(br#""a\u00e9\n\ud83d\ude00""#, JsonString, Plain),
        "aé\n😀"
    );
    assert_eq!(
        text("a\"é\u{1}😀".as_bytes(), Plain, JsonString),
        r#""a\"é\u0001😀""#
    );
    let malformed = |offset, message| Err(ConvertError::Malformed { offset, message });
    assert_eq!(
        to(b"", JsonString, Plain),
        malformed(0, "expected a JSON string")
    );
    assert_eq!(
        to(b"abc", JsonString, Plain),
        malformed(0, "expected a JSON string")
    );
    assert_eq!(
        to(b"\"abc", JsonString, Plain),
        malformed(4, "unexpected end")
    );
    assert_eq!(
        to(b"\"a\" ", JsonString, Plain),
        malformed(3, "unexpected bytes after a JSON string")
    );
    assert_eq!(
        to(b"\"a\tb\"", JsonString, Plain),
        malformed(2, "control character in a string")
    );
    assert_eq!(
        to(br#""ab\ud800""#, JsonString, Plain),
        malformed(3, "an escape that is not a character")
    );
    assert_eq!(
        to(b"a\xff", Plain, JsonString),
        Err(ConvertError::NotUtf8 { offset: 1 })
    );
    assert!(to(b"\"\xff\"", JsonString, Plain).is_err());
}

#[test]
fn a_string_without_escapes_is_not_copied() {
    let bytes = Bytes::from_static(b"\"plain\"");
    let plain = convert_shared(&bytes, &JsonString, &Plain, 100).unwrap();
    assert_eq!(plain.as_ptr(), bytes[1..].as_ptr());
}

#[test]
fn base64() {
    assert_eq!(text(b"a?b>", Plain, Base64), "YT9iPg==");
    assert_eq!(text(b"YT9iPg==", Base64, Plain), "a?b>");
    assert_eq!(text(br#""a\n""#, JsonString, Base64), "YQo=");
    assert_eq!(text(b"YQo=", Base64, JsonString), r#""a\n""#);
    // As it may stand inside a JSON string.
    assert_eq!(to(br"\/\/8\u003d", Base64, Plain).unwrap(), [0xff, 0xff]);
    for bad in [
        "YQ", "YQ=", "YR==", "Y Q=", "Y\nQ=", "_-8=", "YQ==YQ==", "=", r"\n",
    ] {
        assert!(to(bad.as_bytes(), Base64, Plain).is_err(), "{bad}");
    }
    assert!(to(b"/w==", Base64, JsonString).is_err());
}

#[test]
fn integers_are_exact_and_in_range() {
    assert_eq!(
        json("[9007199254740993]", Datatype::Int64).unwrap(),
        9_007_199_254_740_993i64.to_le_bytes()
    );
    assert_eq!(
        json("[18446744073709551615]", Datatype::Uint64).unwrap(),
        u64::MAX.to_le_bytes()
    );
    assert_eq!(
        json("[-9223372036854775808]", Datatype::Int64).unwrap(),
        i64::MIN.to_le_bytes()
    );
    assert_eq!(json("[255, 0]", Datatype::Uint8).unwrap(), [255, 0]);
    assert_eq!(json("[-0]", Datatype::Uint8).unwrap(), [0]);
    for (bad, datatype) in [
        ("[0, 256]", Datatype::Uint8),
        ("[0, -1]", Datatype::Uint8),
        ("[0, -129]", Datatype::Int8),
        ("[0, 32768]", Datatype::Int16),
        ("[0, 2147483648]", Datatype::Int32),
        ("[0, 18446744073709551616]", Datatype::Uint64),
        ("[0, -9223372036854775809]", Datatype::Int64),
        ("[0, 1.0]", Datatype::Int32),
        ("[0, 1e2]", Datatype::Int32),
        (
            "[0, 99999999999999999999999999999999999999999999]",
            Datatype::Int64,
        ),
    ] {
        assert_eq!(
            json(bad, datatype),
            Err(ConvertError::Range { index: 1, datatype }),
            "{bad}"
        );
    }
}

#[test]
fn floats_are_rounded_once() {
    let f32_of = |text: &str| {
        json(text, Datatype::Fp32).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
    };
    assert_eq!(f32_of("[0.1]"), Ok(0.1));
    assert_eq!(f32_of("[-0.0]").unwrap().to_bits(), (-0.0f32).to_bits());
    assert_eq!(f32_of("[3]"), Ok(3.0));
    // Halfway between two floats, as seen by way of a double: rounding twice would err.
    assert_eq!(f32_of("[1.00000017881393432617187499]"), Ok(1.000_000_1));
    assert_eq!(f32_of("[1e-60]"), Ok(0.0));
    assert_eq!(
        f32_of("[1e39]"),
        Err(ConvertError::Range {
            index: 0,
            datatype: Datatype::Fp32
        })
    );
    assert!(json("[1e400]", Datatype::Fp64).is_err());
    for bad in [
        "[NaN]",
        "[Infinity]",
        "[\"1\"]",
        "[null]",
        "[true]",
        "[01]",
        "[1.]",
        "[.1]",
    ] {
        assert!(json(bad, Datatype::Fp32).is_err(), "{bad}");
    }
    let nan: Vec<u8> = [1.0, f32::NAN]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    assert_eq!(
        to(&nan, Tensor(Datatype::Fp32), JsonArray(Datatype::Fp32)),
        Err(ConvertError::NotFinite { index: 1 })
    );
    let inf = f64::INFINITY.to_le_bytes();
    assert_eq!(
        to(&inf, Packed(Datatype::Fp64), JsonArray(Datatype::Fp64)),
        Err(ConvertError::NotFinite { index: 0 })
    );
    assert_eq!(
        text(
            &0.1f32.to_le_bytes(),
            Tensor(Datatype::Fp32),
            JsonArray(Datatype::Fp32)
        ),
        "[0.1]"
    );
}

#[test]
fn booleans_and_strings() {
    assert_eq!(
        json("[true, [false]]", Datatype::Boolean).map_err(drop),
        Err(())
    );
    assert_eq!(
        json("[[true], [false]]", Datatype::Boolean).unwrap(),
        [1, 0]
    );
    assert_eq!(
        text(
            &[1, 0],
            Tensor(Datatype::Boolean),
            JsonArray(Datatype::Boolean)
        ),
        "[true,false]"
    );
    assert!(json("[1]", Datatype::Boolean).is_err());
    assert!(json("[truex]", Datatype::Boolean).is_err());
    assert_eq!(
        to(
            &[0, 2],
            Tensor(Datatype::Boolean),
            JsonArray(Datatype::Boolean)
        ),
        Err(ConvertError::Range {
            index: 1,
            datatype: Datatype::Boolean
        })
    );
    let tensor = b"\x02\0\0\0\xc3\xa9\0\0\0\0\x01\0\0\0\"";
    assert_eq!(
        json(r#"["\u00e9","","\""]"#, Datatype::Bytes).unwrap(),
        tensor
    );
    assert_eq!(
        text(tensor, Tensor(Datatype::Bytes), JsonArray(Datatype::Bytes)),
        r#"["é","","\""]"#
    );
    for bad in [
        &b"\x02\0\0"[..],
        b"\x02\0\0\0a",
        b"\x01\0\0\0\xff",
        b"\xff\xff\xff\xffa",
    ] {
        assert!(to(bad, Tensor(Datatype::Bytes), JsonArray(Datatype::Bytes)).is_err());
    }
    for bad in [r#"["\ud800"]"#, "[1]", r#"["a]"#] {
        assert!(json(bad, Datatype::Bytes).is_err(), "{bad}");
    }
}

#[test]
fn arrays_are_flattened_when_every_level_has_one_length() {
    let bytes = |text: &str| json(text, Datatype::Uint8);
    assert_eq!(bytes(" [ [ [1,2] , [3,4] ] ] "), Ok(vec![1, 2, 3, 4]));
    assert_eq!(bytes("[]"), Ok(vec![]));
    assert_eq!(bytes("[[],[]]"), Ok(vec![]));
    for bad in [
        "[[1,2],[3]]",
        "[1,[2]]",
        "[[1],2]",
        "[[1],[[2]]]",
        "[[[1]],[2]]",
        "[[],[1]]",
        "[[1],[]]",
        "[[[1],[2]],[[3]]]",
        // What is empty has a level too.
        "[[[]],[1]]",
        "[[[]],[[[]]]]",
        "[[],[[]]]",
        "1",
        "",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1]]",
        "[1] x",
        "{}",
        "[[1]}",
    ] {
        assert!(bytes(bad).is_err(), "{bad}");
    }
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(bytes(&nested(128)), Ok(vec![1]));
    assert!(bytes(&nested(129)).is_err());
}

#[test]
fn packed_scalars() {
    let minus = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    assert_eq!(
        to(&[255], Tensor(Datatype::Int8), Packed(Datatype::Int8)).unwrap(),
        minus
    );
    assert_eq!(
        to(&minus, Packed(Datatype::Int8), Tensor(Datatype::Int8)).unwrap(),
        [255]
    );
    // A 32-bit minus one, as some write it: cut to 32 bits, as protocol buffers say.
    let short = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(
        to(&short, Packed(Datatype::Int16), Tensor(Datatype::Int16)).unwrap(),
        [255, 255]
    );
    assert_eq!(
        text(
            &[0xac, 2, 3],
            Packed(Datatype::Uint16),
            JsonArray(Datatype::Uint16)
        ),
        "[300,3]"
    );
    assert_eq!(
        to(
            b"[300,3]",
            JsonArray(Datatype::Uint64),
            Packed(Datatype::Uint64)
        )
        .unwrap(),
        [0xac, 2, 3]
    );
    assert!(to(&[0xac, 2], Packed(Datatype::Uint8), Tensor(Datatype::Uint8)).is_err());
    for bad in [
        &[0x80][..],
        &[0xff; 11],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
    ] {
        assert!(to(bad, Packed(Datatype::Uint64), Tensor(Datatype::Uint64)).is_err());
    }
    assert_eq!(
        to(
            &[5, 0],
            Packed(Datatype::Boolean),
            Tensor(Datatype::Boolean)
        )
        .unwrap(),
        [1, 0]
    );
}

#[test]
fn a_tensor_seen_as_bytes() {
    let tensor: Vec<u8> = [0.5f32, -2.0]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect();
    let base64 = STANDARD.encode(&tensor);
    assert_eq!(text(b"[0.5,-2]", JsonArray(Datatype::Fp32), Base64), base64);
    assert_eq!(
        text(base64.as_bytes(), Base64, JsonArray(Datatype::Fp32)),
        "[0.5,-2.0]"
    );
    assert_eq!(
        to(b"[0.5,-2]", JsonArray(Datatype::Fp32), Plain).unwrap(),
        tensor
    );
    assert_eq!(to(&tensor, Plain, Tensor(Datatype::Fp32)).unwrap(), tensor);
}

#[test]
fn what_has_no_form_is_refused() {
    let unsupported = |from, into| {
        assert!(matches!(
            to(b"[1]", from, into),
            Err(ConvertError::Unsupported { .. })
        ))
    };
    for datatype in [Datatype::Fp16, Datatype::Bf16] {
        unsupported(JsonArray(datatype), Tensor(datatype));
        unsupported(Tensor(datatype), JsonArray(datatype));
        unsupported(Packed(datatype), Tensor(datatype));
        unsupported(JsonArray(datatype), Packed(datatype));
    }
    unsupported(Packed(Datatype::Bytes), Tensor(Datatype::Bytes));
    unsupported(JsonArray(Datatype::Fp32), Tensor(Datatype::Fp64));
    unsupported(JsonString, Tensor(Datatype::Fp32));
    unsupported(Tensor(Datatype::Fp32), JsonString);
    assert!(to(&[0; 3], Tensor(Datatype::Int16), JsonArray(Datatype::Int16)).is_err());
}

#[test]
fn every_pair_of_encodings_converts_or_says_why_not() {
    let mut encodings = vec![Plain, JsonString, Base64];
    for datatype in Datatype::ALL {
        encodings.extend([JsonArray(datatype), Tensor(datatype), Packed(datatype)]);
    }
    for from in &encodings {
        for into in &encodings {
            for bytes in [&b""[..], b"[]", b"\"\"", b"AAAA", b"[[[", &[0xff; 9]] {
                let _ = to(bytes, *from, *into);
            }
            if from == into {
                assert_eq!(to(b"any\xff", *from, *into).unwrap(), b"any\xff");
            }
        }
    }
}

/// Small arrays of arrays of numbers, often of one shape.
fn nested() -> impl Strategy<Value = Value> {
    any::<u8>()
        .prop_map(Value::from)
        .prop_recursive(4, 24, 3, |inner| {
            let uneven = proptest::collection::vec(inner.clone(), 0..4);
            let even = (inner, 0..4usize).prop_map(|(value, len)| vec![value; len]);
            prop_oneof![uneven, even].prop_map(Value::from)
        })
}

proptest! {
    #[test]
    fn strings_and_base64_against_their_oracles(string in "\\PC{0,60}|[\\x00-\\x7f]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let quoted = serde_json::to_vec(&string).unwrap();
        prop_assert_eq!(&to(string.as_bytes(), Plain, JsonString).unwrap(), &quoted);
        prop_assert_eq!(to(&quoted, JsonString, Plain).unwrap(), string.as_bytes());
        let encoded = STANDARD.encode(&bytes);
        prop_assert_eq!(&to(&bytes, Plain, Base64).unwrap(), encoded.as_bytes());
        prop_assert_eq!(to(encoded.as_bytes(), Base64, Plain).unwrap(), bytes);
    }

    #[test]
    fn tensors_come_back_from_every_form(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        for datatype in Datatype::ALL {
            let Some(size) = datatype.size() else { continue };
            let mut tensor: Vec<u8> = bytes.iter().cycle().take(bytes.len() * size).copied().collect();
            if datatype == Datatype::Boolean {
                tensor.iter_mut().for_each(|byte| *byte &= 1);
            }
            for form in [JsonArray(datatype), Packed(datatype)] {
                match to(&tensor, Tensor(datatype), form) {
                    Ok(written) => {
                        prop_assert_eq!(&to(&written, form, Tensor(datatype)).unwrap(), &tensor);
                        if let JsonArray(_) = form {
                            prop_assert!(serde_json::from_slice::<Vec<Value>>(&written).is_ok());
                        }
                    }
                    Err(ConvertError::NotFinite { .. }) => {}
                    Err(error) => prop_assert!(matches!(error, ConvertError::Unsupported { .. }), "{}", error),
                }
            }
        }
    }

    #[test]
    fn numbers_are_read_as_serde_json_reads_them(numbers in proptest::collection::vec(any::<f64>(), 0..10), width in 1usize..4) {
        let rows: Vec<&[f64]> = numbers.chunks_exact(width).collect();
        let text = serde_json::to_vec(&rows).unwrap();
        let expected: Vec<u8> = rows.iter().flat_map(|row| row.iter()).flat_map(|n| n.to_le_bytes()).collect();
        prop_assert_eq!(to(&text, JsonArray(Datatype::Fp64), Tensor(Datatype::Fp64)).unwrap(), expected);
    }

    /// Any nesting: taken when every level has one length, by a plain recursion's reading.
    #[test]
    fn arrays_of_any_shape_are_judged_as_a_plain_reading_judges(value in nested()) {
        fn read(value: &Value, out: &mut Vec<u8>) -> Option<Vec<usize>> {
            let Value::Array(values) = value else {
                out.push(value.as_u64()? as u8);
                return Some(Vec::new());
            };
            let shapes: Vec<_> = values.iter().map(|value| read(value, out)).collect::<Option<_>>()?;
            let same = shapes.windows(2).all(|pair| pair[0] == pair[1]);
            let inner = shapes.first().cloned().unwrap_or_default();
            same.then(|| [vec![values.len()], inner].concat())
        }
        let mut out = Vec::new();
        let expected = read(&value, &mut out).filter(|shape| !shape.is_empty()).map(|_| out);
        prop_assert_eq!(json(&value.to_string(), Datatype::Uint8).ok(), expected);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), array in "[\\[\\], 0-9.eE\"-]{0,40}") {
        for datatype in Datatype::ALL {
            for form in [JsonArray(datatype), Packed(datatype), Base64] {
                let _ = to(&bytes, form, Tensor(datatype));
                let _ = to(array.as_bytes(), form, Tensor(datatype));
                let _ = to(&bytes, Tensor(datatype), form);
            }
        }
    }
}

/// Two steps, of which the first has a wider bound: what is told is the one that was given.
#[test]
fn the_bound_that_is_told_is_the_one_that_was_given() {
    for datatype in [Datatype::Uint64, Datatype::Int64, Datatype::Fp64] {
        let (array, packed) = (JsonArray(datatype), Packed(datatype));
        let there = to(b"[11,5]", array, packed).unwrap();
        assert!(to(&there, packed, array).is_ok());
        for limit in 0..=1 {
            let refused = Err(ConvertError::TooLarge { limit });
            assert_eq!(convert(b"[11,5]", &array, &packed, limit), refused);
            assert_eq!(convert(&there, &packed, &array, limit), refused);
        }
    }
}
