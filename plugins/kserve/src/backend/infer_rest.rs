//! Tensors over HTTP: JSON, and raw tensors after it where the server has the extension.

use tollgate_sdk_protocol::{
    Bytes, actions,
    backend::Request,
    failure,
    inference::{Call, Event, Parameter, ParameterValue, Task},
    types::{Failure, Header, Need, Progress, Want},
};

use super::{
    Job, Link,
    infer_grpc::{body_of, told},
    path_of, rest, unreadable,
};
use crate::{
    codec::{Kind, rest_read, rest_write},
    doors::HEAD_LENGTH,
};

/// The job of tensors.
pub struct Infer {
    link: Link,
    call: Call,
    /// Length of the JSON before raw tensors.
    head: Option<u64>,
    told: bool,
}

impl Infer {
    pub fn new(link: Link, call: Call) -> Self {
        Self {
            link,
            call,
            head: None,
            told: false,
        }
    }
}

impl Job for Infer {
    fn request(&mut self, bytes: &dyn Bytes) -> Result<Request, Failure> {
        let Task::Infer(content) = &self.call.task else {
            return Err(super::unsupported("no tensors"));
        };
        let mut body = body_of(&self.call, content);
        // The path names both.
        body.model.clear();
        body.version.clear();
        let binary = self.link.target.binary;
        if binary {
            // Exact for every value, and nothing to convert.
            body.parameters.push(Parameter {
                name: "binary_data_output".to_owned(),
                value: ParameterValue::Boolean(true),
            });
        }
        let style = rest_write::Style {
            base64: self.link.target.base64_bytes,
            string_shapes: false,
        };
        let binary = vec![binary; body.tensors.len()];
        let written = rest_write::write(bytes, Kind::Request, &body, &binary, style)
            .map_err(|what| failure::invalid(what, None))?;
        let path = path_of(&self.call, "/infer");
        let mut request = rest(
            &self.link,
            "POST",
            &path,
            &self.call.model,
            written.segments,
        );
        match written.head {
            Some(head) => request.headers.extend([
                actions::header("content-type", "application/octet-stream"),
                actions::header(HEAD_LENGTH, head.to_string()),
            ]),
            None => request
                .headers
                .push(actions::header("content-type", "application/json")),
        }
        Ok(request)
    }

    fn head(&mut self, headers: &[Header]) -> Result<(), Failure> {
        self.head = actions::header_value(headers, HEAD_LENGTH)
            .map(|text| text.trim().parse())
            .transpose()
            .map_err(|_| unreadable("Inference-Header-Content-Length is no number"))?;
        Ok(())
    }

    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure> {
        if self.told {
            return Ok(None);
        }
        let need = |until| {
            Ok(Some(Need {
                source: progress.source,
                keep_from: 0,
                until,
            }))
        };
        let total = progress
            .total
            .or(progress.end.then_some(progress.available));
        match self.head {
            _ if progress.end => {}
            // Without a length nobody knows yet whether its tensors come whole, and nothing behind
            // them; and who names bytes that never come is taken for the one at fault.
            _ if total.is_none() => return need(Want::All),
            Some(head) if progress.available < head => return need(Want::AtLeast(head)),
            Some(_) => {}
            None => return need(Want::All),
        }
        let place = rest_read::Place {
            source: progress.source,
            head: self.head.unwrap_or(progress.available),
            total,
            binary: self.head.is_some(),
            base64: self.link.target.base64_bytes,
        };
        if progress.available < place.head {
            return Err(unreadable("it ends within its JSON"));
        }
        let body = rest_read::read(bytes, place, Kind::Response)
            .map_err(|problem| super::unread(bytes, place, &problem))?;
        self.told = true;
        said.push(told(body, true));
        // JSON that is still to be converted stays until that has been done.
        Ok(None)
    }

    fn complete(&mut self, _: &mut Vec<Event>) -> Result<bool, Failure> {
        Ok(self.told)
    }
}
