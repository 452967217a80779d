//! Counts of tokens in the words of the APIs that go through.

use serde::Deserialize;
use tollgate_sdk_protocol::inference::Usage;

/// Usage as the APIs write it.
#[derive(Deserialize)]
struct RawUsage {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<u64>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<Details>,
    cache_read_input_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

/// What a response or an event tells of tokens; none: it is nothing of the kind.
pub(super) fn of(raw: &[u8]) -> Option<Usage> {
    let usage: RawUsage = serde_json::from_slice(raw).ok()?;
    // Older servers tell of a rerank only the sum, and that is all input.
    let all = usage
        .total_tokens
        .filter(|_| usage.completion_tokens.is_none());
    let details = usage.prompt_tokens_details;
    Some(Usage {
        input_tokens: usage.prompt_tokens.or(all),
        output_tokens: usage.completion_tokens.or(all.map(|_| 0)),
        cached_tokens: details
            .and_then(|details| details.cached_tokens)
            .or(usage.cache_read_input_tokens),
        extensions: Vec::new(),
    })
}
