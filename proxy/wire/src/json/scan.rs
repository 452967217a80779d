//! The scanner: RFC 8259's grammar over bytes that are known to be UTF-8.

use super::text::unescape;
use super::{JsonProblem, MAX_DEPTH};

/// A position and what is wrong there.
pub(crate) type Wrong = (usize, &'static str);

pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    /// Open arrays (0) and objects (1), the innermost lowest.
    open: u128,
    depth: u32,
}

/// A member's name as it stands, between its quotes.
pub(super) struct Name<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl Name<'_> {
    /// Unescaped; none when it is no text.
    pub(super) fn text(&self) -> Option<String> {
        let plain = if self.escaped {
            let mut plain = Vec::with_capacity(self.raw.len());
            unescape(self.raw, &mut plain).ok()?;
            plain
        } else {
            self.raw.to_vec()
        };
        String::from_utf8(plain).ok()
    }

    pub(super) fn is(&self, key: &str) -> bool {
        if !self.escaped {
            return self.raw == key.as_bytes();
        }
        let mut plain = Vec::with_capacity(self.raw.len());
        unescape(self.raw, &mut plain).is_ok() && plain == key.as_bytes()
    }
}

fn problem((at, message): Wrong) -> JsonProblem {
    JsonProblem {
        offset: at as u64,
        message: message.to_owned(),
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Result<Self, JsonProblem> {
        std::str::from_utf8(text)
            .map_err(|error| problem((error.valid_up_to(), "invalid UTF-8")))?;
        Ok(Self {
            text,
            at: 0,
            open: 0,
            depth: 0,
        })
    }

    fn space(&mut self) {
        self.at = skip_space(self.text, self.at);
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn wrong<T>(&self, message: &'static str) -> Result<T, Wrong> {
        match self.peek() {
            Some(_) => Err((self.at, message)),
            None => Err((self.at, "unexpected end")),
        }
    }

    fn expect(&mut self, byte: u8, message: &'static str) -> Result<(), Wrong> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        self.wrong(message)
    }

    /// One value with space around it, and nothing else.
    pub(super) fn document(&mut self) -> Result<(), JsonProblem> {
        self.space();
        self.value()
            .and_then(|()| self.nothing_more())
            .map_err(problem)
    }

    fn nothing_more(&mut self) -> Result<(), Wrong> {
        self.space();
        if self.at < self.text.len() {
            return self.wrong("unexpected bytes after the value");
        }
        Ok(())
    }

    /// One object with space around it; `found` is told each member's name and where
    /// its value lies.
    pub(super) fn members(
        &mut self,
        mut found: impl FnMut(&Name<'_>, u64, u64) -> Result<(), &'static str>,
    ) -> Result<(), JsonProblem> {
        self.object(&mut found)
            .and_then(|()| self.nothing_more())
            .map_err(problem)
    }

    fn object(
        &mut self,
        found: &mut impl FnMut(&Name<'_>, u64, u64) -> Result<(), &'static str>,
    ) -> Result<(), Wrong> {
        self.space();
        self.expect(b'{', "expected an object")?;
        self.enter(true)?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let name = self.name()?;
            let from = self.at;
            self.value()?;
            found(&name, from as u64, (self.at - from) as u64).map_err(|what| (from, what))?;
            self.space();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(());
            }
            self.expect(b',', "expected `,` or `}`")?;
            self.space();
        }
    }

    /// A member's name and the colon, with the space after it.
    fn name(&mut self) -> Result<Name<'a>, Wrong> {
        self.expect(b'"', "expected a member's name")?;
        let from = self.at;
        let (end, escaped) = string(self.text, from)?;
        self.at = end;
        self.space();
        self.expect(b':', "expected `:`")?;
        self.space();
        Ok(Name {
            raw: &self.text[from..end - 1],
            escaped,
        })
    }

    fn enter(&mut self, object: bool) -> Result<(), Wrong> {
        if self.depth == MAX_DEPTH {
            return Err((self.at - 1, "nested too deeply"));
        }
        self.depth += 1;
        self.open = self.open << 1 | u128::from(object);
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.open >>= 1;
    }

    /// One value, beginning here; ends right after it.
    fn value(&mut self) -> Result<(), Wrong> {
        let base = self.depth;
        loop {
            match self.peek() {
                Some(b'"') => self.at = string(self.text, self.at + 1)?.0,
                Some(b'{') => {
                    self.at += 1;
                    self.enter(true)?;
                    self.space();
                    if self.peek() != Some(b'}') {
                        self.name()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    self.enter(false)?;
                    self.space();
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.at = number(self.text, self.at)?.0,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return self.wrong("expected a value"),
            }
            if self.after_value(base)? {
                return Ok(());
            }
        }
    }

    /// Closes what closes here. True when the value that began at depth `base` is
    /// complete; false when another value follows.
    fn after_value(&mut self, base: u32) -> Result<bool, Wrong> {
        while self.depth > base {
            self.space();
            let object = self.open & 1 == 1;
            match (self.peek(), object) {
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    self.leave();
                }
                (Some(b','), _) => {
                    self.at += 1;
                    self.space();
                    if object {
                        self.name()?;
                    }
                    return Ok(false);
                }
                (_, true) => return self.wrong("expected `,` or `}`"),
                (_, false) => return self.wrong("expected `,` or `]`"),
            }
        }
        Ok(true)
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Wrong> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err((self.at, "expected a value"))
    }
}

/// The first position from `at` on that is not space.
pub(crate) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// Without short cuts, so that a block of them is a vector instruction.
const fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// The first position from `at` on of a quote, a backslash or a control character.
/// Whole blocks are looked at without a branch, which the compiler vectorises.
pub(super) fn next_special(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(|rest| rest.first_chunk::<32>()) {
        let mut special = 0;
        for &byte in block {
            special |= u8::from(is_special(byte));
        }
        if special != 0 {
            break;
        }
        at += 32;
    }
    while let Some(&byte) = text.get(at) {
        if is_special(byte) {
            break;
        }
        at += 1;
    }
    at
}

/// A string whose opening quote lies before `at`: the position after its closing
/// quote, and whether there are escapes in it.
pub(crate) fn string(text: &[u8], mut at: usize) -> Result<(usize, bool), Wrong> {
    let mut escaped = false;
    loop {
        at = next_special(text, at);
        match text.get(at) {
            Some(b'"') => return Ok((at + 1, escaped)),
            Some(b'\\') => {
                escaped = true;
                at = escape(text, at)?;
            }
            Some(_) => return Err((at, "control character in a string")),
            None => return Err((at, "unexpected end")),
        }
    }
}

/// The position after the escape that begins at `at`.
fn escape(text: &[u8], at: usize) -> Result<usize, Wrong> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match text.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => Err((at, "invalid escape")),
        },
        _ => Err((at, "invalid escape")),
    }
}

/// A number that begins at `at`: the position after it, and whether it is written as
/// an integer (no fraction, no exponent).
pub(crate) fn number(text: &[u8], at: usize) -> Result<(usize, bool), Wrong> {
    let digits = |mut at: usize| {
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let some_digits = |from: usize| match digits(from) {
        end if end == from => Err((from, "expected a digit")),
        end => Ok(end),
    };
    let first = if text.get(at) == Some(&b'-') {
        at + 1
    } else {
        at
    };
    let mut end = match text.get(first) {
        Some(b'0') => first + 1,
        _ => some_digits(first)?,
    };
    let mut integer = true;
    if text.get(end) == Some(&b'.') {
        integer = false;
        end = some_digits(end + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(end) {
        integer = false;
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = some_digits(end + 1 + sign)?;
    }
    Ok((end, integer))
}
