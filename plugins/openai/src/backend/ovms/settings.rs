//! Settings of chat and completions in this server's words.

use serde_json::json;
use tollgate_sdk_protocol::{
    failure,
    inference::{Constraint, Extra, Sampling, Settings},
    types::Failure,
};

use super::super::{
    generation::{self, Members, unable},
    request::known_extras,
};
use crate::options::Target;

/// Writes the settings, and whether the answer streams.
///
/// # Errors
/// When the server cannot do what one asks for; the failure names it.
pub fn write(
    out: &mut Members,
    target: &Target,
    settings: &Settings,
    chat: bool,
    streaming: bool,
) -> Result<(), Failure> {
    sampling(out, &settings.sampling)?;
    stopping(out, target, settings, chat)?;
    if settings.n > 1 {
        return Err(unable("n"));
    }
    if settings.truncate.is_some() {
        return Err(unable("truncate_input_tokens"));
    }
    detail(out, settings, chat, streaming)?;
    if let Some(wanted) = &settings.constraint {
        constraint(out, wanted, chat)?;
    }
    extras(out, &settings.extras, chat)?;
    out.put("stream", streaming);
    if streaming {
        // It refuses any other option beside this one.
        out.put("stream_options", json!({"include_usage": true}));
    }
    Ok(())
}

/// A refusal of a value that the server does not take.
fn beyond(name: &str, domain: &str) -> Failure {
    failure::invalid(
        format!("The model's server takes a `{name}` {domain}."),
        Some(name),
    )
}

/// Ranges are those of `src/llm/apis/openai_api_handler.cpp`.
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
        let temperature = sampling.temperature.unwrap_or(1.0);
        if temperature > 2.0 {
            return Err(beyond("temperature", "of at most 2"));
        }
        let min_p = sampling.min_p.unwrap_or(0.0);
        if min_p >= 1.0 {
            return Err(beyond("min_p", "below 1"));
        }
        out.put("temperature", temperature);
        out.put("top_p", sampling.top_p.unwrap_or(1.0));
        // Its own default is 40; −1 turns it off.
        let top_k = sampling.top_k.filter(|k| *k > 0).map_or(-1, i64::from);
        if top_k > i64::from(i32::MAX) {
            return Err(beyond("top_k", "of 31 bits"));
        }
        out.put("top_k", top_k);
        out.put("min_p", min_p);
        if let Some(seed) = sampling.seed {
            let seed = u32::try_from(seed).map_err(|_| beyond("seed", "of 32 bits"))?;
            out.put("seed", seed);
        }
    }
    for (name, value, usual) in [
        ("repetition_penalty", sampling.repetition_penalty, 1.0),
        ("frequency_penalty", sampling.frequency_penalty, 0.0),
        ("presence_penalty", sampling.presence_penalty, 0.0),
    ] {
        out.put(name, value.unwrap_or(usual));
    }
    Ok(())
}

fn stopping(
    out: &mut Members,
    target: &Target,
    settings: &Settings,
    chat: bool,
) -> Result<(), Failure> {
    let stopping = &settings.stopping;
    let most = if chat {
        stopping.max_tokens
    } else {
        stopping.max_tokens.or(target.max_tokens)
    };
    if let Some(most) = most {
        let name = if chat {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        out.put(name, most);
    }
    if stopping.min_tokens.is_some_and(|least| least > 0) {
        return Err(unable("min_tokens"));
    }
    generation::few_stops(target, stopping)?;
    let stops = stopping.stop_sequences.iter();
    let stops: Vec<&String> = stops.filter(|stop| !stop.is_empty()).collect();
    if !stops.is_empty() {
        out.put("stop", json!(stops));
        let whole = !settings.detail.echo || stopping.include_stop;
        out.put("include_stop_str_in_output", whole);
    }
    Ok(())
}

fn detail(
    out: &mut Members,
    settings: &Settings,
    chat: bool,
    streaming: bool,
) -> Result<(), Failure> {
    let detail = &settings.detail;
    if detail.echo {
        // In a stream nobody could tell a stop sequence of the prompt from one that matched.
        if chat || (streaming && !settings.stopping.stop_sequences.is_empty()) {
            return Err(unable("echo"));
        }
        out.put("echo", true);
    }
    // Those of the prompt are told by nobody there.
    let tokens = detail.output_tokens || detail.top_n > 0;
    match (chat, tokens && !streaming) {
        (true, true) => out.put("logprobs", true),
        (false, true) => out.put("logprobs", 1),
        (_, false) => {}
    }
    Ok(())
}

fn constraint(out: &mut Members, wanted: &Constraint, chat: bool) -> Result<(), Failure> {
    let (name, schema) = match wanted {
        // Any object: the form that stands for this has no place among those of its grammars.
        Constraint::JsonObject => (
            "json_object",
            r#"{"type":"object","additionalProperties":true}"#.to_owned(),
        ),
        Constraint::JsonSchema(schema) => ("json_schema", generation::raw(schema, "json_schema")?),
        Constraint::Regex(_) => return Err(unable("regex")),
        Constraint::Choice(_) => return Err(unable("choice")),
        Constraint::Grammar(_) => return Err(unable("grammar")),
        Constraint::Other(other) => return Err(unable(&other.name)),
    };
    // Completions do not read the member (`src/llm/apis/openai_completions.cpp`).
    if !chat {
        return Err(unable(name));
    }
    let format =
        format!(r#"{{"type":"json_schema","json_schema":{{"name":"answer","schema":{schema}}}}}"#);
    out.put_json("response_format", &format);
    Ok(())
}

/// What has the same name and the same meaning there.
fn extras(out: &mut Members, extras: &[Extra], chat: bool) -> Result<(), Failure> {
    const COMPLETIONS: &[&str] = &["ignore_eos", "skip_special_tokens"];
    const CHAT: &[&str] = &["ignore_eos", "skip_special_tokens", "chat_template_kwargs"];
    known_extras(out, extras, if chat { CHAT } else { COMPLETIONS })
}
