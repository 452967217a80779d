//! The task `embed`: one vector for each input, one input at a time.

use std::sync::Arc;

use tollgate_sdk_worker::Session;
use tollgate_sdk_worker::inference::{Embed, Embedding, Event, Started, Truncation, Usage, Vector};
use tollgate_sdk_worker::serving::{Progress, Stepped};
use tollgate_sdk_worker::types::Failure;

use crate::hash::{DIMENSIONS, embed};
use crate::model::Model;
use crate::prompt::{Habit, Reading, kept};
use crate::refusal::{invalid, no_extras};

/// Longest input in tokens. They are the language model's, so that lengths and
/// truncation mean the same for both.
pub const LONGEST: usize = 8192;

/// See the module.
pub struct Embedder {
    model: Arc<Model>,
    inputs: std::vec::IntoIter<Reading>,
    reading: Option<Reading>,
    dimensions: usize,
    truncate: Option<Truncation>,
    item: u32,
    input_tokens: u64,
}

impl Embedder {
    /// # Errors
    /// When a value is out of its domain.
    pub fn new(model: Arc<Model>, task: Embed) -> Result<Self, Failure> {
        no_extras(&task.extras)?;
        let dimensions = task
            .dimensions
            .map_or(DIMENSIONS, |dimensions| dimensions as usize);
        if !(1..=DIMENSIONS).contains(&dimensions) {
            let message = format!("dimensions must be between 1 and {DIMENSIONS}");
            return Err(invalid("dimensions", message));
        }
        let mut inputs = task
            .inputs
            .into_iter()
            .map(|input| Reading::prompt(input, model.vocabulary(), false))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let reading = inputs.next();
        Ok(Embedder {
            model,
            inputs,
            reading,
            dimensions,
            truncate: task.truncate,
            item: 0,
            input_tokens: 0,
        })
    }

    fn embed(&mut self, reading: Reading, events: &mut Vec<Event>) -> Result<(), Failure> {
        let mut text = reading.source().to_owned();
        let tokens = reading.into_tokens();
        let range = kept(tokens.len(), self.truncate.as_ref(), Habit::CutRight)?;
        if range.len() > LONGEST {
            let message = format!(
                "input {} has {} tokens, more than {LONGEST}",
                self.item,
                range.len()
            );
            return Err(invalid("input", message));
        }
        self.input_tokens += range.len() as u64;
        let input_tokens = range.len() as u32;
        if range.len() < tokens.len() || text.is_empty() {
            text = self.model.vocabulary().decode(&tokens[range]);
        }
        events.push(Event::Started(Started {
            item: self.item,
            input_tokens: Some(input_tokens),
            seed: None,
            echo: None,
            tokens: Vec::new(),
        }));
        let values = Vector::Floats(embed(&text, self.dimensions));
        events.push(Event::Embeddings(vec![Embedding {
            item: self.item,
            values,
        }]));
        self.item += 1;
        Ok(())
    }
}

impl Session for Embedder {
    fn step(&mut self) -> Stepped {
        let mut events = Vec::new();
        if let Some(mut reading) = self.reading.take() {
            if !reading.advance(self.model.vocabulary()) {
                self.reading = Some(reading);
            } else if let Err(failure) = self.embed(reading, &mut events) {
                events.push(Event::Failed(failure));
                return Stepped {
                    events,
                    progress: Progress::Done,
                };
            } else {
                self.reading = self.inputs.next();
            }
        }
        if self.reading.is_some() {
            return Stepped {
                events,
                progress: Progress::More,
            };
        }
        events.push(Event::Usage(Usage {
            input_tokens: Some(self.input_tokens),
            output_tokens: None,
            cached_tokens: None,
            extensions: Vec::new(),
        }));
        events.push(Event::End);
        Stepped {
            events,
            progress: Progress::Done,
        }
    }
}
