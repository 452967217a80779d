//! Bounds, waiting, dialling and closing.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tollgate_upstream::{Bounds, Gauges, SendError, Transport, Upstream};

use crate::support::{
    closed, collect, empty, get, listen, post, read_head, serve_h2, spec, turn, within,
};

fn bounded(address: std::net::SocketAddr, connections: usize, waiting: usize) -> Arc<Upstream> {
    let mut spec = spec(Transport::H1, address);
    spec.max_connections = connections;
    let bounds = Bounds {
        max_waiting: waiting,
        ..Bounds::default()
    };
    Upstream::with_bounds(spec, bounds).unwrap()
}

fn send(upstream: &Arc<Upstream>) -> JoinHandle<Result<Vec<u8>, SendError>> {
    let sender = upstream.clone();
    tokio::spawn(async move {
        let mut response = sender.send(get("/"), empty()).await?;
        Ok(collect(&mut response.body).await)
    })
}

async fn taken(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await;
    stream
}

async fn answer(stream: &mut TcpStream) {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        .await
        .unwrap();
}

async fn until(upstream: &Upstream, holds: impl Fn(Gauges) -> bool) {
    while !holds(upstream.gauges()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connections_and_waiters_are_bounded_and_first_come_is_first_served() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = bounded(address, 2, 2);
        let first = send(&upstream);
        let mut one = taken(&listener).await;
        let second = send(&upstream);
        let _two = taken(&listener).await;
        let third = send(&upstream);
        until(&upstream, |gauges| gauges.waiting == 1).await;
        let fourth = send(&upstream);
        until(&upstream, |gauges| gauges.waiting == 2).await;
        let error = send(&upstream).await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::Saturated), "{error:?}");
        assert!(error.untouched());
        let gauges = upstream.gauges();
        assert_eq!(
            gauges,
            Gauges {
                open: 2,
                idle: 0,
                streams: 2,
                waiting: 2
            }
        );

        answer(&mut one).await;
        assert_eq!(first.await.unwrap().unwrap(), b"ok");
        // The same connection carries the third, then the fourth.
        for waited in [third, fourth] {
            read_head(&mut one).await;
            answer(&mut one).await;
            assert_eq!(waited.await.unwrap().unwrap(), b"ok");
        }
        assert_eq!(upstream.gauges().open, 2);
        second.abort();
    })
    .await;
}

#[tokio::test]
async fn one_who_goes_while_waiting_frees_its_place_in_the_queue() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = bounded(address, 1, 1);
        let _first = send(&upstream);
        let mut stream = taken(&listener).await;
        let gone = send(&upstream);
        until(&upstream, |gauges| gauges.waiting == 1).await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        assert_eq!(upstream.gauges().waiting, 0);
        let next = send(&upstream);
        until(&upstream, |gauges| gauges.waiting == 1).await;
        answer(&mut stream).await;
        read_head(&mut stream).await;
        answer(&mut stream).await;
        assert_eq!(next.await.unwrap().unwrap(), b"ok");
    })
    .await;
}

#[tokio::test]
async fn a_broken_connection_makes_room_for_a_new_one() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = bounded(address, 1, 1);
        let first = send(&upstream);
        let stream = taken(&listener).await;
        let second = send(&upstream);
        until(&upstream, |gauges| gauges.waiting == 1).await;
        drop(stream);
        assert!(first.await.unwrap().is_err());
        answer(&mut taken(&listener).await).await;
        assert_eq!(second.await.unwrap().unwrap(), b"ok");
    })
    .await;
}

#[tokio::test]
async fn nobody_there() {
    within(async {
        // Bound, so that nobody else gets the port, and not listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        for transport in [Transport::H1, Transport::H2] {
            let upstream = Upstream::new(spec(transport, address)).unwrap();
            upstream.warm(1).await;
            let requests: Vec<_> = (0..20).map(|_| send(&upstream)).collect();
            for request in requests {
                let error = request.await.unwrap().unwrap_err();
                assert!(matches!(error, SendError::Connect(_)), "{error:?}");
                assert!(error.untouched());
            }
            assert_eq!(upstream.gauges(), Gauges::default());
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_never_shakes_hands_is_given_up() {
    within(async {
        let (_listener, address) = listen().await;
        let mut spec = spec(Transport::H1, address);
        spec.connect_timeout = Duration::from_millis(20);
        spec.tls = Some(Default::default());
        let upstream = Upstream::new(spec).unwrap();
        let error = send(&upstream).await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::Timeout), "{error:?}");
        assert!(error.untouched());
    })
    .await;
}

#[tokio::test]
async fn a_warm_pool_has_a_connection() {
    within(async {
        for transport in [Transport::H1, Transport::H2] {
            let (listener, address) = listen().await;
            let upstream = Upstream::new(spec(transport, address)).unwrap();
            upstream.warm(1).await;
            upstream.warm(1).await;
            let gauges = upstream.gauges();
            assert_eq!(
                gauges,
                Gauges {
                    open: 1,
                    idle: 1,
                    streams: 0,
                    waiting: 0
                }
            );
            listener.accept().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    for transport in [Transport::H1, Transport::H2] {
        let (listener, address) = listen().await;
        let upstream = Upstream::new(spec(transport, address)).unwrap();
        upstream.warm(1).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        turn().await;
        assert_eq!(upstream.gauges().idle, 1);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3599)).await;
        turn().await;
        assert_eq!(upstream.gauges().idle, 1, "not before its time");
        tokio::time::advance(Duration::from_secs(2)).await;
        closed(&mut stream).await;
        assert_eq!(upstream.gauges().open, 0);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn closing_lets_nobody_in_and_running_requests_end() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = bounded(address, 1, 4);
        let running = send(&upstream);
        let mut stream = taken(&listener).await;
        let waiting = send(&upstream);
        until(&upstream, |gauges| gauges.waiting == 1).await;
        upstream.close();
        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::Closed), "{error:?}");
        let error = send(&upstream).await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::Closed) && error.untouched());
        answer(&mut stream).await;
        assert_eq!(running.await.unwrap().unwrap(), b"ok");
        closed(&mut stream).await;
        assert_eq!(upstream.gauges(), Gauges::default());

        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let running = send(&upstream);
        let mut exchange = seen.recv().await.unwrap();
        upstream.close();
        let error = upstream.send(post("/"), empty()).await.unwrap_err();
        assert!(matches!(error, SendError::Closed), "{error:?}");
        exchange.answer("ok");
        assert_eq!(running.await.unwrap().unwrap(), b"ok");
        assert_eq!(upstream.gauges(), Gauges::default());
    })
    .await;
}

#[test]
fn a_connection_may_be_given_back_outside_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (upstream, response, _stream) = runtime.block_on(within(async {
        let (listener, address) = listen().await;
        let upstream = bounded(address, 1, 1);
        let sender = upstream.clone();
        let request = tokio::spawn(async move { sender.send(get("/"), empty()).await });
        let mut stream = taken(&listener).await;
        answer(&mut stream).await;
        let mut response = request.await.unwrap().unwrap();
        assert_eq!(response.body.data().await.unwrap().unwrap(), "ok");
        (upstream, response, stream)
    }));
    drop(response);
    assert_eq!(upstream.gauges().idle, 1);
}

#[test]
fn a_runtime_may_end_while_requests_wait() {
    // A deadlock must fail the test, not hang it.
    let (done, ended) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let upstream = runtime.block_on(within(async {
            let (listener, address) = listen().await;
            let upstream = bounded(address, 1, 8);
            send(&upstream);
            let stream = taken(&listener).await;
            for number in 1..=8 {
                send(&upstream);
                until(&upstream, |gauges| gauges.waiting == number).await;
            }
            // Not closed: the end of the running request has the next one dialled for.
            std::mem::forget(stream);
            upstream
        }));
        drop(runtime);
        let _ = done.send(upstream.gauges());
    });
    let gauges = ended
        .recv_timeout(Duration::from_secs(10))
        .expect("no deadlock");
    assert_eq!(gauges, Gauges::default());
}

#[tokio::test]
async fn connections_are_opened_ahead_up_to_the_bound() {
    within(async {
        for (transport, connections) in [(Transport::H1, 3), (Transport::H2, 1)] {
            let (_listener, address) = listen().await;
            let upstream = Upstream::new(spec(transport, address)).unwrap();
            upstream.warm(3).await;
            upstream.warm(2).await;
            let gauges = upstream.gauges();
            assert_eq!((gauges.open, gauges.idle), (connections, connections));
        }
        let (_listener, address) = listen().await;
        let upstream = bounded(address, 2, 2);
        upstream.warm(100).await;
        assert_eq!(upstream.gauges().open, 2);
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_a_worker_that_is_taken_away_breaks_off() {
    within(async {
        let (listener, address) = listen().await;
        let upstream = Upstream::new(spec(Transport::H1, address)).unwrap();
        let waiting = send(&upstream);
        let _silent = taken(&listener).await;
        let sender = upstream.clone();
        let (got, first) = tokio::sync::oneshot::channel();
        let half = tokio::spawn(async move {
            let mut response = sender.send(get("/"), empty()).await.unwrap();
            got.send(response.body.data().await.unwrap().unwrap())
                .unwrap();
            response.body.data().await.unwrap().is_err()
        });
        let mut stream = taken(&listener).await;
        let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha";
        stream.write_all(begun).await.unwrap();
        assert_eq!(first.await.unwrap(), "ha");
        upstream.sever();
        assert!(waiting.await.unwrap().is_err());
        assert!(half.await.unwrap(), "the rest does not come");
        until(&upstream, |gauges| gauges.open == 0).await;
        let error = send(&upstream).await.unwrap().unwrap_err();
        assert!(matches!(error, SendError::Closed), "{error:?}");

        let (address, mut seen, _stop) = serve_h2(h2::server::Builder::new()).await;
        let upstream = Upstream::new(spec(Transport::H2, address)).unwrap();
        let waiting = send(&upstream);
        let _exchange = seen.recv().await.unwrap();
        upstream.sever();
        assert!(waiting.await.unwrap().is_err());
        until(&upstream, |gauges| gauges.open == 0).await;
    })
    .await;
}
