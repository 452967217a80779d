//! From the configuration's sections to what a route says to pages, and tells to a sink.

use std::sync::Arc;

use http::HeaderName;
use tollgate_config::{HeaderWord, Origin, PayloadContent, PayloadMode, Route};
use tollgate_exchange::{Cors, CorsSpec};
use tollgate_payloads::{
    Content, Courier, Mode, PayloadLog, PayloadLogError, PayloadLogSpec, SinkSpec,
};

/// Which pages of other origins may ask a route.
///
/// # Errors
/// A word of it cannot stand in a header.
pub(crate) fn cors(route: &Route) -> Result<Option<Cors>, String> {
    let Some(section) = &route.cors else {
        return Ok(None);
    };
    let texts = |words: &[HeaderWord]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let origins = section.origins.clone();
    let cors = Cors::new(CorsSpec {
        any: origins.contains(&Origin::Any),
        origins: Box::new(move |origin| origins.iter().any(|one| one.matches(origin))),
        methods: section.methods.iter().map(ToString::to_string).collect(),
        headers: match section.headers.iter().any(HeaderWord::is_any) {
            true => None,
            false => Some(texts(&section.headers)),
        },
        exposed: texts(&section.exposed_headers),
        max_age: section.max_age.get(),
        credentials: section.credentials,
    });
    cors.map(Some).map_err(|error| error.to_string())
}

/// Where a route's bodies are told, and the task that tells them.
///
/// # Errors
/// The sink cannot be reached as it is described.
pub(crate) fn payloads(
    route: &Route,
) -> Result<Option<(Arc<PayloadLog>, Courier)>, PayloadLogError> {
    let Some(section) = &route.payload_log else {
        return Ok(None);
    };
    let service = section.service.as_ref().unwrap_or(&route.name);
    let extensions = [
        ("inferenceservicename", Some(service)),
        ("namespace", section.namespace.as_ref()),
        ("component", section.component.as_ref()),
        ("endpoint", section.endpoint.as_ref()),
    ];
    let named = |word: &HeaderWord| HeaderName::from_bytes(word.as_str().as_bytes()).ok();
    PayloadLog::new(PayloadLogSpec {
        sink: SinkSpec {
            tls: section.sink.is_tls(),
            authority: section.sink.authority(),
            path: section.sink.path().to_owned(),
            ca: section.ca.as_ref().map(|path| path.as_path().to_owned()),
            connections: section.connections.get(),
            timeout: section.timeout.get(),
            content: match section.content {
                PayloadContent::Binary => Content::Binary,
                PayloadContent::Structured => Content::Structured,
            },
        },
        source: format!("tollgate/{}", route.name),
        extensions: extensions
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.to_string())))
            .collect(),
        metadata: section.metadata_headers.iter().filter_map(named).collect(),
        mode: match section.mode {
            PayloadMode::All => Mode::All,
            PayloadMode::Request => Mode::Request,
            PayloadMode::Response => Mode::Response,
        },
        percent: section.percent.get_u32(),
        body: section.body.get_u64(),
        queue: section.queue.get(),
        memory: section.memory.get_u64(),
    })
    .map(Some)
}
