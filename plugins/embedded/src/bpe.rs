//! Byte-pair tokens: any text in, the same text out.
//!
//! A text is cut into pieces (a word, a number, a run of marks, each with the one
//! space before it), and each piece into tokens by the learnt merges. Bytes are tokens
//! themselves, so nothing is unknown. The build script uses this file too.

use std::collections::HashMap;

/// Stands before a text.
pub const BEGIN: u16 = 256;
/// Stands after it.
pub const END: u16 = 257;
/// The first learnt token; lower ones are bytes and the two marks.
pub const FIRST_MERGE: u16 = 258;

/// Longest piece in bytes: what bounds the work for one, which is quadratic.
const LONGEST_PIECE: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Letter,
    Digit,
    Mark,
}

fn class(c: char) -> Class {
    if c.is_whitespace() {
        Class::Space
    } else if c.is_alphabetic() {
        Class::Letter
    } else if c.is_numeric() {
        Class::Digit
    } else {
        Class::Mark
    }
}

/// Length in bytes of the piece with which a text begins; 0 for an empty one.
#[must_use]
pub fn piece_len(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    let Some((_, first)) = chars.next() else {
        return 0;
    };
    let mut kind = class(first);
    let mut end = first.len_utf8();
    if first == ' '
        && let Some(&(_, second)) = chars.peek()
        && class(second) != Class::Space
    {
        kind = class(second);
    }
    while let Some((at, c)) = chars.next() {
        let fits = class(c) == kind && at + c.len_utf8() <= LONGEST_PIECE;
        // The last space of a run belongs to the word behind it.
        let belongs_to_next = kind == Class::Space
            && c == ' '
            && chars
                .peek()
                .is_some_and(|&(_, next)| class(next) != Class::Space);
        if !fits || belongs_to_next {
            break;
        }
        end = at + c.len_utf8();
    }
    end
}

/// The pieces of a text; together they are the text.
pub fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at(piece_len(text));
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What the tokens are.
pub struct Vocabulary {
    /// Which token two neighbours become. Earlier merges have lower numbers.
    merges: HashMap<(u16, u16), u16>,
    bytes: Vec<Vec<u8>>,
}

impl Vocabulary {
    /// From the learnt merges, in order. Each may only name tokens before it.
    #[must_use]
    pub fn new(pairs: &[(u16, u16)]) -> Self {
        let mut bytes: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
        bytes.resize(usize::from(FIRST_MERGE), Vec::new());
        let mut merges = HashMap::with_capacity(pairs.len());
        for (&(left, right), token) in pairs.iter().zip(FIRST_MERGE..) {
            let joined = [left, right]
                .iter()
                .flat_map(|&part| bytes[usize::from(part)].iter().copied())
                .collect();
            bytes.push(joined);
            merges.insert((left, right), token);
        }
        Vocabulary { merges, bytes }
    }

    /// Appends the tokens of one piece.
    pub fn encode_piece(&self, piece: &str, tokens: &mut Vec<u16>) {
        let start = tokens.len();
        tokens.extend(piece.bytes().map(u16::from));
        loop {
            let next = tokens[start..]
                .windows(2)
                .filter_map(|two| self.merges.get(&(two[0], two[1])))
                .min();
            let Some(&token) = next else { break };
            let mut to = start;
            let mut from = start;
            while from < tokens.len() {
                let pair = tokens.get(from + 1).map(|&right| (tokens[from], right));
                if pair.is_some_and(|pair| self.merges.get(&pair) == Some(&token)) {
                    tokens[to] = token;
                    from += 2;
                } else {
                    tokens[to] = tokens[from];
                    from += 1;
                }
                to += 1;
            }
            tokens.truncate(to);
        }
    }

    /// The tokens of a text, without marks.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u16> {
        let mut tokens = Vec::new();
        for piece in pieces(text) {
            self.encode_piece(piece, &mut tokens);
        }
        tokens
    }
}

/// What only the component needs.
#[allow(
    dead_code,
    reason = "the build script shares this file and only encodes"
)]
impl Vocabulary {
    /// Number of tokens; ids are lower than that.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The token with an id from outside, if there is one.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<u16> {
        u16::try_from(id)
            .ok()
            .filter(|&token| usize::from(token) < self.size())
    }

    /// The bytes that a token stands for; none for the marks.
    #[must_use]
    pub fn bytes(&self, token: u16) -> &[u8] {
        &self.bytes[usize::from(token)]
    }

    /// A token alone, for people to read: its text, the mark's name, or `<0xNN>` for
    /// each byte when the bytes are no text by themselves.
    #[must_use]
    pub fn text(&self, token: u16) -> String {
        match token {
            BEGIN => "<s>".into(),
            END => "</s>".into(),
            _ => match std::str::from_utf8(self.bytes(token)) {
                Ok(text) => text.into(),
                Err(_) => self
                    .bytes(token)
                    .iter()
                    .map(|byte| format!("<0x{byte:02X}>"))
                    .collect(),
            },
        }
    }

    /// The text of tokens, marks left out. Bytes that are no UTF-8 become U+FFFD.
    #[must_use]
    pub fn decode(&self, tokens: &[u16]) -> String {
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|&token| self.bytes(token))
            .copied()
            .collect();
        match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }
}
