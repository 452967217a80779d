//! A collector that keeps what it is sent: OTLP over HTTP or over gRPC, decoded by OpenTelemetry's own
//! messages.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use tollgate_tests::{
    eventually,
    fake::{Journal, grpc, http1},
};

/// What was sent.
#[derive(Default)]
pub(crate) struct Kept {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
}

impl Kept {
    fn take(&mut self, path: &str, body: &[u8]) {
        let known = "it is that message";
        match path.strip_prefix("/otlp/a").unwrap_or(path) {
            "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
                let request = ExportTraceServiceRequest::decode(body).expect(known);
                self.traces.push(request);
            }
            "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
                let request = ExportMetricsServiceRequest::decode(body).expect(known);
                self.metrics.push(request);
            }
            other => panic!("nothing is sent to {other}"),
        }
    }
}

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Http,
    Grpc,
}

enum Listening {
    Http(http1::Worker),
    Grpc(grpc::Worker),
}

/// The collector.
pub(crate) struct Receiver {
    listening: Listening,
    kept: Arc<Mutex<Kept>>,
}

impl Receiver {
    pub(crate) async fn start(over: Over) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let keep = kept.clone();
        let listening = match over {
            Over::Http => Listening::Http(
                http1::Worker::start(move |received| {
                    let line: Vec<_> = received.head.line.split(' ').collect();
                    assert_eq!(line[0], "POST");
                    let kind = received.head.get("content-type");
                    assert_eq!(kind, Some("application/x-protobuf"));
                    keep.lock().unwrap().take(line[1], &received.body);
                    let kind = "application/x-protobuf";
                    vec![http1::answer(200, kind, "")]
                })
                .await,
            ),
            Over::Grpc => Listening::Grpc(
                grpc::Worker::start(move |received| {
                    let (method, path) = received.head.line.split_once(' ').unwrap();
                    assert_eq!(method, "POST");
                    keep.lock().unwrap().take(path, &received.body[5..]);
                    match path.contains("TraceService") {
                        true => grpc::answer(&ExportTraceServiceResponse::default()),
                        false => grpc::answer(&ExportMetricsServiceResponse::default()),
                    }
                })
                .await,
            ),
        };
        Self { listening, kept }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match &self.listening {
            Listening::Http(worker) => worker.address,
            Listening::Grpc(worker) => worker.address,
        }
    }

    pub(crate) fn journal(&self) -> &Journal {
        match &self.listening {
            Listening::Http(worker) => &worker.journal,
            Listening::Grpc(worker) => &worker.journal,
        }
    }

    /// The section of a configuration, with everything sent here; `more` stands in `otlp`.
    pub(crate) fn section(&self, more: &str) -> String {
        let scheme = match &self.listening {
            Listening::Http(_) => "http",
            Listening::Grpc(_) => "grpc",
        };
        format!(
            "telemetry:
  service-name: under test
  attributes: {{ deployment.environment.name: here }}
  otlp: {{ endpoint: \"{scheme}://{}\"{more} }}
  traces: {{ interval: 10ms }}
  metrics: {{ interval: 100ms }}
",
            self.address()
        )
    }

    /// All bytes that came, as text as far as they are: for what must not be in them.
    pub(crate) fn text(&self) -> String {
        let kept = self.kept.lock().unwrap();
        format!("{:?}{:?}", kept.traces, kept.metrics)
    }

    /// The spans so far.
    pub(crate) fn spans(&self) -> Vec<Told> {
        let kept = self.kept.lock().unwrap();
        let resources = kept.traces.iter().flat_map(|it| &it.resource_spans);
        let mut spans = Vec::new();
        for resource in resources {
            let of = resource.resource.as_ref().expect("it says whose they are");
            assert_eq!(text(&of.attributes, "service.name"), Some("under test"));
            let environment = text(&of.attributes, "deployment.environment.name");
            assert_eq!(environment, Some("here"));
            for scope in &resource.scope_spans {
                spans.extend(scope.spans.iter().cloned().map(Told));
            }
        }
        spans
    }

    /// The spans of a trace, once its server's has come, with which all have.
    pub(crate) async fn trace(&self, id: &str) -> Vec<Told> {
        eventually(format!("the trace {id}"), async || {
            let mut spans = self.spans();
            spans.retain(|span| hex::encode(&span.0.trace_id) == id);
            spans
                .iter()
                .any(|span| span.kind() == SpanKind::Server)
                .then_some(spans)
        })
        .await
    }

    /// The last value of a metric, once there is one that `fits`.
    pub(crate) async fn metric<T>(&self, name: &str, fits: impl Fn(&Metric) -> Option<T>) -> T {
        eventually(format!("the metric {name}"), async || {
            let kept = self.kept.lock().unwrap();
            let all = kept.metrics.iter().rev();
            let all = all
                .flat_map(|it| &it.resource_metrics)
                .flat_map(|it| &it.scope_metrics)
                .flat_map(|it| &it.metrics);
            let mut named = all.filter(|metric| metric.name == name);
            named.find_map(&fits)
        })
        .await
    }
}

/// A span, and what one asks of it.
#[derive(Clone, Debug)]
pub(crate) struct Told(pub(crate) Span);

impl Told {
    pub(crate) fn kind(&self) -> SpanKind {
        SpanKind::try_from(self.0.kind).expect("a kind")
    }

    pub(crate) fn id(&self) -> String {
        hex::encode(&self.0.span_id)
    }

    pub(crate) fn parent(&self) -> String {
        hex::encode(&self.0.parent_span_id)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        text(&self.0.attributes, name)
    }

    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        match value(&self.0.attributes, name)? {
            Value::IntValue(number) => Some(*number),
            other => panic!("{name} is {other:?}"),
        }
    }

    /// Why it failed; none: it did not.
    pub(crate) fn error(&self) -> Option<&str> {
        let status = self.0.status.as_ref()?;
        assert_eq!(status.code, StatusCode::Error as i32);
        Some(&status.message)
    }
}

/// The only span that fits.
pub(crate) fn only(spans: &[Told], fits: impl Fn(&Told) -> bool) -> Told {
    let mut found = spans.iter().filter(|span| fits(span));
    match (found.next(), found.next()) {
        (Some(one), None) => one.clone(),
        (None, _) => panic!("none of {spans:#?}"),
        _ => panic!("more than one of {spans:#?}"),
    }
}

/// The only span of that name.
pub(crate) fn named(spans: &[Told], name: &str) -> Told {
    only(spans, |span| span.0.name == name)
}

fn value<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    let mut named = attributes.iter().filter(|it| it.key == name);
    let found = named.next()?;
    assert!(named.next().is_none(), "{name} is told twice");
    found.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    match value(attributes, name)? {
        Value::StringValue(text) => Some(text),
        other => panic!("{name} is {other:?}"),
    }
}

/// The sum of a counter's or a histogram's points that have these labels, and how many values a
/// histogram has seen.
pub(crate) fn total(metric: &Metric, labels: &[(&str, &str)]) -> Option<(f64, u64)> {
    let has = |attributes: &[KeyValue]| {
        let mut labels = labels.iter();
        labels.all(|(name, value)| text(attributes, name) == Some(value))
    };
    match metric.data.as_ref()? {
        Data::Sum(sum) => {
            assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
            let points = sum.data_points.iter().filter(|it| has(&it.attributes));
            let values = points.filter_map(|it| match it.value? {
                opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::AsDouble(it) => {
                    Some(it)
                }
                other => panic!("{other:?}"),
            });
            values.reduce(|a, b| a + b).map(|sum| (sum, 0))
        }
        Data::Histogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality, 2);
            let points = histogram.data_points.iter();
            let mut points = points.filter(|it| has(&it.attributes)).map(|it| {
                assert_eq!(it.bucket_counts.len(), it.explicit_bounds.len() + 1);
                assert_eq!(it.bucket_counts.iter().sum::<u64>(), it.count);
                assert!(it.start_time_unix_nano < it.time_unix_nano);
                (it.sum.expect("a sum"), it.count)
            });
            let first = points.next()?;
            Some(points.fold(first, |a, b| (a.0 + b.0, a.1 + b.1)))
        }
        other => panic!("{other:?}"),
    }
}
