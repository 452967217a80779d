//! Calls of several callers in one request: each is a row of the batch, and its answer the same row
//! of every output.
//!
//! Only where the worker's options say that its models take a batch in their first dimension
//! (`merge`): nothing that the protocol tells of a model does. What fails, fails for all of them.

use tollgate_sdk_protocol::{
    Backend, Bytes, actions,
    backend::{Action, Input, MemberEvent, Request},
    failure,
    inference::{Call, Event, Infer, Task},
    types::{Failure, Header, Need, Progress, ResponseEnd, SourceId, Want},
};

use super::{
    ERROR, Link, grpc,
    infer_grpc::{body_of, told},
    path_of, refused, rest, unreadable,
};
use crate::{
    codec::{Body, Kind, batch, grpc_read, grpc_write, rest_read},
    doors::HEAD_LENGTH,
    frontend::model_in_message,
};

/// Parameters of a request that make it a part of something: it goes alone.
const SEQUENCE: &str = "sequence_";

/// What is equal for calls that may be rows of one batch; none: this one goes alone.
pub fn key(link: &Link, call: &Call) -> Option<String> {
    let Task::Infer(content) = &call.task else {
        return None;
    };
    let raw = link.grpc || link.target.binary;
    if !link.target.merge || !raw || call.streaming || content.inputs.is_empty() {
        return None;
    }
    let mut parameters = content.parameters.iter();
    let alone = parameters.any(|parameter| parameter.name.starts_with(SEQUENCE));
    let rows = content.inputs.iter().all(batch::is_row);
    (rows && !alone).then(|| batch::likeness(&body_of(call, content)))
}

/// One upstream request for several calls.
pub struct Merged {
    link: Link,
    /// None: it has left.
    members: Vec<Option<Call>>,
    /// Content of each, as they were merged.
    bodies: Vec<Body>,
    ids: Vec<String>,
    /// Length of the JSON before raw tensors.
    head: Option<u64>,
    /// Status of an HTTP answer that is no good one, and where its text is.
    bad: Option<u16>,
    text: Option<SourceId>,
    told: bool,
    over: bool,
}

impl Merged {
    /// A request for calls that have one [`key`].
    pub fn new(link: Link, members: Vec<Call>) -> Self {
        let content = |call: &Call| match &call.task {
            Task::Infer(content) => content.clone(),
            _ => Infer {
                id: String::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                parameters: Vec::new(),
            },
        };
        let bodies = members.iter().map(|call| body_of(call, &content(call)));
        let bodies: Vec<Body> = bodies.collect();
        Self {
            link,
            ids: bodies.iter().map(|body| body.id.clone()).collect(),
            bodies,
            members: members.into_iter().map(Some).collect(),
            head: None,
            bad: None,
            text: None,
            told: false,
            over: false,
        }
    }

    fn request(&self, bytes: &dyn Bytes) -> Result<Request, Failure> {
        let invalid = |what: String| failure::invalid(what, None);
        let Some(call) = self.members.iter().flatten().next() else {
            return Err(failure::upstream_invalid("no call is left"));
        };
        let tensors = self.bodies[0].tensors.len();
        if tensors == 0 || self.bodies.iter().any(|body| body.tensors.len() != tensors) {
            return Err(invalid("these calls are not rows of one batch".to_owned()));
        }
        if self.link.grpc {
            let style = grpc_write::Style {
                wide: self.link.target.wide_parameters,
                typed: false,
            };
            let mut bodies = self.bodies.clone();
            let served = &bodies[0].model;
            bodies[0].model = model_in_message(&self.link.target, served).to_owned();
            let written = batch::grpc(bytes, &bodies, style).map_err(invalid)?;
            return Ok(grpc(
                &self.link,
                "ModelInfer",
                &call.model,
                written.segments,
            ));
        }
        let written = batch::rest(bytes, &self.bodies).map_err(invalid)?;
        let path = path_of(call, "/infer");
        let mut request = rest(&self.link, "POST", &path, &call.model, written.segments);
        let head = written.head.unwrap_or_default();
        request.headers.extend([
            actions::header("content-type", "application/octet-stream"),
            actions::header(HEAD_LENGTH, head.to_string()),
        ]);
        Ok(request)
    }

    fn input(
        &mut self,
        bytes: &dyn Bytes,
        input: Input,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        match input {
            Input::Start => out.push(Action::Request(self.request(bytes)?)),
            Input::Head(head) if self.link.grpc || head.status == 200 => {
                self.head = head_length(&head.headers)?;
            }
            Input::Head(head) => self.bad = Some(head.status),
            Input::Bytes(progress) | Input::Message(progress) => {
                self.text = Some(progress.source);
                if progress.end && self.bad.is_none() {
                    self.answer(bytes, &progress, out)?;
                } else {
                    out.push(Action::Need(Need {
                        source: progress.source,
                        keep_from: 0,
                        until: Want::All,
                    }));
                }
            }
            Input::End(end) => {
                self.end(bytes, &end)?;
                self.tell(out, |_| Event::End);
                self.over = true;
            }
            Input::Cut(cut) => return Err(failure::from_cut(&cut)),
            Input::Left(member) => {
                if let Some(member) = self.members.get_mut(member as usize) {
                    *member = None;
                }
                self.over = self.members.iter().all(Option::is_none);
            }
            Input::Other(_) => {}
        }
        Ok(())
    }

    /// A whole answer, taken apart.
    fn answer(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        if self.told {
            return Err(unreadable("it is more than one message"));
        }
        let body = if self.link.grpc {
            let message = grpc_read::read(bytes, progress, Kind::Response);
            let message = message.map_err(|stop| unreadable(format!("{stop:?}")))?;
            message.body
        } else {
            let place = rest_read::Place {
                source: progress.source,
                head: self.head.unwrap_or(progress.available),
                total: Some(progress.available),
                binary: self.head.is_some(),
                base64: self.link.target.base64_bytes,
            };
            if progress.available < place.head {
                return Err(unreadable("it ends within its JSON"));
            }
            rest_read::read(bytes, place, Kind::Response)
                .map_err(|problem| super::unread(bytes, place, &problem))?
        };
        let rows = self.members.len();
        let mut bodies = vec![
            Body {
                tensors: Vec::with_capacity(body.tensors.len()),
                ..body.clone()
            };
            rows
        ];
        for tensor in &body.tensors {
            let parts = batch::split(bytes, tensor, rows).map_err(unreadable)?;
            for (body, part) in bodies.iter_mut().zip(parts) {
                body.tensors.push(part);
            }
        }
        for (body, id) in bodies.iter_mut().zip(&self.ids) {
            body.id.clone_from(id);
        }
        self.told = true;
        self.tell(out, |member| {
            told(std::mem::take(&mut bodies[member]), true)
        });
        Ok(())
    }

    fn end(&self, bytes: &dyn Bytes, end: &ResponseEnd) -> Result<(), Failure> {
        if let Some(status) = self.bad {
            let text = self.text.map(|text| bytes.read_all(text, 0, ERROR));
            return Err(refused(status, &text.unwrap_or_default()));
        }
        match end.code {
            Some(0) => {}
            None if !self.link.grpc => {}
            Some(code) => {
                let message = end.message.clone().unwrap_or_default();
                return Err(failure::from_grpc(code, message));
            }
            None => return Err(unreadable("it ended without a status")),
        }
        match self.told {
            true => Ok(()),
            false => Err(unreadable("it is not complete")),
        }
    }

    /// Tells each member that is still there something.
    fn tell(&self, out: &mut Vec<Action>, mut event: impl FnMut(usize) -> Event) {
        let members = self.members.iter().enumerate();
        let events: Vec<MemberEvent> = members
            .filter(|(_, member)| member.is_some())
            .map(|(at, _)| MemberEvent {
                member: at as u32,
                event: event(at),
            })
            .collect();
        out.push(Action::Events(events));
    }
}

fn head_length(headers: &[Header]) -> Result<Option<u64>, Failure> {
    actions::header_value(headers, HEAD_LENGTH)
        .map(|text| text.trim().parse())
        .transpose()
        .map_err(|_| unreadable("Inference-Header-Content-Length is no number"))
}

impl Backend for Merged {
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
        let mut out = Vec::new();
        for input in inputs {
            if self.over {
                break;
            }
            if let Err(failure) = self.input(bytes, input, &mut out) {
                self.over = true;
                self.tell(&mut out, |_| Event::Failed(failure.clone()));
            }
        }
        if self.over {
            out.push(Action::Finish);
        }
        out
    }
}
