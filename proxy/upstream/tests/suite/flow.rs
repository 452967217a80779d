//! Back-pressure: what nobody reads is not taken, and holds nobody else up.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tollgate_upstream::{Bounds, Response, Transport, Upstream};

use crate::support::{
    Endless, Exchange, Turns, closed, collect, empty, get, listen, post, push, read_head, serve_h2,
    spec, within,
};

const WINDOW: usize = 128 * 1024;
const TOTAL: usize = 4 * 1024 * 1024;

fn narrow(address: std::net::SocketAddr) -> Arc<Upstream> {
    let bounds = Bounds {
        stream_window: WINDOW as u32,
        ..Bounds::default()
    };
    let mut one = spec(Transport::H2, address);
    one.max_connections = 1;
    Upstream::with_bounds(one, bounds).unwrap()
}

/// Sends a request and has the server take it.
async fn begin(
    upstream: &Arc<Upstream>,
    seen: &mut tokio::sync::mpsc::Receiver<Exchange>,
) -> (tokio::task::JoinHandle<Response>, Exchange) {
    let sender = upstream.clone();
    let request = tokio::spawn(async move { sender.send(post("/"), empty()).await.unwrap() });
    (request, seen.recv().await.unwrap())
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stops_at_its_window() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = narrow(address);
        let sent = Arc::new(AtomicUsize::new(0));
        let (request, mut exchange) = begin(&upstream, &mut seen).await;
        let pushing = tokio::spawn(push(exchange.head(), TOTAL, sent.clone()));
        let mut response = request.await.unwrap();
        while sent.load(Ordering::SeqCst) < WINDOW {
            tokio::task::yield_now().await;
        }
        // Round trips on the same connection: any credit given by now has arrived with them.
        for _ in 0..3 {
            let (request, mut exchange) = begin(&upstream, &mut seen).await;
            exchange.answer("ok");
            collect(&mut request.await.unwrap().body).await;
        }
        assert_eq!(sent.load(Ordering::SeqCst), WINDOW);
        // The reader takes some: as much comes after, and no more.
        let mut read = 0;
        while read < 3 * WINDOW {
            read += response.body.data().await.unwrap().unwrap().len();
        }
        let (request, mut exchange) = begin(&upstream, &mut seen).await;
        exchange.answer("ok");
        collect(&mut request.await.unwrap().body).await;
        assert!(sent.load(Ordering::SeqCst) <= read + WINDOW);
        assert_eq!(read + collect(&mut response.body).await.len(), TOTAL);
        pushing.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn readers_that_stop_do_not_hold_up_the_others() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = narrow(address);
        // Of four streams, more than the default connection window stands unread.
        for stopped in 1..4 {
            let mut unread = Vec::new();
            let mut running = Vec::new();
            for number in 0..4 {
                let sent = Arc::new(AtomicUsize::new(0));
                let (request, mut exchange) = begin(&upstream, &mut seen).await;
                assert_eq!(exchange.connection, 0);
                tokio::spawn(push(exchange.head(), TOTAL, sent.clone()));
                let mut response = request.await.unwrap();
                if number < stopped {
                    while sent.load(Ordering::SeqCst) < WINDOW {
                        tokio::task::yield_now().await;
                    }
                    unread.push(response);
                } else {
                    running.push(tokio::spawn(
                        async move { collect(&mut response.body).await },
                    ));
                }
            }
            for reader in running {
                assert_eq!(reader.await.unwrap().len(), TOTAL);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn small_frames_that_nobody_reads_do_not_end_the_connection() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = narrow(address);
        let (request, mut exchange) = begin(&upstream, &mut seen).await;
        let mut stream = exchange.head();
        let mut response = request.await.unwrap();
        // A token at a time, 20 bytes each, until the window is full.
        for _ in 0..WINDOW / 20 {
            stream.reserve_capacity(20);
            while stream.capacity() < 20 {
                std::future::poll_fn(|cx| stream.poll_capacity(cx))
                    .await
                    .unwrap()
                    .unwrap();
            }
            stream
                .send_data(Bytes::from_static(&[b'x'; 20]), false)
                .unwrap();
            tokio::task::yield_now().await;
        }
        let (request, mut exchange) = begin(&upstream, &mut seen).await;
        assert_eq!(exchange.connection, 0);
        exchange.answer("ok");
        assert_eq!(collect(&mut request.await.unwrap().body).await, b"ok");
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(collect(&mut response.body).await.len(), WINDOW / 20 * 20);
    })
    .await;
}

#[tokio::test]
async fn a_request_that_the_worker_does_not_read_is_not_polled_on() {
    within(async {
        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = narrow(address);
        let asked = Arc::new(AtomicUsize::new(0));
        let body = Endless {
            chunk: Bytes::from_static(&[0; 10_000]),
            asked: asked.clone(),
        };
        let sender = upstream.clone();
        let request = tokio::spawn(async move { sender.send(post("/"), body).await });
        let exchange = seen.recv().await.unwrap();
        while asked.load(Ordering::SeqCst) < 65_535 {
            tokio::task::yield_now().await;
        }
        let (other, mut beside) = begin(&upstream, &mut seen).await;
        // The upload has used up the connection's credit, but an answer needs none of that.
        beside.answer("ok");
        collect(&mut other.await.unwrap().body).await;
        // The server's window, and a chunk that began within it.
        assert!(asked.load(Ordering::SeqCst) < 65_535 + 10_000);
        drop(exchange);
        request.abort();
    })
    .await;
}

#[tokio::test]
async fn http1_reads_nothing_ahead() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        const ALL: usize = 128 * 1024 * 1024;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ALL}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let chunk = vec![b'x'; 64 * 1024];
            for _ in 0..ALL / chunk.len() {
                stream.write_all(&chunk).await.unwrap();
                counted.fetch_add(chunk.len(), Ordering::SeqCst);
            }
            closed(&mut stream).await;
        });
        let mut response = upstream.send(get("/"), empty()).await.unwrap();
        response.body.data().await.unwrap().unwrap();
        // More than the sockets of both sides hold would have come in so many turns.
        let mut turns = Turns::new().await;
        for _ in 0..2000 {
            turns.turn().await;
        }
        let unread = sent.load(Ordering::SeqCst);
        assert!(
            unread < 32 * 1024 * 1024,
            "{unread} bytes were taken that nobody read"
        );
        while let Some(data) = response.body.data().await {
            data.unwrap();
        }
        assert_eq!(sent.load(Ordering::SeqCst), ALL);
        assert_eq!(upstream.gauges().idle, 1);
    })
    .await;
}
