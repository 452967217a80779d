//! Speaks to workers: one [`Attempt`] is one request for one call, or for several that
//! were merged.
//!
//! 1. `start`: the calls become a request (`request`), or a refusal that names what the
//!    API cannot say.
//! 2. The response is read whole (`unary`), or event by event (`stream`).
//! 3. Items find their members: member = index ÷ items of a member.

pub mod probe;

mod batch;
mod generation;
mod ovms;
mod prompts;
mod reply;
mod request;
mod scores;
mod stops;
mod stream;
mod unary;
mod vectors;

use tollgate_sdk_protocol::{
    Backend, Bytes, actions,
    backend::{Action, Input, MemberEvent},
    failure,
    inference::{Call, Event, FinishReason, Finished, Task},
    sse,
    types::{Cut, Failure, FailureKind, Progress, ResponseHead},
};

pub use batch::key as batch_key;

use crate::options::Target;

/// Longest event of a stream.
const EVENT: usize = 4 << 20;
/// Bytes of a stream read at once.
const WINDOW: u64 = 64 * 1024;

/// One request to a worker.
pub struct Attempt {
    target: Target,
    members: Vec<Call>,
    /// By member: nothing more may be told, as it has ended or gone.
    ended: Vec<bool>,
    head: Option<ResponseHead>,
    stream: Option<Streaming>,
    /// Every member has been told its end.
    told: bool,
    done: bool,
}

/// A stream that is being read.
struct Streaming {
    reader: sse::Reader,
    position: u64,
    items: stream::Items,
    /// What may be a failure that is no event, where the worker tells one so.
    bare: Option<ovms::Bare>,
}

impl Attempt {
    /// Begins to serve these calls.
    pub fn new(target: Target, members: Vec<Call>) -> Self {
        Self {
            target,
            ended: vec![false; members.len()],
            members,
            head: None,
            stream: None,
            told: false,
            done: false,
        }
    }

    fn start(&mut self, bytes: &dyn Bytes, out: &mut Vec<Action>) {
        let mut calls = self.members.iter();
        let known = calls.try_for_each(|call| failure::only_version(call.version.as_deref()));
        match known.and_then(|()| request::build(bytes, &self.target, &self.members)) {
            Ok(request) => out.push(Action::Request(request)),
            Err(failed) => {
                self.fail(&failed, out);
                self.finish(out);
            }
        }
    }

    fn head(&mut self, head: ResponseHead) {
        let content_type = actions::header_value(&head.headers, "content-type").unwrap_or("");
        if head.status == 200 && content_type.trim_start().starts_with("text/event-stream") {
            self.stream = Some(Streaming {
                reader: sse::Reader::new(EVENT),
                position: 0,
                items: stream::Items::new(&self.members, self.target.ovms),
                bare: self.target.ovms.then(ovms::Bare::default),
            });
        }
        self.head = Some(head);
    }

    fn bytes(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        if self.told {
            return;
        }
        if self.stream.is_some() {
            self.stream_bytes(bytes, progress, out);
        } else if progress.end {
            self.whole(bytes, progress, out);
        } else {
            out.push(Action::Need(actions::whole(progress.source)));
        }
    }

    fn whole(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        let body = bytes.read_all(progress.source, 0, progress.available);
        let status = self.head.as_ref().map_or(200, |head| head.status);
        let probes = matches!(self.members[0].task, Task::ServerLive | Task::ServerReady);
        if !(200..300).contains(&status) && !probes {
            let headers = self.head.as_ref().map_or(&[][..], |head| &head.headers);
            return self.fail(&reply::failure(status, headers, &body), out);
        }
        match unary::events(&self.target, &self.members, progress.source, status, &body) {
            Ok(events) => {
                self.tell(events, out);
                self.told = true;
            }
            Err(failed) => self.fail(&failed, out),
        }
    }

    fn stream_bytes(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        let mut events = Vec::new();
        let mut outcome = Ok(false);
        if let Some(streaming) = &mut self.stream {
            while streaming.position < progress.available && matches!(outcome, Ok(false)) {
                let len = (progress.available - streaming.position).min(WINDOW);
                let piece = bytes.read_all(progress.source, streaming.position, len);
                streaming.position += piece.len() as u64;
                outcome = match streaming.reader.push(&piece) {
                    Ok(read) => streaming.items.read(&read, &mut events),
                    Err(sse::TooLong) => Err(failure::upstream_invalid(
                        "The worker sent too long an event.",
                    )),
                };
                if let (Some(bare), Ok(false)) = (&mut streaming.bare, &outcome) {
                    let after = streaming.position - streaming.reader.given_out();
                    if let Some(failed) = bare.read(&piece, after) {
                        outcome = Err(failed);
                    }
                }
            }
        }
        self.tell(events, out);
        match outcome {
            Ok(complete) => self.told = complete,
            Err(failed) => self.fail(&failed, out),
        }
    }

    /// The response is complete.
    fn end(&mut self, out: &mut Vec<Action>) {
        if !self.told {
            match &mut self.stream {
                Some(streaming) => {
                    let mut events = Vec::new();
                    match streaming.items.broke_off(&mut events) {
                        Ok(()) => {
                            self.tell(events, out);
                            self.told = true;
                        }
                        Err(failed) => self.fail(&failed, out),
                    }
                }
                None => {
                    let status = self.head.as_ref().map_or(200, |head| head.status);
                    match unary::events(&self.target, &self.members, 0, status, b"") {
                        Ok(events) => {
                            self.tell(events, out);
                            self.told = true;
                        }
                        Err(_) if !(200..300).contains(&status) => {
                            let headers = self.head.as_ref().map_or(&[][..], |head| &head.headers);
                            self.fail(&reply::failure(status, headers, b""), out);
                        }
                        Err(failed) => self.fail(&failed, out),
                    }
                }
            }
        }
        self.finish(out);
    }

    fn cut(&mut self, cut: &Cut, out: &mut Vec<Action>) {
        if !self.told {
            if *cut == Cut::Deadline && self.end_by_time(out) {
                return self.finish(out);
            }
            let failed = match cut {
                Cut::Deadline => {
                    failure::of(FailureKind::DeadlineExceeded, "The worker took too long.")
                }
                Cut::Limit => failure::of(
                    FailureKind::Unprocessable,
                    "The worker's answer is too long.",
                ),
                Cut::Malformed => failure::upstream_invalid("The worker's answer is malformed."),
                _ => failure::upstream_unavailable("The worker's answer broke off."),
            };
            self.fail(&failed, out);
        }
        self.finish(out);
    }

    /// A client's own limit of time has passed: what came is the answer.
    fn end_by_time(&mut self, out: &mut Vec<Action>) -> bool {
        let limited = |call: &Call| {
            generation::settings(&call.task)
                .is_some_and(|settings| settings.stopping.time_limit_ms.is_some())
        };
        let Some(streaming) = self
            .stream
            .as_mut()
            .filter(|_| self.members.iter().all(limited))
        else {
            return false;
        };
        let mut events = Vec::new();
        streaming.items.end_by_time(&mut events);
        self.tell(events, out);
        self.told = true;
        true
    }

    /// Tells events to the members that still listen.
    fn tell(&mut self, events: Vec<MemberEvent>, out: &mut Vec<Action>) {
        let ended = &mut self.ended;
        let events: Vec<MemberEvent> = events
            .into_iter()
            .filter(|event| {
                let member = &mut ended[event.member as usize];
                let tell = !*member;
                *member |= matches!(event.event, Event::End | Event::Failed(_));
                tell
            })
            .collect();
        if !events.is_empty() {
            out.push(Action::Events(events));
        }
    }

    fn fail(&mut self, failed: &Failure, out: &mut Vec<Action>) {
        let events = (0..self.members.len() as u32)
            .map(|member| MemberEvent {
                member,
                event: Event::Failed(failed.clone()),
            })
            .collect();
        self.tell(events, out);
        self.told = true;
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        if !self.done {
            self.done = true;
            out.push(Action::Finish);
        }
    }
}

impl Backend for Attempt {
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
        let mut out = Vec::new();
        for input in inputs {
            if self.done {
                break;
            }
            match input {
                Input::Start => self.start(bytes, &mut out),
                Input::Head(head) => self.head(head),
                Input::Bytes(progress) => self.bytes(bytes, progress, &mut out),
                Input::End(_) => self.end(&mut out),
                Input::Cut(cut) => self.cut(&cut, &mut out),
                Input::Left(member) => {
                    if let Some(ended) = self.ended.get_mut(member as usize) {
                        *ended = true;
                    }
                }
                Input::Message(_) | Input::Other(_) => {}
            }
        }
        out
    }
}

/// How an answer ended: the API's words, and whether the limit was the client's own.
fn finish_reason(reason: &str, stop: Option<String>, limited: bool) -> FinishReason {
    match reason {
        "stop" if stop.is_some() => FinishReason::StopSequence,
        "stop" => FinishReason::EndOfSequence,
        "length" if limited => FinishReason::MaxTokens,
        "length" => FinishReason::TokenLimit,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "abort" => FinishReason::Cancelled,
        "error" => FinishReason::Error,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// The end of an item, as its worker told it.
fn finished(item: u32, reason: &str, stop: Option<&serde_json::Value>, limited: bool) -> Finished {
    // A number is the id of a token that stops: an end of sequence like any other.
    let stop = stop.and_then(serde_json::Value::as_str).map(str::to_owned);
    Finished {
        item,
        reason: finish_reason(reason, stop.clone(), limited),
        stop_sequence: stop,
        input_tokens: None,
        output_tokens: None,
        seed: None,
    }
}
