//! The admin listener: `/livez`, `/readyz`, `/metrics`, `/status`. Never on a data port.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use crate::run::Running;

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
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin: cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let running = running.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&running, &request);
                async move { Ok::<_, Infallible>(response) }
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

fn answer(running: &Running, request: &Request<Incoming>) -> Response<Full<Bytes>> {
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
        "/status" => typed("application/json", status(running).to_string()),
        _ => text(
            StatusCode::NOT_FOUND,
            "try /livez, /readyz, /metrics or /status\n",
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

fn status(running: &Running) -> serde_json::Value {
    let assembled = &running.assembled;
    let house = &assembled.house;
    let schedulers = running.schedulers.lock();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "contract": tollgate_plugin::CONTRACT,
        "ready": running.ready.load(Ordering::Relaxed),
        "plugins": house.shelf.all().iter().map(|generation| json!({
            "name": &**generation.name(),
            "world": generation.world(),
            "version": generation.manifest().version,
            "generation": generation.number(),
            "sha256": generation.digest(),
            "slots": generation.slots(),
            "exchanges": generation.exchanges(),
            "calls": generation.counters().calls.load(Ordering::Relaxed),
            "traps": generation.counters().traps.load(Ordering::Relaxed),
        })).collect::<Vec<_>>(),
        "schedulers": assembled.crews.iter().map(|(name, crew)| {
            let gauges = crew.pool.gauges();
            json!({
                "name": name,
                "sha256": name.as_ref().and_then(|name| schedulers.get(name)).map(|it| it.digest().to_owned()),
                "pending": gauges.pending,
                "pending-bytes": gauges.bytes,
                "in-flight": gauges.in_flight,
                "batches": gauges.batches,
                "workers": gauges.workers,
                "refused": gauges.refused,
                "steps": gauges.steps,
                "fallback": gauges.fallback,
            })
        }).collect::<Vec<_>>(),
        "workers": assembled.workers.iter().map(|station| {
            let status = station.handle.status();
            json!({
                "name": station.handle.spec().name,
                "protocol": station.handle.spec().protocol,
                "dialect": station.dialect,
                "accepting": status.accepting,
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
