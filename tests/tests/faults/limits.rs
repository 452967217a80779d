//! Deadlines, and queues that are full.

use super::*;

#[tokio::test]
async fn the_routes_timeout_ends_a_request_and_its_upstream() {
    let limits = "    limits: { timeout: 300ms }\n";
    let openai = h::Worker::start(|_| vec![h::Act::Hold]).await;
    let proxy = Proxy::start(&scene::one("openai", openai.address, "", limits)).await;
    let response = http1::ask(proxy.http(), &scene::completion(false)).await;
    refused(&response, 504);
    openai.journal.gone(0).await;
    let (_, status) = tgis_whole(&proxy).await;
    assert_eq!(status.code, 4, "{status:?}");
    openai.journal.gone(1).await;

    let tgis = g::Worker::start(|_| vec![g::Act::Hold]).await;
    let proxy = Proxy::start(&scene::one("tgis", tgis.address, "", limits)).await;
    let response = http1::ask(proxy.http(), &scene::completion(true)).await;
    assert!(tgis.journal.gone(0).await.contains("no longer needed"));
    refused(&response, 504);
    let (_, _, status) = tgis_stream(&proxy).await;
    assert_eq!(status.code, 4, "{status:?}");
    tgis.journal.gone(1).await;
}

#[tokio::test]
async fn grpc_timeout_ends_a_request_and_travels_with_it() {
    let tgis = g::Worker::start(|_| half_of_tgis(&[])).await;
    let proxy = Proxy::start(&scene::one("tgis", tgis.address, "", "")).await;
    let request = scene::tgis("GenerateStream").header("grpc-timeout", "400m");
    let (pieces, status) = grpc::ask::<fmaas::GenerationResponse>(
        proxy.http(),
        &request,
        &scene::single("m", "Hello"),
    )
    .await;
    assert_eq!((pieces.len(), status.code), (3, 4), "{status:?}");
    assert!(tgis.journal.gone(0).await.contains("no longer needed"));
    let head = tgis.journal.head(0).await;
    let told = head.get("grpc-timeout").unwrap();
    let (number, unit) = told.split_at(told.len() - 1);
    let number: u64 = number.parse().unwrap();
    let left = match unit {
        "u" => number / 1000,
        "m" => number,
        "n" => number / 1_000_000,
        other => panic!("a unit of less than 400 ms, not {other}"),
    };
    assert!(left <= 400, "{told}");

    // And it ends the waiting in a queue.
    let slow = h::Worker::start(|_| vec![h::Act::Hold]).await;
    let proxy = Proxy::start(&scene::one("openai", slow.address, ", slots: 1", "")).await;
    let mut first = http1::Connection::open(proxy.http()).await;
    first.send(&scene::completion(false)).await;
    slow.journal.holding(0).await;
    let request = scene::tgis("Generate").header("grpc-timeout", "300m");
    let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &request,
        &scene::batch("m", &["Hello"]),
    )
    .await;
    assert_eq!(status.code, 4, "{status:?}");
    assert_eq!(slow.journal.requests(), 1);
}

#[tokio::test]
async fn what_does_not_fit_the_queue_is_refused_at_once() {
    let slow =
        h::Worker::start(|_| vec![h::Act::Hold, h::json(200, &scene::completed(" there"))]).await;
    let queue = "    queue: { requests: 1 }\n";
    let proxy = Proxy::start(&scene::one("openai", slow.address, ", slots: 1", queue)).await;
    let mut open = Vec::new();
    for waiting in 0..2 {
        let mut client = http1::Connection::open(proxy.http()).await;
        client.send(&scene::completion(false)).await;
        slow.journal.holding(0).await;
        tollgate_tests::eventually("it waits", async || {
            (proxy.status().await["routes"][0]["queued"] == waiting).then_some(())
        })
        .await;
        open.push(client);
    }
    let response = http1::ask(proxy.http(), &scene::completion(false)).await;
    assert!(response.header("retry-after").is_some());
    refused(&response, 503);
    let (_, status) = tgis_whole(&proxy).await;
    assert_eq!(status.code, 14, "{status:?}");
    slow.release();
    slow.release();
    for mut client in open {
        client.response().await.with_status(200);
    }
}
