//! `Parameters` for a worker, from neutral settings. What a worker cannot do is refused
//! by name: dropping it would be a guess.

use tollgate_sdk_protocol::{
    failure,
    inference::{Constraint, Sampling, Settings, Truncation, TruncationSide},
    types::Failure,
};

use crate::{
    fmaas::{
        DecodingMethod, DecodingParameters, Parameters, ResponseOptions, SamplingParameters,
        StoppingCriteria,
        decoding_parameters::{Guided, LengthPenalty, ResponseFormat, StringChoices},
    },
    neutral::narrow,
    options::{Revision, Side, WorkerOptions},
};

const STOP_SEQUENCES: usize = 6;
const STOP_SEQUENCE_BYTES: usize = 240;
/// Below this the original server refuses, and the result is the same.
pub const LEAST_TEMPERATURE: f64 = 0.05;

fn refusal(param: &str, why: impl Into<String>) -> Failure {
    failure::invalid(why, Some(param))
}

/// Writes every setting that this protocol has.
///
/// # Errors
/// `invalid-argument`, naming the first setting that it has not.
pub fn parameters(settings: &Settings, worker: &WorkerOptions) -> Result<Parameters, Failure> {
    if settings.n > 1 {
        return Err(refusal(
            "n",
            "n must be 1: this worker gives one answer to a prompt",
        ));
    }
    if let Some(extra) = settings.extras.first() {
        return Err(refusal(
            &extra.name,
            format!("{} is not supported by this worker", extra.name),
        ));
    }
    let (method, sampling) = sampling(&settings.sampling)?;
    Ok(Parameters {
        method: method.into(),
        sampling,
        stopping: Some(stopping(settings, worker)?),
        response: Some(response(settings)),
        decoding: decoding(settings, worker)?,
        truncate_input_tokens: truncation(settings.truncate, worker)?,
    })
}

fn sampling(sampling: &Sampling) -> Result<(DecodingMethod, Option<SamplingParameters>), Failure> {
    for (name, value) in [
        ("min_p", sampling.min_p),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
    ] {
        if value.is_some_and(|value| value != 0.0) {
            return Err(refusal(
                name,
                format!("{name} is not supported by this worker"),
            ));
        }
    }
    for (name, value) in [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("typical_p", sampling.typical_p),
        ("repetition_penalty", sampling.repetition_penalty),
    ] {
        if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
            return Err(refusal(
                name,
                format!("{name} must be a number that is not negative"),
            ));
        }
    }
    // Both zeros say: always the likeliest token.
    let greedy =
        sampling.greedy || sampling.temperature == Some(0.0) || sampling.top_p == Some(0.0);
    if greedy {
        return Ok((DecodingMethod::Greedy, None));
    }
    let temperature = sampling.temperature.unwrap_or(1.0).max(LEAST_TEMPERATURE);
    let parameters = SamplingParameters {
        temperature: Some(narrow(temperature)),
        top_k: sampling.top_k.unwrap_or(0),
        top_p: narrow(sampling.top_p.unwrap_or(0.0)),
        typical_p: narrow(sampling.typical_p.unwrap_or(0.0)),
        seed: sampling.seed,
    };
    Ok((DecodingMethod::Sample, Some(parameters)))
}

fn stopping(settings: &Settings, worker: &WorkerOptions) -> Result<StoppingCriteria, Failure> {
    let stopping = &settings.stopping;
    if stopping.stop_sequences.len() > STOP_SEQUENCES {
        return Err(refusal(
            "stop",
            format!("this worker takes at most {STOP_SEQUENCES} stop sequences"),
        ));
    }
    let bad = |text: &String| text.is_empty() || text.len() > STOP_SEQUENCE_BYTES;
    if stopping.stop_sequences.iter().any(bad) {
        return Err(refusal(
            "stop",
            format!("this worker takes stop sequences of 1 to {STOP_SEQUENCE_BYTES} bytes"),
        ));
    }
    if stopping.max_tokens == Some(0) {
        // Zero is this protocol's word for its default.
        return Err(refusal("max_tokens", "max_tokens must be at least 1"));
    }
    Ok(StoppingCriteria {
        max_new_tokens: stopping.max_tokens.unwrap_or(worker.max_new_tokens),
        min_new_tokens: stopping.min_tokens.unwrap_or(0),
        time_limit_millis: stopping.time_limit_ms.unwrap_or(0),
        stop_sequences: stopping.stop_sequences.clone(),
        // Always: servers differ in what saying nothing means.
        include_stop_sequence: Some(stopping.include_stop),
    })
}

fn response(settings: &Settings) -> ResponseOptions {
    let detail = &settings.detail;
    let extra = detail.logprobs || detail.ranks || detail.top_n != 0;
    ResponseOptions {
        input_text: detail.echo,
        // Detail is told of tokens that are listed, so some must be.
        generated_tokens: detail.output_tokens || (extra && !detail.input_tokens),
        input_tokens: detail.input_tokens,
        token_logprobs: detail.logprobs,
        token_ranks: detail.ranks,
        top_n_tokens: detail.top_n,
    }
}

fn decoding(
    settings: &Settings,
    worker: &WorkerOptions,
) -> Result<Option<DecodingParameters>, Failure> {
    let penalty = settings
        .sampling
        .length_penalty
        .map(|penalty| LengthPenalty {
            start_index: penalty.start_index,
            decay_factor: narrow(penalty.decay_factor),
        });
    let parameters = DecodingParameters {
        repetition_penalty: narrow(settings.sampling.repetition_penalty.unwrap_or(0.0)),
        length_penalty: penalty,
        guided: settings
            .constraint
            .as_ref()
            .map(|c| guided(c, worker))
            .transpose()?,
    };
    Ok((parameters != DecodingParameters::default()).then_some(parameters))
}

fn guided(constraint: &Constraint, worker: &WorkerOptions) -> Result<Guided, Failure> {
    let name = match constraint {
        Constraint::JsonObject | Constraint::JsonSchema(_) => "response_format",
        Constraint::Regex(_) => "regex",
        Constraint::Choice(_) => "choice",
        Constraint::Grammar(_) => "grammar",
        Constraint::Other(other) => {
            return Err(refusal(
                &other.name,
                format!("{} is not supported by this worker", other.name),
            ));
        }
    };
    if worker.revision == Revision::Plain {
        return Err(refusal(
            name,
            format!("{name}: this worker cannot constrain its output"),
        ));
    }
    Ok(match constraint {
        Constraint::JsonObject => Guided::Format(ResponseFormat::Json.into()),
        Constraint::JsonSchema(schema) => Guided::JsonSchema(schema.clone()),
        Constraint::Regex(regex) => Guided::Regex(regex.clone()),
        Constraint::Choice(choices) if choices.len() < 2 => {
            return Err(refusal(
                name,
                "choice: this worker needs at least two choices",
            ));
        }
        Constraint::Choice(choices) => Guided::Choice(StringChoices {
            choices: choices.clone(),
        }),
        Constraint::Grammar(grammar) => Guided::Grammar(grammar.clone()),
        Constraint::Other(_) => unreachable!("refused above"),
    })
}

fn truncation(truncate: Option<Truncation>, worker: &WorkerOptions) -> Result<u32, Failure> {
    let Some(truncate) = truncate else {
        return Ok(0);
    };
    if truncate.tokens == 0 {
        return Err(refusal("truncate", "truncation must keep at least 1 token"));
    }
    let wrong = match truncate.side {
        Some(TruncationSide::Left) => worker.truncation_side == Side::Right,
        Some(TruncationSide::Right) => worker.truncation_side == Side::Left,
        None => false,
    };
    if wrong {
        return Err(refusal(
            "truncate",
            "this worker cuts inputs on the other side (its option truncation-side says which)",
        ));
    }
    Ok(truncate.tokens)
}
