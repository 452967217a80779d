//! HTTP/1.1 as it should be.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollgate_upstream::{Transport, Upstream};

use crate::support::{
    closed, collect, empty, fed, full, get, listen, post, read_head, spec, spent, turn, within,
};

/// Answers with the request's line, fields and body; `/close` and `/empty` as they say. Counts
/// its connections.
async fn echo() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let (listener, address) = listen().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let mut fields: Vec<_> = head
                    .headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
                    .collect();
                fields.sort();
                let text = format!("{} {}\n{}", head.method, head.uri, fields.concat());
                let mut all = text.into_bytes();
                all.extend_from_slice(&body);
                let mut response = Response::new(Full::new(Bytes::from(all)));
                if head.uri.path() == "/close" {
                    response
                        .headers_mut()
                        .insert(header::CONNECTION, "close".parse().unwrap());
                }
                if head.uri.path() == "/empty" {
                    *response.body_mut() = Full::default();
                    *response.status_mut() = http::StatusCode::NO_CONTENT;
                }
                Ok::<_, Infallible>(response)
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, connections)
}

#[tokio::test]
async fn one_connection_carries_one_request_after_another() {
    within(async {
        let (address, connections) = echo().await;
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        for round in 0..5 {
            let response = upstream.send(post("/a?b=c"), full("hello")).await.unwrap();
            let mut body = response.body;
            let text = String::from_utf8(collect(&mut body).await).unwrap();
            assert_eq!(
                text,
                "POST /a?b=c\ncontent-length: 5\nhost: worker.test\nhello"
            );
            assert_eq!(connections.load(Ordering::SeqCst), 1, "round {round}");
        }
        for _ in 0..3 {
            // Complete with its head: given back without a read.
            let response = upstream.send(get("/empty"), empty()).await.unwrap();
            assert_eq!(response.head.status, 204);
            assert_eq!(upstream.gauges().idle, 1);
        }
        let head = http::Request::head("/a").body(()).unwrap();
        upstream.send(head, empty()).await.unwrap();
        let gauges = upstream.gauges();
        assert_eq!(
            (gauges.open, gauges.idle, gauges.streams, gauges.waiting),
            (1, 1, 0, 0)
        );
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    })
    .await;
}

#[tokio::test]
async fn a_worker_below_a_path_has_it_before_every_path() {
    within(async {
        let (address, _) = echo().await;
        for (base, line) in [
            ("/ns/model", "GET /ns/model/a?b=c\n"),
            ("/ns/", "GET /ns/a?b=c\n"),
            ("/", "GET /a?b=c\n"),
            ("", "GET /a?b=c\n"),
        ] {
            let upstream = Upstream::under(spec(Transport::H1, address), base).unwrap();
            let mut response = upstream.send(get("/a?b=c"), empty()).await.unwrap();
            let text = String::from_utf8(collect(&mut response.body).await).unwrap();
            assert!(text.starts_with(line), "{base}: {text}");
        }
        for bad in ["ns", "/a?b", "/a#b", "/a b"] {
            assert!(Upstream::under(spec(Transport::H1, address), bad).is_err());
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_read_to_its_last_byte_and_dropped_gives_the_connection_back() {
    within(async {
        let (address, connections) = echo().await;
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        for _ in 0..3 {
            let mut response = upstream.send(post("/"), full("x")).await.unwrap();
            let mut length = 0;
            let stated: usize = response.head.headers[header::CONTENT_LENGTH]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            while length < stated {
                length += response.body.data().await.unwrap().unwrap().len();
            }
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    })
    .await;
}

#[tokio::test]
async fn connection_close_is_honoured() {
    within(async {
        let (address, connections) = echo().await;
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        for round in 1..=3 {
            let mut response = upstream.send(get("/close"), empty()).await.unwrap();
            collect(&mut response.body).await;
            assert_eq!(connections.load(Ordering::SeqCst), round);
            assert_eq!(upstream.gauges().open, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn framing_and_connection_are_our_own() {
    within(async {
        let (address, _) = echo().await;
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        let request = http::Request::post("http://elsewhere:1/p")
            .header("host", "elsewhere")
            .header("connection", "keep-alive, x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .header("te", "gzip")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "websocket")
            .header("expect", "100-continue")
            .header("content-length", "4000")
            .header("x-end", "to-end")
            .body(())
            .unwrap();
        let mut response = upstream.send(request, full("abc")).await.unwrap();
        let text = String::from_utf8(collect(&mut response.body).await).unwrap();
        assert_eq!(
            text,
            "POST /p\ncontent-length: 3\nhost: worker.test\nx-end: to-end\nabc"
        );
        let mut response = upstream.send(post("/p"), empty()).await.unwrap();
        let text = String::from_utf8(collect(&mut response.body).await).unwrap();
        assert_eq!(text, "POST /p\ncontent-length: 0\nhost: worker.test\n");
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_is_refused() {
    let (_listener, address) = listen().await;
    let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
    let request = http::Request::connect("a:1").body(()).unwrap();
    let error = within(upstream.send(request, empty())).await.unwrap_err();
    assert!(error.untouched(), "{error}");
    assert_eq!(upstream.gauges().open, 0);
}

#[tokio::test]
async fn trailers_come_after_the_data() {
    within(async {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                read_head(&mut stream).await;
                let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\
                    trailer: x-sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 7\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        for _ in 0..2 {
            let mut response = upstream.send(get("/"), empty()).await.unwrap();
            assert_eq!(collect(&mut response.body).await, b"abcde");
            let trailers = response.body.trailers().await.unwrap().unwrap();
            let expected: HeaderMap = [("x-sum".parse().unwrap(), "7".parse().unwrap())]
                .into_iter()
                .collect();
            assert_eq!(trailers, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn interim_heads_are_skipped() {
    within(async {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n\
                HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).await.unwrap();
            closed(&mut stream).await;
        });
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        let mut response = upstream.send(get("/"), empty()).await.unwrap();
        assert_eq!(response.head.status, 200);
        assert_eq!(collect(&mut response.body).await, b"ok");
        assert_eq!(upstream.gauges().idle, 1);
    })
    .await;
}

#[tokio::test]
async fn both_bodies_flow_at_once() {
    within(async {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            // The request's chunks are the response's, byte for byte.
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        let (feeder, body) = fed();
        let mut response = upstream.send(post("/"), body).await.unwrap();
        for word in ["one", "two", "three"] {
            feeder.data(word).await;
            assert_eq!(response.body.data().await.unwrap().unwrap(), word);
        }
        drop(feeder);
        assert!(response.body.data().await.is_none());
    })
    .await;
}

#[tokio::test]
async fn a_request_goes_out_while_its_response_is_not_read() {
    within(async {
        let (listener, address) = listen().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (_, early) = read_head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut rest = vec![0; 8 * 1024 * 1024 - early.len()];
            stream.read_exact(&mut rest).await.unwrap();
            stream.write_all(b"done").await.unwrap();
        });
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        let (feeder, body) = fed();
        let request = http::Request::put("/").header("content-length", 8 * 1024 * 1024);
        let mut response = upstream
            .send(request.body(()).unwrap(), body)
            .await
            .unwrap();
        for _ in 0..8 {
            feeder.data(vec![b'x'; 1024 * 1024]).await;
        }
        server.await.unwrap();
        assert_eq!(collect(&mut response.body).await, b"done");
    })
    .await;
}

#[tokio::test]
async fn a_task_with_its_budget_spent_misses_nothing() {
    within(async {
        let (listener, address) = listen().await;
        let (more, mut wanted) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            loop {
                // The first half comes with the head, and nothing comes after it by itself.
                read_head(&mut stream).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfi";
                stream.write_all(answer).await.unwrap();
                if wanted.recv().await.is_none() {
                    return;
                }
                stream.write_all(b"ne").await.unwrap();
            }
        });
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        for left in 0..12 {
            upstream.warm(1).await;
            let mut sending = pin!(upstream.send(get("/"), empty()));
            // The request is out; the head and half of the body come while nobody looks.
            poll_fn(|cx| {
                assert!(sending.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            turn().await;
            turn().await;
            let mut response = spent(left, sending).await.unwrap();
            assert_eq!(
                spent(left, response.body.data()).await.unwrap().unwrap(),
                "fi"
            );
            more.send(()).await.unwrap();
            turn().await;
            assert_eq!(
                spent(left, response.body.data()).await.unwrap().unwrap(),
                "ne"
            );
            assert!(spent(left, response.body.data()).await.is_none());
            assert_eq!(upstream.gauges().idle, 1, "given back with {left} left");
        }
    })
    .await;
}
