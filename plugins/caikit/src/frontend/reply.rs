//! What is answered to a client, made of the events of its calls.

use tollgate_sdk_protocol::{
    Bytes, failure,
    inference::{Event, Usage},
    types::{Failure, FailureKind},
};

use super::{
    calls,
    part::{Part, Rankings},
    stream::Stream,
};
use crate::{
    answer::{Answer, Generated, Origin},
    request::Request,
};

/// A step of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// What is new in a stream.
    Piece(Generated),
    /// The whole answer of a task that does not stream.
    Answer(Answer),
    /// The end, and all went well.
    Done,
    /// The end, and it did not.
    Failed(Failure),
}

/// An answer in the making.
#[derive(Debug)]
pub struct Reply {
    streaming: bool,
    rankings: Rankings,
    /// One a call.
    parts: Vec<Part>,
    /// By call: it has ended.
    ended: Vec<bool>,
}

impl Reply {
    /// The beginning of the answer to a request, which is so many calls.
    pub fn to(request: &Request, streaming: bool, calls: usize) -> Self {
        let rankings = Rankings::of(request);
        let parts = (0..calls).map(|_| part(request, streaming)).collect();
        Self {
            streaming,
            rankings,
            parts,
            ended: vec![false; calls],
        }
    }

    /// A call is asked anew: what was said of it does not count.
    pub fn again(&mut self, call: usize, request: &Request) {
        if let Some(place) = self.parts.get_mut(call) {
            *place = part(request, self.streaming);
            self.ended[call] = false;
        }
    }

    /// Takes an event of a call; gives what it leads to. Nothing follows `Done` and
    /// `Failed`.
    pub fn take(&mut self, bytes: &dyn Bytes, call: usize, event: Event, out: &mut Vec<Output>) {
        let Some(part) = self.parts.get_mut(call) else {
            return;
        };
        match (part, event) {
            (_, Event::Failed(failure)) => out.push(Output::Failed(failure)),
            (Part::Stream(stream), event) => stream.take(event, out),
            (part, Event::End) => match part.check() {
                Err(failure) => out.push(Output::Failed(failure)),
                Ok(()) => {
                    self.ended[call] = true;
                    self.close(out);
                }
            },
            (part, event) => {
                if let Err(failure) = part.take(bytes, event) {
                    out.push(Output::Failed(failure));
                }
            }
        }
    }

    /// Answers once all calls have ended.
    fn close(&mut self, out: &mut Vec<Output>) {
        if !self.ended.iter().all(|ended| *ended) {
            return;
        }
        let mut origin = Origin::default();
        for part in &self.parts {
            let (producer, input) = part.origin();
            origin.producer = origin.producer.or(producer);
            origin.input_tokens = match (origin.input_tokens, input) {
                (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
                (known, more) => known.or(more),
            };
        }
        let parts = std::mem::take(&mut self.parts);
        match self.rankings.answer(parts, origin) {
            Ok(answer) => out.extend([Output::Answer(answer), Output::Done]),
            Err(failure) => out.push(Output::Failed(failure)),
        }
    }

    /// Tokens counted so far for a call, where there are any to count.
    pub fn usage(&self, call: usize) -> Option<Usage> {
        self.parts.get(call)?.usage()
    }
}

fn part(request: &Request, streaming: bool) -> Part {
    match request {
        Request::Generate { parameters, .. } => {
            let detail = calls::detail(parameters);
            if streaming {
                Part::Stream(Box::new(Stream::new(detail, parameters.seed)))
            } else {
                Part::text(detail, parameters.seed)
            }
        }
        Request::Embed { texts, .. } => Part::vectors(texts.len()),
        Request::Similarity { sentences, .. } => Part::scores(sentences.len()),
        Request::Rerank(rerank) => Part::ranking(rerank.documents.len(), rerank.top_n),
        Request::Tokenize(_) => Part::tokens(),
        Request::Classify(_) => Part::classes(),
        Request::ClassifyTokens { .. } => Part::entities(),
    }
}

/// The worker said that it was done, and it was not.
pub fn unfinished(what: &str) -> Output {
    Output::Failed(incomplete(what))
}

/// The same as a failure.
pub fn incomplete(what: &str) -> Failure {
    failure::upstream_unavailable(format!("the worker ended without {what}"))
}

/// A worker whose generation failed by its own word.
pub fn generation_failed() -> Output {
    Output::Failed(failed_by_itself())
}

/// The same as a failure.
pub fn failed_by_itself() -> Failure {
    failure::of(
        FailureKind::Internal,
        "the generation failed: the worker reported an error",
    )
}
