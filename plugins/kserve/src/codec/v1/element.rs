//! One element: read from JSON as little-endian bytes, and written back.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use tollgate_sdk_protocol::types::Datatype;

use super::scan::{Kind, Scan};
use crate::datatype;

/// Bits of the exponent and of the fraction of the halves.
const FP16: (u32, u32) = (5, 10);
const BF16: (u32, u32) = (8, 7);

/// Reads the element that comes, and puts it behind the others.
///
/// # Errors
/// It is no value of the datatype.
pub fn put(scan: &mut Scan<'_>, datatype: &Datatype, out: &mut Vec<u8>) -> Result<(), String> {
    let name = datatype::name(datatype);
    if *datatype == Datatype::Bytes {
        let element = match scan.kind()? {
            Kind::Text => scan.text()?.into_bytes(),
            Kind::Object => scan
                .base64()?
                .ok_or("an object that is not {\"b64\": …} is no value of BYTES")?,
            _ => return Err("a value of BYTES is a string or {\"b64\": …}".to_owned()),
        };
        let len = u32::try_from(element.len()).map_err(|_| "it is too long".to_owned())?;
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&element);
        return Ok(());
    }
    let written = match scan.kind()? {
        Kind::Bare => scan.bare()?,
        Kind::Text => return Err(format!("a string is no value of {name}")),
        Kind::Object => return Err(format!("an object is no value of {name}")),
        Kind::List => return Err(format!("a list is no value of {name}")),
    };
    let wrong = || format!("{written} is not a value of {name}");
    let is_number = written.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if !is_number && *datatype != Datatype::Boolean {
        return Err(wrong());
    }
    macro_rules! fit {
        ($type:ty) => {
            out.extend_from_slice(&written.parse::<$type>().map_err(|_| wrong())?.to_le_bytes())
        };
    }
    macro_rules! finite {
        ($type:ty) => {{
            let value = written.parse::<$type>().map_err(|_| wrong())?;
            if !value.is_finite() {
                return Err(wrong());
            }
            out.extend_from_slice(&value.to_le_bytes());
        }};
    }
    match datatype {
        Datatype::Boolean => match written {
            "true" => out.push(1),
            "false" => out.push(0),
            _ => return Err(wrong()),
        },
        Datatype::Int8 => fit!(i8),
        Datatype::Int16 => fit!(i16),
        Datatype::Int32 => fit!(i32),
        Datatype::Int64 => fit!(i64),
        Datatype::Uint8 => fit!(u8),
        Datatype::Uint16 => fit!(u16),
        Datatype::Uint32 => fit!(u32),
        Datatype::Uint64 => fit!(u64),
        Datatype::Fp32 => finite!(f32),
        Datatype::Fp64 => finite!(f64),
        Datatype::Fp16 | Datatype::Bf16 => {
            let value: f64 = written.parse().map_err(|_| wrong())?;
            let form = if *datatype == Datatype::Fp16 {
                FP16
            } else {
                BF16
            };
            let half = narrow(value, form).ok_or_else(wrong)?;
            out.extend_from_slice(&half.to_le_bytes());
        }
        _ => return Err(format!("{name} has no form in JSON")),
    }
    Ok(())
}

/// Writes the first element of some bytes, and gives those behind it.
///
/// # Errors
/// JSON cannot carry it, or the bytes end within it.
pub fn tell<'a>(raw: &'a [u8], datatype: &Datatype, out: &mut Vec<u8>) -> Result<&'a [u8], String> {
    let short = || "its elements end too early".to_owned();
    let size = match datatype::size(datatype) {
        Some(size) => usize::try_from(size).map_err(|_| short())?,
        None if *datatype == Datatype::Bytes => {
            let (len, rest) = raw.split_first_chunk::<4>().ok_or_else(short)?;
            let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| short())?;
            let (element, rest) = rest.split_at_checked(len).ok_or_else(short)?;
            let value = match std::str::from_utf8(element) {
                Ok(text) => json!(text),
                Err(_) => json!({ "b64": STANDARD.encode(element) }),
            };
            out.extend_from_slice(value.to_string().as_bytes());
            return Ok(rest);
        }
        None => {
            let name = datatype::name(datatype);
            return Err(format!("{name} has no form in JSON"));
        }
    };
    let (element, rest) = raw.split_at_checked(size).ok_or_else(short)?;
    macro_rules! of {
        ($type:ty) => {
            <$type>::from_le_bytes(element.try_into().map_err(|_| short())?)
        };
    }
    let unsaid = || "is NaN or infinite, which JSON cannot carry".to_owned();
    let single = |value: f32| {
        let text = value.is_finite().then(|| serde_json::to_string(&value));
        text.and_then(Result::ok).ok_or_else(unsaid)
    };
    let text = match datatype {
        Datatype::Boolean => (element[0] != 0).to_string(),
        Datatype::Int8 => of!(i8).to_string(),
        Datatype::Int16 => of!(i16).to_string(),
        Datatype::Int32 => of!(i32).to_string(),
        Datatype::Int64 => of!(i64).to_string(),
        Datatype::Uint8 => of!(u8).to_string(),
        Datatype::Uint16 => of!(u16).to_string(),
        Datatype::Uint32 => of!(u32).to_string(),
        Datatype::Uint64 => of!(u64).to_string(),
        // Straight from 32 bits: the shortest digits, not those of a double.
        Datatype::Fp32 => single(of!(f32))?,
        Datatype::Fp64 => {
            let value = of!(f64);
            let text = value.is_finite().then(|| serde_json::to_string(&value));
            text.and_then(Result::ok).ok_or_else(unsaid)?
        }
        Datatype::Fp16 => single(widen(of!(u16), FP16))?,
        Datatype::Bf16 => single(widen(of!(u16), BF16))?,
        _ => return Err(format!("{} has no form in JSON", datatype::name(datatype))),
    };
    out.extend_from_slice(text.as_bytes());
    Ok(rest)
}

/// The nearest half; of two as near the even one. None: it would be infinite.
fn narrow(value: f64, (exponent, fraction): (u32, u32)) -> Option<u16> {
    if !value.is_finite() {
        return None;
    }
    let bias = (1_i32 << (exponent - 1)) - 1;
    let sign = u32::from(value.is_sign_negative()) << (exponent + fraction);
    let bits = value.to_bits();
    let own = ((bits >> 52) & 0x7ff) as i32 - 1023;
    // Below the smallest normal one the steps stay as they are.
    let scale = own.max(1 - bias);
    // A power of two: nothing is lost before the one rounding.
    let steps = value.abs() * 2_f64.powi(fraction as i32 - scale);
    let steps = steps.round_ties_even() as u32;
    let hidden = 1_u32 << fraction;
    let magnitude = if steps < hidden {
        steps
    } else {
        // A carry goes into the exponent by itself.
        (((scale + bias) as u32) << fraction) + (steps - hidden)
    };
    let infinite = ((1_u32 << exponent) - 1) << fraction;
    let half = u16::try_from(sign | magnitude).ok()?;
    (magnitude < infinite).then_some(half)
}

/// A half as a single, which has all of them.
fn widen(half: u16, (exponent, fraction): (u32, u32)) -> f32 {
    let bias = (1_i32 << (exponent - 1)) - 1;
    let bits = u32::from(half);
    let own = (bits >> fraction) & ((1 << exponent) - 1);
    let part = bits & ((1 << fraction) - 1);
    let magnitude = match own {
        0 => f64::from(part) * 2_f64.powi(1 - bias - fraction as i32),
        own if own == (1 << exponent) - 1 && part == 0 => f64::INFINITY,
        own if own == (1 << exponent) - 1 => f64::NAN,
        own => f64::from(part + (1 << fraction)) * 2_f64.powi(own as i32 - bias - fraction as i32),
    };
    let negative = bits >> (exponent + fraction) != 0;
    (if negative { -magnitude } else { magnitude }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, datatype: &Datatype) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        put(&mut Scan::new(text.as_bytes()), datatype, &mut out)?;
        Ok(out)
    }

    fn written(raw: &[u8], datatype: &Datatype) -> Result<String, String> {
        let mut out = Vec::new();
        assert!(tell(raw, datatype, &mut out)?.is_empty());
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_half_comes_back() {
        for datatype in [Datatype::Fp16, Datatype::Bf16] {
            for half in 0..=u16::MAX {
                let raw = half.to_le_bytes();
                match written(&raw, &datatype) {
                    Ok(text) => assert_eq!(read(&text, &datatype).unwrap(), raw, "{text}"),
                    Err(what) => assert!(what.contains("NaN"), "{what}"),
                }
            }
        }
    }

    #[test]
    fn halves_are_the_nearest() {
        let half = |text: &str| read(text, &Datatype::Fp16).map(|raw| raw[0..2].to_vec());
        for (text, bits) in [
            ("1", 0x3c00_u16),
            ("-2", 0xc000),
            ("0.1", 0x2e66),
            ("65504", 0x7bff),
            ("65519.9", 0x7bff),
            // Ties go to the even one.
            ("2049", 0x6800),
            ("2051", 0x6802),
            ("6e-8", 0x0001),
            ("1e-9", 0x0000),
            ("1e-400", 0x0000),
        ] {
            assert_eq!(half(text).unwrap(), bits.to_le_bytes(), "{text}");
        }
        assert!(half("65520").is_err() && half("1e400").is_err());
        let brain = read("3.140625", &Datatype::Bf16).unwrap();
        assert_eq!(brain, 0x4049_u16.to_le_bytes());
    }

    #[test]
    fn integers_are_exact_and_in_range() {
        let large = i64::MAX.to_string();
        assert_eq!(
            read(&large, &Datatype::Int64).unwrap(),
            i64::MAX.to_le_bytes()
        );
        let text = written(&u64::MAX.to_le_bytes(), &Datatype::Uint64).unwrap();
        assert_eq!(text, u64::MAX.to_string());
        for (text, datatype) in [
            ("128", Datatype::Int8),
            ("-1", Datatype::Uint64),
            ("1.5", Datatype::Int64),
            ("9223372036854775808", Datatype::Int64),
            ("true", Datatype::Int8),
            ("1", Datatype::Boolean),
            ("null", Datatype::Fp32),
            ("1e39", Datatype::Fp32),
            ("1e309", Datatype::Fp64),
            ("\"1\"", Datatype::Fp32),
            ("1", Datatype::Bytes),
            ("{\"b64\":\"?\"}", Datatype::Bytes),
            ("{\"b65\":\"aa==\"}", Datatype::Bytes),
        ] {
            assert!(read(text, &datatype).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let raw = b"\x02\0\0\0\xff\xfe";
        let text = written(raw, &Datatype::Bytes).unwrap();
        assert_eq!(text, r#"{"b64":"//4="}"#);
        assert_eq!(read(&text, &Datatype::Bytes).unwrap(), raw);
        assert!(written(&f32::NAN.to_le_bytes(), &Datatype::Fp32).is_err());
        assert!(written(&f64::NEG_INFINITY.to_le_bytes(), &Datatype::Fp64).is_err());
        assert!(written(&0x7c00_u16.to_le_bytes(), &Datatype::Fp16).is_err());
    }
}
