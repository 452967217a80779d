//! Speaks to clients of `fmaas.GenerationService`.
//!
//! 1. The request's one message is read and validated; a call is made for it.
//! 2. A worker of this dialect was found: the message is passed, with `model_id` edited to
//!    the name that the model has there. Otherwise the neutral call is written.
//! 3. Passed: the response is watched for token counts. Translated: the events become
//!    messages (`batch`, `stream`, `reply`).

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
    frontend::{
        Action, Affinity, CallUsage, Cost, Dispatched, Edit, Input, Intent, Materialised, PassTo,
        Passed, ResponseMode, Way,
    },
    inference::{TaskKind, Usage},
    types::{Cut, Failure, FailureKind, Need, Progress, ResponseEnd, Segment, Want},
};

use crate::{
    fmaas::{BatchedGenerationRequest, BatchedGenerationResponse, BatchedTokenizeResponse, number},
    options::Options,
};
use reply::{Output, Reply};
pub use request::Method;
use request::{Asked, What};
use tap::Tap;

/// The one call of an exchange.
const CALL: u32 = 0;

/// Bytes of text that are taken for one token, to guess the work.
const BYTES_A_TOKEN: u64 = 4;

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
    Answering(Asked, Reply),
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
        out.push(Action::Need(Need {
            source: progress.source,
            keep_from: 0,
            until: Want::All,
        }));
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
                out.push(Action::Call(self.intent(&asked)));
                self.state = State::Waiting(asked);
            }
        }
    }

    fn intent(&self, asked: &Asked) -> Intent {
        let (task, streaming, output) = match &asked.what {
            What::Generate(generate) => {
                let stopping = generate.params.stopping.as_ref();
                let each = match stopping.map_or(0, |stopping| stopping.max_new_tokens) {
                    0 => self.options.default_max_new_tokens,
                    asked => asked,
                };
                let all = u64::from(each) * generate.prompts.len() as u64;
                (TaskKind::Generate, generate.stream, batch::saturated(all))
            }
            What::Tokenize(_) => (TaskKind::Tokenize, false, 0),
            What::Model => (TaskKind::ModelMetadata, false, 0),
        };
        let named = !asked.model.is_empty() && !self.options.ignore_model_id;
        Intent {
            id: CALL,
            task,
            model: named.then(|| asked.model.clone()),
            version: None,
            streaming,
            cost: Cost {
                input: batch::saturated(asked.text_bytes() / BYTES_A_TOKEN),
                output,
            },
            affinity: Affinity::None,
            repeatable: true,
            priority: 0,
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
                out.push(Action::Pass(self.pass(&asked, &to)));
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
                let reply = Reply::to(&asked, &to.model, self.limited(&asked));
                let call = neutral::call(&asked, to.model, &self.options);
                out.push(Action::Materialise(Materialised { id: CALL, call }));
                self.state = State::Answering(asked, reply);
            }
            Way::Other(other) => {
                let what = format!("dispatched in an unknown way: {}", other.name);
                self.fail(failure::of(FailureKind::Internal, what), out);
            }
        }
    }

    /// Whether new tokens have a limit of the client's, given or by default.
    fn limited(&self, asked: &Asked) -> bool {
        let What::Generate(generate) = &asked.what else {
            return false;
        };
        let stopping = generate.params.stopping.as_ref();
        stopping.is_some_and(|stopping| stopping.max_new_tokens != 0)
            || self.options.default_max_new_tokens != 0
    }

    fn pass(&self, asked: &Asked, to: &PassTo) -> Passed {
        let mut edits = Vec::new();
        if asked.model != to.model {
            let only = BatchedGenerationRequest {
                model_id: to.model.clone(),
                ..Default::default()
            };
            debug_assert_eq!(
                number::MODEL_ID,
                1,
                "the same in every request of this service"
            );
            edits.push(Edit {
                offset: asked.model_at.offset,
                len: asked.model_at.len,
                replacement: vec![Segment::Inline(only.encode_to_vec())],
            });
        }
        let counted = matches!(asked.what, What::Generate(_)) && self.options.count_usage;
        Passed {
            id: CALL,
            path: None,
            query: None,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            edits,
            response: if counted {
                ResponseMode::Tap
            } else {
                ResponseMode::Blind
            },
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
            let source = progress.source;
            out.push(Action::Need(Need {
                source,
                keep_from: 0,
                until: Want::All,
            }));
        }
    }

    /// A passed response has ended, well or not: the host has told the client.
    fn passed(&mut self, out: &mut Vec<Action>) {
        if let State::Passing(_, tap) = std::mem::replace(&mut self.state, State::Over) {
            out.extend(tap.usage().map(usage));
            out.push(Action::Finish);
        }
    }

    fn event(&mut self, event: tollgate_sdk_protocol::inference::Event, out: &mut Vec<Action>) {
        let State::Answering(_, reply) = &mut self.state else {
            return;
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
