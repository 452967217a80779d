//! Events of a worker's whole answer.

use tollgate_sdk_protocol::{
    backend::MemberEvent,
    classify::{Class, Classes, Entities, check_found},
    failure,
    inference::{
        Call, Delta, Detail, Embedding, Event, FinishReason, Finished, Offset, Prompt, Score,
        Started, Task, Tokenized, Usage, Vector,
    },
    types::{Extension, Failure, Text},
};

use super::request::{embed_of, generate_of};
use crate::{
    answer::{Answer, Generated, Origin, Ranking, Tokens},
    carried,
    neutral::{finish_reason, token},
};

/// The facts of a generation that its answer is read by.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub detail: Detail,
    /// The caller named a limit of new tokens.
    pub limited: bool,
}

impl Wanted {
    /// None for a call that generates nothing.
    pub fn of(call: &Call) -> Option<Self> {
        let settings = &generate_of(call)?.settings;
        Some(Self {
            detail: settings.detail,
            limited: settings.stopping.max_tokens.is_some(),
        })
    }
}

impl Wanted {
    /// Whether tokens of the output were asked for: some modules give them unasked.
    pub fn lists_tokens(&self) -> bool {
        self.detail.output_tokens || self.detail.logprobs || self.detail.ranks
    }
}

/// Tokens counted.
pub fn usage(input: Option<i64>, output: Option<i64>) -> Usage {
    let natural = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
    Usage {
        input_tokens: natural(input),
        output_tokens: natural(output),
        cached_tokens: None,
        extensions: Vec::new(),
    }
}

/// Events of all members, each without its `end`.
///
/// # Errors
/// When the answer is not of what was asked.
pub fn of(answer: Answer, members: &[Call]) -> Result<Vec<MemberEvent>, Failure> {
    let first = members
        .first()
        .ok_or_else(|| failure::upstream_invalid("an answer to nothing"))?;
    let events = match (answer, &first.task) {
        (Answer::Vectors(vectors, origin), Task::Embed(_)) => {
            return shared(vectors, &origin, members);
        }
        (Answer::Text(generated), Task::Generate(_)) => {
            let wanted = Wanted::of(first).ok_or_else(another)?;
            whole(generated, wanted)?
        }
        (Answer::Scores(scores, origin), Task::Similarity(similarity)) => {
            let scores = similarities(scores, similarity.sentences.len())?;
            with(Event::Scores(scores), &origin)
        }
        (Answer::Rankings(rankings, origin), Task::Rerank(rerank)) => {
            let scores = ranks(rankings, rerank.documents.len())?;
            with(Event::Scores(scores), &origin)
        }
        (Answer::Tokens(tokens), Task::Tokenize(_)) => vec![tokenized(tokens)?],
        (Answer::Classes(classes), Task::Other(_)) => {
            check_found(classes.len())?;
            let class = |(label, score)| Class {
                label: Some(label),
                score,
            };
            let classes = classes.into_iter().map(class).collect();
            vec![Classes { item: 0, classes }.event()]
        }
        (Answer::Entities(entities), Task::Other(_)) => {
            check_found(entities.len())?;
            vec![Entities { entities }.event()]
        }
        _ => return Err(another()),
    };
    let of_first = |event| MemberEvent { member: 0, event };
    Ok(events.into_iter().map(of_first).collect())
}

fn another() -> Failure {
    failure::upstream_invalid("the worker's answer is of another task")
}

/// An event, and what the worker said beside it.
fn with(event: Event, origin: &Origin) -> Vec<Event> {
    let producer = origin.producer.as_ref().map(carried::producer);
    let counted = origin
        .input_tokens
        .map(|count| Event::Usage(usage(Some(count), None)));
    producer.into_iter().chain([event]).chain(counted).collect()
}

fn small(count: i64) -> Option<u32> {
    u32::try_from(count).ok()
}

fn whole(generated: Generated, wanted: Wanted) -> Result<Vec<Event>, Failure> {
    let reason = finish_reason(generated.reason, wanted.limited)
        .ok_or_else(|| failure::upstream_invalid("the worker gave an answer without a reason"))?;
    let input = generated.input_count.and_then(small);
    let output = small(generated.count);
    let tokens = |pieces: Vec<_>| {
        let pieces = pieces.into_iter();
        pieces.map(|piece| token(piece, &wanted.detail)).collect()
    };
    let mut events = Vec::new();
    events.extend(generated.producer.as_ref().map(carried::producer));
    events.extend([
        Event::Started(Started {
            item: 0,
            input_tokens: input,
            seed: generated.seed,
            // The prompt, when asked for, stands before the text.
            echo: None,
            tokens: tokens(generated.input_tokens),
        }),
        Event::Delta(Delta {
            item: 0,
            text: generated.text,
            tokens: if wanted.lists_tokens() {
                tokens(generated.tokens)
            } else {
                Vec::new()
            },
            output_tokens: output,
            extras: Vec::new(),
        }),
        finished(reason, input, output, generated.seed),
        Event::Usage(usage(generated.input_count, Some(generated.count))),
    ]);
    Ok(events)
}

/// The end of a text. Which sequence stopped it is not told.
pub fn finished(
    reason: FinishReason,
    input_tokens: Option<u32>,
    output_tokens: Option<u32>,
    seed: Option<u64>,
) -> Event {
    Event::Finished(Finished {
        item: 0,
        reason,
        stop_sequence: None,
        input_tokens,
        output_tokens,
        seed,
    })
}

fn similarities(rows: Vec<Vec<f64>>, sentences: usize) -> Result<Vec<Score>, Failure> {
    let scores: Vec<f64> = rows.into_iter().flatten().collect();
    if scores.len() != sentences {
        return Err(failure::upstream_invalid(format!(
            "the worker gave {} scores to {sentences} sentences",
            scores.len()
        )));
    }
    let scores = (0..).zip(scores);
    Ok(scores.map(|(item, value)| Score { item, value }).collect())
}

fn ranks(rankings: Vec<Ranking>, documents: usize) -> Result<Vec<Score>, Failure> {
    let odd = || failure::upstream_invalid("the worker ranked what it was not given");
    let [ranking] = <[Ranking; 1]>::try_from(rankings).map_err(|_| odd())?;
    let score = |scored: crate::answer::Scored| {
        let item = small(scored.index).filter(|item| (*item as usize) < documents);
        Ok(Score {
            item: item.ok_or_else(odd)?,
            value: scored.score,
        })
    };
    ranking.scores.into_iter().map(score).collect()
}

fn tokenized(tokens: Tokens) -> Result<Event, Failure> {
    let odd = || failure::upstream_invalid("the worker's count of tokens is none");
    let count = small(tokens.count).ok_or_else(odd)?;
    let mut texts = Vec::new();
    let mut offsets = Vec::new();
    for (start, end, text) in tokens.results.unwrap_or_default() {
        texts.push(text);
        offsets.push(Offset {
            start: small(start).ok_or_else(odd)?,
            end: small(end).ok_or_else(odd)?,
        });
    }
    Ok(Event::Tokenized(vec![Tokenized {
        item: 0,
        count,
        // This protocol has no ids.
        ids: Vec::new(),
        texts,
        offsets,
    }]))
}

/// Vectors divided among the members.
fn shared(
    vectors: Vec<Vec<f32>>,
    origin: &Origin,
    members: &[Call],
) -> Result<Vec<MemberEvent>, Failure> {
    let texts = |call: &Call| embed_of(call).map_or(0, |embed| embed.inputs.len());
    let expected: usize = members.iter().map(texts).sum();
    if vectors.len() != expected {
        let got = vectors.len();
        return Err(failure::upstream_invalid(format!(
            "the worker gave {got} vectors to {expected} texts"
        )));
    }
    let mut vectors = vectors.into_iter();
    let mut events = Vec::new();
    let counts = shares(members, origin.input_tokens);
    for ((member, call), count) in (0..).zip(members).zip(counts) {
        let own = vectors.by_ref().take(texts(call));
        let embeddings = (0..).zip(own).map(|(item, values)| Embedding {
            item,
            values: Vector::Floats(values),
        });
        let producer = origin.producer.as_ref().map(carried::producer);
        let all = producer
            .into_iter()
            .chain([Event::Embeddings(embeddings.collect())])
            .chain(count.map(Event::Usage));
        events.extend(all.map(|event| MemberEvent { member, event }));
    }
    Ok(events)
}

/// Each member's tokens. A worker tells only the sum: among several it is divided by the
/// lengths of their texts, the shares add up to it, and each says so with the extension
/// `apportioned`.
fn shares(members: &[Call], total: Option<i64>) -> Vec<Option<Usage>> {
    let Some(total) = total.and_then(|total| u64::try_from(total).ok()) else {
        return vec![None; members.len()];
    };
    let of = |tokens: u64| Usage {
        input_tokens: Some(tokens),
        output_tokens: None,
        cached_tokens: None,
        extensions: Vec::new(),
    };
    if members.len() == 1 {
        return vec![Some(of(total))];
    }
    let weights: Vec<u64> = members.iter().map(weight).collect();
    let all: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let (mut passed, mut given) = (0_u128, 0_u64);
    let share = |weight: &u64| {
        // Cumulative rounding: no token is lost or counted twice.
        passed += u128::from(*weight);
        #[expect(clippy::cast_possible_truncation, reason = "it is at most the total")]
        let until = (u128::from(total) * passed / all.max(1)) as u64;
        let share = until - given;
        given = until;
        let extension = Extension {
            name: "apportioned".to_owned(),
            payload: Vec::new(),
        };
        Some(Usage {
            extensions: vec![extension],
            ..of(share)
        })
    };
    weights.iter().map(share).collect()
}

fn weight(call: &Call) -> u64 {
    let length = |prompt: &Prompt| match prompt {
        Prompt::Text(Text::Inline(text)) => text.len() as u64,
        Prompt::Text(Text::Held(held)) => held.at.len,
        Prompt::Tokens(tokens) => tokens.len() as u64,
    };
    let inputs = embed_of(call).map_or(&[][..], |embed| &embed.inputs);
    inputs.iter().map(length).sum::<u64>().max(1)
}
