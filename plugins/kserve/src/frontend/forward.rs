//! What is only ever passed on: there are no neutral words for it. A worker of the same
//! dialect answers it, or nobody.

use tollgate_sdk_protocol::{
    Bytes, failure,
    fields::Reader,
    frontend::{Action, Edit, Intent, PassTo, Passed, RequestHead, ResponseMode},
    inference::{Call, Event, TaskKind},
    one_call::{self, CALL, Read},
    text::quoted,
    types::{Failure, FailureKind, Progress, Segment, Want},
};

use super::{intent, invalid, parameter, path};
use crate::{doors::Door, proto};

/// A request that is passed on.
pub struct Forward {
    door: Door,
    task: &'static str,
    head: RequestHead,
    /// The model is named by the body's JSON.
    in_body: bool,
    model: String,
    /// Where the model's name stands in the body or message: offset, length.
    at: Option<(u64, u64)>,
}

impl Forward {
    pub fn new(door: Door, task: &'static str, head: RequestHead, in_body: bool) -> Self {
        Self {
            model: parameter(&head, "model"),
            door,
            task,
            head,
            in_body,
            at: None,
        }
    }

    /// Number of the field with the model's name.
    fn field(&self) -> u32 {
        match self.door {
            // The repository's own name comes first.
            Door::Grpc("RepositoryModelLoad" | "RepositoryModelUnload", _) => 2,
            _ => 1,
        }
    }

    fn read_message(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<(), Failure> {
        let bad = |_| invalid("the message is not valid protocol buffers");
        let (mut reader, mut at) = (Reader::new(bytes, progress), 0);
        while at < progress.available {
            let field = reader.field(at, progress.available).map_err(bad)?;
            at = field.end;
            if field.number == self.field() {
                if self.at.is_some() {
                    return Err(invalid("the model is named twice"));
                }
                self.at = Some((field.start, field.end - field.start));
                self.model = reader.text(&field).map_err(bad)?;
            }
        }
        self.at = self.at.or(Some((0, 0)));
        Ok(())
    }

    fn read_json(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<(), Failure> {
        let keys = ["model".to_owned()];
        let found = bytes
            .json_members(0, 0, progress.available, &keys)
            .map_err(|problem| invalid(format!("failed to parse the JSON: {}", problem.message)))?;
        match found.as_slice() {
            [] => {}
            [member] => {
                let raw = bytes.read_all(0, member.offset, member.len);
                self.model = serde_json::from_slice(&raw)
                    .map_err(|_| invalid("`model` must be a string"))?;
                self.at = Some((member.offset, member.len));
            }
            _ => return Err(invalid("`model` stands twice")),
        }
        Ok(())
    }
}

impl one_call::Ask for Forward {
    fn read(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<Read, Failure> {
        if !progress.end {
            return Ok(Read::Need(tollgate_sdk_protocol::types::Need {
                source: 0,
                keep_from: 0,
                until: Want::All,
            }));
        }
        if let Door::Grpc(..) = self.door {
            self.read_message(bytes, progress)?;
        } else if self.in_body {
            self.read_json(bytes, progress)?;
        }
        Ok(Read::Call(Intent {
            // It may change something.
            repeatable: self.head.method == "GET",
            ..intent(CALL, TaskKind::Other(self.task.to_owned()), &self.model)
        }))
    }

    fn pass(&mut self, to: &PassTo) -> Result<Option<Passed>, Failure> {
        let renamed = self.model != to.model;
        let (mut edits, mut path) = (Vec::new(), None);
        match (self.door, self.at) {
            (Door::Grpc(..), Some((offset, len))) if renamed => edits.push(Edit {
                offset,
                len,
                replacement: vec![Segment::Inline(proto::text(self.field(), &to.model))],
            }),
            (Door::Rest(..), Some((offset, len))) if renamed => edits.push(Edit {
                offset,
                len,
                replacement: vec![Segment::Inline(quoted(&to.model))],
            }),
            (Door::Rest(_, pattern, _), None) if renamed => {
                path = Some(path::with_model(pattern, &self.head.path, &to.model));
            }
            _ => {}
        }
        Ok(Some(Passed {
            id: CALL,
            path,
            query: None,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            edits,
            response: ResponseMode::Blind,
        }))
    }

    fn call(&mut self, _: String) -> Result<Call, Failure> {
        let what = "no worker of this model answers this request; it is never translated";
        Err(failure::of(FailureKind::Unsupported, what))
    }

    fn event(&mut self, _: &dyn Bytes, _: Event, _: &mut Vec<Action>) -> Result<(), Failure> {
        Ok(())
    }
}

/// What is not served here: a method that the path does not take, where the server's status for it
/// is its own, or a path that it has not.
pub struct Nothing(pub FailureKind);

impl Nothing {
    fn failure(&self) -> Failure {
        let what = match self.0 {
            FailureKind::MethodNotAllowed => "Method Not Allowed",
            _ => "Not Found",
        };
        failure::of(self.0.clone(), what)
    }
}

impl one_call::Ask for Nothing {
    fn read(&mut self, _: &dyn Bytes, _: &Progress) -> Result<Read, Failure> {
        Err(self.failure())
    }

    fn call(&mut self, _: String) -> Result<Call, Failure> {
        Err(self.failure())
    }

    fn event(&mut self, _: &dyn Bytes, _: Event, _: &mut Vec<Action>) -> Result<(), Failure> {
        Ok(())
    }
}
