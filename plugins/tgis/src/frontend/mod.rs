//! Speaks to clients of `fmaas.GenerationService`.
//!
//! 1. The request's one message is read and validated; a call is made for it.
//! 2. A worker of this dialect was found: the message is passed, with `model_id` edited to
//!    the name that the model has there. Otherwise the neutral call is written.
//! 3. Passed: the response is watched for token counts. Translated: the events become
//!    messages (`batch`, `stream`, `reply`).

mod ask;
mod batch;
mod neutral;
mod reply;
mod request;
mod stream;
mod tap;
mod validate;

use std::sync::Arc;

use prost::Message;
use tollgate_sdk_protocol::{
    Bytes, Frontend, actions, failure,
    frontend::{Action, CallUsage, Dispatched, Input, Materialised, Way},
    inference::{Event, Usage},
    one_call::unknown_way,
    types::{Cut, Failure, FailureKind, Progress, ResponseEnd, Segment},
};

use crate::{
    fmaas::{BatchedGenerationResponse, BatchedTokenizeResponse},
    options::Options,
};
use reply::{Output, Reply};
pub use request::Method;
use request::{Asked, What};
use tap::Tap;

/// The one call of an exchange.
const CALL: u32 = 0;

/// Bytes of a message read at a time: most messages, and their texts, are smaller.
const WINDOW: u32 = 4096;

/// One client request.
pub struct Exchange {
    options: Arc<Options>,
    method: Method,
    state: State,
    /// A message has gone out: a failure is told by trailers.
    sent: bool,
}

enum State {
    /// Nothing has come yet, or not all of it.
    Reading,
    /// The call waits for a worker.
    Waiting(Asked),
    /// The request was passed, and the response is watched.
    Passing(Asked, Tap),
    /// The events make the answer.
    Answering(Asked, Box<Reply>),
    /// Nothing more is done.
    Over,
}

impl Exchange {
    /// An exchange for a call of this method.
    pub fn new(options: Arc<Options>, method: Method) -> Self {
        Self {
            options,
            method,
            state: State::Reading,
            sent: false,
        }
    }

    fn input(&mut self, bytes: &dyn Bytes, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Message(message) => self.message(bytes, message.progress, out),
            Input::MessagesEnd if matches!(self.state, State::Reading) => {
                self.fail(failure::invalid("a request message is needed", None), out);
            }
            Input::Dispatched(dispatched) => self.dispatched(dispatched, out),
            Input::Events(events) => {
                for event in events {
                    self.event(event.event, out);
                }
            }
            Input::UpstreamMessage(message) => self.watched(bytes, message.progress, out),
            Input::UpstreamEnd(_) => self.passed(out),
            Input::Cut(cut) => self.cut(&cut, out),
            _ => {}
        }
    }

    fn message(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        if !matches!(self.state, State::Reading) {
            // Messages are numbered from 0; the same one again is no second one.
            if progress.source != 0 {
                self.fail(failure::invalid("more than one request message", None), out);
            }
            return;
        }
        // Held to the end of the exchange: another worker may need it again.
        out.push(Action::Need(actions::whole(progress.source)));
        if !progress.end {
            return;
        }
        let asked = Asked::read(bytes, progress.source, progress.available, self.method).and_then(
            |asked| match &asked.what {
                What::Generate(generate) => validate::everywhere(&generate.params).map(|()| asked),
                What::Tokenize(_) | What::Model => Ok(asked),
            },
        );
        match asked {
            Err(failure) => self.fail(failure, out),
            // Servers answer an empty batch with an empty batch: there is nothing to do.
            Ok(asked) if asked.items() == 0 => {
                let empty = match asked.what {
                    What::Tokenize(_) => BatchedTokenizeResponse::default().encode_to_vec(),
                    _ => BatchedGenerationResponse::default().encode_to_vec(),
                };
                self.carry_out(vec![Output::Message(empty), Output::Done], None, out);
            }
            Ok(asked) => {
                out.push(Action::Call(ask::intent(&asked, &self.options)));
                self.state = State::Waiting(asked);
            }
        }
    }

    fn dispatched(&mut self, dispatched: Dispatched, out: &mut Vec<Action>) {
        let state = std::mem::replace(&mut self.state, State::Over);
        let (State::Waiting(asked) | State::Passing(asked, _) | State::Answering(asked, _)) = state
        else {
            return;
        };
        match dispatched.way {
            Way::Pass(to) => {
                out.push(Action::Pass(ask::pass(&asked, &to, &self.options)));
                self.state = State::Passing(asked, Tap::default());
            }
            Way::Translate(to) => {
                if let What::Generate(generate) = &asked.what
                    && let Err(failure) = validate::translated(&generate.params, &self.options)
                {
                    out.push(Action::Cancel(CALL));
                    self.fail(failure, out);
                    return;
                }
                let reply = Reply::to(&asked, &to.model, ask::limited(&asked, &self.options));
                let call = neutral::call(&asked, to.model, &self.options);
                out.push(Action::Materialise(Materialised { id: CALL, call }));
                self.state = State::Answering(asked, Box::new(reply));
            }
            Way::Other(other) => {
                self.fail(unknown_way(&other.name), out);
            }
        }
    }

    fn watched(&mut self, bytes: &dyn Bytes, progress: Progress, out: &mut Vec<Action>) {
        let State::Passing(_, tap) = &mut self.state else {
            return;
        };
        if progress.end {
            let batch = self.method == Method::Generate;
            tap.read(bytes, progress.source, progress.available, batch);
        } else {
            out.push(Action::Need(actions::whole(progress.source)));
        }
    }

    /// A passed response has ended, well or not: the host has told the client.
    fn passed(&mut self, out: &mut Vec<Action>) {
        if let State::Passing(_, tap) = std::mem::replace(&mut self.state, State::Over) {
            out.extend(tap.usage().map(usage));
            out.push(Action::Finish);
        }
    }

    fn event(&mut self, event: Event, out: &mut Vec<Action>) {
        let reply = match &mut self.state {
            State::Answering(_, reply) => reply,
            // Events of one step come together, and one before this may have ended it.
            State::Over => return,
            // Before it is answered a call can only fail: it found no worker, or the pass
            // reached none.
            _ => {
                if let Event::Failed(failure) = event {
                    self.fail(failure, out);
                }
                return;
            }
        };
        let mut outputs = Vec::new();
        reply.take(event, &mut outputs);
        let counted = reply.usage();
        self.carry_out(outputs, counted, out);
    }

    fn carry_out(&mut self, outputs: Vec<Output>, counted: Option<Usage>, out: &mut Vec<Action>) {
        for output in outputs {
            match output {
                Output::Message(message) => {
                    self.sent = true;
                    out.push(Action::Message(vec![Segment::Inline(message)]));
                }
                Output::Done => {
                    out.extend(counted.clone().map(usage));
                    self.end(0, None, out);
                    return;
                }
                Output::Failed(failure) => {
                    out.extend(counted.clone().map(usage));
                    self.fail(failure, out);
                    return;
                }
            }
        }
    }

    fn cut(&mut self, cut: &Cut, out: &mut Vec<Action>) {
        let (kind, what) = match (&self.state, cut) {
            (State::Over, _) => return,
            (State::Passing(_, tap), _) => {
                out.extend(tap.usage().map(usage));
                // Messages may have gone through: only trailers can tell.
                self.sent = true;
                match cut {
                    Cut::Deadline => (
                        FailureKind::DeadlineExceeded,
                        "the worker did not answer in time",
                    ),
                    _ => (
                        FailureKind::UpstreamUnavailable,
                        "the worker broke off its answer",
                    ),
                }
            }
            (_, Cut::Deadline) => (
                FailureKind::DeadlineExceeded,
                "the request did not arrive in time",
            ),
            (_, Cut::Limit) => (
                FailureKind::PayloadTooLarge,
                "the request message is too large",
            ),
            (_, Cut::Malformed) => (
                FailureKind::InvalidArgument,
                "the request is not framed as gRPC says",
            ),
            (_, Cut::Closed | Cut::Other(_)) => (FailureKind::Cancelled, "the request broke off"),
        };
        self.fail(failure::of(kind, what), out);
    }

    fn fail(&mut self, failure: Failure, out: &mut Vec<Action>) {
        if self.sent {
            let code = failure::grpc_code(&failure.kind);
            self.end(code, Some(failure.message), out);
        } else {
            self.state = State::Over;
            out.extend(actions::refuse(failure));
        }
    }

    fn end(&mut self, code: u32, message: Option<String>, out: &mut Vec<Action>) {
        self.state = State::Over;
        out.push(Action::Trailers(ResponseEnd {
            code: Some(code),
            message,
            trailers: Vec::new(),
        }));
        out.push(Action::Finish);
    }
}

fn usage(usage: Usage) -> Action {
    Action::Usage(CallUsage { id: CALL, usage })
}

impl Frontend for Exchange {
    fn step(&mut self, bytes: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
        let mut out = Vec::new();
        for input in inputs {
            if matches!(self.state, State::Over) {
                break;
            }
            self.input(bytes, input, &mut out);
        }
        out
    }
}
