//! The admin listener: what operators ask of a proxy, what they change, and the page that shows it.
//! Never on a data port.
//!
//! 1. A request is one of [`paths`], or is told which ones there are.
//! 2. [`door`] says whether who asks may: by where he is, by his token, and by what a browser says of
//!    the page that asks on his behalf.
//! 3. What is told is in [`tell`], what is changed in [`operate`]; both are described by
//!    `openapi.json`, which is served too.

mod answers;
mod door;
mod level;
mod masked;
mod operate;
mod page;
mod paths;
mod process;
pub(crate) mod scale;
mod tell;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tollgate_config::Admin;
use tollgate_edge::{BindError, Crowd, Drain, Listener, ListenerLimits, ListenerSpec, Peer};
use tollgate_telemetry::Metrics;

use self::{
    answers::{object, refused, text, typed},
    door::Door,
    paths::{Found, What},
};
use crate::{
    handover::Inherited,
    life::Life,
    run::{self, Running},
};

/// What operators may use of the proxy: its clients come first.
const LIMITS: ListenerLimits = ListenerLimits {
    connections: 64,
    header_bytes: 16 << 10,
    header_count: 64,
    header_timeout: Duration::from_secs(5),
    idle_timeout: Duration::from_secs(30),
    handshake_timeout: Duration::from_secs(5),
    h2_streams: 16,
};

/// Of them, so many at once, and so many from one address: then the oldest gives way to the new one.
/// A probe is answered whoever holds the others, and however.
const CROWD: (usize, usize) = (48, 32);

/// Errors that are told at once, unless it is said how many.
const ERRORS: usize = 100;

/// The name of the listener, in the log and among sockets that are handed over.
pub(crate) const NAME: &str = "admin";

/// Begins to listen, over a socket that was handed over where there is one.
///
/// # Errors
/// When the address cannot be had, or the certificates cannot be used.
pub(crate) async fn bind(
    section: &Admin,
    inherited: &mut Inherited,
) -> Result<Listener, BindError> {
    let spec = ListenerSpec {
        name: NAME.to_owned(),
        address: section.address,
        tls: section.tls.as_ref().map(run::tls_spec),
        limits: LIMITS,
    };
    // Its connections are not counted among those of clients.
    let metrics = Arc::new(Metrics::new());
    let listener = match inherited.take(NAME, section.address) {
        Some(socket) => Listener::adopt(spec, socket, metrics).await?,
        None => Listener::bind(spec, metrics).await?,
    };
    let (address, page) = (listener.local_addr(), "/");
    tracing::info!(%address, page, "operators are answered");
    Ok(listener)
}

/// Who may be connected at once.
pub(crate) fn crowd() -> Arc<Crowd> {
    let (whole, of_one) = CROWD;
    Arc::new(Crowd::new(whole, of_one))
}

/// Serves until it is dropped, or the drain that it is given is over.
pub(crate) async fn serve(listener: Listener, section: Admin, life: Arc<Life>, draining: Drain) {
    let door = Arc::new(Door::new(&section));
    let living = life.clone();
    let service = move |request, peer: Arc<Peer>| {
        let (running, door) = (living.current(), door.clone());
        async move {
            let mut response = answer(&running, &door, &peer, request).await;
            answers::guard(&mut response);
            response
        }
    };
    let listener = listener.giving_way(life.operators().clone());
    listener.serve(service, draining).await;
}

async fn answer(
    running: &Arc<Running>,
    door: &Door,
    peer: &Peer,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (path, name) = match paths::find(request.method(), request.uri().path()) {
        Found::This(path, name) => (path, name),
        Found::Otherwise(methods) => {
            let mut response = refused(
                StatusCode::METHOD_NOT_ALLOWED,
                "the path is right and the method is not",
                &format!("use {methods}"),
            );
            if let Ok(methods) = HeaderValue::from_str(&methods) {
                response.headers_mut().insert(header::ALLOW, methods);
            }
            return response;
        }
        Found::Nowhere => {
            return refused(
                StatusCode::NOT_FOUND,
                "there is nothing here",
                "see /openapi.json for what there is; in a browser, /",
            );
        }
    };
    if let Err(why) = door.admit(running, peer, path.needs, &request) {
        return why.response();
    }
    let query = request.uri().query().unwrap_or_default();
    match path.what {
        What::Live => text(StatusCode::OK, "ok\n"),
        What::Ready if running.ready.load(Ordering::Relaxed) => text(StatusCode::OK, "ready\n"),
        What::Ready => text(StatusCode::SERVICE_UNAVAILABLE, "draining or starting\n"),
        What::Metrics => metrics(running, &request),
        What::Level => level::answer(running, request).await,
        What::Page => page::answer(name.as_deref(), request.headers()),
        What::Description => typed("application/json", paths::description()),
        What::Scale => match scale::answer(running, request.uri().query()) {
            Some(told) => object(StatusCode::OK, &told),
            None => refused(
                StatusCode::NOT_FOUND,
                "there is no such model",
                "GET /scale names those that there are",
            ),
        },
        What::Status => object(StatusCode::OK, &tell::status(running)),
        What::Overview => {
            let since = number(query, "since").unwrap_or_default();
            object(StatusCode::OK, &tell::overview(running, since))
        }
        What::Plugins => object(StatusCode::OK, &tell::generations(running)),
        What::Workers => object(StatusCode::OK, &tell::all_workers(running)),
        What::Queues => object(StatusCode::OK, &tell::queues(running)),
        What::Models => object(StatusCode::OK, &tell::models(running)),
        What::Errors => {
            let last = number(query, "last").and_then(|last| usize::try_from(last).ok());
            let failures = running.assembled.house.metrics.pulse().failures();
            object(
                StatusCode::OK,
                &tell::errors(failures, last.unwrap_or(ERRORS)),
            )
        }
        What::Changes => object(
            StatusCode::OK,
            &serde_json::json!({"changes": running.history.changes()}),
        ),
        What::Config => object(StatusCode::OK, &masked::config(&running.assembled.config)),
        What::Errand(errand) => process::answer(running, errand).await,
        What::Order(order) => {
            operate::answer(running, order, &name.unwrap_or_default(), request).await
        }
    }
}

/// In the format that is asked for; who does not ask gets the older one, which everybody reads.
fn metrics(running: &Running, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let metrics = &running.assembled.house.metrics;
    let accepts = request.headers().get_all(header::ACCEPT).iter();
    let mut accepts = accepts.filter_map(|value| value.to_str().ok());
    if accepts.any(|value| value.contains("application/openmetrics-text")) {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        return typed(kind, metrics.encode());
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    typed(kind, metrics.encode_plain())
}

/// A number of a query; what is none is as good as absent.
fn number(query: &str, name: &str) -> Option<u64> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_queries_are_read() {
        assert_eq!(number("since=12", "since"), Some(12));
        assert_eq!(number("a=1&last=7&last=8", "last"), Some(7));
        for query in ["", "since", "since=", "since=-1", "since=x", "nosince=4"] {
            assert_eq!(number(query, "since"), None, "{query}");
        }
    }
}
