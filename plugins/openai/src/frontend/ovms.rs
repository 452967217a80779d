//! What clients of OpenVINO Model Server say and are told otherwise than vLLM's, as
//! openvinotoolkit/model_server has it at commit 7e4df0c7.
//!
//! * Fields that it does not know it ignores (`src/llm/apis/openai_api_handler.cpp`,
//!   `openai_completions.cpp`, `src/embeddings/embeddings_api.cpp`, `src/rerank/rerank_utils.cpp`,
//!   `src/tokenize/tokenize_parser.cpp`).
//! * Defaults are its own: no limit of new tokens, `top_k` 40, a stop sequence within a stream and
//!   not in a whole answer (`src/llm/io_processing/base_generation_config_builder.cpp`).
//! * Answers have no `id`, a ranking no model and no usage
//!   (`docs/model_server_rest_api_*.md`).

use serde_json::{Value, json};
use tollgate_sdk_protocol::{
    Bytes, failure,
    inference::{ModelInfo, Prompt, Settings, Task, Tokenize, Tokenized, Truncation},
    types::{Context, Failure, FailureKind},
};

use super::{
    answer::Item,
    choices::{self, chat_logprobs, completion_logprobs},
    fields::{Fields, out_of_domain, wrong_type},
    prompts,
    request::{Form, Request},
    tasks::only_passed,
};
use crate::{claims::Endpoint, options::Options};

/// What chat and completions share.
macro_rules! generation {
    ($($own:literal),*) => {
        &[
            "model", "stream", "stream_options", "ignore_eos", "max_tokens",
            "frequency_penalty", "presence_penalty", "repetition_penalty", "temperature",
            "top_p", "top_k", "min_p", "seed", "stop", "include_stop_str_in_output", "best_of",
            "n", "skip_special_tokens", "modalities", "logprobs", $($own),*
        ]
    };
}

const COMPLETIONS: &[&str] = generation!("prompt", "echo");
const CHAT: &[&str] = generation!(
    "messages",
    "max_completion_tokens",
    "tools",
    "tool_choice",
    "response_format",
    "chat_template_kwargs"
);

/// Most stop sequences (`DEFAULT_MAX_STOP_WORDS`).
const STOPS: usize = 16;
/// Its `top_k` of a request that samples and has none.
const TOP_K: u32 = 40;

/// The fields that it reads. How it drafts tokens (`num_assistant_tokens` and the like) changes no
/// result, and is a hint.
pub fn fields(endpoint: Endpoint) -> &'static [&'static str] {
    match endpoint {
        Endpoint::Chat => CHAT,
        Endpoint::Completions => COMPLETIONS,
        Endpoint::Embeddings => &["model", "input", "encoding_format"],
        Endpoint::Rerank => &["model", "query", "documents", "top_n", "return_documents"],
        Endpoint::Tokenize => &[
            "model",
            "text",
            "add_special_tokens",
            "max_length",
            "pad_to_max_length",
            "padding_side",
        ],
        _ => &["model"],
    }
}

/// Its own defaults and bounds, over those of vLLM.
///
/// # Errors
/// When it would refuse a value, or what it would do has no neutral form.
pub fn settings(
    bytes: &dyn Bytes,
    fields: &Fields,
    settings: &mut Settings,
    chat: bool,
    streaming: bool,
) -> Result<(), Failure> {
    beams(bytes, fields, settings, streaming)?;
    sampling(bytes, fields, settings)?;
    stopping(bytes, fields, settings, chat, streaming)?;
    let detail = &mut settings.detail;
    if detail.output_tokens {
        if streaming {
            let message = "logprobs are not supported in streaming mode.";
            return Err(failure::invalid(message, Some("logprobs")));
        }
        if !chat && detail.top_n != 1 {
            let message = "accepted logprobs value is currently 1 only";
            return Err(failure::invalid(message, Some("logprobs")));
        }
        // That is the chosen token, and no other beside it.
        detail.top_n = 0;
    }
    Ok(())
}

fn beams(
    bytes: &dyn Bytes,
    fields: &Fields,
    settings: &Settings,
    streaming: bool,
) -> Result<(), Failure> {
    let best_of = fields.count(bytes, "best_of", 1)?.unwrap_or(1);
    if streaming && fields.json(bytes, "best_of").is_some() {
        let message = "best_of cannot be used in streaming mode";
        return Err(failure::invalid(message, Some("best_of")));
    }
    if settings.n > best_of {
        let message = "n value cannot be greater than best_of";
        return Err(failure::invalid(message, Some("n")));
    }
    if best_of > 1 {
        return Err(only_passed("A search by beams", "best_of"));
    }
    Ok(())
}

fn sampling(bytes: &dyn Bytes, fields: &Fields, settings: &mut Settings) -> Result<(), Failure> {
    fields.within(bytes, "temperature", 0.0, 2.0)?;
    if fields.number(bytes, "min_p")? == Some(1.0) {
        return Err(out_of_domain("min_p", "below 1", 1.0));
    }
    if let Some(seed) = fields.integer(bytes, "seed")?
        && u32::try_from(seed).is_err()
    {
        return Err(out_of_domain("seed", "in [0, 4294967295]", seed as f64));
    }
    match fields.integer(bytes, "top_k")? {
        Some(0) => {
            let message = "top_k must be -1 (all tokens) or a positive integer";
            Err(failure::invalid(message, Some("top_k")))
        }
        None if !settings.sampling.greedy => {
            settings.sampling.top_k = Some(TOP_K);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn stopping(
    bytes: &dyn Bytes,
    fields: &Fields,
    settings: &mut Settings,
    chat: bool,
    streaming: bool,
) -> Result<(), Failure> {
    let stopping = &mut settings.stopping;
    if !chat {
        stopping.max_tokens = fields.count(bytes, "max_tokens", 1)?;
    }
    if stopping.stop_sequences.len() > STOPS {
        let message = format!("stop array must have no more than {STOPS} strings");
        return Err(failure::invalid(message, Some("stop")));
    }
    let include = fields.boolean(bytes, "include_stop_str_in_output")?;
    if streaming && include == Some(false) {
        let message = "include_stop_str_in_output cannot be set to false if streaming is used";
        let param = Some("include_stop_str_in_output");
        return Err(failure::invalid(message, param));
    }
    stopping.include_stop = include.unwrap_or(streaming);
    Ok(())
}

/// The neutral tokenization of one text or of several.
///
/// # Errors
/// When a field is of another type, or asks for what has no neutral form.
pub fn tokenize(request: &Request, bytes: &dyn Bytes, form: &mut Form) -> Result<Task, Failure> {
    let fields = &request.fields;
    let kind = "a string or a list of strings";
    let inputs = prompts::read(bytes, fields, "text")?
        .into_iter()
        .map(|prompt| match prompt {
            Prompt::Text(text) => Ok(text),
            Prompt::Tokens(_) => Err(wrong_type("text", kind)),
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    if fields.boolean(bytes, "pad_to_max_length")?.unwrap_or(false) {
        return Err(only_passed("Padding", "pad_to_max_length"));
    }
    form.items = inputs.len();
    let most = fields.count(bytes, "max_length", 1)?;
    Ok(Task::Tokenize(Tokenize {
        inputs,
        add_special_tokens: Some(fields.boolean(bytes, "add_special_tokens")?.unwrap_or(true)),
        tokens: true,
        offsets: false,
        truncate: most.map(|tokens| Truncation { tokens, side: None }),
        extras: Vec::new(),
    }))
}

/// Ids of tokens: in lists of their own where there are several texts.
///
/// # Errors
/// When the worker has told none: they are all that this answer has.
pub fn tokens(tokenized: &[Tokenized]) -> Result<Vec<u8>, Failure> {
    let ids = |one: &Tokenized| -> Result<Value, Failure> {
        if one.ids.len() == one.count as usize {
            return Ok(json!(one.ids));
        }
        let message = "The model's server tells no ids of tokens.";
        Err(failure::of(FailureKind::Unsupported, message))
    };
    let tokens = match tokenized {
        [one] => ids(one)?,
        all => all.iter().map(ids).collect::<Result<Value, Failure>>()?,
    };
    Ok(choices::written(&json!({"tokens": tokens})))
}

/// Usage: of what generates nothing only the input.
pub fn usage(endpoint: Endpoint, (input, output, _): (u64, u64, Option<u64>)) -> Value {
    match endpoint {
        Endpoint::Chat | Endpoint::Completions => json!({
            "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
        }),
        _ => json!({"prompt_tokens": input, "total_tokens": input}),
    }
}

/// The body of a whole answer of chat or completions.
pub fn choices(form: &Form, options: &Options, items: &mut [Item], usage: &Value) -> Vec<u8> {
    let chat = form.endpoint == Endpoint::Chat;
    let choice = |(index, item): (usize, &mut Item)| {
        let (reason, _) = choices::ends(item);
        let mut choice = json!({"index": index, "finish_reason": reason});
        choice["logprobs"] = match (form.logprobs, chat) {
            (false, _) => Value::Null,
            (true, true) => chat_logprobs(&item.tokens),
            (true, false) => completion_logprobs(&item.tokens, &mut echoed(form, item)),
        };
        if chat {
            choice["message"] = message(options, item);
        } else {
            let text = std::mem::take(&mut item.text);
            let echo = item.echo.take().filter(|_| form.echo).unwrap_or_default();
            choice["text"] = Value::String(echo + &text);
        }
        choice
    };
    let choices: Vec<Value> = items.iter_mut().enumerate().map(choice).collect();
    choices::written(&json!({
        "choices": choices,
        "created": form.created,
        "model": form.model,
        "object": if chat { "chat.completion" } else { "text_completion" },
        "usage": usage,
    }))
}

/// Characters before the first token's text.
fn echoed(form: &Form, item: &Item) -> usize {
    let echo = item.echo.as_ref().filter(|_| form.echo);
    echo.map_or(0, |echo| echo.chars().count())
}

fn message(options: &Options, item: &mut Item) -> Value {
    let mut message = json!({
        "content": std::mem::take(&mut item.text),
        "role": "assistant",
        "tool_calls": [],
    });
    for (name, value) in std::mem::take(&mut item.extras) {
        match name.as_str() {
            "reasoning" => message[options.reasoning_field()] = value,
            "tool_calls" => message["tool_calls"] = choices::without_index(value),
            name => message[name] = value,
        }
    }
    message
}

/// A model of its list.
pub fn model(model: &ModelInfo, context: &Context) -> Value {
    json!({
        "id": model.name,
        "object": "model",
        "created": context.unix_time,
        "owned_by": "OVMS",
    })
}
