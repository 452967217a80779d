//! What operators are told, as JSON. `openapi.json` describes it member by member.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use serde_json::{Value, json};
use tollgate_dispatch::policy::WorkerId;
use tollgate_exchange::{Reach, Route, Station};
use tollgate_plugin::Report;
use tollgate_telemetry::pulse::{Failures, unix_millis};

use crate::{keeper, run::Running};

/// How the proxy stands: what is worth a look, and no history.
pub(super) fn status(running: &Running) -> Value {
    let ready = running.ready.load(Ordering::Relaxed);
    let busy = busy(running);
    let stations = running.assembled.fleet.stations();
    json!({
        "time": unix_millis(),
        "started": running.history.started(),
        "version": env!("CARGO_PKG_VERSION"),
        "contract": tollgate_plugin::CONTRACT,
        "ready": ready,
        "draining": !ready,
        "process": super::process::status(running),
        "plugins": plugins(running),
        "schedulers": schedulers(running),
        "workers": stations.iter().map(|it| of_station(it, &busy)).collect::<Vec<_>>(),
        "routes": running.assembled.routes.iter().map(|it| route(running, it)).collect::<Vec<_>>(),
    })
}

/// The same, with what the page shows over time: samples from the number `since` on.
pub(super) fn overview(running: &Running, since: u64) -> Value {
    let mut told = status(running);
    let failures = running.assembled.house.metrics.pulse().failures();
    told["history"] = running.history.since(since);
    told["last-minute"] = running.history.last_minute();
    told["batch-sizes"] = running.history.batch_sizes();
    told["changes"] = running.history.changes().into();
    told["failures"] = json!({"total": failures.total(), "held": failures.held()});
    told
}

/// Plugins and schedulers.
pub(super) fn generations(running: &Running) -> Value {
    json!({"plugins": plugins(running), "schedulers": schedulers(running)})
}

/// Workers.
pub(super) fn all_workers(running: &Running) -> Value {
    let busy = busy(running);
    let stations = running.assembled.fleet.stations();
    json!({"workers": stations.iter().map(|it| of_station(it, &busy)).collect::<Vec<_>>()})
}

/// One worker; null: there is none of that name.
pub(super) fn worker(running: &Running, name: &str) -> Value {
    let stations = running.assembled.fleet.stations();
    let mut named = stations.iter().filter(|it| it.handle.spec().name == name);
    named
        .next()
        .map_or(Value::Null, |it| of_station(it, &busy(running)))
}

/// What waits: by scheduler, and by route.
pub(super) fn queues(running: &Running) -> Value {
    let assembled = &running.assembled;
    let pools = assembled.crews.iter().map(|(name, crew)| {
        let gauges = crew.pool.gauges();
        json!({
            "scheduler": name,
            "pending": gauges.pending,
            "pending-bytes": gauges.bytes,
            "in-flight": gauges.in_flight,
            "batches": gauges.batches,
            "workers": gauges.workers,
            "fallback": gauges.fallback,
        })
    });
    let routes = assembled.routes.iter().map(|route| {
        let spec = route.spec();
        let bounds = spec.queue.spec();
        let models = spec.queue.models().into_iter().map(|(model, waiting)| {
            json!({
                "model": &**model.name(),
                "requests": waiting.requests,
                "bytes": waiting.bytes,
            })
        });
        json!({
            "route": &**route.name(),
            "requests": spec.queue.requests(),
            "bytes": spec.queue.bytes(),
            "most-requests": bounds.requests,
            "most-bytes": bounds.bytes,
            "timeout-seconds": bounds.timeout.as_secs_f64(),
            "models": models.collect::<Vec<_>>(),
        })
    });
    json!({"pools": pools.collect::<Vec<_>>(), "routes": routes.collect::<Vec<_>>()})
}

/// The models of each route, with where they are.
pub(super) fn models(running: &Running) -> Value {
    let catalogue = &running.assembled.house.catalogue;
    let routes = running.assembled.routes.iter().map(|route| {
        let models = catalogue.list(route.spec().view, |_| true);
        let models = models.iter().map(|model| {
            let offers = model.offers.iter().map(|offer| {
                json!({
                    "worker": offer.worker.spec().name,
                    "served-as": &*offer.served_as,
                    "ready": offer.ready,
                    "accepting": offer.worker.status().accepting,
                })
            });
            json!({
                "name": &*model.name,
                "is": &**model.model.name(),
                "tasks": model.tasks().collect::<Vec<_>>(),
                "max-length": model.facts.max_length,
                "parent": model.facts.parent,
                "versions": model.facts.versions,
                "platform": model.facts.platform,
                "workers": offers.collect::<Vec<_>>(),
            })
        });
        json!({
            "route": &**route.name(),
            "default-model": route.spec().default_model,
            "models": models.collect::<Vec<_>>(),
        })
    });
    json!({"routes": routes.collect::<Vec<_>>()})
}

/// The last requests that ended badly, the latest first.
pub(super) fn errors(failures: &Failures, last: usize) -> Value {
    let list = failures.last(last).into_iter().map(|it| {
        json!({
            "number": it.number,
            "at": it.at,
            "kind": it.ending.as_str(),
            "outcome": it.outcome,
            "status": it.status,
            "grpc-status": it.grpc,
            "duration-ms": it.took.as_secs_f64() * 1000.0,
            "request-id": it.request_id,
            "route": &*it.route,
            "frontend": it.frontend,
            "plugin": it.culprit,
            "worker": it.worker,
            "model": it.model,
            "task": it.task,
        })
    });
    json!({
        "total": failures.total(),
        "missed": failures.missed(),
        "list": list.collect::<Vec<_>>(),
    })
}

/// What of a file did not load, where that was the last that was heard of it.
fn problem(running: &Running, subject: &keeper::Subject) -> Option<String> {
    running.keeper.loads().remove(subject)?.problem
}

fn plugins(running: &Running) -> Vec<Value> {
    let reports = running.assembled.house.shelf.reports().into_iter();
    reports
        .map(|report| {
            let subject = keeper::Subject::Plugin(report.name.to_string());
            kept(running, &subject, &report)
        })
        .collect()
}

/// How a plugin or a scheduler stands, and what of its file did not load.
pub(super) fn kept(running: &Running, subject: &keeper::Subject, report: &Report) -> Value {
    let mut told = keeper::report(report);
    told["problem"] = problem(running, subject).into();
    told
}

fn schedulers(running: &Running) -> Vec<Value> {
    let assembled = &running.assembled;
    let crews = assembled.crews.iter();
    crews
        .map(|(name, crew)| {
            let gauges = crew.pool.gauges();
            let report = name.as_ref().and_then(|it| assembled.schedulers.report(it));
            let mut told = report.as_ref().map_or_else(|| json!({}), keeper::report);
            let of_pool = json!({
                "name": name,
                "pending": gauges.pending,
                "pending-bytes": gauges.bytes,
                "in-flight": gauges.in_flight,
                "batches": gauges.batches,
                "workers": gauges.workers,
                "refused": gauges.refused,
                "steps": gauges.steps,
                "fallback": gauges.fallback,
                "problem": name.as_ref().and_then(|name| {
                    problem(running, &keeper::Subject::Scheduler(name.clone()))
                }),
            });
            if let (Value::Object(told), Value::Object(of_pool)) = (&mut told, of_pool) {
                told.extend(of_pool);
            }
            told
        })
        .collect()
}

/// Batches that run on each worker.
fn busy(running: &Running) -> HashMap<WorkerId, u32> {
    let crews = running.assembled.crews.values();
    crews.flat_map(|crew| crew.pool.busy()).collect()
}

fn of_station(station: &Arc<Station>, busy: &HashMap<WorkerId, u32>) -> Value {
    let (spec, status) = (station.handle.spec(), station.handle.status());
    let connections = match &station.reach {
        Reach::Network(upstream) => Some(upstream.gauges()),
        Reach::Component(_) => None,
    };
    let models = station.handle.models();
    json!({
        "name": spec.name,
        "section": spec.section,
        "protocol": spec.protocol,
        "dialect": station.dialect,
        "accepting": status.accepting,
        "draining": status.draining,
        "ejected": status.ejected,
        "ejected-models": status.ejected_models,
        "slots": status.slots,
        "busy": busy.get(&station.handle.id()).copied().unwrap_or_default(),
        "reason": status.reason,
        "queued": status.load.queued,
        "running": status.load.running,
        "kv-cache-use": status.load.kv_cache_use,
        "connections": connections.as_ref().map(|it| it.open),
        "requests": connections.as_ref().map(|it| it.streams),
        "waiting": connections.as_ref().map(|it| it.waiting),
        "models": models.iter().map(|it| it.model.name().to_string()).collect::<Vec<_>>(),
    })
}

fn route(running: &Running, route: &Route) -> Value {
    let spec = route.spec();
    let models = running.assembled.house.catalogue.list(spec.view, |_| true);
    json!({
        "name": &**route.name(),
        "running": route.running(),
        "concurrency": spec.limits.concurrency,
        "queued": spec.queue.requests(),
        "queue-requests": spec.queue.spec().requests,
        "queued-bytes": spec.queue.bytes(),
        "models": models.iter().map(|it| it.name.to_string()).collect::<Vec<_>>(),
    })
}
