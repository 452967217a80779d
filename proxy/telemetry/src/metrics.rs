//! Counters, gauges and histograms of the proxy, written as OpenMetrics text.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::RwLock;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::genai::GenAi;
use crate::labels::{Labels, OTHER, escape};
use crate::page;
use crate::samples::{Samples, Sources};

use crate::pulse;

/// One label and its value.
type One = [(&'static str, Arc<str>); 1];
/// Two labels and their values.
type Two = [(&'static str, Arc<str>); 2];
/// `route`, `frontend`, `task`, `outcome`.
type Outcome = [(&'static str, Arc<str>); 4];

/// Bounds of what is kept: values of a label, and samples of a scrape.
const ROUTES: usize = 1024;
const FRONTENDS: usize = 256;
const TASKS: usize = 64;
const OUTCOMES: usize = 64;
const LISTENERS: usize = 256;
const REASONS: usize = 64;
const SAMPLES: usize = 50_000;
/// Requests that ended badly and are remembered.
const FAILURES: usize = 256;

/// Upper bounds of the histograms' buckets, in seconds: a gateway's answers come within
/// milliseconds (embeddings) or minutes (long generations).
const SECONDS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0,
];

/// All metrics of a process. Names begin with `tollgate_`, but for those that conventions name.
pub struct Metrics {
    registry: Registry,
    /// Of names that others gave.
    named: Registry,
    pub(crate) genai: GenAi,
    sources: Sources,
    frontends: Labels,
    tasks: Labels,
    outcomes: Labels,
    listeners: Labels,
    reasons: Labels,
    routes: RwLock<HashMap<Arc<str>, Arc<RouteMeters>>>,
    requests: Family<Outcome, Counter>,
    families: RouteFamilies,
    rejected: Family<Two, Counter>,
    connections: Family<One, Gauge>,
    accepted: Family<One, Counter>,
    handshakes: Family<One, Counter>,
    panics: Family<One, Counter>,
    reloads: Family<Two, Counter>,
    auth: Family<One, Counter>,
    pulse: pulse::Pulse,
}

/// What is counted by route alone.
struct RouteFamilies {
    in_flight: Family<One, Gauge>,
    duration: Family<One, Histogram, fn() -> Histogram>,
    first_byte: Family<One, Histogram, fn() -> Histogram>,
    queued: Family<One, Histogram, fn() -> Histogram>,
    received: Family<One, Counter>,
    sent: Family<One, Counter>,
    retries: Family<One, Counter>,
    tokens: Family<Two, Counter>,
}

/// A route's meters, found once a request; what they count afterwards takes no lookup.
pub(crate) struct RouteMeters {
    pub(crate) route: Arc<str>,
    pub(crate) in_flight: Gauge,
    pub(crate) duration: Histogram,
    pub(crate) first_byte: Histogram,
    pub(crate) queued: Histogram,
    pub(crate) received: Counter<u64, AtomicU64>,
    pub(crate) sent: Counter<u64, AtomicU64>,
    pub(crate) retries: Counter<u64, AtomicU64>,
    pub(crate) tokens_in: Counter<u64, AtomicU64>,
    pub(crate) tokens_out: Counter<u64, AtomicU64>,
}

impl Metrics {
    /// Metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tollgate");
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let families = RouteFamilies {
            duration: Family::new_with_constructor(histogram),
            first_byte: Family::new_with_constructor(histogram),
            queued: Family::new_with_constructor(histogram),
            received: Family::default(),
            in_flight: Family::default(),
            sent: Family::default(),
            retries: Family::default(),
            tokens: Family::default(),
        };
        let requests = Family::default();
        let (rejected, connections, accepted) = Default::default();
        let (handshakes, panics, reloads, auth) = Default::default();

        let r = &mut registry;
        r.register(
            "requests",
            "Requests that have ended",
            Family::clone(&requests),
        );
        r.register(
            "in_flight",
            "Requests that go on",
            families.in_flight.clone(),
        );
        r.register_with_unit(
            "request_duration",
            "From a request's head to the end of its response",
            Unit::Seconds,
            families.duration.clone(),
        );
        r.register_with_unit(
            "first_byte",
            "From a request's head to the first byte of its response's body",
            Unit::Seconds,
            families.first_byte.clone(),
        );
        r.register_with_unit(
            "queue_wait",
            "What requests waited for workers, all waits of one together",
            Unit::Seconds,
            families.queued.clone(),
        );
        r.register_with_unit(
            "request_body",
            "Received from clients",
            Unit::Bytes,
            families.received.clone(),
        );
        r.register_with_unit(
            "response_body",
            "Sent to clients",
            Unit::Bytes,
            families.sent.clone(),
        );
        r.register(
            "retries",
            "Attempts after a request's first",
            families.retries.clone(),
        );
        r.register(
            "tokens",
            "Tokens read (in) and generated (out)",
            families.tokens.clone(),
        );
        r.register(
            "rejected",
            "Requests refused before they were dispatched",
            Family::clone(&rejected),
        );
        r.register(
            "connections",
            "Open connections",
            Family::clone(&connections),
        );
        r.register(
            "connections_accepted",
            "Connections accepted",
            Family::clone(&accepted),
        );
        r.register(
            "handshakes_failed",
            "TLS handshakes that failed",
            Family::clone(&handshakes),
        );
        r.register(
            "panics",
            "Requests that ended in a defect of the proxy",
            Family::clone(&panics),
        );
        r.register(
            "certificate_reloads",
            "Changes of certificate files, taken or kept out",
            Family::clone(&reloads),
        );
        r.register(
            "auth_failures",
            "Requests without a valid token",
            Family::clone(&auth),
        );
        let mut named = Registry::default();
        let genai = GenAi::new(&mut named);
        let sources = Sources::new(SAMPLES);
        r.register_collector(Box::new(sources.clone()));

        Self {
            registry,
            named,
            genai,
            sources,
            frontends: Labels::new(FRONTENDS),
            tasks: Labels::new(TASKS),
            outcomes: Labels::new(OUTCOMES),
            listeners: Labels::new(LISTENERS),
            reasons: Labels::new(REASONS),
            routes: RwLock::default(),
            requests,
            families,
            rejected,
            connections,
            accepted,
            handshakes,
            panics,
            reloads,
            auth,
            pulse: pulse::Pulse::new(FAILURES),
        }
    }

    /// All of it, as OpenMetrics text (`application/openmetrics-text; version=1.0.0;
    /// charset=utf-8`).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut page = String::new();
        let encoded = text::encode_registry(&mut page, &self.registry)
            .and_then(|()| text::encode_registry(&mut page, &self.named))
            .and_then(|()| text::encode_eof(&mut page));
        // The only error is that of a writer, and a String takes everything.
        match encoded {
            Ok(()) => page,
            Err(fmt::Error) => String::new(),
        }
    }

    /// The same in the format that came before (`text/plain; version=0.0.4`), for who does not ask
    /// for the other one.
    #[must_use]
    pub fn encode_plain(&self) -> String {
        page::plain(&self.encode())
    }

    /// Adds what fills in figures that others own, at every scrape. It runs on the scraping thread:
    /// it reads, and never waits.
    pub fn register_collector(&self, source: Box<dyn Fn(&mut Samples) + Send + Sync>) {
        self.sources.add(source);
    }

    /// A request was refused before it was dispatched; `why` is of a closed set.
    pub fn rejected(&self, route: &str, why: &'static str) {
        let route = self.route(route).route.clone();
        let labels = [("route", route), ("why", self.reasons.admit(why))];
        self.rejected.get_or_create(&labels).inc();
    }

    /// A request had no valid token; `reason` is of a closed set.
    pub fn auth_failed(&self, reason: &'static str) {
        let labels = [("reason", self.reasons.admit(reason))];
        self.auth.get_or_create(&labels).inc();
    }

    /// A connection was accepted; it is open until what is returned is dropped.
    #[must_use]
    pub fn connected(&self, listener: &str) -> Connected {
        let labels = [("listener", self.listeners.admit(listener))];
        self.accepted.get_or_create(&labels).inc();
        let open = self.connections.get_or_create_owned(&labels);
        open.inc();
        Connected(open)
    }

    /// A TLS handshake failed or took too long.
    pub fn handshake_failed(&self, listener: &str) {
        let labels = [("listener", self.listeners.admit(listener))];
        self.handshakes.get_or_create(&labels).inc();
    }

    /// The handler of a request panicked.
    pub fn panicked(&self, listener: &str) {
        let labels = [("listener", self.listeners.admit(listener))];
        self.panics.get_or_create(&labels).inc();
    }

    /// Certificate files changed: the new ones are in use (`taken`), or broken and not.
    pub fn certificates_changed(&self, listener: &str, taken: bool) {
        let listener = self.listeners.admit(listener);
        let outcome = if taken { "taken" } else { "broken" };
        let labels = [
            ("listener", listener),
            ("outcome", self.reasons.admit(outcome)),
        ];
        self.reloads.get_or_create(&labels).inc();
    }

    /// Every request, as the page for operators sees it.
    #[must_use]
    pub fn pulse(&self) -> &pulse::Pulse {
        &self.pulse
    }

    /// What is counted by route, over all routes.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for meters in self.routes.read().values() {
            sums.in_flight += u64::try_from(meters.in_flight.get()).unwrap_or_default();
            sums.sent += meters.sent.get();
            sums.tokens_in += meters.tokens_in.get();
            sums.tokens_out += meters.tokens_out.get();
        }
        sums
    }

    /// A request has ended.
    pub(crate) fn ended(&self, route: &Arc<str>, frontend: &str, task: &str, outcome: &str) {
        let labels = [
            ("route", route.clone()),
            ("frontend", self.frontends.admit(frontend)),
            ("task", self.tasks.admit(task)),
            ("outcome", self.outcomes.admit(outcome)),
        ];
        self.requests.get_or_create(&labels).inc();
    }

    pub(crate) fn route(&self, name: &str) -> Arc<RouteMeters> {
        if let Some(meters) = self.routes.read().get(name) {
            return meters.clone();
        }
        let mut routes = self.routes.write();
        let known = routes.contains_key(name) || routes.len() < ROUTES;
        let name: Arc<str> = if known { name } else { OTHER }.into();
        let meters = routes
            .entry(name)
            .or_insert_with_key(|name| Arc::new(self.families.meters(name)));
        meters.clone()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl RouteFamilies {
    fn meters(&self, route: &str) -> RouteMeters {
        let route: &Arc<str> = &(&*escape(route)).into();
        let one = [("route", route.clone())];
        let tokens = |direction: &str| {
            let two = [("route", route.clone()), ("direction", direction.into())];
            self.tokens.get_or_create_owned(&two)
        };
        RouteMeters {
            route: route.clone(),
            in_flight: self.in_flight.get_or_create_owned(&one),
            duration: self.duration.get_or_create_owned(&one),
            first_byte: self.first_byte.get_or_create_owned(&one),
            queued: self.queued.get_or_create_owned(&one),
            received: self.received.get_or_create_owned(&one),
            sent: self.sent.get_or_create_owned(&one),
            retries: self.retries.get_or_create_owned(&one),
            tokens_in: tokens("in"),
            tokens_out: tokens("out"),
        }
    }
}

/// What is counted by route, over all routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Requests that go on.
    pub in_flight: u64,
    /// Bytes that were sent to clients.
    pub sent: u64,
    /// Tokens that were read.
    pub tokens_in: u64,
    /// Tokens that were generated.
    pub tokens_out: u64,
}

/// An open connection, in the gauge until it is dropped.
#[derive(Debug)]
pub struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
