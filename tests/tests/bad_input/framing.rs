//! Requests that two parsers could read in two ways, and requests that stop in the middle.

use super::*;

#[tokio::test]
async fn requests_that_could_smuggle_another() {
    let proxy = proxy().await;
    let body = good().to_string();
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let post = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let inner = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    let cases = [
        format!("{post}content-length: {length}\r\ncontent-length: 4\r\n\r\n{body}{inner}"),
        format!("{post}content-length: {length}, {length}\r\n\r\n{body}"),
        format!("{post}content-length: +{length}\r\n\r\n{body}"),
        format!("{post}content-length: -1\r\n\r\n{body}"),
        format!("{post}content-length: 0x10\r\n\r\n{body}"),
        format!("{post}content-length: 99999999999999999999999\r\n\r\n{body}"),
        format!("{post}content-length : {length}\r\n\r\n{body}"),
        format!("{post}x-a: b\r\n content-length: 4\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!("{post}transfer-encoding: xchunked\r\n\r\n{chunked}"),
        format!("{post}transfer-encoding: chunked, identity\r\n\r\n{chunked}"),
        format!("{post}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"),
        format!("{post}transfer-encoding: gzip, chunked\r\n\r\n{chunked}"),
        format!(
            "{}transfer-encoding: chunked\r\n\r\n{chunked}",
            post.replace("HTTP/1.1", "HTTP/1.0")
        ),
        format!("{post}host: y\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!(
            "{}content-length: {length}\r\n\r\n{body}",
            post.replace("host: x\r\n", "")
        ),
        format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n"),
        format!("{post}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{body}\r\n0\r\n\r\n"),
        format!("{post}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}XX0\r\n\r\n"),
        format!("{post}x-a: b\0c\r\ncontent-length: {length}\r\n\r\n{body}"),
        "GET http://other.example/v1/models HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "GET /v1/models HTTP/1.1\r\nhost: user@x\r\n\r\n".to_owned(),
        "GET /v1/models HTTP/9.9\r\nhost: x\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
    ];
    for case in cases {
        let mut connection = http1::Connection::open(proxy.http()).await;
        connection.raw(&case).await;
        // Closed without a word would do; served would not.
        if let Some(response) = connection.try_response().await {
            assert_eq!(response.status, 400, "{case}: {response:?}");
        }
        // Where the end was never in doubt the connection may stay, and then the next request is
        // the one that we send, not something that stood behind the bad one.
        let next = Request::get("/v1/models").header("x-request-id", "the-next");
        connection.send(&next).await;
        if let Some(response) = connection.try_response().await {
            assert_eq!(response.header("x-request-id"), Some("the-next"), "{case}");
            assert_eq!(response.status, 200, "{case}");
        }
    }
    still_serves(&proxy).await;
}

/// RFC 9112, section 6.3: a server may believe the chunks alone, if it then closes.
#[tokio::test]
async fn of_two_lengths_the_chunks_count_and_the_connection_ends() {
    let worker =
        fake::http1::Worker::start(|_| vec![json_answer(200, &scene::completed("!"))]).await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let body = "{\"model\": \"m\", \"prompt\": \"x\"}";
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let post = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let inner = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    for (number, lengths) in [
        format!(
            "content-length: {}\r\ntransfer-encoding: chunked\r\n",
            chunked.len()
        ),
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let mut connection = http1::Connection::open(proxy.http()).await;
        connection
            .raw(format!("{post}{lengths}\r\n{chunked}{inner}"))
            .await;
        connection.response().await.with_status(200);
        assert!(
            connection.try_head().await.is_none(),
            "what stood behind it is not served"
        );
        // The worker is told one length, and it is the right one.
        let head = worker.journal.head(number).await;
        assert_eq!(head.get("transfer-encoding"), None);
        let sent = worker.journal.body(number).await;
        assert_eq!(head.all("content-length"), [sent.len().to_string()]);
        assert_eq!(sent, body.replace("\"m\"", "\"served\""));
    }
    // Twice the same is one length (RFC 9110, section 8.6), and the worker is told it once.
    let mut connection = http1::Connection::open(proxy.http()).await;
    let twice = format!("content-length: {0}\r\ncontent-length: {0}\r\n", body.len());
    connection.raw(format!("{post}{twice}\r\n{body}")).await;
    connection.response().await.with_status(200);
    assert_eq!(worker.journal.head(2).await.all("content-length").len(), 1);
    assert_eq!(worker.journal.requests(), 3);
}

#[tokio::test]
async fn clients_that_stop_in_the_middle() {
    let proxy = proxy().await;
    let body = good().to_string();
    let whole = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for at in [1, 10, 40, whole.len() - body.len() - 1, whole.len() - 1] {
        let mut connection = http1::Connection::open(proxy.http()).await;
        connection.raw(&whole[..at]).await;
        drop(connection);
    }
    let mut h2 = http2::Connection::open(proxy.http()).await;
    let mut open = h2
        .begin(&Request::post("/v1/completions", &good()), false)
        .await;
    open.write(Bytes::from_static(b"{\"model\""), false).await;
    open.reset();
    drop(h2);
    still_serves(&proxy).await;
    let running = async || proxy.status().await["routes"][0]["running"].as_u64();
    tollgate_tests::eventually("nobody is left", async || {
        (running().await == Some(0)).then_some(())
    })
    .await;
}
