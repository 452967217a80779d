//! The answer to streaming generation in the runtime's words, in the order of
//! [`Pieces`].

use tollgate_sdk_protocol::{
    inference::{Detail, Event, Token, Usage},
    pieces::{self, Broken, Pieces},
};

use super::reply::{Output, generation_failed, unfinished};
use crate::{
    answer::{Generated, Piece},
    carried,
    neutral::{piece, reason_of},
    proto::ProducerId,
};

/// A stream in the making.
#[derive(Debug)]
pub struct Stream {
    pieces: Pieces,
    detail: Detail,
    producer: Option<ProducerId>,
}

impl Stream {
    /// `seed` is the client's, reported unless the worker tells another.
    pub fn new(detail: Detail, seed: Option<u64>) -> Self {
        Self {
            pieces: Pieces::new(detail, seed),
            detail,
            producer: None,
        }
    }

    pub fn take(&mut self, event: Event, out: &mut Vec<Output>) {
        if let Some(producer) = carried::producer_of(&event) {
            self.producer = Some(producer);
            return;
        }
        let (detail, producer) = (&self.detail, &self.producer);
        let taken = self.pieces.take(event, &mut |piece| {
            out.push(output(piece, detail, producer));
        });
        if let Err(broken) = taken {
            out.push(match broken {
                Broken::Stray => unfinished("keeping to the one text that it was given"),
                Broken::Failed => generation_failed(),
                Broken::Unfinished => unfinished("a reason to stop"),
            });
        }
    }

    pub fn usage(&self) -> Option<Usage> {
        self.pieces.usage()
    }
}

fn output(piece: pieces::Piece, detail: &Detail, producer: &Option<ProducerId>) -> Output {
    let blank = Generated {
        producer: producer.clone(),
        ..Generated::default()
    };
    Output::Piece(match piece {
        pieces::Piece::Input {
            prompt,
            count,
            seed,
        } => Generated {
            text: prompt,
            input_count: count.map(i64::from),
            seed,
            ..blank
        },
        pieces::Piece::InputTokens(tokens) => Generated {
            input_tokens: shown(tokens, detail),
            ..blank
        },
        pieces::Piece::Text {
            text,
            tokens,
            count,
        } => Generated {
            text,
            tokens: shown(tokens, detail),
            count: count.into(),
            ..blank
        },
        pieces::Piece::Reason {
            reason,
            input,
            count,
            seed,
            ..
        } => Generated {
            // Every reason but an error has a word.
            reason: reason_of(&reason).unwrap_or_default(),
            input_count: input.map(i64::from),
            count: count.into(),
            seed,
            ..blank
        },
        pieces::Piece::End => return Output::Done,
    })
}

fn shown(tokens: Vec<Token>, detail: &Detail) -> Vec<Piece> {
    let tokens = tokens.into_iter();
    tokens.map(|token| piece(token, detail)).collect()
}
