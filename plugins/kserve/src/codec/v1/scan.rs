//! A walk through JSON that keeps every number as the text it is: nothing becomes a double on the
//! way to an integer.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::Problem;

/// What stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    List,
    Object,
    Text,
    /// A number, or one of the three words.
    Bare,
}

/// A place in a text.
#[derive(Clone, Copy)]
pub struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// Numbers of which all digits were looked at.
    closer: u32,
}

/// Most numbers of a text that take long to read.
const CLOSER: u32 = 256;

fn malformed() -> Problem {
    Problem::Malformed("it is not valid JSON".to_owned())
}

impl<'a> Scan<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            at: 0,
            closer: 0,
        }
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at).copied() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                next => return next,
            }
        }
    }

    /// What comes.
    ///
    /// # Errors
    /// Nothing does.
    pub fn kind(&mut self) -> Result<Kind, Problem> {
        Ok(match self.next() {
            Some(b'[') => Kind::List,
            Some(b'{') => Kind::Object,
            Some(b'"') => Kind::Text,
            Some(byte) if byte == b'-' || byte.is_ascii_alphanumeric() => Kind::Bare,
            _ => return Err(malformed()),
        })
    }

    /// Steps into the list or object that comes.
    pub fn open(&mut self) {
        self.next();
        self.at += 1;
    }

    /// Whether another item comes; past the end of the list or object if none does.
    ///
    /// # Errors
    /// Neither an item nor the end does.
    pub fn more(&mut self, first: bool, close: u8) -> Result<bool, Problem> {
        match self.next() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(malformed()),
        }
    }

    /// The name of an object's member, and past its colon.
    ///
    /// # Errors
    /// There is none.
    pub fn key(&mut self) -> Result<String, Problem> {
        let key = self.text()?;
        match self.next() {
            Some(b':') => self.at += 1,
            _ => return Err(malformed()),
        }
        Ok(key)
    }

    /// A string.
    ///
    /// # Errors
    /// Something else comes.
    pub fn text(&mut self) -> Result<String, Problem> {
        if self.next() != Some(b'"') {
            return Err(malformed());
        }
        let from = self.at;
        let mut escaped = false;
        for (offset, byte) in self.text[from + 1..].iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    self.at = from + offset + 2;
                    let text = &self.text[from..self.at];
                    return serde_json::from_slice(text).map_err(|_| malformed());
                }
                _ => {}
            }
        }
        Err(malformed())
    }

    /// A number or a word, as it is written.
    ///
    /// # Errors
    /// Something else comes.
    pub fn bare(&mut self) -> Result<&'a str, Problem> {
        if self.kind()? != Kind::Bare {
            return Err(malformed());
        }
        let rest = &self.text[self.at..];
        let of_it = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let len = rest.iter().take_while(of_it).count();
        self.at += len;
        std::str::from_utf8(&rest[..len]).map_err(|_| malformed())
    }

    /// `{"b64": "…"}`, decoded; none, and not a step on, if another object comes.
    ///
    /// # Errors
    /// What is said to be base64 is not.
    pub fn base64(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let mut ahead = *self;
        ahead.open();
        if !ahead.more(true, b'}')? || ahead.key()? != "b64" || ahead.kind()? != Kind::Text {
            return Ok(None);
        }
        let text = ahead.text()?;
        if ahead.more(false, b'}')? {
            return Ok(None);
        }
        *self = ahead;
        let decoded = STANDARD.decode(text);
        decoded
            .map(Some)
            .map_err(|_| Problem::Unfit("what 'b64' has is not base64".to_owned()))
    }

    /// Whether one more number may take long to read.
    pub fn look_closer(&mut self) -> bool {
        self.closer += 1;
        self.closer <= CLOSER
    }

    /// Whether nothing comes any more.
    pub fn is_over(&mut self) -> bool {
        self.next().is_none()
    }
}
