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

mod answers;
mod settings;

use tollgate_sdk_protocol::{
    backend::Request,
    failure,
    inference::{Call, Chat, Embed, Generate, Prompt, Rerank, Settings, Task, Tokenize},
    text::json_string,
    types::{Failure, FailureKind},
};

pub use answers::{Bare, cut, tokens};

use super::{
    generation::{Members, unable},
    prompts::Writer,
    request::{body, get, known_extras, model, not_offered, post},
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
    settings::write(&mut out, target, settings, false, streaming)?;
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
    settings::write(&mut out, target, settings, true, streaming)?;
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
