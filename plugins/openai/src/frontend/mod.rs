//! Speaks to clients: one [`Exchange`] is one request.
//!
//! 1. The body is there: find the members that say what is asked, ask for a worker.
//! 2. A worker of the same dialect was found: pass the body on with the model's name
//!    replaced, look at the response for usage (`pass`). Another one: take the body
//!    apart into a neutral call (`request`).
//! 3. Events come: write the response (`answer`).

mod answer;
mod choices;
mod constraints;
mod edits;
mod fields;
mod models;
mod pass;
mod prompts;
mod request;
mod settings;
mod stream;
mod tasks;
mod vectors;

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Bytes, Frontend, actions, failure,
    frontend::{Action, CallEvent, Input, Materialised, PassTo, RequestHead, TranslateTo, Way},
    inference::{Call, Event, Task},
    types::{Context, Cut, Failure, FailureKind},
};

use self::{answer::Answer, pass::Passing, request::Request};
use crate::{claims::Endpoint, docs, options::Options};

/// The only call of an exchange.
const CALL: u32 = 0;

/// One request.
pub struct Exchange {
    options: Arc<Options>,
    context: Context,
    head: RequestHead,
    state: State,
}

enum State {
    /// Nothing has come.
    New,
    /// A worker is being looked for, or the catalogue asked.
    Asked(Option<Request>),
    /// The request was passed. It is kept for another attempt.
    Passing(Option<Request>, Box<Passing>),
    /// The request was translated. It is kept for another attempt.
    Answering(Option<Request>, Box<Answer>),
    /// Nothing more is to be said.
    Done,
}

impl Exchange {
    /// Begins to serve a request.
    pub fn new(options: Arc<Options>, context: Context, head: RequestHead) -> Self {
        Self {
            options,
            context,
            head,
            state: State::New,
        }
    }

    fn endpoint(&self) -> Option<Endpoint> {
        Endpoint::of_claim(self.head.claim)
    }

    /// What can be asked before any of the body is looked at.
    fn begin(&mut self, out: &mut Vec<Action>) {
        let Some(endpoint) = self.endpoint() else {
            return self.refuse(failure::of(FailureKind::NotFound, "Not Found"), out);
        };
        if endpoint.has_body() {
            return;
        }
        match endpoint.task() {
            Some(task) => {
                out.push(Action::Call(actions::intent(CALL, task, None)));
                self.state = State::Asked(None);
            }
            None => {
                let (content_type, body) = docs::page(endpoint, &self.options);
                out.extend(actions::respond(200, content_type, body));
                self.state = State::Done;
            }
        }
    }

    fn body(&mut self, bytes: &dyn Bytes, len: u64, out: &mut Vec<Action>) {
        let Some(endpoint) = self.endpoint() else {
            return;
        };
        match Request::read(endpoint, bytes, &self.head, len) {
            Ok(request) => {
                out.push(Action::Call(request.intent(bytes, &self.options)));
                self.state = State::Asked(Some(request));
            }
            Err(failure) => self.refuse(failure, out),
        }
    }

    fn refuse(&mut self, failure: Failure, out: &mut Vec<Action>) {
        out.extend(actions::refuse(failure));
        self.state = State::Done;
    }

    fn dispatched(&mut self, bytes: &dyn Bytes, way: Way, out: &mut Vec<Action>) {
        let request = match std::mem::replace(&mut self.state, State::Done) {
            State::Asked(request) | State::Passing(request, _) | State::Answering(request, _) => {
                request
            }
            State::New | State::Done => return,
        };
        let (passable, model) = match way {
            Way::Pass(PassTo { model, dialect, .. }) => (dialect == "openai", model),
            Way::Translate(TranslateTo { model }) => (false, model),
            Way::Other(_) => {
                let message = "the proxy found a way that this plugin does not know";
                return self.refuse(failure::of(FailureKind::Unsupported, message), out);
            }
        };
        match request {
            Some(request) if passable => {
                let passing = Passing::new(&request, &self.context, &model);
                out.push(Action::Pass(passing.passed(&request, bytes, &model)));
                self.state = State::Passing(Some(request), Box::new(passing));
            }
            Some(mut request) => match request.materialise(bytes, &self.context, &model) {
                Ok((call, form)) => {
                    out.push(Action::Materialise(Materialised { id: CALL, call }));
                    let answer = Answer::new(Arc::clone(&self.options), form);
                    self.state = State::Answering(Some(request), Box::new(answer));
                }
                Err(failure) => self.refuse(failure, out),
            },
            // The catalogue's questions, should a worker be asked them.
            None => {
                let task = match self.endpoint() {
                    Some(Endpoint::Health) => Task::ServerReady,
                    _ => Task::ListModels,
                };
                let call = Call {
                    model,
                    version: None,
                    streaming: false,
                    task,
                    extensions: Vec::new(),
                };
                out.push(Action::Materialise(Materialised { id: CALL, call }));
                self.state = State::Asked(None);
            }
        }
    }

    fn cut(&mut self, cut: &Cut, out: &mut Vec<Action>) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Passing(_, mut passing) => passing.cut(cut, &self.options, out),
            State::New => {
                let kind = match cut {
                    Cut::Limit => FailureKind::PayloadTooLarge,
                    Cut::Deadline => FailureKind::DeadlineExceeded,
                    _ => FailureKind::InvalidArgument,
                };
                out.extend(actions::refuse(failure::of(
                    kind,
                    "The request body broke off.",
                )));
            }
            other => self.state = other,
        }
    }
}

impl Frontend for Exchange {
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
        let mut out = Vec::new();
        if matches!(self.state, State::New) {
            self.begin(&mut out);
        }
        for input in inputs {
            match (&mut self.state, input) {
                (State::Done, _) => break,
                (State::New, Input::Body(progress)) => {
                    // The body stays until the end: another attempt may need it again.
                    out.push(Action::Need(actions::whole(progress.source)));
                    if progress.end {
                        self.body(bytes, progress.available, &mut out);
                    }
                }
                (_, Input::Dispatched(dispatched)) => {
                    self.dispatched(bytes, dispatched.way, &mut out);
                }
                (State::Asked(None), Input::Events(events)) => {
                    let events = events.into_iter().map(|event| event.event);
                    let endpoint = Endpoint::of_claim(self.head.claim);
                    if models::answer(endpoint, &self.head, &self.context, events, &mut out) {
                        self.state = State::Done;
                    }
                }
                (State::Answering(_, answer), Input::Events(events)) => {
                    for event in events {
                        answer.event(event.event, &mut out);
                        if answer.is_done() {
                            break;
                        }
                    }
                    if answer.is_done() {
                        self.state = State::Done;
                    }
                }
                (State::Passing(_, passing), Input::UpstreamHead(head)) => {
                    passing.head(head, &mut out);
                }
                (State::Passing(_, passing), Input::UpstreamBytes(progress)) => {
                    passing.bytes(bytes, progress, &self.options, &mut out);
                    if passing.is_done() {
                        self.state = State::Done;
                    }
                }
                (State::Passing(_, passing), Input::UpstreamEnd(_)) => {
                    passing.end(&self.options, &mut out);
                    self.state = State::Done;
                }
                // A call that failed before a worker was found.
                (State::Asked(_), Input::Events(events)) => {
                    if let Some(failure) = failed(events) {
                        self.refuse(failure, &mut out);
                    }
                }
                // So does one that the host failed although it was passed.
                (State::Passing(_, passing), Input::Events(events)) => {
                    if let Some(failure) = failed(events) {
                        passing.fail(&failure, &self.options, &mut out);
                        self.state = State::Done;
                    }
                }
                (_, Input::Cut(cut)) => self.cut(&cut, &mut out),
                _ => {}
            }
        }
        out
    }
}

/// The failure among the events of a call that no worker has answered yet.
fn failed(events: Vec<CallEvent>) -> Option<Failure> {
    events.into_iter().find_map(|event| match event.event {
        Event::Failed(failure) => Some(failure),
        _ => None,
    })
}
