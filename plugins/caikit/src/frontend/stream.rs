//! The answer to streaming generation, piece by piece.
//!
//! 1. What is known of the input comes first: its count, the seed and, if asked for, the
//!    prompt. This piece is held until the count is known or the first text comes,
//!    whichever is sooner.
//! 2. The tokens of the input, if asked for, in a piece of their own.
//! 3. New text as it comes, with the count of tokens so far. Steps without text are left
//!    out, unless they bring tokens that were asked for.
//! 4. The reason to stop. It is held until the counts are known or the call ends. If the
//!    first piece went without the count of the input, it stands here.

use tollgate_sdk_protocol::inference::{Delta, Detail, Event, Finished, Started, Usage};

use super::reply::{Output, generation_failed, unfinished};
use crate::{
    answer::{Generated, Piece},
    carried,
    neutral::{piece, reason_of},
    proto::{FinishReason, ProducerId},
};

/// Where the answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first piece is held.
    First,
    /// Text may come.
    Text,
    /// The reason is known; the last piece is held.
    Last,
    /// All is said.
    Over,
}

/// A stream in the making.
#[derive(Debug)]
pub struct Stream {
    detail: Detail,
    phase: Phase,
    started: bool,
    prompt: String,
    prompt_tokens: Vec<Piece>,
    seed: Option<u64>,
    producer: Option<ProducerId>,
    input: Option<u32>,
    /// The first piece told the count of the input.
    told_input: bool,
    output: Option<u32>,
    reason: Option<FinishReason>,
}

impl Stream {
    /// `seed` is the client's, reported unless the worker tells another.
    pub fn new(detail: Detail, seed: Option<u64>) -> Self {
        Self {
            detail,
            phase: Phase::First,
            started: false,
            prompt: String::new(),
            prompt_tokens: Vec::new(),
            seed,
            producer: None,
            input: None,
            told_input: false,
            output: None,
            reason: None,
        }
    }

    pub fn take(&mut self, event: Event, out: &mut Vec<Output>) {
        if let Some(producer) = carried::producer_of(&event) {
            self.producer = Some(producer);
            return;
        }
        match event {
            Event::Started(started) if started.item == 0 => self.started(started, out),
            Event::Delta(delta) if delta.item == 0 => self.delta(delta, out),
            Event::Finished(finished) if finished.item == 0 => self.finished(&finished, out),
            Event::Started(_) | Event::Delta(_) | Event::Finished(_) => {
                out.push(unfinished("keeping to the one text that it was given"));
            }
            Event::Usage(usage) => self.counted(&usage, out),
            Event::End => self.end(out),
            _ => {}
        }
    }

    fn started(&mut self, started: Started, out: &mut Vec<Output>) {
        self.started = true;
        self.input = started.input_tokens.or(self.input);
        self.seed = started.seed.or(self.seed);
        if self.detail.echo {
            self.prompt.push_str(&started.echo.unwrap_or_default());
        }
        if self.detail.input_tokens {
            let tokens = started.tokens.into_iter();
            self.prompt_tokens
                .extend(tokens.map(|token| piece(token, &self.detail)));
        }
        if self.input.is_some() {
            self.first(out);
        }
    }

    fn counted(&mut self, usage: &Usage, out: &mut Vec<Output>) {
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.input = usage.input_tokens.map(small).or(self.input);
        self.output = usage.output_tokens.map(small).or(self.output);
        if self.started && self.input.is_some() {
            self.first(out);
        }
        self.last_if_known(out);
    }

    fn delta(&mut self, delta: Delta, out: &mut Vec<Output>) {
        match (delta.output_tokens, self.output) {
            (Some(count), _) => self.output = Some(count),
            (None, known) if !delta.tokens.is_empty() => {
                self.output = Some(known.unwrap_or(0) + delta.tokens.len() as u32);
            }
            _ => {}
        }
        let tokens: Vec<Piece> = if self.detail.output_tokens {
            let tokens = delta.tokens.into_iter();
            tokens.map(|token| piece(token, &self.detail)).collect()
        } else {
            Vec::new()
        };
        if delta.text.is_empty() && tokens.is_empty() {
            return;
        }
        self.first(out);
        out.push(Output::Piece(Generated {
            text: delta.text,
            tokens,
            ..self.blank()
        }));
    }

    /// A piece that tells the counts so far, and nothing else.
    fn blank(&self) -> Generated {
        Generated {
            count: self.output.unwrap_or(0).into(),
            producer: self.producer.clone(),
            ..Generated::default()
        }
    }

    fn finished(&mut self, finished: &Finished, out: &mut Vec<Output>) {
        let Some(reason) = reason_of(&finished.reason) else {
            out.push(generation_failed());
            return;
        };
        self.reason = Some(reason);
        self.input = finished.input_tokens.or(self.input);
        self.seed = finished.seed.or(self.seed);
        let told = finished.output_tokens.is_some();
        self.output = finished.output_tokens.or(self.output);
        // A first piece that is still held waits for the end too: the count may come.
        if self.phase == Phase::Text {
            self.phase = Phase::Last;
        }
        if self.phase == Phase::First && self.input.is_some() {
            self.first(out);
            self.phase = Phase::Last;
        }
        if told {
            self.last_if_known(out);
        }
    }

    /// The first piece, and the input's tokens after it.
    fn first(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::First {
            return;
        }
        self.phase = if self.reason.is_none() {
            Phase::Text
        } else {
            Phase::Last
        };
        self.told_input = self.input.is_some();
        out.push(Output::Piece(Generated {
            text: std::mem::take(&mut self.prompt),
            count: 0,
            input_count: self.input.map(i64::from),
            seed: self.seed,
            ..self.blank()
        }));
        if !self.prompt_tokens.is_empty() {
            out.push(Output::Piece(Generated {
                count: 0,
                input_tokens: std::mem::take(&mut self.prompt_tokens),
                ..self.blank()
            }));
        }
    }

    fn last_if_known(&mut self, out: &mut Vec<Output>) {
        if self.input.is_some() && self.output.is_some() {
            self.last(out);
        }
    }

    fn last(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::Last {
            return;
        }
        self.phase = Phase::Over;
        let untold = self.input.filter(|_| !self.told_input);
        out.push(Output::Piece(Generated {
            reason: self.reason.unwrap_or_default(),
            seed: self.seed,
            input_count: untold.map(i64::from),
            ..self.blank()
        }));
    }

    fn end(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::Over {
            if self.reason.is_none() {
                out.push(unfinished("a reason to stop"));
                return;
            }
            self.first(out);
            self.last(out);
        }
        out.push(Output::Done);
    }

    pub fn usage(&self) -> Option<Usage> {
        (self.input.is_some() || self.output.is_some()).then(|| Usage {
            input_tokens: self.input.map(u64::from),
            output_tokens: self.output.map(u64::from),
            cached_tokens: None,
            extensions: Vec::new(),
        })
    }
}
