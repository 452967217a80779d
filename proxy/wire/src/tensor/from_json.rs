//! JSON arrays to tensors.

use super::Datatype;
use crate::convert::ConvertError;
use crate::json::{self, MAX_DEPTH, skip_space};

/// Reads a JSON array, nested or flat, into a tensor of at most `max_out` bytes.
pub(super) fn read(
    text: &[u8],
    datatype: Datatype,
    max_out: usize,
) -> Result<Vec<u8>, ConvertError> {
    // An element takes two bytes of JSON or more.
    let guess = datatype
        .size()
        .unwrap_or(1)
        .saturating_mul(text.len() / 2 + 1);
    let mut reader = Reader {
        text,
        at: 0,
        datatype,
        max_out,
        // A guess for small arrays, half of it for typical large ones.
        out: Vec::with_capacity(guess.min(text.len()).min(max_out)),
        index: 0,
    };
    reader.array()?;
    Ok(reader.out)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    datatype: Datatype,
    max_out: usize,
    out: Vec<u8>,
    /// Elements so far.
    index: usize,
}

/// What is known of a nesting level: the length of its arrays.
type Lengths = Vec<Option<usize>>;

impl Reader<'_> {
    fn malformed<T>(&self, message: &'static str) -> Result<T, ConvertError> {
        Err(ConvertError::Malformed {
            offset: self.at,
            message,
        })
    }

    fn peek(&mut self) -> Option<u8> {
        self.at = skip_space(self.text, self.at);
        self.text.get(self.at).copied()
    }

    /// The whole array. `counts` has the elements so far of every open level.
    fn array(&mut self) -> Result<(), ConvertError> {
        let mut counts: Vec<usize> = Vec::new();
        let mut lengths: Lengths = Vec::new();
        let mut leaf = None;
        if self.peek() != Some(b'[') {
            return self.malformed("expected a JSON array");
        }
        loop {
            // A value, or the end of an array that has none.
            match self.peek() {
                Some(b'[') => {
                    if leaf.is_some_and(|leaf| leaf <= counts.len()) {
                        return self.malformed("an array among elements");
                    }
                    if counts.len() == MAX_DEPTH as usize {
                        return self.malformed("nested too deeply");
                    }
                    self.at += 1;
                    counts.push(0);
                    if counts.len() > lengths.len() {
                        lengths.push(None);
                    }
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                _ => {
                    if *leaf.get_or_insert(counts.len()) != counts.len() {
                        return self.malformed("an element among arrays");
                    }
                    self.element()?;
                    if let Some(count) = counts.last_mut() {
                        *count += 1;
                    }
                }
            }
            if self.close(&mut counts, &mut lengths, &mut leaf)? {
                break;
            }
        }
        if self.peek().is_some() {
            return self.malformed("unexpected bytes after a JSON array");
        }
        Ok(())
    }

    /// Closes what closes here; true when that was all, false when a value follows. `leaf` is
    /// the level of the elements, once it is known.
    fn close(
        &mut self,
        counts: &mut Vec<usize>,
        lengths: &mut Lengths,
        leaf: &mut Option<usize>,
    ) -> Result<bool, ConvertError> {
        while let Some(count) = counts.last().copied() {
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    return Ok(false);
                }
                Some(b']') => {
                    let length = &mut lengths[counts.len() - 1];
                    if *length.get_or_insert(count) != count {
                        return self.malformed("arrays of unequal length");
                    }
                    if count == 0 {
                        // Its elements, if there were any, would stand here.
                        leaf.get_or_insert(counts.len());
                    }
                    self.at += 1;
                    counts.pop();
                    if let Some(outer) = counts.last_mut() {
                        *outer += 1;
                    }
                }
                _ => return self.malformed("expected `,` or `]`"),
            }
        }
        Ok(true)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ConvertError> {
        if bytes.len() > self.max_out - self.out.len() {
            return Err(ConvertError::TooLarge {
                limit: self.max_out,
            });
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn range<T>(&self) -> Result<T, ConvertError> {
        Err(ConvertError::Range {
            index: self.index,
            datatype: self.datatype,
        })
    }

    fn element(&mut self) -> Result<(), ConvertError> {
        match self.datatype {
            Datatype::Boolean => self.boolean()?,
            Datatype::Bytes => self.string()?,
            Datatype::Fp32 => {
                let number: f32 = self.float()?;
                if !number.is_finite() {
                    return self.range();
                }
                self.put(&number.to_le_bytes())?;
            }
            Datatype::Fp64 => {
                let number: f64 = self.float()?;
                if !number.is_finite() {
                    return self.range();
                }
                self.put(&number.to_le_bytes())?;
            }
            _ => self.integer()?,
        }
        self.index += 1;
        Ok(())
    }

    fn boolean(&mut self) -> Result<(), ConvertError> {
        let rest = &self.text[self.at..];
        let (byte, len) = if rest.starts_with(b"true") {
            (1, 4)
        } else if rest.starts_with(b"false") {
            (0, 5)
        } else {
            return self.malformed("expected `true` or `false`");
        };
        self.at += len;
        self.put(&[byte])
    }

    fn string(&mut self) -> Result<(), ConvertError> {
        let from = self.at;
        if self.text.get(from) != Some(&b'"') {
            return self.malformed("expected a string");
        }
        let malformed = |(offset, message)| ConvertError::Malformed { offset, message };
        let (end, _) = json::string(self.text, from + 1).map_err(malformed)?;
        let inside = &self.text[from + 1..end - 1];
        if let Err(error) = std::str::from_utf8(inside) {
            return Err(ConvertError::NotUtf8 {
                offset: from + 1 + error.valid_up_to(),
            });
        }
        let start = self.out.len();
        self.put(&[0; 4])?;
        // The inside is never shorter than what it means.
        json::unescape(inside, &mut self.out).map_err(|offset| {
            malformed((from + 1 + offset, "an escape that is not a character"))
        })?;
        if self.out.len() > self.max_out {
            return Err(ConvertError::TooLarge {
                limit: self.max_out,
            });
        }
        let Ok(len) = u32::try_from(self.out.len() - start - 4) else {
            return self.range();
        };
        self.out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        self.at = end;
        Ok(())
    }

    /// A number's text, and whether it is written as an integer.
    fn number(&mut self) -> Result<(&str, bool), ConvertError> {
        let from = self.at;
        if !matches!(self.text.get(from), Some(b'-' | b'0'..=b'9')) {
            return self.malformed("expected a number");
        }
        let (end, integer) = json::number(self.text, from)
            .map_err(|(offset, message)| ConvertError::Malformed { offset, message })?;
        self.at = end;
        // Digits, signs, points: the scanner lets nothing else through.
        let text = std::str::from_utf8(&self.text[from..end]).unwrap_or_default();
        Ok((text, integer))
    }

    fn float<T: std::str::FromStr>(&mut self) -> Result<T, ConvertError> {
        match self.number()?.0.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.range(),
        }
    }

    fn integer(&mut self) -> Result<(), ConvertError> {
        let (text, integer) = self.number()?;
        let Some(number) = whole(text).filter(|_| integer) else {
            return self.range();
        };
        macro_rules! put {
            ($type:ty) => {
                match <$type>::try_from(number) {
                    Ok(number) => self.put(&number.to_le_bytes()),
                    Err(_) => self.range(),
                }
            };
        }
        match self.datatype {
            Datatype::Uint8 => put!(u8),
            Datatype::Uint16 => put!(u16),
            Datatype::Uint32 => put!(u32),
            Datatype::Uint64 => put!(u64),
            Datatype::Int8 => put!(i8),
            Datatype::Int16 => put!(i16),
            Datatype::Int32 => put!(i32),
            Datatype::Int64 => put!(i64),
            // Refused before the first element.
            _ => self.range(),
        }
    }
}

/// An integer of at most 64 bits and a sign; none for a larger one.
fn whole(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut number: u64 = 0;
    for digit in digits.bytes() {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    let number = i128::from(number);
    Some(if digits.len() < text.len() {
        -number
    } else {
        number
    })
}
