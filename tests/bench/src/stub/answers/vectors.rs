//! The vectors of texts, as each protocol writes them.

use serde_json::Value;

use crate::known::{self, DIMENSIONS};

/// Every vector that there is, in two forms.
pub(super) struct Vectors {
    lists: Vec<String>,
    base64: Vec<String>,
}

impl Vectors {
    pub(super) fn new() -> Self {
        // After so many texts they begin anew.
        let all = (0..DIMENSIONS).map(known::vector);
        Self {
            lists: all
                .clone()
                .map(|values| Value::from(values).to_string())
                .collect(),
            base64: all
                .map(|values| {
                    let raw: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
                    format!("\"{}\"", base64(&raw))
                })
                .collect(),
        }
    }

    /// As JSON: a list of numbers, or base64 of its bytes.
    pub(super) fn json(&self, at: u32, base64: bool) -> &str {
        let all = if base64 { &self.base64 } else { &self.lists };
        &all[(at % DIMENSIONS) as usize]
    }
}

/// RFC 4648, section 4; once at start, so that it needs no library.
fn base64(raw: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in raw.chunks(3) {
        let mut group = [0; 3];
        group[..three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= three.len() {
                letter as char
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_base64() {
        assert_eq!(
            (base64(b"M"), base64(b"Ma")),
            ("TQ==".into(), "TWE=".into())
        );
    }

    #[test]
    fn after_all_of_them_they_begin_anew() {
        let all = Vectors::new();
        assert_eq!(all.json(3, false), all.json(3 + DIMENSIONS, false));
        assert_ne!(all.json(3, true), all.json(4, true));
    }
}
