//! What a request may cost, as far as its body tells: tenants' limits reserve by it before a worker
//! is asked.

use serde_json::Value;

/// Longest JSON that is read as a count, in bytes.
pub const LONGEST: usize = 256;

/// The most that a worker may take a count in JSON for. None: it bounds nothing, as `null` and what
/// is below zero do.
///
/// A body that is passed on is read by servers that differ, and many take a text of digits for a
/// number. What is not understood here counts as the most, so that no way of writing a number gets
/// around a limit; so does what is longer than [`LONGEST`], which is not built to be looked at.
#[must_use]
pub fn at_most(json: &[u8]) -> Option<u32> {
    if json.len() > LONGEST {
        return Some(u32::MAX);
    }
    let read = match serde_json::from_slice(json) {
        Ok(Value::Null) => return None,
        Ok(Value::Number(number)) => number.as_i64().or_else(|| {
            let number = number.as_f64()?;
            // Whole numbers below this are exact.
            (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
        }),
        Ok(Value::String(text)) => text.trim().parse().ok(),
        Ok(_) | Err(_) => None,
    };
    match read {
        Some(..0) => None,
        Some(count) => Some(u32::try_from(count).unwrap_or(u32::MAX)),
        None => Some(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_writing_a_count_makes_it_less() {
        let of = |json: &str| at_most(json.as_bytes());
        for (json, count) in [("7", 7), ("7.0", 7), ("1e3", 1000), ("0", 0)] {
            assert_eq!(of(json), Some(count), "{json}");
        }
        for (json, count) in [(r#""5000""#, 5000), (r#"" +12 ""#, 12)] {
            assert_eq!(of(json), Some(count), "{json}");
        }
        for none in ["null", "-1", "-1.0", r#""-1""#] {
            assert_eq!(of(none), None, "{none}");
        }
        for most in [
            "4294967296",
            "9223372036854775808",
            "99999999999999999999999",
            "1e30",
            "1e999",
            "5.5",
            r#""5.5""#,
            r#""99999999999999999999""#,
            r#""""#,
            "true",
            "[5]",
            r#"{"a":5}"#,
        ] {
            assert_eq!(of(most), Some(u32::MAX), "{most}");
        }
        let zeros = "0".repeat(LONGEST - 3);
        assert_eq!(of(&format!("1.{zeros}")), Some(1));
        assert_eq!(of(&format!("1.{zeros}00")), Some(u32::MAX));
    }
}
