//! The answer to `Generate`: one response for each prompt, sent when all are complete.

use prost::Message;
use tollgate_sdk_protocol::inference::{Detail, Event, FinishReason, Usage};

use super::reply::{Output, generation_failed, unfinished};
use crate::{
    fmaas::{BatchedGenerationResponse, GenerationResponse},
    neutral::{stop_reason, token_info},
};

/// Collects what the worker says of each prompt.
pub struct Batch {
    items: Vec<Item>,
    detail: Detail,
    limited: bool,
    total: Option<Usage>,
}

#[derive(Default)]
struct Item {
    response: GenerationResponse,
    input_known: bool,
    output_known: bool,
    finished: bool,
}

impl Batch {
    /// `seed` is the client's, reported unless the worker tells another.
    pub fn new(prompts: usize, detail: Detail, seed: u64, limited: bool) -> Self {
        let item = || Item {
            response: GenerationResponse {
                seed,
                ..Default::default()
            },
            ..Default::default()
        };
        let items = std::iter::repeat_with(item).take(prompts).collect();
        Self {
            items,
            detail,
            limited,
            total: None,
        }
    }

    pub fn take(&mut self, event: Event, out: &mut Vec<Output>) {
        let (detail, limited) = (self.detail, self.limited);
        let item = match &event {
            Event::Started(started) => started.item,
            Event::Delta(delta) => delta.item,
            Event::Finished(finished) => finished.item,
            Event::Usage(usage) => {
                self.total = Some(usage.clone());
                return;
            }
            Event::End => return self.end(out),
            _ => return,
        };
        let Some(item) = self.items.get_mut(item as usize) else {
            out.push(unfinished("keeping to the prompts that it was given"));
            return;
        };
        let response = &mut item.response;
        match event {
            Event::Started(started) => {
                if let Some(count) = started.input_tokens {
                    response.input_token_count = count;
                    item.input_known = true;
                }
                response.seed = started.seed.unwrap_or(response.seed);
                if let Some(prompt) = started.echo.filter(|_| detail.echo) {
                    response.text.insert_str(0, &prompt);
                }
                if detail.input_tokens {
                    let tokens = started.tokens.into_iter();
                    response
                        .input_tokens
                        .extend(tokens.map(|token| token_info(token, &detail)));
                }
            }
            Event::Delta(delta) => {
                response.text.push_str(&delta.text);
                if let Some(count) = delta.output_tokens {
                    response.generated_token_count = count;
                    item.output_known = true;
                } else if !item.output_known {
                    response.generated_token_count += delta.tokens.len() as u32;
                }
                if detail.output_tokens {
                    let tokens = delta.tokens.into_iter();
                    response
                        .tokens
                        .extend(tokens.map(|token| token_info(token, &detail)));
                }
            }
            Event::Finished(finished) => {
                let Some(reason) = stop_reason(&finished.reason, limited) else {
                    out.push(generation_failed());
                    return;
                };
                item.finished = true;
                response.set_stop_reason(reason);
                if finished.reason == FinishReason::StopSequence {
                    response.stop_sequence = finished.stop_sequence.unwrap_or_default();
                }
                if let Some(count) = finished.input_tokens {
                    response.input_token_count = count;
                    item.input_known = true;
                }
                if let Some(count) = finished.output_tokens {
                    response.generated_token_count = count;
                    item.output_known = true;
                }
                response.seed = finished.seed.unwrap_or(response.seed);
            }
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Vec<Output>) {
        if !self.items.iter().all(|item| item.finished) {
            out.push(unfinished("finishing every prompt"));
            return;
        }
        // The total of one prompt is that prompt's; of several it tells nothing of each.
        if let ([item], Some(total)) = (self.items.as_mut_slice(), &self.total) {
            if let (false, Some(count)) = (item.input_known, total.input_tokens) {
                item.response.input_token_count = saturated(count);
            }
            if let (false, Some(count)) = (item.output_known, total.output_tokens) {
                item.response.generated_token_count = saturated(count);
            }
        }
        let responses = self
            .items
            .iter_mut()
            .map(|item| std::mem::take(&mut item.response));
        let message = BatchedGenerationResponse {
            responses: responses.collect(),
        };
        // Kept for the count of usage, which is asked for after the end.
        self.total
            .get_or_insert_with(|| total_of(&message.responses));
        out.extend([Output::Message(message.encode_to_vec()), Output::Done]);
    }

    pub fn usage(&self) -> Option<Usage> {
        self.total.clone()
    }
}

fn total_of(responses: &[GenerationResponse]) -> Usage {
    let sum = |of: fn(&GenerationResponse) -> u32| {
        Some(
            responses
                .iter()
                .map(|response| u64::from(of(response)))
                .sum(),
        )
    };
    Usage {
        input_tokens: sum(|response| response.input_token_count),
        output_tokens: sum(|response| response.generated_token_count),
        cached_tokens: None,
        extensions: Vec::new(),
    }
}

/// Counts of this protocol have 32 bits.
pub fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
