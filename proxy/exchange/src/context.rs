//! What travels with a request: its id, its trace, its deadline, its seed.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;
use tollgate_plugin::types;
use tollgate_wire::grpc;

/// Names a request in logs here and at the worker.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What is written on every upstream request.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) request_id: HeaderValue,
    pub(crate) traceparent: HeaderValue,
    pub(crate) tracestate: Option<HeaderValue>,
    pub(crate) is_grpc: bool,
    /// Upstream requests that were made for this one.
    made: Arc<AtomicU32>,
}

impl Trace {
    pub(crate) fn new(
        request_id: HeaderValue,
        traceparent: HeaderValue,
        tracestate: Option<HeaderValue>,
    ) -> Self {
        Self {
            request_id,
            traceparent,
            tracestate,
            is_grpc: false,
            made: Arc::default(),
        }
    }

    /// The request's own id for the first upstream request; `ID-2` and so on for the others: there
    /// are workers that take it for a name that nobody else has meanwhile.
    fn own_id(&self) -> HeaderValue {
        match self.made.fetch_add(1, Ordering::Relaxed) {
            0 => self.request_id.clone(),
            before => {
                let mut id = self.request_id.as_bytes().to_vec();
                id.extend_from_slice(format!("-{}", u64::from(before) + 1).as_bytes());
                HeaderValue::from_bytes(&id).unwrap_or_else(|_| self.request_id.clone())
            }
        }
    }

    /// Writes them, and for gRPC the framing's own headers and what is left of the time.
    pub(crate) fn write(&self, headers: &mut HeaderMap, is_grpc: bool, deadline: Instant) {
        headers.insert(REQUEST_ID, self.own_id());
        headers.insert(TRACEPARENT, self.traceparent.clone());
        if let Some(tracestate) = &self.tracestate {
            headers.insert(TRACESTATE, tracestate.clone());
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

/// Those of a client's headers that a guest wants to see.
pub(crate) fn wanted(headers: &HeaderMap, names: &[String]) -> Vec<types::Header> {
    names
        .iter()
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
