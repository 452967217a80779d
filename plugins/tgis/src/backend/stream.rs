//! Events of a worker's `GenerateStream`.
//!
//! 1. The first message tells the input: count, seed and, when asked for, the prompt. Its
//!    `started` waits for one message more when the tokens of the input are still to come:
//!    some servers send them apart.
//! 2. Texts and tokens are new ones, counts are totals.
//! 3. The message with a reason is the last that counts.

use tollgate_sdk_protocol::{
    inference::{Delta, Event, Finished, Started},
    types::Failure,
};

use super::answer::{Wanted, reason_of, seed, stop_sequence, usage};
use crate::{fmaas::GenerationResponse, neutral::token};

/// A stream that is read.
pub struct Stream {
    wanted: Wanted,
    held: Option<Started>,
    begun: bool,
    finished: bool,
    input: u32,
    seed: u64,
}

impl Stream {
    pub fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            held: None,
            begun: false,
            finished: false,
            input: 0,
            seed: 0,
        }
    }

    /// The worker gave its reason to stop.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Takes one message; gives its events.
    ///
    /// # Errors
    /// When it has a reason that the protocol has not.
    pub fn take(&mut self, mut message: GenerationResponse) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        if self.finished {
            return Ok(events);
        }
        let detail = self.wanted.detail;
        let reason = reason_of(&message, self.wanted.limited)?;
        self.input = self.input.max(message.input_token_count);
        self.seed = if message.seed == 0 {
            self.seed
        } else {
            message.seed
        };
        if !self.begun {
            self.begun = true;
            // A first message with output is no head: the text is not the prompt alone.
            let head = message.generated_token_count == 0 && reason.is_none();
            let prompt = (head && detail.echo).then(|| std::mem::take(&mut message.text));
            self.held = Some(Started {
                item: 0,
                input_tokens: Some(message.input_token_count),
                seed: seed(message.seed),
                echo: prompt,
                tokens: Vec::new(),
            });
        }
        let told = message
            .input_tokens
            .drain(..)
            .map(|info| token(info, &detail));
        if let Some(started) = &mut self.held {
            started.tokens.extend(told);
        }
        let output = !message.text.is_empty() || !message.tokens.is_empty();
        let waiting = detail.input_tokens
            && self
                .held
                .as_ref()
                .is_some_and(|started| started.tokens.is_empty());
        if !waiting || output || reason.is_some() {
            events.extend(self.held.take().map(Event::Started));
        }
        if output {
            events.push(Event::Delta(Delta {
                item: 0,
                text: message.text,
                tokens: message
                    .tokens
                    .into_iter()
                    .map(|info| token(info, &detail))
                    .collect(),
                output_tokens: Some(message.generated_token_count),
                extras: Vec::new(),
            }));
        }
        if let Some(reason) = reason {
            self.finished = true;
            events.push(Event::Finished(Finished {
                item: 0,
                stop_sequence: stop_sequence(&reason, message.stop_sequence),
                reason,
                input_tokens: Some(self.input),
                output_tokens: Some(message.generated_token_count),
                seed: seed(self.seed),
            }));
            events.push(usage(
                self.input.into(),
                message.generated_token_count.into(),
            ));
        }
        Ok(events)
    }
}
