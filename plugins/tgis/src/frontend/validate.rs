//! What servers of this protocol refuse, in their words.
//!
//! Some rules every server has: they are applied before a worker is looked for. Others
//! are the original server's alone; they are applied when the request is translated,
//! because a worker of another revision may take what they refuse, and a passed request
//! is judged by its worker.

use tollgate_sdk_protocol::{failure, types::Failure};

use crate::{
    fmaas::{DecodingMethod, Parameters, decoding_parameters::Guided},
    options::Options,
};

const STOP_SEQUENCES: usize = 6;
const STOP_SEQUENCE_BYTES: usize = 240;
const TOP_TOKENS: u32 = 10;
const LENGTH_PENALTY: std::ops::RangeInclusive<f32> = 1.0..=10.0;

fn refusal(param: &str, message: impl Into<String>) -> Failure {
    failure::invalid(message, Some(param))
}

fn bad_stop_sequences() -> Failure {
    refusal(
        "stop_sequences",
        format!(
            "can specify at most {STOP_SEQUENCES} non-empty stop sequences, \
             each not more than {STOP_SEQUENCE_BYTES} UTF8 bytes"
        ),
    )
}

/// Rules that every server has.
///
/// # Errors
/// The first rule that is broken.
pub fn everywhere(params: &Parameters) -> Result<(), Failure> {
    let sampling = params.sampling.unwrap_or_default();
    // Sampling parameters are ignored by greedy decoding, whatever they say.
    if params.method() == DecodingMethod::Sample {
        if !(0.0..=1.0).contains(&sampling.top_p) {
            return Err(refusal("top_p", "top_p must be > 0.0 and <= 1.0"));
        }
        if sampling.typical_p.is_nan() || sampling.typical_p > 1.0 {
            return Err(refusal("typical_p", "typical_p must be <= 1.0"));
        }
    }
    if let Some(stopping) = &params.stopping {
        if stopping.max_new_tokens != 0 && stopping.min_new_tokens > stopping.max_new_tokens {
            return Err(min_above_max());
        }
        let bad = |text: &String| text.is_empty() || text.chars().count() > STOP_SEQUENCE_BYTES;
        if stopping.stop_sequences.len() > STOP_SEQUENCES || stopping.stop_sequences.iter().any(bad)
        {
            return Err(bad_stop_sequences());
        }
    }
    if let Some(decoding) = &params.decoding {
        if decoding.repetition_penalty.is_nan() || decoding.repetition_penalty < 0.0 {
            return Err(refusal(
                "repetition_penalty",
                "repetition_penalty must be > 0.0",
            ));
        }
        if let Some(penalty) = decoding.length_penalty
            && !LENGTH_PENALTY.contains(&penalty.decay_factor)
        {
            return Err(refusal(
                "length_penalty",
                "length_penalty must be >= 1.0 and <= 10.0",
            ));
        }
    }
    let response = params.response.unwrap_or_default();
    if response.top_n_tokens > TOP_TOKENS {
        let asked = response.top_n_tokens;
        return Err(refusal(
            "top_n_tokens",
            format!("top_n_tokens ({asked}) must be <= {TOP_TOKENS}"),
        ));
    }
    let extra = response.token_logprobs || response.token_ranks || response.top_n_tokens != 0;
    if extra && !(response.input_tokens || response.generated_tokens) {
        return Err(failure::invalid(
            "must request input and/or generated tokens to request extra token detail",
            None,
        ));
    }
    Ok(())
}

/// Rules of the original server, and what cannot be said in neutral words.
///
/// # Errors
/// The first rule that is broken.
pub fn translated(params: &Parameters, options: &Options) -> Result<(), Failure> {
    let sampling = params.sampling.unwrap_or_default();
    if DecodingMethod::try_from(params.method).is_err() {
        return Err(refusal("method", "method is not a decoding method"));
    }
    if params.method() == DecodingMethod::Sample {
        let temperature = sampling.temperature.unwrap_or(0.0);
        if temperature.is_nan() || (temperature != 0.0 && temperature < 0.05) {
            return Err(refusal("temperature", "temperature must be >= 0.05"));
        }
    }
    let stopping = params.stopping.clone().unwrap_or_default();
    if let Some(most) = options.max_new_tokens
        && stopping.max_new_tokens > most
    {
        return Err(refusal(
            "max_new_tokens",
            format!("max_new_tokens must be <= {most}"),
        ));
    }
    let limit = match stopping.max_new_tokens {
        0 => options.default_max_new_tokens,
        asked => asked,
    };
    if limit != 0 && stopping.min_new_tokens > limit {
        return Err(min_above_max());
    }
    if stopping
        .stop_sequences
        .iter()
        .any(|text| text.len() > STOP_SEQUENCE_BYTES)
    {
        return Err(bad_stop_sequences());
    }
    match params
        .decoding
        .as_ref()
        .and_then(|decoding| decoding.guided.as_ref())
    {
        Some(Guided::Choice(choices)) if choices.choices.len() < 2 => {
            Err(refusal("choice", "must provide at least two choices"))
        }
        Some(Guided::Format(format)) if !(0..=1).contains(format) => {
            Err(refusal("format", "format is not a response format"))
        }
        _ => Ok(()),
    }
}

fn min_above_max() -> Failure {
    refusal("min_new_tokens", "min_new_tokens must be <= max_new_tokens")
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
