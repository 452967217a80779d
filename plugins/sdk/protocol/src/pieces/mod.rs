//! The answer to streaming generation, piece by piece, for protocols whose streams tell
//! the input first and the reason to stop last. [`Pieces`] takes the events of one text
//! and gives what is to be said; the frontend writes each piece as its protocol does.
//!
//! 1. What is known of the input comes first: its count, the seed and, if asked for, the
//!    prompt. This piece is held until the count is known or the first text comes,
//!    whichever is sooner.
//! 2. The tokens of the input, if asked for, in a piece of their own.
//! 3. New text as it comes, with the count of tokens so far. Steps without text are left
//!    out, unless they bring tokens that were asked for.
//! 4. The reason to stop. It is held until the counts are known or the call ends. If the
//!    first piece went without the count of the input, it stands here.

use crate::inference::{Delta, Detail, Event, FinishReason, Finished, Started, Token, Usage};

/// What is to be said next.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// First, and once.
    Input {
        /// Empty unless it was asked for.
        prompt: String,
        /// Tokens of the input, where they are known by now.
        count: Option<u32>,
        /// The seed, where it is known by now.
        seed: Option<u64>,
    },
    /// At most once, after [`Piece::Input`], and not empty.
    InputTokens(Vec<Token>),
    /// Any number of times: new text, new tokens, or both.
    Text {
        /// What is new.
        text: String,
        /// Its tokens; empty unless they were asked for.
        tokens: Vec<Token>,
        /// Tokens of the output so far.
        count: u32,
    },
    /// Last, and once.
    Reason {
        /// Never [`FinishReason::Error`], which is [`Broken::Failed`].
        reason: FinishReason,
        /// The one that was found; none with any other reason.
        stop_sequence: Option<String>,
        /// Tokens of the input, if [`Piece::Input`] could not tell.
        input: Option<u32>,
        /// Tokens of the output.
        count: u32,
        /// The seed.
        seed: Option<u64>,
    },
    /// All is said, and all went well.
    End,
}

/// Why an answer cannot be completed. Nothing comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The worker spoke of another text than the one that it was given.
    Stray,
    /// The generation failed by the worker's own word.
    Failed,
    /// The worker ended without a reason to stop.
    Unfinished,
}

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

/// An answer in the making. What it holds is the tokens of the input, and those only
/// until the first piece.
#[derive(Debug)]
pub struct Pieces {
    detail: Detail,
    phase: Phase,
    started: bool,
    prompt: String,
    prompt_tokens: Vec<Token>,
    seed: Option<u64>,
    input: Option<u32>,
    /// The first piece told the count of the input.
    told_input: bool,
    output: Option<u32>,
    reason: Option<(FinishReason, Option<String>)>,
}

impl Pieces {
    /// `seed` is the client's, told unless the worker tells another.
    #[must_use]
    pub fn new(detail: Detail, seed: Option<u64>) -> Self {
        Self {
            detail,
            phase: Phase::First,
            started: false,
            prompt: String::new(),
            prompt_tokens: Vec::new(),
            seed,
            input: None,
            told_input: false,
            output: None,
            reason: None,
        }
    }

    /// Takes an event, and says what it leads to.
    ///
    /// # Errors
    /// When the answer cannot be completed.
    pub fn take(&mut self, event: Event, say: &mut impl FnMut(Piece)) -> Result<(), Broken> {
        match event {
            Event::Started(started) if started.item == 0 => self.started(started, say),
            Event::Delta(delta) if delta.item == 0 => self.delta(delta, say),
            Event::Finished(finished) if finished.item == 0 => self.finished(finished, say)?,
            Event::Started(_) | Event::Delta(_) | Event::Finished(_) => return Err(Broken::Stray),
            Event::Usage(usage) => self.counted(&usage, say),
            Event::End => self.end(say)?,
            _ => {}
        }
        Ok(())
    }

    /// Tokens counted so far, where there are any to count.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        (self.input.is_some() || self.output.is_some()).then(|| Usage {
            input_tokens: self.input.map(u64::from),
            output_tokens: self.output.map(u64::from),
            cached_tokens: None,
            extensions: Vec::new(),
        })
    }

    fn started(&mut self, started: Started, say: &mut impl FnMut(Piece)) {
        self.started = true;
        self.input = started.input_tokens.or(self.input);
        self.seed = started.seed.or(self.seed);
        if self.detail.echo {
            self.prompt.push_str(&started.echo.unwrap_or_default());
        }
        if self.detail.input_tokens {
            self.prompt_tokens.extend(started.tokens);
        }
        if self.input.is_some() {
            self.first(say);
        }
    }

    fn counted(&mut self, usage: &Usage, say: &mut impl FnMut(Piece)) {
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.input = usage.input_tokens.map(small).or(self.input);
        self.output = usage.output_tokens.map(small).or(self.output);
        if self.started && self.input.is_some() {
            self.first(say);
        }
        self.last_if_known(say);
    }

    fn delta(&mut self, delta: Delta, say: &mut impl FnMut(Piece)) {
        match (delta.output_tokens, self.output) {
            (Some(count), _) => self.output = Some(count),
            (None, known) if !delta.tokens.is_empty() => {
                self.output = Some(known.unwrap_or(0) + delta.tokens.len() as u32);
            }
            _ => {}
        }
        let tokens = if self.detail.output_tokens {
            delta.tokens
        } else {
            Vec::new()
        };
        if delta.text.is_empty() && tokens.is_empty() {
            return;
        }
        self.first(say);
        say(Piece::Text {
            text: delta.text,
            tokens,
            count: self.output.unwrap_or(0),
        });
    }

    fn finished(&mut self, finished: Finished, say: &mut impl FnMut(Piece)) -> Result<(), Broken> {
        if finished.reason == FinishReason::Error {
            return Err(Broken::Failed);
        }
        let stop = finished.stop_sequence;
        let stop = stop.filter(|_| finished.reason == FinishReason::StopSequence);
        self.reason = Some((finished.reason, stop));
        self.input = finished.input_tokens.or(self.input);
        self.seed = finished.seed.or(self.seed);
        let told = finished.output_tokens.is_some();
        self.output = finished.output_tokens.or(self.output);
        // A first piece that is still held waits for the end too: the count may come.
        match self.phase {
            Phase::Text => self.phase = Phase::Last,
            Phase::First if self.input.is_some() => self.first(say),
            _ => {}
        }
        if told {
            self.last_if_known(say);
        }
        Ok(())
    }

    /// The first piece, and the input's tokens after it.
    fn first(&mut self, say: &mut impl FnMut(Piece)) {
        if self.phase != Phase::First {
            return;
        }
        self.phase = match self.reason {
            None => Phase::Text,
            Some(_) => Phase::Last,
        };
        self.told_input = self.input.is_some();
        say(Piece::Input {
            prompt: std::mem::take(&mut self.prompt),
            count: self.input,
            seed: self.seed,
        });
        if !self.prompt_tokens.is_empty() {
            say(Piece::InputTokens(std::mem::take(&mut self.prompt_tokens)));
        }
    }

    fn last_if_known(&mut self, say: &mut impl FnMut(Piece)) {
        if self.input.is_some() && self.output.is_some() {
            self.last(say);
        }
    }

    fn last(&mut self, say: &mut impl FnMut(Piece)) {
        if self.phase != Phase::Last {
            return;
        }
        let Some((reason, stop_sequence)) = self.reason.take() else {
            return;
        };
        self.phase = Phase::Over;
        say(Piece::Reason {
            reason,
            stop_sequence,
            input: self.input.filter(|_| !self.told_input),
            count: self.output.unwrap_or(0),
            seed: self.seed,
        });
    }

    fn end(&mut self, say: &mut impl FnMut(Piece)) -> Result<(), Broken> {
        if self.phase != Phase::Over {
            if self.reason.is_none() {
                return Err(Broken::Unfinished);
            }
            self.first(say);
            self.last(say);
        }
        say(Piece::End);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
