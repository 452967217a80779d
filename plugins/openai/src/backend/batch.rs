//! Which calls may share a request, and whose tokens are whose.

use tollgate_sdk_protocol::{
    inference::{Call, Prompt, Task, Usage},
    types::{Extension, Text},
};

use crate::options::{Generation, Target};

/// A key that is equal for calls that may go into one request.
///
/// Completions: not streaming, one prompt each, equal settings; only for workers that
/// tell token ids, since the usage of a request is one sum. Embeddings: equal
/// parameters, unless switched off.
pub fn key(target: &Target, call: &Call) -> Option<String> {
    let whole = call.streaming || call.version.is_some() || !call.extensions.is_empty();
    if whole || target.problem.is_some() {
        return None;
    }
    match &call.task {
        Task::Generate(generate)
            if target.merge_completions && target.generation == Generation::New =>
        {
            let settings = &generate.settings;
            // With a seed the place in a batch must not matter; a time limit ends all.
            let apart =
                settings.stopping.time_limit_ms.is_some() || settings.sampling.seed.is_some();
            match &generate.prompts[..] {
                [prompt] if !apart => Some(format!(
                    "generate {} {} {settings:?}",
                    kind(prompt),
                    call.model
                )),
                _ => None,
            }
        }
        Task::Embed(embed) if target.merge_embeddings => {
            let first = kind(embed.inputs.first()?);
            if embed.inputs.iter().any(|input| kind(input) != first) {
                return None;
            }
            let (dimensions, truncate, extras) = (embed.dimensions, &embed.truncate, &embed.extras);
            Some(format!(
                "embed {first} {} {dimensions:?} {truncate:?} {extras:?}",
                call.model
            ))
        }
        _ => None,
    }
}

fn kind(prompt: &Prompt) -> &'static str {
    match prompt {
        Prompt::Text(_) => "text",
        Prompt::Tokens(_) => "tokens",
    }
}

/// Usage of each embedding call, from the sum over all. A worker tells only the sum:
/// among several calls it is divided by the lengths of their inputs, the shares add up
/// to it, and each says so with the extension `apportioned`.
pub fn shares(members: &[Call], total: Option<u64>) -> Vec<Option<Usage>> {
    let usage = |tokens: u64, extensions: Vec<Extension>| Usage {
        input_tokens: Some(tokens),
        output_tokens: Some(0),
        cached_tokens: None,
        extensions,
    };
    let Some(total) = total else {
        return vec![None; members.len()];
    };
    if members.len() == 1 {
        return vec![Some(usage(total, Vec::new()))];
    }
    let weights: Vec<u64> = members.iter().map(weight).collect();
    let all: u128 = weights
        .iter()
        .map(|weight| u128::from(*weight))
        .sum::<u128>()
        .max(1);
    let (mut passed, mut given) = (0u128, 0u64);
    weights
        .iter()
        .map(|weight| {
            // Cumulative rounding: no token is lost or counted twice.
            passed += u128::from(*weight);
            let until = (u128::from(total) * passed / all) as u64;
            let share = until - given;
            given = until;
            let name = "apportioned".to_owned();
            Some(usage(
                share,
                vec![Extension {
                    name,
                    payload: Vec::new(),
                }],
            ))
        })
        .collect()
}

fn weight(call: &Call) -> u64 {
    let Task::Embed(embed) = &call.task else {
        return 1;
    };
    let lengths = embed.inputs.iter().map(|input| match input {
        Prompt::Text(Text::Inline(text)) => text.len() as u64,
        Prompt::Text(Text::Held(held)) => held.at.len,
        Prompt::Tokens(tokens) => tokens.len() as u64,
    });
    lengths.sum::<u64>().max(1)
}
