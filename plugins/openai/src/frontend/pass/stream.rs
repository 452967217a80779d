//! A stream of events on its way through: events that are complete go on as spans, with the model's
//! name replaced, and tell the tokens that they count.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    frontend::{Action, ResponseMode},
    sse,
    text::span,
    types::{Progress, Segment},
};

use super::{
    super::{CALL, prompts::place_in},
    Passing,
};
use crate::options::Options;

/// Bytes of a stream read at once.
const WINDOW: u64 = 64 * 1024;

impl Passing {
    /// More of a stream of events is there.
    pub(super) fn stream(
        &mut self,
        bytes: &dyn Bytes,
        progress: Progress,
        options: &Options,
        out: &mut Vec<Action>,
    ) {
        let source = progress.source;
        let mut segments = Vec::new();
        let mut usage = None;
        while self.position < progress.available && !self.complete {
            let len = (progress.available - self.position).min(WINDOW);
            let piece = bytes.read_all(source, self.position, len);
            self.position += piece.len() as u64;
            let Ok(events) = self.reader.push(&piece) else {
                if self.mode == ResponseMode::Filter {
                    push_data(out, segments);
                    let failed = failure::upstream_invalid("The worker sent too long an event.");
                    out.push(Action::Cancel(CALL));
                    self.fail(&failed, options, out);
                }
                self.complete = true;
                return;
            };
            for event in events {
                self.one_event(source, &event, &mut segments, &mut usage);
            }
        }
        if self.mode == ResponseMode::Filter {
            push_data(out, segments);
        }
        if let Some(usage) = usage {
            out.push(usage);
        }
        // What an output names is kept by it; only a begun event must stay.
        let keep_from = match self.mode {
            ResponseMode::Filter => self.reader.given_out().min(self.position),
            _ => self.position,
        };
        out.push(Action::Need(actions::keep(source, keep_from)));
    }

    fn one_event(
        &mut self,
        source: u32,
        event: &sse::Event,
        segments: &mut Vec<Segment>,
        usage: &mut Option<Action>,
    ) {
        if self.complete {
            return;
        }
        let through = (event.at.start, event.at.end);
        if event.data == b"[DONE]" {
            self.complete = true;
            return push_span(segments, source, through.0, through.1);
        }
        let mut chunk: Chunk = serde_json::from_slice(&event.data).unwrap_or_default();
        // Events of other APIs carry the answer so far as a member.
        if let Some(inner) = chunk.response.take().or(chunk.message.take()) {
            let inner: Inner = serde_json::from_str(inner.get()).unwrap_or_default();
            chunk.model = chunk.model.or(inner.model);
            chunk.usage = chunk.usage.or(inner.usage);
        }
        self.ended |= self.endpoint.is_relayed() && chunk.kind.is_some_and(is_last);
        if let Some(counted) = chunk
            .usage
            .and_then(|usage| self.count(usage.get().as_bytes()))
        {
            *usage = Some(counted);
        }
        let nothing_chosen = chunk
            .choices
            .is_some_and(|choices| is_empty_list(choices.get()));
        if self.drop_usage && nothing_chosen && chunk.usage.is_some() {
            return;
        }
        match (&self.alias, chunk.model, &event.data_at) {
            (Some(alias), Some(model), Some(at)) => {
                let from = at.start + place_in(&event.data, model.get());
                push_span(segments, source, through.0, from);
                segments.push(Segment::Inline(alias.clone()));
                push_span(segments, source, from + model.get().len() as u64, through.1);
            }
            // Data over several lines: written anew.
            (Some(alias), Some(model), None) => {
                let from = place_in(&event.data, model.get()) as usize;
                let mut data = event.data[..from].to_vec();
                data.extend_from_slice(alias);
                data.extend_from_slice(&event.data[from + model.get().len()..]);
                let mut written = Vec::new();
                sse::write(&mut written, event.name.as_deref(), &data);
                segments.push(Segment::Inline(written));
            }
            _ => push_span(segments, source, through.0, through.1),
        }
    }
}

/// Whether a type of event ends a stream of the Responses or the Messages API.
fn is_last(kind: &str) -> bool {
    matches!(
        kind,
        "response.completed"
            | "response.failed"
            | "response.incomplete"
            | "response.cancelled"
            | "message_stop"
            | "error"
    )
}

/// What an event carries of the answer so far.
#[derive(Default, Deserialize)]
struct Inner<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// The members of a chunk that matter on the way through.
#[derive(Default, Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<&'a str>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

fn is_empty_list(json: &str) -> bool {
    json.strip_prefix('[')
        .is_some_and(|rest| rest.trim_start().starts_with(']'))
}

/// A span, joined to the one before when it goes on from there.
fn push_span(segments: &mut Vec<Segment>, source: u32, from: u64, to: u64) {
    if from == to {
        return;
    }
    if let Some(Segment::Span(last)) = segments.last_mut()
        && last.source == source
        && last.offset + last.len == from
    {
        last.len += to - from;
        return;
    }
    segments.push(span(source, from, to - from));
}

fn push_data(out: &mut Vec<Action>, segments: Vec<Segment>) {
    if !segments.is_empty() {
        out.push(Action::Data(segments));
    }
}
