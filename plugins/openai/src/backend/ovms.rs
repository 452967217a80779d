//! What OpenVINO Model Server does otherwise, as openvinotoolkit/model_server has it at commit
//! 7e4df0c7: `docs/model_server_rest_api_{chat,completions,embeddings,rerank,tokenizer}.md`, and
//! what is cited below.
//!
//! * A request has one prompt, which is text. It ignores members that it does not know, so what
//!   would change the result and has no word there is refused here, by name.
//! * Defaults that are not the client's (`top_k` is 40 there) are written over.
//! * `max_tokens: null` is refused there, so it is left out: the answer is as long as it becomes.
//! * Several answers (`n`) are the beams of one search, which is another thing.
//! * A stream cannot leave a stop sequence out, and no answer tells which one matched: they are
//!   always asked for, and cut here ([`super::stops`]).
//! * Log probabilities are of the chosen tokens, and not of streams: what a client asked for beyond
//!   that stays empty, as does what it asked of its prompt's tokens.
//! * A schema is kept in chat alone; forms other than JSON are only tried there, silently
//!   (`docs/model_server_rest_api_chat.md`, `response_format`), so they are refused.

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_sdk_protocol::{
    backend::Request,
    failure,
    inference::{
        Call, Chat, Constraint, Embed, Extra, Generate, Prompt, Rerank, Sampling, Settings, Task,
        Tokenize,
    },
    text::json_string,
    types::{Failure, FailureKind},
};

use super::{
    generation::{self, Members, unable},
    prompts::Writer,
    reply::{self, Choice},
    request::{body, get, known_extras, model, not_offered, post},
    stops::Cutter,
    unary::{self, Tokens},
};
use crate::options::Target;

/// The request for a call; for several only where they are embeddings.
///
/// # Errors
/// When the server cannot do what is asked; the failure names it.
pub fn build(target: &Target, call: &Call, members: &[Call]) -> Result<Request, Failure> {
    match &call.task {
        Task::Generate(generate) => completions(target, call, generate),
        Task::Chat(chat) => self::chat(target, call, chat),
        Task::Embed(embed) => embeddings(target, call, embed, members),
        Task::Rerank(rerank) => self::rerank(target, call, rerank),
        Task::Tokenize(tokenize) => self::tokenize(target, call, tokenize),
        Task::ListModels | Task::ModelMetadata | Task::ModelReady => {
            Ok(get(&target.path("models")))
        }
        Task::ServerLive => Ok(get("/v2/health/live")),
        Task::ServerReady => Ok(get("/v2/health/ready")),
        Task::ServerMetadata => Ok(get("/v2")),
        Task::Similarity(_) => Err(lacks("score")),
        Task::Detokenize(_) => Err(lacks("detokenize")),
        Task::Infer(_) | Task::Other(_) => Err(not_offered()),
    }
}

/// A refusal of what has no path there.
fn lacks(what: &str) -> Failure {
    let message = format!("The model's server, an OpenVINO Model Server, has no `{what}`.");
    failure::of(FailureKind::Unsupported, message)
}

/// A limit of time is kept by ending a stream, whoever asked for one.
fn streams(call: &Call, settings: &Settings) -> bool {
    call.streaming || settings.stopping.time_limit_ms.is_some()
}

fn completions(target: &Target, call: &Call, generate: &Generate) -> Result<Request, Failure> {
    let text = match &generate.prompts[..] {
        [Prompt::Text(text)] => text,
        [Prompt::Tokens(_)] => {
            let message = "The model's server takes texts, and no ids of tokens, as a `prompt`.";
            return Err(failure::invalid(message, Some("prompt")));
        }
        _ => {
            let message = "The model's server takes one `prompt` in a request.";
            return Err(Failure {
                param: Some("prompt".to_owned()),
                ..failure::of(FailureKind::Unsupported, message)
            });
        }
    };
    let settings = &generate.settings;
    let streaming = streams(call, settings);
    let mut out = Members::default();
    write(&mut out, target, settings, false, streaming)?;
    let write = |out: &mut Writer| {
        out.segment(json_string(text));
        Ok(())
    };
    let model = model(call, settings.adapter.as_ref());
    let body = body(model, "prompt", write, &out)?;
    Ok(post(&target.path("completions"), body))
}

fn chat(target: &Target, call: &Call, chat: &Chat) -> Result<Request, Failure> {
    let settings = &chat.settings;
    let streaming = streams(call, settings);
    let mut out = Members::default();
    write(&mut out, target, settings, true, streaming)?;
    if let Some(tools) = &chat.tools {
        out.put_json("tools", tools);
    }
    if let Some(choice) = &chat.tool_choice {
        out.put_json("tool_choice", choice);
    }
    let write = |out: &mut Writer| {
        out.messages(&chat.messages);
        Ok(())
    };
    let model = model(call, settings.adapter.as_ref());
    let body = body(model, "messages", write, &out)?;
    Ok(post(&target.path("chat/completions"), body))
}

fn write(
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

fn embeddings(
    target: &Target,
    call: &Call,
    embed: &Embed,
    members: &[Call],
) -> Result<Request, Failure> {
    if embed.dimensions.is_some() {
        return Err(unable("dimensions"));
    }
    if embed.truncate.is_some() {
        return Err(unable("truncate_input_tokens"));
    }
    let mut out = Members::default();
    out.put("encoding_format", "base64");
    known_extras(&mut out, &embed.extras, &[])?;
    let inputs: Vec<&Prompt> = members
        .iter()
        .filter_map(|member| match &member.task {
            Task::Embed(embed) => Some(&embed.inputs),
            _ => None,
        })
        .flatten()
        .collect();
    let body = body(&call.model, "input", |out| out.prompts(&inputs), &out)?;
    Ok(post(&target.path("embeddings"), body))
}

fn rerank(target: &Target, call: &Call, rerank: &Rerank) -> Result<Request, Failure> {
    if rerank.truncate.is_some() {
        return Err(unable("truncate_input_tokens"));
    }
    let mut out = Members::default();
    // Zero would be none of them.
    if let Some(top) = rerank.top_n.filter(|top| *top > 0) {
        out.put("top_n", top);
    }
    known_extras(&mut out, &rerank.extras, &[])?;
    let write = |out: &mut Writer| {
        out.segment(json_string(&rerank.query));
        out.raw(b",\"documents\":");
        out.list(&rerank.documents, |out, document| {
            out.segment(json_string(&document.text));
        });
        Ok(())
    };
    let body = body(&call.model, "query", write, &out)?;
    Ok(post(&target.path("rerank"), body))
}

fn tokenize(target: &Target, call: &Call, tokenize: &Tokenize) -> Result<Request, Failure> {
    let [text] = &tokenize.inputs[..] else {
        let message = "The model's server tokenizes one text at a time.";
        return Err(failure::of(FailureKind::Unsupported, message));
    };
    if tokenize.offsets {
        return Err(unable("return_offsets"));
    }
    let mut out = Members::default();
    if let Some(add) = tokenize.add_special_tokens {
        out.put("add_special_tokens", add);
    }
    match tokenize.truncate {
        None => {}
        // Where it cuts is the tokenizer's own habit.
        Some(truncate) if truncate.side.is_none() && truncate.tokens > 0 => {
            out.put("max_length", truncate.tokens);
        }
        Some(_) => return Err(unable("truncate_input_tokens")),
    }
    known_extras(&mut out, &tokenize.extras, &[])?;
    let write = |out: &mut Writer| {
        out.segment(json_string(text));
        Ok(())
    };
    let body = body(&call.model, "text", write, &out)?;
    Ok(post(&target.path("tokenize"), body))
}

/// Ids of tokens, and nothing else: `{"tokens": [1, 2]}`.
///
/// # Errors
/// When the answer is another one.
pub fn tokens(body: &[u8]) -> Result<Tokens, Failure> {
    #[derive(Deserialize)]
    struct Ids {
        tokens: Vec<u32>,
    }
    let Ids { tokens } = unary::parse(body)?;
    Ok(Tokens {
        count: u32::try_from(tokens.len()).map_err(|_| unary::short())?,
        tokens,
        token_strs: None,
    })
}

/// Cuts the text of a whole answer at the stop sequence that ended it, and tells which one. Where the
/// prompt stands before it, which may have some of its own, the server cuts.
pub fn cut(choice: &mut Choice<'_>, settings: &Settings) {
    if settings.detail.echo {
        return;
    }
    let Some(mut cutter) = Cutter::new(&settings.stopping) else {
        return;
    };
    let text = match (&mut choice.text, &mut choice.delta) {
        (Some(text), _) => text,
        (None, Some(message)) => match &mut message.content {
            Some(text) => text,
            None => return,
        },
        (None, None) => return,
    };
    let mut told = cutter.push(text);
    told.push_str(&cutter.rest());
    *text = told;
    choice.stop_reason = cutter.matched().map(Value::from);
}

/// A failure after the head of a stream: plain JSON, and no event (`src/http_rest_api_handler.cpp`,
/// `PartialReplyWithStatus`). Readers of events overlook it.
#[derive(Default)]
pub struct Bare {
    held: Vec<u8>,
}

impl Bare {
    /// Longest failure that is read.
    const MOST: usize = 16 * 1024;

    /// Takes the next piece of the stream, with how many bytes stand after the last event; gives the
    /// failure that they are.
    pub fn read(&mut self, piece: &[u8], after: u64) -> Option<Failure> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        if after <= piece.len() {
            self.held.clear();
            self.held.extend_from_slice(&piece[piece.len() - after..]);
        } else {
            self.held.extend_from_slice(piece);
        }
        self.held.truncate(Self::MOST);
        let held = self.held.trim_ascii_start();
        if !held.starts_with(b"{") {
            return None;
        }
        // What may follow it is no event either.
        let mut values = serde_json::Deserializer::from_slice(held).into_iter::<Value>();
        let value = values.next()?.ok()?;
        value["error"]
            .is_string()
            .then(|| reply::failure_of_event(&value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_is_no_event_is_found_however_it_comes() {
        let text = b"data: {\"choices\":[]}\n\n{\"error\": \"it broke\"}";
        for at in 0..text.len() {
            let mut reader = tollgate_sdk_protocol::sse::Reader::new(1024);
            let (mut bare, mut found, mut position) = (Bare::default(), None, 0);
            for piece in [&text[..at], &text[at..]] {
                reader.push(piece).unwrap();
                position += piece.len() as u64;
                found = found.or(bare.read(piece, position - reader.given_out()));
            }
            assert_eq!(found.expect("a failure").message, "it broke", "{at}");
        }
    }

    #[test]
    fn what_is_an_event_or_too_long_is_no_failure() {
        let mut bare = Bare::default();
        assert!(bare.read(b"data: {\"error\":\"x\"}", 20).is_none());
        let long = format!("{{\"error\":\"{}", "x".repeat(Bare::MOST));
        assert!(bare.read(long.as_bytes(), long.len() as u64).is_none());
        assert!(bare.read(b"\"}", long.len() as u64 + 2).is_none());
        assert!(bare.held.len() <= Bare::MOST);
    }
}
