//! Rerank and score: the client's texts as neutral calls, and scores in this API's words.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tollgate_sdk_protocol::{
    Bytes, failure,
    inference::{Document, Rerank, Score, Similarity, Task},
    neutral, text,
    types::{Failure, Segment, Text},
};

use super::{
    bounded::AtMost,
    fields::{missing, wrong_type},
    prompts::place_in,
    request::{Form, Request},
    settings,
    tasks::only_passed,
};
use crate::options::Clients;

/// Most documents or pairs in one request.
const MOST: usize = 4096;
/// Most pairs of which each has two texts of its own: each is a call.
const PAIRS: usize = 64;

/// Fields beyond the texts, with the values that change nothing.
const EXTRAS: [(&str, &[&str]); 7] = [
    ("add_special_tokens", &["true"]),
    ("max_tokens_per_query", &["0"]),
    ("max_tokens_per_doc", &["0"]),
    ("instruction", &["\"\""]),
    ("use_activation", &["true"]),
    ("activation", &["true"]),
    ("mm_processor_kwargs", &["{}"]),
];

#[derive(Deserialize)]
struct Textual<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: &'a RawValue,
}

/// A text of the body, and the object that it stands in.
struct Found {
    text: Text,
    object: Option<String>,
}

impl Request {
    /// The neutral rerank.
    pub fn rerank(&self, bytes: &dyn Bytes, form: &mut Form) -> Result<Task, Failure> {
        let query = self.one(bytes, "query")?;
        let documents = self.texts(bytes, "documents")?;
        let mut extras = settings::changing(bytes, &self.fields, &EXTRAS)?;
        let truncate = settings::truncation(bytes, &self.fields, &mut extras)?;
        let given = self.fields.count(bytes, "top_n", 0)?;
        let top = given.filter(|top| *top > 0);
        form.items = documents.len();
        form.top = match form.clients {
            Clients::New | Clients::Old => top,
            // None of them is what it answers to 0.
            Clients::Ovms => given,
        }
        .map(|top| top as usize);
        if form.clients == Clients::Ovms {
            let wanted = self.fields.boolean(bytes, "return_documents")?;
            form.with_documents = wanted.unwrap_or(false);
        }
        form.documents = documents.iter().map(|found| found.text.clone()).collect();
        let documents = documents.into_iter().map(|found| Document {
            text: found.text,
            original: found.object,
        });
        Ok(Task::Rerank(Rerank {
            query,
            documents: documents.collect(),
            top_n: top,
            truncate,
            extras,
        }))
    }

    /// The neutral comparisons: one for a text and many, or one for each pair.
    pub fn score(&self, bytes: &dyn Bytes, form: &mut Form) -> Result<Vec<Task>, Failure> {
        // Newer servers have other names for the two sides.
        let given = |name: &str| self.fields.place(name).is_some();
        let names = [
            ("text_1", "text_2"),
            ("queries", "documents"),
            ("queries", "items"),
            ("data_1", "data_2"),
        ];
        let both = names
            .into_iter()
            .find(|(one, two)| given(one) && given(two));
        let (left, right) =
            both.ok_or_else(|| missing(if given("text_1") { "text_2" } else { "text_1" }))?;
        let sources = self.texts(bytes, left)?;
        let sentences = self.texts(bytes, right)?;
        let mut extras = settings::changing(bytes, &self.fields, &EXTRAS)?;
        let truncate = settings::truncation(bytes, &self.fields, &mut extras)?;
        let compare = |source: Text, sentences: Vec<Text>| {
            Task::Similarity(Similarity {
                source,
                sentences,
                truncate,
                extras: extras.clone(),
            })
        };
        form.items = sentences.len();
        let mut sentences = sentences.into_iter().map(|found| found.text);
        let mut sources: Vec<Text> = sources.into_iter().map(|found| found.text).collect();
        if sources.len() == 1 {
            let source = sources.remove(0);
            return Ok(vec![compare(source, sentences.collect())]);
        }
        if sources.len() != form.items {
            let message = "Input lengths must be either 1:1, 1:N or N:N";
            return Err(failure::invalid(message, Some(left)));
        }
        if sources.len() > PAIRS {
            return Err(only_passed(
                &format!("Scoring more than {PAIRS} pairs"),
                left,
            ));
        }
        let pairs = sources.into_iter().zip(&mut sentences);
        Ok(pairs
            .map(|(source, text)| compare(source, vec![text]))
            .collect())
    }

    fn one(&self, bytes: &dyn Bytes, name: &str) -> Result<Text, Failure> {
        let mut all = self.texts(bytes, name)?;
        let first = bytes.read(0, self.fields.place(name).map_or(0, |at| at.0), 1);
        match (all.pop(), first.first()) {
            (Some(found), Some(b'"' | b'{')) => Ok(found.text),
            _ => Err(wrong_type(name, "a valid string")),
        }
    }

    /// A text, or a list of texts; in objects with a `text`, too.
    fn texts(&self, bytes: &dyn Bytes, name: &str) -> Result<Vec<Found>, Failure> {
        let (offset, len) = self.fields.place(name).ok_or_else(|| missing(name))?;
        let raw = bytes.read_all(0, offset, len);
        let wrong = || wrong_type(name, "a string or a list of strings");
        let element = |json: &str| -> Result<Found, Failure> {
            let at =
                |json: &str| text::held_json(0, offset + place_in(&raw, json), json.len() as u64);
            match json.as_bytes().first() {
                Some(b'"') => Ok(Found {
                    text: at(json),
                    object: None,
                }),
                Some(b'{') => {
                    let object: Textual = serde_json::from_str(json)
                        .map_err(|_| only_passed("What is not text", name))?;
                    let textual = object.kind.as_deref().is_none_or(|kind| kind == "text");
                    if !textual || !object.text.get().starts_with('"') {
                        return Err(only_passed("What is not text", name));
                    }
                    Ok(Found {
                        text: at(object.text.get()),
                        object: Some(json.to_owned()),
                    })
                }
                _ => Err(wrong()),
            }
        };
        let whole: &RawValue = serde_json::from_slice(&raw).map_err(|_| wrong())?;
        if !whole.get().starts_with('[') {
            if whole.get() == "null" {
                return Err(missing(name));
            }
            return Ok(vec![element(whole.get())?]);
        }
        // Anything is an element, so it can only be too many.
        let AtMost::<&RawValue, MOST>(elements) = serde_json::from_slice(&raw)
            .map_err(|error| failure::invalid(format!("{name} has {error}"), Some(name)))?;
        if elements.is_empty() {
            let message = format!("{name} must not be empty.");
            return Err(failure::invalid(message, Some(name)));
        }
        elements.iter().map(|json| element(json.get())).collect()
    }
}

/// Whether there is a score for each text, or for as many as were asked for, and none twice.
pub fn are_complete(scores: &[Score], form: &Form) -> bool {
    let mut seen = vec![false; form.items];
    let fits = scores.iter().all(|score| {
        let place = seen.get_mut(score.item as usize);
        place.is_some_and(|seen| !std::mem::replace(seen, true)) && score.value.is_finite()
    });
    fits && scores.len() >= form.top.unwrap_or(form.items).min(form.items)
}

/// The body of a rerank: best first, each with its document.
pub fn ranked(
    form: &Form,
    mut scores: Vec<Score>,
    usage: Option<u64>,
    clients: Clients,
) -> Vec<Segment> {
    neutral::best_first(&mut scores);
    scores.truncate(form.top.unwrap_or(usize::MAX));
    let usage = match (usage, clients) {
        (None, _) => Value::Null,
        (Some(count), Clients::New | Clients::Ovms) => {
            serde_json::json!({"prompt_tokens": count, "total_tokens": count})
        }
        (Some(count), Clients::Old) => serde_json::json!({"total_tokens": count}),
    };
    let mut out = Vec::new();
    let mut line = match clients {
        Clients::New | Clients::Old => format!(
            "{{\"id\":{},\"model\":{},\"usage\":{usage},\"results\":[",
            Value::String(format!("rerank-{}", form.id)),
            Value::String(form.model.clone()),
        ),
        Clients::Ovms => "{\"results\":[".to_owned(),
    };
    for (at, score) in scores.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        line.push_str(&format!("{comma}{{\"index\":{}", score.item));
        if form.with_documents {
            line.push_str(",\"document\":{\"text\":");
            out.push(Segment::Inline(std::mem::take(&mut line).into_bytes()));
            out.push(text::json_string(&form.documents[score.item as usize]));
            line.push('}');
        }
        line.push_str(&format!(
            ",\"relevance_score\":{}}}",
            Value::from(score.value)
        ));
    }
    line.push_str("]}");
    out.push(Segment::Inline(line.into_bytes()));
    out
}

/// The body of a score: in the texts' order.
pub fn scored(form: &Form, mut scores: Vec<Score>, usage: Value) -> Vec<u8> {
    scores.sort_by_key(|score| score.item);
    let data: Vec<Value> = scores
        .iter()
        .map(|score| {
            serde_json::json!({"index": score.item, "object": "score", "score": score.value})
        })
        .collect();
    super::choices::written(&serde_json::json!({
        "id": format!("score-{}", form.id),
        "object": "list",
        "created": form.created,
        "model": form.model,
        "data": data,
        "usage": usage,
    }))
}
