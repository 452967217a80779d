//! A request that will be refused is refused before its body is read. Each client here sends a
//! head and nothing else: that it gets an answer is the proof.

use super::*;

/// All that a client may do without sending a body: over HTTP/1.1 with a length and in chunks, over
/// HTTP/2, and as gRPC. Each is told so.
async fn refused_unread(proxy: &Proxy, token: Option<&str>, status: u16, code: u32) {
    let header = token.map_or_else(String::new, |token| {
        format!("authorization: Bearer {token}\r\n")
    });
    for length in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let mut client = Connection::open(proxy.http()).await;
        client
            .raw(format!(
                "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                 expect: 100-continue\r\n{header}{length}\r\n\r\n"
            ))
            .await;
        let got = client.response().await.with_status(status);
        assert_eq!(
            got.header("retry-after").is_some(),
            status == 503,
            "{got:?}"
        );
    }
    let with_token = |request: Request| match token {
        Some(token) => request.token(token),
        None => request,
    };
    let mut h2 = http2::Connection::open(proxy.http()).await;
    let request = Request::get("/v1/completions").method("POST");
    let request = with_token(request.header("content-type", "application/json"));
    let got = h2.begin(&request, false).await.response().await;
    assert_eq!(got.status, status, "{got:?}");

    let mut call = Call::begin(&mut h2, &with_token(scene::tgis("Generate"))).await;
    let (answers, told) = call.all::<fmaas::BatchedGenerationResponse>().await;
    assert_eq!((answers.len(), told.code), (0, code), "{told:?}");
}

#[tokio::test]
async fn without_a_token_no_body_is_read() {
    let yaml = format!(
        "{}tokens: {{ file: tokens.yaml }}\n",
        scene::embedded().replace("auth: open", "auth: required")
    );
    let entry = tokens::entry("all", "token-of-all", "models: [\"*\"]");
    let proxy = Setup::new(&yaml)
        .file("tokens.yaml", tokens::file(&[entry]))
        .start()
        .await;
    refused_unread(&proxy, None, 401, 16).await;
    refused_unread(&proxy, Some("another"), 401, 16).await;
}

#[tokio::test]
async fn past_the_routes_concurrency_no_body_is_read() {
    let worker = slow().await;
    let limits = "    limits: { concurrency: 1 }\n";
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", limits)).await;
    let mut first = held(&proxy, &worker, 0).await;
    assert_eq!(
        proxy.figure("route_requests{route=\"all\"}").await,
        Some(1.0)
    );
    refused_unread(&proxy, None, 503, 14).await;
    worker.release();
    first.response().await.with_status(200);
    assert_eq!(worker.journal.requests(), 1);
}

#[tokio::test]
async fn with_its_queue_full_no_body_is_read() {
    let worker = slow().await;
    let queue = "    queue: { requests: 1 }\n";
    let proxy = Proxy::start(&scene::one("openai", worker.address, ", slots: 1", queue)).await;
    let mut running = held(&proxy, &worker, 0).await;
    let mut waiting = Connection::open(proxy.http()).await;
    waiting.send(&scene::completion(false)).await;
    proxy
        .becomes("route_queue_requests{route=\"all\"}", 1.0)
        .await;
    refused_unread(&proxy, None, 503, 14).await;
    // What the house answers by itself does not wait, and is answered.
    http1::ask(proxy.http(), &Request::get("/v1/models"))
        .await
        .with_status(200);
    worker.release();
    worker.release();
    running.response().await.with_status(200);
    waiting.response().await.with_status(200);
}

#[tokio::test]
async fn a_body_that_cannot_wait_in_the_queue_is_not_read() {
    let worker = slow().await;
    let queue = "    limits: { body: 64KiB }\n    queue: { bytes: 64KiB }\n";
    let proxy = Proxy::start(&scene::one("openai", worker.address, ", slots: 1", queue)).await;
    let mut running = held(&proxy, &worker, 0).await;
    let mut waiting = Connection::open(proxy.http()).await;
    waiting.send(&scene::completion(false)).await;
    proxy
        .becomes("route_queue_requests{route=\"all\"}", 1.0)
        .await;
    let bytes = proxy.figure("route_queue_bytes{route=\"all\"}").await;
    assert!(bytes.is_some_and(|bytes| bytes > 10.0), "{bytes:?}");
    let got = announce(&proxy, 64 << 10).await.response().await;
    assert_eq!(got.status, 503, "{got:?}");
    worker.release();
    worker.release();
    running.response().await.with_status(200);
    waiting.response().await.with_status(200);
}
