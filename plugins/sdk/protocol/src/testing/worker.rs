//! Plays a worker and the rest of the host to a backend.

use super::{Aside, Ending, Memory, Pace};
use crate::{
    Backend,
    backend::{Action, Input, MemberEvent, Surface},
    inference::Event,
    types::{Header, Need, Progress, ResponseEnd, ResponseHead, Segment, SourceId, Want},
};

/// Source numbers of responses begin here.
const RESPONSE: SourceId = 1 << 20;

/// What the worker answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: ResponseHead,
    /// One body (REST), or messages (gRPC).
    pub content: Vec<Vec<u8>>,
    /// The contents are gRPC messages.
    pub grpc: bool,
    /// How it ends: the trailers, or a break.
    pub end: Result<ResponseEnd, Ending>,
}

impl Answer {
    /// A REST response that ends well.
    #[must_use]
    pub fn rest(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![crate::actions::header("content-type", content_type)];
        let end = ResponseEnd {
            code: None,
            message: None,
            trailers: Vec::new(),
        };
        Self {
            head: ResponseHead { status, headers },
            content: vec![body.into()],
            grpc: false,
            end: Ok(end),
        }
    }

    /// gRPC messages and the status after them.
    #[must_use]
    pub fn grpc(messages: Vec<Vec<u8>>, code: u32, message: Option<&str>) -> Self {
        let message = message.map(str::to_owned);
        Self {
            head: ResponseHead {
                status: 200,
                headers: Vec::new(),
            },
            content: messages,
            grpc: true,
            end: Ok(ResponseEnd {
                code: Some(code),
                message,
                trailers: Vec::new(),
            }),
        }
    }

    /// The same answer, broken off after its content.
    #[must_use]
    pub fn cut(self, cut: crate::types::Cut) -> Self {
        Self {
            end: Err(Ending::Cut(cut)),
            ..self
        }
    }
}

/// The request that an attempt made.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempted {
    /// Method and path.
    pub surface: Surface,
    /// Headers.
    pub headers: Vec<Header>,
    /// Body or first message.
    pub body: Vec<u8>,
}

/// All that came of an attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerOutcome {
    /// The request.
    pub request: Option<Attempted>,
    /// What was sent after it.
    pub sent: Vec<Vec<u8>>,
    /// Events. Deltas of one item that follow each other are joined, and of usages
    /// only the last one before other events is kept: those depend on the pace.
    pub events: Vec<MemberEvent>,
    /// The upstream was reset as no longer needed.
    pub ended_upstream: bool,
    /// The attempt is complete.
    pub finished: bool,
    /// The events as they came, nothing joined.
    pub told: Aside<Vec<MemberEvent>>,
    /// The sources, for a look at held values.
    pub sources: Aside<Memory>,
}

impl WorkerOutcome {
    /// The events of one member.
    #[must_use]
    pub fn of(&self, member: u32) -> Vec<Event> {
        let of = self.events.iter().filter(|event| event.member == member);
        of.map(|event| event.event.clone()).collect()
    }
}

/// The script of an attempt.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The answer.
    pub answer: Answer,
    /// Sources that the calls' held values lie in.
    pub sources: Memory,
}

impl Worker {
    /// A worker that answers so to calls without held values.
    #[must_use]
    pub fn answering(answer: Answer) -> Self {
        Self {
            answer,
            sources: Memory::default(),
        }
    }

    /// Plays the attempt, the response at this pace.
    ///
    /// # Panics
    /// When the backend breaks the contract: reads what was released, acts after the
    /// end, or makes no request.
    #[must_use]
    pub fn play(&self, mut backend: Box<dyn Backend>, pace: Pace) -> WorkerOutcome {
        let mut play = Play {
            backend: &mut *backend,
            memory: self.sources.clone(),
            outcome: WorkerOutcome::default(),
            needs: Vec::new(),
        };
        play.step(vec![Input::Start]);
        // At the pace `Whole` a short response comes in one step, as the host gathers
        // what has arrived.
        let last = self.answer.content.len();
        let together = pace.ends_together() && last == 1;
        let mut before = vec![Input::Head(self.answer.head.clone())];
        let mut after: Vec<Input> = self.answer.end.iter().cloned().map(Input::End).collect();
        if !together && !play.over() {
            play.step(std::mem::take(&mut before));
        }
        for (at, content) in self.answer.content.iter().enumerate() {
            let source = RESPONSE + at as SourceId;
            play.memory.add(source, content.clone());
            let ending = match &self.answer.end {
                Err(ending) if at + 1 == last => ending.clone(),
                _ => Ending::End,
            };
            let around = if together {
                (std::mem::take(&mut before), std::mem::take(&mut after))
            } else {
                Default::default()
            };
            let grpc = self.answer.grpc;
            play.feed(source, pace, &ending, around, |progress| {
                if grpc {
                    Input::Message(progress)
                } else {
                    Input::Bytes(progress)
                }
            });
        }
        if !after.is_empty() && !play.over() {
            play.step(after);
        }
        play.outcome.sources = Aside(play.memory);
        play.outcome
    }
}

struct Play<'a> {
    backend: &'a mut dyn Backend,
    memory: Memory,
    outcome: WorkerOutcome,
    needs: Vec<Need>,
}

impl Play<'_> {
    fn over(&self) -> bool {
        self.outcome.finished || self.outcome.ended_upstream
    }

    fn feed(
        &mut self,
        source: SourceId,
        pace: Pace,
        ending: &Ending,
        (mut before, mut after): (Vec<Input>, Vec<Input>),
        input: impl Fn(Progress) -> Input,
    ) {
        let len = self.memory.len(source);
        let together = pace.ends_together() && *ending == Ending::End;
        let mut stages: Vec<(usize, bool)> = pace
            .ends(len)
            .into_iter()
            .map(|end| (end, together))
            .collect();
        if !together && *ending == Ending::End {
            stages.push((len, true));
        }
        for (available, end) in stages {
            if self.over() {
                return;
            }
            self.memory.show(source, available, end);
            let wanted = self.needs.iter().find(|need| need.source == source);
            let enough = end
                || match wanted.map(|need| &need.until) {
                    None | Some(Want::More) => true,
                    Some(Want::AtLeast(offset)) => available as u64 >= *offset,
                    Some(Want::All) => false,
                };
            if enough {
                self.needs.retain(|need| need.source != source);
                let progress = self.memory.progress(source);
                let mut inputs = std::mem::take(&mut before);
                inputs.push(input(progress));
                if end {
                    inputs.append(&mut after);
                }
                self.step(inputs);
                let need = self
                    .needs
                    .iter()
                    .find(|need| need.source == source)
                    .copied();
                self.memory.release(source, need.as_ref());
            }
        }
        if let Ending::Cut(cut) = ending
            && !self.over()
        {
            self.step(vec![Input::Cut(cut.clone())]);
        }
    }

    fn step(&mut self, inputs: Vec<Input>) {
        for action in self.backend.step(&self.memory, inputs) {
            assert!(
                !self.outcome.finished,
                "an action after the end: {action:?}"
            );
            match action {
                Action::Need(need) => {
                    self.needs.retain(|other| other.source != need.source);
                    self.needs.push(need);
                }
                Action::Request(request) => {
                    let body = self.render(&request.body);
                    let (surface, headers) = (request.surface, request.headers);
                    let attempted = Attempted {
                        surface,
                        headers,
                        body,
                    };
                    assert!(
                        self.outcome.request.replace(attempted).is_none(),
                        "two requests"
                    );
                }
                Action::Send(segments) => {
                    let sent = self.render(&segments);
                    self.outcome.sent.push(sent);
                }
                Action::Events(events) => {
                    for event in events {
                        self.note(event);
                    }
                }
                Action::EndUpstream => self.outcome.ended_upstream = true,
                Action::Finish => self.outcome.finished = true,
                Action::EndRequest | Action::Other(_) => {}
            }
        }
    }

    fn render(&self, segments: &[Segment]) -> Vec<u8> {
        self.memory.render(segments)
    }

    fn note(&mut self, new: MemberEvent) {
        self.outcome.told.0.push(new.clone());
        let events = &mut self.outcome.events;
        if let Some(last) = events.last_mut()
            && last.member == new.member
        {
            match (&mut last.event, &new.event) {
                (Event::Delta(old), Event::Delta(more))
                    if old.item == more.item && old.extras.is_empty() && more.extras.is_empty() =>
                {
                    old.text.push_str(&more.text);
                    old.tokens.extend_from_slice(&more.tokens);
                    old.output_tokens = more.output_tokens.or(old.output_tokens);
                    return;
                }
                (Event::Usage(old), Event::Usage(more)) => {
                    old.clone_from(more);
                    return;
                }
                _ => {}
            }
        }
        events.push(new);
    }
}
