//! The neutral calls of a client's request, every default resolved: one, or one for each
//! of several sources or queries.

use tollgate_sdk_protocol::{
    classify, failure,
    inference::{
        Call, Detail, Document, Embed, Generate, LengthPenalty, Prompt, Rerank as NeutralRerank,
        Sampling, Settings, Similarity, Stopping, Task, Tokenize, Truncation, TruncationSide,
    },
    types::{Failure, Text},
};

use super::validate;
use crate::{
    carried,
    endpoint::Endpoint,
    options::Options,
    request::{Parameters, Request, Rerank, document_text},
};

/// Most sources or queries of one request: each is a call of its own.
const MOST: usize = 128;

/// The calls, without the model's name.
///
/// # Errors
/// When a value is out of its domain, in the runtime's words.
pub fn of(request: &Request, endpoint: Endpoint, options: &Options) -> Result<Vec<Call>, Failure> {
    let call = |task: Task, truncate: Option<i64>| Call {
        model: String::new(),
        version: None,
        streaming: endpoint.streams(),
        task,
        extensions: truncate
            .filter(|tokens| *tokens <= 0)
            .map(carried::truncation)
            .into_iter()
            .collect(),
    };
    Ok(match request {
        Request::Generate { text, parameters } => {
            validate::generation(parameters)?;
            let settings = settings(parameters, options)?;
            let prompts = vec![Prompt::Text(text.clone())];
            vec![call(Task::Generate(Generate { prompts, settings }), None)]
        }
        Request::Embed { texts, .. } if texts.is_empty() => return Err(missing("texts")),
        Request::Embed { texts, truncate } => vec![call(
            Task::Embed(Embed {
                inputs: texts.iter().cloned().map(Prompt::Text).collect(),
                dimensions: None,
                truncate: keep_first(*truncate)?,
                extras: Vec::new(),
            }),
            *truncate,
        )],
        Request::Similarity {
            sources,
            sentences,
            truncate,
        } => {
            few(sources, "source_sentences")?;
            let of = |source: &Text| {
                Ok(call(
                    Task::Similarity(Similarity {
                        source: source.clone(),
                        sentences: sentences.clone(),
                        truncate: keep_first(*truncate)?,
                        extras: Vec::new(),
                    }),
                    *truncate,
                ))
            };
            sources.iter().map(of).collect::<Result<_, Failure>>()?
        }
        Request::Rerank(rerank) => {
            few(&rerank.queries, "queries")?;
            validate::rerank(rerank)?;
            let documents = documents(rerank)?;
            let top_n = match rerank.top_n {
                None | Some(..1) => None,
                Some(top) => Some(u32::try_from(top).unwrap_or(u32::MAX)),
            };
            let of = |query: &Text| {
                Ok(call(
                    Task::Rerank(NeutralRerank {
                        query: query.clone(),
                        documents: documents.clone(),
                        top_n,
                        truncate: keep_first(rerank.truncate)?,
                        extras: Vec::new(),
                    }),
                    rerank.truncate,
                ))
            };
            let queries = rerank.queries.iter();
            queries.map(of).collect::<Result<_, Failure>>()?
        }
        Request::Tokenize(text) => vec![call(
            Task::Tokenize(Tokenize {
                inputs: vec![text.clone()],
                add_special_tokens: None,
                // Runtimes give tokens where they have them, and some have the count
                // alone: a worker that has no tokens to show need not refuse.
                tokens: false,
                offsets: false,
                truncate: None,
                extras: Vec::new(),
            }),
            None,
        )],
        Request::Classify(text) => {
            classify::check_texts(text.len() as u64)?;
            let texts = classify::Texts {
                inputs: vec![text.clone()],
                ..classify::Texts::default()
            };
            vec![call(texts.task(), None)]
        }
        Request::ClassifyTokens { text, threshold } => {
            classify::check_texts(text.len() as u64)?;
            let tokens = classify::Tokens {
                text: text.clone(),
                threshold: *threshold,
            };
            vec![call(tokens.task(), None)]
        }
    })
}

fn missing(name: &str) -> Failure {
    failure::invalid(
        format!("missing 1 required positional argument: '{name}'"),
        Some(name),
    )
}

fn few(all: &[Text], name: &str) -> Result<(), Failure> {
    if all.is_empty() {
        return Err(missing(name));
    }
    if all.len() <= MOST {
        return Ok(());
    }
    Err(failure::invalid(
        format!("{name} has {} elements, at most {MOST}", all.len()),
        Some(name),
    ))
}

fn documents(rerank: &Rerank) -> Result<Vec<Document>, Failure> {
    rerank
        .documents
        .iter()
        .map(|json| {
            let object = serde_json::from_str(json).map_err(|error| {
                failure::invalid(
                    format!("a document is no object: {error}"),
                    Some("documents"),
                )
            })?;
            Ok(Document {
                text: Text::Inline(document_text(&object).unwrap_or_default().to_owned()),
                original: Some(json.clone()),
            })
        })
        .collect()
}

/// Embeddings, similarity and rerank keep the first tokens.
fn keep_first(tokens: Option<i64>) -> Result<Option<Truncation>, Failure> {
    truncation(tokens, TruncationSide::Right)
}

fn truncation(tokens: Option<i64>, side: TruncationSide) -> Result<Option<Truncation>, Failure> {
    match tokens {
        None | Some(..1) => Ok(None),
        Some(tokens) => Ok(Some(Truncation {
            tokens: small(tokens, "truncate_input_tokens")?,
            side: Some(side),
        })),
    }
}

/// A number of tokens: counts of more than 32 bits mean nothing to anybody.
fn small(value: i64, name: &str) -> Result<u32, Failure> {
    u32::try_from(value)
        .map_err(|_| failure::invalid(format!("{name} is out of range"), Some(name)))
}

fn settings(parameters: &Parameters, options: &Options) -> Result<Settings, Failure> {
    Ok(Settings {
        sampling: sampling(parameters)?,
        stopping: stopping(parameters, options)?,
        detail: detail(parameters),
        n: 1,
        // Generation keeps the last tokens.
        truncate: truncation(parameters.truncate_input_tokens, TruncationSide::Left)?,
        constraint: None,
        adapter: None,
        extras: Vec::new(),
    })
}

fn sampling(parameters: &Parameters) -> Result<Sampling, Failure> {
    let unless_neutral = |value| validate::set(value).filter(|value| *value != 1.0);
    let penalty = parameters.exponential_decay_length_penalty;
    let greedy = Sampling {
        greedy: true,
        temperature: None,
        top_k: None,
        top_p: None,
        typical_p: None,
        min_p: None,
        seed: None,
        repetition_penalty: unless_neutral(parameters.repetition_penalty),
        frequency_penalty: None,
        presence_penalty: None,
        length_penalty: penalty
            .map(|penalty| {
                Ok(LengthPenalty {
                    start_index: small(penalty.start_index, "start_index")?,
                    decay_factor: penalty.decay_factor,
                })
            })
            .transpose()?,
    };
    if validate::is_greedy(parameters) {
        return Ok(greedy);
    }
    Ok(Sampling {
        greedy: false,
        temperature: validate::set(parameters.temperature),
        top_k: parameters
            .top_k
            .filter(|top| *top > 0)
            .map(|top| small(top, "top_k"))
            .transpose()?,
        top_p: unless_neutral(parameters.top_p),
        typical_p: parameters.typical_p.filter(|p| *p > 0.0 && *p < 1.0),
        seed: parameters.seed,
        ..greedy
    })
}

fn stopping(parameters: &Parameters, options: &Options) -> Result<Stopping, Failure> {
    let max = match parameters.max_new_tokens {
        None | Some(0) => options.default_max_new_tokens,
        Some(max) => small(max, "max_new_tokens")?,
    };
    let min = small(parameters.min_new_tokens.unwrap_or(0), "min_new_tokens")?;
    if min > max {
        return Err(validate::min_above_max(min, max));
    }
    Ok(Stopping {
        max_tokens: Some(max),
        min_tokens: Some(min).filter(|min| *min != 0),
        stop_sequences: parameters.stop_sequences.clone(),
        include_stop: parameters.include_stop_sequence.unwrap_or(false),
        time_limit_ms: parameters.max_time.filter(|time| *time > 0.0).map(millis),
    })
}

/// Seconds in milliseconds, rounded up: a short time is not none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates"
)]
fn millis(seconds: f64) -> u32 {
    (seconds * 1000.0).ceil() as u32
}

/// What the client wants to see beside the text.
pub fn detail(parameters: &Parameters) -> Detail {
    let is = |flag: Option<bool>| flag.unwrap_or(false);
    Detail {
        echo: is(parameters.preserve_input_text),
        input_tokens: is(parameters.input_tokens),
        output_tokens: is(parameters.generated_tokens),
        logprobs: is(parameters.token_logprobs),
        ranks: is(parameters.token_ranks),
        top_n: 0,
    }
}
