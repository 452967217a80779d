//! What the section `telemetry` says, put together: who samples, and who sends.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tollgate_config::{FilePath, Followed, Otlp, Scheme, Telemetry};
use tollgate_otlp::{Exporter, Protocol, Spec};
use tollgate_telemetry::{Samples, Tracer, TracerSpec, ids, tracer::TracerError};
use tollgate_upstream::Tls;

use crate::run::Running;

/// The first pause between two attempts of one export.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the end of the process waits for a last export.
const PATIENCE: Duration = Duration::from_secs(5);

/// Telemetry cannot be sent as it is configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error("telemetry: {0}")]
    Tracer(#[from] TracerError),
    #[error("telemetry: otlp: {0}")]
    Otlp(#[from] tollgate_otlp::SpecError),
    #[error("telemetry: {path}: {error}")]
    File {
        path: FilePath,
        error: std::io::Error,
    },
    #[error("telemetry: there is no environment variable {0}")]
    Variable(String),
}

/// Who says which requests are traced; none: none is.
///
/// # Errors
/// See [`TracerError`].
pub(crate) fn tracer(section: &Telemetry) -> Result<Option<Arc<Tracer>>, TelemetryError> {
    let Some(traces) = &section.traces else {
        return Ok(None);
    };
    let spec = TracerSpec {
        ratio: traces.sample.get(),
        follow: traces.clients == Followed::Follow,
        queue: traces.queue.get(),
        batch: traces.batch.get(),
    };
    Ok(Some(Tracer::new(spec)?))
}

/// Who sends; none: nothing is sent.
///
/// # Errors
/// When a file or a variable is not there, or what they say makes no sense.
pub(crate) fn exporter(section: &Telemetry) -> Result<Option<Arc<Exporter>>, TelemetryError> {
    let Some(otlp) = &section.otlp else {
        return Ok(None);
    };
    let headers = match &otlp.headers_env {
        None => String::new(),
        Some(name) => {
            std::env::var(name.as_str()).map_err(|_| TelemetryError::Variable(name.to_string()))?
        }
    };
    let spec = Spec {
        protocol: match otlp.endpoint.scheme() {
            Scheme::Http | Scheme::Https => Protocol::Http,
            Scheme::Grpc | Scheme::Grpcs => Protocol::Grpc,
        },
        authority: otlp.endpoint.authority(),
        tls: tls(otlp)?,
        prefix: match &otlp.prefix {
            Some(prefix) => prefix.as_str().to_owned(),
            None => String::new(),
        },
        headers,
        headers_file: otlp.headers_file.as_ref().map(own),
        timeout: otlp.timeout.get(),
        attempts: otlp.attempts.get_u32(),
        pause: PAUSE,
        resource: resource(section),
    };
    Ok(Some(Exporter::new(spec)?))
}

fn own(path: &FilePath) -> std::path::PathBuf {
    Path::to_owned(path.as_path())
}

fn tls(otlp: &Otlp) -> Result<Option<Tls>, TelemetryError> {
    if !otlp.endpoint.scheme().is_tls() {
        return Ok(None);
    }
    let read = |path: &FilePath| {
        std::fs::read(path.as_path()).map_err(|error| TelemetryError::File {
            path: path.clone(),
            error,
        })
    };
    let name = otlp.server_name.as_ref();
    Ok(Some(Tls {
        ca_pem: otlp.ca.as_ref().map(read).transpose()?,
        server_name: name.map(|name| name.as_str().to_owned()),
    }))
}

/// Who we are, by OpenTelemetry's conventions for resources; what is configured goes before it.
fn resource(section: &Telemetry) -> Vec<(String, String)> {
    let name = section.service_name.as_ref();
    let name = name.map_or("tollgate", |name| name.as_str());
    let mut attributes: Vec<(String, String)> = vec![
        ("service.name".into(), name.into()),
        ("service.version".into(), env!("CARGO_PKG_VERSION").into()),
        ("service.instance.id".into(), instance()),
        ("process.pid".into(), std::process::id().to_string()),
    ];
    for (name, value) in &section.attributes {
        attributes.retain(|(known, _)| known != name.as_str());
        attributes.push((name.to_string(), value.to_string()));
    }
    attributes
}

/// A version 4 UUID (RFC 9562): another one for each start.
fn instance() -> String {
    let mut bytes: [u8; 16] = ids::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    parts.map(|(from, to)| &digits[from..to]).join("-")
}

/// Begins to send.
pub(crate) fn begin(running: &Arc<Running>, keeping: &mut JoinSet<()>) {
    let assembled = &running.assembled;
    let Some(exporter) = &assembled.exporter else {
        return;
    };
    let section = &assembled.config.telemetry;
    if let (Some(traces), Some(tracer)) = (&section.traces, &assembled.house.tracer) {
        let exporter = exporter.clone();
        keeping.spawn(exporter.keep_traces(tracer.clone(), traces.interval.get()));
    }
    if let Some(metrics) = &section.metrics {
        let page = assembled.house.metrics.clone();
        let exporter = exporter.clone();
        keeping.spawn(exporter.keep_metrics(page, metrics.interval.get()));
    }
}

/// Sends what there still is, once.
pub(crate) async fn end(running: &Running) {
    let assembled = &running.assembled;
    if let Some(exporter) = &assembled.exporter {
        let metrics = assembled.config.telemetry.metrics.as_ref();
        let page = metrics.map(|_| &assembled.house.metrics);
        let flush = exporter.flush(assembled.house.tracer.as_deref(), page);
        // Telemetry holds nobody up, at the end neither.
        let _ = tokio::time::timeout(PATIENCE, flush).await;
    }
}

/// The figures of both.
pub(crate) fn collect(running: &Running, samples: &mut Samples) {
    let assembled = &running.assembled;
    Tracer::collect(assembled.house.tracer.as_deref(), samples);
    Exporter::collect(assembled.exporter.as_deref(), samples);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_instance_is_called_by_a_new_uuid() {
        let names: HashSet<String> = (0..100).map(|_| instance()).collect();
        assert_eq!(names.len(), 100);
        for name in names {
            let lengths: Vec<_> = name.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{name}");
            assert_eq!(&name[14..15], "4");
            assert!("89ab".contains(&name[19..20]), "{name}");
        }
    }
}
