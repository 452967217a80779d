//! Events of a worker's stream, however it travels.
//!
//! 1. The first piece tells the input: count, seed and, when asked for, the prompt. Its
//!    `started` waits for one piece more when the tokens of the input are still to come:
//!    servers send them apart.
//! 2. Texts and tokens are new ones, counts are totals.
//! 3. The piece with a reason is the last that counts.

use tollgate_sdk_protocol::inference::{Delta, Event, Started};

use super::events::{Wanted, finished, usage};
use crate::{
    answer::Generated,
    carried,
    neutral::{finish_reason, token},
};

/// A stream that is read.
#[derive(Debug)]
pub struct Stream {
    wanted: Wanted,
    held: Option<Started>,
    begun: bool,
    finished: bool,
    named: bool,
    input: Option<i64>,
    seed: Option<u64>,
}

impl Stream {
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            held: None,
            begun: false,
            finished: false,
            named: false,
            input: None,
            seed: None,
        }
    }

    /// The worker gave its reason to stop.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Takes one piece; gives its events.
    pub fn take(&mut self, mut piece: Generated) -> Vec<Event> {
        let mut events = Vec::new();
        if self.finished {
            return events;
        }
        let detail = self.wanted.detail;
        let reason = finish_reason(piece.reason, self.wanted.limited);
        if let (Some(producer), false) = (&piece.producer, self.named) {
            self.named = true;
            events.push(carried::producer(producer));
        }
        // Only the first piece need tell the input; the others may say zero.
        self.input = self.input.max(piece.input_count);
        // Zero is nothing told.
        self.seed = piece.seed.filter(|seed| *seed != 0).or(self.seed);
        let small = |count: i64| u32::try_from(count).ok();
        if !self.begun {
            self.begun = true;
            // A first piece with output is no head: the text is not the prompt alone.
            let head = piece.count == 0 && reason.is_none();
            let prompt = (head && detail.echo).then(|| std::mem::take(&mut piece.text));
            self.held = Some(Started {
                item: 0,
                input_tokens: piece.input_count.and_then(small),
                seed: self.seed,
                echo: prompt,
                tokens: Vec::new(),
            });
        }
        let told = piece.input_tokens.drain(..);
        let told = told.map(|piece| token(piece, &detail));
        if let Some(started) = &mut self.held {
            started.tokens.extend(told);
        }
        if !self.wanted.lists_tokens() {
            piece.tokens.clear();
        }
        let output = !piece.text.is_empty() || !piece.tokens.is_empty();
        let waiting = detail.input_tokens
            && self
                .held
                .as_ref()
                .is_some_and(|started| started.tokens.is_empty());
        if !waiting || output || reason.is_some() {
            events.extend(self.held.take().map(Event::Started));
        }
        if output {
            let tokens = piece.tokens.into_iter();
            events.push(Event::Delta(Delta {
                item: 0,
                text: piece.text,
                tokens: tokens.map(|piece| token(piece, &detail)).collect(),
                output_tokens: small(piece.count),
                extras: Vec::new(),
            }));
        }
        if let Some(reason) = reason {
            self.finished = true;
            let input = self.input.and_then(small);
            events.push(finished(reason, input, small(piece.count), self.seed));
            events.push(Event::Usage(usage(self.input, Some(piece.count))));
        }
        events
    }
}
