//! What was recorded of requests, as OTLP's messages.

use std::borrow::Cow;

use bytes::Bytes;
use opentelemetry::trace::SpanId;
use tollgate_telemetry::spans::{self, Attribute, Kind, Recorded};

use crate::messages::{
    ERROR, ExportTraces, KeyValue, Link, Resource, ResourceSpans, Scope, ScopeSpans, Span, Status,
    Value, flags, kind, text,
};
use crate::spec::SCHEMA;

/// One export of these requests, and how many spans are in it.
pub(crate) fn export(resource: &Resource, recorded: Vec<Recorded>) -> (ExportTraces, u64) {
    let spans: Vec<Span> = recorded.into_iter().flat_map(of_request).collect();
    let count = spans.len() as u64;
    let export = ExportTraces {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(Scope::own()),
                spans,
            }],
            schema_url: SCHEMA.to_owned(),
        }],
    };
    (export, count)
}

fn of_request(recorded: Recorded) -> impl Iterator<Item = Span> {
    let Recorded {
        trace,
        state,
        spans,
        left_out,
    } = recorded;
    let trace = id(&trace.to_bytes());
    spans.into_iter().map(move |mut span| {
        if left_out > 0 && span.kind == Kind::Server {
            let left_out = spans::Value::from(left_out);
            span.attributes
                .push(("tollgate.spans.left_out".into(), left_out));
        }
        let remote = if span.remote { flags::IS_REMOTE } else { 0 };
        Span {
            trace_id: trace.clone(),
            span_id: id(&span.id.to_bytes()),
            trace_state: state.clone(),
            parent_span_id: match span.parent {
                SpanId::INVALID => Bytes::new(),
                parent => id(&parent.to_bytes()),
            },
            name: span.name.into_owned(),
            kind: match span.kind {
                Kind::Internal => kind::INTERNAL,
                Kind::Server => kind::SERVER,
                Kind::Client => kind::CLIENT,
            },
            start_time_unix_nano: span.began,
            end_time_unix_nano: span.ended,
            attributes: attributes(span.attributes, span.error.as_ref()),
            links: span
                .links
                .into_iter()
                .map(|(trace, span)| Link {
                    trace_id: id(&trace.to_bytes()),
                    span_id: id(&span.to_bytes()),
                })
                .collect(),
            status: span.error.map(|error| Status {
                message: error.into_owned(),
                code: ERROR,
            }),
            flags: flags::SAMPLED | flags::HAS_IS_REMOTE | remote,
        }
    })
}

fn id(id: &[u8]) -> Bytes {
    Bytes::copy_from_slice(id)
}

/// With `error.type`, where it is not told already.
fn attributes(told: Vec<Attribute>, error: Option<&Cow<'static, str>>) -> Vec<KeyValue> {
    const TYPE: &str = "error.type";
    let known = told.iter().any(|(name, _)| name == TYPE);
    let error = error.filter(|_| !known);
    let error = error.map(|error| KeyValue::new(TYPE.into(), Value::Text(text(error.clone()))));
    let told = told.into_iter().map(|(name, value)| {
        let value = match value {
            spans::Value::Text(told) => Value::Text(text(told)),
            spans::Value::Number(number) => Value::Number(number),
            spans::Value::Truth(truth) => Value::Truth(truth),
        };
        KeyValue::new(name, value)
    });
    told.chain(error).collect()
}
