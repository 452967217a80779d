//! The end, in order.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::{Event, Server, field, get, http1, http2, read, rest, within};

const LONG: Duration = Duration::from_secs(600);

fn began(path: &str) -> Event {
    Event::Began(path.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_end_and_nobody_else_comes_in() {
    let mut server = Server::plain().await;
    let (mut one, _task) = http1(server.connect().await).await;
    let (mut two, _task) = http2(server.connect().await).await;
    let one = within(one.send_request(get("/stream1"))).await.unwrap();
    server.expect(began("/stream1")).await;
    let two = within(two.send_request(get("/stream2"))).await.unwrap();
    server.expect(began("/stream2")).await;

    server.drain.start(LONG);
    // The socket is closed as soon as the listener has noticed.
    within(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
    assert!(!server.serving.is_finished());
    for path in ["/stream1", "/stream2"] {
        server.feed(path, "and ").await;
        server.feed(path, "whole").await;
        server.end(path);
    }
    assert_eq!(read(one).await.1, "and whole");
    assert_eq!(read(two).await.1, "and whole");
    within(&mut server.serving).await.unwrap();
    within(server.drain.gone()).await;
    let open = server.metric("tollgate_connections{listener=\"front\"}");
    assert_eq!(open.as_deref(), Some("0"));
}

#[tokio::test]
async fn idle_connections_are_closed_soon() {
    let mut server = Server::plain().await;
    let mut silent = server.connect().await;
    let (mut one, first) = http1(server.connect().await).await;
    let (mut two, second) = http2(server.connect().await).await;
    assert_eq!(
        read(within(one.send_request(get("/"))).await.unwrap())
            .await
            .0,
        200
    );
    assert_eq!(
        read(within(two.send_request(get("/"))).await.unwrap())
            .await
            .0,
        200
    );
    server.drain.start(LONG);
    assert_eq!(rest(&mut silent).await, "");
    within(first).await.unwrap();
    within(second).await.unwrap();
    within(&mut server.serving).await.unwrap();
    assert!(within(two.send_request(get("/"))).await.is_err());
}

#[tokio::test]
async fn a_silent_http_2_client_does_not_hold_up_the_end() {
    let mut server = Server::plain().await;
    let mut socket = server.connect().await;
    // A preface and settings, and never another frame: GOAWAY's ping stays unanswered.
    let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    tokio::io::AsyncWriteExt::write_all(&mut socket, hello)
        .await
        .unwrap();
    // Our settings have been read: the connection is up.
    let mut some = [0; 9];
    within(tokio::io::AsyncReadExt::read_exact(&mut socket, &mut some))
        .await
        .unwrap();
    server.drain.start(LONG);
    within(&mut server.serving).await.unwrap();
}

#[tokio::test]
async fn an_answer_given_while_draining_closes_its_connection() {
    let mut server = Server::plain().await;
    let (mut client, task) = http1(server.connect().await).await;
    let asking = tokio::spawn(async move { client.send_request(get("/stream")).await });
    server.expect(began("/stream")).await;
    let answer = within(asking).await.unwrap().unwrap();
    assert_eq!(field(answer.headers(), "connection"), "");
    server.drain.start(LONG);
    server.feed("/stream", "x").await;
    server.end("/stream");
    assert_eq!(read(answer).await.1, "x");
    within(task).await.unwrap();
}

/// Connected, by the system, and not accepted yet when the drain begins.
#[tokio::test]
async fn who_waits_in_the_backlog_when_the_drain_begins_is_answered() {
    use std::io::Write as _;

    let mut server = Server::plain().await;
    // The listener serves, and has seen to everything so far.
    let (mut one, _task) = http1(server.connect().await).await;
    within(one.send_request(get("/"))).await.unwrap();
    // Nothing is awaited until the drain has begun: whoever accepts has no turn.
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let mut socket = std::net::TcpStream::connect(server.address).unwrap();
            let asked = b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n";
            socket.write_all(asked).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .collect();
    server.drain.start(LONG);
    for socket in waiting {
        let mut socket = TcpStream::from_std(socket).unwrap();
        let answer = rest(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    within(&mut server.serving).await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_at_the_deadline_is_aborted() {
    let mut server = Server::plain().await;
    let (mut one, first) = http1(server.connect().await).await;
    let (mut two, second) = http2(server.connect().await).await;
    let asking = [
        tokio::spawn(async move { one.send_request(get("/hold1")).await.is_err() }),
        tokio::spawn(async move { two.send_request(get("/hold2")).await.is_err() }),
    ];
    let mut events = [server.event().await, server.event().await];
    events.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(events, [began("/hold1"), began("/hold2")]);

    server.drain.start(LONG);
    assert!(!server.serving.is_finished());
    server.drain.start(Duration::ZERO);
    within(&mut server.serving).await.unwrap();
    // When the listener is over, nothing of theirs is left.
    let mut ends = [
        server.events.try_recv().unwrap(),
        server.events.try_recv().unwrap(),
    ];
    ends.sort_by_key(|event| format!("{event:?}"));
    let dropped = |path: &str| Event::Dropped(path.to_owned());
    assert_eq!(ends, [dropped("/hold1"), dropped("/hold2")]);
    for asking in asking {
        assert!(within(asking).await.unwrap());
    }
    within(first).await.unwrap();
    within(second).await.unwrap();
}

#[tokio::test]
async fn a_request_on_its_way_when_the_drain_begins_is_answered() {
    let mut server = Server::plain().await;
    let (mut one, closing) = http1(server.connect().await).await;
    let first = within(one.send_request(get("/"))).await.unwrap();
    assert_eq!(field(first.headers(), "connection"), "");
    read(first).await;
    server.expect(began("/")).await;
    // Open, and nothing asked yet.
    let (mut fresh, fresh_closing) = http1(server.connect().await).await;
    server.drain.start(LONG);
    for client in [&mut one, &mut fresh] {
        let answer = within(client.send_request(get("/late"))).await.unwrap();
        assert_eq!(field(answer.headers(), "connection"), "close");
        assert_eq!(read(answer).await.0, 200);
    }
    within(closing).await.unwrap();
    within(fresh_closing).await.unwrap();
    within(&mut server.serving).await.unwrap();
}
