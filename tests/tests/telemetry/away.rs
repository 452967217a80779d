//! Collectors that are away, refuse, or never answer: nothing is lost but telemetry, what waits is
//! bounded, and all of it is counted.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tollgate_tests::{Proxy, client::http1 as ask, eventually, fake::http1, scene};

/// Spans that may wait: the fewest that a configuration takes.
const QUEUE: usize = 128;
/// Requests of four spans each.
const REQUESTS: usize = 100;

async fn worker() -> http1::Worker {
    http1::Worker::start(|_| vec![http1::json(200, &scene::completed("text"))]).await
}

/// Many requests with telemetry for a collector there; all are served.
async fn served(worker: &http1::Worker, collector: SocketAddr) -> Proxy {
    let config = scene::one("openai", worker.address, "", "")
        + &format!(
            "telemetry:
  otlp: {{ endpoint: \"http://{collector}\", timeout: 300s }}
  traces: {{ queue: {QUEUE}, batch: 8, interval: 10ms }}
  metrics: {{ interval: 100ms }}
"
        );
    let proxy = Proxy::start(&config).await;
    for _ in 0..REQUESTS {
        ask::ask(proxy.http(), &scene::completion(false))
            .await
            .with_status(200);
    }
    proxy
}

/// What waits is bounded, and the rest is counted.
async fn bounded(proxy: &Proxy) {
    let figure = async |name: &str| proxy.figure(name).await.unwrap_or_else(|| panic!("{name}"));
    // A request's spans are put away when its connection has taken the last of its response.
    let dropped = eventually("all spans are put away or dropped", async || {
        let dropped = figure("trace_spans_dropped_total").await;
        let recorded = figure("trace_spans_recorded_total").await;
        (recorded + dropped == (REQUESTS * 4) as f64).then_some(dropped)
    })
    .await;
    assert!(dropped > 0.0);
    let waiting = figure("trace_spans_waiting").await;
    assert!(waiting <= QUEUE as f64, "{waiting}");
    assert_eq!(
        figure(
            "requests_total{route=\"all\",frontend=\"openai\",task=\"generate\",outcome=\"ok\"}"
        )
        .await,
        REQUESTS as f64
    );
}

#[tokio::test]
async fn one_that_is_not_there_costs_nobody_anything() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let worker = worker().await;
    let proxy = served(&worker, address).await;
    bounded(&proxy).await;
    proxy
        .logged(|line| line.contains("the collector takes no telemetry"))
        .await;
    let failures = proxy.figure("otlp_failures_total{signal=\"traces\"}").await;
    assert!(failures > Some(0.0), "{failures:?}");
    // Nor does it hold up the end.
    let exit = proxy.terminate().await;
    assert_eq!(exit.code, Some(0));
    let told = exit.log.matches("the collector takes no telemetry").count();
    assert!(told <= 2, "once a signal and not once an export: {told}");
}

#[tokio::test]
async fn one_that_never_answers_costs_nobody_anything() {
    let collector = http1::Worker::start(|_| vec![http1::Act::Hold]).await;
    let worker = worker().await;
    let proxy = served(&worker, collector.address).await;
    bounded(&proxy).await;
    // One export of each kind is under way, and no more.
    assert!(collector.journal.requests() <= 2);
}

#[tokio::test]
async fn one_that_refuses_is_not_asked_again_for_the_same() {
    let collector = http1::Worker::start(|_| vec![http1::answer(400, "text/plain", "no")]).await;
    let worker = worker().await;
    let config = scene::one("openai", worker.address, "", "")
        + &format!(
            "telemetry:
  otlp: {{ endpoint: \"http://{}\" }}
  traces: {{ interval: 10ms }}
",
            collector.address
        );
    let proxy = Proxy::start(&config).await;
    ask::ask(proxy.http(), &scene::completion(false))
        .await
        .with_status(200);
    proxy
        .becomes("otlp_lost_total{signal=\"traces\"}", 4.0)
        .await;
    assert_eq!(collector.journal.requests(), 1);
    assert_eq!(
        proxy.figure("otlp_exported_total{signal=\"traces\"}").await,
        Some(0.0)
    );
}

#[tokio::test]
async fn what_waits_at_the_end_is_sent() {
    let collector = http1::Worker::start(|_| vec![http1::answer(200, "text/plain", "")]).await;
    let worker = worker().await;
    let config = scene::one("openai", worker.address, "", "")
        + &format!(
            "telemetry:
  otlp: {{ endpoint: \"http://{}\" }}
  traces: {{ interval: 60s }}
",
            collector.address
        );
    let proxy = Proxy::start(&config).await;
    ask::ask(proxy.http(), &scene::completion(false))
        .await
        .with_status(200);
    proxy.becomes("trace_spans_waiting", 4.0).await;
    assert_eq!(collector.journal.requests(), 0);
    assert_eq!(proxy.terminate().await.code, Some(0));
    assert_eq!(collector.journal.requests(), 1);
}
