//! One element: read from JSON as little-endian bytes, and written back.

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::json;
use tollgate_sdk_protocol::types::Datatype;

use super::{
    Problem,
    scan::{Kind, Scan},
    shown,
};
use crate::datatype;

/// Bits of the exponent and of the fraction of the halves.
const FP16: (u32, u32) = (5, 10);
const BF16: (u32, u32) = (8, 7);

/// Reads the element that comes, and puts it behind the others.
///
/// # Errors
/// It is no value of the datatype.
pub fn put(scan: &mut Scan<'_>, datatype: &Datatype, out: &mut Vec<u8>) -> Result<(), Problem> {
    let unfit = |what: &str| Problem::Unfit(what.to_owned());
    if *datatype == Datatype::Bytes {
        let element = match scan.kind()? {
            Kind::Text => scan.text()?.into_bytes(),
            Kind::Object => scan
                .base64()?
                .ok_or_else(|| unfit("an object that is not {\"b64\": …} is no value of BYTES"))?,
            _ => return Err(unfit("a value of BYTES is a string or {\"b64\": …}")),
        };
        let len = u32::try_from(element.len()).map_err(|_| unfit("it is too long"))?;
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&element);
        return Ok(());
    }
    let no_value = |what: &str| {
        let name = datatype::name(datatype);
        Problem::Unfit(format!("{what} is no value of {name}"))
    };
    let written = match scan.kind()? {
        Kind::Bare => scan.bare()?,
        Kind::Text => return Err(no_value("a string")),
        Kind::Object => return Err(no_value("an object")),
        Kind::List => return Err(no_value("a list")),
    };
    let wrong = || {
        let (written, name) = (shown(written), datatype::name(datatype));
        Problem::Unfit(format!("{written} is not a value of {name}"))
    };
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
            let value: $type = nearest(written, scan)?.ok_or_else(wrong)?;
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
            let value: f64 = nearest(written, scan)?.ok_or_else(wrong)?;
            let form = if *datatype == Datatype::Fp16 {
                FP16
            } else {
                BF16
            };
            let half = narrow(value, form).ok_or_else(wrong)?;
            out.extend_from_slice(&half.to_le_bytes());
        }
        _ => return Err(no_form(datatype)),
    }
    Ok(())
}

/// Digits of which a number is read at once, in any range: they fit 64 bits.
const DIGITS: usize = 19;

/// The nearest number of a type; none: it is no number.
///
/// One with more digits lies between two that have as many as are read at once, and mostly the same
/// is the nearest to both. Where it is not, all of its digits have to be looked at: that takes a
/// thousand times as long, and can be had in as few bytes, so that only some numbers of a text may
/// need it.
fn nearest<T: FromStr + PartialEq>(
    written: &str,
    scan: &mut Scan<'_>,
) -> Result<Option<T>, Problem> {
    if written.len() > DIGITS
        && let Some((below, above)) = between(written)
    {
        let (below, above) = (below.parse::<T>().ok(), above.parse::<T>().ok());
        if below == above {
            return Ok(below);
        }
        if !scan.look_closer() {
            let what = format!("it has too many numbers of more than {DIGITS} digits");
            return Err(Problem::Unfit(what));
        }
    }
    Ok(written.parse().ok())
}

/// A number cut to its first digits, and the next one of as many, or the same if nothing was cut but
/// zeros. None: it has no more, or is none.
fn between(written: &str) -> Option<(String, String)> {
    let (sign, rest) = match written.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", written),
    };
    let (digits, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (mut value, mut count, mut scale, mut fraction) = (0_u64, 0, 0_i64, false);
    let mut more = false;
    for byte in digits.bytes() {
        match byte {
            b'.' if !fraction => fraction = true,
            b'0'..=b'9' if count < DIGITS => {
                value = value * 10 + u64::from(byte - b'0');
                count += usize::from(value > 0);
                scale -= i64::from(fraction);
            }
            b'0'..=b'9' => {
                count += 1;
                scale += i64::from(!fraction);
                more |= byte != b'0';
            }
            _ => return None,
        }
    }
    // One that is longer than a number of 64 bits is beyond every range, or is zero.
    let scale = scale.checked_add(exponent.parse().ok()?)?;
    let cut = |value: u64| format!("{sign}{value}e{scale}");
    (count > DIGITS).then(|| (cut(value), cut(value + u64::from(more))))
}

fn no_form(datatype: &Datatype) -> Problem {
    let name = shown(datatype::name(datatype));
    Problem::Unfit(format!("{name} has no form in JSON"))
}

/// Writes the first element of some bytes, and gives those behind it. None: it is longer than there
/// is room for.
///
/// # Errors
/// JSON cannot carry it, or the bytes end within it.
pub fn tell<'a>(
    raw: &'a [u8],
    datatype: &Datatype,
    room: usize,
    out: &mut Vec<u8>,
) -> Result<Option<&'a [u8]>, Problem> {
    let short = || Problem::Unfit("its elements end too early".to_owned());
    macro_rules! next {
        ($type:ty) => {{
            let (element, rest) = raw.split_first_chunk().ok_or_else(short)?;
            (<$type>::from_le_bytes(*element), rest)
        }};
    }
    macro_rules! integer {
        ($type:ty) => {{
            let (value, rest) = next!($type);
            write(&value, out)?;
            rest
        }};
    }
    let single = |value: f32, out: &mut Vec<u8>| match value.is_finite() {
        // Straight from 32 bits: the shortest digits, not those of a double.
        true => write(&value, out),
        false => Err(unsaid()),
    };
    Ok(Some(match datatype {
        Datatype::Bytes => {
            let (len, rest) = next!(u32);
            let len = usize::try_from(len).map_err(|_| short())?;
            let (element, rest) = rest.split_at_checked(len).ok_or_else(short)?;
            if len > room {
                return Ok(None);
            }
            match std::str::from_utf8(element) {
                Ok(text) => write(text, out)?,
                Err(_) => write(&json!({ "b64": STANDARD.encode(element) }), out)?,
            }
            rest
        }
        Datatype::Boolean => {
            let (value, rest) = next!(u8);
            write(&(value != 0), out)?;
            rest
        }
        Datatype::Int8 => integer!(i8),
        Datatype::Int16 => integer!(i16),
        Datatype::Int32 => integer!(i32),
        Datatype::Int64 => integer!(i64),
        Datatype::Uint8 => integer!(u8),
        Datatype::Uint16 => integer!(u16),
        Datatype::Uint32 => integer!(u32),
        Datatype::Uint64 => integer!(u64),
        Datatype::Fp32 => {
            let (value, rest) = next!(f32);
            single(value, out)?;
            rest
        }
        Datatype::Fp64 => {
            let (value, rest) = next!(f64);
            match value.is_finite() {
                true => write(&value, out)?,
                false => return Err(unsaid()),
            }
            rest
        }
        Datatype::Fp16 | Datatype::Bf16 => {
            let (half, rest) = next!(u16);
            let form = if *datatype == Datatype::Fp16 {
                FP16
            } else {
                BF16
            };
            single(widen(half, form), out)?;
            rest
        }
        Datatype::Other(_) => return Err(no_form(datatype)),
    }))
}

/// Writes a value without a text of its own on the way: there may be a million of them.
fn write(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) -> Result<(), Problem> {
    serde_json::to_writer(out, value).map_err(|error| Problem::Unfit(error.to_string()))
}

fn unsaid() -> Problem {
    Problem::Unfit("is NaN or infinite, which JSON cannot carry".to_owned())
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

    fn read(text: &str, datatype: &Datatype) -> Result<Vec<u8>, Problem> {
        let mut out = Vec::new();
        put(&mut Scan::new(text.as_bytes()), datatype, &mut out)?;
        Ok(out)
    }

    fn written(raw: &[u8], datatype: &Datatype) -> Result<String, Problem> {
        let mut out = Vec::new();
        assert_eq!(tell(raw, datatype, 100, &mut out)?, Some(&[][..]));
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_half_comes_back() {
        for datatype in [Datatype::Fp16, Datatype::Bf16] {
            for half in 0..=u16::MAX {
                let raw = half.to_le_bytes();
                match written(&raw, &datatype) {
                    Ok(text) => assert_eq!(read(&text, &datatype).unwrap(), raw, "{text}"),
                    Err(what) => assert_eq!(what, unsaid()),
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
    fn long_numbers_are_the_nearest_too() {
        for text in [
            "0.1000000000000000055511151231257827",
            // Half between two doubles, and beside it.
            "9007199254740993.0000000000000000000",
            "9007199254740993.0000000000000000001",
            "-9007199254740992.9999999999999999999",
            "2.47032822920623272088284396434110686182e-324",
            "2.47032822920623272088284396434110686183e-324",
            "12345678901234567890123456789012345678901234567890",
            "0.00000000000000000000000000000000000012345678901234567890123e+30",
            "1.79769313486231570814527423731704356798070e308",
        ] {
            let exact: f64 = text.parse().unwrap();
            assert_eq!(read(text, &Datatype::Fp64).unwrap(), exact.to_le_bytes());
            let single: f32 = text.parse().unwrap();
            if single.is_finite() {
                assert_eq!(read(text, &Datatype::Fp32).unwrap(), single.to_le_bytes());
            }
        }
        for text in ["1.2.34567890123456789012", "1234567890123456789012-3"] {
            assert!(read(text, &Datatype::Fp64).is_err());
        }
        // Exact halves are found at once where nothing but zeros follows.
        let zeros = "9007199254740993.0000000000000000000 ".repeat(1000);
        let mut scan = Scan::new(zeros.as_bytes());
        let mut out = Vec::new();
        (0..1000).for_each(|_| put(&mut scan, &Datatype::Fp64, &mut out).unwrap());
        // A text of nothing but the slowest ones is refused.
        let slow = "2.47032822920623272088284396434110686182e-324 ".repeat(1000);
        let mut scan = Scan::new(slow.as_bytes());
        let mut out = Vec::new();
        let read = (0..1000).find_map(|_| put(&mut scan, &Datatype::Fp64, &mut out).err());
        assert!(read.unwrap().to_string().contains("too many numbers"));
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

    /// An error repeats what it is about, and not a whole body.
    #[test]
    fn a_long_number_is_cut_in_its_error() {
        for text in ["1".repeat(1 << 20), "9".repeat(1 << 20) + "x"] {
            let problem = read(&text, &Datatype::Int64).unwrap_err().to_string();
            assert!(problem.contains("INT64") && problem.len() < 200);
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
