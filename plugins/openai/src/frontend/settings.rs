//! Sampling, stopping, constraints and the rest: what chat and completions share.
//!
//! Defaults are vLLM's. A field at its neutral value is dropped, a hint is dropped, and
//! a field that would change the result and has no neutral member becomes an extra.

use serde::Deserialize;
use serde_json::Value;
use tollgate_sdk_protocol::{
    Bytes, failure,
    inference::{Detail, Extra, Sampling, Settings, Stopping, Truncation, TruncationSide},
    types::Failure,
};

use super::fields::{Fields, out_of_count, out_of_domain, wrong_type};
use super::{bounded::LARGEST, constraints};

/// Fields without a place that change the result, and the values that change nothing
/// (`null` is always one). What is in neither list is a hint or unknown to vLLM.
pub const EXTRAS: [(&str, &[&str]); 38] = [
    ("use_beam_search", &["false"]),
    ("length_penalty", &["1"]),
    ("early_stopping", &["false"]),
    ("logit_bias", &["{}"]),
    ("suffix", &["\"\""]),
    ("ignore_eos", &["false"]),
    ("stop_token_ids", &["[]"]),
    ("skip_special_tokens", &["true"]),
    ("spaces_between_special_tokens", &["true"]),
    ("allowed_token_ids", &["[]"]),
    ("bad_words", &["[]"]),
    ("prompt_embeds", &["[]"]),
    ("return_tokens_as_token_ids", &["false"]),
    ("return_token_ids", &["false"]),
    ("return_token_offsets", &["false"]),
    ("guided_whitespace_pattern", &[]),
    ("logits_processors", &["[]"]),
    ("guided_decoding_backend", &[]),
    ("kv_transfer_params", &[]),
    ("ec_transfer_params", &[]),
    ("vllm_xargs", &["{}"]),
    ("logprob_token_ids", &["[]"]),
    ("repetition_detection", &[]),
    ("thinking_token_budget", &[]),
    ("reasoning_effort", &[]),
    ("include_reasoning", &["true"]),
    ("chat_template", &[]),
    ("chat_template_kwargs", &["{}"]),
    ("add_generation_prompt", &["true"]),
    ("continue_final_message", &["false"]),
    ("documents", &["[]"]),
    ("mm_processor_kwargs", &["{}"]),
    ("media_io_kwargs", &["{}"]),
    ("functions", &["[]"]),
    ("function_call", &["\"none\"", "\"auto\""]),
    ("modalities", &["[\"text\"]", "[]"]),
    ("audio", &[]),
    ("prediction", &[]),
];

/// Answers that one request may ask for, as in vLLM (`VLLM_MAX_N_SEQUENCES`): each is kept
/// account of from the beginning.
pub const MOST_ANSWERS: u32 = 16384;

/// Reads the settings of a chat (`chat`) or completions body.
///
/// # Errors
/// When a field is of another type or out of its domain.
pub fn read(
    bytes: &dyn Bytes,
    fields: &Fields,
    chat: bool,
    streaming: bool,
) -> Result<Settings, Failure> {
    let mut extras = changing(bytes, fields, &EXTRAS)?;
    // vLLM adds special tokens to a plain prompt, and none to a templated one.
    if let Some(add) = fields.boolean(bytes, "add_special_tokens")?
        && add == chat
    {
        extras.push(extra("add_special_tokens", add.to_string()));
    }
    let n = fields.count(bytes, "n", 1)?.unwrap_or(1);
    if n > MOST_ANSWERS {
        return Err(out_of_domain(
            "n",
            &format!("at most {MOST_ANSWERS}"),
            f64::from(n),
        ));
    }
    if let Some(best_of) = fields.integer(bytes, "best_of")?
        && best_of != i64::from(n)
    {
        extras.push(extra("best_of", best_of.to_string()));
    }
    if let Some(false) = fields.boolean(bytes, "parallel_tool_calls")? {
        extras.push(extra("parallel_tool_calls", "false".to_owned()));
    }
    let detail = detail(bytes, fields, chat, streaming, &mut extras)?;
    Ok(Settings {
        sampling: sampling(bytes, fields)?,
        stopping: stopping(bytes, fields, chat)?,
        detail,
        n,
        truncate: truncation(bytes, fields, &mut extras)?,
        constraint: constraints::read(bytes, fields, &mut extras)?,
        adapter: None,
        extras,
    })
}

fn extra(name: &str, json: String) -> Extra {
    Extra {
        name: name.to_owned(),
        json,
    }
}

/// Fields of a body that change the result: those of a table, with their neutral values, that have
/// other ones. Values are compared as what they are, and not as they are written.
///
/// # Errors
/// When one is no JSON.
pub fn changing(
    bytes: &dyn Bytes,
    fields: &Fields,
    table: &[(&str, &[&str])],
) -> Result<Vec<Extra>, Failure> {
    let mut extras = Vec::new();
    for (name, neutral) in table {
        let Some(json) = fields.json(bytes, name) else {
            continue;
        };
        if json.len() as u64 > LARGEST {
            // Longer than any way to write a neutral value.
            extras.push(extra(name, json));
            continue;
        }
        let value: Value = serde_json::from_str(&json).map_err(|_| wrong_type(name, "JSON"))?;
        let same = |neutral: &&str| {
            serde_json::from_str::<Value>(neutral)
                .is_ok_and(|neutral| neutral == value || number_of(&neutral, &value))
        };
        if !neutral.iter().any(same) {
            extras.push(extra(name, json));
        }
    }
    Ok(extras)
}

fn number_of(one: &Value, other: &Value) -> bool {
    one.as_f64().is_some() && one.as_f64() == other.as_f64()
}

fn sampling(bytes: &dyn Bytes, fields: &Fields) -> Result<Sampling, Failure> {
    let temperature = fields.within(bytes, "temperature", 0.0, f64::INFINITY)?;
    let top_p = fields.within(bytes, "top_p", 0.0, 1.0)?;
    let greedy = temperature == Some(0.0) || top_p == Some(0.0);
    let top_k = match fields.integer(bytes, "top_k")? {
        None | Some(0 | -1) => None,
        Some(value) => Some(
            u32::try_from(value)
                .map_err(|_| out_of_count("top_k", "0 (disable), or at least 1", value))?,
        ),
    };
    let seed = match fields.integer(bytes, "seed")? {
        None => None,
        Some(value) => Some(
            u64::try_from(value).map_err(|_| out_of_domain("seed", "at least 0", value as f64))?,
        ),
    };
    let repetition_penalty = fields.number(bytes, "repetition_penalty")?;
    if let Some(value) = repetition_penalty
        && value <= 0.0
    {
        return Err(out_of_domain(
            "repetition_penalty",
            "greater than zero",
            value,
        ));
    }
    let min_p = fields.within(bytes, "min_p", 0.0, 1.0)?;
    let changing = |value: Option<f64>, neutral: f64| value.filter(|value| *value != neutral);
    Ok(Sampling {
        greedy,
        temperature: temperature.filter(|_| !greedy),
        top_k: top_k.filter(|_| !greedy),
        top_p: changing(top_p.filter(|_| !greedy), 1.0),
        typical_p: None,
        min_p: changing(min_p.filter(|_| !greedy), 0.0),
        seed: seed.filter(|_| !greedy),
        repetition_penalty: changing(repetition_penalty, 1.0),
        frequency_penalty: changing(fields.within(bytes, "frequency_penalty", -2.0, 2.0)?, 0.0),
        presence_penalty: changing(fields.within(bytes, "presence_penalty", -2.0, 2.0)?, 0.0),
        length_penalty: None,
    })
}

fn stopping(bytes: &dyn Bytes, fields: &Fields, chat: bool) -> Result<Stopping, Failure> {
    let max_tokens = fields.count(bytes, "max_tokens", 1)?;
    let max_tokens = if chat {
        fields
            .count(bytes, "max_completion_tokens", 1)?
            .or(max_tokens)
    } else {
        // An explicit null lifts the limit, absence leaves the default.
        match fields.place("max_tokens") {
            None => Some(16),
            Some(_) => max_tokens,
        }
    };
    let min_tokens = fields
        .count(bytes, "min_tokens", 0)?
        .filter(|least| *least > 0);
    if let (Some(least), Some(most)) = (min_tokens, max_tokens)
        && least > most
    {
        let domain = format!("less than or equal to max_tokens={most}");
        return Err(out_of_domain("min_tokens", &domain, f64::from(least)));
    }
    Ok(Stopping {
        max_tokens,
        min_tokens,
        stop_sequences: match fields.value(bytes, "stop", "a valid string or list of strings")? {
            None => Vec::new(),
            Some(Strings::One(stop)) => vec![stop],
            Some(Strings::Many(stops)) => stops,
        },
        include_stop: fields
            .boolean(bytes, "include_stop_str_in_output")?
            .unwrap_or(false),
        time_limit_ms: None,
    })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Strings {
    One(String),
    Many(Vec<String>),
}

fn detail(
    bytes: &dyn Bytes,
    fields: &Fields,
    chat: bool,
    streaming: bool,
    extras: &mut Vec<Extra>,
) -> Result<Detail, Failure> {
    let top = if chat {
        let on = fields.boolean(bytes, "logprobs")?.unwrap_or(false);
        let top = fields.count(bytes, "top_logprobs", 0)?;
        if top.is_some_and(|top| top > 0) && !on {
            return Err(failure::invalid(
                "when using `top_logprobs`, `logprobs` must be set to true.",
                Some("top_logprobs"),
            ));
        }
        on.then(|| top.unwrap_or(0))
    } else {
        fields.count(bytes, "logprobs", 0)?
    };
    let prompt = fields.integer(bytes, "prompt_logprobs")?;
    if let Some(prompt) = prompt {
        if streaming && prompt != 0 {
            return Err(failure::invalid(
                "`prompt_logprobs` are not available when `stream=True`.",
                Some("prompt_logprobs"),
            ));
        }
        // More than the prompt's own tokens has no neutral form.
        if prompt != 0 {
            extras.push(extra("prompt_logprobs", prompt.to_string()));
        }
    }
    Ok(Detail {
        echo: fields.boolean(bytes, "echo")?.unwrap_or(false),
        input_tokens: prompt.is_some(),
        output_tokens: top.is_some(),
        logprobs: top.is_some() || prompt.is_some(),
        ranks: prompt.is_some(),
        top_n: top.unwrap_or(0),
    })
}

/// `truncate_prompt_tokens` and its side. −1, the model's own limit, becomes an extra.
pub fn truncation(
    bytes: &dyn Bytes,
    fields: &Fields,
    extras: &mut Vec<Extra>,
) -> Result<Option<Truncation>, Failure> {
    let side = match fields.value::<String>(bytes, "truncation_side", "'left' or 'right'")? {
        None => None,
        Some(side) if side == "left" => Some(TruncationSide::Left),
        Some(side) if side == "right" => Some(TruncationSide::Right),
        Some(_) => return Err(wrong_type("truncation_side", "'left' or 'right'")),
    };
    match fields.integer(bytes, "truncate_prompt_tokens")? {
        None => Ok(None),
        Some(-1) => {
            extras.push(extra("truncate_prompt_tokens", "-1".to_owned()));
            Ok(None)
        }
        Some(tokens) => {
            let tokens = u32::try_from(tokens)
                .map_err(|_| out_of_count("truncate_prompt_tokens", "at least -1", tokens))?;
            Ok(Some(Truncation { tokens, side }))
        }
    }
}
