//! A whole response as neutral events, divided among the members of an attempt.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_sdk_protocol::{
    backend::MemberEvent,
    classify::Texts,
    failure,
    inference::{Call, Delta, Event, ServerInfo, Settings, Started, Task, Tokenized, Usage},
    text,
    types::{Failure, FailureKind, SourceId},
};

use super::{
    finished, generation, ovms, probe,
    reply::{self, Choice, Reply},
    scores,
    stream::{items_of, wants_tokens},
    vectors,
};
use crate::options::Target;

/// Events of a response that is there as a whole, which began at a source's start.
///
/// # Errors
/// When the response is not the API's, or does not have all that was asked for.
pub fn events(
    target: &Target,
    members: &[Call],
    source: SourceId,
    status: u16,
    body: &[u8],
) -> Result<Vec<MemberEvent>, Failure> {
    let call = &members[0];
    let one = |events: Vec<Event>| {
        events
            .into_iter()
            .map(|event| MemberEvent { member: 0, event })
            .collect()
    };
    Ok(match &call.task {
        Task::Generate(_) | Task::Chat(_) => choices(target, members, parse(body)?)?,
        Task::Embed(_) => vectors::events(members, parse(body)?)?,
        Task::Rerank(rerank) => one(scores::ranked(rerank, body)?),
        Task::Similarity(similarity) => one(scores::scored(similarity, body)?),
        Task::Tokenize(_) if target.ovms => one(tokenized(ovms::tokens(body)?)),
        Task::Tokenize(_) => one(tokenized(parse(body)?)),
        Task::Detokenize(_) => one(detokenized(source, body)?),
        Task::ListModels => one(vec![
            Event::Models(probe::models(target, body)?),
            Event::End,
        ]),
        Task::ModelMetadata => {
            let mut models = probe::models(target, body)?;
            models.retain(|model| model.name == call.model);
            if models.is_empty() {
                let message = format!("The worker has no model `{}`.", call.model);
                return Err(failure::of(FailureKind::NotFound, message));
            }
            one(vec![Event::Models(models), Event::End])
        }
        Task::ModelReady => {
            let there = probe::models(target, body)?
                .iter()
                .any(|model| model.name == call.model);
            one(vec![Event::Ready(there), Event::End])
        }
        Task::ServerLive | Task::ServerReady => one(vec![Event::Ready(status == 200), Event::End]),
        Task::ServerMetadata => one(version(parse(body)?)),
        task => match Texts::of(task) {
            Some(texts) => one(scores::classified(&texts, body)?),
            None => {
                return Err(failure::of(
                    FailureKind::Unsupported,
                    "This task has no answer here.",
                ));
            }
        },
    })
}

/// Reads JSON of the API.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        failure::from_json(
            body,
            &error,
            format!("The worker's answer is odd: {error}."),
        )
    })
}

/// The failure of an answer with too little in it.
pub fn short() -> Failure {
    failure::upstream_invalid("The worker's answer has not all that was asked for.")
}

fn choices(
    target: &Target,
    members: &[Call],
    mut reply: Reply,
) -> Result<Vec<MemberEvent>, Failure> {
    let expected: usize = members.iter().map(items_of).sum();
    reply.choices.sort_by_key(|choice| choice.index);
    let in_order = reply
        .choices
        .iter()
        .enumerate()
        .all(|(at, choice)| choice.index as usize == at);
    if reply.choices.len() != expected || !in_order {
        return Err(short());
    }
    let alone = expected == 1;
    let mut out = Vec::new();
    let mut choices = reply.choices.into_iter();
    for (member, call) in members.iter().enumerate() {
        let settings = generation::settings(&call.task).ok_or_else(short)?;
        let n = settings.n.max(1) as usize;
        let (mut input, mut output) = (Some(0u64), Some(0u64));
        for (item, mut choice) in choices.by_ref().take(items_of(call)).enumerate() {
            if target.ovms {
                ovms::cut(&mut choice, settings);
            }
            // Chat tells the prompt's tokens beside the choices.
            if choice.prompt_logprobs.is_none() {
                choice.prompt_logprobs = reply.prompt_logprobs.clone();
            }
            if choice.prompt_token_ids.is_none() {
                choice.prompt_token_ids = reply.prompt_token_ids.clone();
            }
            let counts = reply.usage.unwrap_or_default();
            let one_prompt = members.len() == 1 && items_of(call) == n;
            let of_item = Counted {
                input: counts.prompt_tokens.filter(|_| one_prompt),
                output: counts.completion_tokens.filter(|_| alone),
            };
            let told = item_events(settings, item, choice, of_item, &mut |event| {
                out.push(MemberEvent {
                    member: member as u32,
                    event,
                });
            })?;
            if item % n == 0 {
                input = sum(input, told.input);
            }
            output = sum(output, told.output);
        }
        let told = input.is_some() && output.is_some();
        if members.len() > 1 && !told {
            // The sum over strangers is nobody's usage, and to guess shares would be worse.
            return Err(failure::upstream_invalid(
                "The worker does not tell whose tokens are whose in a merged request: \
                 switch its option `merge-completions` off.",
            ));
        }
        let usage = match reply.usage {
            Some(counts) if members.len() == 1 => Some(counts.usage()),
            _ if input.is_some() && output.is_some() => Some(Usage {
                input_tokens: input,
                output_tokens: output,
                cached_tokens: None,
                extensions: Vec::new(),
            }),
            _ => None,
        };
        let end = usage.map(Event::Usage).into_iter().chain([Event::End]);
        out.extend(end.map(|event| MemberEvent {
            member: member as u32,
            event,
        }));
    }
    Ok(out)
}

fn sum(total: Option<u64>, more: Option<u32>) -> Option<u64> {
    Some(total? + u64::from(more?))
}

#[derive(Clone, Copy)]
struct Counted {
    input: Option<u32>,
    output: Option<u32>,
}

fn item_events(
    settings: &Settings,
    item: usize,
    choice: Choice,
    counted: Counted,
    tell: &mut dyn FnMut(Event),
) -> Result<Counted, Failure> {
    let item = item as u32;
    let len = |list: usize| u32::try_from(list).ok();
    let prompt_tokens = choice
        .prompt_logprobs
        .map(|places| reply::prompt_tokens(places, choice.prompt_token_ids.as_ref()))
        .unwrap_or_default();
    let tokens = choice
        .logprobs
        .map(reply::Logprobs::tokens)
        .unwrap_or_default();
    // Listed tokens count what the sum over all answers does not tell. An echo is
    // listed too, so then the list counts nothing.
    let listed = (!tokens.is_empty() && !settings.detail.echo).then_some(tokens.len());
    let counted = Counted {
        input: counted
            .input
            .or_else(|| {
                choice
                    .prompt_token_ids
                    .as_ref()
                    .and_then(|ids| len(ids.len()))
            })
            .or_else(|| len(prompt_tokens.len()).filter(|count| *count > 0)),
        output: counted
            .output
            .or_else(|| choice.token_ids.as_ref().and_then(|ids| len(ids.len())))
            .or_else(|| listed.and_then(len)),
    };
    tell(Event::Started(Started {
        item,
        input_tokens: counted.input,
        seed: None,
        echo: None,
        tokens: if settings.detail.input_tokens {
            prompt_tokens
        } else {
            Vec::new()
        },
    }));
    let extras = choice
        .delta
        .as_ref()
        .map(reply::Message::extras)
        .unwrap_or_default();
    let text = choice
        .text
        .or(choice.delta.and_then(|message| message.content))
        .unwrap_or_default();
    let tokens = if wants_tokens(Some(settings)) {
        tokens
    } else {
        Vec::new()
    };
    if !text.is_empty() || !tokens.is_empty() || !extras.is_empty() {
        tell(Event::Delta(Delta {
            item,
            text,
            tokens,
            output_tokens: counted.output,
            extras,
        }));
    }
    let reason = choice.finish_reason.ok_or_else(short)?;
    let limited = settings.stopping.max_tokens.is_some();
    let mut end = finished(item, &reason, choice.stop_reason.as_ref(), limited);
    end.input_tokens = counted.input;
    end.output_tokens = counted.output;
    tell(Event::Finished(end));
    Ok(counted)
}

/// The answer to `/tokenize`.
#[derive(Deserialize)]
pub struct Tokens {
    pub count: u32,
    #[serde(default)]
    pub tokens: Vec<u32>,
    #[serde(default)]
    pub token_strs: Option<Vec<String>>,
}

fn tokenized(tokens: Tokens) -> Vec<Event> {
    let tokenized = Tokenized {
        item: 0,
        count: tokens.count,
        ids: tokens.tokens,
        texts: tokens.token_strs.unwrap_or_default(),
        offsets: Vec::new(),
    };
    vec![Event::Tokenized(vec![tokenized]), Event::End]
}

fn detokenized(source: SourceId, body: &[u8]) -> Result<Vec<Event>, Failure> {
    #[derive(Deserialize)]
    struct Prompt<'a> {
        #[serde(borrow)]
        prompt: &'a RawValue,
    }
    let json = parse::<Prompt>(body)?.prompt.get();
    if !json.starts_with('"') {
        return Err(short());
    }
    let at = json.as_ptr() as usize - body.as_ptr() as usize;
    let text = text::held_json(source, at as u64, json.len() as u64);
    Ok(vec![Event::Detokenized(text), Event::End])
}

#[derive(Deserialize)]
struct Version {
    /// vLLM tells none.
    #[serde(default)]
    name: Option<String>,
    version: String,
}

fn version(version: Version) -> Vec<Event> {
    let info = ServerInfo {
        name: version.name.unwrap_or_else(|| "vllm".to_owned()),
        version: version.version,
        features: Vec::new(),
        facts: Vec::new(),
    };
    vec![Event::Metadata(info), Event::End]
}
