//! Tensors over gRPC: `ModelInfer`, or `ModelStreamInfer` for one request where the caller
//! wants a stream and the worker has one. Raw contents are spans in both directions.

use tollgate_sdk_protocol::{
    Bytes,
    backend::Request,
    failure,
    fields::{Field, Reader, length},
    inference::{Call, Event, Infer as Content, Task, Tensors},
    types::{Failure, Need, Progress},
};

use super::{Job, Link, grpc, stopped, unreadable};
use crate::{
    codec::{Body, Kind, Stop, grpc_read, grpc_write},
    frontend::model_in_message,
    options::Streams,
};

/// The job of tensors.
pub struct Infer {
    link: Link,
    call: Call,
    /// Answers that were told.
    told: usize,
    /// The source of the last one.
    last: Option<u32>,
}

impl Infer {
    pub fn new(link: Link, call: Call) -> Self {
        Self {
            link,
            call,
            told: 0,
            last: None,
        }
    }

    fn streams(&self) -> Streams {
        if self.call.streaming {
            self.link.target.streams
        } else {
            Streams::None
        }
    }
}

/// A message of a stream: a response, or the failure that it tells.
///
/// # Errors
/// As [`grpc_read::read`].
pub fn message_of_stream(
    bytes: &dyn Bytes,
    progress: &Progress,
    streams: Streams,
) -> Result<Result<grpc_read::Message, Failure>, Stop> {
    if streams != Streams::Wrapped {
        return grpc_read::read(bytes, progress, Kind::Response).map(Ok);
    }
    let len = length(progress)?;
    let (mut reader, mut at) = (Reader::new(bytes, progress), 0);
    let mut inner: Option<Field> = None;
    while at < len {
        let field = reader.field(at, len)?;
        at = field.end;
        match field.number {
            1 => {
                let message = reader.text(&field)?;
                if !message.is_empty() {
                    return Ok(Err(failed(message)));
                }
            }
            2 => inner = Some(field),
            _ => {}
        }
    }
    let range = inner.map_or((len, len), |field| (field.value, field.end));
    grpc_read::read_within(&mut reader, range, Kind::Response).map(Ok)
}

/// An error of a stream has a text and no code.
fn failed(message: String) -> Failure {
    use tollgate_sdk_protocol::types::FailureKind;
    let lower = message.to_ascii_lowercase();
    let kind = if lower.contains("unknown model") || lower.contains("not found") {
        FailureKind::NotFound
    } else if lower.contains("unavailable") {
        FailureKind::Overloaded
    } else {
        FailureKind::InvalidArgument
    };
    failure::of(kind, message)
}

/// A call as the body of a request.
pub fn body_of(call: &Call, content: &Content) -> Body {
    Body {
        model: call.model.clone(),
        version: call.version.clone().unwrap_or_default(),
        id: content.id.clone(),
        parameters: content.parameters.clone(),
        tensors: content.inputs.clone(),
        outputs: content.outputs.clone(),
    }
}

/// A response as an event.
pub fn told(body: Body, last: bool) -> Event {
    Event::Tensors(Tensors {
        model: body.model,
        version: (!body.version.is_empty()).then_some(body.version),
        id: body.id,
        outputs: body.tensors,
        parameters: body.parameters,
        last,
    })
}

impl Job for Infer {
    fn request(&mut self, bytes: &dyn Bytes) -> Result<Request, Failure> {
        let Task::Infer(content) = &self.call.task else {
            return Err(super::unsupported("no tensors"));
        };
        let mut body = body_of(&self.call, content);
        body.model = model_in_message(&self.link.target, &body.model).to_owned();
        let style = grpc_write::Style {
            wide: self.link.target.wide_parameters,
            typed: false,
        };
        let written = grpc_write::write(bytes, Kind::Request, &body, style)
            .map_err(|what| failure::invalid(what, None))?;
        let method = match self.streams() {
            Streams::None => "ModelInfer",
            Streams::Wrapped | Streams::Bare => "ModelStreamInfer",
        };
        Ok(grpc(&self.link, method, &self.call.model, written.segments))
    }

    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure> {
        if self.last == Some(progress.source) {
            // The rest is spans, which the host streams without us.
            return Ok(None);
        }
        if self.told > 0 && self.streams() == Streams::None {
            return Err(unreadable("it is more than one message"));
        }
        let message = match message_of_stream(bytes, progress, self.streams()) {
            Ok(message) => message?,
            Err(stop) => return stopped(stop, progress),
        };
        self.last = Some(progress.source);
        self.told += 1;
        said.push(told(message.body, self.streams() == Streams::None));
        Ok(None)
    }

    fn complete(&mut self, _: &mut Vec<Event>) -> Result<bool, Failure> {
        // A stream may be empty.
        Ok(self.told > 0 || self.streams() != Streams::None)
    }
}
