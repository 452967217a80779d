//! One export: a request with one message, and what the answer says of it (OTLP 1.x, "OTLP/gRPC" and
//! "OTLP/HTTP").
//!
//! An export that fails may be sent again where the protocol says so: the connection failed or the
//! time was over; HTTP 429, 502, 503 and 504; of gRPC `CANCELLED`, `DEADLINE_EXCEEDED`,
//! `RESOURCE_EXHAUSTED`, `ABORTED`, `OUT_OF_RANGE`, `UNAVAILABLE` and `DATA_LOSS`.
//! `RESOURCE_EXHAUSTED` is only meant so with a `RetryInfo`, which is not read here: as often as an
//! export is sent again, it does no harm.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use prost::Message;
use tollgate_upstream::{Bounds, Response, Transport, Upstream};

use crate::messages::{Exported, PartialSuccess, Refusal};
use crate::spec::{HeadersError, Protocol, Spec, SpecError, from_lines, from_list};

/// Bytes of an answer that are read.
const ANSWER: usize = 64 << 10;
/// What a collector can ask for of patience, at most.
const PATIENCE: Duration = Duration::from_secs(60);
/// Characters that are told of what it says.
const SAID: usize = 200;
/// A collector needs few.
const CONNECTIONS: usize = 2;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }

    fn path(self, protocol: Protocol) -> &'static str {
        match (protocol, self) {
            (Protocol::Http, Self::Traces) => "/v1/traces",
            (Protocol::Http, Self::Metrics) => "/v1/metrics",
            (Protocol::Grpc, Self::Traces) => {
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
            }
            (Protocol::Grpc, Self::Metrics) => {
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
            }
        }
    }
}

/// Why an export did not go well.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct ExportError {
    what: String,
    /// It may be sent again.
    pub(crate) again: bool,
    /// Not before this has passed, if the collector says so.
    pub(crate) after: Option<Duration>,
}

impl ExportError {
    fn lost(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            again: false,
            after: None,
        }
    }

    fn again(what: impl Into<String>) -> Self {
        Self {
            again: true,
            ..Self::lost(what)
        }
    }
}

/// Sends exports to one collector.
pub(crate) struct Client {
    upstream: Arc<Upstream>,
    spec: Spec,
    headers: HeaderMap,
}

impl Client {
    /// No connection is made yet.
    ///
    /// # Errors
    /// See [`SpecError`].
    pub(crate) fn new(spec: Spec) -> Result<Self, SpecError> {
        if spec.timeout.is_zero() || spec.attempts == 0 {
            return Err(SpecError::Timeout);
        }
        let headers = from_list(&spec.headers)?;
        if let Some(path) = &spec.headers_file {
            let text = std::fs::read_to_string(path).map_err(|error| HeadersError::File {
                path: path.clone(),
                error,
            })?;
            from_lines(&text)?;
        }
        let authority = spec.authority.parse();
        let upstream = Upstream::with_bounds(
            tollgate_upstream::Spec {
                authority: authority.map_err(|_| SpecError::Authority(spec.authority.clone()))?,
                address: spec.authority.clone(),
                transport: match spec.protocol {
                    Protocol::Http => Transport::H1,
                    Protocol::Grpc => Transport::H2,
                },
                tls: spec.tls.clone(),
                max_connections: CONNECTIONS,
                max_streams: 4,
                connect_timeout: spec.timeout,
                idle_timeout: Duration::from_secs(90),
            },
            Bounds {
                max_waiting: 4,
                stream_window: 64 << 10,
                connection_window: 256 << 10,
                ..Bounds::default()
            },
        )?;
        Ok(Self {
            upstream,
            spec,
            headers,
        })
    }

    /// Sends one; gives what the collector did not take of it, where it took the rest.
    pub(crate) async fn export(
        &self,
        signal: Signal,
        message: &impl Message,
    ) -> Result<Option<PartialSuccess>, ExportError> {
        let exporting = async {
            let head = self.head(signal).await?;
            let body = Full::new(self.body(message));
            let sent = self.upstream.send(head, body).await;
            let response = sent.map_err(|error| ExportError::again(error.to_string()))?;
            match self.spec.protocol {
                Protocol::Http => of_http(response).await,
                Protocol::Grpc => of_grpc(response).await,
            }
        };
        match tokio::time::timeout(self.spec.timeout, exporting).await {
            Ok(exported) => exported,
            Err(_) => Err(ExportError::again("no answer in time")),
        }
    }

    async fn head(&self, signal: Signal) -> Result<Request<()>, ExportError> {
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        let path = signal.path(self.spec.protocol);
        let target = match self.spec.protocol {
            Protocol::Http => format!("{}{path}", self.spec.prefix),
            Protocol::Grpc => path.to_owned(),
        };
        *head.uri_mut() = target
            .parse()
            .map_err(|_| ExportError::lost(format!("{target} is no path")))?;
        let mut headers = self.headers.clone();
        if let Some(path) = &self.spec.headers_file {
            // While it is being replaced it may be half there: what waits is not lost for that.
            let unreadable = |what: String| ExportError::again(what);
            let text = tokio::fs::read_to_string(path)
                .await
                .map_err(|error| unreadable(format!("{}: {error}", path.display())))?;
            headers.extend(from_lines(&text).map_err(|error| unreadable(error.to_string()))?);
        }
        let kind = match self.spec.protocol {
            Protocol::Http => "application/x-protobuf",
            Protocol::Grpc => "application/grpc",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if self.spec.protocol == Protocol::Grpc {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        let agent = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        *head.headers_mut() = headers;
        Ok(head)
    }

    fn body(&self, message: &impl Message) -> Bytes {
        let length = message.encoded_len();
        let mut body = BytesMut::with_capacity(length + 5);
        if self.spec.protocol == Protocol::Grpc {
            body.put_u8(0);
            body.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        }
        // The only error is that of a buffer without room, and this one grows.
        let _ = message.encode(&mut body);
        body.freeze()
    }
}

/// As much of a body as is read.
async fn whole(response: &mut Response) -> Result<Vec<u8>, ExportError> {
    let mut body = Vec::new();
    while let Some(data) = response.body.data().await {
        let data = data.map_err(|error| ExportError::again(error.to_string()))?;
        if body.len() + data.len() > ANSWER {
            return Err(ExportError::lost("the answer is too long"));
        }
        body.extend_from_slice(&data);
    }
    Ok(body)
}

fn partial(body: &[u8]) -> Option<PartialSuccess> {
    // It has been taken: an answer that says so in words nobody understands is no failure.
    let success = Exported::decode(body).ok()?.partial_success?;
    let told = success.rejected > 0 || !success.error_message.is_empty();
    told.then_some(success)
}

async fn of_http(mut response: Response) -> Result<Option<PartialSuccess>, ExportError> {
    let status = response.head.status;
    if status.is_success() {
        return Ok(partial(&whole(&mut response).await?));
    }
    let after = response.head.headers.get(header::RETRY_AFTER);
    let after = after
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(PATIENCE));
    let body = whole(&mut response).await.unwrap_or_default();
    let said = Refusal::decode(&body[..]).map(|refusal| refusal.message);
    Err(ExportError {
        what: told(&format!("status {status}"), &said.unwrap_or_default()),
        again: matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
        after,
    })
}

async fn of_grpc(mut response: Response) -> Result<Option<PartialSuccess>, ExportError> {
    if response.head.status != StatusCode::OK {
        let what = format!("status {} where gRPC is spoken", response.head.status);
        return Err(ExportError::again(what));
    }
    let code = |headers: &HeaderMap| -> Option<u32> {
        headers.get("grpc-status")?.to_str().ok()?.parse().ok()
    };
    let message = |headers: &HeaderMap| -> String {
        let message = headers.get("grpc-message").and_then(|it| it.to_str().ok());
        message.unwrap_or_default().to_owned()
    };
    let body = whole(&mut response).await?;
    let broken = |error: tollgate_upstream::BodyError| ExportError::again(error.to_string());
    let trailers = response.body.trailers().await.map_err(broken)?;
    let end = trailers.unwrap_or_else(|| response.head.headers.clone());
    match code(&end) {
        Some(0) => Ok(body.get(5..).and_then(partial)),
        Some(code) => Err(ExportError {
            what: told(&format!("gRPC status {code}"), &message(&end)),
            again: matches!(code, 1 | 4 | 8 | 10 | 11 | 14 | 15),
            after: None,
        }),
        None => Err(ExportError::again("an answer without a status")),
    }
}

/// What a collector says, as far as it goes into a line.
fn told(status: &str, said: &str) -> String {
    let said: String = said.chars().take(SAID).collect();
    match said.is_empty() {
        true => status.to_owned(),
        false => format!("{status}: {said}"),
    }
}
