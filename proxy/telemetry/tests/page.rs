//! The page of metrics: what stands on it, as OpenMetrics writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_telemetry::Metrics;

#[test]
fn figures_of_others_are_read_at_every_scrape() {
    let metrics = Metrics::new();
    let depth = Arc::new(AtomicU64::new(3));
    let source = depth.clone();
    metrics.register_collector(Box::new(move |samples| {
        let depth = source.load(Ordering::Relaxed);
        samples.gauge(
            "queue_depth",
            "Calls that wait",
            &[("route", "a")],
            depth as f64,
        );
        samples.counter("plugin_traps", "Traps", &[("plugin", "p\"1")], depth);
    }));
    metrics.register_collector(Box::new(|samples| {
        samples.gauge("queue_depth", "Calls that wait", &[("route", "b")], 0.5);
    }));
    let page = metrics.encode();
    // One family, though two sources fill it.
    let family = "# HELP tollgate_queue_depth Calls that wait\n\
                  # TYPE tollgate_queue_depth gauge\n\
                  tollgate_queue_depth{route=\"a\"} 3.0\n\
                  tollgate_queue_depth{route=\"b\"} 0.5\n";
    assert!(page.contains(family), "{page}");
    assert!(
        page.contains("tollgate_plugin_traps_total{plugin=\"p\\\"1\"} 3.0\n"),
        "{page}"
    );
    assert!(page.contains("tollgate_samples_left_out 0\n"), "{page}");
    depth.store(4, Ordering::Relaxed);
    assert!(
        metrics
            .encode()
            .contains("tollgate_queue_depth{route=\"a\"} 4.0\n")
    );
}

#[test]
fn connections_count_until_they_are_dropped() {
    let metrics = Metrics::new();
    let open = (metrics.connected("front"), metrics.connected("front"));
    let page = metrics.encode();
    assert!(
        page.contains("tollgate_connections{listener=\"front\"} 2\n"),
        "{page}"
    );
    drop(open);
    metrics.handshake_failed("front");
    metrics.panicked("front");
    metrics.certificates_changed("front", false);
    metrics.auth_failed("expired");
    metrics.rejected("all", "queue-full");
    let page = metrics.encode();
    for line in [
        "tollgate_connections{listener=\"front\"} 0\n",
        "tollgate_connections_accepted_total{listener=\"front\"} 2\n",
        "tollgate_handshakes_failed_total{listener=\"front\"} 1\n",
        "tollgate_panics_total{listener=\"front\"} 1\n",
        "tollgate_certificate_reloads_total{listener=\"front\",outcome=\"broken\"} 1\n",
        "tollgate_auth_failures_total{reason=\"expired\"} 1\n",
        "tollgate_rejected_total{route=\"all\",why=\"queue-full\"} 1\n",
    ] {
        assert!(page.contains(line), "{line}{page}");
    }
}

#[test]
fn names_are_what_dashboards_know() {
    let page = Metrics::new().encode();
    let types: Vec<&str> = page
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE "))
        .collect();
    let expected = [
        "tollgate_requests counter",
        "tollgate_in_flight gauge",
        "tollgate_request_duration_seconds histogram",
        "tollgate_first_byte_seconds histogram",
        "tollgate_queue_wait_seconds histogram",
        "tollgate_request_body_bytes counter",
        "tollgate_response_body_bytes counter",
        "tollgate_retries counter",
        "tollgate_tokens counter",
        "tollgate_rejected counter",
        "tollgate_connections gauge",
        "tollgate_connections_accepted counter",
        "tollgate_handshakes_failed counter",
        "tollgate_panics counter",
        "tollgate_certificate_reloads counter",
        "tollgate_auth_failures counter",
        "tollgate_samples_left_out gauge",
    ];
    // Families without a series are written all the same, or not at all: never under another name.
    assert!(
        types.iter().all(|line| expected.contains(line)),
        "{types:?}"
    );
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn no_name_breaks_the_page() {
    let metrics = Metrics::new();
    metrics.rejected("a\"b\\c\nd", "queue-full");
    drop(metrics.connected("\"} 1\nforged 1"));
    let page = metrics.encode();
    assert!(page.contains(r#"tollgate_rejected_total{route="a\"b\\c\nd",why="queue-full"} 1"#));
    assert!(
        !page.lines().any(|line| line.starts_with("forged")),
        "{page}"
    );
}
