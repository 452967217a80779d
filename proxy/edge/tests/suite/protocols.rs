//! One port, two protocols.

use tokio::io::AsyncWriteExt;

use crate::support::{Event, Server, get, http1, http2, read, rest, within};

#[tokio::test]
async fn one_plain_port_speaks_both() {
    let server = Server::plain().await;
    let (mut one, _task) = http1(server.connect().await).await;
    let (mut two, _task) = http2(server.connect().await).await;
    let answer = read(within(one.send_request(get("/"))).await.unwrap()).await;
    assert_eq!(answer, (200, "front tls=false sni=- h2=false".to_owned()));
    let answer = read(within(two.send_request(get("/"))).await.unwrap()).await;
    assert_eq!(answer, (200, "front tls=false sni=- h2=true".to_owned()));
}

#[tokio::test]
async fn a_head_that_begins_like_the_preface_is_http_1() {
    let server = Server::plain().await;
    for begin in ["PRI", "P", "POST", "PRI * HTTP/2.0\r\n\r\nS"] {
        let mut socket = server.connect().await;
        socket.write_all(begin.as_bytes()).await.unwrap();
        socket
            .write_all(b"X / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        socket.shutdown().await.unwrap();
        let answer = rest(&mut socket).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 "),
            "{begin}: {answer}"
        );
    }
    let mut socket = server.connect().await;
    let request =
        "PUT /count HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
    for byte in request.as_bytes() {
        socket.write_all(&[*byte]).await.unwrap();
    }
    let answer = rest(&mut socket).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n3"),
        "{answer}"
    );
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let mut server = Server::plain().await;
    let (mut one, _task) = http1(server.connect().await).await;
    let (mut two, _task) = http2(server.connect().await).await;
    for n in 0..50 {
        let path = format!("/{n}");
        assert_eq!(
            read(within(one.send_request(get(&path))).await.unwrap())
                .await
                .0,
            200
        );
        assert_eq!(
            read(within(two.send_request(get(&path))).await.unwrap())
                .await
                .0,
            200
        );
        for _ in 0..2 {
            server.expect(Event::Began(path.clone())).await;
        }
    }
    let accepted = server.metric("tollgate_connections_accepted_total{listener=\"front\"}");
    assert_eq!(accepted.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_refusal_is_read_even_by_a_client_that_is_still_sending() {
    let server = Server::plain().await;
    let mut socket = server.connect().await;
    let len = 512 * 1024;
    let head = format!("POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    within(socket.write_all(&vec![b'x'; len])).await.unwrap();
    let answer = rest(&mut socket).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("too large"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_panic_ends_its_request_alone() {
    let mut server = Server::plain().await;
    let (mut two, _task) = http2(server.connect().await).await;
    let streaming = within(two.send_request(get("/stream"))).await.unwrap();
    server.expect(Event::Began("/stream".to_owned())).await;
    assert!(within(two.send_request(get("/panic"))).await.is_err());
    server.expect(Event::Began("/panic".to_owned())).await;
    server.feed("/stream", "still here").await;
    server.end("/stream");
    assert_eq!(read(streaming).await.1, "still here");

    let (mut one, _task) = http1(server.connect().await).await;
    assert!(within(one.send_request(get("/panic"))).await.is_err());
    let (mut one, _task) = http1(server.connect().await).await;
    assert_eq!(
        read(within(one.send_request(get("/"))).await.unwrap())
            .await
            .0,
        200
    );

    drop((one, two));
    server.drain.start(std::time::Duration::from_secs(60));
    within(&mut server.serving).await.unwrap();
    let panics = server.metric("tollgate_panics_total{listener=\"front\"}");
    assert_eq!(panics.as_deref(), Some("2"));
}
