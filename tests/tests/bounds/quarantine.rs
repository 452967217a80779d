//! What does nothing but fail is kept out of service, by counts: `tests/fixtures/bad` and
//! `tests/fixtures/lifo` fail as they are told.

use super::*;

fn bad(options: &str, quarantine: &str) -> String {
    format!(
        r#"
plugins:
  bad: {{ source: "{}", options: {options}, quarantine: {quarantine} }}
workers:
  - {{ name: w, address: "http://127.0.0.1:9", protocol: bad, models: [{{ name: m }}], probe: off }}
routes:
  - {{ name: bad, frontends: [bad], workers: [w], auth: open, default-model: m }}
"#,
        place::component("fixtures/bad").display()
    )
}

async fn figure(proxy: &Proxy, name: &str) -> f64 {
    let series = format!("{name}{{plugin=\"bad\"}}");
    let figure = proxy.figure(&series).await;
    figure.unwrap_or_else(|| panic!("no {series}"))
}

async fn ask(proxy: &Proxy, path: &str) -> u16 {
    let request = Request::post_bytes(path, "{}");
    let got = http1::ask(proxy.http(), &request).await;
    if got.status != 200 {
        let text = got.text();
        assert!(text.contains("a plugin failed while it served"), "{text}");
    }
    got.status
}

#[tokio::test]
async fn a_generation_that_keeps_trapping_is_refused_without_being_asked() {
    let quarantine = "{ traps: 6, first: 1h, longest: 1h }";
    let proxy = Proxy::start(&bad("{ fault: trap }", quarantine)).await;
    // Each is replayed once, so that three of them are six traps.
    for _ in 0..3 {
        assert_eq!(ask(&proxy, "/bad/echo").await, 502);
    }
    assert_eq!(figure(&proxy, "plugin_traps_total").await, 6.0);
    assert_eq!(figure(&proxy, "plugin_quarantined").await, 1.0);
    let made = figure(&proxy, "plugin_instances_made_total").await;
    for _ in 0..5 {
        assert_eq!(ask(&proxy, "/bad/echo").await, 502);
    }
    assert_eq!(figure(&proxy, "plugin_instances_made_total").await, made);
    assert_eq!(figure(&proxy, "plugin_traps_total").await, 6.0);
    assert_eq!(figure(&proxy, "plugin_quarantines_total").await, 1.0);
    assert_eq!(
        figure(&proxy, "plugin_quarantine_refused_total").await,
        10.0,
        "five, and their replays"
    );
    proxy
        .logged(|line| line.contains("a plugin keeps failing: quarantine"))
        .await;
}

#[tokio::test]
async fn it_is_tried_again_and_goes_back_for_longer() {
    let quarantine = "{ traps: 2, first: 20ms, longest: 1h, window: 1h }";
    let proxy = Proxy::start(&bad("{ fault: trap }", quarantine)).await;
    tollgate_tests::eventually("it is there for the tenth time", async || {
        ask(&proxy, "/bad/echo").await;
        (figure(&proxy, "plugin_quarantines_total").await >= 5.0).then_some(())
    })
    .await;
    // The log is written a little later.
    proxy
        .logged(|line| line.contains("\"time\":\"320ms\""))
        .await;
    let log = proxy.log();
    for time in ["20ms", "40ms", "80ms", "160ms", "320ms"] {
        assert_eq!(
            log.matches(&format!("\"time\":\"{time}\"")).count(),
            1,
            "{time}: {log}"
        );
    }
}

#[tokio::test]
async fn few_bad_requests_among_many_take_it_from_nobody() {
    let quarantine = "{ traps: 4, first: 1h, longest: 1h, window: 1h }";
    let options = "{ fault: trap, marked: true }";
    let proxy = Proxy::start(&bad(options, quarantine)).await;
    for _ in 0..10 {
        assert_eq!(ask(&proxy, "/bad/echo?bad").await, 502);
        for _ in 0..6 {
            assert_eq!(ask(&proxy, "/bad/echo").await, 200);
        }
    }
    assert_eq!(figure(&proxy, "plugin_traps_total").await, 20.0);
    assert_eq!(figure(&proxy, "plugin_quarantines_total").await, 0.0);
}

#[tokio::test]
async fn whoever_sends_what_it_cannot_bear_takes_it_from_nobody() {
    let quarantine = "{ traps: 4, first: 1h, longest: 1h, window: 1h }";
    let options = "{ fault: allocate, marked: true }";
    let proxy = Proxy::start(&bad(options, quarantine)).await;
    let large = Request::post_bytes("/bad/echo?bad", vec![b' '; 65 << 10]);
    for _ in 0..10 {
        let got = http1::ask(proxy.http(), &large).await.with_status(413);
        assert!(got.text().contains("more memory or time"), "{got:?}");
    }
    assert_eq!(figure(&proxy, "plugin_traps_total").await, 20.0);
    assert_eq!(figure(&proxy, "plugin_quarantines_total").await, 0.0);
    assert_eq!(ask(&proxy, "/bad/echo").await, 200);
    // Of small ones the plugin itself is to blame.
    for _ in 0..2 {
        assert_eq!(ask(&proxy, "/bad/echo?bad").await, 502);
    }
    assert_eq!(figure(&proxy, "plugin_quarantines_total").await, 1.0);
}

/// The embedded models, given out by a scheduler that fails as it is told.
fn scheduled(options: &str, limits: &str) -> String {
    let yaml = scene::embedded().replace("    auth: open", "    scheduler: lifo\n    auth: open");
    format!(
        "{yaml}schedulers:\n  lifo: {{ source: \"{}\", options: {options}, limits: {limits} }}\n",
        place::component("fixtures/lifo").display()
    )
}

async fn complete(proxy: &Proxy, many: usize) {
    let body = serde_json::json!({"model": "tollgate-ngram", "prompt": "The", "max_tokens": 1});
    for _ in 0..many {
        http1::ask(proxy.http(), &Request::post("/v1/completions", &body))
            .await
            .with_status(200);
    }
}

const FALLBACK: &str = "scheduler_fallback{scheduler=\"lifo\"}";
const REPLACED: &str = "scheduler_replaced_total{scheduler=\"lifo\"}";
const STEPS: &str = "scheduler_steps_total{scheduler=\"lifo\"}";

#[tokio::test]
async fn a_scheduler_that_traps_is_replaced_and_nobody_notices() {
    let limits = "{ backoff: 1h, longest-backoff: 1h, step: 0ms }";
    let proxy = Proxy::start(&scheduled("{ trap-after: 7 }", limits)).await;
    assert_eq!(proxy.figure(FALLBACK).await, Some(0.0));
    complete(&proxy, 12).await;
    assert_eq!(proxy.figure(FALLBACK).await, Some(1.0));
    assert_eq!(proxy.figure(REPLACED).await, Some(1.0));
    assert_eq!(
        proxy.figure(STEPS).await,
        Some(8.0),
        "seven, and the one that failed"
    );
    proxy
        .logged(|line| line.contains("the built-in rules take a scheduler's place"))
        .await;
}

#[tokio::test]
async fn a_scheduler_that_is_slow_too_often_is_replaced() {
    let limits = "{ backoff: 1h, longest-backoff: 1h }";
    // Many times the 200 µs of the default, and far from the 10 ms that end a call.
    let proxy = Proxy::start(&scheduled("{ spin: 2000000 }", limits)).await;
    complete(&proxy, 12).await;
    assert_eq!(proxy.figure(FALLBACK).await, Some(1.0));
    assert_eq!(proxy.figure(REPLACED).await, Some(1.0));
    assert_eq!(proxy.figure(STEPS).await, Some(11.0));
    proxy
        .logged(|line| line.contains("one decision in a hundred took longer than 200µs"))
        .await;
}
