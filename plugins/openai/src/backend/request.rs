//! From neutral calls to one request of the API.

use serde_json::{Value, json};
use tollgate_sdk_protocol::{
    Bytes, actions,
    backend::{Request, RestSurface, Surface},
    classify::Texts,
    failure,
    inference::{
        Call, Chat, Embed, Extra, Generate, Prompt, Rerank, Similarity, Task, Tokenize, Truncation,
        TruncationSide,
    },
    text::{json_string, quoted},
    types::{Failure, FailureKind, Segment},
};

use super::{
    generation::{self, Members, unable},
    ovms,
    prompts::Writer,
};
use crate::options::{Generation, Target};

/// The request for calls that were merged, or for one.
///
/// # Errors
/// When the API cannot say what is asked.
pub fn build(_bytes: &dyn Bytes, target: &Target, members: &[Call]) -> Result<Request, Failure> {
    let call = members.first().ok_or_else(|| {
        failure::of(
            FailureKind::Internal,
            "An attempt without a call was begun.",
        )
    })?;
    if let Some(problem) = &target.problem {
        let message = format!("The worker's options are wrong: {problem}.");
        return Err(failure::of(FailureKind::Internal, message));
    }
    if target.ovms {
        return ovms::build(target, call, members);
    }
    Ok(match &call.task {
        Task::Generate(generate) => completions(target, call, generate, members)?,
        Task::Chat(chat) => self::chat(target, call, chat)?,
        Task::Embed(embed) => embeddings(target, call, embed, members)?,
        Task::Tokenize(tokenize) => self::tokenize(call, tokenize)?,
        Task::Detokenize(detokenize) => post(
            "/detokenize",
            vec![Segment::Inline(generation::object(&[
                ("model", call.model.clone().into()),
                ("tokens", detokenize.tokens.clone().into()),
            ]))],
        ),
        Task::ListModels | Task::ModelMetadata | Task::ModelReady => get(&target.path("models")),
        Task::ServerLive | Task::ServerReady => get("/health"),
        Task::ServerMetadata => get("/version"),
        Task::Rerank(rerank) => self::rerank(target, call, rerank)?,
        Task::Similarity(similarity) => score(target, call, similarity)?,
        task => match Texts::of(task) {
            Some(texts) => classify(target, call, &texts)?,
            None => return Err(not_offered()),
        },
    })
}

/// The failure of a task that this API has no words for.
pub fn not_offered() -> Failure {
    let message = "The model's server does not offer this task.";
    failure::of(FailureKind::Unsupported, message)
}

/// A request without a body.
pub fn get(path: &str) -> Request {
    Request {
        surface: Surface::Rest(RestSurface {
            method: "GET".to_owned(),
            path: path.to_owned(),
        }),
        headers: Vec::new(),
        body: Vec::new(),
        end: true,
    }
}

/// A request with a JSON body.
pub fn post(path: &str, body: Vec<Segment>) -> Request {
    Request {
        surface: Surface::Rest(RestSurface {
            method: "POST".to_owned(),
            path: path.to_owned(),
        }),
        headers: vec![actions::header("content-type", "application/json")],
        body,
        end: true,
    }
}

/// A body that begins with the model and the subject, and goes on with members.
pub fn body(
    model: &str,
    subject: &str,
    write: impl FnOnce(&mut Writer) -> Result<(), Failure>,
    members: &Members,
) -> Result<Vec<Segment>, Failure> {
    let mut out = Writer::default();
    out.raw(b"{\"model\":");
    out.raw(&quoted(model));
    out.raw(b",\"");
    out.raw(subject.as_bytes());
    out.raw(b"\":");
    write(&mut out)?;
    for (name, json) in &members.0 {
        out.raw(b",");
        out.raw(&quoted(name));
        out.raw(b":");
        out.raw(json.as_bytes());
    }
    out.raw(b"}");
    Ok(out.finish())
}

/// An adapter is asked for by its name, in the model's place.
pub fn model<'a>(call: &'a Call, adapter: Option<&'a String>) -> &'a str {
    adapter.map_or(call.model.as_str(), String::as_str)
}

fn completions(
    target: &Target,
    call: &Call,
    generate: &Generate,
    members: &[Call],
) -> Result<Request, Failure> {
    let settings = &generate.settings;
    // A time limit is kept by ending a stream, whoever asked for it.
    let streaming = call.streaming || settings.stopping.time_limit_ms.is_some();
    let prompts: Vec<&Prompt> = members
        .iter()
        .filter_map(|member| match &member.task {
            Task::Generate(generate) => Some(&generate.prompts),
            _ => None,
        })
        .flatten()
        .collect();
    let mut out = Members::default();
    generation::write(&mut out, target, settings, false, streaming)?;
    out.put("stream", streaming);
    if streaming {
        // Counts for each choice, and the prompt's before the first text.
        let options = json!({"include_usage": true, "continuous_usage_stats": true});
        out.put("stream_options", options);
    } else if prompts.len() > 1 {
        // The usage is one sum: each prompt's and answer's own count is its tokens'.
        let has = |name: &str| out.0.iter().any(|(held, _)| held == name);
        match target.generation {
            Generation::New if !has("return_token_ids") => out.put("return_token_ids", true),
            Generation::Old if !has("logprobs") => out.put("logprobs", 0),
            _ => {}
        }
    }
    let model = model(call, settings.adapter.as_ref());
    Ok(post(
        &target.path("completions"),
        body(model, "prompt", |out| out.prompts(&prompts), &out)?,
    ))
}

fn chat(target: &Target, call: &Call, chat: &Chat) -> Result<Request, Failure> {
    let settings = &chat.settings;
    let streaming = call.streaming || settings.stopping.time_limit_ms.is_some();
    let mut out = Members::default();
    generation::write(&mut out, target, settings, true, streaming)?;
    if let Some(tools) = &chat.tools {
        out.put_json("tools", tools);
    }
    if let Some(choice) = &chat.tool_choice {
        out.put_json("tool_choice", choice);
    }
    out.put("stream", streaming);
    if streaming {
        out.put(
            "stream_options",
            json!({"include_usage": true, "continuous_usage_stats": false}),
        );
    }
    let write = |out: &mut Writer| {
        out.messages(&chat.messages);
        Ok(())
    };
    let model = model(call, settings.adapter.as_ref());
    Ok(post(
        &target.path("chat/completions"),
        body(model, "messages", write, &out)?,
    ))
}

/// Extras that the API has the same names for.
///
/// # Errors
/// When there is another.
pub fn known_extras(out: &mut Members, extras: &[Extra], known: &[&str]) -> Result<(), Failure> {
    for extra in extras {
        if !known.contains(&extra.name.as_str()) {
            return Err(unable(&extra.name));
        }
        out.put_json(&extra.name, &extra.json);
    }
    Ok(())
}

fn embeddings(
    target: &Target,
    call: &Call,
    embed: &Embed,
    members: &[Call],
) -> Result<Request, Failure> {
    let inputs: Vec<&Prompt> = members
        .iter()
        .filter_map(|member| match &member.task {
            Task::Embed(embed) => Some(&embed.inputs),
            _ => None,
        })
        .flatten()
        .collect();
    let mut out = Members::default();
    // Half the bytes of decimal numbers, and exact.
    out.put("encoding_format", "base64");
    if let Some(dimensions) = embed.dimensions {
        out.put("dimensions", dimensions);
    }
    if let Some(truncate) = &embed.truncate {
        generation::truncation(&mut out, target, truncate, TruncationSide::Right)?;
    }
    // `embed_dtype` and `endianness` are about bytes that the client does not get.
    let known: &[&str] = match target.generation {
        Generation::New => &[
            "add_special_tokens",
            "truncate_prompt_tokens",
            "use_activation",
            "mm_processor_kwargs",
        ],
        Generation::Old => &[
            "add_special_tokens",
            "truncate_prompt_tokens",
            "normalize",
            "mm_processor_kwargs",
        ],
    };
    known_extras(&mut out, &embed.extras, known)?;
    Ok(post(
        &target.path("embeddings"),
        body(&call.model, "input", |out| out.prompts(&inputs), &out)?,
    ))
}

/// Fields of pooling that workers know by name.
const POOLING: [&str; 7] = [
    "add_special_tokens",
    "truncate_prompt_tokens",
    "max_tokens_per_query",
    "max_tokens_per_doc",
    "instruction",
    "use_activation",
    "mm_processor_kwargs",
];

fn pooling(
    target: &Target,
    truncate: Option<&Truncation>,
    extras: &[Extra],
) -> Result<Members, Failure> {
    let mut out = Members::default();
    if let Some(truncate) = truncate {
        generation::truncation(&mut out, target, truncate, TruncationSide::Right)?;
    }
    let known = match target.generation {
        Generation::New => &POOLING[..],
        // Older servers ignore what came later, and that would change the result.
        Generation::Old => &POOLING[..2],
    };
    known_extras(&mut out, extras, known)?;
    Ok(out)
}

fn rerank(target: &Target, call: &Call, rerank: &Rerank) -> Result<Request, Failure> {
    let mut out = pooling(target, rerank.truncate.as_ref(), &rerank.extras)?;
    if let Some(top) = rerank.top_n {
        out.put("top_n", top);
    }
    let write = |out: &mut Writer| {
        out.segment(json_string(&rerank.query));
        out.raw(b",\"documents\":");
        out.list(&rerank.documents, |out, document| {
            out.segment(json_string(&document.text));
        });
        Ok(())
    };
    Ok(post(
        &target.path("rerank"),
        body(&call.model, "query", write, &out)?,
    ))
}

fn score(target: &Target, call: &Call, similarity: &Similarity) -> Result<Request, Failure> {
    let out = pooling(target, similarity.truncate.as_ref(), &similarity.extras)?;
    let write = |out: &mut Writer| {
        out.segment(json_string(&similarity.source));
        out.raw(b",\"text_2\":");
        out.list(&similarity.sentences, |out, text| {
            out.segment(json_string(text));
        });
        Ok(())
    };
    Ok(post(
        &target.path("score"),
        body(&call.model, "text_1", write, &out)?,
    ))
}

fn classify(target: &Target, call: &Call, texts: &Texts) -> Result<Request, Failure> {
    let extra = |(name, value): (&String, &Value)| Extra {
        name: name.clone(),
        json: value.to_string(),
    };
    let extras: Vec<Extra> = texts.extras.iter().map(extra).collect();
    let out = pooling(target, None, &extras)?;
    let write = |out: &mut Writer| {
        out.list(&texts.inputs, |out, text| out.raw(&quoted(text)));
        Ok(())
    };
    Ok(post("/classify", body(&call.model, "input", write, &out)?))
}

fn tokenize(call: &Call, tokenize: &Tokenize) -> Result<Request, Failure> {
    let [text] = &tokenize.inputs[..] else {
        let message = "The model's server tokenizes one text at a time.";
        return Err(failure::of(FailureKind::Unsupported, message));
    };
    if tokenize.truncate.is_some() {
        return Err(unable("truncate_input_tokens"));
    }
    if tokenize.offsets {
        return Err(unable("return_offsets"));
    }
    let mut out = Members::default();
    if let Some(add) = tokenize.add_special_tokens {
        out.put("add_special_tokens", add);
    }
    out.put("return_token_strs", Value::Bool(tokenize.tokens));
    known_extras(&mut out, &tokenize.extras, &[])?;
    let write = |out: &mut Writer| {
        out.segment(json_string(text));
        Ok(())
    };
    Ok(post("/tokenize", body(&call.model, "prompt", write, &out)?))
}
