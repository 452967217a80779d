//! Speaks to clients: one [`Exchange`] is one request.
//!
//! 1. The body is there: find the members that say what is asked, ask for a worker.
//! 2. A worker of the same dialect was found: pass the body on with the model's name
//!    replaced, look at the response for usage (`pass`). Another one: take the body
//!    apart into a neutral call (`request`).
//! 3. Events come: write the response (`answer`).

mod answer;
mod bounded;
mod choices;
mod classes;
mod constraints;
mod edits;
mod fields;
mod models;
mod multipart;
mod naming;
mod ovms;
mod pass;
mod paths;
mod prompts;
mod ranking;
mod relay;
mod request;
mod settings;
mod stream;
mod tasks;
mod vectors;

use std::sync::Arc;

use tollgate_sdk_protocol::{
    Bytes, Frontend, actions, failure,
    frontend::{
        Action, Affinity, CallEvent, Cost, Input, Intent, Materialised, PassTo, Passed,
        RequestHead, ResponseMode, TranslateTo, Way,
    },
    inference::{Call, Event, Task, TaskKind},
    types::{Context, Cut, Failure, FailureKind, Other},
};

use self::{answer::Answer, pass::Passing, request::Request};
use crate::{
    claims::{Endpoint, Row},
    docs,
    options::{Clients, Options},
};

/// The first call of an exchange, and mostly the only one.
const CALL: u32 = 0;
/// The call that asks the catalogue, before the one that matters.
const LOOK_UP: u32 = 1;

/// One request.
pub struct Exchange {
    options: Arc<Options>,
    rows: Arc<[Row]>,
    context: Context,
    head: RequestHead,
    state: State,
}

enum State {
    /// Nothing has come.
    New,
    /// The catalogue is asked which model keeps what is asked for, by its mark.
    LookingUp(String),
    /// A worker is being looked for, or the catalogue asked.
    Asked(Option<Request>),
    /// The request was passed. It is kept for another attempt.
    Passing(Option<Request>, Box<Passing>),
    /// The request was translated. It is kept for another attempt, as are its calls.
    Answering(Option<Request>, Box<Answer>, Vec<Call>),
    /// Nothing more is to be said.
    Done,
}

impl Exchange {
    /// Begins to serve a request.
    pub fn new(
        options: Arc<Options>,
        rows: Arc<[Row]>,
        context: Context,
        head: RequestHead,
    ) -> Self {
        Self {
            options,
            rows,
            context,
            head,
            state: State::New,
        }
    }

    fn endpoint(&self) -> Option<Endpoint> {
        self.rows.get(self.head.claim as usize).map(|row| row.2)
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
                if endpoint == Endpoint::Response {
                    return self.begin_stored(out);
                }
                let mut intent = actions::intent(CALL, task, None);
                // What an operator asks is asked once.
                intent.repeatable = endpoint != Endpoint::Admin;
                out.push(Action::Call(intent));
                self.state = State::Asked(None);
            }
            None => {
                let (content_type, body) = docs::page(endpoint, &self.options, &self.rows);
                out.extend(actions::respond(200, content_type, body));
                self.state = State::Done;
            }
        }
    }

    /// What is asked of a stored response: of the model that made it, if its id tells.
    fn begin_stored(&mut self, out: &mut Vec<Action>) {
        let id = self.stored();
        // It goes on within a path: nothing that a server might take for more.
        if !relay::is_id(id) {
            let unknown = format!("Response with id '{id}' not found.");
            return self.refuse(failure::of(FailureKind::NotFound, &unknown), out);
        }
        let usual = self.context.default_model.as_deref().map(relay::mark_of);
        match relay::mark_in(id).map(str::to_owned) {
            Some(mark) if usual.as_ref() != Some(&mark) => {
                let intent = actions::intent(LOOK_UP, TaskKind::ListModels, None);
                out.push(Action::Call(intent));
                self.state = State::LookingUp(mark);
            }
            _ => self.ask_stored(None, out),
        }
    }

    fn ask_stored(&mut self, model: Option<String>, out: &mut Vec<Action>) {
        let task = Endpoint::Response.task().unwrap_or(TaskKind::Generate);
        let mut intent = actions::intent(CALL, task, model);
        if self.options.sticky_responses() {
            intent.affinity = Affinity::Pin(relay::key_of(self.stored()));
        }
        out.push(Action::Call(intent));
        self.state = State::Asked(None);
    }

    /// The id in the path.
    fn stored(&self) -> &str {
        let id = self.head.parameters.iter().find(|it| it.name == "id");
        id.map_or("", |id| id.value.as_str())
    }

    /// The catalogue has answered. One of whose models none has the mark may still have the
    /// response, as may one that did not answer.
    fn looked_up(&mut self, mark: &str, events: Vec<CallEvent>, out: &mut Vec<Action>) {
        let model = events.into_iter().find_map(|event| match event.event {
            Event::Models(models) => models
                .into_iter()
                .map(|model| model.name)
                .find(|name| relay::mark_of(name) == *mark),
            _ => None,
        });
        self.ask_stored(model, out);
    }

    fn body(&mut self, bytes: &dyn Bytes, len: u64, out: &mut Vec<Action>) {
        let Some(endpoint) = self.endpoint() else {
            return;
        };
        let seed = self.options.sticky_responses().then_some(self.context.seed);
        let clients = self.options.clients;
        match Request::read(endpoint, clients, bytes, &self.head, len, seed) {
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

    fn dispatched(&mut self, bytes: &dyn Bytes, id: u32, way: Way, out: &mut Vec<Action>) {
        // Of several calls each is sent by itself, and again after a failed attempt.
        if let State::Answering(_, _, calls) = &self.state
            && calls.len() > 1
            && let (
                Some(call),
                Way::Pass(PassTo { model, .. }) | Way::Translate(TranslateTo { model }),
            ) = (calls.get(id as usize), &way)
        {
            let call = Call {
                model: model.clone(),
                ..call.clone()
            };
            return out.push(Action::Materialise(Materialised { id, call }));
        }
        let request = match std::mem::replace(&mut self.state, State::Done) {
            State::Asked(request)
            | State::Passing(request, _)
            | State::Answering(request, _, _) => request,
            State::New | State::LookingUp(_) | State::Done => return,
        };
        let (passable, model, path) = match way {
            Way::Pass(to) => {
                let generation = || self.options.target(&to.options).generation;
                let foreign = self.options.clients != Clients::Ovms
                    && request
                        .as_ref()
                        .is_some_and(|request| request.is_foreign(bytes, generation));
                let ours = to.dialect == self.options.dialect();
                let path = self.path_at(&to.options);
                (ours && !foreign, to.model, path)
            }
            Way::Translate(TranslateTo { model }) => (false, model, None),
            Way::Other(_) => {
                let message = "the proxy found a way that this plugin does not know";
                return self.refuse(failure::of(FailureKind::Unsupported, message), out);
            }
        };
        match request {
            Some(request) if passable => {
                let passing = Passing::new(&request, &self.context, &model);
                let mut passed = passing.passed(&request, bytes, &model);
                passed.path = path;
                out.push(Action::Pass(passed));
                self.state = State::Passing(Some(request), Box::new(passing));
            }
            Some(mut request) => {
                match request.materialise(bytes, &self.context, self.options.clients, &model) {
                    Ok((calls, form)) => {
                        out.push(Action::Materialise(Materialised {
                            id: CALL,
                            call: calls[0].clone(),
                        }));
                        for id in 1..calls.len() as u32 {
                            out.push(Action::Call(Intent {
                                id,
                                // The first was asked for with the cost of all.
                                cost: Cost {
                                    input: 0,
                                    output: 0,
                                },
                                ..request.intent(bytes, &self.options)
                            }));
                        }
                        let answer = Answer::new(Arc::clone(&self.options), form);
                        self.state = State::Answering(Some(request), Box::new(answer), calls);
                    }
                    Err(failure) => self.refuse(failure, out),
                }
            }
            // A question without a body.
            None if passable && self.endpoint().is_some_and(Endpoint::is_relayed) => {
                out.push(Action::Pass(Passed {
                    id: CALL,
                    path,
                    query: None,
                    set_headers: Vec::new(),
                    remove_headers: Vec::new(),
                    edits: Vec::new(),
                    response: ResponseMode::Blind,
                }));
                self.state = State::Passing(None, Box::new(Passing::blind()));
            }
            // The catalogue's questions, should a worker be asked them.
            None => {
                let task = match self.endpoint() {
                    Some(Endpoint::Health) => Task::ServerReady,
                    Some(Endpoint::Load) => Task::ServerMetadata,
                    Some(endpoint) if endpoint.is_relayed() => opaque(endpoint),
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

    /// The path at a worker with these options, where it is not the client's own.
    fn path_at(&self, options: &str) -> Option<String> {
        // Most have none, and are not read for it.
        if !options.contains("\"prefix\"") {
            return None;
        }
        let prefix = self.options.target(options).prefix;
        let endpoint = self.endpoint()?;
        paths::at(&self.head.path, endpoint, self.options.clients, &prefix)
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
                    self.dispatched(bytes, dispatched.call, dispatched.way, &mut out);
                }
                (State::LookingUp(mark), Input::Events(events)) => {
                    let mark = std::mem::take(mark);
                    self.looked_up(&mark, events, &mut out);
                }
                (State::Asked(None), Input::Events(events)) => {
                    let events = events.into_iter().map(|event| event.event);
                    let endpoint = self.endpoint();
                    let clients = self.options.clients;
                    let asked = models::Asked {
                        endpoint,
                        head: &self.head,
                        context: &self.context,
                        clients,
                    };
                    if models::answer(&asked, events, &mut out) {
                        self.state = State::Done;
                    }
                }
                (State::Answering(request, answer, _), Input::Events(events)) => {
                    for CallEvent { call, event } in events {
                        let event = match (event, &request) {
                            (Event::Failed(failed), Some(request)) => {
                                Event::Failed(naming::as_sent(bytes, request, failed))
                            }
                            (event, _) => event,
                        };
                        answer.event(call, event, &mut out);
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

/// A task that has no neutral form, by its name.
fn opaque(endpoint: Endpoint) -> Task {
    let name = match endpoint.task() {
        Some(TaskKind::Other(name)) => name,
        _ => String::new(),
    };
    Task::Other(Other {
        name,
        payload: Vec::new(),
    })
}
