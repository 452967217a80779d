//! Tokens as a way in, and as a way to take the door down.

use super::{frames::*, *};

async fn house() -> (h::Worker, House) {
    let prey = ready_worker().await;
    let house = Plan::openai(prey.address).guarded().start().await;
    (prey, house)
}

/// RFC 6750, section 2.1: one `Authorization: Bearer`, of the characters that tokens have. Whatever
/// else comes is 401 before it is hashed or looked up.
#[tokio::test]
async fn tokens_that_are_none_are_refused() {
    let (prey, mut house) = house().await;
    let token = house::TOKEN;
    let body = scene::completion(false).body.unwrap();
    let huge = "a".repeat(24 << 10);
    for (what, fields) in [
        ("huge", format!("authorization: Bearer {huge}\r\n")),
        (
            "the right one, and more",
            format!("authorization: Bearer {token}{huge}\r\n"),
        ),
        (
            "many",
            format!("authorization: Bearer {token}\r\n").repeat(40),
        ),
        (
            "the right one behind a wrong one",
            format!("authorization: Bearer x\r\nauthorization: Bearer {token}\r\n"),
        ),
        (
            "a list",
            format!("authorization: Bearer {token}, Bearer {token}\r\n"),
        ),
        (
            "another scheme's",
            format!("authorization: Basic {token}\r\n"),
        ),
        (
            "a parameter",
            format!("authorization: Bearer token={token}\r\n"),
        ),
        ("a tab", format!("authorization: Bearer\t{token}\r\n")),
        (
            "of a proxy",
            format!("proxy-authorization: Bearer {token}\r\n"),
        ),
        (
            "of an API key",
            format!("x-api-key: {token}\r\napi-key: {token}\r\n"),
        ),
        (
            "in a cookie",
            format!("cookie: authorization=Bearer {token}\r\n"),
        ),
        (
            "by underscores",
            format!("x_authorization: Bearer {token}\r\n"),
        ),
    ] {
        let mut connection = http1::Connection::open(house.address()).await;
        let length = body.len();
        connection
            .raw(format!("{POST}{fields}content-length: {length}\r\n\r\n"))
            .await;
        connection.raw(&body).await;
        let response = connection.response().await;
        assert_eq!(response.status, 401, "{what}");
        assert!(
            !response.text().contains(token),
            "{what}: it is not repeated"
        );
        assert!(response.header("www-authenticate").is_some(), "{what}");
    }
    for bytes in [
        &b"\xff\xfe\x80"[..],
        b"\x80".repeat(1000).as_slice(),
        b"a\x7fb",
    ] {
        let mut connection = http1::Connection::open(house.address()).await;
        let head = [
            b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ",
            bytes,
            b"\r\n\r\n",
        ];
        connection.raw(head.concat()).await;
        let status = connection.response().await.status;
        assert!([400, 401].contains(&status), "{bytes:?}: {status}");
    }
    assert_eq!(prey.journal.requests(), 0);
    house.unharmed().await;
    house.rest().await;
}

/// RFC 6750, section 5.3: tokens do not come in the query, for there they are written down. One
/// that came is not believed, nor written down here.
#[tokio::test]
async fn tokens_in_the_query_are_neither_believed_nor_logged() {
    let (prey, mut house) = house().await;
    for path in ["/v1/models", "/v1/completions", "/nothing"] {
        let request = Request::get(&format!(
            "{path}?access_token={}&api_key=secret-key",
            house::TOKEN
        ));
        let status = http1::ask(house.address(), &request).await.status;
        assert!([401, 404, 405].contains(&status), "{path}: {status}");
    }
    house.unharmed().await;
    assert_eq!(prey.journal.requests(), 0);
    let log = house.proxy.log();
    assert!(
        !log.contains(house::TOKEN) && !log.contains("secret-key"),
        "{log}"
    );
    house.rest().await;
}

/// Over HTTP/2 the same, many at once on one connection, and a token that is split or indexed.
#[tokio::test]
async fn crowds_without_a_token_stay_outside() {
    let (prey, mut house) = house().await;
    let mut raw = Raw::open(house.address(), &[]).await;
    for number in 0..200u32 {
        let stream = number * 2 + 1;
        let wrong = format!("Bearer guess-{number}");
        raw.write(
            [
                post(stream, &[("authorization", &wrong)]),
                last(stream, BODY),
            ]
            .concat(),
        )
        .await;
        assert_eq!(raw.outcome(stream).await, Outcome::Status(401));
    }
    let token = format!("Bearer {}", house::TOKEN);
    raw.write(post(
        401,
        &[("authorization", &token), ("authorization", &token)],
    ))
    .await;
    assert_eq!(raw.outcome(401).await, Outcome::Status(401));
    raw.write([post(403, &[("authorization", &token)]), last(403, BODY)].concat())
        .await;
    assert_eq!(raw.outcome(403).await, Outcome::Status(200));
    assert_eq!(prey.journal.requests(), 1);
    house.unharmed().await;
    assert!(house.sum("auth_failures_total").await >= 201.0);
    drop(raw);
    house.rest().await;
}
