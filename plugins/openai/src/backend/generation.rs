//! Settings of chat and completions, written with vLLM's names. Every value is written,
//! defaults too: a worker's own defaults are not the client's. What vLLM cannot do is
//! refused by name.

use serde_json::{Map, Value, json, value::RawValue};
use tollgate_sdk_protocol::{
    failure,
    inference::{
        Constraint, Extra, Sampling, Settings, Stopping, Task, Truncation, TruncationSide,
    },
    types::{Failure, FailureKind},
};

use crate::options::{Generation, Target};

/// Members of a request body, in order, as JSON text.
#[derive(Debug, Default)]
pub struct Members(pub Vec<(String, String)>);

impl Members {
    /// Adds a member.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push((name.to_owned(), value.into().to_string()));
    }

    /// Adds a member that is JSON already.
    pub fn put_json(&mut self, name: &str, json: &str) {
        self.0.push((name.to_owned(), json.to_owned()));
    }
}

/// Settings of a task that has some.
pub fn settings(task: &Task) -> Option<&Settings> {
    match task {
        Task::Generate(generate) => Some(&generate.settings),
        Task::Chat(chat) => Some(&chat.settings),
        _ => None,
    }
}

/// A refusal of what the API has no word for.
pub fn unable(param: &str) -> Failure {
    failure::invalid(
        format!("The model's server cannot do `{param}`."),
        Some(param),
    )
}

/// Extras that vLLM knows by name, for chat and completions.
const KNOWN: [&str; 38] = [
    "use_beam_search",
    "length_penalty",
    "early_stopping",
    "logit_bias",
    "suffix",
    "ignore_eos",
    "stop_token_ids",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "allowed_token_ids",
    "bad_words",
    "prompt_embeds",
    "return_tokens_as_token_ids",
    "return_token_ids",
    "return_token_offsets",
    "kv_transfer_params",
    "ec_transfer_params",
    "vllm_xargs",
    "logprob_token_ids",
    "repetition_detection",
    "thinking_token_budget",
    "reasoning_effort",
    "include_reasoning",
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "documents",
    "mm_processor_kwargs",
    "media_io_kwargs",
    "functions",
    "function_call",
    "modalities",
    "audio",
    "add_special_tokens",
    "parallel_tool_calls",
    "prompt_logprobs",
    "truncate_prompt_tokens",
];

/// Extras of one generation only.
fn of_generation(generation: Generation) -> &'static [&'static str] {
    match generation {
        Generation::New => &["structured_outputs"],
        Generation::Old => &[
            "guided_whitespace_pattern",
            "guided_decoding_backend",
            "logits_processors",
            "best_of",
        ],
    }
}

/// Writes the settings.
///
/// # Errors
/// When the worker cannot do what one asks for; the failure names it.
pub fn write(
    out: &mut Members,
    target: &Target,
    settings: &Settings,
    chat: bool,
    streaming: bool,
) -> Result<(), Failure> {
    sampling(out, &settings.sampling)?;
    stopping(out, target, &settings.stopping, chat)?;
    out.put("n", settings.n);
    detail(out, settings, chat, streaming);
    if let Some(truncate) = &settings.truncate {
        truncation(out, target, truncate, TruncationSide::Left)?;
    }
    if let Some(wanted) = &settings.constraint {
        constraint(out, target, wanted)?;
    }
    extras(out, target, &settings.extras)
}

fn sampling(out: &mut Members, sampling: &Sampling) -> Result<(), Failure> {
    if sampling.typical_p.is_some_and(|typical| typical != 1.0) {
        return Err(unable("typical_p"));
    }
    if sampling.length_penalty.is_some() {
        return Err(unable("length_penalty"));
    }
    if sampling.greedy {
        out.put("temperature", 0.0);
    } else {
        out.put("temperature", sampling.temperature.unwrap_or(1.0));
        out.put("top_p", sampling.top_p.unwrap_or(1.0));
        // −1 turns it off in every version, 0 only in newer ones.
        out.put(
            "top_k",
            sampling.top_k.filter(|k| *k > 0).map_or(-1, i64::from),
        );
        out.put("min_p", sampling.min_p.unwrap_or(0.0));
        if let Some(seed) = sampling.seed {
            let seed = i64::try_from(seed).map_err(|_| unable("seed"))?;
            out.put("seed", seed);
        }
    }
    out.put(
        "repetition_penalty",
        sampling.repetition_penalty.unwrap_or(1.0),
    );
    out.put(
        "frequency_penalty",
        sampling.frequency_penalty.unwrap_or(0.0),
    );
    out.put("presence_penalty", sampling.presence_penalty.unwrap_or(0.0));
    Ok(())
}

fn stopping(
    out: &mut Members,
    target: &Target,
    stopping: &Stopping,
    chat: bool,
) -> Result<(), Failure> {
    match (chat, stopping.max_tokens) {
        (true, None) => {}
        (true, Some(most)) => out.put("max_completion_tokens", most),
        // Null, not absence: that would mean 16. Where a worker does not take it, its option
        // says what a call without a limit is given.
        (false, most) => out.put("max_tokens", most.or(target.max_tokens)),
    }
    out.put("min_tokens", stopping.min_tokens.unwrap_or(0));
    few_stops(target, stopping)?;
    out.put("stop", stopping.stop_sequences.clone());
    out.put("include_stop_str_in_output", stopping.include_stop);
    Ok(())
}

/// Refuses more stop sequences than the worker takes.
///
/// # Errors
/// When there are more.
pub fn few_stops(target: &Target, stopping: &Stopping) -> Result<(), Failure> {
    if stopping.stop_sequences.len() <= target.max_stop_sequences {
        return Ok(());
    }
    let message = format!(
        "The model's server takes at most {} stop sequences.",
        target.max_stop_sequences
    );
    Err(failure::invalid(message, Some("stop_sequences")))
}

fn detail(out: &mut Members, settings: &Settings, chat: bool, streaming: bool) {
    let detail = &settings.detail;
    out.put("echo", detail.echo);
    let tokens = detail.output_tokens || detail.top_n > 0;
    match (chat, tokens) {
        (true, true) => {
            out.put("logprobs", true);
            out.put("top_logprobs", detail.top_n);
        }
        (true, false) => out.put("logprobs", false),
        (false, true) => out.put("logprobs", detail.top_n),
        (false, false) => {}
    }
    // Stream chunks have no place for the prompt's tokens.
    let own = settings
        .extras
        .iter()
        .any(|extra| extra.name == "prompt_logprobs");
    if detail.input_tokens && !streaming && !own {
        out.put("prompt_logprobs", 0);
    }
}

/// Truncation. Old workers cut on the task's own side and cannot be told another.
///
/// # Errors
/// When the side cannot be had.
pub fn truncation(
    out: &mut Members,
    target: &Target,
    truncate: &Truncation,
    habit: TruncationSide,
) -> Result<(), Failure> {
    match (target.generation, truncate.side) {
        (_, None) => {}
        (Generation::New, Some(side)) => {
            out.put(
                "truncation_side",
                if side == TruncationSide::Left {
                    "left"
                } else {
                    "right"
                },
            );
        }
        (Generation::Old, Some(side)) if side == habit => {}
        (Generation::Old, Some(_)) => return Err(unable("truncation_side")),
    }
    out.put("truncate_prompt_tokens", truncate.tokens);
    Ok(())
}

/// JSON that a call carries, as it goes on.
///
/// # Errors
/// When it is none.
pub fn raw(json: &str, name: &str) -> Result<String, Failure> {
    serde_json::from_str::<&RawValue>(json)
        .map(|value| value.get().to_owned())
        .map_err(|_| failure::invalid(format!("{name} is no JSON"), Some(name)))
}

fn constraint(out: &mut Members, target: &Target, wanted: &Constraint) -> Result<(), Failure> {
    let new = target.generation == Generation::New;
    let (name, value) = match wanted {
        Constraint::JsonObject => {
            out.put_json("response_format", r#"{"type":"json_object"}"#);
            return Ok(());
        }
        Constraint::JsonSchema(schema) => ("json", raw(schema, "json_schema")?),
        Constraint::Regex(regex) => ("regex", json!(regex).to_string()),
        Constraint::Choice(choices) => ("choice", json!(choices).to_string()),
        Constraint::Grammar(grammar) => ("grammar", json!(grammar).to_string()),
        Constraint::Other(other) if other.name == "structural_tag" && new => {
            let tag = String::from_utf8_lossy(&other.payload);
            let tag = raw(&tag, "structural_tag")?;
            out.put_json("response_format", &tag);
            return Ok(());
        }
        Constraint::Other(other) => return Err(unable(&other.name)),
    };
    if new {
        out.put_json("structured_outputs", &format!("{{\"{name}\":{value}}}"));
    } else {
        out.put_json(&format!("guided_{name}"), &value);
    }
    Ok(())
}

fn extras(out: &mut Members, target: &Target, extras: &[Extra]) -> Result<(), Failure> {
    for extra in extras {
        let name = extra.name.as_str();
        if !KNOWN.contains(&name) && !of_generation(target.generation).contains(&name) {
            return Err(unable(name));
        }
        if serde_json::from_str::<&RawValue>(&extra.json).is_err() {
            return Err(failure::of(
                FailureKind::InvalidArgument,
                format!("{name} is no JSON"),
            ));
        }
        out.put_json(name, &extra.json);
    }
    Ok(())
}

/// An object of strings and numbers, for requests without prompts.
pub fn object(members: &[(&str, Value)]) -> Vec<u8> {
    let map: Map<String, Value> = members
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    Value::Object(map).to_string().into_bytes()
}
