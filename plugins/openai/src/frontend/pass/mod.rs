//! A request that goes on as it came: the model's name replaced, usage asked for; and
//! the response on its way back: the name restored, usage counted, the chunk that the
//! client did not ask for left out.

mod stream;
mod usage;

use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    frontend::{Action, CallUsage, Passed, ResponseMode},
    inference::Usage,
    sse,
    text::{quoted, span},
    types::{Context, Cut, Failure, FailureKind, Progress, ResponseHead, Segment},
};

use super::{CALL, edits, request::Request};
use crate::{
    claims::Endpoint,
    errors,
    options::{Clients, Options},
};

/// Longest event of a stream.
const EVENT: usize = 4 << 20;

/// A passed request's response.
pub struct Passing {
    endpoint: Endpoint,
    mode: ResponseMode,
    streaming: bool,
    /// The client's name for the model, when it must be restored.
    alias: Option<Vec<u8>>,
    /// The usage chunk is ours.
    drop_usage: bool,
    head: Option<ResponseHead>,
    /// The response is a stream of events.
    events: bool,
    reader: sse::Reader,
    position: u64,
    /// The head has gone out.
    begun: bool,
    /// The terminator has come, or the whole of a unary response.
    complete: bool,
    /// The event has come that is the last of a relayed stream, but for what may follow it.
    ended: bool,
    /// Counted so far: some streams tell input and output apart.
    counted: Option<Usage>,
    done: bool,
}

impl Passing {
    /// Decides what must be seen of the response.
    pub fn new(request: &Request, context: &Context, served: &str) -> Self {
        let shown = request.shown_model(context, served);
        let alias = (shown != served).then(|| quoted(&shown));
        let wanted = request
            .stream_options
            .is_some_and(|options| options.include_usage);
        let counts = matches!(request.endpoint, Endpoint::Chat | Endpoint::Completions);
        let drop_usage = counts && request.streaming && !wanted;
        let mode = match request.endpoint {
            // Neither the model nor a count stands in these.
            Endpoint::Tokenize | Endpoint::Detokenize => ResponseMode::Blind,
            Endpoint::Images | Endpoint::ImageEdits | Endpoint::Speech => ResponseMode::Blind,
            Endpoint::Audio if alias.is_none() || !request.streaming => ResponseMode::Blind,
            _ if alias.is_some() || drop_usage => ResponseMode::Filter,
            _ => ResponseMode::Tap,
        };
        Self {
            alias,
            drop_usage,
            streaming: request.streaming,
            ..Self::of(request.endpoint, mode)
        }
    }

    /// For a request without a body, whose response is nobody's here.
    pub fn blind() -> Self {
        Self::of(Endpoint::Response, ResponseMode::Blind)
    }

    fn of(endpoint: Endpoint, mode: ResponseMode) -> Self {
        Self {
            endpoint,
            mode,
            streaming: false,
            alias: None,
            drop_usage: false,
            head: None,
            events: false,
            reader: sse::Reader::new(EVENT),
            position: 0,
            begun: false,
            complete: false,
            ended: false,
            counted: None,
            done: false,
        }
    }

    /// The request as it goes on.
    pub fn passed(&self, request: &Request, bytes: &dyn Bytes, served: &str) -> Passed {
        Passed {
            id: CALL,
            path: None,
            query: None,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            edits: edits::edits(request, bytes, served, self.drop_usage),
            response: self.mode,
        }
    }

    /// The exchange is complete.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The response begins.
    pub fn head(&mut self, head: ResponseHead, out: &mut Vec<Action>) {
        let content_type = actions::header_value(&head.headers, "content-type").unwrap_or("");
        self.events = self.streaming
            && head.status == 200
            && content_type.trim_start().starts_with("text/event-stream");
        self.head = Some(head);
        if self.events {
            self.begin(out);
        }
    }

    /// Sends the head: without the length, which may change.
    fn begin(&mut self, out: &mut Vec<Action>) {
        if self.begun || self.mode != ResponseMode::Filter {
            return;
        }
        self.begun = true;
        if let Some(mut head) = self.head.take() {
            head.headers.retain(|header| {
                !matches!(header.name.as_str(), "content-length" | "transfer-encoding")
            });
            out.push(Action::Head(head));
        }
    }

    /// The response got further.
    pub fn bytes(
        &mut self,
        bytes: &dyn Bytes,
        progress: Progress,
        options: &Options,
        out: &mut Vec<Action>,
    ) {
        if self.mode == ResponseMode::Blind || self.complete {
            return;
        }
        if self.events {
            self.stream(bytes, progress, options, out);
        } else if progress.end {
            self.whole(bytes, progress, out);
        } else {
            out.push(Action::Need(actions::whole(progress.source)));
        }
    }

    /// A unary response is there.
    fn whole(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        self.complete = true;
        let (source, len) = (progress.source, progress.available);
        let succeeded = self.head.as_ref().is_none_or(|head| head.status == 200);
        let keys = ["model".to_owned(), "usage".to_owned()];
        let members = if succeeded && len > 0 {
            bytes
                .json_members(source, 0, len, &keys)
                .unwrap_or_default()
        } else {
            Vec::new()
        };
        if self.mode == ResponseMode::Filter {
            let mut segments = Vec::new();
            let mut from = 0;
            let models = members.iter().filter(|member| member.key == 0);
            if let Some(alias) = &self.alias {
                for member in models {
                    segments.push(span(source, from, member.offset - from));
                    segments.push(Segment::Inline(alias.clone()));
                    from = member.offset + member.len;
                }
            }
            if from < len {
                segments.push(span(source, from, len - from));
            }
            self.begin(out);
            if !segments.is_empty() {
                out.push(Action::Data(segments));
            }
        }
        if let Some(member) = members.iter().rev().find(|member| member.key == 1) {
            let raw = bytes.read_all(source, member.offset, member.len);
            out.extend(self.count(&raw));
        }
    }

    /// Adds what is told to what is known; the action that tells the host.
    fn count(&mut self, raw: &[u8]) -> Option<Action> {
        let told = usage::of(raw)?;
        let known = self.counted.take();
        let known = |part: fn(&Usage) -> Option<u64>| known.as_ref().and_then(part);
        let usage = Usage {
            input_tokens: told.input_tokens.or(known(|usage| usage.input_tokens)),
            output_tokens: told.output_tokens.or(known(|usage| usage.output_tokens)),
            cached_tokens: told.cached_tokens.or(known(|usage| usage.cached_tokens)),
            extensions: Vec::new(),
        };
        self.counted = Some(usage.clone());
        Some(Action::Usage(CallUsage { id: CALL, usage }))
    }

    /// The response ended as it should.
    pub fn end(&mut self, options: &Options, out: &mut Vec<Action>) {
        if self.done {
            return;
        }
        if self.mode == ResponseMode::Filter {
            if self.events && !self.complete && !self.ended {
                let message = "The worker's stream ended without its terminator.";
                return self.fail(&failure::upstream_unavailable(message), options, out);
            }
            self.begin(out);
        }
        self.done = true;
        out.push(Action::Finish);
    }

    /// The response broke off.
    pub fn cut(&mut self, cut: &Cut, options: &Options, out: &mut Vec<Action>) {
        if self.complete || self.ended || self.mode == ResponseMode::Blind {
            // All of it had come, or none of it is ours.
            self.done = true;
            out.push(Action::Finish);
            return;
        }
        let failed = match cut {
            Cut::Deadline => failure::of(FailureKind::DeadlineExceeded, "The time is over."),
            _ => failure::upstream_unavailable("The worker's answer broke off."),
        };
        self.fail(&failed, options, out);
    }

    /// Ends with a failure, in whatever form is still possible.
    pub fn fail(&mut self, failed: &Failure, options: &Options, out: &mut Vec<Action>) {
        self.done = true;
        // Nothing has gone out: no head was seen, or it is still here.
        let unsent = match self.mode {
            ResponseMode::Filter => !self.begun,
            _ => self.head.is_none(),
        };
        match self.mode {
            _ if unsent => out.extend(actions::refuse(failed.clone())),
            ResponseMode::Filter => {
                let mut written = Vec::new();
                if self.events {
                    self.write_failure(&mut written, options, failed);
                    out.push(Action::Data(vec![Segment::Inline(written)]));
                }
                out.push(Action::Finish);
            }
            // The bytes went past us; the host ends them as they ended.
            _ => out.push(Action::Finish),
        }
    }
}

impl Passing {
    /// A failure within a stream, as its API tells one.
    fn write_failure(&self, written: &mut Vec<u8>, options: &Options, failed: &Failure) {
        match self.endpoint {
            Endpoint::Messages => {
                sse::write(written, Some("error"), &errors::message_event(failed));
            }
            Endpoint::Responses => {
                sse::write(written, Some("error"), &errors::response_event(failed));
            }
            _ => {
                sse::write(written, None, &errors::body(options.error_shape(), failed));
                // There it is the mark of an answer that is whole.
                if options.clients != Clients::Ovms {
                    sse::write(written, None, b"[DONE]");
                }
            }
        }
    }
}
