//! One request's access-log line and counts.
//!
//! 1. [`Record::begin`] when the head has come: the request counts as in flight.
//! 2. Whoever learns something about it notes it on a clone.
//! 3. When the last clone is dropped the request is over: the line is written (target `access`,
//!    one event), the metrics are counted, and its span ends where it is traced. So no way out of
//!    the request path can be forgotten.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use opentelemetry::trace::TraceId;
use parking_lot::Mutex;

use crate::genai::{self, Meters, Operation, Served};
use crate::metrics::{Metrics, RouteMeters};
use crate::spans::{Attribute, Trail, Value};
use crate::trace::TraceContext;

use crate::pulse::{Ending, Failure, unix_millis};

/// Longest path or name in a line, in bytes.
const LONGEST: usize = 256;
/// What stands for a label that is not known, as of a request that no frontend claimed.
const NONE: &str = "none";
/// How most requests end.
const OK: &str = "ok";

/// What is known when a request begins.
#[derive(Clone, Debug)]
pub struct RecordStart {
    /// Names the request in logs here and upstream.
    pub request_id: String,
    /// Configured name of its route; `none` where no route matched.
    pub route: Arc<str>,
    /// Configured name of its listener.
    pub listener: Arc<str>,
    /// Its method.
    pub method: Method,
    /// Its path; a query is cut off.
    pub path: String,
    /// `h1` or `h2`.
    pub protocol: &'static str,
    /// Who is at the other end of the connection.
    pub peer: SocketAddr,
}

/// The record of one request. Clones are the same record.
#[derive(Clone, Debug)]
pub struct Record {
    open: Arc<Open>,
}

struct Open {
    metrics: Arc<Metrics>,
    meters: Arc<RouteMeters>,
    start: RecordStart,
    began: Instant,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    trace: Option<TraceId>,
    trail: Trail,
    /// What the claim on it is for: of few values.
    claim: Option<Arc<str>>,
    frontend: Option<(Arc<str>, u64)>,
    dialect: Option<Arc<str>>,
    identity: Option<String>,
    tenant: Option<String>,
    streaming: bool,
    backend: Option<(Arc<str>, u64)>,
    worker_dialect: Option<String>,
    batch: Option<usize>,
    queued: Option<Duration>,
    received: u64,
    last_byte: Option<Duration>,
    meters: Option<Arc<Meters>>,
    task: Option<String>,
    model: Option<String>,
    served_as: Option<Arc<str>>,
    worker: Option<String>,
    status: Option<u16>,
    grpc: Option<u32>,
    failure: Option<String>,
    culprit: Option<String>,
    gone: bool,
    tokens_in: Option<u64>,
    tokens_out: Option<u64>,
    sent: u64,
    first_byte: Option<Duration>,
    retries: u32,
}

// === impl Record ===

impl Record {
    /// Begins the record of a request.
    #[must_use]
    pub fn begin(metrics: &Arc<Metrics>, mut start: RecordStart) -> Self {
        if let Some(query) = start.path.find(['?', '#']) {
            start.path.truncate(query);
        }
        shorten(&mut start.path);
        let meters = metrics.route(&start.route);
        meters.in_flight.inc();
        Self {
            open: Arc::new(Open {
                metrics: metrics.clone(),
                meters,
                start,
                began: Instant::now(),
                notes: Mutex::default(),
            }),
        }
    }

    fn note(&self, note: impl FnOnce(&mut Notes)) {
        note(&mut self.open.notes.lock());
    }

    /// The trace that the request belongs to, and what of it is recorded.
    pub fn trace(&self, trace: &TraceContext, trail: &Trail) {
        self.note(|n| {
            n.trace = Some(trace.trace_id());
            n.trail = trail.clone();
        });
    }

    /// What of the request is recorded.
    #[must_use]
    pub fn trail(&self) -> Trail {
        self.open.notes.lock().trail.clone()
    }

    /// The claim on it, as its manifest writes the path or the method.
    pub fn claim(&self, claim: &Arc<str>) {
        self.note(|n| n.claim = Some(claim.clone()));
    }

    /// The plugin that speaks to the client, and its generation.
    pub fn frontend(&self, name: &Arc<str>, generation: u64) {
        self.note(|n| n.frontend = Some((name.clone(), generation)));
    }

    /// What the client speaks, by the name of the manifest.
    pub fn dialect(&self, dialect: &Arc<str>) {
        self.note(|n| n.dialect = Some(dialect.clone()));
    }

    /// Name of the token's holder.
    pub fn identity(&self, name: &str) {
        self.note(|n| n.identity = Some(short(name)));
    }

    /// Whose part of the capacity it takes.
    pub fn tenant(&self, name: &str) {
        self.note(|n| n.tenant = Some(short(name)));
    }

    /// A stream is asked for.
    pub fn streaming(&self, streaming: bool) {
        self.note(|n| n.streaming = streaming);
    }

    /// A call of it waited so long for a worker; all waits are added up.
    pub fn queued(&self, waited: Duration) {
        self.note(|n| n.queued = Some(n.queued.unwrap_or_default() + waited));
    }

    /// So many calls go to the worker together, this one's included.
    pub fn batch(&self, size: usize) {
        self.note(|n| n.batch = Some(size));
    }

    /// The plugin that speaks to the worker asked last, and its generation; a worker that is passed
    /// the request as it is needs none.
    pub fn backend(&self, name: &Arc<str>, generation: u64) {
        self.note(|n| n.backend = Some((name.clone(), generation)));
    }

    /// What the worker asked last speaks, by the name of the manifest.
    pub fn worker_dialect(&self, dialect: &str) {
        self.note(|n| n.worker_dialect = Some(short(dialect)));
    }

    /// The request is what this call is.
    pub fn operation(&self, call: &Operation) {
        self.note(|n| n.meters = Some(call.meters().clone()));
    }

    /// The request is answered by a composition, whose sub-calls are counted by themselves.
    pub fn composed(&self, task: &str, composition: &str, model: &str) {
        let Some(operation) = genai::operation_name(task) else {
            return;
        };
        let genai = &self.open.metrics.genai;
        let meters = genai.of(operation, Some(composition), model);
        self.note(|n| n.meters = Some(meters));
    }

    /// So many bytes of the request's body have come so far.
    pub fn received(&self, bytes: u64) {
        self.note(|n| n.received = n.received.max(bytes));
    }

    /// What is asked, by its name in the contract.
    pub fn task(&self, task: &str) {
        self.note(|n| n.task = Some(short(task)));
    }

    /// The model, as the client names it: in the line, never a label.
    pub fn model(&self, model: &str) {
        self.note(|n| n.model = Some(short(model)));
    }

    /// What the worker that was asked last calls the model.
    pub fn served_as(&self, model: &Arc<str>) {
        self.note(|n| n.served_as = Some(model.clone()));
    }

    /// The worker that was asked last.
    pub fn worker(&self, worker: &str) {
        self.note(|n| n.worker = Some(short(worker)));
    }

    /// Status of the response's head.
    pub fn status(&self, status: u16) {
        self.note(|n| n.status = Some(status));
    }

    /// Status in gRPC's trailers.
    pub fn grpc_status(&self, status: u32) {
        self.note(|n| n.grpc = Some(status));
    }

    /// It failed; the label is of the contract's table. The first one counts: what comes after it
    /// is a consequence.
    pub fn failed(&self, label: &str) {
        self.note(|n| {
            n.failure.get_or_insert_with(|| short(label));
        });
    }

    /// A plugin that failed is to blame. The first one counts.
    pub fn blame(&self, plugin: &str) {
        self.note(|n| {
            n.culprit.get_or_insert_with(|| short(plugin));
        });
    }

    /// The plugin that is to blame, if one is.
    #[must_use]
    pub fn culprit(&self) -> Option<String> {
        self.open.notes.lock().culprit.clone()
    }

    /// Whether it is known by now to have ended with an error, whoever's fault it was.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let notes = self.open.notes.lock();
        let status = notes.status.is_some_and(|status| status >= 400);
        notes.failure.is_some() || status || notes.grpc.is_some_and(|code| code != 0)
    }

    /// The client went away while its response was on the way.
    pub fn gone(&self) {
        self.note(|n| n.gone = true);
    }

    /// Tokens read and generated, where known. Later figures replace earlier ones: they are sums.
    pub fn usage(&self, input: Option<u64>, output: Option<u64>) {
        self.note(|n| {
            n.tokens_in = input.or(n.tokens_in);
            n.tokens_out = output.or(n.tokens_out);
        });
    }

    /// So many bytes of the response's body were handed to the connection.
    pub fn sent(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let open = &*self.open;
        let now = open.began.elapsed();
        self.note(|n| {
            n.first_byte.get_or_insert(now);
            n.last_byte = Some(now);
            n.sent += bytes as u64;
        });
    }

    /// Another attempt is made.
    pub fn retried(&self) {
        self.note(|n| n.retries += 1);
    }
}

// === impl Open ===

impl Drop for Open {
    fn drop(&mut self) {
        let duration = self.began.elapsed();
        let (meters, start, notes) = (&self.meters, &self.start, self.notes.get_mut());
        let outcome = notes.outcome();
        let named = |plugin: &Option<(Arc<str>, u64)>| plugin.clone().unzip();
        let (frontend, generation) = named(&notes.frontend);
        let (backend, backend_generation) = named(&notes.backend);
        let (frontend, backend) = (frontend.as_deref(), backend.as_deref());
        let task = notes.task.as_deref();

        meters.in_flight.dec();
        meters.duration.observe(duration.as_secs_f64());
        if let Some(first) = notes.first_byte {
            meters.first_byte.observe(first.as_secs_f64());
        }
        if let Some(queued) = notes.queued {
            meters.queued.observe(queued.as_secs_f64());
        }
        meters.received.inc_by(notes.received);
        meters.sent.inc_by(notes.sent);
        meters.retries.inc_by(notes.retries.into());
        meters.tokens_in.inc_by(notes.tokens_in.unwrap_or(0));
        meters.tokens_out.inc_by(notes.tokens_out.unwrap_or(0));
        let labels = (frontend.unwrap_or(NONE), task.unwrap_or(NONE));
        self.metrics
            .ended(&meters.route, labels.0, labels.1, outcome);
        let error = Some(outcome).filter(|outcome| *outcome != OK);
        if let Some(meters) = &notes.meters {
            let served = Served {
                duration,
                error,
                streaming: notes.streaming,
                first: notes.first_byte,
                last: notes.last_byte,
                tokens: notes.tokens_out,
            };
            self.metrics.genai.served(meters, &served);
        }
        notes.trail.served(
            notes.span_name(start),
            || notes.attributes(start),
            notes.span_error(outcome),
        );

        // Strings go as strings, which every format escapes: nothing that a client names can forge
        // a second line.
        tracing::info!(
            target: "access",
            request_id = start.request_id.as_str(),
            trace_id = notes.trace.map(|trace| trace.to_string()).as_deref(),
            listener = &*start.listener,
            route = &*start.route,
            peer = start.peer.to_string().as_str(),
            protocol = start.protocol,
            method = start.method.as_str(),
            path = start.path.as_str(),
            dialect = notes.dialect.as_deref(),
            frontend,
            generation,
            tenant = notes.tenant.as_deref(),
            identity = notes.identity.as_deref(),
            task,
            model = notes.model.as_deref(),
            worker = notes.worker.as_deref(),
            worker_dialect = notes.worker_dialect.as_deref(),
            backend,
            backend_generation,
            batch_size = notes.batch,
            status = notes.status,
            grpc_status = notes.grpc,
            outcome,
            failed_plugin = notes.culprit.as_deref(),
            input_tokens = notes.tokens_in,
            output_tokens = notes.tokens_out,
            received_bytes = notes.received,
            sent_bytes = notes.sent,
            retries = notes.retries,
            queue_ms = notes.queued.map(millis),
            first_byte_ms = notes.first_byte.map(millis),
            duration_ms = millis(duration),
        );

        let ending = notes.ending();
        let pulse = self.metrics.pulse();
        pulse.ended(duration, notes.first_byte, ending, |number| Failure {
            number,
            at: unix_millis(),
            ending,
            outcome: notes.outcome().to_owned(),
            status: notes.status,
            grpc: notes.grpc,
            took: duration,
            request_id: start.request_id.clone(),
            route: start.route.clone(),
            frontend: notes.frontend.as_ref().map(|(name, _)| name.to_string()),
            culprit: notes.culprit.clone(),
            worker: notes.worker.clone(),
            model: notes.model.clone(),
            task: notes.task.clone(),
        });
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

// === impl Notes ===

impl Notes {
    /// How it ended, for operators: one that the client is told to mend or to try later was refused.
    fn ending(&self) -> Ending {
        match (self.outcome(), self.status, self.grpc) {
            (OK, ..) => Ending::Well,
            ("client-gone", ..) => Ending::Gone,
            (_, _, Some(grpc)) if REFUSALS.contains(&grpc) => Ending::Refused,
            (_, Some(400..500), None | Some(0)) => Ending::Refused,
            _ => Ending::Failed,
        }
    }

    /// How it ended, for a label: the failure; else what the statuses say.
    fn outcome(&self) -> &str {
        match (&self.failure, self.status, self.grpc) {
            (Some(failure), ..) => failure,
            (None, None, _) => "client-gone",
            _ if self.gone => "client-gone",
            (None, _, Some(grpc)) if grpc != 0 => "grpc-error",
            (None, Some(500..), _) => "server-error",
            (None, Some(400..), _) => "client-error",
            _ => OK,
        }
    }

    /// Of few values: what is claimed, and not what was asked for.
    fn span_name(&self, start: &RecordStart) -> Cow<'static, str> {
        match &self.claim {
            _ if !self.trail.is_on() => Cow::Borrowed(""),
            None => short(start.method.as_str()).into(),
            // By the conventions for RPC a method is called by its full name.
            Some(method) if self.grpc.is_some() => method.trim_start_matches('/').to_owned().into(),
            Some(path) => format!("{} {path}", start.method).into(),
        }
    }

    /// By the conventions what a client did wrong, or broke off, is no error of the server's span.
    fn span_error(&self, outcome: &str) -> Option<Cow<'static, str>> {
        let grpc = |code| matches!(code, 2 | 4 | 12..=15);
        let server = match self.grpc {
            Some(code) => grpc(code),
            None => self.status.is_some_and(|status| status >= 500),
        };
        let late = self.failure.is_some() && self.status.is_some_and(|status| status < 400);
        let on = self.trail.is_on() && outcome != OK;
        let error = on && (server || (late && self.grpc.is_none_or(grpc)));
        error.then(|| outcome.to_owned().into())
    }

    fn attributes(&self, start: &RecordStart) -> Vec<Attribute> {
        let mut all: Vec<Attribute> = Vec::with_capacity(32);
        let mut add = |name: &'static str, value: Option<Value>| {
            all.extend(value.map(|value| (name.into(), value)));
        };
        let text = |text: &str| Some(Value::from(text.to_owned()));
        add("tollgate.request_id", text(&start.request_id));
        add("tollgate.listener", text(&start.listener));
        add("tollgate.route", text(&start.route));
        add("http.request.method", text(start.method.as_str()));
        add("url.path", text(&start.path));
        add("http.route", self.claim.as_deref().and_then(text));
        add("network.protocol.name", text("http"));
        let version = if start.protocol == "h2" { "2" } else { "1.1" };
        add("network.protocol.version", text(version));
        add("client.address", text(&start.peer.ip().to_string()));
        let status = self.status.map(Value::from);
        add("http.response.status_code", status);
        if let Some(code) = self.grpc {
            add("rpc.system", text("grpc"));
            add("rpc.grpc.status_code", Some(code.into()));
            let method = self.claim.as_deref().unwrap_or(&start.path);
            if let Some((service, method)) = method.trim_start_matches('/').rsplit_once('/') {
                add("rpc.service", text(service));
                add("rpc.method", text(method));
            }
        }
        let outcome = self.outcome();
        add("tollgate.outcome", text(outcome));
        if outcome != OK {
            add("error.type", text(outcome));
        }
        add("tollgate.dialect", self.dialect.as_deref().and_then(text));
        add("tollgate.tenant", self.tenant.as_deref().and_then(text));
        add("tollgate.identity", self.identity.as_deref().and_then(text));
        add("tollgate.worker", self.worker.as_deref().and_then(text));
        let dialect = self.worker_dialect.as_deref().and_then(text);
        add("tollgate.worker.dialect", dialect);
        add("tollgate.batch.size", self.batch.map(Value::from));
        add("tollgate.retries", Some(self.retries.into()));
        add("http.request.body.size", Some(self.received.into()));
        add("http.response.body.size", Some(self.sent.into()));
        if let Some(operation) = self.task.as_deref().and_then(genai::operation_name) {
            add("gen_ai.operation.name", text(operation));
            let provider = self.meters.as_ref().map(|it| it.provider());
            add("gen_ai.provider.name", provider.and_then(text));
            add("gen_ai.request.model", self.model.as_deref().and_then(text));
            let served_as = self.served_as.as_deref().and_then(text);
            add("gen_ai.response.model", served_as);
            let (input, output) = (self.tokens_in, self.tokens_out);
            add("gen_ai.usage.input_tokens", input.map(Value::from));
            add("gen_ai.usage.output_tokens", output.map(Value::from));
        }
        all
    }
}

/// Statuses of gRPC by which a request is refused: what is wrong with it, or who asks, or that it is
/// too much (`google.rpc.Code`, as https://grpc.github.io/grpc/core/md_doc_statuscodes.html has them).
const REFUSALS: [u32; 9] = [3, 5, 6, 7, 8, 9, 11, 12, 16];

/// Milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a request's microseconds fit 2^53"
    )]
    let micros = duration.as_micros() as f64;
    micros / 1000.0
}

fn short(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST)].to_owned()
}

fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(LONGEST));
}
