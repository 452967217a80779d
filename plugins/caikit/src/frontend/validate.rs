//! What modules of the runtime refuse, in their words. Only for requests that are
//! translated: a passed one is judged by its worker.

use tollgate_sdk_protocol::{failure, types::Failure};

use crate::request::{Parameters, Rerank};

fn refusal(param: &str, message: &str) -> Failure {
    failure::invalid(message, Some(param))
}

/// Whether generation takes the likeliest token: it does unless it is told to sample.
pub fn is_greedy(parameters: &Parameters) -> bool {
    parameters
        .decoding_method
        .as_deref()
        .is_none_or(|method| method == "GREEDY")
}

/// Rules of text generation.
///
/// # Errors
/// The first rule that is broken.
pub fn generation(parameters: &Parameters) -> Result<(), Failure> {
    match parameters.decoding_method.as_deref() {
        None | Some("GREEDY" | "SAMPLING") => {}
        Some(_) => {
            return Err(refusal(
                "decoding_method",
                "decoding_method must be one of GREEDY, SAMPLING",
            ));
        }
    }
    let beyond = |value: Option<f64>| value.is_some_and(|value| value != 1.0);
    let sampled = beyond(parameters.temperature)
        || beyond(parameters.top_p)
        || parameters.top_k.is_some_and(|top| top != 0)
        || parameters.seed.is_some_and(|seed| seed != 0);
    if is_greedy(parameters) && sampled {
        return Err(failure::invalid(
            "sampling parameters (temperature/top_k/top_p/typical_p/seed) aren't applicable in \
             greedy decoding mode",
            None,
        ));
    }
    if parameters.max_new_tokens.is_some_and(|max| max < 0) {
        return Err(refusal("max_new_tokens", "max_new_tokens must be >= 0"));
    }
    if parameters.min_new_tokens.is_some_and(|min| min < 0) {
        return Err(refusal("min_new_tokens", "min_new_tokens must be >= 0"));
    }
    let outside =
        |value: Option<f64>, inside: fn(f64) -> bool| value.is_some_and(|value| !inside(value));
    if outside(parameters.temperature, |t| t >= 0.05) {
        return Err(refusal("temperature", "temperature must be >= 0.05"));
    }
    if parameters.top_k.is_some_and(|top| top < 0) {
        return Err(refusal("top_k", "top_k must be strictly positive"));
    }
    if outside(parameters.top_p, |p| p > 0.0 && p <= 1.0) {
        return Err(refusal("top_p", "top_p must be > 0.0 and <= 1.0"));
    }
    if outside(parameters.typical_p, |p| p <= 1.0) {
        return Err(refusal("typical_p", "typical_p must be <= 1.0"));
    }
    if outside(parameters.repetition_penalty, |p| p > 0.0) {
        return Err(refusal(
            "repetition_penalty",
            "repetition_penalty must be > 0.0",
        ));
    }
    let penalty = parameters.exponential_decay_length_penalty;
    let decay = penalty.map(|penalty| penalty.decay_factor);
    if outside(decay, |factor| (1.0..=10.0).contains(&factor)) {
        return Err(refusal(
            "exponential_decay_length_penalty",
            "exponential_decay_length_penalty.decay_factor must be in [1.0, 10.0]",
        ));
    }
    Ok(())
}

/// More tokens are asked for than are allowed.
pub fn min_above_max() -> Failure {
    refusal("min_new_tokens", "min_new_tokens must be <= max_new_tokens")
}

/// Rules of rerank.
///
/// # Errors
/// The first rule that is broken.
pub fn rerank(rerank: &Rerank) -> Result<(), Failure> {
    if rerank.queries.is_empty() || rerank.documents.is_empty() {
        return Err(refusal(
            "documents",
            "value check failed: Cannot rerank without a query and at least one document",
        ));
    }
    Ok(())
}
