//! The answer to `GenerateStream`, message by message.
//!
//! 1. What is known of the input comes first: its count, the seed and, if asked for, the
//!    prompt. This message is held until the count is known or the first text comes,
//!    whichever is sooner.
//! 2. The tokens of the input, if asked for, in a message of their own.
//! 3. New text as it comes, with the count of tokens so far. Steps without text are left
//!    out, unless they bring tokens that were asked for.
//! 4. The reason to stop. It is held until the counts are known or the call ends. If the
//!    first message went without the count of the input, it stands here.

use prost::Message;
use tollgate_sdk_protocol::inference::{
    Delta, Detail, Event, FinishReason, Finished, Started, Usage,
};

use super::{
    batch::saturated,
    reply::{Output, generation_failed, unfinished},
};
use crate::{
    fmaas::{GenerationResponse, TokenInfo},
    neutral::{stop_reason, token_info},
};

/// Where the answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first message is held.
    First,
    /// Text may come.
    Text,
    /// The reason is known; the last message is held.
    Last,
    /// All is said.
    Over,
}

/// A stream in the making.
pub struct Stream {
    detail: Detail,
    limited: bool,
    phase: Phase,
    started: bool,
    prompt: String,
    prompt_tokens: Vec<TokenInfo>,
    seed: u64,
    input: Option<u32>,
    /// The first message told the count of the input.
    told_input: bool,
    output: Option<u32>,
    last: GenerationResponse,
}

impl Stream {
    /// `seed` is the client's, reported unless the worker tells another.
    pub fn new(detail: Detail, seed: u64, limited: bool) -> Self {
        Self {
            detail,
            limited,
            phase: Phase::First,
            started: false,
            prompt: String::new(),
            prompt_tokens: Vec::new(),
            seed,
            input: None,
            told_input: false,
            output: None,
            last: GenerationResponse::default(),
        }
    }

    pub fn take(&mut self, event: Event, out: &mut Vec<Output>) {
        match event {
            Event::Started(started) if started.item == 0 => self.started(started, out),
            Event::Delta(delta) if delta.item == 0 => self.delta(delta, out),
            Event::Finished(finished) if finished.item == 0 => self.finished(finished, out),
            Event::Started(_) | Event::Delta(_) | Event::Finished(_) => {
                out.push(unfinished("keeping to the one prompt that it was given"));
            }
            Event::Usage(usage) => self.counted(&usage, out),
            Event::End => self.end(out),
            _ => {}
        }
    }

    fn started(&mut self, started: Started, out: &mut Vec<Output>) {
        self.started = true;
        self.input = started.input_tokens.or(self.input);
        self.seed = started.seed.unwrap_or(self.seed);
        if self.detail.echo {
            self.prompt.push_str(&started.echo.unwrap_or_default());
        }
        if self.detail.input_tokens {
            let tokens = started.tokens.into_iter();
            self.prompt_tokens
                .extend(tokens.map(|token| token_info(token, &self.detail)));
        }
        if self.input.is_some() {
            self.first(out);
        }
    }

    fn counted(&mut self, usage: &Usage, out: &mut Vec<Output>) {
        self.input = usage.input_tokens.map(saturated).or(self.input);
        self.output = usage.output_tokens.map(saturated).or(self.output);
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
        let tokens: Vec<_> = if self.detail.output_tokens {
            delta
                .tokens
                .into_iter()
                .map(|token| token_info(token, &self.detail))
                .collect()
        } else {
            Vec::new()
        };
        if delta.text.is_empty() && tokens.is_empty() {
            return;
        }
        self.first(out);
        message(
            out,
            &GenerationResponse {
                text: delta.text,
                generated_token_count: self.output.unwrap_or(0),
                tokens,
                ..Default::default()
            },
        );
    }

    fn finished(&mut self, finished: Finished, out: &mut Vec<Output>) {
        let Some(reason) = stop_reason(&finished.reason, self.limited) else {
            out.push(generation_failed());
            return;
        };
        self.last.set_stop_reason(reason);
        if finished.reason == FinishReason::StopSequence {
            self.last.stop_sequence = finished.stop_sequence.unwrap_or_default();
        }
        self.input = finished.input_tokens.or(self.input);
        self.seed = finished.seed.unwrap_or(self.seed);
        let told = finished.output_tokens.is_some();
        self.output = finished.output_tokens.or(self.output);
        // A first message that is still held waits for the end too: the count may come.
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

    /// The first message, and the input's tokens after it.
    fn first(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::First {
            return;
        }
        self.phase = if self.last.stop_reason == 0 {
            Phase::Text
        } else {
            Phase::Last
        };
        self.told_input = self.input.is_some();
        message(
            out,
            &GenerationResponse {
                text: std::mem::take(&mut self.prompt),
                input_token_count: self.input.unwrap_or(0),
                seed: self.seed,
                ..Default::default()
            },
        );
        if !self.prompt_tokens.is_empty() {
            let input_tokens = std::mem::take(&mut self.prompt_tokens);
            message(
                out,
                &GenerationResponse {
                    input_tokens,
                    ..Default::default()
                },
            );
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
        let mut last = std::mem::take(&mut self.last);
        last.generated_token_count = self.output.unwrap_or(0);
        last.seed = self.seed;
        if !self.told_input {
            last.input_token_count = self.input.unwrap_or(0);
        }
        message(out, &last);
    }

    fn end(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::Over {
            if self.last.stop_reason == 0 {
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

fn message(out: &mut Vec<Output>, response: &GenerationResponse) {
    out.push(Output::Message(response.encode_to_vec()));
}
