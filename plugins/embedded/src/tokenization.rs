//! The tasks `tokenize`, one input at a time, and `detokenize`.

use std::ops::Range;
use std::sync::Arc;

use tollgate_sdk_worker::Session;
use tollgate_sdk_worker::inference::{Event, Offset, Tokenize, Tokenized};
use tollgate_sdk_worker::serving::{Progress, Stepped};
use tollgate_sdk_worker::types::Failure;

use crate::bpe::Vocabulary;
use crate::model::Model;
use crate::prompt::{Habit, Reading, kept};
use crate::refusal::{inline, no_extras};

/// See the module.
pub struct Tokenizer {
    model: Arc<Model>,
    inputs: std::vec::IntoIter<Reading>,
    reading: Option<Reading>,
    task: Tokenize,
    item: u32,
}

impl Tokenizer {
    /// Without a wish of the caller's the mark that begins a text is added, as it is
    /// for `generate`.
    ///
    /// # Errors
    /// When a value is out of its domain.
    pub fn new(model: Arc<Model>, mut task: Tokenize) -> Result<Self, Failure> {
        no_extras(&task.extras)?;
        let marks = task.add_special_tokens.unwrap_or(true);
        let mut inputs = std::mem::take(&mut task.inputs)
            .into_iter()
            .map(|input| Ok(Reading::text(inline(input)?, marks)))
            .collect::<Result<Vec<_>, Failure>>()?
            .into_iter();
        let reading = inputs.next();
        Ok(Tokenizer {
            model,
            inputs,
            reading,
            task,
            item: 0,
        })
    }

    fn tokenized(&self, reading: Reading) -> Result<Tokenized, Failure> {
        let vocabulary = self.model.vocabulary();
        let text = reading.source().to_owned();
        let tokens = reading.into_tokens();
        let range = kept(tokens.len(), self.task.truncate.as_ref(), Habit::CutLeft)?;
        let offsets = match self.task.offsets {
            true => offsets(&text, &tokens, range.clone(), vocabulary),
            false => Vec::new(),
        };
        let tokens = &tokens[range];
        Ok(Tokenized {
            item: self.item,
            count: tokens.len() as u32,
            ids: tokens.iter().copied().map(u32::from).collect(),
            texts: match self.task.tokens {
                true => tokens.iter().map(|&token| vocabulary.text(token)).collect(),
                false => Vec::new(),
            },
            offsets,
        })
    }
}

/// Where each of the tokens in `range` stands in the text, in Unicode code points, end
/// exclusive. A token that is part of a character has that whole character's place;
/// a mark is empty.
fn offsets(
    text: &str,
    tokens: &[u16],
    range: Range<usize>,
    vocabulary: &Vocabulary,
) -> Vec<Offset> {
    let bytes = text.as_bytes();
    let is_start = |at: usize| bytes.get(at).is_none_or(|byte| byte & 0xC0 != 0x80);
    let mut at = 0;
    // Characters that begin before `at`.
    let mut begun = 0;
    let mut found = Vec::with_capacity(range.len());
    for (index, &token) in tokens.iter().enumerate().take(range.end) {
        let len = vocabulary.bytes(token).len();
        let start = if is_start(at) || len == 0 {
            begun
        } else {
            begun - 1
        };
        begun += (at..at + len).filter(|&at| is_start(at)).count() as u32;
        at += len;
        if index >= range.start {
            found.push(Offset { start, end: begun });
        }
    }
    found
}

impl Session for Tokenizer {
    fn step(&mut self) -> Stepped {
        let mut events = Vec::new();
        if let Some(mut reading) = self.reading.take() {
            if !reading.advance(self.model.vocabulary()) {
                self.reading = Some(reading);
                return Stepped {
                    events,
                    progress: Progress::More,
                };
            }
            match self.tokenized(reading) {
                Ok(tokenized) => events.push(Event::Tokenized(vec![tokenized])),
                Err(failure) => {
                    events.push(Event::Failed(failure));
                    return Stepped {
                        events,
                        progress: Progress::Done,
                    };
                }
            }
            self.item += 1;
            self.reading = self.inputs.next();
            if self.reading.is_some() {
                return Stepped {
                    events,
                    progress: Progress::More,
                };
            }
        }
        events.push(Event::End);
        Stepped {
            events,
            progress: Progress::Done,
        }
    }
}
