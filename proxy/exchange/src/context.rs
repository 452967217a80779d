//! What travels with a request: its id, its trace, its deadline, its seed.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;
use tollgate_plugin::types;
use tollgate_telemetry::{Step, TraceContext, Trail, Under, baggage::baggage};
use tollgate_wire::grpc;

/// Names a request in logs here and at the worker.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// W3C Baggage.
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Shown to no guest, whatever its manifest names: what lets clients in is the proxy's to read.
const CREDENTIALS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
];

/// What is written on every upstream request.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) request_id: HeaderValue,
    pub(crate) is_grpc: bool,
    /// Where the spans of what is done are begun.
    pub(crate) under: Under,
    carried: Arc<Carried>,
}

#[derive(Debug)]
struct Carried {
    /// Where the request is not traced.
    traceparent: HeaderValue,
    tracestate: Option<HeaderValue>,
    baggage: Option<HeaderValue>,
    /// Upstream requests that were made for this one.
    made: AtomicU32,
}

impl Trace {
    /// With what the client's headers say of it.
    pub(crate) fn new(
        request_id: HeaderValue,
        headers: &HeaderMap,
        context: &TraceContext,
        trail: &Trail,
    ) -> Self {
        let (traceparent, tracestate) = context.child();
        Self {
            request_id,
            is_grpc: false,
            under: Under::root(trail),
            carried: Arc::new(Carried {
                traceparent,
                tracestate,
                baggage: baggage(headers),
                made: AtomicU32::new(0),
            }),
        }
    }

    /// For what is done as a part of a step.
    pub(crate) fn part_of(&self, step: &Step) -> Self {
        Self {
            under: step.under(),
            ..self.clone()
        }
    }

    /// The request's own id for the first upstream request; `ID-2` and so on for the others: there
    /// are workers that take it for a name that nobody else has meanwhile.
    fn own_id(&self) -> HeaderValue {
        match self.carried.made.fetch_add(1, Ordering::Relaxed) {
            0 => self.request_id.clone(),
            before => {
                let mut id = self.request_id.as_bytes().to_vec();
                id.extend_from_slice(format!("-{}", u64::from(before) + 1).as_bytes());
                HeaderValue::from_bytes(&id).unwrap_or_else(|_| self.request_id.clone())
            }
        }
    }

    /// Writes them, and for gRPC the framing's own headers and what is left of the time. `step` is
    /// the span of that one request.
    pub(crate) fn write(
        &self,
        headers: &mut HeaderMap,
        is_grpc: bool,
        deadline: Instant,
        step: &Step,
    ) {
        let carried = &*self.carried;
        headers.insert(REQUEST_ID, self.own_id());
        let parent = step.traceparent();
        headers.insert(
            TRACEPARENT,
            parent.unwrap_or_else(|| carried.traceparent.clone()),
        );
        // What the client sent of them and is not passed on was malformed.
        for (name, value) in [
            (TRACESTATE, &carried.tracestate),
            (BAGGAGE, &carried.baggage),
        ] {
            match value {
                Some(value) => drop(headers.insert(name, value.clone())),
                None => drop(headers.remove(name)),
            }
        }
        if is_grpc {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/grpc"),
            );
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            let left = deadline.saturating_duration_since(Instant::now());
            if let Ok(value) = HeaderValue::from_str(&grpc::format_timeout(left)) {
                headers.insert(GRPC_TIMEOUT, value);
            }
        }
    }
}

/// Headers whose values are visible ASCII, for a guest.
pub(crate) fn visible(headers: &HeaderMap) -> Vec<types::Header> {
    headers
        .iter()
        .filter_map(|(name, value)| {
            Some(types::Header {
                name: name.as_str().to_owned(),
                value: value.to_str().ok()?.to_owned(),
            })
        })
        .collect()
}

/// Those of a client's headers that a guest wants to see, and may.
pub(crate) fn wanted(headers: &HeaderMap, names: &[String]) -> Vec<types::Header> {
    let secret = |name: &&String| CREDENTIALS.iter().any(|it| it == name.as_str());
    names
        .iter()
        .filter(|name| !secret(name))
        .flat_map(|name| {
            headers.get_all(name.as_str()).iter().filter_map(|value| {
                Some(types::Header {
                    name: name.clone(),
                    value: value.to_str().ok()?.to_owned(),
                })
            })
        })
        .collect()
}

/// What a guest sees of the headers of a response that it taps.
pub(crate) fn tapped(headers: &HeaderMap, names: &[String]) -> Vec<types::Header> {
    let mut shown = wanted(headers, names);
    let content_type = header::CONTENT_TYPE.as_str();
    if !names.iter().any(|name| name == content_type) {
        shown.extend(wanted(headers, &[content_type.to_owned()]));
    }
    shown
}

/// The declared length of a body.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_sees_the_headers_that_it_names_and_no_credentials() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("accept", "a"),
            ("accept", "b"),
            ("authorization", "Bearer secret"),
            ("cookie", "secret"),
            ("proxy-authorization", "secret"),
            ("x-api-key", "secret"),
            ("x-other", "c"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let all: Vec<String> = headers.keys().map(|it| it.as_str().to_owned()).collect();
        let shown = |names: &[String]| -> Vec<(String, String)> {
            let seen = wanted(&headers, names).into_iter();
            seen.map(|it| (it.name, it.value)).collect()
        };
        assert!(shown(&["cookie".to_owned()]).is_empty());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut seen = shown(&all);
        seen.sort();
        assert_eq!(
            seen,
            [
                pair("accept", "a"),
                pair("accept", "b"),
                pair("x-other", "c")
            ]
        );
    }
}
