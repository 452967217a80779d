//! Payloads as events, at a sink that listens, that is slow, that is not there.

use std::time::Duration;

use bytes::Bytes;
use tollgate_tests::{
    fake::{Journal, Seen},
    wire1::Head,
};

use super::*;

async fn sink() -> h::Worker {
    h::Worker::start(|_| vec![h::answer(202, "text/plain", "")]).await
}

fn logging(sink: &h::Worker, extra: &str) -> String {
    format!(
        "    payload-log: {{ sink: \"http://{}/events\"{extra} }}\n",
        sink.address
    )
}

async fn started(worker: &h::Worker, log: &str) -> Proxy {
    Proxy::start(&scene::one("openai", worker.address, "", log)).await
}

/// The events that a sink has got, by the order in which they came.
async fn events(journal: &Journal, count: usize) -> Vec<(Head, Bytes)> {
    let mut events = Vec::new();
    for number in 0..count {
        events.push((journal.head(number).await, journal.body(number).await));
    }
    events
}

fn of_kind<'e>(events: &'e [(Head, Bytes)], kind: &str) -> &'e (Head, Bytes) {
    let kind = format!("org.kubeflow.serving.inference.{kind}");
    let mut found = events
        .iter()
        .filter(|(head, _)| head.get("ce-type") == Some(kind.as_str()));
    found.next().expect("an event of that kind")
}

async fn outcome(proxy: &Proxy, outcome: &str) -> f64 {
    let series = format!("payload_log_outcomes_total{{route=\"all\",outcome=\"{outcome}\"}}");
    proxy.figure(&series).await.unwrap_or(0.0)
}

const HELD: &str = "payload_log_bytes{route=\"all\"}";
const WAITING: &str = "payload_log_events{route=\"all\"}";

#[tokio::test]
async fn what_is_asked_and_answered_is_told_with_one_id_and_no_secret() {
    let (worker, sink) = (named("answered").await, sink().await);
    let log = logging(
        &sink,
        ", service: iris, namespace: models, component: predictor, endpoint: default, \
         metadata-headers: [X-Team]",
    );
    let proxy = started(&worker, &log).await;
    let request = scene::completion(false)
        .header("authorization", "Bearer top-secret")
        .header("cookie", "session=top-secret")
        .header("x-api-key", "top-secret")
        .header("x-request-id", "one and only")
        .header("x-team", "blue");
    let answer = http1::ask(proxy.http(), &request).await.with_status(200);
    let events = events(&sink.journal, 2).await;
    let (asked, asked_body) = of_kind(&events, "request");
    let (answered, answered_body) = of_kind(&events, "response");
    assert_eq!(asked_body, request.body.as_ref().unwrap());
    assert_eq!(answered_body, &answer.body, "as the client got it");
    for head in [asked, answered] {
        assert!(head.line.starts_with("POST /events "), "{}", head.line);
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "one%20and%20only"),
            ("ce-source", "tollgate/all"),
            ("ce-inferenceservicename", "iris"),
            ("ce-namespace", "models"),
            ("ce-component", "predictor"),
            ("ce-endpoint", "default"),
            ("ce-metadata", "{%22x-team%22:[%22blue%22]}"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(head.get(name), Some(value), "{name}");
        }
        assert!(head.get("ce-time").unwrap().ends_with('Z'));
        assert_eq!(head.get("ce-truncated"), None);
    }
    assert_eq!(answered.get("ce-responsestatus"), Some("200"));
    let all = format!("{events:?}");
    assert!(!all.contains("top-secret"), "{all}");
    proxy.becomes(WAITING, 0.0).await;
    proxy.becomes(HELD, 0.0).await;
    assert!(outcome(&proxy, "sent").await >= 2.0);
}

#[tokio::test]
async fn streams_errors_and_cut_bodies_are_told_as_they_were() {
    let worker = h::Worker::start(|received| match received.number {
        0 => vec![
            h::stream_head(),
            h::event(&scene::chunk("one ", None, 1)),
            h::event(&scene::chunk("two", Some("length"), 2)),
            h::event(&scene::usage_chunk(2)),
            h::event("[DONE]"),
            h::stream_end(),
        ],
        _ => vec![h::json(200, &scene::completed(&"x".repeat(16_384)))],
    })
    .await;
    let sink = sink().await;
    let proxy = started(&worker, &logging(&sink, ", mode: response, body: 4KiB")).await;
    let streamed = http1::ask(proxy.http(), &scene::completion(true)).await;
    let first = events(&sink.journal, 1).await;
    assert_eq!(first[0].1, streamed.body);
    let kind = first[0].0.get("content-type").unwrap();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let long = http1::ask(proxy.http(), &scene::completion(false)).await;
    let second = events(&sink.journal, 2).await.remove(1);
    assert_eq!(second.1[..], long.body[..4096]);
    assert_eq!(second.0.get("ce-truncated"), Some("true"));
    assert_eq!(
        second.0.get("ce-datasize"),
        Some(&*long.body.len().to_string())
    );
    let bad = Request::post_bytes("/v1/completions", "{");
    http1::ask(proxy.http(), &bad).await.with_status(400);
    let third = events(&sink.journal, 3).await.remove(2);
    assert_eq!(third.0.get("ce-responsestatus"), Some("400"));
    // What has no body, or is refused before, is told of to nobody.
    http1::ask(proxy.http(), &Request::get("/v1/models"))
        .await
        .with_status(200);
    http1::ask(proxy.http(), &Request::get("/nowhere"))
        .await
        .with_status(404);
    http1::ask(proxy.http(), &bad).await;
    assert_eq!(events(&sink.journal, 4).await.len(), 4);
    assert_eq!(sink.journal.requests(), 4);
}

#[tokio::test]
async fn structured_events_are_one_object() {
    let (worker, sink) = (named("one").await, sink().await);
    let log = logging(&sink, ", content: structured, mode: request");
    let proxy = started(&worker, &log).await;
    http1::ask(proxy.http(), &scene::completion(false))
        .await
        .with_status(200);
    let events = events(&sink.journal, 1).await;
    let kind = events[0].0.get("content-type").unwrap();
    assert!(kind.starts_with("application/cloudevents+json"), "{kind}");
    let object: Value = serde_json::from_slice(&events[0].1).expect("JSON");
    assert_eq!(object["type"], "org.kubeflow.serving.inference.request");
    assert_eq!(object["inferenceservicename"], "all");
    assert_eq!(object["data"]["prompt"], "Hello");
    assert_eq!(object["datacontenttype"], "application/json");
}

#[tokio::test]
async fn a_tensor_request_that_streams_through_is_told_whole() {
    let worker = h::Worker::start(|_| {
        vec![h::json(200, &json!({
            "model_name": "m", "outputs": [{"name": "OUT", "datatype": "FP32", "shape": [1], "data": [0.5]}],
        }))]
    })
    .await;
    let sink = sink().await;
    let yaml = scene::one(
        "openai",
        worker.address,
        "",
        &logging(&sink, ", mode: request, body: 1MiB"),
    )
    .replacen(
        "plugins:\n",
        "plugins:\n  kserve: { source: \"bundled:kserve\" }\n",
        1,
    )
    .replace("frontends: [openai, tgis]", "frontends: [kserve]")
    .replace("protocol: openai", "protocol: kserve");
    let proxy = Proxy::start(&yaml).await;
    let data: Vec<f64> = (0..20_000).map(f64::from).collect();
    let body =
        json!({"inputs": [{"name": "IN", "datatype": "FP32", "shape": [20_000], "data": data}]});
    let request = Request::post("/v2/models/m/infer", &body);
    http1::ask(proxy.http(), &request).await.with_status(200);
    let told = events(&sink.journal, 1).await.remove(0);
    assert_eq!(&told.1, request.body.as_ref().unwrap());
    assert_eq!(told.0.get("ce-truncated"), None);
}

#[tokio::test]
async fn a_slow_sink_slows_nobody_and_what_it_does_not_take_is_dropped_and_counted() {
    let worker = named("one").await;
    let sink = h::Worker::start(|_| vec![h::Act::Hold, h::answer(200, "text/plain", "")]).await;
    let log = logging(
        &sink,
        ", queue: 2, connections: 1, timeout: 5m, mode: request",
    );
    let proxy = started(&worker, &log).await;
    for _ in 0..12 {
        assert_eq!(ask(&proxy).await, "one");
    }
    // One is being posted, two wait; the task may have taken one more on its way.
    eventually("what does not fit is dropped", async || {
        let dropped = outcome(&proxy, "queue-full").await;
        (8.0..=9.0).contains(&dropped).then_some(())
    })
    .await;
    assert_eq!(sink.journal.requests(), 1);
    for _ in 0..12 {
        sink.release();
    }
    proxy.becomes(WAITING, 0.0).await;
    proxy.becomes(HELD, 0.0).await;
    let (sent, dropped) = (
        outcome(&proxy, "sent").await,
        outcome(&proxy, "queue-full").await,
    );
    assert!(
        (sent + dropped - 12.0).abs() < f64::EPSILON,
        "{sent} + {dropped}"
    );
}

#[tokio::test]
async fn what_is_held_for_a_sink_is_bounded_in_bytes() {
    let worker = named("one").await;
    let sink = h::Worker::start(|_| vec![h::Act::Hold, h::answer(200, "text/plain", "")]).await;
    let log = logging(
        &sink,
        ", memory: 64KiB, body: 40KiB, connections: 1, timeout: 5m, mode: request",
    );
    let proxy = started(&worker, &log).await;
    let body = json!({"model": "m", "prompt": "x".repeat(50_000), "max_tokens": 8});
    let large = Request::post("/v1/completions", &body);
    for _ in 0..4 {
        assert_eq!(who(http1::ask(proxy.http(), &large).await), "one");
    }
    eventually("the others find no room", async || {
        (outcome(&proxy, "memory-full").await >= 3.0).then_some(())
    })
    .await;
    let held = proxy.figure(HELD).await.unwrap();
    assert!(held <= 65_536.0, "{held}");
    for _ in 0..4 {
        sink.release();
    }
    proxy.becomes(HELD, 0.0).await;
}

#[tokio::test]
async fn a_sink_that_is_not_there_is_counted_and_nobody_waits_for_it() {
    let worker = named("one").await;
    let gone = sink().await;
    let log = logging(&gone, ", queue: 4, timeout: 1s");
    let address = gone.address.to_string();
    drop(gone);
    let proxy = started(&worker, &log).await;
    for _ in 0..20 {
        assert_eq!(ask(&proxy).await, "one");
    }
    eventually("events have failed", async || {
        (outcome(&proxy, "failed").await >= 3.0).then_some(())
    })
    .await;
    let line = proxy
        .logged(|line| line.contains("payloads are not taken by their sink"))
        .await;
    assert!(line.contains(&address), "{line}");
    assert!(!line.contains("the worker"), "{line}");
    eventually("every event has come to an end", async || {
        let mut all = 0.0;
        for end in ["failed", "queue-full"] {
            all += outcome(&proxy, end).await;
        }
        (all >= 40.0).then_some(())
    })
    .await;
    proxy.becomes(HELD, 0.0).await;
    assert_eq!(ask(&proxy).await, "one");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_events() {
    let worker = h::Worker::start(|_| {
        vec![
            h::stream_head(),
            h::event(&scene::chunk("one ", None, 1)),
            h::Act::Hold,
        ]
    })
    .await;
    let sink = sink().await;
    let proxy = started(&worker, &logging(&sink, "")).await;
    let mut stream = http1::Connection::open(proxy.http()).await;
    stream.send(&scene::completion(true)).await;
    stream.head().await;
    drop(stream);
    worker.journal.gone(0).await;
    let events = events(&sink.journal, 2).await;
    assert!(!of_kind(&events, "request").1.is_empty());
    assert_eq!(
        of_kind(&events, "response").0.get("ce-responsestatus"),
        Some("200")
    );
}

#[tokio::test]
async fn what_waits_at_the_end_is_posted_before_the_proxy_goes() {
    let worker = named("one").await;
    let sink = h::Worker::start(|_| vec![h::Act::Hold, h::answer(200, "text/plain", "")]).await;
    let log = logging(&sink, ", connections: 1, mode: request");
    let proxy = started(&worker, &log).await;
    for _ in 0..3 {
        assert_eq!(ask(&proxy).await, "one");
    }
    sink.journal.holding(0).await;
    let ending = tokio::spawn(proxy.terminate());
    for number in 0..3 {
        sink.journal.holding(number).await;
        sink.release();
    }
    let exit = tokio::time::timeout(Duration::from_secs(20), ending).await;
    assert_eq!(exit.unwrap().unwrap().code, Some(0));
    let answered = sink.journal.entries().into_iter();
    assert_eq!(answered.filter(|it| it.seen == Seen::Answered).count(), 3);
}

#[tokio::test]
async fn a_part_of_requests_is_told_and_both_events_of_each() {
    let (worker, sink) = (named("one").await, sink().await);
    let proxy = started(&worker, &logging(&sink, ", percent: 50")).await;
    for number in 0..64 {
        let request = scene::completion(false).header("x-request-id", &format!("r{number}"));
        http1::ask(proxy.http(), &request).await.with_status(200);
    }
    // The chance that none or all of 64 are drawn is not worth a thought.
    eventually("what was drawn is sent", async || {
        (proxy.figure(WAITING).await == Some(0.0) && outcome(&proxy, "sent").await > 0.0)
            .then_some(())
    })
    .await;
    let count = sink.journal.requests();
    assert!(count > 0 && count < 128 && count % 2 == 0, "{count} events");
    let events = events(&sink.journal, count).await;
    let ids = |kind: &str| {
        let kind = format!("org.kubeflow.serving.inference.{kind}");
        let of_kind = events
            .iter()
            .filter(|(head, _)| head.get("ce-type") == Some(kind.as_str()));
        let mut ids: Vec<_> = of_kind
            .map(|(head, _)| head.get("ce-id").map(str::to_owned))
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("request"), ids("response"));
}
