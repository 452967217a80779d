//! Parameters of generation for a worker, from neutral settings. What a worker cannot do
//! is refused by name: dropping it would be a guess. What it does by itself is left out.

use tollgate_sdk_protocol::{
    failure,
    inference::{Sampling, Settings, TruncationSide},
    types::Failure,
};

use crate::{options::WorkerOptions, proto::ExponentialDecayLengthPenalty, request::Parameters};

const STOP_SEQUENCES: usize = 6;
const STOP_SEQUENCE_BYTES: usize = 240;
/// Below this the server refuses, and the result is the same.
const LEAST_TEMPERATURE: f64 = 0.05;

fn refusal(param: &str, why: impl Into<String>) -> Failure {
    failure::invalid(why, Some(param))
}

fn unsupported(name: &str) -> Failure {
    refusal(name, format!("{name} is not supported by this worker"))
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
        return Err(unsupported(&extra.name));
    }
    if settings.adapter.is_some() {
        return Err(unsupported("adapter"));
    }
    if settings.constraint.is_some() {
        return Err(refusal(
            "response_format",
            "this worker cannot constrain its output",
        ));
    }
    let mut parameters = Parameters::default();
    sampling(&settings.sampling, &mut parameters)?;
    stopping(settings, worker, &mut parameters)?;
    detail(settings, &mut parameters);
    if let Some(truncate) = settings.truncate {
        if truncate.tokens == 0 {
            return Err(refusal("truncate", "truncation must keep at least 1 token"));
        }
        if truncate.side == Some(TruncationSide::Right) {
            return Err(refusal(
                "truncate",
                "this worker keeps the last tokens of a prompt, and not the first",
            ));
        }
        parameters.truncate_input_tokens = Some(truncate.tokens.into());
    }
    Ok(parameters)
}

fn sampling(sampling: &Sampling, out: &mut Parameters) -> Result<(), Failure> {
    for (name, value) in [
        ("min_p", sampling.min_p),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
    ] {
        if value.is_some_and(|value| value != 0.0) {
            return Err(unsupported(name));
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
    out.repetition_penalty = sampling.repetition_penalty.filter(|value| *value != 1.0);
    out.exponential_decay_length_penalty =
        sampling
            .length_penalty
            .map(|penalty| ExponentialDecayLengthPenalty {
                start_index: penalty.start_index.into(),
                decay_factor: penalty.decay_factor,
            });
    // Both zeros say: always the likeliest token, which is the worker's own way.
    if sampling.greedy || sampling.temperature == Some(0.0) || sampling.top_p == Some(0.0) {
        return Ok(());
    }
    out.decoding_method = Some("SAMPLING".to_owned());
    out.temperature = sampling.temperature.map(|given| {
        if given < LEAST_TEMPERATURE {
            tollgate_sdk_protocol::note("a temperature below this worker's least was raised to it");
        }
        given.max(LEAST_TEMPERATURE)
    });
    out.top_k = sampling.top_k.filter(|top| *top != 0).map(i64::from);
    out.top_p = sampling.top_p.filter(|top| *top != 1.0);
    out.typical_p = sampling.typical_p.filter(|p| *p != 1.0 && *p != 0.0);
    out.seed = sampling.seed;
    Ok(())
}

fn stopping(
    settings: &Settings,
    worker: &WorkerOptions,
    out: &mut Parameters,
) -> Result<(), Failure> {
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
    let max = stopping.max_tokens.unwrap_or(worker.max_new_tokens);
    out.max_new_tokens = Some(max.into());
    out.min_new_tokens = stopping.min_tokens.filter(|min| *min != 0).map(i64::from);
    out.max_time = stopping
        .time_limit_ms
        .filter(|time| *time != 0)
        .map(|time| f64::from(time) / 1000.0);
    out.stop_sequences.clone_from(&stopping.stop_sequences);
    // Servers behind the runtime differ in what saying nothing means.
    out.include_stop_sequence =
        (!stopping.stop_sequences.is_empty()).then_some(stopping.include_stop);
    Ok(())
}

fn detail(settings: &Settings, out: &mut Parameters) {
    let detail = &settings.detail;
    let if_so = |wanted: bool| wanted.then_some(true);
    let extra = detail.logprobs || detail.ranks;
    out.preserve_input_text = if_so(detail.echo);
    out.input_tokens = if_so(detail.input_tokens);
    // Detail is told of tokens that are listed, so some must be.
    out.generated_tokens = if_so(detail.output_tokens || (extra && !detail.input_tokens));
    out.token_logprobs = if_so(detail.logprobs);
    out.token_ranks = if_so(detail.ranks);
}
