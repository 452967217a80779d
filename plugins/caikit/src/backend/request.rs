//! What a worker is asked: neutral calls as a request in the runtime's words.

use serde_json::{Map, Value};
use tollgate_sdk_protocol::{
    Bytes, actions,
    backend::{Request as Upstream, RestSurface, Surface},
    classify, failure,
    inference::{Call, Document, Embed, Generate, Prompt, Task, Truncation, TruncationSide},
    text,
    types::{Failure, FailureKind, Text},
};

use super::{facts, parameters::parameters};
use crate::{
    carried,
    endpoint::Endpoint,
    grpc,
    options::{Transport, WorkerOptions},
    proto::MODEL_ID,
    request::{Request, Rerank, document_text},
    rest,
};

/// The upstream request for these members, and what answers it; several are embeddings
/// with equal keys.
///
/// # Errors
/// Why the worker cannot be asked this.
pub fn build(
    bytes: &dyn Bytes,
    members: &[Call],
    worker: &WorkerOptions,
) -> Result<(Upstream, Option<Endpoint>), Failure> {
    let first = members
        .first()
        .ok_or_else(|| failure::upstream_invalid("nothing to ask"))?;
    only_version(first)?;
    if let Some(request) = facts::request(first, worker.transport) {
        return Ok((request, None));
    }
    let request = request_of(bytes, members, worker)?;
    let endpoint = request.endpoint(first.streaming);
    let upstream = match worker.transport {
        Transport::Grpc => Upstream {
            surface: Surface::Grpc(endpoint.rpc()),
            headers: vec![actions::header(MODEL_ID, first.model.clone())],
            body: grpc::request::write(bytes, &request, endpoint)?,
            end: true,
        },
        Transport::Rest => Upstream {
            surface: Surface::Rest(RestSurface {
                method: "POST".to_owned(),
                path: endpoint.path().to_owned(),
            }),
            headers: vec![actions::header("content-type", "application/json")],
            body: rest::request::write(&request, &first.model, endpoint),
            end: true,
        },
    };
    Ok((upstream, Some(endpoint)))
}

/// The calls in the runtime's words.
///
/// # Errors
/// What of them the runtime has no word for.
pub fn request_of(
    bytes: &dyn Bytes,
    members: &[Call],
    worker: &WorkerOptions,
) -> Result<Request, Failure> {
    let Some(first) = members.first() else {
        return Err(failure::upstream_invalid("nothing to ask"));
    };
    Ok(match &first.task {
        Task::Generate(generate) => Request::Generate {
            text: only_text(&generate.prompts)?,
            parameters: Box::new(parameters(&generate.settings, worker)?),
        },
        Task::Embed(embed) => Request::Embed {
            texts: texts(members)?,
            truncate: truncation(first, embed_truncate(embed)?)?,
        },
        Task::Similarity(similarity) => {
            no_extras(&similarity.extras)?;
            Request::Similarity {
                sources: vec![similarity.source.clone()],
                sentences: similarity.sentences.clone(),
                truncate: truncation(first, similarity.truncate)?,
            }
        }
        Task::Rerank(rerank) => {
            no_extras(&rerank.extras)?;
            if rerank.top_n == Some(0) {
                return Err(failure::invalid("top_n must be at least 1", Some("top_n")));
            }
            let documents = rerank.documents.iter();
            Request::Rerank(Rerank {
                queries: vec![rerank.query.clone()],
                documents: documents
                    .map(|document| object(bytes, document))
                    .collect::<Result<_, _>>()?,
                top_n: rerank.top_n.map(i64::from),
                truncate: truncation(first, rerank.truncate)?,
                // Whoever asks has them.
                return_documents: Some(false),
                return_queries: Some(false),
                return_text: Some(false),
            })
        }
        Task::Tokenize(tokenize) => {
            no_extras(&tokenize.extras)?;
            if tokenize.add_special_tokens == Some(false) {
                return Err(failure::invalid(
                    "add_special_tokens must be true: this worker always adds them",
                    Some("add_special_tokens"),
                ));
            }
            if tokenize.truncate.is_some() {
                return Err(failure::invalid(
                    "this worker does not cut the texts that it tokenizes",
                    Some("truncate"),
                ));
            }
            let [text] = tokenize.inputs.as_slice() else {
                return Err(failure::of(
                    FailureKind::Unsupported,
                    "this worker tokenizes one text at a time",
                ));
            };
            Request::Tokenize(text.clone())
        }
        task => match (classify::Texts::of(task), classify::Tokens::of(task)) {
            (Some(texts), _) => classified(texts)?,
            (None, Some(classify::Tokens { text, threshold })) => {
                Request::ClassifyTokens { text, threshold }
            }
            (None, None) => {
                return Err(failure::of(
                    FailureKind::Unsupported,
                    "this worker generates, embeds, compares, ranks, tokenizes and classifies \
                     text, and does nothing else",
                ));
            }
        },
    })
}

fn classified(texts: classify::Texts) -> Result<Request, Failure> {
    if let Some((name, _)) = texts.extras.iter().next() {
        return Err(failure::invalid(
            format!("{name} is not supported by this worker"),
            Some(name),
        ));
    }
    let [text] = <[String; 1]>::try_from(texts.inputs).map_err(|_| {
        failure::of(
            FailureKind::Unsupported,
            "this worker classifies one text at a time",
        )
    })?;
    Ok(Request::Classify(text))
}

fn only_text(prompts: &[Prompt]) -> Result<Text, Failure> {
    match prompts {
        [prompt] => text_of(prompt),
        _ => Err(failure::of(
            FailureKind::Unsupported,
            "this worker takes one prompt at a time",
        )),
    }
}

fn text_of(prompt: &Prompt) -> Result<Text, Failure> {
    match prompt {
        Prompt::Text(text) => Ok(text.clone()),
        Prompt::Tokens(_) => Err(failure::invalid(
            "this worker takes text, and not token ids",
            Some("prompt"),
        )),
    }
}

/// The texts of all members, in their order.
fn texts(members: &[Call]) -> Result<Vec<Text>, Failure> {
    let inputs = members.iter().filter_map(embed_of);
    inputs
        .flat_map(|embed| &embed.inputs)
        .map(text_of)
        .collect()
}

/// What a call embeds, if it does.
pub fn embed_of(call: &Call) -> Option<&Embed> {
    match &call.task {
        Task::Embed(embed) => Some(embed),
        _ => None,
    }
}

/// What a call generates, if it does.
pub fn generate_of(call: &Call) -> Option<&Generate> {
    match &call.task {
        Task::Generate(generate) => Some(generate),
        _ => None,
    }
}

fn embed_truncate(embed: &Embed) -> Result<Option<Truncation>, Failure> {
    no_extras(&embed.extras)?;
    if embed.dimensions.is_some() {
        return Err(failure::invalid(
            "dimensions is not supported by this worker",
            Some("dimensions"),
        ));
    }
    Ok(embed.truncate)
}

fn no_extras(extras: &[tollgate_sdk_protocol::inference::Extra]) -> Result<(), Failure> {
    match extras.first() {
        None => Ok(()),
        Some(extra) => Err(failure::invalid(
            format!("{} is not supported by this worker", extra.name),
            Some(&extra.name),
        )),
    }
}

/// What a client of this protocol wrote, or the neutral truncation.
fn truncation(call: &Call, truncate: Option<Truncation>) -> Result<Option<i64>, Failure> {
    let Some(truncate) = truncate else {
        return Ok(carried::truncation_of(call));
    };
    if truncate.tokens == 0 {
        return Err(failure::invalid(
            "truncation must keep at least 1 token",
            Some("truncate"),
        ));
    }
    if truncate.side == Some(TruncationSide::Left) {
        return Err(failure::invalid(
            "this worker keeps the first tokens of a text, and not the last",
            Some("truncate"),
        ));
    }
    Ok(Some(truncate.tokens.into()))
}

/// A document as the object that the runtime wants: the client's own where the worker
/// finds the same text in it.
fn object(bytes: &dyn Bytes, document: &Document) -> Result<String, Failure> {
    let text = text::resolve(bytes, &document.text).map_err(|why| {
        failure::invalid(
            format!("the document cannot be read: {why}"),
            Some("documents"),
        )
    })?;
    let own = document.original.as_deref().and_then(|json| {
        let object: Map<String, Value> = serde_json::from_str(json).ok()?;
        let same = document_text(&object).unwrap_or_default() == text;
        same.then(|| json.to_owned())
    });
    Ok(own.unwrap_or_else(|| serde_json::json!({ "text": text }).to_string()))
}

/// Runtimes have one version of each model.
fn only_version(call: &Call) -> Result<(), Failure> {
    match call.version.as_deref() {
        None | Some("" | "1") => Ok(()),
        Some(version) => Err(failure::of(
            FailureKind::NotFound,
            format!("the model {} has no version {version} here", call.model),
        )),
    }
}

/// What must be equal for two embeddings to be one request: everything that is written
/// but the texts. None: it cannot be merged.
pub fn key(call: &Call, worker: &WorkerOptions) -> Option<String> {
    let embed = embed_of(call).filter(|_| worker.merge_embeddings)?;
    let plain = !call.streaming && only_version(call).is_ok() && carried::is_plain(call);
    let text = |prompt: &Prompt| matches!(prompt, Prompt::Text(_));
    if !plain || embed.inputs.is_empty() || !embed.inputs.iter().all(text) {
        return None;
    }
    let truncate = truncation(call, embed_truncate(embed).ok()?).ok()?;
    Some(format!("embed {truncate:?} {}", call.model))
}
