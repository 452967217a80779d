//! Speaks to clients, over REST and over gRPC: one [`Exchange`] is one request.
//!
//! 1. The body or the message is there: find what names the model, ask for a worker.
//! 2. A worker of the same dialect was found: pass the request on with the model's name
//!    replaced, look at the response for usage (`tap`). Another one: take the request
//!    apart (`body`, `crate::grpc`) and make neutral calls of it (`calls`), one for each
//!    source or query.
//! 3. Events come: put the answer together (`reply`) and write it (`output`).

mod asking;
mod body;
mod calls;
mod info;
mod output;
mod part;
mod passing;
mod reply;
mod stream;
mod tap;
mod validate;

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Bytes, Frontend,
    actions::{self, intent},
    failure,
    frontend::{
        Action, CallUsage, Cost, Dispatched, Input, Intent, Materialised, RequestHead, Way,
    },
    inference::{Call, Event, Task, Usage},
    types::{Context, Cut, Failure, FailureKind},
};

use self::{
    body::Body,
    info::Facts,
    output::Writer,
    reply::{Output, Reply},
    tap::Tap,
};
use crate::{
    endpoint::{Endpoint, Info},
    errors, grpc,
    manifest::{Door, What},
    options::Options,
    request::Request,
    rest::request::Refusal,
};

/// The call that every exchange makes. Further sources and queries have further ones.
const CALL: u32 = 0;
/// Bytes of text that are taken for one token, to guess the work.
const BYTES_A_TOKEN: u64 = 4;

/// One request.
pub struct Exchange {
    options: Arc<Options>,
    context: Context,
    head: RequestHead,
    door: Door,
    what: What,
    writer: Writer,
    state: State,
}

/// A task's request that has come.
struct Asked {
    endpoint: Endpoint,
    /// Bytes of the body or the message.
    len: u64,
    /// Of a REST request.
    body: Option<Body>,
    model: Option<String>,
}

/// A request that was taken apart.
struct Parted {
    asked: Asked,
    request: Request,
    calls: Vec<Call>,
    reply: Reply,
}

enum State {
    /// Nothing has come, or not all of it.
    Reading,
    /// The catalogue is asked.
    Facts(Facts),
    /// The call waits for a worker.
    Waiting(Asked),
    /// The request was passed, and the response is watched.
    Passing(Asked, Box<Tap>),
    /// The events make the answer.
    Answering(Box<Parted>),
    /// Nothing more is done.
    Over,
}

impl Exchange {
    /// Begins to serve a request.
    pub fn new(
        options: Arc<Options>,
        context: Context,
        head: RequestHead,
        door: Door,
        what: What,
    ) -> Self {
        let endpoint = match what {
            What::Task(endpoint) => Some(endpoint),
            What::Info(_) => None,
        };
        let writer = Writer::new(door, endpoint, context.request_id.clone());
        Self {
            options,
            context,
            head,
            door,
            what,
            writer,
            state: State::Reading,
        }
    }

    /// What can be asked before anything has come.
    fn begin(&mut self, out: &mut Vec<Action>) {
        if let (What::Info(info), Door::Rest) = (self.what, self.door) {
            self.ask_facts(info, info::ids(&self.head), out);
        }
    }

    fn ask_facts(&mut self, info: Info, ids: Vec<String>, out: &mut Vec<Action>) {
        out.push(Action::Call(intent(CALL, info.task(), None)));
        self.state = State::Facts(Facts::new(info, self.door, ids));
    }

    fn input(&mut self, bytes: &dyn Bytes, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Body(progress) => self.body(bytes, progress, out),
            Input::Message(message) => self.message(bytes, message.progress, out),
            Input::MessagesEnd if matches!(self.state, State::Reading) => {
                self.fail(failure::invalid("a request message is needed", None), out);
            }
            Input::Dispatched(dispatched) => self.dispatched(bytes, dispatched, out),
            Input::Events(events) => {
                for event in events {
                    self.event(bytes, event.call, event.event, out);
                }
            }
            Input::UpstreamHead(head) => {
                if let State::Passing(_, tap) = &mut self.state {
                    tap.head(&head);
                }
            }
            Input::UpstreamBytes(progress) => {
                if let State::Passing(_, tap) = &mut self.state {
                    out.extend(tap.bytes(bytes, progress).map(Action::Need));
                }
            }
            Input::UpstreamMessage(message) => self.watched(bytes, message.progress, out),
            Input::UpstreamEnd(_) => self.passed(out),
            Input::Cut(cut) => self.cut(&cut, out),
            _ => {}
        }
    }

    fn dispatched(&mut self, bytes: &dyn Bytes, dispatched: Dispatched, out: &mut Vec<Action>) {
        let call = dispatched.call;
        let (passable, model) = match dispatched.way {
            Way::Pass(to) => (true, to.model),
            Way::Translate(to) => (false, to.model),
            Way::Other(other) => {
                let what = format!("dispatched in an unknown way: {}", other.name);
                return self.fail(failure::of(FailureKind::Unsupported, what), out);
            }
        };
        let parted = match std::mem::replace(&mut self.state, State::Over) {
            State::Facts(facts) => {
                let task = match self.what {
                    What::Info(Info::Version) => Task::ServerMetadata,
                    What::Info(Info::Health) => Task::ServerReady,
                    _ => Task::ListModels,
                };
                out.push(Action::Materialise(Materialised {
                    id: call,
                    call: Call {
                        model,
                        version: None,
                        streaming: false,
                        task,
                        extensions: Vec::new(),
                    },
                }));
                self.state = State::Facts(facts);
                return;
            }
            State::Waiting(asked) | State::Passing(asked, _) if passable => {
                return self.pass(bytes, asked, model, out);
            }
            // With one call nothing is lost by passing it after all.
            State::Answering(parted) if passable && parted.calls.len() == 1 => {
                return self.pass(bytes, parted.asked, model, out);
            }
            State::Waiting(asked) | State::Passing(asked, _) => match self.part(bytes, asked) {
                Ok(parted) => {
                    self.ask_further(&parted, out);
                    Box::new(parted)
                }
                Err(refusal) => {
                    out.push(Action::Cancel(CALL));
                    return self.refused(refusal, out);
                }
            },
            State::Answering(parted) => parted,
            State::Reading | State::Over => return,
        };
        self.materialise(parted, call, model, out);
    }

    fn materialise(
        &mut self,
        mut parted: Box<Parted>,
        id: u32,
        model: String,
        out: &mut Vec<Action>,
    ) {
        if let Some(call) = parted.calls.get(id as usize) {
            let call = Call {
                model,
                ..call.clone()
            };
            parted.reply.again(id as usize, &parted.request);
            out.push(Action::Materialise(Materialised { id, call }));
        }
        self.state = State::Answering(parted);
    }

    /// Sources and queries beyond the first.
    fn ask_further(&self, parted: &Parted, out: &mut Vec<Action>) {
        let asked = &parted.asked;
        for id in (CALL + 1..).take(parted.calls.len().saturating_sub(1)) {
            out.push(Action::Call(Intent {
                // The first was asked for with the cost of all.
                cost: Cost {
                    input: 0,
                    output: 0,
                },
                ..intent(id, asked.endpoint.task(), asked.model.clone())
            }));
        }
    }

    fn part(&self, bytes: &dyn Bytes, asked: Asked) -> Result<Parted, Refusal> {
        let endpoint = asked.endpoint;
        let request = match &asked.body {
            Some(body) => body.request(bytes, endpoint)?,
            None => {
                let message = bytes.read_all(0, 0, asked.len);
                grpc::request::read(endpoint, &message).map_err(Refusal::Failure)?
            }
        };
        let calls = calls::of(&request, endpoint, &self.options).map_err(Refusal::Failure)?;
        let reply = Reply::to(&request, endpoint.streams(), calls.len());
        Ok(Parted {
            asked,
            request,
            calls,
            reply,
        })
    }

    fn event(&mut self, bytes: &dyn Bytes, call: u32, event: Event, out: &mut Vec<Action>) {
        match &mut self.state {
            State::Facts(facts) => match facts.take(event, &self.options) {
                Ok(None) => {}
                Ok(Some(body)) => {
                    let health = self.what == What::Info(Info::Health);
                    self.writer.fact(body, health, out);
                    self.state = State::Over;
                }
                Err(failure) => self.fail(failure, out),
            },
            State::Answering(parted) => {
                let mut outputs = Vec::new();
                let ends = matches!(event, Event::End | Event::Failed(_));
                let counted = parted.reply.usage(call as usize);
                parted.reply.take(bytes, call as usize, event, &mut outputs);
                if ends {
                    out.extend(counted.map(|counted| usage(call, counted)));
                }
                self.carry_out(outputs, out);
            }
            // Before it is answered a call can only fail: it found no worker, or the pass
            // reached none.
            State::Waiting(_) | State::Passing(..) => {
                if let Event::Failed(failure) = event {
                    self.fail(failure, out);
                }
            }
            State::Reading | State::Over => {}
        }
    }

    fn carry_out(&mut self, outputs: Vec<Output>, out: &mut Vec<Action>) {
        for output in outputs {
            match output {
                Output::Piece(generated) => self.writer.piece(&generated, out),
                Output::Answer(answer) => self.writer.answer(&answer, out),
                Output::Done => {
                    self.writer.done(out);
                    self.state = State::Over;
                    return;
                }
                Output::Failed(failure) => return self.fail(failure, out),
            }
        }
    }

    fn cut(&mut self, cut: &Cut, out: &mut Vec<Action>) {
        let (kind, what) = match (&self.state, cut) {
            (State::Over, _) => return,
            // The host tells the client: of a response that passes it is the one who writes.
            (State::Passing(..), _) => return self.passed(out),
            (_, Cut::Deadline) => (
                FailureKind::DeadlineExceeded,
                "the request did not arrive in time",
            ),
            (_, Cut::Limit) => (FailureKind::PayloadTooLarge, "the request is too large"),
            (_, Cut::Malformed) => (
                FailureKind::InvalidArgument,
                "the request is not framed as it should be",
            ),
            (_, Cut::Closed | Cut::Other(_)) => (FailureKind::Cancelled, "the request broke off"),
        };
        self.fail(failure::of(kind, what), out);
    }

    /// What is wrong with the request itself.
    fn refused(&mut self, refusal: Refusal, out: &mut Vec<Action>) {
        match (refusal, self.door) {
            (Refusal::Problems(problems), Door::Rest) => {
                let body = errors::unprocessable(&problems, &self.context.request_id);
                out.extend(actions::respond_json(422, body));
                self.state = State::Over;
            }
            (Refusal::Problems(problems), Door::Grpc) => {
                self.fail(errors::unprocessable_failure(&problems), out);
            }
            (Refusal::Failure(failure), _) => self.fail(failure, out),
        }
    }

    fn refuse(&mut self, failure: Failure, out: &mut Vec<Action>) {
        self.state = State::Over;
        out.extend(actions::refuse(failure));
    }

    fn fail(&mut self, failure: Failure, out: &mut Vec<Action>) {
        self.state = State::Over;
        self.writer.failed(failure, out);
    }
}

fn usage(id: u32, usage: Usage) -> Action {
    Action::Usage(CallUsage { id, usage })
}

fn tokens_in(bytes: u64) -> u32 {
    u32::try_from(bytes / BYTES_A_TOKEN).unwrap_or(u32::MAX)
}

impl Frontend for Exchange {
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
        let mut out = Vec::new();
        if matches!(self.state, State::Reading) {
            self.begin(&mut out);
        }
        for input in inputs {
            if matches!(self.state, State::Over) {
                break;
            }
            self.input(bytes, input, &mut out);
        }
        out
    }
}
