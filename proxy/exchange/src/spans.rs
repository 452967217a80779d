//! What is told of a request to a worker, wherever it is made: the same of one that is passed and
//! of one that a backend makes.

use tollgate_plugin::inference;
use tollgate_telemetry::{Operation, Step, genai, spans::Kind, spans::Under};

use tollgate_dispatch::pool::Bill;

use crate::{attempt::Member, house::Station};

/// Begins the span of a request to a worker: `MODEL` is how the worker calls it. By the conventions
/// for generative AI it is called by the operation and the model, and by those for HTTP it is the
/// client's.
pub(crate) fn request(under: &Under, station: &Station, task: &str, model: &str) -> Step {
    let mut step = under.step(Kind::Client, "request");
    if !step.is_on() {
        return step;
    }
    match genai::operation_name(task) {
        Some(operation) => {
            step.name(|| format!("{operation} {model}"));
            step.tell("gen_ai.operation.name", || operation);
            step.tell("gen_ai.provider.name", || station.provider.to_string());
            step.tell("gen_ai.request.model", || model.to_owned());
            step.tell("gen_ai.response.model", || model.to_owned());
        }
        None => step.name(|| task.to_owned()),
    }
    step.tell("tollgate.worker", || station.handle.spec().name.clone());
    step.tell("tollgate.worker.dialect", || station.dialect.clone());
    if let Some((address, port)) = &station.server {
        step.tell("server.address", || address.to_string());
        step.tell("server.port", || *port);
    }
    step
}

/// Tells how a worker answers. What it refuses is an error of the client's span, which is ours.
pub(crate) fn answered(step: &mut Step, status: u16) {
    step.tell("http.response.status_code", || status);
    if status >= 400 {
        step.fail(&status.to_string());
    }
}

/// Tells what a call has used.
pub(crate) fn used(step: &mut Step, usage: &inference::Usage) {
    for (name, tokens) in [
        ("gen_ai.usage.input_tokens", usage.input_tokens),
        ("gen_ai.usage.output_tokens", usage.output_tokens),
    ] {
        if let Some(tokens) = tokens {
            step.tell(name, || tokens);
        }
    }
}

/// What a call that was given to a worker costs: of the scheduler's books, of the metrics, and of
/// the trace. What it used is often known only when its response has ended.
pub(crate) struct Account {
    pub(crate) call: u32,
    pub(crate) bill: Bill<Member>,
    pub(crate) operation: Option<Operation>,
    /// The request that was passed on; off, where a backend made one.
    pub(crate) request: Step,
    usage: Option<inference::Usage>,
}

impl Account {
    pub(crate) fn new(call: u32, bill: Bill<Member>, operation: Option<Operation>) -> Self {
        Self {
            call,
            bill,
            operation,
            request: Step::default(),
            usage: None,
        }
    }

    /// It has used so much, all in all.
    pub(crate) fn used(&mut self, usage: &inference::Usage) {
        self.bill.used(usage.input_tokens, usage.output_tokens);
        if let Some(operation) = &mut self.operation {
            operation.used(usage.input_tokens, usage.output_tokens);
        }
        if self.request.is_on() {
            self.usage = Some(usage.clone());
        }
    }

    /// The worker answers the request that was passed on.
    pub(crate) fn answered(&mut self, status: u16) {
        answered(&mut self.request, status);
        if let (Some(operation), 400..) = (&mut self.operation, status) {
            operation.failed(&status.to_string());
        }
    }

    /// It has ended with this status of gRPC.
    pub(crate) fn ended_with(&mut self, code: u32) {
        self.request.tell("rpc.grpc.status_code", || code);
        if code != 0 {
            self.failed("grpc-error");
        }
    }

    /// It failed.
    pub(crate) fn failed(&mut self, label: &str) {
        if let Some(operation) = &mut self.operation {
            operation.failed(label);
        }
        self.request.fail(label);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(usage) = self.usage.take() {
            used(&mut self.request, &usage);
        }
    }
}
