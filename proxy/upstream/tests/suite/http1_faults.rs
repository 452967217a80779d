//! HTTP/1.1 with peers that break off, lie, or close when nobody looks.

use tokio::{io::AsyncWriteExt, sync::oneshot};
use tollgate_upstream::{BodyError, Bounds, SendError, Transport, Upstream};

use crate::support::{
    closed, collect, empty, fed, full, get, listen, post, read_head, spec, turn, within,
};

/// Answers one request with `answer`, then closes the connection.
async fn answers(answer: impl Into<Vec<u8>>) -> std::sync::Arc<Upstream> {
    let answer = answer.into();
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
        closed(&mut stream).await;
    });
    Upstream::new(spec(Transport::H1, address)).unwrap()
}

/// Reads a body that must break.
async fn breaks(upstream: &std::sync::Arc<Upstream>) -> (Vec<u8>, BodyError) {
    let mut response = upstream.send(get("/"), empty()).await.unwrap();
    let mut all = Vec::new();
    loop {
        match response.body.data().await.expect("an error before the end") {
            Ok(data) => all.extend_from_slice(&data),
            Err(error) => {
                assert!(
                    response.body.data().await.is_none(),
                    "nothing after an error"
                );
                assert_eq!(upstream.gauges().open, 0);
                return (all, error);
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_inside_its_framing_is_truncated() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let cases = [
        (format!("{chunked}3\r\nabc\r\n"), "abc"),
        (format!("{chunked}9\r\nabc"), "abc"),
        (format!("{chunked}3\r\nabc\r\n0\r\n"), "abc"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_owned(),
            "abc",
        ),
    ];
    for (answer, came) in cases {
        let upstream = answers(answer.clone()).await;
        let (data, error) = within(breaks(&upstream)).await;
        assert_eq!(data, came.as_bytes());
        assert!(
            matches!(error, BodyError::Truncated),
            "{answer:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_broken_chunk_is_a_broken_protocol() {
    let upstream =
        answers("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n").await;
    let (_, error) = within(breaks(&upstream)).await;
    assert!(matches!(error, BodyError::Protocol(_)), "{error:?}");
}

#[tokio::test]
async fn an_upgrade_is_refused() {
    let upstream =
        answers("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
            .await;
    let error = within(upstream.send(get("/"), empty())).await.unwrap_err();
    assert!(
        matches!(error, SendError::Broken { started: true, .. }),
        "{error:?}"
    );
    assert_eq!(upstream.gauges().open, 0);
}

#[tokio::test]
async fn no_head_is_no_answer_and_may_have_been_begun() {
    for answer in ["", "HTTP/1.1 200", "garbage\r\n\r\n"] {
        let upstream = answers(answer).await;
        let error = within(upstream.send(post("/"), full("x")))
            .await
            .unwrap_err();
        assert!(!error.untouched(), "{answer:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_head_has_a_bound() {
    let field = format!("x-long: {}\r\n", "y".repeat(70_000));
    let upstream = answers(format!(
        "HTTP/1.1 200 OK\r\n{field}content-length: 0\r\n\r\n"
    ))
    .await;
    let error = within(upstream.send(get("/"), empty())).await.unwrap_err();
    let broken = matches!(
        error,
        SendError::Broken {
            source: BodyError::Protocol(_),
            ..
        }
    );
    assert!(broken, "{error:?}");

    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let answer = format!("HTTP/1.1 200 OK\r\n{field}content-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    });
    let wide = Bounds {
        header_bytes: 128 * 1024,
        ..Bounds::default()
    };
    let upstream = Upstream::with_bounds(spec(Transport::H1, address), wide).unwrap();
    within(upstream.send(get("/"), empty())).await.unwrap();
}

#[tokio::test]
async fn dropping_the_request_before_its_head_closes_the_connection() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        let (_feeder, body) = fed();
        let sender = upstream.clone();
        let request = tokio::spawn(async move { sender.send(post("/"), body).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        assert_eq!(upstream.gauges().streams, 1);
        request.abort();
        closed(&mut stream).await;
        assert_eq!(upstream.gauges().open, 0);
    })
    .await;
}

#[tokio::test]
async fn dropping_the_body_before_its_end_closes_the_connection() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        // With the request complete, and with it still running in a task of its own.
        for running in [false, true] {
            let (feeder, body) = fed();
            let sender = upstream.clone();
            let request = tokio::spawn(async move {
                match running {
                    true => sender.send(post("/"), body).await,
                    false => sender.send(post("/"), full("x")).await,
                }
            });
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut response = request.await.unwrap().unwrap();
            assert_eq!(response.body.data().await.unwrap().unwrap(), "abc");
            drop(response);
            closed(&mut stream).await;
            feeder.dropped().await;
            assert_eq!(upstream.gauges().open, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_used() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
            stopped.await.unwrap();
            drop(stream);
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        });
        let mut response = upstream.send(post("/"), full("x")).await.unwrap();
        collect(&mut response.body).await;
        assert_eq!(upstream.gauges().idle, 1);
        stop.send(()).unwrap();
        turn().await;
        turn().await;
        // A POST with a body: were the dead connection used, it could not be sent again.
        let mut response = upstream.send(post("/"), full("x")).await.unwrap();
        assert_eq!(collect(&mut response.body).await, b"ok");
        server.await.unwrap();
    })
    .await;
}

/// A server that keeps its first connection after one answer, and closes it without an answer
/// when a second request comes on it. Later connections are answered. Tells how many requests it
/// has read.
async fn closes_on_the_second() -> (std::sync::Arc<Upstream>, oneshot::Receiver<()>) {
    let (listener, address) = listen().await;
    let (tell, again) = oneshot::channel();
    tokio::spawn(async move {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        read_head(&mut stream).await;
        drop(stream);
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = tell.send(());
        read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
    let mut response = upstream.send(get("/"), empty()).await.unwrap();
    collect(&mut response.body).await;
    (upstream, again)
}

#[tokio::test]
async fn a_repeatable_request_without_body_is_sent_again_on_a_new_connection() {
    within(async {
        let (upstream, again) = closes_on_the_second().await;
        let mut response = upstream.send(get("/"), empty()).await.unwrap();
        assert_eq!(collect(&mut response.body).await, b"ok");
        again.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_may_not_be_repeated_is_not_sent_again() {
    within(async {
        let (upstream, mut again) = closes_on_the_second().await;
        let error = upstream.send(post("/"), full("x")).await.unwrap_err();
        assert!(
            matches!(error, SendError::Broken { started: true, .. }),
            "{error:?}"
        );
        assert!(!error.untouched());
        turn().await;
        assert!(again.try_recv().is_err(), "no second connection");
    })
    .await;
}

#[tokio::test]
async fn a_request_body_that_fails_takes_the_request_back() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        for late in [false, true] {
            let (feeder, body) = fed();
            let sender = upstream.clone();
            let request = tokio::spawn(async move { sender.send(post("/"), body).await });
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            if late {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                let mut response = request.await.unwrap().unwrap();
                feeder.fail("the client went away").await;
                let error = response.body.data().await.unwrap().unwrap_err();
                assert!(matches!(error, BodyError::Request(_)), "{error:?}");
                assert!(
                    error.to_string().contains("the client went away"),
                    "{error}"
                );
            } else {
                feeder.fail("the client went away").await;
                let error = request.await.unwrap().unwrap_err();
                assert!(!error.untouched());
                assert!(
                    error.to_string().contains("the client went away"),
                    "{error}"
                );
            }
            closed(&mut stream).await;
            assert_eq!(upstream.gauges().open, 0);
        }
    })
    .await;
}
