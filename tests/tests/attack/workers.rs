//! Workers that attack whoever asks them: what they answer is theirs, and harms nobody else; what
//! cannot be read in one way is not passed on.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{frames::*, *};

/// A prey that says these bytes to every request, and then what `then` says.
async fn saying(bytes: &str, then: h::Act) -> h::Worker {
    let bytes = bytes.to_owned();
    h::Worker::start(move |_| vec![h::write(bytes.clone()), then.clone()]).await
}

/// One completion is asked for, and one more after it, which shows whether anything was left on
/// the connection to the worker.
async fn ask_twice(house: &House) -> Option<Response> {
    let mut connection = http1::Connection::open(house.address()).await;
    connection.send(&scene::completion(false)).await;
    let first = connection.try_response().await;
    let second = http1::ask(house.address(), &scene::completion(false)).await;
    assert_ne!(
        second.status, 299,
        "an answer that nobody asked for: {second:?}"
    );
    first
}

/// RFC 9112, sections 6.1 to 6.3: lengths and codings that contradict each other are an error of
/// the worker's. They are not settled here and passed on, for whoever stands between us and the
/// client might settle them otherwise.
#[tokio::test]
async fn answers_with_two_lengths_are_no_answers() {
    let body = scene::completed("!").to_string();
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let hidden = "HTTP/1.1 299 Hidden\r\ncontent-length: 0\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for answer in [
        format!("{ok}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"),
        format!("{ok}transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{chunked}"),
        format!("{ok}content-length: {length}\r\ncontent-length: 5\r\n\r\n{body}"),
        format!("{ok}content-length: 5\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!("{ok}content-length: {length}, 5\r\n\r\n{body}"),
        format!("{ok}content-length: +{length}\r\n\r\n{body}"),
        format!("{ok}content-length: 0x{length:x}\r\n\r\n{body}"),
        format!("{ok}content-length: -1\r\n\r\n{body}"),
        format!("{ok}content-length: 99999999999999999999999\r\n\r\n{body}"),
        format!("{ok}transfer-encoding: gzip, chunked\r\n\r\n{chunked}"),
        format!("{ok}transfer-encoding: chunked, chunked\r\n\r\n{chunked}"),
        format!("{ok}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"),
        format!("{ok}transfer-encoding: identity\r\n\r\n{body}"),
        format!("{ok}transfer-encoding: xchunked\r\n\r\n{chunked}"),
        format!("{ok}transfer-encoding : chunked\r\n\r\n{chunked}"),
        format!("{ok}transfer-encoding: chunked\r\n\r\n+{chunked}"),
        format!("{ok}content-length : {length}\r\n\r\n{body}"),
        format!("{ok}x: y\r\n folded: z\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!("{ok}x: a\0b\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!("{ok}x y: z\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"),
    ] {
        let prey = saying(&format!("{answer}{hidden}"), h::Act::Close).await;
        let mut house = Plan::openai(prey.address).start().await;
        let response = ask_twice(&house).await.expect("an answer of ours");
        in_dialect(&response, 502);
        house.unharmed().await;
        house.rest().await;
    }
}

/// RFC 9110, section 8.6: the same length twice is one length, and is told once.
#[tokio::test]
async fn a_length_that_is_told_twice_is_told_on_once() {
    let body = scene::completed("!").to_string();
    let length = body.len();
    for lengths in [
        format!("{length}\r\ncontent-length: {length}"),
        format!("{length}, {length}"),
    ] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {lengths}\r\n\r\n{body}"
        );
        let prey = saying(&answer, h::Act::Hold).await;
        let mut house = Plan::openai(prey.address).start().await;
        let mut connection = http1::Connection::open(house.address()).await;
        connection.send(&scene::completion(false)).await;
        let response = connection.response().await.with_status(200);
        let told = response
            .headers
            .iter()
            .filter(|(name, _)| name == "content-length");
        assert!(
            told.map(|(_, value)| value.clone())
                .eq([response.body.len().to_string()]),
            "{response:?}"
        );
        drop(connection);
        house.unharmed().await;
        house.rest().await;
    }
}

/// Bytes behind an answer are nobody's answer: the connection is not used again.
#[tokio::test]
async fn what_stands_behind_an_answer_is_nobodys() {
    let body = scene::completed("!").to_string();
    let told = body.replace("\"served\"", "\"m\"");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let hidden = "HTTP/1.1 299 Hidden\r\ncontent-length: 0\r\n\r\n";
    let acts = vec![h::write(format!("{answer}{hidden}"))];
    let prey = h::Worker::start(move |_| acts.clone()).await;
    let mut house = Plan::openai(prey.address).start().await;
    for _ in 0..10 {
        let response = http1::ask(house.address(), &scene::completion(false)).await;
        assert_eq!(response.with_status(200).text(), told);
    }
    house.unharmed().await;
    house.rest().await;
}

/// RFC 9110, section 15.2: interim answers are skipped, however many, until the request's time is
/// over; then it ends, and the connection with it. They go to no client.
#[tokio::test]
async fn floods_of_interim_answers_end_with_the_request() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
    ] {
        // Gigabytes: more than anybody reads in the time that the request has.
        let flood = h::write(interim.repeat(2000));
        let prey = h::Worker::start(move |_| vec![flood.clone(); 200_000]).await;
        let mut house = Plan::openai(prey.address)
            .limits("{ timeout: 2s }")
            .start()
            .await;
        let mut connection = http1::Connection::open(house.address()).await;
        connection.send(&scene::completion(false)).await;
        house.unharmed().await;
        let response = connection.response().await;
        assert!([502, 504].contains(&response.status), "{response:?}");
        in_dialect(&response, response.status);
        prey.journal.gone(0).await;
        drop(connection);
        house.unharmed().await;
        house.rest().await;
    }
}

/// Heads without end, and what is no answer to HTTP/1.1: HTTP/0.9, a switch that nobody asked for
/// (RFC 9110, section 15.2.2), another version, a status that is none.
#[tokio::test]
async fn heads_that_are_none_are_no_answers() {
    for (what, answer) in [
        ("HTTP/0.9", "<html>hello</html>\r\n\r\n".to_owned()),
        ("nothing but a body", "{\"choices\": []}\r\n\r\n".to_owned()),
        (
            "HTTP/2",
            "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            "a status of two digits",
            "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            "a status of four digits",
            "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            "a status of letters",
            "HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ),
        (
            "a switch",
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
                .to_owned(),
        ),
        (
            "a head without end",
            format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(50_000)),
        ),
        (
            "a field without end",
            format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(1 << 20)),
        ),
        (
            "a line without end",
            format!("HTTP/1.1 200 {}", "O".repeat(1 << 20)),
        ),
    ] {
        let prey = saying(&answer, h::Act::Close).await;
        let mut house = Plan::openai(prey.address).start().await;
        let response = ask_twice(&house).await.expect("an answer of ours");
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!(response.status, 502, "{what}: {text}");
        in_dialect(&response, 502);
        house.unharmed().await;
        house.rest().await;
    }
}

/// Bodies that do not keep to their length: the client sees that they broke off, and never a whole
/// answer made of half of one.
#[tokio::test]
async fn bodies_that_break_their_promise_are_not_made_whole() {
    let body = scene::completed("!").to_string();
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for (what, answer) in [
        (
            "less than told",
            format!("{ok}content-length: {}\r\n\r\n{body}", body.len() + 9),
        ),
        (
            "a chunk cut off",
            format!(
                "{ok}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}",
                body.len() + 9
            ),
        ),
        (
            "no last chunk",
            format!(
                "{ok}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
                body.len()
            ),
        ),
        (
            "a size that is none",
            format!(
                "{ok}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\nzz\r\n",
                body.len()
            ),
        ),
        (
            "trailers without end",
            format!(
                "{ok}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n{}",
                body.len(),
                "x: y\r\n".repeat(100_000)
            ),
        ),
    ] {
        let prey = saying(&answer, h::Act::Close).await;
        let mut house = Plan::openai(prey.address).start().await;
        for version in [1, 2] {
            let response = match version {
                1 => http1::ask(house.address(), &scene::completion(false)).await,
                _ => {
                    let mut connection =
                        tollgate_tests::client::http2::Connection::open(house.address()).await;
                    connection.ask(&scene::completion(false)).await
                }
            };
            assert!(
                response.end == End::Cut || response.status == 502,
                "{what}: {response:?}"
            );
        }
        house.unharmed().await;
        house.rest().await;
    }
}

/// RFC 9110, section 6.5.1: trailers of a worker's answer are no headers of ours, and none of them
/// says anything about a connection.
#[tokio::test]
async fn trailers_of_an_answer_say_nothing_about_the_connection() {
    let body = scene::completed("!").to_string();
    let told = body.replace("\"served\"", "\"m\"");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\
         trailer: content-length, x-sum\r\n\r\n{:x}\r\n{body}\r\n0\r\ncontent-length: 3\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\nset-cookie: a=b\r\nx-sum: 1\r\n\r\n",
        body.len()
    );
    let acts = vec![h::write(answer)];
    let prey = h::Worker::start(move |_| acts.clone()).await;
    let mut house = Plan::openai(prey.address).start().await;
    let mut raw = Raw::open(house.address(), &[]).await;
    for number in 0..3u32 {
        let stream = number * 2 + 1;
        raw.write([post(stream, &[]), last(stream, BODY)].concat())
            .await;
        assert_eq!(raw.outcome(stream).await, Outcome::Status(200));
        let response = http1::ask(house.address(), &scene::completion(false)).await;
        assert_eq!(response.header("set-cookie"), None);
        assert_eq!(response.with_status(200).text(), told);
    }
    house.unharmed().await;
    drop(raw);
    house.rest().await;
}

/// A worker that speaks HTTP/2, frame by frame: it says hello, waits for the first request, and
/// says these bytes again and again, so often.
async fn framed(bytes: Vec<u8>, times: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let Ok((mut socket, _)) = listener.accept().await else {
                return;
            };
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                let _ = socket.write_all(&settings(&[])).await;
                // The preface, SETTINGS, and HEADERS of the first request.
                while !headers_came(&seen) {
                    if !socket.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
                        return;
                    }
                }
                let (mut reader, mut writer) = socket.split();
                let write = async {
                    for _ in 0..times {
                        if writer.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                    std::future::pending::<()>().await;
                };
                let read = async {
                    let mut sink = vec![0; 64 << 10];
                    while reader.read(&mut sink).await.is_ok_and(|read| read > 0) {}
                };
                tokio::select! { () = write => {}, () = read => {} }
            });
        }
    });
    address
}

fn headers_came(seen: &[u8]) -> bool {
    let mut rest = seen.get(24..).unwrap_or_default();
    while let [a, b, c, kind, tail @ ..] = rest {
        if *kind == HEADERS {
            return true;
        }
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(next) = tail.get(5 + length..) else {
            return false;
        };
        rest = next;
    }
    false
}

/// RFC 9113, from the worker's side: frames out of place, heads that are none, floods that want an
/// answer or say nothing. The call ends with a status of gRPC within its time; everybody else goes
/// on.
#[tokio::test]
async fn frames_of_a_worker_harm_only_its_own_calls() {
    use tollgate_tests::client::grpc;
    let ok = [(":status", "200"), ("content-type", "application/grpc")];
    let head = |fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS, 1, block(fields));
    let bomb = {
        let mut literal = block(&[("b", "y".repeat(3900))]);
        literal[0] = 0x40;
        let mut bomb = block(&ok);
        bomb.extend_from_slice(&literal);
        bomb.extend_from_slice(&[0x80 | 62; 12_000]);
        frame(HEADERS, END_HEADERS, 1, bomb)
    };
    let cases: Vec<(&str, Vec<u8>, usize)> = vec![
        (
            "no status",
            head(&[("content-type", "application/grpc")]),
            1,
        ),
        (
            "two statuses",
            head(&[(":status", "200"), (":status", "200")]),
            1,
        ),
        (
            "a pseudo-header field of requests",
            head(&[(":status", "200"), (":path", "/")]),
            1,
        ),
        ("a status that is none", head(&[(":status", "20x")]), 1),
        ("an upper-case name", head(&[ok[0], ok[1], ("X", "y")]), 1),
        (
            "transfer-encoding",
            head(&[ok[0], ok[1], ("transfer-encoding", "chunked")]),
            1,
        ),
        (
            "line ends in a value",
            head(&[ok[0], ok[1], ("x", "y\r\nz: a")]),
            1,
        ),
        ("DATA before the head", frame(DATA, 0, 1, "x"), 1),
        ("a bomb", bomb, 1),
        (
            "CONTINUATION without end",
            [
                frame(HEADERS, 0, 1, block(&ok)),
                frame(CONTINUATION, 0, 1, "").repeat(5000),
            ]
            .concat(),
            1,
        ),
        (
            "a push",
            frame(
                PUSH_PROMISE,
                END_HEADERS,
                1,
                [&[0, 0, 0, 2][..], &block(&ok)].concat(),
            ),
            1,
        ),
        (
            "a head on an even stream",
            frame(HEADERS, END_HEADERS, 2, block(&ok)),
            1,
        ),
        (
            "a reset without a cause",
            frame(RST_STREAM, 0, 1, [0; 4]),
            1,
        ),
        (
            "a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, [0x7f, 0xff, 0xff, 0xff]),
            2,
        ),
        (
            "GOAWAY below everything",
            frame(GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, 11]),
            1,
        ),
        ("no streams allowed", settings(&[(3, 0)]), 1),
        (
            "PING without end",
            frame(PING, 0, 0, [0; 8]).repeat(1000),
            2000,
        ),
        (
            "SETTINGS without end",
            settings(&[(4, 70_000)]).repeat(1000),
            2000,
        ),
        (
            "interim heads without end",
            head(&[(":status", "103"), ("link", "</x>")]).repeat(500),
            2000,
        ),
        (
            "empty DATA without end",
            [head(&ok), frame(DATA, 0, 1, "").repeat(1000)].concat(),
            2000,
        ),
        ("noise", vec![0x5a; 4096], 10),
    ];
    for (what, bytes, times) in cases {
        let address = framed(bytes, times).await;
        let mut house = Plan::tgis(address).limits("{ timeout: 2s }").start().await;
        let (answers, status) = {
            let ask = async {
                let mut connection =
                    tollgate_tests::client::http2::Connection::open(house.address()).await;
                let mut call = grpc::Call::begin(&mut connection, &scene::tgis("Generate")).await;
                call.send(&scene::batch("m", &["x"]), true).await;
                call.all::<tollgate_tests::fmaas::BatchedGenerationResponse>()
                    .await
            };
            within(what, ask).await
        };
        assert!(answers.is_empty(), "{what}");
        assert!([2, 4, 13, 14].contains(&status.code), "{what}: {status:?}");
        house.unharmed().await;
        house.rest().await;
    }
}
