//! JSON strings to and from UTF-8.

use super::scan::next_special;

/// Appends `text`, escaped for a JSON string, without quotes. What must be escaped is
/// (RFC 8259, section 7), and nothing else.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut plain = 0;
    loop {
        let at = next_special(bytes, plain);
        out.extend_from_slice(&bytes[plain..at]);
        let Some(&byte) = bytes.get(at) else {
            return;
        };
        plain = at + 1;
        let short = match byte {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                continue;
            }
            // A quote or a backslash.
            special => special,
        };
        out.extend_from_slice(&[b'\\', short]);
    }
}

/// Appends what the inside of a JSON string (without its quotes) means. The caller has
/// checked its grammar; UTF-8 is taken over as it is.
///
/// # Errors
/// The offset of an escape that has no meaning in UTF-8 (a lone surrogate), or that is
/// none.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
    let mut rest = 0;
    loop {
        let at = next_escape(raw, rest);
        out.extend_from_slice(&raw[rest..at]);
        if at == raw.len() {
            return Ok(());
        }
        let plain = match raw.get(at + 1).ok_or(at)? {
            plain @ (b'"' | b'\\' | b'/') => *plain,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (char, end) = unicode(raw, at).ok_or(at)?;
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                rest = end;
                continue;
            }
            _ => return Err(at),
        };
        out.push(plain);
        rest = at + 2;
    }
}

/// The first backslash from `at` on, or the end.
fn next_escape(raw: &[u8], mut at: usize) -> usize {
    loop {
        at = next_special(raw, at);
        match raw.get(at) {
            Some(b'\\') | None => return at,
            Some(_) => at += 1,
        }
    }
}

/// The character of a `\uXXXX` escape at `at`, with its second half if it has one, and
/// the position after it.
fn unicode(raw: &[u8], at: usize) -> Option<(char, usize)> {
    let first = unit(raw, at)?;
    if !(0xD800..0xE000).contains(&first) {
        return Some((char::from_u32(first)?, at + 6));
    }
    let second = unit(raw, at + 6)?;
    if first >= 0xDC00 || !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    let char = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    Some((char::from_u32(char)?, at + 12))
}

/// The code unit of a `\uXXXX` escape at `at`.
fn unit(raw: &[u8], at: usize) -> Option<u32> {
    let digits = raw.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, &digit| {
        Some(unit << 4 | char::from(digit).to_digit(16)?)
    })
}
