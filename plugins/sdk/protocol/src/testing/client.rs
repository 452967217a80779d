//! Plays a client and the rest of the host to a frontend.

use std::collections::VecDeque;

use super::{Aside, Ending, Memory, Pace};
use crate::{
    Frontend,
    frontend::{
        Action, CallEvent, CallUsage, Dispatched, GrpcMessage, Input, Intent, ResponseMode, Way,
    },
    inference::{Call, Event},
    types::{Failure, Header, Need, Progress, ResponseEnd, ResponseHead, Segment, SourceId, Want},
};

/// Source numbers of passed responses begin here.
const UPSTREAM: SourceId = 1 << 20;

/// What a worker answers to a passed request.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Status and headers.
    pub head: ResponseHead,
    /// One body (REST), or messages (gRPC).
    pub content: Vec<Vec<u8>>,
    /// The contents are gRPC messages.
    pub grpc: bool,
    /// How it ends: the trailers, or a break.
    pub end: Result<ResponseEnd, Ending>,
}

impl Upstream {
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
}

/// The script of an exchange.
#[derive(Clone, Debug)]
pub struct Client {
    /// One body (REST; given whole at once, as the gathering `whole` does, unless
    /// `streamed`) or the messages of a gRPC call.
    pub request: Vec<Vec<u8>>,
    /// The requests are gRPC messages.
    pub grpc: bool,
    /// The request body is given at the pace.
    pub streamed: bool,
    /// Where a call is sent; it decides between pass and translate.
    pub way: Way,
    /// Events of a translated call, in order; the same for each call.
    pub events: Vec<Event>,
    /// Answer to a passed call.
    pub upstream: Option<Upstream>,
    /// Further sources, in which held values of the events lie.
    pub sources: Memory,
}

impl Client {
    /// A REST request whose body is gathered whole.
    #[must_use]
    pub fn rest(body: impl Into<Vec<u8>>, way: Way) -> Self {
        Self {
            request: vec![body.into()],
            grpc: false,
            streamed: false,
            way,
            events: Vec::new(),
            upstream: None,
            sources: Memory::default(),
        }
    }

    /// A gRPC request of these messages.
    #[must_use]
    pub fn grpc(messages: Vec<Vec<u8>>, way: Way) -> Self {
        Self {
            request: messages,
            grpc: true,
            ..Self::rest(Vec::new(), way)
        }
    }

    /// Plays the exchange. `pace` applies to a streamed request, to messages, to a passed
    /// response and to the list of events.
    ///
    /// # Panics
    /// When the frontend breaks the contract: it reads what was released, acts after the
    /// end, or names a call that it did not make.
    #[must_use]
    pub fn play(&self, mut frontend: Box<dyn Frontend>, pace: Pace) -> ClientOutcome {
        let mut play = Play {
            script: self,
            pace,
            frontend: &mut *frontend,
            memory: self.sources.clone(),
            outcome: ClientOutcome::default(),
            data: Vec::new(),
            messages: Vec::new(),
            upstreams: 0,
            needs: Vec::new(),
            next: VecDeque::new(),
            untouched: false,
        };
        play.request();
        play.finish()
    }
}

/// A request that is passed, as it goes upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    /// The path, when it is changed.
    pub path: Option<String>,
    /// The query, when it is changed.
    pub query: Option<String>,
    /// Headers set.
    pub set_headers: Vec<Header>,
    /// Headers removed.
    pub remove_headers: Vec<String>,
    /// The body (or the first message) with the edits done.
    pub body: Vec<u8>,
    /// What the frontend wants of the response.
    pub response: ResponseMode,
}

/// All that came of an exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientOutcome {
    /// Calls, in order.
    pub intents: Vec<Intent>,
    /// Neutral calls, by call number.
    pub calls: Vec<(u32, Call)>,
    /// Requests passed.
    pub passed: Vec<Passed>,
    /// The response's head.
    pub head: Option<ResponseHead>,
    /// The response's body.
    pub body: Vec<u8>,
    /// The response's messages.
    pub messages: Vec<Vec<u8>>,
    /// gRPC status and trailers.
    pub trailers: Option<ResponseEnd>,
    /// A failure left to the host, before anything was sent.
    pub refused: Option<Failure>,
    /// A failure after that, at which the host breaks the response off.
    pub broken: Option<Failure>,
    /// The last usage of each call.
    pub usage: Vec<CallUsage>,
    /// Calls taken back.
    pub cancelled: Vec<u32>,
    /// The exchange is complete.
    pub finished: bool,
    /// The sources, for a look at held values.
    pub sources: Aside<Memory>,
}

impl ClientOutcome {
    /// The response's body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

struct Play<'a> {
    script: &'a Client,
    pace: Pace,
    frontend: &'a mut dyn Frontend,
    memory: Memory,
    outcome: ClientOutcome,
    data: Vec<Vec<Segment>>,
    messages: Vec<Vec<Segment>>,
    upstreams: u32,
    needs: Vec<Need>,
    /// What the actions lead to, once the step's actions are all carried out.
    next: VecDeque<Next>,
    /// The response goes through as the worker writes it.
    untouched: bool,
}

enum Next {
    Dispatch(u32),
    Events(u32),
    Upstream(ResponseMode),
}

impl Play<'_> {
    fn request(&mut self) {
        for (at, content) in self.script.request.iter().enumerate() {
            let source = at as SourceId;
            self.memory.add(source, content.clone());
            let pace = if self.script.grpc || self.script.streamed {
                self.pace
            } else {
                Pace::Whole
            };
            let grpc = self.script.grpc;
            self.feed(source, pace, &Ending::End, Default::default(), |progress| {
                if grpc {
                    Input::Message(GrpcMessage { progress })
                } else {
                    Input::Body(progress)
                }
            });
            self.drain();
        }
        if self.script.grpc && !self.outcome.finished {
            self.step(vec![Input::MessagesEnd]);
            self.drain();
        }
    }

    /// Shows a source piece by piece, as the frontend needs it. What comes `before` and
    /// `after` goes into one step with the first and the last piece.
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
            if self.outcome.finished {
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
                // The client's own bytes are all kept.
                if source >= UPSTREAM {
                    self.memory.release(source, need.as_ref());
                }
            }
        }
        if let Ending::Cut(cut) = ending
            && !self.outcome.finished
        {
            self.step(vec![Input::Cut(cut.clone())]);
        }
    }

    fn step(&mut self, inputs: Vec<Input>) {
        assert!(!self.outcome.finished, "stepped after the end");
        let actions = self.frontend.step(&self.memory, inputs);
        // Needs first: what an action leads to may come at once.
        for action in &actions {
            if let Action::Need(need) = action {
                self.needs.retain(|other| other.source != need.source);
                self.needs.push(*need);
            }
        }
        for action in actions {
            assert!(
                !self.outcome.finished,
                "an action after the end: {action:?}"
            );
            self.carry_out(action);
        }
    }

    /// Goes on with what the last steps led to.
    fn drain(&mut self) {
        while let Some(next) = self.next.pop_front() {
            match next {
                Next::Dispatch(call) => {
                    let way = self.script.way.clone();
                    self.step(vec![Input::Dispatched(Dispatched { call, way })]);
                }
                Next::Events(call) => self.events(call),
                Next::Upstream(mode) => self.upstream(&mode),
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Need(_) | Action::Other(_) => {}
            Action::Call(intent) => {
                let call = intent.id;
                self.outcome.intents.push(intent);
                self.next.push_back(Next::Dispatch(call));
            }
            Action::Materialise(materialised) => {
                let call = materialised.id;
                assert!(self.outcome.intents.iter().any(|intent| intent.id == call));
                self.outcome.calls.push((call, materialised.call));
                self.next.push_back(Next::Events(call));
            }
            Action::Pass(passed) => {
                let request = self.memory.range(&crate::types::Span {
                    source: 0,
                    offset: 0,
                    len: self.memory.len(0) as u64,
                });
                let mut body = Vec::new();
                let mut from = 0;
                for edit in &passed.edits {
                    assert!(edit.offset as usize >= from, "edits in order");
                    body.extend_from_slice(&request[from..edit.offset as usize]);
                    body.extend(self.memory.render(&edit.replacement));
                    from = (edit.offset + edit.len) as usize;
                }
                body.extend_from_slice(&request[from..]);
                self.outcome.passed.push(Passed {
                    path: passed.path,
                    query: passed.query,
                    set_headers: passed.set_headers,
                    remove_headers: passed.remove_headers,
                    body,
                    response: passed.response,
                });
                self.next.push_back(Next::Upstream(passed.response));
            }
            Action::Head(head) => {
                assert!(self.outcome.head.replace(head).is_none(), "two heads");
            }
            Action::Data(segments) => {
                assert!(self.outcome.head.is_some(), "data before the head");
                assert!(
                    !self.untouched,
                    "data of its own into a response that passes"
                );
                self.data.push(segments);
            }
            Action::Message(segments) => {
                assert!(
                    !self.untouched,
                    "a message of its own into a response that passes"
                );
                self.messages.push(segments);
            }
            Action::Trailers(end) => self.outcome.trailers = Some(end),
            Action::Refuse(failure) => {
                // As the host takes it: see `Ask::broken`.
                let slot = match self.outcome.head {
                    None => &mut self.outcome.refused,
                    Some(_) => &mut self.outcome.broken,
                };
                *slot = Some(failure);
            }
            Action::Usage(usage) => {
                self.outcome.usage.retain(|other| other.id != usage.id);
                self.outcome.usage.push(usage);
            }
            Action::Cancel(call) => self.outcome.cancelled.push(call),
            Action::Finish => self.outcome.finished = true,
        }
    }

    fn events(&mut self, call: u32) {
        let events = self.script.events.clone();
        let mut from = 0;
        for to in self.pace.ends(events.len()) {
            if self.outcome.finished || from == to {
                break;
            }
            let part = events[from..to].iter().cloned();
            self.step(vec![Input::Events(
                part.map(|event| CallEvent { call, event }).collect(),
            )]);
            from = to;
        }
    }

    fn upstream(&mut self, mode: &ResponseMode) {
        let upstream = self
            .script
            .upstream
            .clone()
            .expect("an upstream to pass to");
        self.untouched = *mode != ResponseMode::Filter;
        if self.untouched {
            self.outcome.head = Some(upstream.head.clone());
            if upstream.grpc {
                self.outcome.messages.clone_from(&upstream.content);
            } else {
                self.outcome.body = upstream.content.concat();
            }
        }
        if *mode == ResponseMode::Blind {
            self.outcome.finished = true;
            return;
        }
        // At the pace `Whole` a short response comes in one step, as the host gathers
        // what has arrived.
        let last = upstream.content.len();
        let together = self.pace.ends_together() && last == 1;
        let mut before = vec![Input::UpstreamHead(upstream.head)];
        let mut after: Vec<Input> = upstream
            .end
            .iter()
            .cloned()
            .map(Input::UpstreamEnd)
            .collect();
        if !together {
            self.step(std::mem::take(&mut before));
        }
        for (at, content) in upstream.content.into_iter().enumerate() {
            let source = UPSTREAM + self.upstreams;
            self.upstreams += 1;
            self.memory.add(source, content);
            let ending = match &upstream.end {
                Err(ending) if at + 1 == last => ending.clone(),
                _ => Ending::End,
            };
            let around = if together {
                (std::mem::take(&mut before), std::mem::take(&mut after))
            } else {
                Default::default()
            };
            let grpc = upstream.grpc;
            self.feed(source, self.pace, &ending, around, |progress| {
                if grpc {
                    Input::UpstreamMessage(GrpcMessage { progress })
                } else {
                    Input::UpstreamBytes(progress)
                }
            });
        }
        if !after.is_empty() && !self.outcome.finished {
            self.step(after);
        }
    }

    fn finish(mut self) -> ClientOutcome {
        for segments in &self.data {
            self.outcome.body.extend(self.memory.render(segments));
        }
        for segments in &self.messages {
            self.outcome.messages.push(self.memory.render(segments));
        }
        self.outcome.sources = Aside(self.memory);
        self.outcome
    }
}
