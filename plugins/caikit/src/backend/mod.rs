//! Speaks to workers, over gRPC or over REST as each is configured: one [`Attempt`] is
//! one request for one call, or for several embeddings that were merged.
//!
//! 1. `start`: the calls become a request (`request`, `parameters`), or fail with what
//!    the worker has not. Facts of the worker's own are asked for by `facts`.
//! 2. A whole answer becomes events when it is there (`events`), a stream's pieces as
//!    they come (`stream`).
//! 3. The end of the answer ends every member: well with a complete answer, and in no
//!    other case.

mod events;
mod facts;
mod parameters;
mod probe;
mod refusal;
mod request;
mod stream;

use tollgate_sdk_protocol::{
    Backend, Bytes, actions,
    backend::{Action, Input, MemberEvent},
    failure,
    inference::{Call, Event},
    sse,
    types::{Failure, FailureKind, Progress, ResponseEnd, ResponseHead},
};

use crate::{
    endpoint::Endpoint,
    grpc,
    options::{Transport, WorkerOptions},
    rest,
};
use events::Wanted;
use stream::Stream;

pub use probe::{judge, requests as probe};
pub use request::key;

const OK: u32 = 0;
const NOT_FOUND: u32 = 5;
const UNAVAILABLE: u32 = 14;
/// Longest event of a stream.
const EVENT: usize = 4 << 20;
/// Bytes of a stream read at once.
const WINDOW: u64 = 64 * 1024;

/// One upstream request.
pub struct Attempt {
    /// What is wrong with the worker's configuration, if anything is.
    worker: Result<WorkerOptions, String>,
    members: Vec<Call>,
    /// Their callers have gone.
    left: Vec<bool>,
    /// What was asked; none: a fact of the worker's own.
    endpoint: Option<Endpoint>,
    status: u16,
    /// Events of a REST stream.
    reader: Option<sse::Reader>,
    position: u64,
    reading: Reading,
}

/// What the response is.
#[derive(Debug)]
enum Reading {
    /// One message or body that has not come.
    Whole,
    /// Pieces of a stream.
    Stream(Box<Stream>),
    /// The answer has come and was told.
    Told,
    /// All members have ended.
    Over,
}

impl Attempt {
    /// An attempt for these calls; several must have equal keys.
    pub fn new(worker: Result<WorkerOptions, String>, members: Vec<Call>) -> Self {
        let streaming = members.first().filter(|call| call.streaming);
        let reading = match streaming.and_then(Wanted::of) {
            Some(wanted) => Reading::Stream(Box::new(Stream::new(wanted))),
            None => Reading::Whole,
        };
        Self {
            worker,
            left: vec![false; members.len()],
            members,
            endpoint: None,
            status: 0,
            reader: None,
            position: 0,
            reading,
        }
    }

    fn transport(&self) -> Transport {
        self.worker
            .as_ref()
            .map_or(Transport::Grpc, |worker| worker.transport)
    }

    fn input(&mut self, bytes: &dyn Bytes, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Start => self.start(bytes, out),
            Input::Head(head) => self.head(&head),
            Input::Bytes(progress) => self.bytes(bytes, progress, out),
            Input::Message(progress) => self.message(bytes, progress, out),
            Input::End(end) => self.ended(end, out),
            Input::Cut(cut) => self.fail(&failure::from_cut(&cut), out),
            Input::Left(member) => {
                if let Some(left) = self.left.get_mut(member as usize) {
                    *left = true;
                }
            }
            Input::Other(_) => {}
        }
    }

    fn start(&mut self, bytes: &dyn Bytes, out: &mut Vec<Action>) {
        let built = match &self.worker {
            Ok(worker) => request::build(bytes, &self.members, worker),
            Err(problem) => Err(failure::of(FailureKind::Internal, problem.clone())),
        };
        match built {
            Ok((request, endpoint)) => {
                self.endpoint = endpoint;
                out.push(Action::Request(request));
            }
            Err(failure) => self.fail(&failure, out),
        }
    }

    fn head(&mut self, head: &ResponseHead) {
        self.status = head.status;
        let content_type = actions::header_value(&head.headers, "content-type").unwrap_or("");
        let events = head.status == 200 && content_type.trim().starts_with("text/event-stream");
        if events && matches!(self.reading, Reading::Stream(_)) {
            self.reader = Some(sse::Reader::new(EVENT));
        }
    }

    fn bytes(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        match self.reader.take() {
            Some(reader) => self.stream_bytes(bytes, progress, reader, out),
            None if progress.end => {
                let body = bytes.read_all(progress.source, 0, progress.available);
                self.whole(&body, out);
            }
            None => out.push(Action::Need(actions::whole(progress.source))),
        }
    }

    fn stream_bytes(
        &mut self,
        bytes: &dyn Bytes,
        progress: Progress,
        mut reader: sse::Reader,
        out: &mut Vec<Action>,
    ) {
        while self.position < progress.available {
            let len = (progress.available - self.position).min(WINDOW);
            let piece = bytes.read_all(progress.source, self.position, len);
            self.position += piece.len() as u64;
            let outcome = match reader.push(&piece) {
                Ok(events) => events.iter().try_for_each(|event| self.event(event, out)),
                Err(sse::TooLong) => Err(failure::upstream_invalid(
                    "the worker sent an event that is too long",
                )),
            };
            if let Err(failure) = outcome {
                out.push(Action::EndUpstream);
                return self.fail(&failure, out);
            }
        }
        self.reader = Some(reader);
    }

    fn event(&mut self, event: &sse::Event, out: &mut Vec<Action>) -> Result<(), Failure> {
        if let Some(failure) = refusal::of_event(&event.data) {
            return Err(failure);
        }
        let Reading::Stream(stream) = &mut self.reading else {
            return Ok(());
        };
        let events = stream.take(rest::result::read_piece(&event.data)?);
        self.tell(of_first(events), out);
        Ok(())
    }

    /// A REST body that is no stream.
    fn whole(&mut self, body: &[u8], out: &mut Vec<Action>) {
        if self.status != 200 {
            if self.status == 404 && self.asks_readiness() {
                return self.ready(false, out);
            }
            return self.fail(&refusal::of_http(self.status, body), out);
        }
        match self.answer(body) {
            Ok(events) => {
                self.tell(events, out);
                self.reading = Reading::Told;
            }
            Err(failure) => self.fail(&failure, out),
        }
    }

    fn message(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        if !progress.end {
            out.push(Action::Need(actions::whole(progress.source)));
            return;
        }
        let message = bytes.read_all(progress.source, 0, progress.available);
        let events = match &mut self.reading {
            Reading::Stream(stream) => {
                grpc::result::read_piece(&message).map(|piece| of_first(stream.take(piece)))
            }
            Reading::Whole => {
                self.reading = Reading::Told;
                self.answer(&message)
            }
            Reading::Told | Reading::Over => Err(failure::upstream_invalid(
                "the worker gave more than one answer",
            )),
        };
        match events {
            Ok(events) => self.tell(events, out),
            Err(failure) => {
                out.push(Action::EndUpstream);
                self.fail(&failure, out);
            }
        }
    }

    /// Events of a whole answer.
    fn answer(&self, body: &[u8]) -> Result<Vec<MemberEvent>, Failure> {
        let transport = self.transport();
        let Some(endpoint) = self.endpoint else {
            let call = self.members.first();
            let call = call.ok_or_else(|| failure::upstream_invalid("an answer to nothing"))?;
            return Ok(of_first(vec![facts::event(call, transport, body)?]));
        };
        let answer = match transport {
            Transport::Grpc => grpc::result::read(body, endpoint)?,
            Transport::Rest => rest::result::read(body, endpoint)?,
        };
        events::of(answer, &self.members)
    }

    fn ended(&mut self, end: ResponseEnd, out: &mut Vec<Action>) {
        let message = end.message.unwrap_or_default();
        let rest = self.transport() == Transport::Rest;
        let failure = match (end.code, &self.reading) {
            (_, Reading::Over) => return,
            (Some(OK), Reading::Told) => return self.end(out),
            (None, Reading::Told) if rest => return self.end(out),
            (Some(OK), Reading::Stream(stream)) if stream.is_finished() => return self.end(out),
            (None, Reading::Stream(stream)) if rest && stream.is_finished() => {
                return self.end(out);
            }
            (Some(OK), Reading::Stream(_)) => ended_early(),
            (None, Reading::Stream(_)) if rest && self.status == 200 => ended_early(),
            (Some(OK), Reading::Whole) => {
                failure::upstream_invalid("the worker gave no answer and no error")
            }
            (Some(UNAVAILABLE | NOT_FOUND), Reading::Whole) if self.asks_readiness() => {
                return self.ready(false, out);
            }
            (Some(code), _) => refusal::of_grpc(code, message),
            // A body without a byte.
            (None, _) if rest => return self.whole(b"", out),
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
        use tollgate_sdk_protocol::inference::Task;
        let task = self.members.first().map(|call| &call.task);
        matches!(task, Some(Task::ModelReady | Task::ServerReady))
    }

    fn ready(&mut self, ready: bool, out: &mut Vec<Action>) {
        self.tell(of_first(vec![Event::Ready(ready)]), out);
        self.end(out);
    }

    fn tell(&self, mut events: Vec<MemberEvent>, out: &mut Vec<Action>) {
        let gone = |event: &MemberEvent| self.left.get(event.member as usize) == Some(&true);
        events.retain(|event| !gone(event));
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

fn ended_early() -> Failure {
    failure::upstream_unavailable("the worker's stream ended without a reason to stop")
}

fn of_first(events: Vec<Event>) -> Vec<MemberEvent> {
    let of_first = |event| MemberEvent { member: 0, event };
    events.into_iter().map(of_first).collect()
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
