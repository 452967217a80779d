//! What modules of the runtime refuse, in their words. Only for requests that are
//! translated: a passed one is judged by its worker.

use tollgate_sdk_protocol::{
    failure,
    types::{Failure, Text},
};

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

/// Name of a parameter, its value, what must hold of it, and that in words.
type Rule<'a> = (&'a str, Option<f64>, fn(f64) -> bool, &'a str);

/// Rules of text generation.
///
/// # Errors
/// The first rule that is broken.
pub fn generation(parameters: &Parameters) -> Result<(), Failure> {
    match parameters.decoding_method.as_deref() {
        None | Some("GREEDY" | "SAMPLING") => {}
        Some(other) => {
            return Err(refusal(
                "decoding_method",
                &format!(
                    "value check failed: Decoding method [{other}] not in valid decoding methods: \
                     [['GREEDY', 'SAMPLING']]"
                ),
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
    let decay = parameters
        .exponential_decay_length_penalty
        .map(|penalty| penalty.decay_factor);
    let rules: [Rule<'_>; 5] = [
        (
            "temperature",
            set(parameters.temperature),
            |t| t >= 0.05,
            "temperature must be >= 0.05",
        ),
        (
            "top_p",
            set(parameters.top_p),
            |p| p > 0.0 && p <= 1.0,
            "top_p must be > 0.0 and <= 1.0",
        ),
        (
            "typical_p",
            set(parameters.typical_p),
            |p| p <= 1.0,
            "typical_p must be <= 1.0",
        ),
        (
            "repetition_penalty",
            set(parameters.repetition_penalty),
            |p| p > 0.0,
            "repetition_penalty must be > 0.0",
        ),
        (
            "exponential_decay_length_penalty",
            decay,
            |factor| (1.0..=10.0).contains(&factor),
            "decay_factor in exponential_decay_length_penalty must be >= 1.0 and <= 10.0",
        ),
    ];
    for (name, value, holds, rule) in rules {
        if value.is_some_and(|value| !holds(value)) {
            return Err(refusal(name, &format!("value check failed: {rule}")));
        }
    }
    for (name, value, rule) in [
        ("top_k", parameters.top_k, "top_k must be strictly positive"),
        (
            "max_new_tokens",
            parameters.max_new_tokens,
            "max_new_tokens must be >= 0",
        ),
        (
            "min_new_tokens",
            parameters.min_new_tokens,
            "min_new_tokens must be >= 0",
        ),
    ] {
        if value.is_some_and(|value| value < 0) {
            return Err(refusal(name, &format!("value check failed: {rule}")));
        }
    }
    Ok(())
}

/// A number that says something: zero is how these modules write that nothing is set.
pub fn set(value: Option<f64>) -> Option<f64> {
    value.filter(|value| *value != 0.0)
}

/// More tokens are asked for than are allowed.
pub fn min_above_max(min: u32, max: u32) -> Failure {
    refusal(
        "min_new_tokens",
        &format!(
            "value check failed: Maximum new tokens [{max}] has to be greater than minimum new \
             tokens [{min}]"
        ),
    )
}

/// Rules of rerank.
///
/// # Errors
/// The first rule that is broken.
pub fn rerank(rerank: &Rerank) -> Result<(), Failure> {
    let says_nothing = |query: &Text| matches!(query, Text::Inline(text) if text.is_empty());
    if rerank.documents.is_empty() || rerank.queries.iter().any(says_nothing) {
        return Err(refusal(
            "query",
            "value check failed: Cannot rerank without a query and at least one document",
        ));
    }
    Ok(())
}
