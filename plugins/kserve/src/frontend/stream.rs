//! `ModelStreamInfer`: every message is a request and a call of its own.
//!
//! 1. Message n is source n, and makes call n. Those of one sequence are asked one after
//!    the other, in their order; all others at once.
//! 2. Responses go out as they come, each with its request's id. What a call held is let
//!    go when it has ended.
//! 3. A failure is a response with `error_message`, and the stream goes on; with the
//!    metadata `triton_grpc_error: true` it ends the stream with its status.
//! 4. A request whose tensors are texts becomes a generation or an embedding for workers of other
//!    protocols; each piece of a text is a response.
//! 5. When the client has half-closed and every call has ended, so does the exchange.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use prost::Message;
use tollgate_sdk_protocol::{
    Bytes, Frontend, actions, failure,
    frontend::{Action, Dispatched, Input, Intent, Materialised, RequestHead, Way},
    inference::{Event, Tensors},
    one_call::unknown_way,
    types::{Failure, FailureKind, Need, Progress, Segment, SourceId, Want},
};

use super::{
    answer::Wishes,
    infer::{ask, check_shared, neutral, refuse_shared, response, sequence},
    invalid, known_version, model_of_headers, status,
    texts::Texts,
};
use crate::{
    codec::{Body, Kind, Stop, grpc_read, grpc_write},
    options::Options,
    proto::{self, ModelInferResponse, ModelStreamInferResponse},
};

/// Requests without an end at once. The host reads no more messages before; this is the
/// bound for those of one sequence, which wait here.
const OPEN: usize = 256;

/// A stream of inferences.
pub struct Exchange {
    options: Arc<Options>,
    errors_end: bool,
    model: Result<String, Failure>,
    default_model: String,
    open: BTreeMap<u32, Open>,
    /// Calls of a sequence that wait for the one before.
    waiting: VecDeque<u32>,
    half_closed: bool,
    over: bool,
}

/// A request without an end.
struct Open {
    body: Body,
    wishes: Wishes,
    sequence: Option<String>,
    /// Length of the message, for letting go of it.
    len: u64,
    asked: bool,
    texts: Option<Texts>,
    /// Responses whose values are still to come.
    pending: VecDeque<Tensors>,
}

impl Exchange {
    pub fn new(options: Arc<Options>, default_model: String, head: &RequestHead) -> Self {
        let says = actions::header_value(&head.headers, "triton_grpc_error");
        Self {
            options,
            errors_end: says.is_some_and(|says| says.eq_ignore_ascii_case("true")),
            model: model_of_headers(head),
            default_model,
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            half_closed: false,
            over: false,
        }
    }

    fn input(&mut self, bytes: &dyn Bytes, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Message(message) => self.message(bytes, &message.progress, out),
            Input::MessagesEnd => self.half_closed = true,
            Input::Dispatched(dispatched) => self.dispatched(dispatched, out),
            Input::Events(events) => {
                for event in events {
                    self.event(bytes, event.call, event.event, out);
                }
            }
            Input::Cut(_) => {
                let failure = invalid("the stream broke off");
                self.end(
                    failure::grpc_code(&failure.kind),
                    Some(failure.message),
                    out,
                );
            }
            _ => {}
        }
        if self.half_closed && self.open.is_empty() {
            self.end(0, None, out);
        }
    }

    fn message(&mut self, bytes: &dyn Bytes, progress: &Progress, out: &mut Vec<Action>) {
        let number = progress.source;
        if self.over || self.open.contains_key(&number) {
            return;
        }
        let need = |until| {
            Action::Need(Need {
                source: number,
                keep_from: 0,
                until,
            })
        };
        let read = match grpc_read::read(bytes, progress, Kind::Request) {
            Err(Stop::More(to)) if !progress.end => {
                return out.push(need(Want::AtLeast(to)));
            }
            Ok(read) if !progress.end && (read.typed || self.is_texts(&read.body)) => {
                return out.push(need(Want::All));
            }
            Ok(read) => Ok(read),
            Err(Stop::More(_)) => Err(invalid("the message ends within a field")),
            Err(Stop::Bad(reason)) => Err(invalid(reason)),
        };
        let len = progress.total.unwrap_or(progress.available);
        let mut id = String::new();
        let begun = read.and_then(|read| {
            let mut body = read.body;
            id.clone_from(&body.id);
            known_version(&body.version)?;
            if body.model.is_empty() {
                body.model
                    .clone_from(self.model.as_ref().map_err(Clone::clone)?);
            }
            check_shared(&body, self.options.shared_memory)?;
            refuse_shared(&body)?;
            if self.open.len() == OPEN {
                let what = "too many requests at once in this stream";
                return Err(failure::of(FailureKind::RateLimited, what));
            }
            let wishes = Wishes::grpc(read.typed && self.options.typed_answers);
            let texts = Texts::read(bytes, &self.options, &self.default_model, &body, true);
            Ok((body, wishes, texts))
        });
        let (body, wishes, texts) = match begun {
            Ok(begun) => begun,
            Err(failure) => {
                out.push(let_go(number, len));
                return self.failed(id, String::new(), &failure, out);
            }
        };
        let sequence = sequence(&body);
        let before = sequence.is_some() && self.open.values().any(|it| it.sequence == sequence);
        self.open.insert(
            number,
            Open {
                body,
                wishes,
                sequence,
                len,
                asked: false,
                texts,
                pending: VecDeque::new(),
            },
        );
        if before {
            self.waiting.push_back(number);
        } else {
            self.ask(number, out);
        }
    }

    /// Whether a request's tensors are texts, and have to be there to be read.
    fn is_texts(&self, body: &Body) -> bool {
        let named = match (body.model.as_str(), &self.model) {
            ("", Ok(model)) => model,
            (model, _) => model,
        };
        Texts::words(&self.options, named, &self.default_model).is_some()
    }

    fn ask(&mut self, number: u32, out: &mut Vec<Action>) {
        if let Some(open) = self.open.get_mut(&number) {
            open.asked = true;
            let intent = Intent {
                streaming: true,
                ..ask(number, &open.body)
            };
            out.push(Action::Call(match &open.texts {
                Some(texts) => texts.intent(intent),
                None => intent,
            }));
        }
    }

    fn dispatched(&mut self, dispatched: Dispatched, out: &mut Vec<Action>) {
        let Some(open) = self.open.get_mut(&dispatched.call) else {
            return;
        };
        // Another worker may have begun an answer before.
        open.pending.clear();
        let call = match (dispatched.way, &mut open.texts) {
            (Way::Translate(to), Some(texts)) => match texts.call(to.model) {
                Ok(call) => call,
                Err(failure) => {
                    out.push(Action::Cancel(dispatched.call));
                    return self.ended(dispatched.call, Some(&failure), out);
                }
            },
            // One of many requests is none to pass: it is taken apart, and told in its own words.
            (Way::Pass(to), texts) => {
                if let Some(texts) = texts {
                    texts.stay();
                }
                neutral(&open.body, to.model, true)
            }
            (Way::Translate(to), None) => neutral(&open.body, to.model, true),
            (Way::Other(other), _) => {
                out.push(Action::Cancel(dispatched.call));
                return self.ended(dispatched.call, Some(&unknown_way(&other.name)), out);
            }
        };
        out.push(Action::Materialise(Materialised {
            id: dispatched.call,
            call,
        }));
    }

    fn event(&mut self, bytes: &dyn Bytes, call: u32, event: Event, out: &mut Vec<Action>) {
        let Some(open) = self.open.get_mut(&call) else {
            return;
        };
        if let Event::Failed(failure) = &event {
            return self.ended(call, Some(failure), out);
        }
        let over = event == Event::End;
        let told = match (open.texts.as_mut().and_then(Texts::telling), event) {
            (Some(telling), event) => telling.event(bytes, event),
            (None, Event::Tensors(tensors)) => Ok(Some(tensors)),
            (None, _) => Ok(None),
        };
        match told {
            Ok(tensors) => open.pending.extend(tensors),
            Err(failure) => {
                if !over {
                    out.push(Action::Cancel(call));
                }
                return self.ended(call, Some(&failure), out);
            }
        }
        self.flush(bytes, call, over, out);
        if over {
            self.ended(call, None, out);
        }
    }

    /// Sends what can be sent, in order; with `all`, everything has come.
    fn flush(&mut self, bytes: &dyn Bytes, call: u32, all: bool, out: &mut Vec<Action>) {
        let mut failed = None;
        let Some(open) = self.open.get_mut(&call) else {
            return;
        };
        let style = open.wishes.style();
        while let Some(tensors) = open.pending.pop_front() {
            let body = response(tensors.clone(), &open.body.model);
            if !all && !grpc_write::is_ready(bytes, &body, style) {
                open.pending.push_front(tensors);
                return;
            }
            match wrapped(bytes, &body, style) {
                Ok(segments) => out.push(Action::Message(segments)),
                Err(what) => {
                    failed = Some(failure::of(FailureKind::Unprocessable, what));
                    break;
                }
            }
        }
        if let Some(failure) = failed {
            if !all {
                out.push(Action::Cancel(call));
            }
            self.ended(call, Some(&failure), out);
        }
    }

    fn ended(&mut self, call: u32, failure: Option<&Failure>, out: &mut Vec<Action>) {
        let Some(open) = self.open.remove(&call) else {
            return;
        };
        out.push(let_go(call, open.len));
        if let Some(failure) = failure {
            self.failed(open.body.id, open.body.model, failure, out);
        }
        if self.over || open.sequence.is_none() {
            return;
        }
        let next = self.waiting.iter().position(|number| {
            self.open
                .get(number)
                .is_some_and(|it| it.sequence == open.sequence)
        });
        if let Some(number) = next.and_then(|at| self.waiting.remove(at)) {
            self.ask(number, out);
        }
    }

    fn failed(&mut self, id: String, model: String, failure: &Failure, out: &mut Vec<Action>) {
        if self.errors_end {
            let code = failure::grpc_code(&failure.kind);
            return self.end(code, Some(failure.message.clone()), out);
        }
        let told = ModelStreamInferResponse {
            error_message: failure.message.clone(),
            infer_response: Some(ModelInferResponse {
                model_name: model,
                id,
                ..ModelInferResponse::default()
            }),
        };
        out.push(Action::Message(vec![Segment::Inline(told.encode_to_vec())]));
    }

    /// The end of it; calls that are still open are taken back.
    fn end(&mut self, code: u32, message: Option<String>, out: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.over, true) {
            let asked = self.open.iter().filter(|open| open.1.asked);
            out.extend(asked.map(|open| Action::Cancel(*open.0)));
            self.open.clear();
            out.push(status(code, message));
            out.push(Action::Finish);
        }
    }
}

/// A response as one message of the stream.
fn wrapped(
    bytes: &dyn Bytes,
    body: &Body,
    style: grpc_write::Style,
) -> Result<Vec<Segment>, String> {
    let written = grpc_write::write(bytes, Kind::Response, body, style)?;
    let mut segments = vec![Segment::Inline(proto::prefix(2, written.len))];
    segments.extend(written.segments);
    Ok(segments)
}

/// Nothing of this message is needed any more.
fn let_go(source: SourceId, len: u64) -> Action {
    Action::Need(actions::keep(source, len))
}

impl Frontend for Exchange {
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
        let mut out = Vec::new();
        for input in inputs {
            if self.over {
                break;
            }
            self.input(bytes, input, &mut out);
        }
        if !self.over {
            let open = self.open.values();
            let needs = super::answer::keeps(open.flat_map(|open| &open.pending));
            out.extend(needs.into_iter().map(Action::Need));
        }
        out
    }
}
