//! Requests over HTTP/1.1 that two readers could read in two ways.

use super::*;

/// A request that must never be served, as it stands in another's body or behind a bad one.
const HIDDEN: &str = "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-request-id: hidden\r\n\r\n";

/// A proxy that does not wait long for what may never come.
async fn house(prey: &h::Worker) -> House {
    Plan::openai(prey.address)
        .listener("{ idle-timeout: 1s, header-timeout: 1s }")
        .start()
        .await
}

/// Sends each on a connection of its own, with a hidden request behind it. None of them reaches
/// the prey, none is served, and the hidden one is not either.
async fn none_is_served(cases: Vec<String>) {
    let prey = ready_worker().await;
    let mut house = house(&prey).await;
    for case in &cases {
        let mut connection = http1::Connection::open(house.address()).await;
        connection.raw(format!("{case}{HIDDEN}")).await;
        while let Some(response) = connection.try_response().await {
            assert!(
                (400..=505).contains(&response.status),
                "{case:?}: {response:?}"
            );
            assert_ne!(response.header("x-request-id"), Some("hidden"), "{case:?}");
        }
        assert_eq!(prey.journal.requests(), 0, "{case:?}");
    }
    house.unharmed().await;
    house.rest().await;
}

fn chunked() -> String {
    format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len())
}

/// RFC 9112, section 6.3, and RFC 9110, section 8.6: a length is digits, and one.
#[tokio::test]
async fn lengths_are_digits_and_one() {
    let length = BODY.len();
    let fields = [
        format!("content-length: +{length}"),
        format!("content-length: 0x{length:x}"),
        format!("content-length: {length}.0"),
        format!("content-length: {length}e0"),
        "content-length: 1_0".to_owned(),
        format!("content-length: {length} {length}"),
        format!("content-length: {length}, 3"),
        format!("content-length: {length};"),
        "content-length:".to_owned(),
        "content-length: ,".to_owned(),
        "content-length: 18446744073709551616".to_owned(),
        "content-length: 18446744073709551615".to_owned(),
        format!("content-length: {length}\r\ncontent-length: 0"),
        format!("content-length: 0\r\ncontent-length: {length}"),
        format!("content-length: \x0b{length}"),
        format!("content-length: {length}\0"),
    ];
    let mut cases: Vec<_> = fields
        .iter()
        .map(|field| format!("{POST}{field}\r\n\r\n{BODY}"))
        .collect();
    // Section 9.3.1 of RFC 9110: a body of a GET has no meaning, and its length counts all the same.
    cases.push(format!(
        "GET /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        HIDDEN.len()
    ));
    none_is_served(cases).await;
}

/// RFC 9112, section 6.1: a transfer coding other than `chunked`, hidden or doubled, is not
/// understood, and says nothing about where the body ends.
#[tokio::test]
async fn transfer_codings_are_chunked_and_nothing_else() {
    let fields = [
        "transfer-encoding: xchunked",
        "transfer-encoding: chunkedx",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: 'chunked'",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding: identity",
        "transfer-encoding: identity, chunked",
        "transfer-encoding: gzip",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: chunked,",
        "transfer-encoding: ,chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding:",
        "transfer-encoding: \x0bchunked",
        "transfer-encoding: chunked\x0c",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        " transfer-encoding: chunked",
        "transfer-encoding\0: chunked",
        "transfer-encoding:\n chunked",
        "transfer-encoding:\r\n chunked",
        "x: y\rtransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    ];
    let mut cases: Vec<_> = fields
        .iter()
        .map(|field| format!("{POST}{field}\r\n\r\n{}", chunked()))
        .collect();
    // A name that only looks like it says nothing about the length; then there is no body, and
    // what follows is no request.
    cases.push(format!(
        "{POST}transfer_encoding: chunked\r\n\r\n{}",
        chunked()
    ));
    none_is_served(cases).await;
}

/// RFC 9112, sections 2.2, 5.1 and 5.2: where a line ends, what a name is, and that lines are not
/// folded.
#[tokio::test]
async fn lines_and_names_are_read_strictly() {
    let rest = format!("content-length: {}\r\n\r\n{BODY}", BODY.len());
    none_is_served(vec![
        format!("{POST}x y: z\r\n{rest}"),
        format!("{POST}x: y\r\n folded: z\r\n{rest}"),
        format!("{POST}x: y\r\n\tfolded\r\n{rest}"),
        format!("{POST}: empty\r\n{rest}"),
        format!("{POST}no colon\r\n{rest}"),
        format!("{POST}x: a\0b\r\n{rest}"),
        format!("{POST}x: a\rb\r\n{rest}"),
        format!("{POST}x\r: b\r\n{rest}"),
        format!("{POST}x(: b\r\n{rest}"),
        format!("{POST}x\u{e4}: b\r\n{rest}"),
        format!(
            "{POST}{}",
            rest.replace("content-length:", "content-length :")
        ),
        format!(
            "{POST}{}",
            rest.replace("content-length:", "content-length\u{a0}:")
        ),
        POST.replace(" HTTP/1.1", "  HTTP/1.1") + &rest,
        POST.replace("POST ", "POST\t") + &rest,
        POST.replace("POST ", "POST  ") + &rest,
        POST.replace("POST", "PO ST") + &rest,
        POST.replace("POST", "P\0ST") + &rest,
        POST.replace("HTTP/1.1", "HTTP/1.2") + &rest,
        POST.replace("HTTP/1.1", "HTTP/2.0") + &rest,
        POST.replace("HTTP/1.1", "http/1.1") + &rest,
        POST.replace("HTTP/1.1", "HTTP/01.1") + &rest,
        POST.replace(" HTTP/1.1", "") + &rest,
        POST.replace("/completions", "/comple tions") + &rest,
        POST.replace("/completions", "/completions\0") + &rest,
        POST.replace("/completions", "/completions#x y") + &rest,
    ])
    .await;
}

/// RFC 9112, section 2.2, lets a reader take a bare LF for a line's end. If it is taken here, it is
/// taken for all that follows from it: the worker sees one request, with the fields that we saw.
#[tokio::test]
async fn bare_line_feeds_are_line_ends_for_all_or_refused() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let bare = POST.replace("\r\n", "\n");
    let length = BODY.len();
    for case in [
        format!("{bare}content-length: {length}\n\n{BODY}"),
        format!("{POST}x: y\ncontent-length: {length}\r\n\r\n{BODY}"),
        format!("{POST}content-length: {length}\r\n\n{BODY}"),
        format!(
            "{POST}x: y\ntransfer-encoding: chunked\r\n\r\n{}",
            chunked()
        ),
    ] {
        let before = prey.journal.requests();
        let mut connection = http1::Connection::open(house.address()).await;
        connection.raw(&case).await;
        let Some(response) = connection.try_response().await else {
            continue;
        };
        if response.status != 200 {
            assert_eq!(response.status, 400, "{case:?}");
            continue;
        }
        assert_eq!(prey.journal.requests(), before + 1, "{case:?}");
        let head = prey.journal.head(before).await;
        let body = prey.journal.body(before).await;
        assert_eq!(head.all("content-length"), [body.len().to_string()]);
        assert!(head.headers.iter().all(|(_, value)| !value.contains('\n')));
    }
    house.unharmed().await;
    house.rest().await;
}

/// RFC 9112, section 7.1: a chunk's size is hex digits, and its end is CR LF.
#[tokio::test]
async fn chunks_are_read_strictly() {
    let post = format!("{POST}transfer-encoding: chunked\r\n\r\n");
    let size = BODY.len();
    none_is_served(vec![
        format!("{post}0x{size:x}\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{post}+{size:x}\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{post}-{size:x}\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{post}{size:x} {size:x}\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{post}{size:x}g\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{post}\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{post};x\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{post}10000000000000000{size:x}\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{post}{size:x}\n{BODY}\r\n0\r\n\r\n"),
        format!("{post}{size:x}\r{BODY}\r\n0\r\n\r\n"),
        format!("{post}{size:x}\r\n{BODY}\n0\r\n\r\n"),
        format!("{post}{size:x}\r\n{BODY}0\r\n\r\n"),
        format!("{post}{size:x}\r\n{BODY}\rX0\r\n\r\n"),
        format!("{post}{size:x};x\ny\r\n{BODY}\r\n0\r\n\r\n"),
        format!("{post}{size:x}\r\n{BODY}\r\n0\r\nx y: z\r\n\r\n"),
        format!("{post}{size:x}\r\n{BODY}\r\n0\r\nx\0: z\r\n\r\n"),
        format!(
            "{post}{size:x}\r\n{BODY}\r\n0\r\n{}\r\n",
            "x: y\r\n".repeat(4096)
        ),
        format!(
            "{post}{size:x};{}\r\n{BODY}\r\n0\r\n\r\n",
            "x".repeat(1 << 20)
        ),
    ])
    .await;
}

/// RFC 9112, sections 7.1.1 and 7.1.2: extensions are read past, trailers go nowhere. Neither
/// reaches the worker in any form.
#[tokio::test]
async fn chunk_extensions_and_trailers_reach_nobody() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let size = BODY.len();
    let trailers = "content-length: 3\r\nauthorization: Bearer x\r\nx-trailer: y\r\ntransfer-encoding: gzip\r\n";
    for (number, body) in [
        format!("{size:x};a=b;c=\"d\"\r\n{BODY}\r\n0;e\r\n\r\n"),
        format!("{size:x}\r\n{BODY}\r\n0\r\n{trailers}\r\n"),
    ]
    .iter()
    .enumerate()
    {
        let mut connection = http1::Connection::open(house.address()).await;
        let head = format!("{POST}transfer-encoding: chunked\r\ntrailer: x-trailer\r\n\r\n");
        connection.raw(format!("{head}{body}{HIDDEN}")).await;
        connection.response().await.with_status(200);
        // Its end was never in doubt: the next request is one.
        let next = connection.response().await.with_status(200);
        assert_eq!(next.header("x-request-id"), Some("hidden"));
        let head = prey.journal.head(number).await;
        for name in ["transfer-encoding", "trailer", "x-trailer", "authorization"] {
            assert_eq!(head.get(name), None, "{name}");
        }
        let sent = prey.journal.body(number).await;
        assert_eq!(head.all("content-length"), [sent.len().to_string()]);
        assert_eq!(sent, BODY.replace("\"m\"", "\"served\""));
    }
    house.unharmed().await;
    house.rest().await;
}

/// RFC 9112, sections 3.2.1 to 3.2.4: the target and `Host` name one host, and a request to a
/// proxy's own forms is not one to us.
#[tokio::test]
async fn targets_that_name_another_host_are_refused() {
    let rest = format!("content-length: {}\r\n\r\n{BODY}", BODY.len());
    let target = |target: &str| POST.replace("/v1/completions", target) + &rest;
    none_is_served(vec![
        target("http://other/v1/completions"),
        target("http://x:81/v1/completions"),
        target("http://x@other/v1/completions"),
        target("http://other@x/v1/completions"),
        target("http:///v1/completions"),
        target("http:/v1/completions"),
        target("ftp://x/v1/completions"),
        target("x:80"),
        target("other"),
        POST.replace("host: x\r\n", "") + &rest,
        POST.replace("host: x\r\n", "host: x\r\nhost: x\r\n") + &rest,
        POST.replace("host: x\r\n", "host: x, y\r\n") + &rest,
        POST.replace("host: x\r\n", "host: x/y\r\n") + &rest,
        POST.replace("host: x\r\n", "host:\r\n") + &rest,
        POST.replace("host: x\r\n", "host : x\r\n") + &rest,
    ])
    .await;
    // Paths are compared as they are: what others might make the same path of is another one.
    let prey = ready_worker().await;
    let house = house(&prey).await;
    for path in [
        "*",
        "//x/v1/completions",
        "/v1//completions",
        "/v1/completions/../completions",
        "/v1/models/%2e%2e/completions",
        "/./v1/completions",
        "\\v1\\completions",
        "/v1/completions%00",
        "/v1/completions;x=y",
    ] {
        let got = http1::ask_raw(house.address(), target(path)).await;
        let status = got.expect("an answer").status;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    assert_eq!(prey.journal.requests(), 0);
    // The absolute form with the same host is a request like any other (section 3.2.2).
    let mut connection = http1::Connection::open(house.address()).await;
    connection.raw(target("http://X/v1/completions")).await;
    connection.response().await.with_status(200);
    assert_eq!(
        prey.journal.head(0).await.line,
        "POST /v1/completions HTTP/1.1"
    );
    house.rest().await;
}

/// RFC 9112, section 9.3.2: what is pipelined behind a refused request whose body was not read is
/// that body, until the connection ends.
#[tokio::test]
async fn what_stands_in_a_refused_body_is_not_served() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address)
        .listener("{ idle-timeout: 1s, header-timeout: 1s }")
        .guarded()
        .start()
        .await;
    let known = format!(
        "x-request-id: hidden\r\nauthorization: Bearer {}\r\n",
        house::TOKEN
    );
    let hidden = format!("GET /v1/models HTTP/1.1\r\nhost: x\r\n{known}\r\n");
    for (path, status) in [("/v1/completions", 401), ("/nothing", 404)] {
        let post = POST.replace("/v1/completions", path);
        for pause in [false, true] {
            for length in [hidden.len(), 1 << 30] {
                let mut connection = http1::Connection::open(house.address()).await;
                connection
                    .raw(format!("{post}content-length: {length}\r\n\r\n"))
                    .await;
                if pause {
                    assert_eq!(connection.response().await.status, status);
                }
                connection.raw(hidden.repeat(3)).await;
                while let Some(response) = connection.try_response().await {
                    let inner = response.header("x-request-id") == Some("hidden");
                    // Only what stands behind the whole body is a request.
                    assert!(!inner || length == hidden.len(), "{path} {pause} {length}");
                    assert!(inner || response.status == status);
                }
            }
        }
    }
    // A request that is refused without a body leaves the next as it is.
    let mut connection = http1::Connection::open(house.address()).await;
    connection
        .raw(format!(
            "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n{hidden}"
        ))
        .await;
    assert_eq!(connection.response().await.status, 401);
    let next = connection.response().await.with_status(200);
    assert_eq!(next.header("x-request-id"), Some("hidden"));
    assert_eq!(prey.journal.requests(), 0);
    house.unharmed().await;
    house.rest().await;
}

/// RFC 9110, section 7.6.1: fields for one hop go no further, and `Connection` cannot take away
/// what a gate has put in or relied upon.
#[tokio::test]
async fn connection_takes_away_nothing_that_counts() {
    let prey = ready_worker().await;
    let mut house = Plan::openai(prey.address).start().await;
    let listed =
        "connection: content-length, x-forwarded-for, x-request-id, traceparent, host, close\r\n";
    let known = "x-request-id: me\r\nx-forwarded-for: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n";
    let mut connection = http1::Connection::open(house.address()).await;
    let length = BODY.len();
    connection
        .raw(format!(
            "{POST}{listed}{known}content-length: {length}\r\n\r\n{BODY}"
        ))
        .await;
    connection.response().await.with_status(200);
    let head = prey.journal.head(0).await;
    assert_eq!(head.all("content-length").len(), 1);
    assert_eq!(head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.get("x-request-id"), Some("me"));
    for name in ["connection", "forwarded", "x-real-ip"] {
        assert_eq!(head.get(name), None, "{name}");
    }
    house.unharmed().await;
    house.rest().await;
}
