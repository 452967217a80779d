//! Every answer, made once at start.

mod caikit;
mod messages;
mod openai;
mod tensors;
mod texts;
mod vectors;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

pub use caikit::Caikit;
pub use messages::Messages;
pub use openai::{Chunks, Openai, Wanted};
pub use tensors::Tensors;
pub use texts::Texts;

/// What the answers are to be like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The model's name.
    pub model: String,
    /// Tokens of an answer, at least one.
    pub tokens: u32,
    /// Tokens of one write of a stream, at least one.
    pub per_write: u32,
    /// Time between two writes of a stream; zero is none.
    pub interval: Duration,
    /// Streams stop after their first write, which has one token.
    pub hold: bool,
    /// Size of an answered tensor, in bytes; rounded down to whole values of four.
    pub tensor_bytes: usize,
}

impl Shape {
    /// The tokens of each write, as ranges from 0 on.
    fn writes(&self) -> impl Iterator<Item = std::ops::Range<u32>> {
        let first = if self.hold { 1 } else { self.per_write };
        let (total, step) = (self.tokens, self.per_write);
        let mut from = 0_u32;
        std::iter::from_fn(move || {
            let length = if from == 0 { first } else { step };
            let range = from..from.saturating_add(length).min(total);
            from = range.end;
            (!range.is_empty()).then_some(range)
        })
    }
}

/// A stream's writes, shared by all streams of its kind.
pub type Writes = Arc<[Bytes]>;

/// Every answer.
pub struct Answers {
    /// What they are like.
    pub shape: Shape,
    /// Of the OpenAI API.
    pub openai: Openai,
    /// Of the gRPC services.
    pub messages: Messages,
    /// Of KServe V2.
    pub tensors: Tensors,
    /// Of Triton's vLLM backend.
    pub texts: Texts,
    /// Of the caikit runtime.
    pub caikit: Caikit,
}

impl Answers {
    /// Makes them all.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            openai: Openai::new(&shape),
            messages: Messages::new(&shape),
            tensors: Tensors::new(&shape),
            texts: Texts::new(&shape),
            caikit: Caikit::new(&shape),
            shape,
        }
    }
}

#[cfg(test)]
pub(crate) fn shape(tokens: u32, per_write: u32) -> Shape {
    Shape {
        model: "m".to_owned(),
        tokens,
        per_write,
        interval: Duration::ZERO,
        hold: false,
        tensor_bytes: 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_cover_the_tokens_once() {
        for (tokens, per_write) in [(1, 1), (5, 2), (6, 3), (3, 16), (160, 1)] {
            let mut next = 0;
            for range in shape(tokens, per_write).writes() {
                assert_eq!(range.start, next);
                assert!(range.len() as u32 <= per_write);
                next = range.end;
            }
            assert_eq!(next, tokens);
        }
        let held = Shape {
            hold: true,
            ..shape(9, 4)
        };
        assert_eq!(held.writes().next(), Some(0..1));
    }
}
