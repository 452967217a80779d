//! Workers: a call becomes a request, and its answer becomes events.

use tollgate_sdk_protocol::{
    Bytes, actions,
    backend::{self, ProbeRequest, ProbeResponse, RestSurface, Surface},
    failure, health,
    inference::{Call, Event, Generate, Prompt, Sampling, Settings, Stopping, Task, TaskKind},
    neutral,
    one_attempt::Job,
    sse, text,
    types::{Failure, FailureKind, Need, Progress, Segment},
};

use crate::wire::{self, Answer, ErrorBody, Health, Piece, Usage};

/// Longest event of a stream.
const EVENT: usize = 1 << 20;
/// Bytes of a stream that are read at once.
const WINDOW: u64 = 64 << 10;

/// One prompt that a worker continues.
pub struct Writing {
    model: String,
    streaming: bool,
    task: Generate,
    events: sse::Reader,
    /// How far the stream has been read.
    read: u64,
    /// The answer has come whole, or the last event of a stream.
    complete: bool,
}

impl Writing {
    /// What is to be done for a call.
    pub fn new(call: Call) -> Result<Self, Failure> {
        let Task::Generate(task) = call.task else {
            let what = "workers of this protocol only generate";
            return Err(failure::of(FailureKind::Unsupported, what));
        };
        Ok(Self {
            model: call.model,
            streaming: call.streaming,
            task,
            events: sse::Reader::new(EVENT),
            read: 0,
            complete: false,
        })
    }

    /// What was asked, in this protocol's words; or what it has no words for.
    fn written(&self, bytes: &dyn Bytes) -> Result<wire::Request, Failure> {
        let asked = &self.task.settings;
        let request = wire::Request {
            model: Some(self.model.clone()),
            prompt: String::new(),
            max_tokens: asked.stopping.max_tokens,
            temperature: match asked.sampling.greedy {
                true => Some(0.0),
                false => asked.sampling.temperature,
            },
            stream: self.streaming,
        };
        let plain = neutral::settings();
        let said = Settings {
            sampling: Sampling {
                greedy: asked.sampling.greedy,
                temperature: asked.sampling.temperature,
                ..plain.sampling
            },
            stopping: Stopping {
                max_tokens: request.max_tokens,
                ..plain.stopping.clone()
            },
            ..plain
        };
        if let Some(name) = neutral::unexpressed(asked, &said) {
            let name = asked.extras.first().map_or(name, |extra| &extra.name);
            let what = format!("workers of this protocol cannot honour `{name}`");
            return Err(failure::invalid(what, Some(name)));
        }
        let [Prompt::Text(prompt)] = self.task.prompts.as_slice() else {
            let what = "workers of this protocol take one prompt, as text";
            return Err(failure::of(FailureKind::Unsupported, what));
        };
        let prompt = text::resolve(bytes, prompt)
            .map_err(|problem| failure::invalid(problem, Some("prompt")))?;
        Ok(wire::Request { prompt, ..request })
    }

    fn event(&mut self, event: &sse::Event, said: &mut Vec<Event>) -> Result<(), Failure> {
        if event.name.as_deref() == Some("error") {
            let told: ErrorBody = serde_json::from_slice(&event.data).map_err(unreadable)?;
            let kind = failure::kind(&told.error.kind);
            return Err(failure::of(kind, told.error.message));
        }
        let piece: Piece = serde_json::from_slice(&event.data).map_err(unreadable)?;
        if !piece.text.is_empty() {
            said.push(neutral::delta(piece.text));
        }
        if let Some(finish) = piece.finish {
            self.complete = true;
            said.push(neutral::finished(finish.reason()));
        }
        said.extend(piece.usage.map(usage));
        Ok(())
    }
}

impl Job for Writing {
    fn request(&mut self, bytes: &dyn Bytes) -> Result<backend::Request, Failure> {
        Ok(backend::Request {
            surface: Surface::Rest(RestSurface {
                method: "POST".to_owned(),
                path: "/quill/v1/write".to_owned(),
            }),
            headers: vec![actions::header("content-type", "application/json")],
            body: vec![Segment::Inline(wire::json(&self.written(bytes)?))],
            end: true,
        })
    }

    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure> {
        let source = progress.source;
        if self.streaming {
            while self.read < progress.available {
                let len = (progress.available - self.read).min(WINDOW);
                let window = bytes.read_all(source, self.read, len);
                self.read += len;
                let events = self
                    .events
                    .push(&window)
                    .map_err(|_| failure::upstream_invalid("the worker sent too long an event"))?;
                for event in &events {
                    self.event(event, said)?;
                }
            }
            return Ok(None);
        }
        if !progress.end {
            return Ok(Some(actions::whole(source)));
        }
        let body = bytes.read_all(source, 0, progress.available);
        let answer: Answer = serde_json::from_slice(&body).map_err(unreadable)?;
        said.push(neutral::delta(answer.text));
        said.push(neutral::finished(answer.finish.reason()));
        said.push(usage(answer.usage));
        self.complete = true;
        Ok(None)
    }

    fn complete(&mut self, _: &mut Vec<Event>) -> Result<bool, Failure> {
        Ok(self.complete)
    }

    fn refused(&self, status: u16, body: &[u8]) -> Failure {
        let told: Option<ErrorBody> = serde_json::from_slice(body).ok();
        failure::from_http(
            status,
            told.map_or_else(
                || format!("the worker answered with status {status}"),
                |told| told.error.message,
            ),
        )
    }
}

fn usage(usage: Usage) -> Event {
    neutral::usage(Some(usage.input), Some(usage.output))
}

fn unreadable(problem: impl std::fmt::Display) -> Failure {
    failure::upstream_invalid(format!("the worker's answer cannot be read: {problem}"))
}

/// What to ask a worker to learn how it is.
pub fn probe() -> Vec<ProbeRequest> {
    vec![ProbeRequest {
        surface: Surface::Rest(RestSurface {
            method: "GET".to_owned(),
            path: "/quill/v1/health".to_owned(),
        }),
        headers: Vec::new(),
        body: Vec::new(),
    }]
}

/// Reads the answer.
pub fn judge(responses: &[ProbeResponse]) -> backend::Health {
    let [response] = responses else {
        return health::unwell("no answer");
    };
    if response.status == 0 {
        return health::unwell("the worker was not reached");
    }
    match serde_json::from_slice::<Health>(&response.body) {
        Ok(told) if told.ready => health::ready(
            told.models
                .into_iter()
                .map(|name| neutral::model(name, vec![TaskKind::Generate]))
                .collect(),
        ),
        Ok(_) => health::unwell("the worker says that it is not ready"),
        Err(error) => health::unwell(format!("status {}, and {error}", response.status)),
    }
}
