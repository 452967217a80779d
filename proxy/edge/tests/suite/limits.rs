//! What one client may use.

use std::time::Duration;

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollgate_edge::ListenerLimits;

use crate::support::{Event, Server, get, http1, http2, read, rest, within};

fn limits(change: impl FnOnce(&mut ListenerLimits)) -> ListenerLimits {
    let mut limits = ListenerLimits::default();
    change(&mut limits);
    limits
}

#[tokio::test]
async fn heads_past_their_limits_are_431() {
    let bounds = limits(|l| {
        l.header_bytes = 4096;
        l.header_count = 8;
    });
    let server = Server::start(bounds, None).await;
    let many = |request: &mut http::HeaderMap| {
        for n in 0..9 {
            request.append("x-many", HeaderValue::from(n));
        }
    };
    let long = |request: &mut http::HeaderMap| {
        request.insert("x-long", HeaderValue::from_str(&"x".repeat(5000)).unwrap());
    };
    for change in [&many as &dyn Fn(&mut http::HeaderMap), &long] {
        let mut request = get("/");
        change(request.headers_mut());
        let (mut one, _task) = http1(server.connect().await).await;
        let answer = within(one.send_request(request.clone())).await.unwrap();
        assert_eq!(answer.status(), 431);
        let (mut two, _task) = http2(server.connect().await).await;
        let answer = within(two.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), 431);
        // The connection can still be used.
        let answer = within(two.send_request(get("/"))).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let mut request = get("/");
    request
        .headers_mut()
        .insert("x-fits", HeaderValue::from_str(&"x".repeat(3000)).unwrap());
    let (mut one, _task) = http1(server.connect().await).await;
    assert_eq!(
        within(one.send_request(request)).await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn an_endless_head_is_refused_while_it_comes() {
    let server = Server::start(limits(|l| l.header_bytes = 4096), None).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let (mut reader, mut writer) = socket.split();
    let endless = async {
        while writer.write_all(b"x-more: and more\r\n").await.is_ok() {}
        std::future::pending::<()>().await
    };
    let answer = tokio::select! {
        answer = rest(&mut reader) => answer,
        () = endless => unreachable!(),
    };
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let bounds = limits(|l| l.header_timeout = Duration::from_millis(100));
    let server = Server::start(bounds, None).await;
    // Before and after it is known to be no preface.
    for begin in ["P", "GET / HTTP/1.1\r\nx: "] {
        let mut socket = server.connect().await;
        socket.write_all(begin.as_bytes()).await.unwrap();
        assert_eq!(rest(&mut socket).await, "");
    }
    // As a connection's second request.
    let mut socket = server.connect().await;
    let whole = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    socket.write_all(whole).await.unwrap();
    let mut answer = [0; 15];
    within(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    socket.write_all(b"GET / HT").await.unwrap();
    assert!(!rest(&mut socket).await.contains("HTTP/1.1 "));
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let bounds = limits(|l| l.idle_timeout = Duration::from_millis(100));
    let mut server = Server::start(bounds, None).await;
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");

    let (mut one, task) = http1(server.connect().await).await;
    assert_eq!(
        read(within(one.send_request(get("/"))).await.unwrap())
            .await
            .0,
        200
    );
    within(task).await.unwrap();

    let (mut two, task) = http2(server.connect().await).await;
    assert_eq!(
        read(within(two.send_request(get("/"))).await.unwrap())
            .await
            .0,
        200
    );
    within(task).await.unwrap();

    // A request under way keeps its connection, idle as it is.
    server.expect(Event::Began("/".to_owned())).await;
    server.expect(Event::Began("/".to_owned())).await;
    let (mut one, _task) = http1(server.connect().await).await;
    let (mut two, _task) = http2(server.connect().await).await;
    let one = within(one.send_request(get("/stream1"))).await.unwrap();
    let two = within(two.send_request(get("/stream2"))).await.unwrap();
    // Another connection's idle timeout passes meanwhile.
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    for path in ["/stream1", "/stream2"] {
        server.expect(Event::Began(path.to_owned())).await;
        server.feed(path, "late").await;
        server.end(path);
    }
    assert_eq!(read(one).await.1, "late");
    assert_eq!(read(two).await.1, "late");
}

#[tokio::test]
async fn connections_past_the_bound_wait_for_a_place() {
    let mut server = Server::start(limits(|l| l.connections = 1), None).await;
    let (mut first, task) = http2(server.connect().await).await;
    let mut second = server.connect().await;
    second
        .write_all(b"GET /second HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..50 {
        assert_eq!(
            read(within(first.send_request(get("/first"))).await.unwrap())
                .await
                .0,
            200
        );
        server.expect(Event::Began("/first".to_owned())).await;
    }
    let open = server.metric("tollgate_connections{listener=\"front\"}");
    assert_eq!(open.as_deref(), Some("1"));
    drop(first);
    task.abort();
    server.expect(Event::Began("/second".to_owned())).await;
    assert!(rest(&mut second).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn streams_past_the_bound_wait_for_one_to_end() {
    let mut server = Server::start(limits(|l| l.h2_streams = 1), None).await;
    let (mut client, _task) = http2(server.connect().await).await;
    // The settings have arrived with the first answer.
    assert_eq!(
        read(within(client.send_request(get("/"))).await.unwrap())
            .await
            .0,
        200
    );
    server.expect(Event::Began("/".to_owned())).await;
    let first = within(client.send_request(get("/stream"))).await.unwrap();
    server.expect(Event::Began("/stream".to_owned())).await;
    let second = client.send_request(get("/second"));
    server.feed("/stream", "a").await;
    server.end("/stream");
    assert_eq!(read(first).await.1, "a");
    server
        .expect(Event::BodyDropped("/stream".to_owned()))
        .await;
    server.expect(Event::Began("/second".to_owned())).await;
    assert_eq!(read(within(second).await.unwrap()).await.0, 200);
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_again_and_again_end_the_connection() {
    let server = Server::plain().await;
    let mut socket = server.connect().await;
    let (mut reader, mut writer) = socket.split();
    let flood = async {
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        writer.write_all(hello).await.unwrap();
        for stream in (1u32..).step_by(2) {
            let [a, b, c, d] = stream.to_be_bytes();
            // HEADERS that end the stream (GET http://a/, in HPACK), and RST_STREAM with CANCEL.
            let frames = [
                0, 0, 6, 1, 5, a, b, c, d, 0x82, 0x86, 0x84, 0x41, 1, b'a', //
                0, 0, 4, 3, 0, a, b, c, d, 0, 0, 0, 8,
            ];
            if writer.write_all(&frames).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await
    };
    let mut answer = Vec::new();
    let read = async {
        while within(reader.read_buf(&mut answer))
            .await
            .is_ok_and(|read| read > 0)
        {}
    };
    tokio::select! {
        () = read => {}
        () = flood => unreachable!(),
    }
    // GOAWAY is the last frame: its code is ENHANCE_YOUR_CALM.
    let goaway = frames(&answer).into_iter().find(|(kind, _)| *kind == 7);
    let code = goaway.map(|(_, payload)| payload[4..8].to_vec());
    assert_eq!(code, Some(vec![0, 0, 0, 0x0b]));
}

/// Kinds and payloads of the frames of HTTP/2 that are whole.
fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, next)) = rest.split_at_checked(len) else {
            break;
        };
        frames.push((*kind, payload));
        bytes = next;
    }
    frames
}

#[tokio::test]
async fn what_is_sent_in_pieces_is_read_whole() {
    let server = Server::plain().await;
    let mut socket = server.connect().await;
    let request = b"POST /count HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(request).await.unwrap();
    for _ in 0..100 {
        socket.write_all(b"4\r\nabcd\r\n").await.unwrap();
    }
    socket.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    within(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
}
