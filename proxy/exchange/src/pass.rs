//! Passing: the client's own request, with a few bytes changed, to a worker that speaks
//! its dialect; and the worker's own response back.

use http::{HeaderName, HeaderValue, Request, Response, header};
use tollgate_plugin::frontend;
use tollgate_telemetry::Step;
use tollgate_wire::{
    edit::{Edit, SpliceEnd, splice},
    failure::Failure,
    headers,
    source::Source,
};

use crate::{
    context::{REQUEST_ID, TRACEPARENT},
    exchange::Asked,
    outgoing::{self, Outgoing},
};

/// Why a body cannot be passed.
pub(crate) enum BadPass {
    /// The guest's edits make no sense.
    Edit(String),
    /// A value cannot be converted.
    Failed(Failure),
}

/// The head for the worker: the client's, less what is between it and us, less what the
/// plugin strips, with the guest's changes.
///
/// # Errors
/// When the guest sets what is no header or path.
pub(crate) fn request_head(
    asked: &Asked,
    it: &frontend::Passed,
    step: &Step,
) -> Result<Request<()>, String> {
    let mut request = Request::new(());
    *request.method_mut() = asked.parts.method.clone();
    let path = it.path.as_deref().unwrap_or(&asked.head.path);
    let query = it.query.as_deref().unwrap_or(&asked.head.query);
    let target = if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    };
    *request.uri_mut() = target
        .parse()
        .map_err(|_| format!("it passes to the path {target:?}"))?;
    let mut map = asked.parts.headers.clone();
    headers::strip_hop_by_hop(&mut map);
    asked.claimed.strip.strip(&mut map);
    // The token was for us; the length follows from the edits.
    for name in [
        header::AUTHORIZATION,
        header::COOKIE,
        header::HOST,
        header::CONTENT_LENGTH,
        header::EXPECT,
        HeaderName::from_static("grpc-timeout"),
        HeaderName::from_static("grpc-encoding"),
    ] {
        map.remove(name);
    }
    if !matches!(it.response, frontend::ResponseMode::Blind) {
        map.remove(header::ACCEPT_ENCODING);
        map.remove("grpc-accept-encoding");
    }
    for name in &it.remove_headers {
        map.remove(name.as_str());
    }
    for header in &it.set_headers {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| format!("it sets the header name {:?}", header.name))?;
        let value = HeaderValue::from_str(&header.value)
            .map_err(|_| format!("it sets a bad value of {:?}", header.name))?;
        map.insert(name, value);
    }
    asked
        .trace
        .write(&mut map, asked.is_grpc, asked.deadline, step);
    *request.headers_mut() = map;
    Ok(request)
}

/// The client's body with the edits made; for gRPC, its one message.
///
/// # Errors
/// See [`BadPass`].
pub(crate) fn body(
    source: Option<&Source>,
    edits: Vec<Edit>,
    is_grpc: bool,
) -> Result<Outgoing, BadPass> {
    let pieces = match source {
        Some(source) => {
            splice(source, 0, SpliceEnd::End, edits)
                .map_err(|bad| BadPass::Edit(bad.to_string()))?
                .0
        }
        None => Vec::new(),
    };
    outgoing::writer(pieces, is_grpc)
        .map(Outgoing::whole)
        .map_err(BadPass::Failed)
}

/// The head for the client. `blind`: the body goes through as it is, its length too.
pub(crate) fn response_head(head: http::response::Parts, blind: bool) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    let mut map = head.headers;
    headers::strip_hop_by_hop(&mut map);
    map.remove(REQUEST_ID);
    map.remove(TRACEPARENT);
    if !blind {
        map.remove("grpc-encoding");
    }
    *response.headers_mut() = map;
    response
}
