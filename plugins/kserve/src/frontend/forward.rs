//! What is only ever passed on: there are no neutral words for it. A worker of the same
//! dialect answers it, or nobody.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::IgnoredAny;
use tollgate_sdk_protocol::{
    Bytes, failure,
    fields::Reader,
    front::Front,
    frontend::{Action, Edit, Intent, PassTo, Passed, RequestHead, ResponseMode},
    inference::{Call, Event, TaskKind},
    one_call::{self, CALL, Read},
    text::quoted,
    types::{Failure, FailureKind, Progress, Segment, Want},
};

use super::{Form, intent, invalid, known_version, no_version, parameter, path, target};
use crate::{
    codec::{grpc_read, json_scan::Scan},
    doors::{Door, Endpoint, INFER_STREAM},
    options::{Options, Server, SharedMemory},
    proto,
};

/// Most inputs, or outputs, that are looked at.
const TENSORS: usize = 1024;

/// A request that is passed on.
pub struct Forward {
    options: Arc<Options>,
    door: Door,
    task: &'static str,
    head: RequestHead,
    model: String,
    /// Where the model's name stands in the body or message: offset, length.
    at: Option<(u64, u64)>,
    /// Where it is written into a body that names none and has a place for it.
    unnamed: Option<Front>,
    /// Length of the message.
    len: u64,
    /// The message has fields beside the model's.
    more: bool,
}

/// Number of the field with the model's name in a message to this server's repository. KServe's
/// Python server has no repositories in the plural, and so no name of one before it (kserve,
/// protocol/grpc/grpc_predict_v2.proto).
fn repository_field(server: Server) -> u32 {
    match server {
        Server::KservePython => 1,
        _ => 2,
    }
}

impl Forward {
    pub fn new(options: Arc<Options>, door: Door, task: &'static str, head: RequestHead) -> Self {
        Self {
            options,
            model: parameter(&head, "model"),
            door,
            task,
            head,
            at: None,
            unnamed: None,
            len: 0,
            more: false,
        }
    }

    fn is_repository(&self) -> bool {
        matches!(
            self.door,
            Door::Grpc("RepositoryModelLoad" | "RepositoryModelUnload", _)
        )
    }

    /// Number of the field with the model's name, in a message to this server.
    fn field(&self, server: Server) -> u32 {
        if self.is_repository() {
            repository_field(server)
        } else {
            1
        }
    }

    fn read_message(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<(), Failure> {
        let bad = |_| invalid("the message is not valid protocol buffers");
        let (mut reader, mut at) = (Reader::new(bytes, progress), 0);
        let named = self.field(self.options.server);
        self.len = progress.available;
        while at < progress.available {
            let field = reader.field(at, progress.available).map_err(bad)?;
            at = field.end;
            if field.number == named {
                if self.at.is_some() {
                    return Err(invalid("the model is named twice"));
                }
                self.at = Some((field.start, field.end - field.start));
                self.model = reader.text(&field).map_err(bad)?;
            } else if self.is_repository() {
                self.more = true;
            } else if field.number == 2 {
                // Of all that is asked of a model.
                known_version(&reader.text(&field).map_err(bad)?)?;
            }
        }
        // One server's name of a model is another's name of a repository.
        if self.is_repository() && self.model.is_empty() {
            let what = format!("the message names no model: that is its field {named}");
            return Err(invalid(what));
        }
        if self.is_repository() && named == 1 && self.more {
            return Err(invalid("the message has fields that this server has not"));
        }
        self.at = self.at.or(Some((0, 0)));
        Ok(())
    }

    /// The edit of a message that names the model to a worker.
    fn message_edit(&self, to: &PassTo, at: (u64, u64)) -> Result<Option<Edit>, Failure> {
        let worker = target(&self.options, to)?.server;
        let (own, theirs) = (self.field(self.options.server), self.field(worker));
        let (offset, len) = match (own == theirs, self.more) {
            (true, _) if self.model == to.model => return Ok(None),
            (true, _) => at,
            (false, false) => (0, self.len),
            (false, true) => {
                let what = "the worker has no repositories and no parameters of loading";
                return Err(failure::of(FailureKind::Unsupported, what));
            }
        };
        Ok(Some(Edit {
            offset,
            len,
            replacement: vec![Segment::Inline(proto::text(theirs, &to.model))],
        }))
    }

    /// Refuses tensors that name memory of the server's own machine.
    fn refuse_shared(bytes: &dyn Bytes, progress: &Progress) -> Result<(), Failure> {
        let keys = ["inputs".to_owned(), "outputs".to_owned()];
        let lists = bytes
            .json_members(0, 0, progress.available, &keys)
            .map_err(|problem| invalid(format!("failed to parse the JSON: {}", problem.message)))?;
        let mut scan = Scan::new(bytes, 0, progress.available);
        for list in lists {
            let range = list.offset..list.offset + list.len;
            let name = &keys[list.key as usize];
            let found = scan
                .objects(range, &["parameters"], TENSORS)
                .map_err(|what| invalid(format!("`{name}` {what}")))?;
            for range in found.into_iter().flatten().flatten() {
                let raw = scan.copy(&range);
                let names: Option<BTreeMap<String, IgnoredAny>> = serde_json::from_slice(&raw)
                    .map_err(|_| invalid("`parameters` must be an object"))?;
                let mut names = names.iter().flat_map(BTreeMap::keys);
                if names.any(|name| name.starts_with(grpc_read::SHARED)) {
                    return Err(failure::invalid(
                        format!(
                            "`{name}` names shared memory, which is of no use across a network"
                        ),
                        Some("shared_memory_region"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn read_json(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<(), Failure> {
        let keys = ["model".to_owned()];
        let found = bytes
            .json_members(0, 0, progress.available, &keys)
            .map_err(|problem| invalid(format!("failed to parse the JSON: {}", problem.message)))?;
        match found.as_slice() {
            // What goes on names the model that was authorized, and leaves no worker a choice.
            [] => self.unnamed = Some(Front::of(bytes, progress.available)),
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
        } else if let Endpoint::OpenAi(_) = self.door.endpoint() {
            self.read_json(bytes, progress)?;
        } else if self.door.endpoint() == Endpoint::Forward(INFER_STREAM)
            && self.options.shared_memory == SharedMemory::Refuse
        {
            Self::refuse_shared(bytes, progress)?;
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
            (Door::Grpc(..), Some(at)) => edits.extend(self.message_edit(to, at)?),
            (Door::Rest(..), Some((offset, len))) if renamed => edits.push(Edit {
                offset,
                len,
                replacement: vec![Segment::Inline(quoted(&to.model))],
            }),
            (Door::Rest(_, pattern, _), None) if renamed => match &self.unnamed {
                Some(front) => {
                    edits.push(front.write(&[[&b"\"model\":"[..], &quoted(&to.model)].concat()]));
                }
                None => path = Some(path::with_model(pattern, &self.head.path, &to.model)),
            },
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

/// A version that no model can have.
pub struct NoVersion {
    pub options: Arc<Options>,
    pub failure: Failure,
}

impl one_call::Ask for NoVersion {
    fn read(&mut self, _: &dyn Bytes, _: &Progress) -> Result<Read, Failure> {
        Err(self.failure.clone())
    }

    fn call(&mut self, _: String) -> Result<Call, Failure> {
        Err(self.failure.clone())
    }

    fn event(&mut self, _: &dyn Bytes, _: Event, _: &mut Vec<Action>) -> Result<(), Failure> {
        Ok(())
    }

    fn refused(&self, failure: Failure, _: bool) -> Vec<Action> {
        no_version(&self.options, Form::Rest, failure)
    }
}
