//! HTTP/2 as it should be.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use tollgate_upstream::{Transport, Upstream};

use crate::support::{collect, empty, fed, full, post, serve_h2, spec, within};

#[tokio::test]
async fn streams_share_a_connection_until_it_is_full() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let mut requests = Vec::new();
        let mut exchanges = Vec::new();
        for number in 0..8 {
            let sender = upstream.clone();
            requests.push(tokio::spawn(async move {
                sender.send(post("/"), empty()).await
            }));
            let exchange = seen.recv().await.unwrap();
            assert_eq!(exchange.connection, number / 4, "request {number}");
            exchanges.push(exchange);
        }
        let gauges = upstream.gauges();
        assert_eq!((gauges.open, gauges.idle, gauges.streams), (2, 0, 8));
        for exchange in &mut exchanges {
            exchange.answer("ok");
        }
        for request in requests {
            let mut response = request.await.unwrap().unwrap();
            assert_eq!(collect(&mut response.body).await, b"ok");
        }
        let gauges = upstream.gauges();
        assert_eq!((gauges.open, gauges.idle, gauges.streams), (2, 2, 0));
    })
    .await;
}

#[tokio::test]
async fn the_head_is_the_workers() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let request = http::Request::post("/package.Service/Method")
            .header("host", "elsewhere")
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let sender = upstream.clone();
        let answer = tokio::spawn(async move { sender.send(request, full("x")).await });
        let mut exchange = seen.recv().await.unwrap();
        let head = &exchange.request;
        assert_eq!(head.uri(), "http://worker.test/package.Service/Method");
        let expected: HeaderMap = [
            (header::TE, HeaderValue::from_static("trailers")),
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/grpc"),
            ),
        ]
        .into_iter()
        .collect();
        assert_eq!(head.headers(), &expected);
        exchange.answer("ok");
        answer.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn trailers_and_trailers_only() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        tokio::spawn(async move {
            let mut exchange = seen.recv().await.unwrap();
            let mut stream = exchange.head();
            stream.send_data("message".into(), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers).unwrap();
            let mut exchange = seen.recv().await.unwrap();
            let head = Response::builder()
                .header("grpc-status", "12")
                .body(())
                .unwrap();
            exchange.respond.send_response(head, true).unwrap();
            seen.recv().await;
        });
        let mut response = upstream.send(post("/"), full("x")).await.unwrap();
        assert_eq!(response.body.data().await.unwrap().unwrap(), "message");
        assert!(response.body.data().await.is_none());
        let trailers = response.body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0");

        let mut response = upstream.send(post("/"), full("x")).await.unwrap();
        assert_eq!(response.head.headers["grpc-status"], "12");
        assert!(http_body::Body::is_end_stream(&response.body));
        assert_eq!(upstream.gauges().streams, 0);
        assert!(response.body.data().await.is_none());
        assert!(response.body.trailers().await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn interim_heads_are_skipped() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        tokio::spawn(async move {
            let mut exchange = seen.recv().await.unwrap();
            let early = Response::builder().status(103).body(()).unwrap();
            exchange.respond.send_informational(early).unwrap();
            exchange.answer("ok");
            seen.recv().await;
        });
        let mut response = upstream.send(post("/"), empty()).await.unwrap();
        assert_eq!(response.head.status, 200);
        assert_eq!(collect(&mut response.body).await, b"ok");
    })
    .await;
}

#[tokio::test]
async fn both_bodies_flow_at_once() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        tokio::spawn(async move {
            let mut exchange = seen.recv().await.unwrap();
            let mut stream = exchange.head();
            let body = exchange.request.body_mut();
            while let Some(data) = body.data().await {
                let data: Bytes = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                stream.send_data(data, false).unwrap();
            }
            stream.send_data("end".into(), true).unwrap();
            seen.recv().await;
        });
        let (feeder, body) = fed();
        let mut response = upstream.send(post("/"), body).await.unwrap();
        for word in ["one", "two", "three"] {
            feeder.data(word).await;
            assert_eq!(response.body.data().await.unwrap().unwrap(), word);
        }
        drop(feeder);
        assert_eq!(response.body.data().await.unwrap().unwrap(), "end");
        assert!(response.body.data().await.is_none());
        assert_eq!(upstream.gauges().streams, 0);
    })
    .await;
}

#[tokio::test]
async fn a_worker_may_allow_fewer_streams() {
    within(async {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(1);
        let (address, mut seen, _stop) = serve_h2(builder).await;
        let mut one = spec(Transport::H2, address);
        one.max_connections = 1;
        let upstream = Upstream::new(one).unwrap();
        let send = || {
            let sender = upstream.clone();
            tokio::spawn(async move {
                let mut response = sender.send(post("/"), empty()).await.unwrap();
                collect(&mut response.body).await
            })
        };
        // With the answer to the first, the worker's settings are known.
        let first = send();
        seen.recv().await.unwrap().answer("1");
        assert_eq!(first.await.unwrap(), b"1");

        let second = send();
        let mut held = seen.recv().await.unwrap();
        let third = send();
        while upstream.gauges().waiting == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(upstream.gauges().streams, 1);
        held.answer("2");
        assert_eq!(second.await.unwrap(), b"2");
        seen.recv().await.unwrap().answer("3");
        assert_eq!(third.await.unwrap(), b"3");
    })
    .await;
}
