//! What an open stream holds, and that what a storm took is given back.
//!
//! The ceilings are for any build of the binary, and leave room for what a page more or less makes
//! of a figure; the budgets of a release build are measured by the benchmarks.

use bytes::Bytes;
use tollgate_tests::{
    Proxy,
    client::{
        Request,
        http1::{self, Connection},
    },
    eventually,
    fake::{grpc as fake_grpc, http1 as fake_http1},
    scene,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Streams that are measured.
const STREAMS: usize = 300;

/// Streams before these: they take up what the start left free, which the others would seem to
/// cost nothing of.
const BEFORE: usize = 100;

/// More of a worker: as many streams as there are, each with a connection of its own over HTTP/1.1.
const MANY: &str = ", slots: 400, connections: { max: 400 }";

/// A stream that has begun, and goes on some day.
async fn begun(proxy: &Proxy) -> Connection {
    let mut connection = Connection::open(proxy.http()).await;
    connection.send(&scene::completion(true)).await;
    connection.head().await;
    let mut got = Vec::new();
    while !got.windows(5).any(|text| text == b"first") {
        got.extend_from_slice(&connection.piece().await.expect("the stream goes on"));
    }
    connection
}

/// What a stream adds, in bytes, of itself.
async fn added(proxy: &Proxy) -> u64 {
    let mut open = Vec::new();
    for _ in 0..BEFORE {
        open.push(begun(proxy).await);
    }
    let before = proxy.resident();
    for _ in 0..STREAMS {
        open.push(begun(proxy).await);
    }
    proxy.resident().saturating_sub(before) / STREAMS as u64
}

#[tokio::test]
async fn a_passed_stream_that_waits_holds_little() {
    let worker = fake_http1::Worker::start(|_| {
        vec![
            fake_http1::stream_head(),
            fake_http1::event(&scene::chunk("first", None, 1)),
            fake_http1::Act::Hold,
        ]
    })
    .await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, MANY, "")).await;
    let each = added(&proxy).await;
    assert!(each <= 56 * KIB, "{each} bytes a stream");
}

#[tokio::test]
async fn a_translated_stream_that_waits_holds_little() {
    let worker = fake_grpc::Worker::start(|_| {
        vec![
            fake_grpc::Act::Head,
            fake_grpc::send(&scene::first()),
            fake_grpc::send(&scene::piece("first", 1, false)),
            fake_grpc::Act::Hold,
        ]
    })
    .await;
    let proxy = Proxy::start(&scene::one("tgis", worker.address, MANY, "")).await;
    let each = added(&proxy).await;
    assert!(each <= 48 * KIB, "{each} bytes a stream");
}

#[tokio::test]
async fn what_large_requests_took_is_given_back() {
    let worker =
        fake_http1::Worker::start(|_| vec![fake_http1::json(200, &scene::completed(" there"))])
            .await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let small = scene::completion(false);
    http1::ask(proxy.http(), &small).await.with_status(200);
    let before = proxy.resident();
    let prompt = "x".repeat(12 << 20);
    let body = Bytes::from(format!(r#"{{"model": "m", "prompt": "{prompt}"}}"#));
    for _ in 0..3 {
        // All at once, so that each of the proxy's threads has had its share.
        let asked: Vec<_> = (0..4)
            .map(|_| {
                let request = Request::post_bytes("/v1/completions", body.clone());
                let address = proxy.http();
                tokio::spawn(async move { http1::ask(address, &request).await })
            })
            .collect();
        for answer in asked {
            answer.await.expect("it is answered").with_status(200);
        }
    }
    // Nothing more is asked: it has to come back by itself.
    eventually("memory is given back", async || {
        (proxy.resident() < before + 24 * MIB).then_some(())
    })
    .await;
}
