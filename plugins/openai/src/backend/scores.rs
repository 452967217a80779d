//! Scores from a worker's answer to a rerank, a score or a classification.

use serde::Deserialize;
use tollgate_sdk_protocol::{
    classify::{self, Class, Classes, Texts},
    inference::{Event, Rerank, Score, Similarity, Usage},
    types::Failure,
};

use super::{
    reply::Counts,
    unary::{parse, short},
};

#[derive(Deserialize)]
struct Ranked {
    results: Vec<Place>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Place {
    index: u32,
    #[serde(alias = "score")]
    relevance_score: f64,
}

#[derive(Deserialize)]
struct Scored {
    data: Vec<Place>,
    #[serde(default)]
    usage: Option<Counts>,
}

/// Scores of documents, as many as were asked for.
///
/// # Errors
/// When the answer is none, or has not all.
pub fn ranked(rerank: &Rerank, body: &[u8]) -> Result<Vec<Event>, Failure> {
    let ranked: Ranked = parse(body)?;
    let all = rerank.documents.len();
    let wanted = rerank.top_n.map_or(all, |top| all.min(top as usize));
    events(ranked.results, all, wanted, ranked.usage)
}

/// Scores of all sentences.
///
/// # Errors
/// When the answer is none, or has not all.
pub fn scored(similarity: &Similarity, body: &[u8]) -> Result<Vec<Event>, Failure> {
    let scored: Scored = parse(body)?;
    let all = similarity.sentences.len();
    events(scored.data, all, all, scored.usage)
}

#[derive(Deserialize)]
struct Classified {
    data: Vec<OfText>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct OfText {
    #[serde(default)]
    index: u32,
    /// Of the likeliest class.
    #[serde(default)]
    label: Option<String>,
    probs: Vec<f64>,
}

/// Classes of all texts. Only the likeliest has a name.
///
/// # Errors
/// When the answer is none, or has not all.
pub fn classified(texts: &Texts, body: &[u8]) -> Result<Vec<Event>, Failure> {
    let mut told: Classified = parse(body)?;
    told.data.sort_by_key(|text| text.index);
    let mut in_order = told.data.iter().enumerate();
    if told.data.len() != texts.inputs.len()
        || !in_order.all(|(at, text)| text.index as usize == at && !text.probs.is_empty())
    {
        return Err(short());
    }
    classify::check_found(told.data.iter().map(|text| text.probs.len()).sum())?;
    let classes = |text: OfText| {
        let scores = text.probs.into_iter();
        let mut classes = Classes {
            item: text.index,
            classes: scores.map(|score| Class { label: None, score }).collect(),
        };
        if let Some((place, _)) = classes.best() {
            classes.classes[place].label = text.label;
        }
        classes.event()
    };
    let events = told.data.into_iter().map(classes);
    Ok(events
        .chain(counted(told.usage))
        .chain([Event::End])
        .collect())
}

/// Tokens of the input. Older servers tell of a rerank only the sum, and that is all input.
fn counted(usage: Option<Counts>) -> Option<Event> {
    let input = usage.and_then(|usage| usage.prompt_tokens.or(usage.total_tokens));
    input.map(|input| {
        Event::Usage(Usage {
            input_tokens: Some(input.into()),
            output_tokens: Some(0),
            cached_tokens: None,
            extensions: Vec::new(),
        })
    })
}

fn events(
    places: Vec<Place>,
    all: usize,
    wanted: usize,
    usage: Option<Counts>,
) -> Result<Vec<Event>, Failure> {
    let mut seen = vec![false; all];
    for place in &places {
        match seen.get_mut(place.index as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(short()),
        }
    }
    if places.len() < wanted {
        return Err(short());
    }
    let scores = places.iter().map(|place| Score {
        item: place.index,
        value: place.relevance_score,
    });
    let scores = [Event::Scores(scores.collect())].into_iter();
    Ok(scores.chain(counted(usage)).chain([Event::End]).collect())
}
