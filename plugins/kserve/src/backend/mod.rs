//! Speaks to workers. An attempt is one [`Job`]: tensors, a generation, vectors or metadata,
//! over HTTP or over gRPC; or tensors of several calls, [`Merged`].
//!
//! 1. The job makes the request.
//! 2. What comes back is shown to the job, which makes events of it. An answer other than
//!    good is gathered, as far as it is an error's text.
//! 3. The end ends the member: well if the job is complete, and in no other case.

mod elements;
mod embed;
mod generate;
mod infer_grpc;
mod infer_rest;
mod merged;
mod metadata;
mod probe;
mod tensors;
mod v1;

use serde_json::Value;
use tollgate_sdk_protocol::{
    Backend, Bytes,
    backend::{Action, Input, MemberEvent, Request, RestSurface, Surface},
    failure,
    inference::{Call, Event, Task},
    types::{Cut, Failure, FailureKind, Header, Need, Progress, ResponseEnd, Segment, SourceId},
};

use crate::{
    codec::{Stop, rest_read},
    frontend::{Form, model_header},
    options::Target,
    proto,
};

pub(crate) use merged::{Merged, key};
pub(crate) use probe::{judge, probe};

/// How much of an error's body is read.
const ERROR: u64 = 16 << 10;

/// How a worker is spoken to.
#[derive(Clone, Debug)]
pub struct Link {
    pub target: Target,
    pub grpc: bool,
    /// In the protocol's first version.
    pub v1: bool,
}

/// What one upstream request is for.
trait Job {
    /// Makes the request.
    fn request(&mut self, bytes: &dyn Bytes) -> Result<Request, Failure>;
    /// Headers of a good answer, before its bytes.
    fn head(&mut self, _headers: &[Header]) -> Result<(), Failure> {
        Ok(())
    }
    /// Reads more of the answer: of the body, or of the last message.
    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure>;
    /// Whether the answer was complete when it ended; it may still say something.
    fn complete(&mut self, said: &mut Vec<Event>) -> Result<bool, Failure>;
    /// The caller's own limit of time was reached. True: what has come is the answer.
    fn late(&mut self, _said: &mut Vec<Event>) -> bool {
        false
    }
}

/// One upstream request.
pub struct Attempt {
    link: Link,
    job: Result<Box<dyn Job>, Failure>,
    /// Status of an HTTP answer that is no good one.
    bad: Option<u16>,
    body: Option<SourceId>,
    over: bool,
}

impl Attempt {
    /// An attempt for its one member.
    pub fn new(link: Result<Link, String>, members: Vec<Call>) -> Self {
        let grpc = link.as_ref().is_ok_and(|link| link.grpc);
        let fallback = Link {
            target: Target::of(crate::options::Server::Triton),
            grpc,
            v1: false,
        };
        let job = match &link {
            Ok(link) => job(link, members),
            Err(problem) => Err(failure::of(FailureKind::Internal, problem.clone())),
        };
        Self {
            link: link.unwrap_or(fallback),
            job,
            bad: None,
            body: None,
            over: false,
        }
    }

    fn input(
        &mut self,
        bytes: &dyn Bytes,
        input: Input,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        let job = self.job.as_mut().map_err(|failure| failure.clone())?;
        let mut said = Vec::new();
        match input {
            Input::Start => out.push(Action::Request(job.request(bytes)?)),
            Input::Head(head) if self.link.grpc => job.head(&head.headers)?,
            Input::Head(head) if head.status == 200 => job.head(&head.headers)?,
            Input::Head(head) => self.bad = Some(head.status),
            Input::Bytes(progress) if self.bad.is_some() => {
                self.body = Some(progress.source);
                out.push(Action::Need(Need {
                    source: progress.source,
                    keep_from: 0,
                    until: tollgate_sdk_protocol::types::Want::All,
                }));
            }
            Input::Bytes(progress) | Input::Message(progress) => {
                let need = job.read(bytes, &progress, &mut said)?;
                out.extend(need.map(Action::Need));
            }
            Input::End(end) => {
                self.end(bytes, &end, &mut said)?;
                said.push(Event::End);
            }
            Input::Cut(Cut::Deadline) if job.late(&mut said) => said.push(Event::End),
            Input::Cut(cut) => return Err(failure::from_cut(&cut)),
            Input::Left(_) => self.over = true,
            Input::Other(_) => {}
        }
        self.over |= said.last() == Some(&Event::End);
        if !said.is_empty() {
            out.push(Action::Events(
                said.into_iter()
                    .map(|event| MemberEvent { member: 0, event })
                    .collect(),
            ));
        }
        if self.over {
            out.push(Action::Finish);
        }
        Ok(())
    }

    fn end(
        &mut self,
        bytes: &dyn Bytes,
        end: &ResponseEnd,
        said: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        if let Some(status) = self.bad {
            let text = self.body.map(|body| bytes.read_all(body, 0, ERROR));
            return Err(refused(status, &text.unwrap_or_default()));
        }
        match end.code {
            Some(0) => {}
            Some(code) => {
                let message = end.message.clone().unwrap_or_default();
                return Err(failure::from_grpc(code, message));
            }
            None if self.link.grpc => {
                return Err(failure::upstream_invalid(
                    "the worker ended without a status",
                ));
            }
            None => {}
        }
        let job = self.job.as_mut().map_err(|failure| failure.clone())?;
        if job.complete(said)? {
            Ok(())
        } else {
            Err(failure::upstream_invalid(
                "the worker's answer is not complete",
            ))
        }
    }
}

impl Backend for Attempt {
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
        let mut out = Vec::new();
        for input in inputs {
            if self.over {
                break;
            }
            if let Err(failure) = self.input(bytes, input, &mut out) {
                self.over = true;
                out.push(Action::Events(vec![MemberEvent {
                    member: 0,
                    event: Event::Failed(failure),
                }]));
                out.push(Action::Finish);
            }
        }
        out
    }
}

/// What an attempt for these calls is.
fn job(link: &Link, mut members: Vec<Call>) -> Result<Box<dyn Job>, Failure> {
    let (Some(call), true) = (members.pop(), members.is_empty()) else {
        return Err(unsupported("calls of this protocol are not merged"));
    };
    if let (Some(_), false) = (&call.version, link.target.versions) {
        return Err(unsupported("this server has no versions of models"));
    }
    let link = link.clone();
    if link.v1 {
        return v1::job(link, call);
    }
    match (&call.task, link.grpc) {
        (Task::Infer(_), false) => Ok(Box::new(infer_rest::Infer::new(link, call))),
        (Task::Infer(_), true) => Ok(Box::new(infer_grpc::Infer::new(link, call))),
        (Task::ModelMetadata | Task::ModelReady, _) => {
            Ok(Box::new(metadata::Metadata::new(link, call)))
        }
        (Task::Generate(_), _) => generate::job(link, call),
        (Task::Embed(_), _) => embed::job(link, call),
        _ => Err(unsupported("workers of this protocol have no such task")),
    }
}

/// An HTTP request to a model.
fn rest(link: &Link, method: &str, path: &str, model: &str, body: Vec<Segment>) -> Request {
    Request {
        surface: Surface::Rest(RestSurface {
            method: method.to_owned(),
            path: path.to_owned(),
        }),
        headers: model_header(&link.target, Form::Rest, model),
        body,
        end: true,
    }
}

/// A request to a method of the service.
fn grpc(link: &Link, method: &str, model: &str, message: Vec<Segment>) -> Request {
    Request {
        surface: Surface::Grpc(format!("{}/{method}", proto::SERVICE)),
        headers: model_header(&link.target, Form::Grpc, model),
        body: message,
        end: true,
    }
}

/// The path of a model; what is asked of it follows.
fn path_of(call: &Call, what: &str) -> String {
    let mut path = format!("/v2/models/{}", crate::frontend::segment_of(&call.model));
    if let Some(version) = &call.version {
        path.push_str("/versions/");
        path.push_str(&crate::frontend::segment_of(version));
    }
    path.push_str(what);
    path
}

/// What a worker means by an error's status and body.
fn refused(status: u16, body: &[u8]) -> Failure {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = ["error", "message", "detail"]
        .iter()
        .find_map(|name| told[*name].as_str());
    let text = text.map_or_else(
        || {
            let plain = String::from_utf8_lossy(body);
            let plain = plain.trim();
            if plain.is_empty() || told.is_object() {
                format!("the worker answered with status {status}")
            } else {
                plain.chars().take(500).collect()
            }
        },
        str::to_owned,
    );
    match status {
        // A good answer, but not one that was asked for.
        0..400 => failure::upstream_invalid(format!("the worker answered with status {status}")),
        // Triton says of an unknown model that the argument is invalid, OVMS of a bad JSON
        // that a precondition failed.
        400 if text.contains("unknown model") => failure::of(FailureKind::NotFound, text),
        412 => failure::invalid(text, None),
        406 => failure::of(FailureKind::MethodNotAllowed, text),
        _ => failure::from_http(status, text),
    }
}

fn unsupported(what: &str) -> Failure {
    failure::of(FailureKind::Unsupported, what)
}

/// The failure for an answer that cannot be read.
fn unreadable(problem: impl std::fmt::Display) -> Failure {
    failure::upstream_invalid(format!("the worker's answer cannot be read: {problem}"))
}

/// The failure for JSON of tensors that cannot be read: what a model says to its inputs is no fault
/// of its server's.
fn unread(bytes: &dyn Bytes, place: rest_read::Place, problem: &str) -> Failure {
    match rest_read::ends_at_no_number(bytes, place) {
        true => {
            let what = format!("the model's answer has a value that is no number: {problem}");
            failure::of(FailureKind::Unprocessable, what)
        }
        false => unreadable(problem),
    }
}

/// What a stopped reader needs, or what is wrong with the message.
fn stopped(stop: Stop, progress: &Progress) -> Result<Option<Need>, Failure> {
    match stop {
        Stop::More(to) if !progress.end => Ok(Some(Need {
            source: progress.source,
            keep_from: 0,
            until: tollgate_sdk_protocol::types::Want::AtLeast(to),
        })),
        Stop::More(_) => Err(unreadable("it ends within a field")),
        Stop::Bad(reason) => Err(unreadable(reason)),
    }
}

/// As much of an answer as may be of use, and a byte more, by which it is known to be too long.
fn up_to(progress: &Progress, limit: u64) -> Need {
    Need {
        source: progress.source,
        keep_from: 0,
        until: tollgate_sdk_protocol::types::Want::AtLeast(limit.saturating_add(1)),
    }
}

/// A small answer, once all of it is there.
fn gathered(
    bytes: &dyn Bytes,
    progress: &Progress,
    limit: u64,
) -> Result<Result<Vec<u8>, Need>, Failure> {
    if progress.available > limit {
        return Err(unreadable("it is too long for what was asked"));
    }
    if !progress.end {
        return Ok(Err(up_to(progress, limit)));
    }
    Ok(Ok(bytes.read_all(progress.source, 0, progress.available)))
}
