//! A passed response on its way back. Where the client calls the model by another name
//! than the worker, that name is put into the answer; everything else goes through as
//! spans.

use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    fields::Reader,
    frontend::{Action, Input, ResponseMode},
    sse,
    text::{quoted, span},
    types::{Failure, Need, Progress, ResponseHead, Segment, SourceId, Want},
};

use super::Form;
use crate::{doors::HEAD_LENGTH, proto};

/// The response to a passed request.
pub struct Passing {
    form: Form,
    /// Member of the JSON with the model's name. In messages it is field 1.
    member: &'static str,
    alias: Option<String>,
    head: Option<ResponseHead>,
    body: Option<SourceId>,
    sent: bool,
    /// What has gone out of the body.
    upto: u64,
    events: Option<Events>,
}

/// A stream of events on its way.
struct Events {
    reader: sse::Reader,
    read: u64,
    /// What has gone out of the source.
    sent: u64,
}

/// Longest event of a stream.
const EVENT: usize = 4 << 20;

impl Passing {
    /// `alias`: what the client calls the model, when the worker calls it otherwise.
    pub fn new(form: Form, member: &'static str, alias: Option<String>) -> Self {
        Self {
            form,
            member,
            alias,
            head: None,
            body: None,
            sent: false,
            upto: 0,
            events: None,
        }
    }

    pub fn mode(&self) -> ResponseMode {
        match self.alias {
            Some(_) => ResponseMode::Filter,
            None => ResponseMode::Blind,
        }
    }

    pub fn input(
        &mut self,
        bytes: &dyn Bytes,
        input: Input,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        match (input, self.form) {
            (Input::UpstreamHead(mut head), Form::Rest) => {
                let kind = actions::header_value(&head.headers, "content-type");
                if kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
                    head.headers.retain(|it| it.name != "content-length");
                    out.push(Action::Head(head));
                    self.sent = true;
                    self.events = Some(Events {
                        reader: sse::Reader::new(EVENT),
                        read: 0,
                        sent: 0,
                    });
                } else {
                    self.head = Some(head);
                }
            }
            (Input::UpstreamBytes(progress), Form::Rest) => {
                self.body = Some(progress.source);
                if let Some(events) = &mut self.events {
                    let alias = self.alias.as_deref().unwrap_or_default();
                    return events.more(bytes, &progress, self.member, alias, out);
                }
                let need = self.rest(bytes, &progress, out);
                out.extend(need.map(Action::Need));
            }
            (Input::UpstreamEnd(_), Form::Rest) => {
                if let (Some(events), Some(body)) = (&self.events, self.body) {
                    let rest = bytes.available(body).0 - events.sent;
                    if rest > 0 {
                        out.push(Action::Data(vec![span(body, events.sent, rest)]));
                    }
                } else if !self.sent {
                    // Nothing came, or it did not say that it was all.
                    let (source, available) = match self.body {
                        Some(body) => (body, bytes.available(body).0),
                        None => (0, 0),
                    };
                    self.send(bytes, source, available, available, out);
                }
                out.push(Action::Finish);
            }
            (Input::UpstreamMessage(message), Form::Grpc) => {
                let need = self.message(bytes, &message.progress, out)?;
                out.extend(need.map(Action::Need));
            }
            (Input::UpstreamEnd(end), Form::Grpc) => {
                out.push(Action::Trailers(end));
                out.push(Action::Finish);
            }
            _ => {}
        }
        Ok(())
    }

    /// The answer, once its JSON is there.
    fn rest(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        out: &mut Vec<Action>,
    ) -> Option<Need> {
        if self.sent {
            // Nothing is named before it is there: while what was named is written, no more
            // of the response is read.
            // What went out with the head was all that was there then, which may be more than this
            // word of it, said earlier, knows of.
            let fresh = progress.available.saturating_sub(self.upto);
            if fresh > 0 {
                out.push(Action::Data(vec![span(progress.source, self.upto, fresh)]));
                self.upto = progress.available;
            }
            return None;
        }
        let need = |until| {
            Some(Need {
                source: progress.source,
                keep_from: 0,
                until,
            })
        };
        let (Some(head), Some(total)) = (self.head_length(), progress.total) else {
            if !progress.end {
                return need(Want::All);
            }
            let len = progress.available;
            let head = self.head_length().unwrap_or(len).min(len);
            self.send(bytes, progress.source, head, len, out);
            return None;
        };
        if progress.available < head && !progress.end {
            return need(Want::AtLeast(head));
        }
        self.send(bytes, progress.source, head.min(total), total, out);
        None
    }

    fn head_length(&self) -> Option<u64> {
        let head = self.head.as_ref()?;
        actions::header_value(&head.headers, HEAD_LENGTH)?
            .parse()
            .ok()
    }

    /// Sends the head and `total` bytes, of which the first `json` are JSON.
    fn send(
        &mut self,
        bytes: &dyn Bytes,
        source: SourceId,
        json: u64,
        total: u64,
        out: &mut Vec<Action>,
    ) {
        self.sent = true;
        let here = match self.body {
            Some(body) => bytes.available(body).0.min(total),
            None => 0,
        };
        let mut head = self.head.take().unwrap_or(ResponseHead {
            status: 502,
            headers: Vec::new(),
        });
        // An error names no model where an answer would.
        let found = match (&self.alias, head.status) {
            (Some(alias), 200) if json > 0 => {
                let keys = [self.member.to_owned()];
                let members = bytes.json_members(source, 0, json, &keys);
                let member = members.ok().and_then(|found| found.first().copied());
                member.map(|member| (member, quoted(alias)))
            }
            _ => None,
        };
        let named_head = self.head_length_of(&head);
        head.headers.retain(|it| it.name != "content-length");
        let mut len = total;
        let mut segments = Vec::new();
        match found {
            Some((member, alias)) => {
                let grown = |len: u64| len - member.len + alias.len() as u64;
                len = grown(total);
                if let Some(json) = named_head {
                    head.headers.retain(|it| it.name != HEAD_LENGTH);
                    let json = grown(json).to_string();
                    head.headers.push(actions::header(HEAD_LENGTH, json));
                }
                let past = member.offset + member.len;
                segments.push(span(source, 0, member.offset));
                segments.push(Segment::Inline(alias));
                segments.push(span(source, past, here - past));
            }
            None => segments.push(span(source, 0, here)),
        }
        self.upto = here;
        segments.retain(|it| !matches!(it, Segment::Span(span) if span.len == 0));
        head.headers
            .push(actions::header("content-length", len.to_string()));
        out.push(Action::Head(head));
        if here > 0 {
            out.push(Action::Data(segments));
        }
    }

    fn head_length_of(&self, head: &ResponseHead) -> Option<u64> {
        actions::header_value(&head.headers, HEAD_LENGTH)?
            .parse()
            .ok()
    }

    /// A message, once the model's name in it is found.
    fn message(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        out: &mut Vec<Action>,
    ) -> Result<Option<Need>, Failure> {
        if self.sent {
            return Ok(None);
        }
        let source = progress.source;
        let need = |until| {
            Ok(Some(Need {
                source,
                keep_from: 0,
                until,
            }))
        };
        // One message is written in one go, and has to be there for that.
        if !progress.end {
            return need(Want::All);
        }
        let total = progress.available;
        let mut reader = Reader::new(bytes, progress);
        let mut at = 0;
        let mut place = (0, 0);
        while at < total {
            match reader.field(at, total) {
                // Fields come in their order, as a rule; an answer without a name has none.
                Ok(field) if field.number == 1 => {
                    place = (field.start, field.end);
                    break;
                }
                Ok(_) if at == 0 => break,
                Ok(field) => at = field.end,
                Err(_) => {
                    return Err(failure::upstream_invalid(
                        "the worker's answer is malformed",
                    ));
                }
            }
        }
        let alias = self.alias.as_deref().unwrap_or_default();
        let mut segments = vec![
            span(source, 0, place.0),
            Segment::Inline(proto::text(1, alias)),
            span(source, place.1, total - place.1),
        ];
        segments.retain(|it| !matches!(it, Segment::Span(span) if span.len == 0));
        self.sent = true;
        out.push(Action::Message(segments));
        Ok(None)
    }
}

impl Events {
    /// Sends the events that are complete, with the model's name replaced.
    fn more(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        member: &str,
        alias: &str,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        let source = progress.source;
        let more = bytes.read_all(source, self.read, progress.available - self.read);
        self.read = progress.available;
        let events = self
            .reader
            .push(&more)
            .map_err(|_| failure::upstream_invalid("an event of the worker's is too long"))?;
        let keys = [member.to_owned()];
        let mut segments = Vec::new();
        for event in events {
            let place = event.data_at.and_then(|at| {
                let found = bytes.json_members(source, at.start, at.end - at.start, &keys);
                found.ok()?.first().copied()
            });
            if let Some(place) = place {
                segments.push(span(source, self.sent, place.offset - self.sent));
                segments.push(Segment::Inline(quoted(alias)));
                self.sent = place.offset + place.len;
            }
            segments.push(span(source, self.sent, event.at.end - self.sent));
            self.sent = event.at.end;
        }
        segments.retain(|it| !matches!(it, Segment::Span(span) if span.len == 0));
        if !segments.is_empty() {
            out.push(Action::Data(segments));
        }
        if !progress.end {
            out.push(Action::Need(actions::keep(source, self.sent)));
        }
        Ok(())
    }
}
