//! The end of the proxy.

use super::*;

#[tokio::test]
async fn a_stream_is_finished_before_the_proxy_ends() {
    let worker = h::Worker::start(|_| {
        half_a_stream(vec![
            h::Act::Hold,
            h::event(&scene::chunk(" three", Some("stop"), 3)),
            h::event(&scene::usage_chunk(3)),
            h::event("[DONE]"),
            h::stream_end(),
        ])
    })
    .await;
    let mut proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let (address, admin) = (proxy.http(), proxy.admin());
    let mut old = http1::Connection::open(address).await;
    old.send(&scene::completion(true)).await;
    old.head().await;
    let mut new = http2::Connection::open(address).await;
    let mut stream = new.send(&scene::completion(true)).await;
    stream.head().await.unwrap();
    worker.journal.holding(1).await;

    proxy.ask_to_end();
    proxy
        .logged(|line| line.contains(r#""message":"draining""#))
        .await;
    let ready = http1::ask(admin, &tollgate_tests::client::Request::get("/readyz")).await;
    assert_eq!(ready.status, 503);
    let live = http1::ask(admin, &tollgate_tests::client::Request::get("/livez")).await;
    assert_eq!(live.status, 200);
    tollgate_tests::eventually("nobody new is let in", async || {
        tokio::net::TcpStream::connect(address)
            .await
            .is_err()
            .then_some(())
    })
    .await;

    worker.release();
    worker.release();
    let mut body = Vec::new();
    while let Ok(piece) = old.piece().await {
        body.extend_from_slice(&piece);
    }
    let mut other = Vec::new();
    loop {
        match stream.next().await {
            Next::Data(data) => other.extend_from_slice(&data),
            Next::End(_) => break,
            Next::Reset(reason) => panic!("the stream was reset: {reason:?}"),
        }
    }
    for body in [body, other] {
        let (events, done) = sse::json(&String::from_utf8(body).unwrap());
        assert!(done);
        let text: String = events
            .iter()
            .filter_map(|event| event["choices"][0]["text"].as_str())
            .collect();
        assert_eq!(text, "one two three");
    }
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.log.contains("drained"));
}

#[tokio::test]
async fn the_drain_does_not_wait_for_ever() {
    let worker = h::Worker::start(|_| half_a_stream(vec![h::Act::Hold])).await;
    let config = format!(
        "{}drain: {{ deadline: 200ms }}\n",
        scene::one("openai", worker.address, "", "")
    );
    let mut proxy = Proxy::start(&config).await;
    let mut client = http1::Connection::open(proxy.http()).await;
    client.send(&scene::completion(true)).await;
    worker.journal.holding(0).await;
    proxy.ask_to_end();
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(0));
    let outcome = r#""outcome":"drained""#;
    assert!(exit.log.contains(outcome), "{}", exit.log);
    client.head().await;
    let end = loop {
        if let Err(end) = client.piece().await {
            break end;
        }
    };
    assert_eq!(
        end,
        End::Cut,
        "it was not finished, and the client can tell"
    );
    worker
        .journal
        .until(0, |seen| matches!(seen, Seen::Gone(_)))
        .await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_proxy() {
    let proxy = Proxy::start(&scene::embedded()).await;
    let mut idle = http1::Connection::open(proxy.http()).await;
    idle.send(&tollgate_tests::client::Request::get("/v1/models"))
        .await;
    idle.response().await.with_status(200);
    let h2 = http2::Connection::open(proxy.http()).await;
    assert_eq!(proxy.terminate().await.code, Some(0));
    assert!(idle.closed().await);
    drop(h2);
}
