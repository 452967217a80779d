//! Clients: a request becomes a call, and what is said to the call becomes an answer.

use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    frontend::{Action, Cost, Intent, PassTo, Passed, ResponseMode},
    inference::{Call, Event, Task, TaskKind},
    neutral,
    one_call::{Ask, CALL, Read},
    sse,
    types::{Failure, Progress, Segment, Text},
};

use crate::wire::{self, Answer, ErrorBody, ErrorText, Finish, Health, Models, Piece, Usage};

/// A prompt to be continued, whole or as a stream.
pub struct Write {
    default_max: u32,
    request: Option<wire::Request>,
    /// The answer so far; begun anew for each worker that is tried.
    model: String,
    begun: bool,
    text: String,
    finish: Option<Finish>,
    usage: Usage,
}

impl Write {
    /// Nothing has been asked yet.
    pub fn new(default_max: u32) -> Self {
        Self {
            default_max,
            request: None,
            model: String::new(),
            begun: false,
            text: String::new(),
            finish: None,
            usage: Usage::default(),
        }
    }

    /// The request. The host dispatches only what was asked.
    fn request(&self) -> &wire::Request {
        self.request.as_ref().expect("it was read")
    }

    /// One event of a stream; the head goes before the first.
    fn piece(&mut self, name: Option<&str>, piece: &Piece, out: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.push(actions::head(200, "text/event-stream"));
        }
        let mut event = Vec::new();
        sse::write(&mut event, name, &wire::json(piece));
        out.push(Action::Data(vec![Segment::Inline(event)]));
    }

    fn end(&mut self, out: &mut Vec<Action>) -> Result<(), Failure> {
        let finish = self
            .finish
            .ok_or_else(|| failure::upstream_invalid("the worker gave no reason for its end"))?;
        if self.request().stream {
            let last = Piece {
                finish: Some(finish),
                usage: Some(self.usage),
                ..Piece::default()
            };
            self.piece(Some("end"), &last, out);
            out.push(Action::Finish);
        } else {
            let answer = Answer {
                model: std::mem::take(&mut self.model),
                text: std::mem::take(&mut self.text),
                finish,
                usage: self.usage,
            };
            out.extend(actions::respond_json(200, wire::json(&answer)));
        }
        Ok(())
    }
}

impl Ask for Write {
    fn read(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<Read, Failure> {
        if !progress.end {
            return Ok(Read::Need(actions::whole(progress.source)));
        }
        let body = bytes.read_all(progress.source, 0, progress.available);
        let request: wire::Request = serde_json::from_slice(&body)
            .map_err(|error| failure::invalid(format!("the request: {error}"), None))?;
        let intent = Intent {
            streaming: request.stream,
            cost: Cost {
                // A token is some four bytes of text.
                input: u32::try_from(request.prompt.len().div_ceil(4)).unwrap_or(u32::MAX),
                output: request.max_tokens.unwrap_or(self.default_max),
            },
            ..actions::intent(CALL, TaskKind::Generate, request.model.clone())
        };
        self.request = Some(request);
        Ok(Read::Call(intent))
    }

    fn pass(&mut self, to: &PassTo) -> Result<Option<Passed>, Failure> {
        let request = self.request();
        // What is written upstream is what was authorized, and no default is the worker's to choose.
        let same = request.model.as_deref() == Some(&to.model) && request.max_tokens.is_some();
        Ok(same.then(|| Passed {
            id: CALL,
            path: None,
            query: None,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            edits: Vec::new(),
            response: ResponseMode::Blind,
        }))
    }

    fn call(&mut self, model: String) -> Result<Call, Failure> {
        let request = self.request().clone();
        let mut settings = neutral::settings();
        settings.stopping.max_tokens = Some(request.max_tokens.unwrap_or(self.default_max));
        settings.sampling.temperature = request.temperature;
        self.model = request.model.unwrap_or_else(|| model.clone());
        self.text.clear();
        self.finish = None;
        self.usage = Usage::default();
        Ok(neutral::generate(
            model,
            Text::Inline(request.prompt),
            settings,
            request.stream,
        ))
    }

    fn event(&mut self, _: &dyn Bytes, event: Event, out: &mut Vec<Action>) -> Result<(), Failure> {
        match event {
            Event::Delta(delta) if delta.text.is_empty() => {}
            Event::Delta(delta) if self.request().stream => {
                let piece = Piece {
                    text: delta.text,
                    ..Piece::default()
                };
                self.piece(None, &piece, out);
            }
            Event::Delta(delta) => self.text.push_str(&delta.text),
            Event::Finished(finished) => {
                self.finish = Some(Finish::of(&finished.reason).ok_or_else(|| {
                    failure::upstream_invalid("the worker ended for a reason without a name here")
                })?);
                self.usage.input = finished.input_tokens.map_or(self.usage.input, u64::from);
                self.usage.output = finished.output_tokens.map_or(self.usage.output, u64::from);
            }
            Event::Usage(usage) => {
                self.usage.input = usage.input_tokens.unwrap_or(self.usage.input);
                self.usage.output = usage.output_tokens.unwrap_or(self.usage.output);
            }
            Event::End => self.end(out)?,
            _ => {}
        }
        Ok(())
    }

    fn broken(&self, failed: Failure) -> Vec<Action> {
        let error = ErrorBody {
            error: ErrorText {
                kind: failure::label(&failed.kind).to_owned(),
                message: failed.message,
            },
        };
        let mut event = Vec::new();
        sse::write(&mut event, Some("error"), &wire::json(&error));
        vec![Action::Data(vec![Segment::Inline(event)]), Action::Finish]
    }
}

/// What the proxy knows by itself: no worker is asked.
pub enum House {
    Models,
    Health,
}

impl Ask for House {
    fn read(&mut self, _: &dyn Bytes, _: &Progress) -> Result<Read, Failure> {
        let task = match self {
            Self::Models => TaskKind::ListModels,
            Self::Health => TaskKind::ServerReady,
        };
        Ok(Read::Call(actions::intent(CALL, task, None)))
    }

    fn call(&mut self, model: String) -> Result<Call, Failure> {
        let task = match self {
            Self::Models => Task::ListModels,
            Self::Health => Task::ServerReady,
        };
        Ok(neutral::call(model, task))
    }

    fn event(&mut self, _: &dyn Bytes, event: Event, out: &mut Vec<Action>) -> Result<(), Failure> {
        match event {
            Event::Models(models) => {
                let models = models.into_iter().map(|model| model.name).collect();
                out.extend(actions::respond_json(200, wire::json(&Models { models })));
            }
            Event::Ready(ready) => {
                let health = Health {
                    ready,
                    models: Vec::new(),
                };
                let status = if ready { 200 } else { 503 };
                out.extend(actions::respond_json(status, wire::json(&health)));
            }
            _ => {}
        }
        Ok(())
    }
}
