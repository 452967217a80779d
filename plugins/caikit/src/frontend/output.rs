//! Writes an answer: one body or message, a stream of events or messages, or a failure
//! in the form that what went before leaves.

use tollgate_sdk_protocol::{
    actions, failure,
    frontend::Action,
    sse,
    types::{Failure, ResponseEnd, ResponseHead, Segment},
};

use crate::{
    answer::{Answer, Generated},
    endpoint::Endpoint,
    errors::Details,
    grpc, json,
    manifest::Door,
    rest,
};

/// Where an answer goes.
pub struct Writer {
    door: Door,
    endpoint: Option<Endpoint>,
    request_id: String,
    /// Something has gone out.
    begun: bool,
}

impl Writer {
    /// `endpoint`: of a task's answer.
    pub fn new(door: Door, endpoint: Option<Endpoint>, request_id: String) -> Self {
        Self {
            door,
            endpoint,
            request_id,
            begun: false,
        }
    }

    fn streams(&self) -> bool {
        self.endpoint.is_some_and(Endpoint::streams)
    }

    /// A whole fact of the runtime; `text`: as plain text over REST.
    pub fn fact(&mut self, body: Vec<u8>, text: bool, out: &mut Vec<Action>) {
        match (self.door, text) {
            (Door::Rest, true) => {
                out.extend(actions::respond(200, "text/plain; charset=utf-8", body));
            }
            (Door::Rest, false) => out.extend(actions::respond_json(200, body)),
            (Door::Grpc, _) => {
                out.push(Action::Message(vec![Segment::Inline(body)]));
                self.done(out);
            }
        }
    }

    /// The whole answer of a task.
    pub fn answer(&mut self, answer: &Answer, out: &mut Vec<Action>) {
        let Some(endpoint) = self.endpoint else {
            return;
        };
        self.begun = true;
        match self.door {
            Door::Rest => {
                out.push(actions::head(200, "application/json"));
                out.push(data(rest::result::write(answer, endpoint)));
            }
            Door::Grpc => {
                let message = grpc::result::write(answer, endpoint);
                out.push(Action::Message(vec![Segment::Inline(message)]));
            }
        }
    }

    /// What is new in a stream.
    pub fn piece(&mut self, generated: &Generated, out: &mut Vec<Action>) {
        match self.door {
            Door::Rest => self.event("message", &rest::result::write_piece(generated), out),
            Door::Grpc => {
                self.begun = true;
                let message = grpc::result::write_piece(generated);
                out.push(Action::Message(vec![Segment::Inline(message)]));
            }
        }
    }

    fn event(&mut self, name: &str, json: &[u8], out: &mut Vec<Action>) {
        if !self.begun {
            self.begun = true;
            out.push(Action::Head(ResponseHead {
                status: 200,
                headers: vec![
                    actions::header("content-type", "text/event-stream; charset=utf-8"),
                    actions::header("cache-control", "no-store"),
                    actions::header("x-accel-buffering", "no"),
                ],
            }));
        }
        let mut lines = Vec::new();
        sse::write(&mut lines, Some(name), json);
        // This runtime ends its lines as HTTP does. JSON has no line ends of its own.
        let mut event = Vec::with_capacity(lines.len() + 3);
        for byte in lines {
            if byte == b'\n' {
                event.push(b'\r');
            }
            event.push(byte);
        }
        out.push(data(event));
    }

    /// All went well.
    pub fn done(&mut self, out: &mut Vec<Action>) {
        if self.door == Door::Grpc {
            out.push(trailers(0, None));
        }
        out.push(Action::Finish);
    }

    /// It did not.
    pub fn failed(&mut self, failure: Failure, out: &mut Vec<Action>) {
        match self.door {
            // The runtime has begun its answer before it looks at the request.
            Door::Rest if self.streams() => {
                let json = json::write(&Details::of(&failure, &self.request_id));
                self.event("error", &json, out);
                out.push(Action::Finish);
            }
            Door::Grpc if self.begun => {
                let code = failure::grpc_code(&failure.kind);
                out.push(trailers(code, Some(failure.message)));
                out.push(Action::Finish);
            }
            _ => out.extend(actions::refuse(failure)),
        }
    }
}

fn data(bytes: Vec<u8>) -> Action {
    Action::Data(vec![Segment::Inline(bytes)])
}

fn trailers(code: u32, message: Option<String>) -> Action {
    Action::Trailers(ResponseEnd {
        code: Some(code),
        message,
        trailers: Vec::new(),
    })
}
