//! What a worker has said to one call of a task that does not stream.

use serde_json::{Map, Value};
use tollgate_sdk_protocol::{
    Bytes, classify,
    inference::{Detail, Event, Score, Tokenized, Usage},
    neutral::best_first,
    types::{Failure, Text},
    vectors,
};

use super::{
    reply::{failed_by_itself, incomplete},
    stream::Stream,
};
use crate::{
    answer::{Answer, Generated, Origin, Ranking, Scored, Tokens},
    carried,
    neutral::{piece, reason_of},
    proto::{FinishReason, ProducerId},
    request::{Request, Rerank, document_text},
};

/// One call's share of an answer.
#[derive(Debug)]
pub enum Part {
    /// Streaming generation.
    Stream(Box<Stream>),
    /// Generation.
    Text(Box<Whole>),
    /// Embedding.
    Vectors(Vec<Option<Vec<f32>>>, Facts),
    /// Similarity.
    Scores(Vec<Option<f64>>, Facts),
    /// Rerank: so many documents were given, and so many are wanted back.
    Ranking(Vec<Score>, usize, usize, Facts),
    /// Tokenization.
    Tokens(Option<Tokenized>, Facts),
    /// Classification of a text.
    Classes(Option<classify::Classes>, Facts),
    /// Classification of a text's parts.
    Entities(Option<classify::Entities>, Facts),
}

/// What every worker may say.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    usage: Option<Usage>,
    producer: Option<ProducerId>,
}

/// A text that is not complete yet.
#[derive(Debug)]
pub struct Whole {
    generated: Generated,
    detail: Detail,
    output_known: bool,
    facts: Facts,
}

impl Part {
    pub fn text(detail: Detail, seed: Option<u64>) -> Self {
        Self::Text(Box::new(Whole {
            generated: Generated {
                seed,
                ..Generated::default()
            },
            detail,
            output_known: false,
            facts: Facts::default(),
        }))
    }

    pub fn vectors(texts: usize) -> Self {
        Self::Vectors(vec![None; texts], Facts::default())
    }

    pub fn scores(sentences: usize) -> Self {
        Self::Scores(vec![None; sentences], Facts::default())
    }

    pub fn ranking(documents: usize, top_n: Option<i64>) -> Self {
        let wanted = match top_n {
            None | Some(..1) => documents,
            Some(top) => usize::try_from(top).unwrap_or(documents).min(documents),
        };
        Self::Ranking(Vec::new(), documents, wanted, Facts::default())
    }

    pub fn tokens() -> Self {
        Self::Tokens(None, Facts::default())
    }

    pub fn classes() -> Self {
        Self::Classes(None, Facts::default())
    }

    pub fn entities() -> Self {
        Self::Entities(None, Facts::default())
    }

    /// Takes an event.
    ///
    /// # Errors
    /// When it is of something that was not asked for.
    pub fn take(&mut self, bytes: &dyn Bytes, event: Event) -> Result<(), Failure> {
        if let Some(facts) = self.facts() {
            if let Some(producer) = carried::producer_of(&event) {
                facts.producer = Some(producer);
                return Ok(());
            }
            if let Event::Usage(usage) = event {
                facts.usage = Some(usage);
                return Ok(());
            }
        }
        let stray = || incomplete("keeping to what it was given");
        match (self, event) {
            (Self::Text(text), event) => text.take(event)?,
            (Self::Vectors(vectors, _), Event::Embeddings(all)) => {
                for embedding in all {
                    let place = vectors.get_mut(embedding.item as usize);
                    let values = vectors::floats(bytes, embedding.values)?;
                    *place.ok_or_else(stray)? = Some(values);
                }
            }
            (Self::Scores(scores, _), Event::Scores(all)) => {
                for score in all {
                    let place = scores.get_mut(score.item as usize);
                    *place.ok_or_else(stray)? = Some(score.value);
                }
            }
            (Self::Ranking(scores, documents, ..), Event::Scores(all)) => {
                for score in all {
                    let known = scores.iter().any(|other| other.item == score.item);
                    if known || score.item as usize >= *documents {
                        return Err(stray());
                    }
                    scores.push(score);
                }
            }
            (Self::Tokens(tokens, _), Event::Tokenized(all)) => {
                *tokens = all.into_iter().find(|tokenized| tokenized.item == 0);
            }
            (Self::Classes(classes, _), event) => {
                *classes = classify::Classes::of(&event)
                    .filter(|told| told.item == 0)
                    .or(classes.take());
            }
            (Self::Entities(entities, _), event) => {
                *entities = classify::Entities::of(&event).or(entities.take());
            }
            _ => {}
        }
        Ok(())
    }

    fn facts(&mut self) -> Option<&mut Facts> {
        match self {
            Self::Stream(_) => None,
            Self::Text(text) => Some(&mut text.facts),
            Self::Vectors(_, facts)
            | Self::Scores(_, facts)
            | Self::Ranking(_, _, _, facts)
            | Self::Tokens(_, facts)
            | Self::Classes(_, facts)
            | Self::Entities(_, facts) => Some(facts),
        }
    }

    /// Whether all has been said that was asked for.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self) -> Result<(), Failure> {
        let (complete, what) = match self {
            Self::Stream(_) => (true, ""),
            Self::Text(text) => (
                text.generated.reason != FinishReason::NotFinished,
                "a reason to stop",
            ),
            Self::Vectors(vectors, _) => {
                (vectors.iter().all(Option::is_some), "every text's vector")
            }
            Self::Scores(scores, _) => {
                (scores.iter().all(Option::is_some), "every sentence's score")
            }
            Self::Ranking(scores, _, wanted, _) => {
                (scores.len() >= *wanted, "every document's score")
            }
            Self::Tokens(tokens, _) => (tokens.is_some(), "counting the tokens"),
            Self::Classes(classes, _) => (classes.is_some(), "the text's classes"),
            Self::Entities(entities, _) => (entities.is_some(), "what is in the text"),
        };
        if complete {
            Ok(())
        } else {
            Err(incomplete(what))
        }
    }

    /// Who made it, and of how many tokens.
    pub fn origin(&self) -> (Option<ProducerId>, Option<i64>) {
        match self {
            Self::Stream(_) | Self::Text(_) => (None, None),
            Self::Vectors(_, facts)
            | Self::Scores(_, facts)
            | Self::Ranking(_, _, _, facts)
            | Self::Tokens(_, facts)
            | Self::Classes(_, facts)
            | Self::Entities(_, facts) => {
                let count = facts.usage.as_ref().and_then(|usage| usage.input_tokens);
                let count = count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
                (facts.producer.clone(), count)
            }
        }
    }

    /// Tokens counted so far.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Stream(stream) => stream.usage(),
            Self::Text(text) => text.facts.usage.clone(),
            Self::Vectors(_, facts)
            | Self::Scores(_, facts)
            | Self::Ranking(_, _, _, facts)
            | Self::Tokens(_, facts)
            | Self::Classes(_, facts)
            | Self::Entities(_, facts) => facts.usage.clone(),
        }
    }
}

impl Whole {
    fn take(&mut self, event: Event) -> Result<(), Failure> {
        let (generated, detail) = (&mut self.generated, &self.detail);
        let item = match &event {
            Event::Started(started) => started.item,
            Event::Delta(delta) => delta.item,
            Event::Finished(finished) => finished.item,
            _ => return Ok(()),
        };
        if item != 0 {
            return Err(incomplete("keeping to the one text that it was given"));
        }
        match event {
            Event::Started(started) => {
                generated.input_count = count(started.input_tokens).or(generated.input_count);
                generated.seed = generated.seed.or(started.seed);
                if let Some(prompt) = started.echo.filter(|_| detail.echo) {
                    generated.text.insert_str(0, &prompt);
                }
                if detail.input_tokens {
                    let tokens = started.tokens.into_iter();
                    let pieces = tokens.map(|token| piece(token, detail));
                    generated.input_tokens.extend(pieces);
                }
            }
            Event::Delta(delta) => {
                generated.text.push_str(&delta.text);
                if let Some(count) = count(delta.output_tokens) {
                    generated.count = count;
                    self.output_known = true;
                } else if !self.output_known {
                    generated.count += delta.tokens.len() as i64;
                }
                if detail.output_tokens {
                    let tokens = delta.tokens.into_iter();
                    generated
                        .tokens
                        .extend(tokens.map(|token| piece(token, detail)));
                }
            }
            Event::Finished(finished) => {
                generated.reason = reason_of(&finished.reason).ok_or_else(failed_by_itself)?;
                generated.input_count = count(finished.input_tokens).or(generated.input_count);
                if let Some(count) = count(finished.output_tokens) {
                    generated.count = count;
                    self.output_known = true;
                }
                generated.seed = generated.seed.or(finished.seed);
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Generated {
        if let Some(usage) = &self.facts.usage {
            let small = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            let generated = &mut self.generated;
            generated.input_count = generated.input_count.or(usage.input_tokens.map(small));
            if let (false, Some(count)) = (self.output_known, usage.output_tokens) {
                generated.count = small(count);
            }
        }
        self.generated.producer = self.facts.producer;
        self.generated
    }
}

fn count(tokens: Option<u32>) -> Option<i64> {
    tokens.map(i64::from)
}

/// What a ranking gives back of its request.
#[derive(Debug, Default)]
pub struct Rankings {
    queries: Vec<Option<String>>,
    documents: Vec<Scored>,
}

impl Rankings {
    /// Of a request; nothing where it ranks nothing.
    pub fn of(request: &Request) -> Self {
        let Request::Rerank(rerank) = request else {
            return Self::default();
        };
        let wanted = |flag: Option<bool>| flag.unwrap_or(true);
        let query = |query: &Text| match query {
            Text::Inline(text) if wanted(rerank.return_queries) => Some(text.clone()),
            _ => None,
        };
        Self {
            queries: rerank.queries.iter().map(query).collect(),
            documents: documents(
                rerank,
                wanted(rerank.return_documents),
                wanted(rerank.return_text),
            ),
        }
    }

    /// The answer that the parts make together.
    ///
    /// # Errors
    /// When there are none.
    pub fn answer(&mut self, parts: Vec<Part>, origin: Origin) -> Result<Answer, Failure> {
        let mut rows = Vec::new();
        let mut rankings = Vec::new();
        for (at, part) in parts.into_iter().enumerate() {
            match part {
                Part::Stream(_) => return Err(incomplete("its answer")),
                Part::Text(text) => return Ok(Answer::Text(text.finish())),
                Part::Tokens(tokens, _) => {
                    return tokens
                        .map(|tokens| Answer::Tokens(tokens_of(tokens)))
                        .ok_or_else(|| incomplete("counting the tokens"));
                }
                Part::Classes(told, _) => {
                    let told = told.ok_or_else(|| incomplete("the text's classes"))?;
                    return Ok(Answer::Classes(labelled(&told)));
                }
                Part::Entities(told, _) => {
                    let told = told.ok_or_else(|| incomplete("what is in the text"))?;
                    return Ok(Answer::Entities(told.entities));
                }
                Part::Vectors(vectors, _) => {
                    let vectors = vectors.into_iter().flatten().collect();
                    return Ok(Answer::Vectors(vectors, origin));
                }
                Part::Scores(scores, _) => rows.push(scores.into_iter().flatten().collect()),
                Part::Ranking(mut scores, _, wanted, _) => {
                    best_first(&mut scores);
                    scores.truncate(wanted);
                    let scores = scores.iter().map(|score| self.scored(score)).collect();
                    let query = self.queries.get_mut(at).and_then(Option::take);
                    rankings.push(Ranking { query, scores });
                }
            }
        }
        if rankings.is_empty() {
            Ok(Answer::Scores(rows, origin))
        } else {
            Ok(Answer::Rankings(rankings, origin))
        }
    }

    fn scored(&self, score: &Score) -> Scored {
        let document = self.documents.get(score.item as usize).cloned();
        Scored {
            index: score.item.into(),
            score: score.value,
            ..document.unwrap_or_default()
        }
    }
}

fn documents(rerank: &Rerank, document: bool, text: bool) -> Vec<Scored> {
    let scored = |json: &String| {
        let object: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
        Scored {
            document: document.then(|| json.clone()),
            // One without a text has an empty one.
            text: text.then(|| document_text(&object).unwrap_or_default().to_owned()),
            ..Scored::default()
        }
    };
    rerank.documents.iter().map(scored).collect()
}

/// Classes that have names. Where the worker named none, the likeliest has one made of its place.
fn labelled(told: &classify::Classes) -> Vec<(String, f64)> {
    let named = told.classes.iter();
    let named = named.filter_map(|class| Some((class.label.clone()?, class.score)));
    let named: Vec<_> = named.collect();
    if !named.is_empty() {
        return named;
    }
    let best = told.best().into_iter();
    best.map(|(place, class)| (class.named(place), class.score))
        .collect()
}

/// Tokens with their places, where the worker told both for all of them.
fn tokens_of(tokenized: Tokenized) -> Tokens {
    let all = tokenized.texts.len() == tokenized.count as usize
        && tokenized.offsets.len() == tokenized.texts.len();
    let places = tokenized.offsets.into_iter().zip(tokenized.texts);
    Tokens {
        results: all.then(|| {
            places
                .map(|(at, text)| (at.start.into(), at.end.into(), text))
                .collect()
        }),
        count: tokenized.count.into(),
    }
}
