//! Requests to become something else than HTTP requests: tunnels, other protocols, echoes.

use super::{frames::*, *};

const HANDSHAKE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// RFC 6455, section 4.2: a handshake is refused in words, in the dialect of the path; never a 101,
/// and never an answer that pays no heed to it.
#[tokio::test]
async fn websocket_handshakes_are_refused_in_the_dialect() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    for (path, method, status) in [
        ("/v1/models", "GET", 501),
        ("/v1/completions", "POST", 501),
        ("/v1/completions", "GET", 405),
        ("/v1/realtime", "GET", 404),
    ] {
        let mut connection = http1::Connection::open(house.address()).await;
        connection
            .raw(format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\n{HANDSHAKE}\r\n"
            ))
            .await;
        let message = in_dialect(&connection.response().await, status);
        assert!(status != 501 || message.contains("WebSocket"), "{message}");
        // What a client would send if it took that for a yes is no request.
        connection
            .raw([0x81, 0x85, 1, 2, 3, 4, 0x69, 0x67, 0x6f, 0x68, 0x6e])
            .await;
        assert!(connection.closed().await);
    }
    assert_eq!(prey.journal.requests(), 0);
    house.unharmed().await;
    house.rest().await;
}

/// RFC 9110, section 7.8: any other wish may be ignored, and is: curl offers `h2c` with every
/// request when it is asked for HTTP/2. It stays HTTP/1.1, and the worker is not asked to switch.
#[tokio::test]
async fn other_upgrades_are_ignored_and_go_no_further() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let wish = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";
    let mut connection = http1::Connection::open(house.address()).await;
    for number in 0..2 {
        let length = BODY.len();
        connection
            .raw(format!(
                "{POST}{wish}content-length: {length}\r\n\r\n{BODY}"
            ))
            .await;
        let response = connection.response().await.with_status(200);
        assert_eq!(response.header("upgrade"), None);
        let head = prey.journal.head(number).await;
        for name in ["connection", "upgrade", "http2-settings"] {
            assert_eq!(head.get(name), None, "{name}");
        }
    }
    drop(connection);
    house.unharmed().await;
    house.rest().await;
}

/// RFC 8441: extended CONNECT was not offered, so `:protocol` is malformed.
#[tokio::test]
async fn extended_connect_is_refused() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let mut raw = Raw::open(house.address(), &[]).await;
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/v1/completions"),
    ];
    raw.write(frame(HEADERS, END_HEADERS, 1, block(&fields)))
        .await;
    let outcome = raw.outcome(1).await;
    assert!(outcome.is_refusal(), "{outcome:?}");
    house.unharmed().await;
    assert_eq!(prey.journal.requests(), 0);
    drop(raw);
    house.rest().await;
}

/// RFC 9110, section 9.3.6: this is no tunnel, to nowhere, whatever the length says; and what
/// follows a CONNECT is not read as if it were one.
#[tokio::test]
async fn tunnels_are_refused() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let prey_at = prey.address;
    for target in [
        prey_at.to_string(),
        "x:80".to_owned(),
        "/v1/completions".to_owned(),
    ] {
        let mut connection = http1::Connection::open(house.address()).await;
        connection
            .raw(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await;
        if let Some(response) = connection.try_response().await {
            assert!(
                (400..=501).contains(&response.status),
                "{target}: {response:?}"
            );
        }
        assert!(
            connection.try_response().await.is_none(),
            "the connection ends"
        );
    }
    for length in [None, Some("10")] {
        let mut raw = Raw::open(house.address(), &[]).await;
        let mut fields = vec![(":method", "CONNECT"), (":authority", "x:80")];
        fields.extend(length.map(|length| ("content-length", length)));
        raw.write(frame(HEADERS, END_HEADERS, 1, block(&fields)))
            .await;
        let outcome = raw.outcome(1).await;
        assert!(
            outcome.is_refusal() || outcome == Outcome::Status(501),
            "{outcome:?}"
        );
    }
    house.unharmed().await;
    assert_eq!(prey.journal.requests(), 0);
    house.rest().await;
}

/// RFC 9110, sections 9.3.8 and 15.5.6: TRACE would echo what somebody else's browser was made to
/// send (cross-site tracing). It is refused, as is every other method that a path does not have,
/// with the list of those that it has.
#[tokio::test]
async fn trace_and_unknown_methods_are_refused() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    for method in [
        "TRACE",
        "TRACK",
        "PUT",
        "DELETE",
        "PATCH",
        "PROPFIND",
        "post",
        "X".repeat(200).as_str(),
    ] {
        let request = Request::get("/v1/completions")
            .method(method)
            .header("cookie", "secret=1");
        let response = http1::ask(house.address(), &request).await;
        in_dialect(&response, 405);
        assert_eq!(response.header("allow"), Some("POST"), "{method}");
        assert!(!response.text().contains("secret"));
    }
    assert_eq!(prey.journal.requests(), 0);
    house.unharmed().await;
    house.rest().await;
}
