//! Speaks to workers that serve `fmaas.GenerationService`.
//!
//! 1. The request is built from the calls (`request`, `parameters`), or they fail with
//!    the setting that the worker has not.
//! 2. A unary answer becomes events when it is whole (`answer`), a stream's messages as
//!    they come (`stream`).
//! 3. The trailers end every member: well with status OK and a complete answer, and in
//!    no other case.

mod answer;
mod parameters;
mod probe;
mod request;
mod stream;

use prost::Message;
use tollgate_sdk_protocol::{
    Backend, Bytes, actions,
    backend::{Action, Input, MemberEvent},
    failure,
    inference::{Call, Event, Task},
    types::{Failure, FailureKind, Progress, ResponseEnd},
};

use crate::options::WorkerOptions;
use answer::Wanted;
use stream::Stream;

pub use probe::{judge, model_info, requests as probe};
pub use request::key;

const OK: u32 = 0;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNAVAILABLE: u32 = 14;

/// One upstream request.
pub struct Attempt {
    request_id: String,
    /// What is wrong with the worker's configuration, if anything is.
    worker: Result<WorkerOptions, String>,
    members: Vec<Call>,
    /// Their callers have gone.
    left: Vec<bool>,
    /// HTTP status of the response.
    status: u16,
    reading: Reading,
}

/// What the response is.
enum Reading {
    /// One message that has not come.
    Unary,
    /// Messages of a stream.
    Stream(Stream),
    /// The one message has come and was told.
    Told,
    /// All members have ended.
    Over,
}

impl Attempt {
    /// An attempt for these calls; several must have equal keys.
    pub fn new(
        request_id: String,
        worker: Result<WorkerOptions, String>,
        members: Vec<Call>,
    ) -> Self {
        let wanted = members
            .first()
            .filter(|_| request::streams(&members))
            .and_then(Wanted::of);
        let reading = wanted.map_or(Reading::Unary, |wanted| {
            Reading::Stream(Stream::new(wanted))
        });
        let left = vec![false; members.len()];
        Self {
            request_id,
            worker,
            members,
            left,
            status: 0,
            reading,
        }
    }

    fn input(&mut self, bytes: &dyn Bytes, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Start => self.start(bytes, out),
            Input::Head(head) => self.status = head.status,
            Input::Message(progress) => self.message(bytes, progress, out),
            Input::End(end) => self.ended(end, out),
            Input::Cut(cut) => self.fail(&failure::from_cut(&cut), out),
            Input::Left(member) => {
                if let Some(left) = self.left.get_mut(member as usize) {
                    *left = true;
                }
            }
            Input::Bytes(_) | Input::Other(_) => {}
        }
    }

    fn start(&mut self, bytes: &dyn Bytes, out: &mut Vec<Action>) {
        let request = match &self.worker {
            Ok(worker) => request::build(bytes, &self.request_id, &self.members, worker),
            Err(problem) => Err(failure::of(FailureKind::Internal, problem.clone())),
        };
        match request {
            Ok(request) => out.push(Action::Request(request)),
            Err(failure) => self.fail(&failure, out),
        }
    }

    fn message(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        let source = progress.source;
        if !progress.end {
            out.push(Action::Need(actions::whole(source)));
            return;
        }
        let message = bytes.read_all(source, 0, progress.available);
        match self.events(&message) {
            Ok(events) => self.tell(events, out),
            Err(failure) => {
                out.push(Action::EndUpstream);
                self.fail(&failure, out);
            }
        }
    }

    /// Events of one message.
    fn events(&mut self, message: &[u8]) -> Result<Vec<MemberEvent>, Failure> {
        let of_first = |event| MemberEvent { member: 0, event };
        match &mut self.reading {
            Reading::Stream(stream) => Ok(stream
                .take(decode(message)?)?
                .into_iter()
                .map(of_first)
                .collect()),
            Reading::Unary => {
                self.reading = Reading::Told;
                self.unary(message)
            }
            Reading::Told | Reading::Over => Err(failure::upstream_invalid(
                "the worker gave more than one answer",
            )),
        }
    }

    fn unary(&self, message: &[u8]) -> Result<Vec<MemberEvent>, Failure> {
        let event = match self.members.first().map(|call| (call, &call.task)) {
            Some((_, Task::Generate(_))) => {
                return answer::generations(decode(message)?, &self.members);
            }
            Some((_, Task::Tokenize(tokenize))) => {
                answer::tokenizations(decode(message)?, tokenize.inputs.len())?
            }
            Some((call, Task::ModelMetadata)) => {
                Event::Models(vec![model_info(call.model.clone(), &decode(message)?)])
            }
            Some((_, Task::ModelReady)) => Event::Ready(true),
            _ => return Err(failure::upstream_invalid("an answer to nothing")),
        };
        Ok(vec![MemberEvent { member: 0, event }])
    }

    fn ended(&mut self, end: ResponseEnd, out: &mut Vec<Action>) {
        let message = end.message.unwrap_or_default();
        let failure = match (end.code, &self.reading) {
            (_, Reading::Over) => return,
            (Some(OK), Reading::Told) => return self.end(out),
            (Some(OK), Reading::Stream(stream)) if stream.is_finished() => return self.end(out),
            (Some(OK), Reading::Stream(_)) => {
                failure::upstream_unavailable("the worker's stream ended without a reason to stop")
            }
            (Some(OK), Reading::Unary) => {
                failure::upstream_invalid("the worker gave no answer and no error")
            }
            (Some(UNAVAILABLE), Reading::Unary) if self.asks_readiness() => {
                self.tell(
                    vec![MemberEvent {
                        member: 0,
                        event: Event::Ready(false),
                    }],
                    out,
                );
                return self.end(out);
            }
            (Some(code), _) => refused(code, message),
            (None, _) if self.status == 200 => failure::upstream_unavailable(
                "the worker ended its answer without saying how it went",
            ),
            (None, _) => failure::from_http(
                self.status,
                format!(
                    "the worker answered with HTTP status {} and no gRPC",
                    self.status
                ),
            ),
        };
        self.fail(&failure, out);
    }

    fn asks_readiness(&self) -> bool {
        matches!(
            self.members.first().map(|call| &call.task),
            Some(Task::ModelReady)
        )
    }

    fn tell(&self, mut events: Vec<MemberEvent>, out: &mut Vec<Action>) {
        events.retain(|event| {
            !self
                .left
                .get(event.member as usize)
                .is_some_and(|left| *left)
        });
        if !events.is_empty() {
            out.push(Action::Events(events));
        }
    }

    fn end(&mut self, out: &mut Vec<Action>) {
        self.close(&Event::End, out);
    }

    fn fail(&mut self, failure: &Failure, out: &mut Vec<Action>) {
        self.close(&Event::Failed(failure.clone()), out);
    }

    /// The same end for every member.
    fn close(&mut self, event: &Event, out: &mut Vec<Action>) {
        if matches!(self.reading, Reading::Over) {
            return;
        }
        self.reading = Reading::Over;
        let all = (0..self.members.len() as u32).map(|member| MemberEvent {
            member,
            event: event.clone(),
        });
        self.tell(all.collect(), out);
        out.push(Action::Finish);
    }
}

fn decode<M: Message + Default>(message: &[u8]) -> Result<M, Failure> {
    M::decode(message).map_err(|error| {
        failure::upstream_invalid(format!("the worker's answer cannot be read: {error}"))
    })
}

/// What a status of this protocol's servers means.
fn refused(code: u32, message: String) -> Failure {
    let too_large = [
        "Received message larger than max",
        "Sent message larger than max",
    ];
    match code {
        // The gRPC libraries' own limit, which no repetition passes.
        RESOURCE_EXHAUSTED if too_large.iter().any(|text| message.starts_with(text)) => {
            failure::of(FailureKind::PayloadTooLarge, message)
        }
        // Servers say so when their queue is full: it is they who are full, and not a
        // share of the caller's.
        RESOURCE_EXHAUSTED => failure::of(FailureKind::Overloaded, message),
        _ => failure::from_grpc(code, message),
    }
}

impl Backend for Attempt {
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
        let mut out = Vec::new();
        for input in inputs {
            if matches!(self.reading, Reading::Over) {
                break;
            }
            self.input(bytes, input, &mut out);
        }
        out
    }
}
