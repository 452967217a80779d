//! Active probes: what a backend asks a worker, and what it makes of the answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::Full;
use tollgate_dispatch::worker::{Load, Report};
use tollgate_plugin::{backend, types};
use tollgate_upstream::Upstream;
use tollgate_wire::grpc;

use crate::{
    calling::{facts, worker_of},
    context::visible,
    house::{House, Reach, Station},
    reading::{Read, Reader},
};

/// Bytes of one answer.
const ANSWER: usize = 64 << 10;
/// Bytes of a metrics page or model list; what is past it is not read.
const LONG_ANSWER: usize = 1 << 20;
/// Requests of one probe.
const REQUESTS: usize = 8;

/// Asks a worker how it is. Never fails: a worker that cannot be asked is not ready.
pub async fn probe(house: &House, station: &Station, timeout: Duration) -> Report {
    let probed = tokio::time::timeout(timeout, ask(house, station)).await;
    probed
        .unwrap_or_else(|_| Err("the worker did not answer in time".into()))
        .unwrap_or_else(|reason| Report {
            ready: false,
            reason: Some(reason),
            load: Load::default(),
            models: Vec::new(),
        })
}

async fn ask(house: &House, station: &Station) -> Result<Report, String> {
    let upstream = match &station.reach {
        Reach::Component(name) => {
            let generation = house.shelf.in_service(name);
            let generation = generation.ok_or("its plugin is not there")?;
            let models = generation.models().map_err(|error| error.to_string())?;
            return Ok(Report {
                ready: true,
                reason: None,
                load: Load::default(),
                models: models.into_iter().map(facts).collect(),
            });
        }
        Reach::Network(upstream) => upstream,
    };
    let backend = house
        .backend(station)
        .ok_or("its protocol's plugin is not there")?;
    let worker = worker_of(station);
    let requests = backend.probe(&worker).map_err(|error| error.to_string())?;
    let mut responses = Vec::with_capacity(requests.len());
    for request in requests.into_iter().take(REQUESTS) {
        responses.push(answer(upstream, request).await);
    }
    let health = backend
        .judge(&worker, &responses)
        .map_err(|error| error.to_string())?;
    Ok(Report {
        ready: health.ready,
        reason: health.reason,
        load: Load {
            queued: health.queued,
            running: health.running,
            kv_cache_use: health.kv_cache_use,
        },
        models: health.models.into_iter().map(facts).collect(),
    })
}

fn unreached() -> backend::ProbeResponse {
    backend::ProbeResponse {
        status: 0,
        code: None,
        headers: Vec::new(),
        body: Vec::new(),
    }
}

async fn answer(
    upstream: &Arc<Upstream>,
    request: backend::ProbeRequest,
) -> backend::ProbeResponse {
    let (method, path, is_grpc) = match request.surface {
        backend::Surface::Rest(rest) => (rest.method, rest.path, false),
        backend::Surface::Grpc(path) => ("POST".to_owned(), format!("/{path}"), true),
    };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), path.parse::<http::Uri>()) else {
        return unreached();
    };
    let mut head = Request::new(());
    *head.method_mut() = method;
    *head.uri_mut() = uri;
    for header in request.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(header.name.as_bytes()),
            HeaderValue::from_str(&header.value),
        ) {
            head.headers_mut().append(name, value);
        }
    }
    let mut body = request.body;
    if body.len() > ANSWER {
        return unreached();
    }
    if is_grpc {
        head.headers_mut().insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        head.headers_mut()
            .insert(http::header::TE, HeaderValue::from_static("trailers"));
        let mut framed = grpc::prefix(u32::try_from(body.len()).unwrap_or(u32::MAX)).to_vec();
        framed.append(&mut body);
        body = framed;
    }
    let Ok(response) = upstream.send(head, Full::new(Bytes::from(body))).await else {
        return unreached();
    };
    let mut answer = backend::ProbeResponse {
        status: response.head.status.as_u16(),
        code: None,
        headers: visible(&response.head.headers),
        body: Vec::new(),
    };
    let mut reader = Reader::new(response.body, &response.head.headers, LONG_ANSWER as u64);
    loop {
        match reader.next(&types::Want::More).await {
            Read::Bytes(chunks) => {
                for chunk in chunks {
                    let room = LONG_ANSWER - answer.body.len();
                    answer
                        .body
                        .extend_from_slice(&chunk[..chunk.len().min(room)]);
                }
                if let Some(source) = reader.source() {
                    source.release(u64::MAX);
                }
                if answer.body.len() >= LONG_ANSWER {
                    return answer;
                }
            }
            Read::Message(source) => {
                answer.body = source
                    .read(0, LONG_ANSWER as u64)
                    .map(|bytes| bytes.to_vec())
                    .unwrap_or_default();
            }
            Read::MoreOfMessage => {}
            Read::End(end) => {
                answer.code = end.code;
                return answer;
            }
            Read::Cut(_) => return unreached(),
        }
    }
}
