//! The answer to `GenerateStream`, message by message, in the order of [`Pieces`].

use prost::Message;
use tollgate_sdk_protocol::{
    inference::{Detail, Event, Token, Usage},
    pieces::{Broken, Piece, Pieces},
};

use super::reply::{Output, generation_failed, unfinished};
use crate::{
    fmaas::{GenerationResponse, TokenInfo},
    neutral::{stop_reason, token_info},
};

/// A stream in the making.
pub struct Stream {
    pieces: Pieces,
    detail: Detail,
    limited: bool,
}

impl Stream {
    /// `seed` is the client's, reported unless the worker tells another.
    pub fn new(detail: Detail, seed: u64, limited: bool) -> Self {
        Self {
            pieces: Pieces::new(detail, Some(seed)),
            detail,
            limited,
        }
    }

    pub fn take(&mut self, event: Event, out: &mut Vec<Output>) {
        let (detail, limited) = (&self.detail, self.limited);
        let taken = self.pieces.take(event, &mut |piece| {
            out.push(match message(piece, detail, limited) {
                Some(message) => Output::Message(message.encode_to_vec()),
                None => Output::Done,
            });
        });
        if let Err(broken) = taken {
            out.push(match broken {
                Broken::Stray => unfinished("keeping to the one prompt that it was given"),
                Broken::Failed => generation_failed(),
                Broken::Unfinished => unfinished("a reason to stop"),
            });
        }
    }

    pub fn usage(&self) -> Option<Usage> {
        self.pieces.usage()
    }
}

/// A piece as a message; none: it is the end.
fn message(piece: Piece, detail: &Detail, limited: bool) -> Option<GenerationResponse> {
    Some(match piece {
        // Zero is what counts and seeds say when nobody knows.
        Piece::Input {
            prompt,
            count,
            seed,
        } => GenerationResponse {
            text: prompt,
            input_token_count: count.unwrap_or(0),
            seed: seed.unwrap_or(0),
            ..Default::default()
        },
        Piece::InputTokens(tokens) => GenerationResponse {
            input_tokens: shown(tokens, detail),
            ..Default::default()
        },
        Piece::Text {
            text,
            tokens,
            count,
        } => GenerationResponse {
            text,
            tokens: shown(tokens, detail),
            generated_token_count: count,
            ..Default::default()
        },
        Piece::Reason {
            reason,
            stop_sequence,
            input,
            count,
            seed,
        } => GenerationResponse {
            // Every reason but an error has a word.
            stop_reason: stop_reason(&reason, limited).unwrap_or_default().into(),
            stop_sequence: stop_sequence.unwrap_or_default(),
            input_token_count: input.unwrap_or(0),
            generated_token_count: count,
            seed: seed.unwrap_or(0),
            ..Default::default()
        },
        Piece::End => return None,
    })
}

fn shown(tokens: Vec<Token>, detail: &Detail) -> Vec<TokenInfo> {
    let tokens = tokens.into_iter();
    tokens.map(|token| token_info(token, detail)).collect()
}
