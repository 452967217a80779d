//! One request's access-log line and counts.
//!
//! 1. [`Record::begin`] when the head has come: the request counts as in flight.
//! 2. Whoever learns something about it notes it on a clone.
//! 3. When the last clone is dropped the request is over: the line is written (target `access`,
//!    one event) and the metrics are counted. So no way out of the request path can be forgotten.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use parking_lot::Mutex;

use crate::metrics::{Metrics, RouteMeters};
use crate::trace::TraceContext;

/// Longest path or name in a line, in bytes.
const LONGEST: usize = 256;
/// What stands for a label that is not known, as of a request that no frontend claimed.
const NONE: &str = "none";

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

#[derive(Debug, Default)]
struct Notes {
    trace: Option<String>,
    frontend: Option<(String, u64)>,
    identity: Option<String>,
    task: Option<String>,
    model: Option<String>,
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

    /// The trace that the request belongs to.
    pub fn trace(&self, trace: &TraceContext) {
        self.note(|n| n.trace = Some(trace.trace_id().to_string()));
    }

    /// The plugin that speaks to the client, and its generation.
    pub fn frontend(&self, name: &str, generation: u64) {
        self.note(|n| n.frontend = Some((short(name), generation)));
    }

    /// Name of the token's holder.
    pub fn identity(&self, name: &str) {
        self.note(|n| n.identity = Some(short(name)));
    }

    /// What is asked, by its name in the contract.
    pub fn task(&self, task: &str) {
        self.note(|n| n.task = Some(short(task)));
    }

    /// The model, as the client names it: in the line, never a label.
    pub fn model(&self, model: &str) {
        self.note(|n| n.model = Some(short(model)));
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
        self.note(|n| {
            n.first_byte.get_or_insert_with(|| open.began.elapsed());
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
        let (frontend, generation) = match &notes.frontend {
            Some((name, generation)) => (Some(name.as_str()), Some(*generation)),
            None => (None, None),
        };
        let task = notes.task.as_deref();

        meters.in_flight.dec();
        meters.duration.observe(duration.as_secs_f64());
        if let Some(first) = notes.first_byte {
            meters.first_byte.observe(first.as_secs_f64());
        }
        meters.sent.inc_by(notes.sent);
        meters.retries.inc_by(notes.retries.into());
        meters.tokens_in.inc_by(notes.tokens_in.unwrap_or(0));
        meters.tokens_out.inc_by(notes.tokens_out.unwrap_or(0));
        let labels = (frontend.unwrap_or(NONE), task.unwrap_or(NONE));
        self.metrics
            .ended(&meters.route, labels.0, labels.1, outcome);

        // Strings go as strings, which every format escapes: nothing that a client names can forge
        // a second line.
        tracing::info!(
            target: "access",
            request_id = start.request_id.as_str(),
            trace_id = notes.trace.as_deref(),
            listener = &*start.listener,
            route = &*start.route,
            peer = start.peer.to_string().as_str(),
            protocol = start.protocol,
            method = start.method.as_str(),
            path = start.path.as_str(),
            frontend,
            generation,
            identity = notes.identity.as_deref(),
            task,
            model = notes.model.as_deref(),
            worker = notes.worker.as_deref(),
            status = notes.status,
            grpc_status = notes.grpc,
            outcome,
            failed_plugin = notes.culprit.as_deref(),
            input_tokens = notes.tokens_in,
            output_tokens = notes.tokens_out,
            sent_bytes = notes.sent,
            retries = notes.retries,
            first_byte_ms = notes.first_byte.map(millis),
            duration_ms = millis(duration),
        );
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
    /// How it ended, for a label: the failure; else what the statuses say.
    fn outcome(&self) -> &str {
        match (&self.failure, self.status, self.grpc) {
            (Some(failure), ..) => failure,
            (None, None, _) => "client-gone",
            _ if self.gone => "client-gone",
            (None, _, Some(grpc)) if grpc != 0 => "grpc-error",
            (None, Some(500..), _) => "server-error",
            (None, Some(400..), _) => "client-error",
            _ => "ok",
        }
    }
}

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
