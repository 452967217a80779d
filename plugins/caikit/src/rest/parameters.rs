//! Parameters of generation as JSON.

use serde::Serialize;

use crate::{proto::ExponentialDecayLengthPenalty, request::Parameters, strict::Members};

/// Takes the parameters out of an object, in the order in which the runtime looks at
/// them.
pub fn read(members: &mut Members<'_, '_>) -> Parameters {
    Parameters {
        text: String::new(),
        max_new_tokens: members.integer("max_new_tokens"),
        min_new_tokens: members.integer("min_new_tokens"),
        truncate_input_tokens: members.integer("truncate_input_tokens"),
        decoding_method: members.string("decoding_method"),
        top_k: members.integer("top_k"),
        top_p: members.number("top_p"),
        typical_p: members.number("typical_p"),
        temperature: members.number("temperature"),
        repetition_penalty: members.number("repetition_penalty"),
        max_time: members.number("max_time"),
        exponential_decay_length_penalty: members.take(
            "exponential_decay_length_penalty",
            |reader, json| {
                reader.object(json, |members| ExponentialDecayLengthPenalty {
                    start_index: members.integer("start_index").unwrap_or_default(),
                    decay_factor: members.number("decay_factor").unwrap_or_default(),
                })
            },
        ),
        stop_sequences: members.strings("stop_sequences").unwrap_or_default(),
        seed: members.natural("seed"),
        preserve_input_text: members.boolean("preserve_input_text"),
        input_tokens: members.boolean("input_tokens"),
        generated_tokens: members.boolean("generated_tokens"),
        token_logprobs: members.boolean("token_logprobs"),
        token_ranks: members.boolean("token_ranks"),
        include_stop_sequence: members.boolean("include_stop_sequence"),
    }
}

/// The parameters that are set.
#[derive(Debug, Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_new_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_new_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate_input_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoding_method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    typical_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exponential_decay_length_penalty: Option<Penalty>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preserve_input_text: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generated_tokens: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ranks: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include_stop_sequence: Option<bool>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Penalty {
    start_index: i64,
    decay_factor: f64,
}

/// The parameters as a JSON object of those that are set.
pub fn written(parameters: &Parameters) -> impl Serialize + '_ {
    Written {
        max_new_tokens: parameters.max_new_tokens,
        min_new_tokens: parameters.min_new_tokens,
        truncate_input_tokens: parameters.truncate_input_tokens,
        decoding_method: parameters.decoding_method.as_deref(),
        top_k: parameters.top_k,
        top_p: parameters.top_p,
        typical_p: parameters.typical_p,
        temperature: parameters.temperature,
        repetition_penalty: parameters.repetition_penalty,
        max_time: parameters.max_time,
        exponential_decay_length_penalty: parameters.exponential_decay_length_penalty.map(
            |penalty| Penalty {
                start_index: penalty.start_index,
                decay_factor: penalty.decay_factor,
            },
        ),
        stop_sequences: &parameters.stop_sequences,
        seed: parameters.seed,
        preserve_input_text: parameters.preserve_input_text,
        input_tokens: parameters.input_tokens,
        generated_tokens: parameters.generated_tokens,
        token_logprobs: parameters.token_logprobs,
        token_ranks: parameters.token_ranks,
        include_stop_sequence: parameters.include_stop_sequence,
    }
}
