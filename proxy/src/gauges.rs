//! Figures that the pools, the plugins and the workers' connections own, read when the
//! metrics page is asked for: every bounded thing has its gauge here.

mod generations;
mod identity;
mod limits;

use std::sync::{Arc, atomic::Ordering};

use tollgate_exchange::Reach;
use tollgate_telemetry::Samples;
use tollgate_transcript::Counts;

use crate::{
    admin::scale,
    life::{Life, Running},
};

/// Models that are told one by one: of a route, and over all of them.
const MODELS: usize = 64;

/// Registers them; they fall silent when the proxy is gone.
pub(crate) fn register(life: &Arc<Life>) {
    let then = Arc::downgrade(life);
    let metrics = life.current().assembled.house.metrics.clone();
    metrics.register_collector(Box::new(move |samples| {
        if let Some(life) = then.upgrade() {
            collect(&life.current(), samples);
            configuration(&life, samples);
        }
    }));
}

/// The configuration in force, and those before it; who is connected to operate; the end.
#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
fn configuration(life: &Life, samples: &mut Samples) {
    let told = life.told();
    for (outcome, count) in [("good", told.good), ("bad", told.bad)] {
        samples.counter(
            "config_reloads",
            "Times that the configuration was read again: taken in or found the same, and refused",
            &[("outcome", outcome)],
            count,
        );
    }
    samples.gauge(
        "config_problem",
        "1 while the configuration that lies there is not the one in force, for what is wrong with it",
        &[],
        f64::from(u8::from(told.problem.is_some())),
    );
    samples.gauge(
        "config_former",
        "Former configurations that requests are still served by",
        &[],
        life.former() as f64,
    );
    samples.gauge(
        "admin_connections",
        "Connections to the admin listener",
        &[],
        life.operators().open() as f64,
    );
    samples.counter(
        "admin_connections_closed",
        "Connections to the admin listener that were closed for newer ones",
        &[],
        life.operators().closed(),
    );
    samples.gauge(
        "draining",
        "1 while the process is ending",
        &[],
        f64::from(u8::from(life.is_draining())),
    );
}

/// What is written down of exchanges.
#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
fn record(counts: &Counts, samples: &mut Samples) {
    samples.gauge(
        "transcripts",
        "Exchanges, attempts and the like that are being recorded",
        &[],
        counts.live.load(Ordering::Relaxed) as f64,
    );
    for (outcome, count) in [
        ("written", &counts.written),
        ("cut", &counts.cut),
        ("lost", &counts.lost),
    ] {
        samples.counter(
            "transcript_files",
            "Files of recorded exchanges: written, cut short by a bound, and lost",
            &[("outcome", outcome)],
            count.load(Ordering::Relaxed),
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
fn collect(running: &Running, samples: &mut Samples) {
    let assembled = &running.assembled;
    let nothing = Counts::default();
    let recording = assembled.recording.as_ref();
    record(recording.map_or(&nothing, |it| it.counts()), samples);
    for (name, crew) in &assembled.crews {
        let scheduler = name.as_deref().unwrap_or("built-in");
        let labels: &[(&'static str, &str)] = &[("scheduler", scheduler)];
        let gauges = crew.pool.gauges();
        let mut gauge = |name, help, value: f64| samples.gauge(name, help, labels, value);
        gauge(
            "queue_requests",
            "Requests that wait for a worker",
            gauges.pending as f64,
        );
        gauge(
            "queue_bytes",
            "Bytes that waiting requests hold",
            gauges.bytes as f64,
        );
        gauge("batches", "Batches in flight", gauges.batches as f64);
        gauge(
            "scheduler_fallback",
            "1 while the built-in fallback rules in a scheduler's place",
            f64::from(u8::from(gauges.fallback)),
        );
        samples.counter(
            "scheduler_refused",
            "Actions of a scheduler that did not fit and were not carried out",
            labels,
            gauges.refused,
        );
        samples.counter(
            "scheduler_replaced",
            "Times that the built-in rules had to take a scheduler's place",
            labels,
            crew.overseer.replaced(),
        );
        samples.counter(
            "scheduler_steps",
            "Decisions of a scheduler, without those of the built-in rules",
            labels,
            crew.overseer.steps(),
        );
        samples.time(
            "scheduler_step_seconds",
            "Processor time that these decisions took",
            labels,
            crew.overseer.took(),
        );
    }
    for route in &assembled.routes {
        let labels: &[(&'static str, &str)] = &[("route", route.name())];
        let spec = route.spec();
        let mut gauge = |name, help, value: f64| samples.gauge(name, help, labels, value);
        gauge(
            "route_requests",
            "Requests of a route that run or wait",
            route.running() as f64,
        );
        gauge(
            "route_queue_requests",
            "Requests of a route that wait for a worker",
            spec.queue.requests() as f64,
        );
        gauge(
            "route_queue_bytes",
            "Bytes that waiting requests of a route hold",
            spec.queue.bytes() as f64,
        );
        let models = spec.queue.models();
        gauge(
            "route_queue_models",
            "Models of a route for which requests wait, where that is bounded",
            models.len() as f64,
        );
        gauge(
            "route_request_memory_bytes",
            "Bytes of requests that a route holds, waiting or running",
            spec.budgets.route().taken() as f64,
        );
        gauge(
            "route_retries_left",
            "Attempts of a route that could be made again now",
            spec.retries.left() as f64,
        );
        samples.counter(
            "route_retries_refused",
            "Attempts that were not made again because too many had been",
            labels,
            spec.retries.refused(),
        );
        samples.counter(
            "route_request_memory_refused",
            "Times that there was no room for a request of a route",
            labels,
            spec.budgets.route().refused(),
        );
    }
    for route in &assembled.routes {
        for (model, waiting) in route.spec().queue.models().into_iter().take(MODELS) {
            let labels: &[(&'static str, &str)] =
                &[("route", route.name()), ("model", model.name())];
            samples.gauge(
                "route_model_queue_requests",
                "Requests that wait for a worker of one model, where that is bounded",
                labels,
                waiting.requests as f64,
            );
            samples.gauge(
                "route_model_queue_bytes",
                "Bytes that they hold",
                labels,
                waiting.bytes as f64,
            );
        }
    }
    for (model, load) in scale::models(running).into_iter().take(MODELS) {
        let labels: &[(&'static str, &str)] = &[("model", &model)];
        samples.gauge(
            "model_waiting",
            "Calls of a model that wait for a worker, over all routes",
            labels,
            load.waiting as f64,
        );
        samples.gauge(
            "model_running",
            "Calls of a model that a worker has, over all routes",
            labels,
            load.running as f64,
        );
    }
    for route in &assembled.routes {
        let Some(log) = &route.spec().payloads else {
            continue;
        };
        let labels: &[(&'static str, &str)] = &[("route", route.name())];
        samples.gauge(
            "payload_log_events",
            "Events of a route's payload log that wait for its sink",
            labels,
            log.waiting() as f64,
        );
        samples.gauge(
            "payload_log_bytes",
            "Bytes of bodies that are held for a route's payload log",
            labels,
            log.held() as f64,
        );
        for (outcome, count) in log.outcomes() {
            samples.counter(
                "payload_log_outcomes",
                "What has become of the events of a route's payload log",
                &[("route", route.name()), ("outcome", outcome)],
                count,
            );
        }
    }
    if let Some(route) = assembled.routes.first() {
        let process = route.spec().budgets.process();
        samples.gauge(
            "request_memory_bytes",
            "Bytes of requests that the process holds, waiting or running",
            &[],
            process.taken() as f64,
        );
        samples.counter(
            "request_memory_refused",
            "Times that there was no room for a request in the process",
            &[],
            process.refused(),
        );
    }
    samples.gauge(
        "history_samples",
        "Seconds of which the page for operators can tell",
        &[],
        running.history.held() as f64,
    );
    let failures = assembled.house.metrics.pulse().failures();
    samples.gauge(
        "remembered_errors",
        "Requests that ended badly and are remembered for operators",
        &[],
        failures.held() as f64,
    );
    samples.counter(
        "forgotten_errors",
        "Requests that ended badly while another one was being remembered",
        &[],
        failures.missed(),
    );
    samples.gauge(
        "pulled_cache_bytes",
        "Bytes of pulled components that are kept on disk",
        &[],
        assembled.supply.kept() as f64,
    );
    if let Some(cache) = assembled.loader.cache() {
        samples.gauge(
            "compiled_cache_bytes",
            "Bytes of compiled components that are kept on disk",
            &[],
            cache.held() as f64,
        );
    }
    identity::collect(running, samples);
    generations::collect(running, samples);
    let limiter = assembled.house.limits.as_ref().map(|it| &*it.limiter);
    limits::collect(limiter, assembled.limit_store.as_ref(), samples);
    crate::telemetry::collect(running, samples);
    for (section, looked) in assembled.fleet.looked() {
        let labels: &[(&'static str, &str)] = &[("section", &section)];
        let mut gauge = |name, help, value: usize| samples.gauge(name, help, labels, value as f64);
        gauge(
            "discovery_workers",
            "Workers of the last list of a section that was believed",
            looked.found(),
        );
        gauge(
            "discovery_left_out",
            "Of these, those past the section's bound",
            looked.left_out(),
        );
        gauge(
            "discovery_stale",
            "1 while the workers of a section cannot be looked for, and what was known stays",
            usize::from(looked.is_stale()),
        );
        samples.counter(
            "discovery_failures",
            "Looks for the workers of a section that failed",
            labels,
            looked.failures(),
        );
    }
    for station in &assembled.fleet.stations() {
        let labels: &[(&'static str, &str)] = &[("worker", &station.handle.spec().name)];
        let status = station.handle.status();
        samples.gauge(
            "worker_accepting",
            "1 while a worker may be given work",
            labels,
            f64::from(u8::from(status.accepting)),
        );
        samples.gauge(
            "worker_ejected",
            "1 while a worker is kept out because requests failed",
            labels,
            f64::from(u8::from(status.ejected)),
        );
        samples.gauge(
            "worker_ejected_models",
            "Models that a worker is not asked for because it failed them",
            labels,
            status.ejected_models as f64,
        );
        samples.gauge(
            "worker_draining",
            "1 while a worker leaves: it is given nothing new, and requests still run there",
            labels,
            f64::from(u8::from(status.draining)),
        );
        samples.gauge(
            "worker_slots",
            "Batches that a worker is given at once at present: fewer than its own at first",
            labels,
            f64::from(status.slots),
        );
        if let Reach::Network(upstream) = &station.reach {
            let gauges = upstream.gauges();
            let mut gauge = |name, help, value: usize| {
                samples.gauge(name, help, labels, value as f64);
            };
            gauge(
                "upstream_connections",
                "Connections to a worker",
                gauges.open,
            );
            gauge(
                "upstream_idle",
                "Of these, those without a request",
                gauges.idle,
            );
            gauge(
                "upstream_streams",
                "Requests on connections to a worker",
                gauges.streams,
            );
            gauge(
                "upstream_waiting",
                "Requests that wait for a connection",
                gauges.waiting,
            );
        }
    }
    samples.gauge(
        "interned_names",
        "Names of models, tenants and batch keys that are held",
        &[],
        assembled.house.names.len() as f64,
    );
    samples.counter(
        "log_lines_lost",
        "Lines for which the log's buffer had no room",
        &[],
        running.logs.lost(),
    );
    samples.gauge(
        "instances",
        "Instances of all plugins together",
        &[],
        assembled.loader.sandbox().instances() as f64,
    );
}
