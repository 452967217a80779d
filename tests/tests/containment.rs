//! A bad plugin hurts nobody but itself: what becomes of it, of its neighbours and of its clients
//! (`wit/README.md`, "Of the host"). The plugin is `tests/fixtures/bad`, which misbehaves as it is
//! told; its worker is a fake, for no server speaks its protocol.

use std::{fs, net::SocketAddr, path::Path};

use serde_json::json;
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, Response, grpc, http1},
    eventually,
    fake::{Seen, http1 as fake},
    fmaas, place, scene,
};

fn bad(options: &str, worker: Option<SocketAddr>) -> String {
    // Without a worker there is nobody to be reached; the echo needs none.
    let worker = worker.map_or_else(|| "127.0.0.1:9".to_owned(), |address| address.to_string());
    format!(
        r#"
plugins:
  bad: {{ source: "{}", options: {options}, limits: {{ memory: 16MiB, output: 1MiB }} }}
workers:
  - {{ name: w, address: "http://{worker}", protocol: bad, models: [{{ name: m }}], probe: off }}
routes:
  - {{ name: bad, frontends: [bad], workers: [w], auth: open, default-model: m }}
"#,
        place::component("fixtures/bad").display()
    )
}

async fn ask(proxy: &Proxy, path: &str) -> Response {
    let request = Request::post(path, &json!({"hello": "there"}));
    http1::ask(proxy.http(), &request).await
}

async fn traps(proxy: &Proxy) -> u64 {
    let status = proxy.status().await;
    status["plugins"][0]["traps"].as_u64().expect("a count")
}

async fn worker() -> fake::Worker {
    fake::Worker::start(|_| vec![fake::json(200, &json!({"done": true}))]).await
}

#[tokio::test]
async fn every_fault_of_a_frontend_is_an_error_of_its_own_request_alone() {
    for fault in [
        "trap",
        "loop",
        "allocate",
        "recurse",
        "foreign-source",
        "bad-utf8",
        "bad-span",
        "long-span",
        "huge-output",
        "call-twice",
        "many-calls",
        "pass-unasked",
        "bad-status",
        "bad-header",
        "grpc-over-rest",
        "silence",
        "two-heads",
        "data-before-head",
    ] {
        let options = format!("{{ fault: {fault}, marked: true }}");
        let proxy = Proxy::start(&bad(&options, None)).await;
        assert_eq!(
            ask(&proxy, "/bad/echo").await.status,
            200,
            "{fault}: before"
        );
        let got = ask(&proxy, "/bad/echo?bad").await;
        assert_eq!(got.status, 502, "{fault}: {}", got.text());
        assert!(
            got.text()
                .contains("a plugin failed while it served this request"),
            "{fault}: {}",
            got.text()
        );
        assert_eq!(
            traps(&proxy).await,
            2,
            "{fault}: once, and once more when it was replayed"
        );
        let after = ask(&proxy, "/bad/echo").await;
        assert_eq!(after.status, 200, "{fault}: after");
        assert_eq!(after.json(), json!({"hello": "there"}), "{fault}");
    }
}

#[tokio::test]
async fn what_is_merely_odd_harms_nobody() {
    for fault in ["log-flood", "after-finish"] {
        let options = format!("{{ fault: {fault}, marked: true }}");
        let proxy = Proxy::start(&bad(&options, None)).await;
        let got = ask(&proxy, "/bad/echo?bad").await;
        assert!([200, 502].contains(&got.status), "{fault}: {}", got.status);
        assert_eq!(ask(&proxy, "/bad/echo").await.status, 200, "{fault}: after");
        let flood = proxy.log().matches("\"target\":\"plugin\"").count();
        assert!(flood <= 100, "{fault}: {flood} lines");
    }
}

#[tokio::test]
async fn every_fault_of_a_backend_is_an_error_of_its_own_call_alone() {
    for (fault, when) in [
        ("trap", "attempt"),
        ("trap", "backend"),
        ("loop", "backend"),
        ("allocate", "backend"),
        ("bad-span", "backend"),
        ("huge-output", "backend"),
        ("request-twice", "backend"),
        ("bad-path", "backend"),
        ("unknown-call", "backend"),
        ("trap", "answer"),
        ("no-end", "answer"),
        ("trap", "events"),
        ("released-span", "events"),
    ] {
        let worker = worker().await;
        let options = format!("{{ fault: {fault}, when: {when}, marked: true }}");
        let proxy = Proxy::start(&bad(&options, Some(worker.address))).await;
        assert_eq!(
            ask(&proxy, "/bad/call").await.status,
            200,
            "{fault}, {when}: before"
        );
        let got = ask(&proxy, "/bad/call?bad").await;
        assert!(
            got.status >= 500,
            "{fault}, {when}: {} {}",
            got.status,
            got.text()
        );
        assert_eq!(
            ask(&proxy, "/bad/call").await.status,
            200,
            "{fault}, {when}: after"
        );
        let status = proxy.status().await;
        assert_eq!(status["routes"][0]["running"], 0, "{fault}, {when}");
    }
}

#[tokio::test]
async fn a_request_that_is_still_held_is_replayed_in_a_fresh_instance() {
    let proxy = Proxy::start(&bad("{ fault: trap, after: 1 }", None)).await;
    for at in 0..6 {
        let got = ask(&proxy, "/bad/echo").await;
        assert_eq!(got.status, 200, "request {at}: {}", got.text());
    }
    assert!(traps(&proxy).await >= 2, "an instance is honest once only");
}

#[tokio::test]
async fn a_neighbour_in_the_same_instance_is_replayed() {
    let worker = fake::Worker::start(|received| {
        let answer = fake::json(200, &json!({"done": received.number}));
        if received.number == 0 {
            vec![fake::Act::Hold, answer]
        } else {
            vec![answer]
        }
    })
    .await;
    let options = "{ fault: trap, marked: true }";
    let proxy = Proxy::start(&bad(options, Some(worker.address))).await;
    let address = proxy.http();
    let neighbour =
        tokio::spawn(
            async move { http1::ask(address, &Request::post("/bad/call", &json!({}))).await },
        );
    worker.journal.holding(0).await;
    assert_eq!(ask(&proxy, "/bad/echo?bad").await.status, 502);
    worker.release();
    let got = neighbour.await.expect("it is answered");
    assert_eq!(got.status, 200, "{}", got.text());
    let asked = worker.journal.entries().into_iter();
    let asked = asked.filter(|entry| matches!(entry.seen, Seen::Head(_)));
    assert_eq!(asked.count(), 2, "the neighbour's call was made again");
}

#[tokio::test]
async fn a_plugin_that_fails_on_trial_is_not_served() {
    for (fault, reason) in [
        ("trap", "failed on trial, in configure"),
        // Of the processor's time, or of the wall's, where others have the processor.
        ("loop", "failed on trial, in configure: spent its"),
        ("allocate", "failed on trial, in configure"),
    ] {
        let options = format!("{{ fault: {fault}, when: configure }}");
        let said = Setup::new(&bad(&options, None)).refused().await;
        assert!(said.contains(reason), "{fault}: {said}");
    }
    let said = Setup::new(&bad("{ fault: nothing-we-know }", None))
        .refused()
        .await;
    assert!(said.contains("refuses its options"), "{said}");
}

/// It may quote its options in what it says: what a reference in them stands for is told to nobody.
#[tokio::test]
async fn what_a_plugin_says_while_it_serves_keeps_its_secrets() {
    let options = "{ note: \"${env:TOLLGATE_TEST_NOTE}\", marked: true }";
    let proxy = Setup::new(&bad(options, None))
        .variable("TOLLGATE_TEST_NOTE", "open-sesame")
        .start()
        .await;
    assert_eq!(ask(&proxy, "/bad/echo").await.status, 200);
    let told = ask(&proxy, "/bad/echo?bad").await.with_status(400).text();
    assert!(told.contains("my note is (masked)"), "{told}");
    proxy
        .logged(|line| line.contains("my note is (masked)"))
        .await;
    assert!(!proxy.log().contains("sesame"), "{}", proxy.log());
}

/// The same of a worker's options, of which the plugin thinks only when it is asked for.
#[tokio::test]
async fn what_a_plugin_says_of_a_worker_keeps_its_secrets() {
    let worker = worker().await;
    for probe in ["off", "{ interval: 1s, timeout: 5s }"] {
        let yaml = format!(
            r#"
plugins:
  openai: {{ source: "bundled:openai" }}
  tgis: {{ source: "bundled:tgis" }}
workers:
  - {{ name: w, address: "http://{}", protocol: openai, options: {{ generation: "${{file:generation.txt}}" }}, models: [{{ name: m }}], probe: {probe} }}
routes:
  - {{ name: all, frontends: [tgis], workers: [w], auth: open, default-model: m }}
"#,
            worker.address
        );
        let proxy = Setup::new(&yaml)
            .file("generation.txt", "open-sesame\n")
            .start()
            .await;
        let told = if probe == "off" {
            let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
                proxy.http(),
                &scene::tgis("Generate"),
                &scene::batch("m", &["x"]),
            )
            .await;
            status.message
        } else {
            eventually("the worker is judged", async || {
                let status = proxy.status().await.to_string();
                status.contains("options are wrong").then_some(status)
            })
            .await
        };
        assert!(told.contains("unknown variant `(masked)`"), "{told}");
        let log = proxy.log();
        assert!(!told.contains("sesame") && !log.contains("sesame"), "{log}");
    }
}

fn wat(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/bad")
        .join(name);
    wat::parse_file(path).expect("it is WebAssembly as text")
}

#[tokio::test]
async fn what_does_not_fit_the_contract_is_refused_with_the_difference() {
    for (name, reasons) in [
        ("another-shape.wat", &["does not fit the contract"][..]),
        (
            "another-version.wat",
            &[
                "it has version 0.9.0, this proxy links 0.1.0",
                "nearest to the world `protocol`",
            ],
        ),
        ("core-module.wat", &["not a WebAssembly component"]),
        (
            "imports-a-clock.wat",
            &["imports wasi:clocks/monotonic-clock@0.2.0, which is outside its world"],
        ),
        ("imports-beside-its-world.wat", &["tollgate:plugin/secrets"]),
        ("lacks-an-interface.wat", &["export backend: missing"]),
        ("malformed.wat", &["not a WebAssembly component"]),
        ("no-world.wat", &["does not fit the contract"]),
    ] {
        let yaml = bad("{}", None).replace(
            &place::component("fixtures/bad").display().to_string(),
            "mine.wasm",
        );
        let said = Setup::new(&yaml)
            .file("mine.wasm", wat(name))
            .refused()
            .await;
        for reason in reasons {
            assert!(said.contains(reason), "{name}: {said}");
        }
    }
}

#[tokio::test]
async fn a_broken_file_leaves_the_generation_in_force() {
    let good = fs::read(place::component("fixtures/bad")).expect("the component");
    let yaml = bad("{}", None).replace(
        &place::component("fixtures/bad").display().to_string(),
        "mine.wasm",
    );
    let proxy = Setup::new(&yaml).file("mine.wasm", good).start().await;
    let before = proxy.status().await["plugins"][0]["generation"].clone();
    proxy.rewrite("mine.wasm", wat("malformed.wat"));
    proxy.hangup();
    proxy
        .logged(|line| line.contains("the generation in force stays"))
        .await;
    assert_eq!(ask(&proxy, "/bad/echo").await.status, 200);
    assert_eq!(proxy.status().await["plugins"][0]["generation"], before);
}
