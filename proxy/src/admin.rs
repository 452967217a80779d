//! The admin listener: `/livez`, `/readyz`, `/metrics`, `/status`, `/plugins`. Never on a data port.
//!
//! Whoever can reach it may read. What changes something needs a token where the section has a
//! file of them, and else comes from this machine; what a browser sends on a page's behalf is
//! refused either way.

mod operate;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use crate::{keeper, run::Running};

/// Connections at once.
const CONNECTIONS: usize = 64;
/// How long one lasts.
const LONGEST: Duration = Duration::from_secs(60);

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, running: Arc<Running>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin: cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let running = running.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let running = running.clone();
                async move { Ok::<_, Infallible>(answer(&running, peer, request).await) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(5))
                .serve_connection(TokioIo::new(stream), service);
            // One who asks and does not read would keep his place for ever.
            let _ = tokio::time::timeout(LONGEST, serving).await;
            drop(place);
        });
    }
}

async fn answer(
    running: &Arc<Running>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    if let Some(order) = operate::Order::of(request.uri().path()) {
        return operate::answer(running, peer, order, request).await;
    }
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" if running.ready.load(Ordering::Relaxed) => text(StatusCode::OK, "ready\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "draining or starting\n"),
        "/metrics" => typed(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            running.assembled.house.metrics.encode(),
        ),
        "/status" => object(StatusCode::OK, &status(running)),
        "/plugins" => object(
            StatusCode::OK,
            &json!({"plugins": plugins(running), "schedulers": schedulers(running)}),
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "try /livez, /readyz, /metrics, /status or /plugins\n",
        ),
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn typed(content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

fn object(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = typed("application/json", value.to_string());
    *response.status_mut() = status;
    response
}

/// What of a file did not load, where that was the last that was heard of it.
fn problem(running: &Running, subject: &keeper::Subject) -> Option<String> {
    running.keeper.loads().remove(subject)?.problem
}

fn plugins(running: &Running) -> Vec<Value> {
    let reports = running.assembled.house.shelf.reports().into_iter();
    reports
        .map(|report| {
            let mut told = keeper::report(&report);
            let subject = keeper::Subject::Plugin(report.name.to_string());
            told["problem"] = problem(running, &subject).into();
            told
        })
        .collect()
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

fn status(running: &Running) -> Value {
    let assembled = &running.assembled;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "contract": tollgate_plugin::CONTRACT,
        "ready": running.ready.load(Ordering::Relaxed),
        "plugins": plugins(running),
        "schedulers": schedulers(running),
        "workers": assembled.fleet.stations().iter().map(|station| {
            let status = station.handle.status();
            json!({
                "name": station.handle.spec().name,
                "section": station.handle.spec().section,
                "protocol": station.handle.spec().protocol,
                "dialect": station.dialect,
                "accepting": status.accepting,
                "draining": status.draining,
                "slots": status.slots,
                "reason": status.reason,
                "queued": status.load.queued,
                "running": status.load.running,
                "kv-cache-use": status.load.kv_cache_use,
                "models": station.handle.models().iter().map(|model| model.model.name().to_string()).collect::<Vec<_>>(),
            })
        }).collect::<Vec<_>>(),
        "routes": assembled.routes.iter().map(|route| json!({
            "name": &**route.name(),
            "running": route.running(),
            "queued": route.spec().queue.requests(),
        })).collect::<Vec<_>>(),
    })
}
