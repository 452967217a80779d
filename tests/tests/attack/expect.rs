//! `Expect: 100-continue` (RFC 9110, section 10.1.1): whoever asks before he sends is told before he
//! sends.

use super::*;

fn asking(more: &str) -> String {
    format!(
        "{POST}{more}expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        BODY.len()
    )
}

/// What comes first, byte for byte: the interim response, or the final one.
async fn first_line(address: std::net::SocketAddr, head: &str) -> (tokio::net::TcpStream, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(within("an answer", socket.read_u8()).await.unwrap());
    }
    let line = String::from_utf8(line).unwrap();
    (socket, line.trim_end().to_owned())
}

/// Whom the door lets in is asked for the body, once, and then answered.
#[tokio::test]
async fn whoever_is_let_in_is_asked_for_the_body() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).guarded().start().await;
    let token = format!("authorization: Bearer {}\r\n", house::TOKEN);
    for spelling in ["100-continue", "100-Continue"] {
        let head = asking(&token).replace("100-continue", spelling);
        let (mut socket, line) = first_line(house.address(), &head).await;
        assert_eq!(line, "HTTP/1.1 100 Continue");
        let before = prey.journal.requests();
        socket.write_all(BODY.as_bytes()).await.unwrap();
        let mut rest = vec![0; 20];
        within("an answer", socket.read_exact(&mut rest))
            .await
            .unwrap();
        assert!(rest.starts_with(b"\r\nHTTP/1.1 200 "), "{rest:?}");
        // The worker gets the body without being asked.
        assert_eq!(prey.journal.head(before).await.get("expect"), None);
    }
    house.unharmed().await;
    house.rest().await;
}

/// Whom it does not let in gets the final status at once: no 100, and not a byte of the body is
/// waited for.
#[tokio::test]
async fn whoever_is_refused_is_not_asked() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address)
        .guarded()
        .limits("{ body: 64KiB, concurrency: 1 }")
        .start()
        .await;
    let token = format!("authorization: Bearer {}\r\n", house::TOKEN);
    let length = format!("content-length: {}", BODY.len());
    for (status, head) in [
        (401, asking("")),
        (401, asking("authorization: Bearer wrong\r\n")),
        (404, asking(&token).replace("/v1/completions", "/nothing")),
        (405, asking(&token).replace("POST", "PUT")),
        (
            413,
            asking(&token).replace(&length, "content-length: 70000"),
        ),
        (400, asking(&token).replace("host: x", "host: x/y")),
    ] {
        let (_socket, line) = first_line(house.address(), &head).await;
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {head}"
        );
    }
    // The route has one place, and somebody has it, who was asked and sends nothing.
    let (held, line) = first_line(house.address(), &asking(&token)).await;
    assert_eq!(line, "HTTP/1.1 100 Continue");
    let (_socket, line) = first_line(house.address(), &asking(&token)).await;
    assert!(line.starts_with("HTTP/1.1 503 "), "{line}");
    drop(held);
    assert_eq!(prey.journal.requests(), 0);
    house.unharmed().await;
    house.rest().await;
}

/// An expectation that is none is not met: 417, in the dialect, over both versions.
#[tokio::test]
async fn unknown_expectations_are_417() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    for value in ["200-ok", "", "100-continue, payment", "100-continue=1"] {
        let head = asking("").replace("100-continue", value);
        let mut connection = http1::Connection::open(house.address()).await;
        connection.raw(head).await;
        let message = in_dialect(&connection.response().await, 417);
        assert!(message.contains("Expect"), "{message}");
        let mut raw = Raw::open(house.address(), &[]).await;
        raw.write(frames::post(1, &[("expect", value)])).await;
        assert_eq!(raw.outcome(1).await, Outcome::Status(417), "{value:?}");
    }
    assert_eq!(prey.journal.requests(), 0);
    house.unharmed().await;
    house.rest().await;
}

/// Over HTTP/2 nobody is asked, and nobody has to be: a client does not wait for ever. The body
/// that comes is served.
#[tokio::test]
async fn over_http2_the_body_is_taken_without_asking() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let mut raw = Raw::open(house.address(), &[]).await;
    raw.write(frames::post(1, &[("expect", "100-continue")]))
        .await;
    raw.write(frames::last(1, BODY)).await;
    assert_eq!(raw.outcome(1).await, Outcome::Status(200));
    house.unharmed().await;
    drop(raw);
    house.rest().await;
}
