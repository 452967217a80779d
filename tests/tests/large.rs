//! Large messages and readers that stop: what does not fit one chunk, one window, or anybody's
//! patience. The workers are fakes, to see what reached them and when it was taken back.

use tollgate_tests::{
    Proxy,
    client::{Request, grpc, http1, http2},
    eventually,
    fake::{grpc as fake_grpc, http1 as fake_http1},
    fmaas, scene,
};

const SIZES: [usize; 4] = [200 << 10, 300_000, 1_100_000, 12 << 20];

#[tokio::test]
async fn grpc_messages_of_every_size_are_passed_both_ways() {
    let worker = fake_grpc::Worker::start(|received| {
        let asked: fmaas::BatchedGenerationRequest = received.message();
        fake_grpc::answer(&scene::generated(&[&asked.requests[0].text]))
    })
    .await;
    let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
    for size in SIZES {
        let text = "x".repeat(size);
        let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
            proxy.http(),
            &scene::tgis("Generate"),
            &scene::batch("m", &[&text]),
        )
        .await;
        assert_eq!((status.code, answers.len()), (0, 1), "{size}: {status:?}");
        assert!(
            answers[0].responses[0].text == text,
            "{size}: every byte came back"
        );
    }
}

#[tokio::test]
async fn grpc_messages_of_every_size_are_taken_apart() {
    let worker = fake_http1::Worker::start(|received| {
        let asked: serde_json::Value =
            serde_json::from_slice(&received.body).expect("the backend writes JSON");
        let prompt = asked["prompt"]
            .as_str()
            .or_else(|| asked["prompt"][0].as_str());
        let length = prompt.expect("a prompt").len();
        vec![fake_http1::json(
            200,
            &scene::completed(&length.to_string()),
        )]
    })
    .await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    for size in SIZES {
        let text = "x".repeat(size);
        let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
            proxy.http(),
            &scene::tgis("Generate"),
            &scene::batch("m", &[&text]),
        )
        .await;
        assert_eq!(status.code, 0, "{size}: {status:?}");
        assert_eq!(answers[0].responses[0].text, size.to_string());
    }
}

#[tokio::test]
async fn a_large_message_of_a_tapped_stream_goes_through() {
    let worker = fake_grpc::Worker::start(|_| {
        let large = "y".repeat(2 << 20);
        vec![
            fake_grpc::Act::Head,
            fake_grpc::send(&scene::first()),
            fake_grpc::send(&scene::piece(&large, 1, false)),
            fake_grpc::send(&scene::piece("end", 2, true)),
            fake_grpc::Act::Status(0, ""),
        ]
    })
    .await;
    let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
    let (answers, status) = grpc::ask::<fmaas::GenerationResponse>(
        proxy.http(),
        &scene::tgis("GenerateStream"),
        &scene::single("m", "hi"),
    )
    .await;
    assert_eq!((status.code, answers.len()), (0, 3), "{status:?}");
    assert_eq!(answers[1].text.len(), 2 << 20);
}

/// A stream that has no end, in large pieces.
fn endless() -> Vec<fake_http1::Act> {
    let mut acts = vec![fake_http1::stream_head()];
    let piece = scene::chunk(&"z".repeat(64 << 10), None, 1);
    acts.extend((0..2_000).map(|_| fake_http1::event(&piece)));
    acts.push(fake_http1::Act::Hold);
    acts
}

#[tokio::test]
async fn a_client_that_stops_reading_holds_its_place_until_the_deadline_and_no_longer() {
    let worker = fake_http1::Worker::start(|_| endless()).await;
    let route = "    limits: { timeout: 2s }\n";
    let proxy = Proxy::start(&scene::one("openai", worker.address, ", slots: 2", route)).await;

    let mut over_h1 = http1::Connection::open(proxy.http()).await;
    over_h1.send(&scene::completion(true)).await;
    over_h1.head().await;
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut over_h2 = connection.send(&scene::completion(true)).await;
    over_h2.head().await.expect("a head");

    // Neither reads on. Both places come back, and the worker is let go.
    for number in 0..2 {
        worker.journal.gone(number).await;
    }
    eventually("the route is empty", || async {
        let status = proxy.status().await;
        (status["routes"][0]["running"] == 0).then_some(())
    })
    .await;
    drop((over_h1, over_h2));
    let version = http1::ask(proxy.http(), &Request::get("/version")).await;
    assert_eq!(version.status, 200);
}

/// Answers whose last bytes are told to the plugin before it is known that they are the last.
#[tokio::test]
async fn answers_of_about_a_chunk_are_whole_passed_and_translated() {
    const CHUNK: usize = 64 << 10;
    let worker = fake_http1::Worker::start(|received| {
        let asked: serde_json::Value = serde_json::from_slice(&received.body).expect("JSON");
        let prompt = asked["prompt"]
            .as_str()
            .or_else(|| asked["prompt"][0].as_str());
        let length: usize = prompt.expect("a prompt").parse().expect("a length");
        let without = scene::completed("").to_string().len();
        vec![fake_http1::json(
            200,
            &scene::completed(&"z".repeat(length - without)),
        )]
    })
    .await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let around = [
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        70_000,
        80_000,
        90_000,
        100_000,
        2 * CHUNK,
    ];
    for length in around.into_iter().cycle().take(4 * around.len()) {
        let body = serde_json::json!({"model": "m", "prompt": length.to_string()});
        let passed = http1::ask(proxy.http(), &Request::post("/v1/completions", &body)).await;
        let text = passed.with_status(200).json()["choices"][0]["text"].clone();
        let wanted = length - scene::completed("").to_string().len();
        assert_eq!(
            text.as_str().map(str::len),
            Some(wanted),
            "{length}, passed"
        );

        let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
            proxy.http(),
            &scene::tgis("Generate"),
            &scene::batch("m", &[&length.to_string()]),
        )
        .await;
        assert_eq!(status.code, 0, "{length}: {status:?}");
        assert_eq!(
            answers[0].responses[0].text.len(),
            wanted,
            "{length}, translated"
        );
    }
}

/// The end of a request that comes while its plugin looks at the beginning.
#[tokio::test]
async fn a_request_that_comes_in_two_parts_is_never_waited_for_in_vain() {
    let worker = fake_http1::Worker::start(|_| {
        vec![fake_http1::json(200, &serde_json::json!({
            "model_name": "served", "outputs": [{"name": "OUT", "datatype": "FP32", "shape": [1], "data": [1.0]}]
        }))]
    })
    .await;
    let yaml = format!(
        "
plugins:
  kserve: {{ source: \"bundled:kserve\" }}
workers:
  - {{ name: w0, address: \"http://{}\", protocol: kserve, models: [{{ name: m, served-as: served }}], probe: off }}
routes:
  - {{ name: all, frontends: [kserve], workers: [w0], auth: open }}
",
        worker.address
    );
    let proxy = Proxy::start(&yaml).await;
    let data: Vec<f32> = (0..1500_u16).map(f32::from).collect();
    let body = serde_json::json!({"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1500], "data": data}]});
    let body = body.to_string();
    for at in (0..64).map(|part| 1 + part * body.len() / 64) {
        let mut client = http1::Connection::open(proxy.http()).await;
        client
            .raw(format!(
                "POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{}",
                body.len(),
                &body[..at]
            ))
            .await;
        tokio::task::yield_now().await;
        client.raw(&body[at..]).await;
        client.response().await.with_status(200);
    }
}
