//! Events of a worker's unary answers.

use tollgate_sdk_protocol::{
    backend::MemberEvent,
    failure,
    inference::{
        Call, Delta, Detail, Event, FinishReason, Finished, Offset, Started, Tokenized, Usage,
    },
    types::Failure,
};

use super::request::generate_of;
use crate::{
    fmaas::{BatchedGenerationResponse, BatchedTokenizeResponse, GenerationResponse, StopReason},
    neutral::{finish_reason, token},
};

/// The facts of a call that its answer is read by.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub detail: Detail,
    /// The caller named a limit of new tokens.
    pub limited: bool,
}

impl Wanted {
    /// None for a call that generates nothing.
    pub fn of(call: &Call) -> Option<Self> {
        let settings = &generate_of(call)?.settings;
        let limited = settings.stopping.max_tokens.is_some();
        Some(Self {
            detail: settings.detail,
            limited,
        })
    }
}

/// A usage event of these counts.
pub fn usage(input: u64, output: u64) -> Event {
    Event::Usage(Usage {
        input_tokens: Some(input),
        output_tokens: Some(output),
        cached_tokens: None,
        extensions: Vec::new(),
    })
}

/// Events of all members, each without its `end`.
///
/// # Errors
/// When the responses are not as many as the prompts, or one is not finished.
pub fn generations(
    answer: BatchedGenerationResponse,
    members: &[Call],
) -> Result<Vec<MemberEvent>, Failure> {
    let prompts = |call: &Call| generate_of(call).map_or(0, |generate| generate.prompts.len());
    let expected: usize = members.iter().map(prompts).sum();
    if answer.responses.len() != expected {
        let got = answer.responses.len();
        return Err(failure::upstream_invalid(format!(
            "the worker gave {got} answers to {expected} prompts"
        )));
    }
    let mut responses = answer.responses.into_iter();
    let mut events = Vec::new();
    for (member, call) in (0_u32..).zip(members) {
        let Some(wanted) = Wanted::of(call) else {
            continue;
        };
        let (mut input, mut output) = (0, 0);
        for (item, response) in (0_u32..).zip(responses.by_ref().take(prompts(call))) {
            input += u64::from(response.input_token_count);
            output += u64::from(response.generated_token_count);
            let all = generation(item, response, wanted)?;
            events.extend(all.into_iter().map(|event| MemberEvent { member, event }));
        }
        events.push(MemberEvent {
            member,
            event: usage(input, output),
        });
    }
    Ok(events)
}

fn generation(
    item: u32,
    response: GenerationResponse,
    wanted: Wanted,
) -> Result<[Event; 3], Failure> {
    let reason = reason_of(&response, wanted.limited)?
        .ok_or_else(|| failure::upstream_invalid("the worker gave an answer without a reason"))?;
    let tokens = |tokens: Vec<_>| {
        tokens
            .into_iter()
            .map(|t| token(t, &wanted.detail))
            .collect()
    };
    Ok([
        Event::Started(Started {
            item,
            input_tokens: Some(response.input_token_count),
            seed: seed(response.seed),
            // The prompt, when asked for, stands before the text.
            echo: None,
            tokens: tokens(response.input_tokens),
        }),
        Event::Delta(Delta {
            item,
            text: response.text,
            tokens: tokens(response.tokens),
            output_tokens: Some(response.generated_token_count),
            extras: Vec::new(),
        }),
        Event::Finished(Finished {
            item,
            stop_sequence: stop_sequence(&reason, response.stop_sequence),
            reason,
            input_tokens: Some(response.input_token_count),
            output_tokens: Some(response.generated_token_count),
            seed: seed(response.seed),
        }),
    ])
}

/// The reason, none while there is none yet.
///
/// # Errors
/// When its number is not one of the protocol's.
pub fn reason_of(
    response: &GenerationResponse,
    limited: bool,
) -> Result<Option<FinishReason>, Failure> {
    StopReason::try_from(response.stop_reason)
        .map(|reason| finish_reason(reason, limited))
        .map_err(|error| failure::upstream_invalid(error.to_string()))
}

/// The sequence that matched. Some servers put the end-of-sequence token's text there
/// too, which matched nothing that was asked for.
pub fn stop_sequence(reason: &FinishReason, text: String) -> Option<String> {
    (*reason == FinishReason::StopSequence && !text.is_empty()).then_some(text)
}

/// A seed, where the worker told one: zero is nothing told.
pub fn seed(seed: u64) -> Option<u64> {
    (seed != 0).then_some(seed)
}

/// Counts and tokens of each text.
///
/// # Errors
/// When they are not as many as the texts.
pub fn tokenizations(answer: BatchedTokenizeResponse, texts: usize) -> Result<Event, Failure> {
    if answer.responses.len() != texts {
        let got = answer.responses.len();
        return Err(failure::upstream_invalid(format!(
            "the worker gave {got} answers to {texts} texts"
        )));
    }
    let items = (0_u32..)
        .zip(answer.responses)
        .map(|(item, response)| Tokenized {
            item,
            count: response.token_count,
            // This protocol has no ids.
            ids: Vec::new(),
            texts: response.tokens,
            offsets: response
                .offsets
                .iter()
                .map(|offset| Offset {
                    start: offset.start,
                    end: offset.end,
                })
                .collect(),
        });
    Ok(Event::Tokenized(items.collect()))
}
