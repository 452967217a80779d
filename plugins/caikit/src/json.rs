//! JSON as the runtime writes its results: a space after `:` and `,`, and nothing but
//! ASCII.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|letter: char| !letter.is_ascii()) {
            out.write_all(&rest.as_bytes()[..at])?;
            let mut letters = rest[at..].chars();
            if let Some(letter) = letters.next() {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            rest = letters.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

/// The JSON of a value.
pub fn write(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut out, Spaced))
        .expect("our own types are JSON");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_like_the_runtimes() {
        let value = serde_json::json!({"a": [1, 2.5, null], "b": {"c": "ü \u{1f600} \"\n"}});
        let text = String::from_utf8(write(&value)).unwrap();
        assert_eq!(
            text,
            r#"{"a": [1, 2.5, null], "b": {"c": "\u00fc \ud83d\ude00 \"\n"}}"#
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
