//! HTTP/2 with peers that reset, refuse and go away.

use std::{future::poll_fn, sync::Arc};

use h2::Reason;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tollgate_upstream::{BodyError, Response, SendError, Transport, Upstream};

use crate::support::{
    Exchange, closed, collect, empty, fed, full, listen, post, serve_h2, spec, within,
};

fn send(upstream: &Arc<Upstream>) -> JoinHandle<Result<Response, SendError>> {
    let sender = upstream.clone();
    tokio::spawn(async move { sender.send(post("/"), full("x")).await })
}

/// How the client resets the stream.
async fn reset(exchange: &mut Exchange) -> Reason {
    poll_fn(|cx| exchange.respond.poll_reset(cx)).await.unwrap()
}

#[tokio::test]
async fn dropping_the_request_before_its_head_resets_the_stream() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let (feeder, body) = fed();
        let sender = upstream.clone();
        let running = tokio::spawn(async move { sender.send(post("/"), body).await });
        let complete = send(&upstream);
        for request in [running, complete] {
            let mut exchange = seen.recv().await.unwrap();
            request.abort();
            assert_eq!(reset(&mut exchange).await, Reason::CANCEL);
        }
        feeder.dropped().await;
        let gauges = upstream.gauges();
        assert_eq!((gauges.open, gauges.streams), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn dropping_the_body_before_its_end_resets_the_stream() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        for running in [false, true] {
            let (feeder, body) = fed();
            let sender = upstream.clone();
            let request = tokio::spawn(async move {
                match running {
                    true => sender.send(post("/"), body).await,
                    false => sender.send(post("/"), full("x")).await,
                }
            });
            let mut exchange = seen.recv().await.unwrap();
            let mut stream = exchange.head();
            stream.send_data("abc".into(), false).unwrap();
            let mut response = request.await.unwrap().unwrap();
            assert_eq!(response.body.data().await.unwrap().unwrap(), "abc");
            drop(response);
            let reason = poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
            assert_eq!(reason, Reason::CANCEL);
            feeder.dropped().await;
        }
        let gauges = upstream.gauges();
        assert_eq!(
            (gauges.open, gauges.streams),
            (1, 0),
            "the connection lives on"
        );
    })
    .await;
}

#[tokio::test]
async fn resets_before_the_head() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let cases = [
            (Reason::REFUSED_STREAM, true),
            (Reason::INTERNAL_ERROR, false),
            (Reason::CANCEL, false),
            (Reason::ENHANCE_YOUR_CALM, false),
        ];
        for (given, untouched) in cases {
            let request = send(&upstream);
            seen.recv().await.unwrap().respond.send_reset(given);
            let error = request.await.unwrap().unwrap_err();
            assert_eq!(error.untouched(), untouched, "{given:?}");
            let SendError::Refused {
                not_processed,
                reason,
            } = error
            else {
                panic!("{error:?}");
            };
            assert_eq!((not_processed, reason), (untouched, given));
        }
        let gauges = upstream.gauges();
        assert_eq!((gauges.open, gauges.streams), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_reset_inside_the_body_says_why() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let request = send(&upstream);
        let mut stream = seen.recv().await.unwrap().head();
        stream.send_data("abc".into(), false).unwrap();
        let mut response = request.await.unwrap().unwrap();
        assert_eq!(response.body.data().await.unwrap().unwrap(), "abc");
        stream.send_reset(Reason::INTERNAL_ERROR);
        let error = response.body.data().await.unwrap().unwrap_err();
        assert!(
            matches!(error, BodyError::Reset(Reason::INTERNAL_ERROR)),
            "{error:?}"
        );
        assert!(response.body.data().await.is_none());
        assert_eq!(upstream.gauges().streams, 0);
    })
    .await;
}

#[tokio::test]
async fn a_complete_response_may_cut_the_request_short() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let (feeder, body) = fed();
        let sender = upstream.clone();
        let request = tokio::spawn(async move { sender.send(post("/"), body).await });
        let mut exchange = seen.recv().await.unwrap();
        let mut stream = exchange.head();
        stream.send_data("no, thank you".into(), true).unwrap();
        // With its last handle, `h2` resets the stream with NO_ERROR, as the request is not out.
        drop((stream, exchange));
        let mut response = request.await.unwrap().unwrap();
        assert_eq!(collect(&mut response.body).await, b"no, thank you");
        feeder.dropped().await;
    })
    .await;
}

#[tokio::test]
async fn a_request_body_that_fails_resets_the_stream() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        for late in [false, true] {
            let (feeder, body) = fed();
            let sender = upstream.clone();
            let request = tokio::spawn(async move { sender.send(post("/"), body).await });
            let mut exchange = seen.recv().await.unwrap();
            let said = if late {
                let mut stream = exchange.head();
                let mut response = request.await.unwrap().unwrap();
                feeder.fail("the client went away").await;
                let error = response.body.data().await.unwrap().unwrap_err();
                assert!(matches!(error, BodyError::Request(_)), "{error:?}");
                let reason = poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
                assert_eq!(reason, Reason::CANCEL);
                error.to_string()
            } else {
                feeder.fail("the client went away").await;
                assert_eq!(reset(&mut exchange).await, Reason::CANCEL);
                let error = request.await.unwrap().unwrap_err();
                assert!(!error.untouched());
                error.to_string()
            };
            assert!(said.contains("the client went away"), "{said}");
        }
    })
    .await;
}

#[tokio::test]
async fn after_goaway_new_streams_go_elsewhere_and_running_ones_go_on() {
    within(async {
        let (address, mut seen, stop) = serve_h2(h2::server::Builder::new()).await;
        let mut one = spec(Transport::H2, address);
        one.max_connections = 1;
        let upstream = Upstream::new(one).unwrap();
        let running = send(&upstream);
        let mut old = seen.recv().await.unwrap();
        let mut stream = old.head();
        let mut response = running.await.unwrap().unwrap();

        stop.send_replace(0);
        // Until the frame has come, requests still meet the old connection: and are answered.
        loop {
            let request = send(&upstream);
            let mut exchange = seen.recv().await.unwrap();
            exchange.answer("ok");
            collect(&mut request.await.unwrap().unwrap().body).await;
            if exchange.connection == 1 {
                break;
            }
        }
        assert_eq!(upstream.gauges().open, 2);
        stream.send_data("still here".into(), true).unwrap();
        assert_eq!(collect(&mut response.body).await, b"still here");
        assert_eq!(upstream.gauges().open, 1);
    })
    .await;
}

#[tokio::test]
async fn goaway_lets_those_who_wait_for_a_stream_go_elsewhere_at_once() {
    within(async {
        let (address, mut seen, stop) = serve_h2(h2::server::Builder::new()).await;
        let mut one = spec(Transport::H2, address);
        one.max_connections = 1;
        one.max_streams = 1;
        let upstream = Upstream::new(one).unwrap();
        let running = send(&upstream);
        let mut old = seen.recv().await.unwrap();
        let waiting = send(&upstream);
        while upstream.gauges().waiting == 0 {
            tokio::task::yield_now().await;
        }
        stop.send_replace(0);
        let mut new = seen.recv().await.unwrap();
        assert_eq!((old.connection, new.connection), (0, 1));
        for (exchange, request) in [(&mut new, waiting), (&mut old, running)] {
            exchange.answer("ok");
            collect(&mut request.await.unwrap().unwrap().body).await;
        }
        let gauges = upstream.gauges();
        assert_eq!((gauges.open, gauges.idle, gauges.streams), (1, 1, 0));
    })
    .await;
}

/// Frames by hand (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads frames until the head of a stream of that number.
async fn until_stream(socket: &mut TcpStream, number: u32) {
    loop {
        let mut header = [0; 9];
        socket.read_exact(&mut header).await.unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload).await.unwrap();
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        if header[3] == 1 && stream == number {
            return;
        }
    }
}

/// Takes a connection, shakes hands, and reads until the head of the first stream.
async fn until_first_stream(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut preface = [0; 24];
    socket.read_exact(&mut preface).await.unwrap();
    socket.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    until_stream(&mut socket, 1).await;
    socket
}

#[tokio::test]
async fn goaway_below_a_stream_leaves_it_untouched_and_the_one_at_it_running() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let first = send(&upstream);
        let mut socket = until_first_stream(&listener).await;
        let second = send(&upstream);
        until_stream(&mut socket, 3).await;
        // GOAWAY, last stream 1, NO_ERROR.
        socket
            .write_all(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]))
            .await
            .unwrap();
        let error = second.await.unwrap().unwrap_err();
        assert!(
            matches!(
                error,
                SendError::Refused {
                    not_processed: true,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.untouched());
        // HEADERS with `:status: 200` (static table entry 8), END_HEADERS and END_STREAM.
        socket.write_all(&frame(1, 5, 1, &[0x88])).await.unwrap();
        assert_eq!(first.await.unwrap().unwrap().head.status, 200);
        assert_eq!(upstream.gauges().streams, 0);
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_breaks_its_streams() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let first = send(&upstream);
        let mut socket = until_first_stream(&listener).await;
        socket.write_all(&frame(1, 4, 1, &[0x88])).await.unwrap();
        let mut response = first.await.unwrap().unwrap();
        let second = send(&upstream);
        until_stream(&mut socket, 3).await;
        drop(socket);
        let error = response.body.data().await.unwrap().unwrap_err();
        assert!(matches!(error, BodyError::Connection(_)), "{error:?}");
        let error = second.await.unwrap().unwrap_err();
        assert!(!error.untouched(), "{error:?}");
        assert!(
            matches!(error, SendError::Broken { started: true, .. }),
            "{error:?}"
        );
        assert_eq!(upstream.gauges().open, 0);
    })
    .await;
}

#[tokio::test]
async fn a_frame_has_a_bound() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let request = send(&upstream);
        let mut socket = until_first_stream(&listener).await;
        socket.write_all(&frame(1, 4, 1, &[0x88])).await.unwrap();
        let mut response = request.await.unwrap().unwrap();
        // Longer than the protocol's least (16 KiB): a tensor comes in fewer.
        let large = frame(0, 0, 1, &vec![7; 60_000]);
        socket.write_all(&large).await.unwrap();
        let mut read = 0;
        while read < 60_000 {
            read += response.body.data().await.unwrap().unwrap().len();
        }
        // A byte more than a connection holds of one frame.
        let mut longer = frame(0, 0, 1, &[]);
        longer[..3].copy_from_slice(&[1, 0, 1]);
        socket.write_all(&longer).await.unwrap();
        let error = response.body.data().await.unwrap().unwrap_err();
        assert!(matches!(error, BodyError::Protocol(_)), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_head_has_a_bound() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let request = send(&upstream);
        let mut exchange = seen.recv().await.unwrap();
        let mut head = http::Response::builder();
        for number in 0..20 {
            head = head.header(format!("x-{number}"), "y".repeat(5000));
        }
        exchange
            .respond
            .send_response(head.body(()).unwrap(), true)
            .unwrap();
        let error = request.await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::Broken { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_breaks_the_request() {
    within(async {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            socket.write_all(answer.as_bytes()).await.unwrap();
            closed(&mut socket).await;
        });
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let error = upstream.send(post("/"), empty()).await.unwrap_err();
        assert!(matches!(error, SendError::Broken { .. }), "{error:?}");
    })
    .await;
}
