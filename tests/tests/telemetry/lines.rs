//! One line a request: what it holds of each way that a request can go.

use serde_json::json;
use tollgate_tests::{
    Proxy,
    client::{Request, grpc as client, http1 as ask},
    fake::{
        grpc::{self, Act},
        http1,
    },
    fmaas, scene,
};

use super::line;

fn with_id(request: Request, id: &str) -> Request {
    request.header("x-request-id", id)
}

#[tokio::test]
async fn a_translated_stream_is_told_whole() {
    let worker = grpc::Worker::start(|_| {
        vec![
            Act::Head,
            grpc::send(&scene::first()),
            grpc::send(&scene::piece("one", 1, false)),
            grpc::send(&scene::piece(" two", 2, true)),
            Act::Status(0, ""),
        ]
    })
    .await;
    let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
    let request = with_id(scene::completion(true), "stream-1");
    let length = request.body.as_ref().map(bytes::Bytes::len);
    let got = ask::ask(proxy.http(), &request).await.with_status(200);
    let told = line(&proxy, "stream-1").await;
    for (key, expected) in [
        ("listener", "plain"),
        ("route", "all"),
        ("protocol", "h1"),
        ("dialect", "openai"),
        ("frontend", "openai"),
        ("tenant", "anonymous"),
        ("identity", "anonymous"),
        ("task", "generate"),
        ("model", "m"),
        ("worker", "w0"),
        ("worker_dialect", "tgis"),
        ("backend", "tgis"),
        ("outcome", "ok"),
    ] {
        assert_eq!(told[key], expected, "{key}: {told}");
    }
    for (key, expected) in [
        ("status", json!(200)),
        ("batch_size", json!(1)),
        ("input_tokens", json!(2)),
        ("output_tokens", json!(2)),
        ("received_bytes", json!(length)),
        ("sent_bytes", json!(got.text().len())),
        ("retries", json!(0)),
    ] {
        assert_eq!(told[key], expected, "{key}: {told}");
    }
    for key in ["generation", "backend_generation"] {
        assert!(told[key].is_u64(), "{key}: {told}");
    }
    let times = ["queue_ms", "first_byte_ms", "duration_ms"];
    let times = times.map(|key| {
        told[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {told}"))
    });
    assert!(times[0] <= times[1] && times[1] <= times[2], "{told}");
    assert_eq!(told["trace_id"].as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn tokens_are_counted_of_what_is_passed_on() {
    let worker = http1::Worker::start(|received| {
        let streams = String::from_utf8_lossy(&received.body).contains(r#""stream":true"#);
        match streams {
            false => vec![http1::json(200, &scene::completed("text"))],
            true => vec![
                http1::stream_head(),
                http1::event(&scene::chunk("one", None, 1)),
                http1::event(&scene::chunk(" two", Some("length"), 3)),
                http1::event(&scene::usage_chunk(3)),
                http1::event("[DONE]"),
                http1::stream_end(),
            ],
        }
    })
    .await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let mut wanted = scene::completion(true);
    wanted.body = Some(
        json!({"model": "m", "prompt": "Hello", "stream": true,
            "stream_options": {"include_usage": true}})
        .to_string()
        .into(),
    );
    for (id, request) in [
        ("whole", scene::completion(false)),
        ("events", scene::completion(true)),
        ("counted", wanted),
    ] {
        ask::ask(proxy.http(), &with_id(request, id))
            .await
            .with_status(200);
        let told = line(&proxy, id).await;
        assert_eq!(told["input_tokens"], 2, "{told}");
        assert_eq!(told["output_tokens"], 3, "{told}");
        assert_eq!(told["worker_dialect"], "openai");
        assert!(told.get("backend").is_none(), "it was passed: {told}");
    }

    let worker = grpc::Worker::start(|received| match received.head.line.ends_with("Stream") {
        false => grpc::answer(&scene::generated(&["text"])),
        true => vec![
            Act::Head,
            grpc::send(&scene::first()),
            grpc::send(&scene::piece("one", 1, false)),
            grpc::send(&scene::piece(" two", 3, true)),
            Act::Status(0, ""),
        ],
    })
    .await;
    let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
    let whole = with_id(scene::tgis("Generate"), "message");
    let message = scene::batch("m", &["Hello"]);
    client::ask::<fmaas::BatchedGenerationResponse>(proxy.http(), &whole, &message).await;
    let stream = with_id(scene::tgis("GenerateStream"), "messages");
    let message = scene::single("m", "Hello");
    client::ask::<fmaas::GenerationResponse>(proxy.http(), &stream, &message).await;
    for id in ["message", "messages"] {
        let told = line(&proxy, id).await;
        assert_eq!(told["input_tokens"], 2, "{told}");
        assert_eq!(told["output_tokens"], 3, "{told}");
        assert_eq!(
            (&told["protocol"], &told["grpc_status"]),
            (&json!("h2"), &json!(0))
        );
        assert!(told.get("backend").is_none(), "it was passed: {told}");
    }
}
