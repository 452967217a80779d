//! The steps of an exchange, as the proxy makes them. This file is compiled twice: its parent gives
//! it the types of its side, and `Plugin`, `Exchange`, `Attempt` and `Table`.

use bytes::Bytes;
use tollgate_wire::source::{Feeder, Source};

use super::{Exchange, Plugin, Table, backend, frontend, types};
use crate::script::{Protocol, Script};

/// Source numbers of responses begin here.
const RESPONSE: u32 = 1 << 31;
/// Most that a response's source holds; it is released as it is read.
const WINDOW: u64 = 1 << 20;

/// What came out, to be compared between the sides: how many actions of what kind matter, and
/// the bytes that plugins wrote themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes written inline, of requests and of answers.
    pub inline: usize,
    /// Ranges that the host is to copy or convert.
    pub ranges: usize,
    /// Events that the backend made.
    pub events: usize,
    /// Usages told.
    pub usages: usize,
    /// The exchange has come to its end.
    pub finished: bool,
}

impl Outcome {
    fn segments(&mut self, segments: &[types::Segment]) {
        for segment in segments {
            match segment {
                types::Segment::Inline(bytes) => self.inline += bytes.len(),
                _ => self.ranges += 1,
            }
        }
    }

    fn take(&mut self, actions: &[frontend::Action]) {
        for action in actions {
            match action {
                frontend::Action::Data(segments) | frontend::Action::Message(segments) => {
                    self.segments(segments);
                }
                frontend::Action::Usage(_) => self.usages += 1,
                frontend::Action::Finish | frontend::Action::Trailers(_) => self.finished = true,
                frontend::Action::Refuse(failure) => panic!("refused: {failure:?}"),
                _ => {}
            }
        }
    }
}

fn context() -> types::Context {
    types::Context {
        request_id: "0123456789abcdef".to_owned(),
        unix_time: 1_700_000_000,
        seed: 42,
        route: "bench".to_owned(),
        default_model: None,
        deadline_ms: Some(60_000),
        extensions: Vec::new(),
    }
}

fn head(claim: u32, script: &Script) -> frontend::RequestHead {
    let header = |name: &str, value: &str| types::Header {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let content_type = if script.client.is_grpc() {
        "application/grpc"
    } else {
        "application/json"
    };
    let mut headers = vec![header("content-type", content_type)];
    if script.client == Protocol::CaikitGrpc {
        headers.push(header("mm-model-id", "m"));
    }
    frontend::RequestHead {
        claim,
        method: "POST".to_owned(),
        path: script.claim().replace("{model}", "m"),
        query: String::new(),
        parameters: match script.client {
            Protocol::TritonHttp => vec![frontend::Parameter {
                name: "model".to_owned(),
                value: "m".to_owned(),
            }],
            _ => Vec::new(),
        },
        headers,
    }
}

fn progress(source: u32, of: &Source) -> types::Progress {
    let progress = of.progress();
    types::Progress {
        source,
        available: progress.available,
        total: progress.total,
        end: progress.end,
    }
}

/// A client's exchange, up to its call.
fn ask(plugin: &Plugin, script: &Script, table: &mut Table, source: &Source) -> (Exchange, u32) {
    table.insert(0, source.clone());
    let claim = plugin.claim(script.claim());
    let size = script.request.len() as u64;
    let mut exchange = plugin.exchange(size, &context(), head(claim, script));
    let arrived = progress(0, source);
    let inputs = if script.client.is_grpc() {
        vec![
            frontend::Input::Message(frontend::GrpcMessage { progress: arrived }),
            frontend::Input::MessagesEnd,
        ]
    } else {
        vec![frontend::Input::Body(arrived)]
    };
    let actions = exchange.step(table, inputs, size);
    let call = actions.iter().find_map(|action| match action {
        frontend::Action::Call(intent) => Some(intent.id),
        _ => None,
    });
    let call = call.unwrap_or_else(|| panic!("a call, and not {actions:?}"));
    (exchange, call)
}

/// One exchange, translated: through the client's frontend and the worker's backend.
///
/// # Panics
/// When a plugin does not do what it is there for.
pub fn translate(front: &Plugin, back: &Plugin, script: &Script) -> Outcome {
    let mut outcome = Outcome::default();
    let source = Source::whole(script.request.clone());
    let size = script.request.len() as u64;
    let (mut table, mut sources) = (Table::default(), Table::default());
    let (mut exchange, id) = ask(front, script, &mut table, &source);
    let way = frontend::Way::Translate(frontend::TranslateTo {
        model: "m".to_owned(),
    });
    let dispatched = frontend::Input::Dispatched(frontend::Dispatched { call: id, way });
    let actions = exchange.step(&mut table, vec![dispatched], size);
    let call = actions.into_iter().find_map(|action| match action {
        frontend::Action::Materialise(made) => Some(made.call),
        _ => None,
    });
    let call = call.expect("a neutral call");
    // What the call holds lies under the same number as at the client's side.
    sources.insert(0, source);
    let worker = backend::Worker {
        name: "w".to_owned(),
        dialect: script.worker.dialect().to_owned(),
        options: script.worker.options().to_owned(),
        models: vec!["m".to_owned()],
    };
    let mut attempt = back.attempt(size, &context(), &worker, vec![call], &mut sources);
    let actions = attempt.step(&mut sources, vec![backend::Input::Start], size);
    for action in &actions {
        if let backend::Action::Request(request) = action {
            outcome.segments(&request.body);
        }
    }
    assert!(outcome.inline > 0, "no request: {actions:?}");
    let mut arriving = Arriving::new(script);
    while let Some(inputs) = arriving.next(&mut sources) {
        let bytes = inputs.1;
        let actions = attempt.step(&mut sources, inputs.0, bytes);
        let mut kept = None;
        let mut told = Vec::new();
        for action in actions {
            match action {
                backend::Action::Events(events) => {
                    told.extend(events.into_iter().map(|said| frontend::CallEvent {
                        call: id,
                        event: said.event,
                    }))
                }
                backend::Action::Need(need) => kept = Some(need.keep_from),
                _ => {}
            }
        }
        arriving.release(&mut sources, kept);
        if !told.is_empty() {
            outcome.events += told.len();
            let actions = exchange.step(&mut table, vec![frontend::Input::Events(told)], 0);
            outcome.take(&actions);
        }
    }
    assert!(outcome.finished, "no end: {outcome:?}");
    outcome
}

/// One exchange that is passed, up to what goes upstream; and, where the frontend wants to see
/// the answer, that too.
///
/// # Panics
/// When the plugin does not do what it is there for.
pub fn pass(front: &Plugin, script: &Script) -> Outcome {
    let mut outcome = Outcome::default();
    let source = Source::whole(script.request.clone());
    let mut table = Table::default();
    let (mut exchange, id) = ask(front, script, &mut table, &source);
    let way = frontend::Way::Pass(frontend::PassTo {
        model: "served".to_owned(),
        dialect: script.client.dialect().to_owned(),
        options: String::new(),
    });
    let dispatched = frontend::Input::Dispatched(frontend::Dispatched { call: id, way });
    let actions = exchange.step(&mut table, vec![dispatched], script.request.len() as u64);
    let passed = actions.iter().find_map(|action| match action {
        frontend::Action::Pass(passed) => Some(passed),
        _ => None,
    });
    let passed = passed.unwrap_or_else(|| panic!("passed, and not {actions:?}"));
    for edit in &passed.edits {
        outcome.segments(&edit.replacement);
    }
    if matches!(passed.response, frontend::ResponseMode::Blind) {
        outcome.finished = true;
        return outcome;
    }
    let mut arriving = Arriving::new(script);
    while let Some((inputs, bytes)) = arriving.next(&mut table) {
        let inputs = inputs.into_iter().map(upstream).collect();
        let actions = exchange.step(&mut table, inputs, bytes);
        let kept = actions.iter().find_map(|action| match action {
            frontend::Action::Need(need) => Some(need.keep_from),
            _ => None,
        });
        arriving.release(&mut table, kept);
        outcome.take(&actions);
    }
    outcome.finished = true;
    outcome
}

/// The same, as a frontend is told of a passed answer.
fn upstream(input: backend::Input) -> frontend::Input {
    match input {
        backend::Input::Head(head) => frontend::Input::UpstreamHead(head),
        backend::Input::Bytes(progress) => frontend::Input::UpstreamBytes(progress),
        backend::Input::Message(progress) => {
            frontend::Input::UpstreamMessage(frontend::GrpcMessage { progress })
        }
        backend::Input::End(end) => frontend::Input::UpstreamEnd(end),
        _ => unreachable!("an answer is made of these"),
    }
}

/// An answer that arrives step by step.
struct Arriving<'a> {
    script: &'a Script,
    step: usize,
    messages: u32,
    /// A body that is still coming.
    body: Option<(Source, Feeder)>,
}

impl<'a> Arriving<'a> {
    fn new(script: &'a Script) -> Self {
        Self {
            script,
            step: 0,
            messages: 0,
            body: None,
        }
    }

    /// The inputs of the next step, and how many bytes the largest names.
    fn next(&mut self, table: &mut Table) -> Option<(Vec<backend::Input>, u64)> {
        let pieces = self.script.answer.get(self.step)?;
        let first = self.step == 0;
        self.step += 1;
        let last = self.step == self.script.answer.len();
        let mut inputs = Vec::with_capacity(pieces.len() + 2);
        if first {
            if !self.script.worker.is_grpc() {
                let (source, feeder) = Source::streaming(WINDOW, WINDOW, None);
                table.insert(RESPONSE, source.clone());
                self.body = Some((source, feeder));
            }
            inputs.push(backend::Input::Head(types::ResponseHead {
                status: 200,
                headers: vec![types::Header {
                    name: "content-type".to_owned(),
                    value: self.script.content_type().to_owned(),
                }],
            }));
        }
        let largest = pieces.iter().map(Bytes::len).max().unwrap_or(0) as u64;
        match self.body.take() {
            Some((source, mut feeder)) => {
                for piece in pieces {
                    let mut piece = piece.clone();
                    feeder.try_push(&mut piece).expect("it is read");
                    assert!(piece.is_empty(), "there is room for a step");
                }
                if last {
                    feeder.end();
                    inputs.push(backend::Input::Bytes(progress(RESPONSE, &source)));
                } else {
                    inputs.push(backend::Input::Bytes(progress(RESPONSE, &source)));
                    self.body = Some((source, feeder));
                }
            }
            None => {
                for piece in pieces {
                    let id = RESPONSE + self.messages;
                    self.messages += 1;
                    let source = Source::whole(piece.clone());
                    let progress = progress(id, &source);
                    table.insert(id, source);
                    inputs.push(backend::Input::Message(progress));
                }
            }
        }
        if last {
            let grpc = self.script.worker.is_grpc();
            inputs.push(backend::Input::End(types::ResponseEnd {
                code: grpc.then_some(0),
                message: None,
                trailers: Vec::new(),
            }));
        }
        Some((inputs, largest))
    }

    /// Lets go of what has been seen and is not to be kept.
    fn release(&mut self, table: &mut Table, keep_from: Option<u64>) {
        if let Some((source, _)) = &self.body {
            source.release(keep_from.unwrap_or(source.progress().available));
        } else if self.script.worker.is_grpc() {
            let pieces = self.script.answer[self.step - 1].len() as u32;
            for id in self.messages - pieces..self.messages {
                table.remove(RESPONSE + id);
            }
        }
    }
}
