//! Hostile plugins beside healthy ones: the healthy ones' clients notice nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

/// What they do, where, and after how many honest times of an instance.
const FAULTS: [(&str, &str, u32); 6] = [
    ("trap", "step", 0),
    ("loop", "step", 3),
    ("allocate", "step", 0),
    ("huge-output", "step", 1),
    ("bad-span", "step", 0),
    ("trap", "constructor", 2),
];

/// Plugins that misbehave, each on a prefix of its own, and the embedded models beside them.
fn crowd() -> String {
    let bad = place::component("fixtures/bad");
    let mut plugins = String::new();
    let mut workers = String::new();
    let mut routes = String::new();
    for (at, (fault, when, after)) in FAULTS.into_iter().enumerate() {
        plugins.push_str(&format!(
            "  bad{at}: {{ source: \"{}\", options: {{ fault: {fault}, when: {when}, after: {after} }}, \
             limits: {{ memory: 16MiB, output: 1MiB, cpu: 20ms }}, \
             quarantine: {{ first: 50ms, longest: 200ms }} }}\n",
            bad.display()
        ));
        workers.push_str(&format!(
            "  - {{ name: w{at}, address: \"http://127.0.0.1:9\", protocol: bad{at}, \
             models: [{{ name: m{at} }}], probe: off }}\n"
        ));
        routes.push_str(&format!(
            "  - {{ name: r{at}, prefix: /r{at}, frontends: [bad{at}], workers: [w{at}], \
             auth: open, default-model: m{at} }}\n"
        ));
    }
    scene::embedded()
        .replace("\nworkers:\n", &format!("{plugins}\nworkers:\n{workers}"))
        .replace("routes:\n", &format!("routes:\n{routes}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_plugins_are_not_hurt_by_those_beside_them() {
    let proxy = Proxy::start(&crowd()).await;
    let address = proxy.http();
    let over = Arc::new(AtomicBool::new(false));
    let hurt = Arc::new(AtomicUsize::new(0));
    let attackers: Vec<_> = (0..FAULTS.len())
        .map(|at| {
            let (over, hurt) = (over.clone(), hurt.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let request = Request::post(&format!("/r{at}/bad/echo"), &json!({}));
                    let got = http1::ask(address, &request).await;
                    hurt.fetch_add(usize::from(got.status == 502), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for at in 0..120 {
        let stream = at % 2 == 1;
        let body = json!({
            "model": "tollgate-ngram", "prompt": "The", "max_tokens": 4, "stream": stream,
        });
        let got = http1::ask(address, &Request::post("/v1/completions", &body)).await;
        let got = got.with_status(200);
        let text = got.text();
        assert!(!stream || text.contains("data: [DONE]"), "{at}: {text}");
    }
    over.store(true, Ordering::Relaxed);
    for attacker in attackers {
        attacker.await.expect("it is answered to the end");
    }
    let hurt = hurt.load(Ordering::Relaxed);
    assert!(hurt > 20, "they were served badly: {hurt}");
    let status = proxy.status().await;
    for plugin in status["plugins"].as_array().expect("a list") {
        let name = plugin["name"].as_str().expect("a name");
        let traps = plugin["traps"].as_u64().expect("a count");
        assert_eq!(traps > 0, name.starts_with("bad"), "{plugin}");
    }
    // What was taken is given back.
    eventually("nothing is left of them", async || {
        let status = proxy.status().await;
        let plugins = status["plugins"].as_array()?.clone();
        plugins
            .iter()
            .all(|plugin| plugin["exchanges"] == 0)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_culprit_is_named_to_client_log_and_page() {
    let proxy = bad(", options: { fault: loop, marked: true }")
        .start()
        .await;
    let got = echo(&proxy, "?bad").await.with_status(502);
    assert_eq!(
        got.header("proxy-status"),
        Some("tollgate; error=proxy_internal_error; details=\"plugin bad failed\"")
    );
    proxy
        .logged(|line| {
            line.contains("\"target\":\"access\"") && line.contains("\"failed_plugin\":\"bad\"")
        })
        .await;
    let stands = standing(&proxy).await;
    assert_eq!(stands["traps-by-kind"]["time"], 2, "{stands}");
    assert_eq!(stands["traps-by-kind"]["trap"], 0);
    let number = stands["generation"].as_u64().expect("a number");
    let series = format!("plugin=\"bad\",generation=\"{number}\"");
    let killed = format!("generation_traps_total{{{series},kind=\"time\"}}");
    assert_eq!(proxy.figure(&killed).await, Some(2.0));
    let failed = proxy
        .figure(&format!("generation_failed_total{{{series}}}"))
        .await;
    assert_eq!(failed, Some(2.0), "the first run of it, and the second");
    assert_eq!(echo(&proxy, "").await.header("proxy-status"), None);
}

#[tokio::test]
async fn a_panic_tells_where_it_was_and_not_what_it_said() {
    let proxy = bad(", options: { fault: trap, marked: true }")
        .start()
        .await;
    echo(&proxy, "?bad").await.with_status(502);
    proxy
        .logged(|line| {
            line.contains("panicked at")
                && line.contains("fault.rs:")
                && line.contains("\"plugin\":\"bad\"")
                && !line.contains("as it was told")
        })
        .await;
}

#[tokio::test]
async fn the_culprit_is_named_also_when_another_plugin_words_the_answer() {
    let worker = fake::Worker::start(|_| vec![fake::json(200, &json!({"done": true}))]).await;
    let options = ", options: { fault: trap, when: answer }";
    let proxy = bad_at(worker.address, options).start().await;
    let request = Request::post("/bad/call", &json!({}));
    let got = http1::ask(proxy.http(), &request).await;
    assert!(got.status >= 500, "{}", got.status);
    let status = got.header("proxy-status").expect("it names the culprit");
    assert!(status.contains("plugin bad failed"), "{status}");
}

/// A worker whose answer passes in three pieces, the last two when it is released.
async fn in_pieces() -> fake::Worker {
    fake::Worker::start(|_| {
        vec![
            fake::stream_head(),
            fake::event("one"),
            fake::Act::Hold,
            fake::event("two"),
            fake::event("three"),
            fake::stream_end(),
        ]
    })
    .await
}

#[tokio::test]
async fn a_response_that_is_looked_at_goes_on_without_its_plugin_where_that_is_wanted() {
    for (on_error, whole) in [("bypass", true), ("fail", false)] {
        let worker = in_pieces().await;
        let more = format!(", on-error: {on_error}, options: {{ fault: trap, when: tap }}");
        let proxy = bad_at(worker.address, &more).start().await;
        let address = proxy.http();
        let asking = tokio::spawn(async move {
            let mut connection = http1::Connection::open(address).await;
            connection
                .send(&Request::post("/bad/tap", &json!({})))
                .await;
            connection.try_response().await
        });
        worker.journal.holding(0).await;
        proxy
            .logged(|line| line.contains("a plugin failed") && line.contains("\"kind\":\"trap\""))
            .await;
        worker.release();
        let got = asking.await.expect("it is answered");
        if whole {
            let got = got.expect("a response").with_status(200);
            assert_eq!(got.text(), "data: one\n\ndata: two\n\ndata: three\n\n");
            proxy
                .logged(|line| line.contains("a response goes on without its plugin"))
                .await;
        } else {
            // The head may or may not have gone out by then.
            let cut = got.is_none_or(|got| got.end == tollgate_tests::client::End::Cut);
            assert!(cut, "{on_error}");
        }
    }
}
