//! The page of metrics as OTLP's messages: what is exported is what stands on the page.
//!
//! Names and labels stay those of the page, with the unit beside the name, so that a collector that
//! writes them down for Prometheus again makes the same of them. Those of the conventions for
//! generative AI get their own spelling back.

use std::borrow::Cow;

use tollgate_telemetry::page::{Family, Kind, Point, Reading};

use crate::messages::{
    Buckets, CUMULATIVE, Data, ExportMetrics, Gauge, Histogram, KeyValue, Metric, Number, Resource,
    ResourceMetrics, Scope, ScopeMetrics, Sum, Value, text,
};
use crate::spec::SCHEMA;

/// Metrics and labels that the conventions name: as the page spells them, and as they are.
const NAMED: [(&str, &str, &str); 5] = [
    (
        "gen_ai_client_operation_duration_seconds",
        "gen_ai.client.operation.duration",
        "s",
    ),
    (
        "gen_ai_client_token_usage",
        "gen_ai.client.token.usage",
        "{token}",
    ),
    (
        "gen_ai_server_request_duration_seconds",
        "gen_ai.server.request.duration",
        "s",
    ),
    (
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai.server.time_to_first_token",
        "s",
    ),
    (
        "gen_ai_server_time_per_output_token_seconds",
        "gen_ai.server.time_per_output_token",
        "s",
    ),
];
const LABELS: [(&str, &str); 5] = [
    ("gen_ai_operation_name", "gen_ai.operation.name"),
    ("gen_ai_provider_name", "gen_ai.provider.name"),
    ("gen_ai_request_model", "gen_ai.request.model"),
    ("gen_ai_token_type", "gen_ai.token.type"),
    ("error_type", "error.type"),
];

/// When the figures began to be counted, and when they were read, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) since: u64,
    pub(crate) now: u64,
}

/// One export of these metrics, and how many points are in it.
pub(crate) fn export(
    resource: &Resource,
    families: Vec<Family>,
    span: Span,
) -> (ExportMetrics, u64) {
    let points = families.iter().map(|family| family.points.len() as u64);
    let points = points.sum();
    let metrics = families.into_iter().map(|family| metric(family, span));
    let export = ExportMetrics {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(Scope::own()),
                metrics: metrics.collect(),
            }],
            schema_url: SCHEMA.to_owned(),
        }],
    };
    (export, points)
}

fn metric(family: Family, span: Span) -> Metric {
    let named = NAMED.iter().find(|(page, ..)| *page == family.name);
    let (name, unit) = match named {
        Some((_, name, unit)) => ((*name).to_owned(), *unit),
        None => (family.name.clone(), family.unit()),
    };
    let numbers = |points: Vec<Point>| points.into_iter().filter_map(|it| number(it, span));
    Metric {
        name,
        description: family.help,
        unit: unit.to_owned(),
        data: Some(match family.kind {
            Kind::Gauge => Data::Gauge(Gauge {
                data_points: numbers(family.points).collect(),
            }),
            Kind::Counter => Data::Sum(Sum {
                data_points: numbers(family.points).collect(),
                aggregation_temporality: CUMULATIVE,
                is_monotonic: true,
            }),
            Kind::Histogram => Data::Histogram(Histogram {
                data_points: family
                    .points
                    .into_iter()
                    .filter_map(|it| buckets(it, span))
                    .collect(),
                aggregation_temporality: CUMULATIVE,
            }),
        }),
    }
}

fn number(point: Point, span: Span) -> Option<Number> {
    let Reading::Number(number) = point.value else {
        return None;
    };
    Some(Number {
        start_time_unix_nano: span.since,
        time_unix_nano: span.now,
        as_double: Some(number),
        attributes: attributes(point.labels),
    })
}

fn buckets(point: Point, span: Span) -> Option<Buckets> {
    let Reading::Buckets {
        sum,
        count,
        bounds,
        counts,
    } = point.value
    else {
        return None;
    };
    Some(Buckets {
        start_time_unix_nano: span.since,
        time_unix_nano: span.now,
        count,
        sum: Some(sum),
        bucket_counts: counts,
        explicit_bounds: bounds,
        attributes: attributes(point.labels),
    })
}

fn attributes(labels: Vec<(String, String)>) -> Vec<KeyValue> {
    let labels = labels.into_iter().map(|(name, value)| {
        let named = LABELS.iter().find(|(page, _)| *page == name);
        let name = named.map_or_else(|| name.into(), |(_, named)| Cow::Borrowed(*named));
        KeyValue::new(name, Value::Text(text(value.into())))
    });
    labels.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tollgate_telemetry::{Metrics, Operation, page};

    use super::*;

    #[test]
    fn the_page_is_exported_with_conventional_names() {
        let metrics = Arc::new(Metrics::new());
        metrics.rejected("all", "queue-full");
        let mut call = Operation::begin(&metrics, "chat", Some("p"), "m").unwrap();
        call.used(Some(5), None);
        drop(call);
        let span = Span { since: 1, now: 2 };
        let families = page::read(&metrics.encode());
        let (export, points) = export(&Resource::default(), families, span);
        let metrics = &export.resource_metrics[0].scope_metrics[0].metrics;
        let of = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();

        let Some(Data::Sum(rejected)) = &of("tollgate_rejected").data else {
            panic!("a counter");
        };
        assert!(rejected.is_monotonic);
        let point = &rejected.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
        assert_eq!(point.as_double, Some(1.0));
        assert_eq!(point.attributes[1].key, "why");

        let usage = of("gen_ai.client.token.usage");
        assert_eq!(usage.unit, "{token}");
        let Some(Data::Histogram(usage)) = &usage.data else {
            panic!("a histogram");
        };
        let input = &usage.data_points[0];
        let keys: Vec<_> = input.attributes.iter().map(|it| &it.key[..]).collect();
        let expected = [
            "gen_ai.operation.name",
            "gen_ai.provider.name",
            "gen_ai.request.model",
            "gen_ai.token.type",
        ];
        let expected = expected.map(str::as_bytes);
        assert_eq!(keys, expected);
        assert_eq!(of("gen_ai.client.operation.duration").unit, "s");
        let counted: usize = metrics
            .iter()
            .map(|metric| match metric.data.as_ref().unwrap() {
                Data::Gauge(it) => it.data_points.len(),
                Data::Sum(it) => it.data_points.len(),
                Data::Histogram(it) => {
                    let fits =
                        |it: &Buckets| it.bucket_counts.len() == it.explicit_bounds.len() + 1;
                    assert!(it.data_points.iter().all(fits), "{}", metric.name);
                    it.data_points.len()
                }
            })
            .sum();
        assert_eq!(counted as u64, points);
    }
}
