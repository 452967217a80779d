//! What a session says, where there is one item and nothing special about it.
//!
//! ```
//! use tollgate_sdk_worker::{event, inference::{Event, FinishReason}};
//!
//! let said = [
//!     event::delta("Hello"),
//!     event::finished(FinishReason::EndOfSequence),
//!     event::usage(2, 1),
//!     Event::End,
//! ];
//! assert!(matches!(&said[0], Event::Delta(delta) if delta.item == 0));
//! ```

use crate::{
    inference::{Delta, Event, FinishReason, Finished, Usage},
    types::{Failure, FailureKind},
};

/// New text.
#[must_use]
pub fn delta(text: impl Into<String>) -> Event {
    Event::Delta(Delta {
        item: 0,
        text: text.into(),
        tokens: Vec::new(),
        output_tokens: None,
        extras: Vec::new(),
    })
}

/// The answer is complete.
#[must_use]
pub fn finished(reason: FinishReason) -> Event {
    Event::Finished(Finished {
        item: 0,
        reason,
        stop_sequence: None,
        input_tokens: None,
        output_tokens: None,
        seed: None,
    })
}

/// Tokens so far.
#[must_use]
pub fn usage(input: u32, output: u32) -> Event {
    Event::Usage(Usage {
        input_tokens: Some(input.into()),
        output_tokens: Some(output.into()),
        cached_tokens: None,
        extensions: Vec::new(),
    })
}

/// The call has failed: the last event.
#[must_use]
pub fn failed(kind: FailureKind, message: impl Into<String>) -> Event {
    Event::Failed(Failure {
        kind,
        message: message.into(),
        param: None,
        retry_after_ms: None,
        extensions: Vec::new(),
    })
}
