//! Counts tokens in responses that pass through.

use prost::Message;
use serde::Deserialize;
use tollgate_sdk_protocol::{
    Bytes, actions,
    inference::Usage,
    sse,
    types::{Need, Progress, ResponseHead},
};

use crate::{
    endpoint::Endpoint,
    proto::{GeneratedTextResult, GeneratedTextStreamResult, TokenizationResults},
};

/// Longest event of a stream that is looked at.
const EVENT: usize = 4 << 20;
/// Bytes of a stream read at once.
const WINDOW: u64 = 64 * 1024;

/// Counts of one passed call.
#[derive(Debug)]
pub struct Tap {
    endpoint: Endpoint,
    input: Option<u64>,
    output: Option<u64>,
    events: Option<sse::Reader>,
    position: u64,
    failed: bool,
}

/// `input_token_count` of every result but a text's and a tokenization's.
#[derive(Clone, PartialEq, Message)]
struct Counted {
    #[prost(int64, tag = "3")]
    input_token_count: i64,
}

/// Counts of a REST result, wherever they stand in it.
#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    generated_tokens: Option<u64>,
    #[serde(default)]
    input_token_count: Option<u64>,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    generated_tokens: Option<u64>,
    #[serde(default)]
    input_token_count: Option<u64>,
}

impl Tap {
    /// Nothing is counted yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            input: None,
            output: None,
            events: None,
            position: 0,
            failed: false,
        }
    }

    /// The response begins.
    pub fn head(&mut self, head: &ResponseHead) {
        let content_type = actions::header_value(&head.headers, "content-type").unwrap_or("");
        self.failed = head.status != 200;
        self.events = content_type
            .trim_start()
            .starts_with("text/event-stream")
            .then(|| sse::Reader::new(EVENT));
    }

    /// The body got further; what is to be waited for.
    pub fn bytes(&mut self, bytes: &dyn Bytes, progress: Progress) -> Option<Need> {
        if self.failed {
            return None;
        }
        let Some(mut reader) = self.events.take() else {
            if progress.end {
                self.whole(bytes, progress);
                return None;
            }
            return Some(actions::whole(progress.source));
        };
        while self.position < progress.available {
            let len = (progress.available - self.position).min(WINDOW);
            let piece = bytes.read_all(progress.source, self.position, len);
            self.position += piece.len() as u64;
            match reader.push(&piece) {
                Ok(events) => events.iter().for_each(|event| self.event(&event.data)),
                // The client's affair: nothing more is counted.
                Err(sse::TooLong) => {
                    self.failed = true;
                    return None;
                }
            }
        }
        self.events = Some(reader);
        None
    }

    /// Two members of the object: however long the vectors are, they are not copied.
    fn whole(&mut self, bytes: &dyn Bytes, progress: Progress) {
        let keys = ["input_token_count", "generated_tokens", "token_count"].map(str::to_owned);
        let found = bytes.json_members(progress.source, 0, progress.available, &keys);
        for member in found.unwrap_or_default() {
            let raw = bytes.read_all(progress.source, member.offset, member.len);
            let Ok(count) = serde_json::from_slice::<u64>(&raw) else {
                continue;
            };
            match member.key {
                1 => self.output = Some(count),
                _ => self.input = Some(count),
            }
        }
    }

    fn event(&mut self, data: &[u8]) {
        let Ok(counts) = serde_json::from_slice::<Counts>(data) else {
            return;
        };
        let (input, output) = match counts.details {
            Some(details) => (details.input_token_count, details.generated_tokens),
            None => (counts.input_token_count, counts.generated_tokens),
        };
        self.count(input, output);
    }

    /// Reads a message that has arrived whole. What cannot be read is the worker's and
    /// the client's affair: nothing is counted.
    pub fn message(&mut self, message: &[u8]) {
        let natural = |count: i64| u64::try_from(count).ok();
        match self.endpoint {
            Endpoint::Generate => {
                if let Ok(result) = GeneratedTextResult::decode(message) {
                    self.count(
                        natural(result.input_token_count),
                        natural(result.generated_tokens),
                    );
                }
            }
            Endpoint::GenerateStream => {
                if let Ok(result) = GeneratedTextStreamResult::decode(message) {
                    let details = result.details.unwrap_or_default();
                    self.count(
                        natural(details.input_token_count),
                        Some(details.generated_tokens.into()),
                    );
                }
            }
            Endpoint::Tokenize => {
                if let Ok(result) = TokenizationResults::decode(message) {
                    self.count(natural(result.token_count), None);
                }
            }
            // These count nothing.
            Endpoint::Classify | Endpoint::ClassifyTokens => {}
            _ => {
                if let Ok(result) = Counted::decode(message) {
                    self.count(natural(result.input_token_count), None);
                }
            }
        }
    }

    /// Only a stream's first message need tell the input; output counts are totals.
    fn count(&mut self, input: Option<u64>, output: Option<u64>) {
        self.input = self.input.max(input);
        self.output = self.output.max(output);
    }

    /// What was counted, if anything was.
    pub fn usage(&self) -> Option<Usage> {
        (self.input.is_some() || self.output.is_some()).then(|| Usage {
            input_tokens: self.input,
            output_tokens: self.output,
            cached_tokens: None,
            extensions: Vec::new(),
        })
    }
}
