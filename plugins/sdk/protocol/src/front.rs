//! The front of a JSON object that is sent on: where members are written that it has not.
//!
//! ```
//! use tollgate_sdk_protocol::{front::Front, testing::Memory};
//!
//! let body = br#" { "prompt": "a"}"#;
//! let front = Front::of(&Memory::default().with(0, body), body.len() as u64);
//! let edit = front.write(&[br#""model":"m""#.to_vec()]);
//! assert_eq!((edit.offset, edit.len), (2, 0));
//! assert_eq!(Memory::default().render(&edit.replacement), br#""model":"m","#);
//! ```

use crate::{Bytes, frontend::Edit, types::Segment};

/// Bytes that are looked at together.
const PIECE: u64 = 256;

/// The place past an object's opening brace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Front {
    offset: u64,
    /// The object has no member.
    empty: bool,
}

impl Front {
    /// Of the object that is the whole of source 0, of `len` bytes, as the host has found.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn of(bytes: &dyn Bytes, len: u64) -> Self {
        let (brace, _) = next(bytes, 0, len);
        let (_, first) = next(bytes, brace + 1, len);
        Self {
            offset: brace + 1,
            empty: first == b'}',
        }
    }

    /// The edit that writes these members there, each a name in quotes, a colon, and a value. At
    /// least one.
    #[must_use]
    pub fn write(&self, members: &[Vec<u8>]) -> Edit {
        let mut written = members.join(&b',');
        // Nothing follows what is written into an empty object.
        if !self.empty {
            written.push(b',');
        }
        Edit {
            offset: self.offset,
            len: 0,
            replacement: vec![Segment::Inline(written)],
        }
    }
}

/// The first byte from here that is no white space (RFC 8259, section 2), and where it stands.
fn next(bytes: &dyn Bytes, mut from: u64, len: u64) -> (u64, u8) {
    while from < len {
        let piece = bytes.read_all(0, from, (len - from).min(PIECE));
        let found = piece.iter().position(|byte| !b" \t\r\n".contains(byte));
        if let Some(at) = found {
            return (from + at as u64, piece[at]);
        }
        assert!(!piece.is_empty(), "what the host looked at is held");
        from += piece.len() as u64;
    }
    unreachable!("the host found an object here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Memory;

    #[test]
    fn what_is_written_leaves_an_object_with_all_that_it_had() {
        let wide = format!("{{{}}}", " ".repeat(PIECE as usize));
        let bodies = [
            r#"{}"#,
            " \r\n{\t}\n",
            r#"{"a": 1}"#,
            "\n{ \"a\":{}}",
            &wide,
        ];
        for body in bodies {
            let memory = Memory::default().with(0, body);
            let edit = Front::of(&memory, body.len() as u64)
                .write(&[br#""b":2"#.to_vec(), br#""c":[]"#.to_vec()]);
            let at = edit.offset as usize;
            let written = memory.render(&edit.replacement);
            let now = [&body.as_bytes()[..at], &written, &body.as_bytes()[at..]].concat();
            let now: serde_json::Value = serde_json::from_slice(&now).expect("an object");
            let mut expected: serde_json::Value = serde_json::from_str(body).unwrap();
            expected["b"] = 2.into();
            expected["c"] = serde_json::json!([]);
            assert_eq!(now, expected);
        }
    }
}
