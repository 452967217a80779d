//! What the stub says and the load generator expects: one endless text and one endless tensor.
//!
//! A text of n tokens is the first n tokens of the endless text. An answer tells n itself (usage,
//! token counts), so it can be checked whatever n the stub was started with, and also when a
//! proxy has put the pieces together in another way. The same holds for tensors and their length.

use bytes::{Bytes, BytesMut};

/// Tokens of every prompt, whatever it says.
pub const INPUT_TOKENS: u32 = 128;
/// Tokens of an answer unless told otherwise: about 1 KB of text.
pub const TOKENS: u32 = 160;
/// The seed that a TGIS worker tells.
pub const SEED: u64 = 42;

/// What repeats in the text. Something to be escaped in JSON, and characters of two and three
/// bytes, as real texts have them.
const WORDS: [&str; 17] = [
    " the",
    " quick",
    " answer",
    " of",
    " a",
    " model",
    " is",
    " \"made\"",
    " of",
    " tokens",
    ",\n",
    "and",
    " every",
    " one",
    " costs",
    " naïvely",
    " 1 €.",
];

/// The name and type of the one tensor, in and out.
pub const INPUT_TENSOR: &str = "INPUT0";
/// See [`INPUT_TENSOR`].
pub const OUTPUT_TENSOR: &str = "OUTPUT0";

/// Values after which the tensor repeats: no power of two, so that a block which was moved by
/// a round number of bytes does not look right.
const VALUES: usize = 16_381;

/// One token, counted from 0.
#[must_use]
pub fn token(at: u32) -> &'static str {
    WORDS[at as usize % WORDS.len()]
}

/// The first tokens, as text.
#[must_use]
pub fn text(tokens: u32) -> String {
    (0..tokens).map(token).collect()
}

/// Reads a text that comes in pieces, and says whether it is the known one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Follow {
    tokens: u32,
    /// Bytes into the next token.
    into: usize,
}

impl Follow {
    /// Takes the next piece; false when it is not what comes next.
    #[must_use]
    pub fn take(&mut self, mut piece: &str) -> bool {
        while !piece.is_empty() {
            let rest = &token(self.tokens).as_bytes()[self.into..];
            let length = rest.len().min(piece.len());
            if piece.as_bytes()[..length] != rest[..length] {
                return false;
            }
            if length < rest.len() {
                self.into += length;
                return true;
            }
            self.tokens += 1;
            self.into = 0;
            // A token ends at a character's end.
            piece = &piece[length..];
        }
        true
    }

    /// Whole tokens read so far.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Whether the text ends where a token ends.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.into == 0
    }
}

/// The first bytes of the endless tensor: FP32, little-endian.
#[must_use]
pub fn tensor(bytes: usize) -> Bytes {
    let period = period();
    let mut all = BytesMut::with_capacity(bytes);
    while all.len() < bytes {
        let more = period.len().min(bytes - all.len());
        all.extend_from_slice(&period[..more]);
    }
    all.freeze()
}

/// Values of an embedding; about 1 KB as JSON.
pub const DIMENSIONS: u32 = 96;

/// How far the vectors of two texts that follow each other are turned against each other: no two
/// of a few dozen texts then have one vector, or two documents one score.
const TURN: u32 = 7;

/// The vector of a text, by its place in its request; its values are exact in single precision
/// and short as decimals.
#[must_use]
pub fn vector(at: u32) -> Vec<f32> {
    (0..DIMENSIONS)
        .map(|value| ((value + at * TURN) % DIMENSIONS) as f32 / 64.0 - 0.75)
        .collect()
}

/// How alike the first text's vector is to another's: the cosine of the angle between them.
#[must_use]
pub fn likeness(at: u32) -> f64 {
    let product = |one: &[f32], other: &[f32]| -> f64 {
        let pairs = one.iter().zip(other);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let (one, other) = (vector(0), vector(at));
    product(&one, &other) / (product(&one, &one) * product(&other, &other)).sqrt()
}

fn period() -> Vec<u8> {
    (0..VALUES)
        .flat_map(|at| (at as f32 * 0.25 - 1024.0).to_le_bytes())
        .collect()
}

/// Compares bytes with the endless tensor; holds one period of it.
#[derive(Debug)]
pub struct Tensor(Vec<u8>);

impl Default for Tensor {
    fn default() -> Self {
        Self(period())
    }
}

impl Tensor {
    /// Whether these are the tensor's bytes from an offset on.
    #[must_use]
    pub fn is_at(&self, offset: usize, mut bytes: &[u8]) -> bool {
        let mut into = offset % self.0.len();
        while !bytes.is_empty() {
            let length = bytes.len().min(self.0.len() - into);
            if bytes[..length] != self.0[into..into + length] {
                return false;
            }
            (bytes, into) = (&bytes[length..], 0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_followed_whatever_its_pieces() {
        let whole = text(60);
        let bounds: Vec<usize> = whole.char_indices().map(|(at, _)| at).collect();
        for step in 1..9 {
            let mut follow = Follow::default();
            let mut from = 0;
            for to in bounds
                .iter()
                .copied()
                .skip(1)
                .step_by(step)
                .chain([whole.len()])
            {
                assert!(follow.take(&whole[from..to]), "{step}: {from}..{to}");
                from = to;
            }
            assert_eq!((follow.tokens(), follow.is_whole()), (60, true));
        }
    }

    #[test]
    fn another_text_is_none() {
        let mut follow = Follow::default();
        assert!(follow.take(" the qui"));
        assert!(!follow.is_whole());
        assert!(!follow.take("et"));
        assert!(!Follow::default().take(" quick"));
    }

    #[test]
    fn a_tensor_is_known_at_every_offset() {
        let (all, known) = (tensor(200_000), Tensor::default());
        for (from, to) in [
            (0, 200_000),
            (65_524, 65_528),
            (3, 131_060),
            (70_000, 70_001),
        ] {
            assert!(known.is_at(from, &all[from..to]));
        }
        assert!(!known.is_at(4096, &all[..64]));
        assert!(!known.is_at(65_536, &all[..64]));
    }

    #[test]
    fn a_few_dozen_texts_are_told_apart_by_their_vectors_and_scores() {
        let mut scores: Vec<f64> = (0..48).map(likeness).collect();
        assert!((scores[0] - 1.0).abs() < 1e-12);
        scores.sort_by(f64::total_cmp);
        assert!(scores.windows(2).all(|two| two[1] - two[0] > 1e-6));
        assert_ne!(vector(1), vector(2));
    }
}
