//! The neutral call of a client's request, every default resolved.

use tollgate_sdk_protocol::{
    inference::{
        Call, Constraint, Detail, Extra, Generate, LengthPenalty, Prompt, Sampling, Settings,
        Stopping, Task, Tokenize, Truncation, TruncationSide,
    },
    text,
};

use super::request::{self, Asked, What};
use crate::{
    fmaas::{
        DecodingMethod, Parameters, ResponseOptions,
        decoding_parameters::{Guided, ResponseFormat},
    },
    options::Options,
};

/// The call, for the model that was found. The request must have been validated.
pub fn call(asked: &Asked, model: String, options: &Options) -> Call {
    let (streaming, task) = match &asked.what {
        What::Generate(generate) => (
            generate.stream,
            Task::Generate(generation(generate, options)),
        ),
        What::Tokenize(tokenize) => (false, Task::Tokenize(tokenization(tokenize))),
        What::Model => (false, Task::ModelMetadata),
    };
    Call {
        model,
        version: None,
        streaming,
        task,
        extensions: Vec::new(),
    }
}

fn generation(generate: &request::Generate, options: &Options) -> Generate {
    let params = &generate.params;
    let decoding = params.decoding.clone().unwrap_or_default();
    Generate {
        prompts: generate.prompts.iter().cloned().map(Prompt::Text).collect(),
        settings: Settings {
            sampling: Sampling {
                repetition_penalty: unless(decoding.repetition_penalty, &[0.0, 1.0]),
                length_penalty: decoding.length_penalty.map(|penalty| LengthPenalty {
                    start_index: penalty.start_index,
                    decay_factor: penalty.decay_factor.into(),
                }),
                ..sampling(params)
            },
            stopping: stopping(params, options),
            detail: detail(params),
            n: 1,
            truncate: truncation(params.truncate_input_tokens),
            constraint: decoding.guided.and_then(constraint),
            adapter: generate.adapter.clone(),
            extras: Vec::new(),
        },
    }
}

/// Without the penalties, which greedy decoding knows too.
fn sampling(params: &Parameters) -> Sampling {
    let none = Sampling {
        greedy: true,
        temperature: None,
        top_k: None,
        top_p: None,
        typical_p: None,
        min_p: None,
        seed: None,
        repetition_penalty: None,
        frequency_penalty: None,
        presence_penalty: None,
        length_penalty: None,
    };
    let sampling = params.sampling.unwrap_or_default();
    // Only a client whose revision gives temperature presence can write zero, and there
    // zero is greedy.
    if params.method() == DecodingMethod::Greedy || sampling.temperature == Some(0.0) {
        return none;
    }
    Sampling {
        greedy: false,
        temperature: sampling.temperature.map(widen),
        top_k: (sampling.top_k != 0).then_some(sampling.top_k),
        top_p: unless(sampling.top_p, &[0.0, 1.0]),
        typical_p: Some(sampling.typical_p)
            .filter(|p| *p > 0.0 && *p < 1.0)
            .map(widen),
        seed: sampling.seed,
        ..none
    }
}

fn stopping(params: &Parameters, options: &Options) -> Stopping {
    let stopping = params.stopping.clone().unwrap_or_default();
    let max = match stopping.max_new_tokens {
        0 => options.default_max_new_tokens,
        asked => asked,
    };
    Stopping {
        max_tokens: (max != 0).then_some(max),
        min_tokens: (stopping.min_new_tokens != 0).then_some(stopping.min_new_tokens),
        stop_sequences: stopping.stop_sequences,
        include_stop: stopping
            .include_stop_sequence
            .unwrap_or(options.default_include_stop_sequence),
        time_limit_ms: (stopping.time_limit_millis != 0).then_some(stopping.time_limit_millis),
    }
}

/// The seed that a client gave and that is used; 0 where there is none.
pub fn seed(params: &Parameters) -> u64 {
    sampling(params).seed.unwrap_or(0)
}

/// What the client wants to see beside the text.
pub fn detail(params: &Parameters) -> Detail {
    let ResponseOptions {
        input_text,
        generated_tokens,
        input_tokens,
        token_logprobs,
        token_ranks,
        top_n_tokens,
    } = params.response.unwrap_or_default();
    Detail {
        echo: input_text,
        input_tokens,
        output_tokens: generated_tokens,
        logprobs: token_logprobs,
        ranks: token_ranks,
        top_n: top_n_tokens,
    }
}

/// This protocol keeps the last tokens.
fn truncation(tokens: u32) -> Option<Truncation> {
    (tokens != 0).then_some(Truncation {
        tokens,
        side: Some(TruncationSide::Left),
    })
}

fn constraint(guided: Guided) -> Option<Constraint> {
    match guided {
        Guided::Format(format) if format == i32::from(ResponseFormat::Json) => {
            Some(Constraint::JsonObject)
        }
        // Any text: no constraint.
        Guided::Format(_) => None,
        Guided::JsonSchema(schema) => Some(Constraint::JsonSchema(schema)),
        Guided::Regex(regex) => Some(Constraint::Regex(regex)),
        Guided::Choice(choice) => Some(Constraint::Choice(choice.choices)),
        Guided::Grammar(grammar) => Some(Constraint::Grammar(grammar)),
    }
}

fn tokenization(tokenize: &request::Tokenize) -> Tokenize {
    let rest = &tokenize.rest;
    let extra = |name: &str, id: &Option<String>| {
        let id = id.as_ref().filter(|id| !id.is_empty())?;
        let json = String::from_utf8(text::quoted(id)).ok()?;
        Some(Extra {
            name: name.to_owned(),
            json,
        })
    };
    Tokenize {
        inputs: tokenize.texts.clone(),
        add_special_tokens: None,
        tokens: rest.return_tokens,
        offsets: rest.return_offsets,
        truncate: truncation(rest.truncate_input_tokens),
        extras: [
            extra("prefix_id", &rest.prefix_id),
            extra("adapter_id", &rest.adapter_id),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

/// A number, unless it is one of those that mean nothing.
fn unless(value: f32, neutral: &[f32]) -> Option<f64> {
    (!neutral.contains(&value)).then(|| widen(value))
}

/// The double with the same shortest decimal form: a client that wrote 0.7 means 0.7,
/// not the 0.699999988 that its message had room for.
fn widen(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

#[cfg(test)]
#[path = "neutral_tests.rs"]
mod tests;
