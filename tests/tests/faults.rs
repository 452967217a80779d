//! Workers that break, and a proxy that ends: what clients are told. Never an answer that was not
//! given: what breaks off is an error in the client's dialect.

use std::net::{Ipv4Addr, SocketAddr};

use h2::Reason;
use serde_json::{Value, json};
use tollgate_tests::{
    Proxy,
    client::{
        End, Response,
        grpc::{self, Call, Status},
        http1,
        http2::{self, Next},
        sse,
    },
    fake::{Seen, grpc as g, http1 as h},
    fmaas, scene,
};

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    listener.local_addr().unwrap()
}

const NO_RETRY: &str = "    retry: { attempts: 1 }\n";

async fn openai_stream(proxy: &Proxy) -> Response {
    http1::ask(proxy.http(), &scene::completion(true)).await
}

async fn tgis_stream(proxy: &Proxy) -> (String, Option<i32>, Status) {
    let (pieces, status) = grpc::ask::<fmaas::GenerationResponse>(
        proxy.http(),
        &scene::tgis("GenerateStream"),
        &scene::single("m", "Hello"),
    )
    .await;
    let text = pieces.iter().map(|piece| piece.text.as_str()).collect();
    let stopped = pieces
        .iter()
        .map(|piece| piece.stop_reason)
        .find(|reason| *reason != 0);
    (text, stopped, status)
}

async fn tgis_whole(proxy: &Proxy) -> (Option<String>, Status) {
    let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &scene::tgis("Generate"),
        &scene::batch("m", &["Hello"]),
    )
    .await;
    let text = answers
        .first()
        .map(|answer| answer.responses[0].text.clone());
    (text, status)
}

/// A stream that has begun and then failed: what came before, no reason why it would have stopped,
/// no terminator; the error as an event, or the connection broken off.
fn broke_off(response: &Response, before: &str) {
    assert_eq!(response.status, 200);
    let body = String::from_utf8_lossy(&response.body).into_owned();
    let (events, done) = sse::json(&body);
    assert!(
        !done || events.iter().any(|event| event["error"].is_object()),
        "{body}"
    );
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, before, "{body}");
    assert!(
        events
            .iter()
            .all(|event| event["choices"][0]["finish_reason"].is_null()),
        "an end was made up: {body}"
    );
    let told = events
        .iter()
        .any(|event| event["error"]["message"].is_string());
    assert!(
        told || response.end == End::Cut,
        "the client cannot know: {body}"
    );
}

/// The error of a response that had not begun.
fn refused(response: &Response, status: u16) -> Value {
    let body = String::from_utf8_lossy(&response.body).into_owned();
    assert_eq!(response.status, status, "{body}");
    let body = response.json();
    assert_eq!(body["error"]["code"], status, "{body}");
    body["error"].clone()
}

// === streams that break ===

fn half_a_stream(then: Vec<h::Act>) -> Vec<h::Act> {
    let mut acts = vec![
        h::stream_head(),
        h::event(&scene::chunk("one ", None, 1)),
        h::event(&scene::chunk("two", None, 2)),
    ];
    acts.extend(then);
    acts
}

fn ways_to_break() -> Vec<(&'static str, Vec<h::Act>)> {
    vec![
        ("closed", vec![h::Act::Close]),
        ("reset", vec![h::Act::Reset]),
        (
            "closed in a chunk",
            vec![h::write("40\r\ndata: {\"id\""), h::Act::Close],
        ),
        ("no chunk", vec![h::write("zz\r\n\r\n")]),
        ("ended without a terminator", vec![h::stream_end()]),
        (
            "no JSON",
            vec![h::event("{\"id\": "), h::event("[DONE]"), h::stream_end()],
        ),
        (
            "an error of its own",
            vec![
                h::event(
                    "{\"error\": {\"message\": \"CUDA\", \"type\": \"InternalServerError\", \"param\": null, \"code\": 500}}",
                ),
                h::event("[DONE]"),
                h::stream_end(),
            ],
        ),
    ]
}

#[tokio::test]
async fn an_openai_worker_breaks_a_stream_that_is_passed() {
    for (what, then) in ways_to_break() {
        let worker = h::Worker::start(move |_| half_a_stream(then.clone())).await;
        let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
        let response = openai_stream(&proxy).await;
        println!("{what}");
        if what == "no JSON" {
            // Passed is passed: what the worker says goes through.
            assert!(
                !String::from_utf8_lossy(&response.body).contains("\"finish_reason\":\"length\"")
            );
            continue;
        }
        broke_off(&response, "one two");
        assert_eq!(
            worker.journal.requests(),
            1,
            "{what}: what has begun is not begun again"
        );
    }
}

#[tokio::test]
async fn an_openai_worker_breaks_a_stream_that_is_translated() {
    for (what, then) in ways_to_break() {
        let worker = h::Worker::start(move |_| half_a_stream(then.clone())).await;
        let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
        let (text, stopped, status) = tgis_stream(&proxy).await;
        assert_eq!(text, "one two", "{what}");
        assert_eq!(stopped, None, "{what}: an end was made up");
        assert!([13, 14].contains(&status.code), "{what}: {status:?}");
        assert!(status.message.len() > 3, "{what}: {status:?}");
        assert_eq!(worker.journal.requests(), 1, "{what}");
    }
}

fn half_of_tgis(then: &[g::Act]) -> Vec<g::Act> {
    let mut acts = vec![
        g::Act::Head,
        g::send(&scene::first()),
        g::send(&scene::piece("one ", 1, false)),
        g::send(&scene::piece("two", 2, false)),
        // The pieces have left before what follows: a reset would overtake them.
        g::Act::Hold,
    ];
    acts.extend_from_slice(then);
    acts
}

fn ways_to_break_tgis() -> Vec<(&'static str, Vec<g::Act>)> {
    vec![
        ("reset", vec![g::Act::Reset(Reason::INTERNAL_ERROR)]),
        ("closed", vec![g::Act::Close]),
        ("GOAWAY", vec![g::Act::GoAway]),
        ("a status", vec![g::Act::Status(13, "out of memory")]),
        ("a good status, but no end", vec![g::Act::Status(0, "")]),
        (
            "no message",
            vec![
                g::Act::Write(grpc::framed(b"\xff\xff\xff")),
                g::Act::Status(0, ""),
            ],
        ),
    ]
}

#[tokio::test]
async fn a_tgis_worker_breaks_a_stream_that_is_translated() {
    for (what, then) in ways_to_break_tgis() {
        let worker = g::Worker::start(move |_| half_of_tgis(&then)).await;
        let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
        let mut client = http1::Connection::open(proxy.http()).await;
        client.send(&scene::completion(true)).await;
        let head = client.head().await;
        let mut body = Vec::new();
        let mut released = false;
        let end = loop {
            if !released && String::from_utf8_lossy(&body).contains("two") {
                released = true;
                worker.release();
            }
            match client.piece().await {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(end) => break end,
            }
        };
        println!("{what}");
        let response = Response {
            status: http1::status_of(&head),
            headers: head.headers,
            body: body.into(),
            end,
        };
        broke_off(&response, "one two");
        assert_eq!(worker.journal.requests(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_tgis_worker_breaks_a_stream_that_is_passed() {
    for (what, then) in ways_to_break_tgis() {
        if what == "no message" || what == "a good status, but no end" {
            // Passed is passed.
            continue;
        }
        let worker = g::Worker::start(move |_| half_of_tgis(&then)).await;
        let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
        let mut connection = http2::Connection::open(proxy.http()).await;
        let mut call = Call::begin(&mut connection, &scene::tgis("GenerateStream")).await;
        call.send(&scene::single("m", "Hello"), true).await;
        for _ in 0..3 {
            let piece: fmaas::GenerationResponse = call.message().await.unwrap();
            assert_eq!(piece.stop_reason, 0);
        }
        worker.release();
        let (rest, status) = call.all::<fmaas::GenerationResponse>().await;
        assert!(rest.is_empty(), "{what}: {rest:?}");
        assert!([13, 14].contains(&status.code), "{what}: {status:?}");
        if what == "a status" {
            assert_eq!(status.message, "out of memory");
        }
    }
}

// === answers that break before the client has seen any ===

#[tokio::test]
async fn answers_that_are_none() {
    let body = scene::completed(" there").to_string();
    let short = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        body.len() + 10,
        body
    );
    let cases: Vec<(&str, Vec<h::Act>)> = vec![
        ("closed at once", vec![h::Act::Close]),
        ("reset at once", vec![h::Act::Reset]),
        (
            "not HTTP",
            vec![h::write("SSH-2.0-OpenSSH_9.2\r\n\r\n"), h::Act::Close],
        ),
        (
            "half a head",
            vec![h::write("HTTP/1.1 200 OK\r\ncontent-"), h::Act::Close],
        ),
        ("a body cut short", vec![h::write(short), h::Act::Close]),
        (
            "not JSON",
            vec![h::answer(200, "application/json", "<html>")],
        ),
        (
            "another's JSON",
            vec![h::json(200, &json!({"hello": "there"}))],
        ),
    ];
    for (what, acts) in cases {
        let worker = h::Worker::start(move |_| acts.clone()).await;
        let proxy = Proxy::start(&scene::one("openai", worker.address, "", NO_RETRY)).await;
        let (text, status) = tgis_whole(&proxy).await;
        assert_eq!(text, None, "{what}");
        assert!([13, 14].contains(&status.code), "{what}: {status:?}");
        assert!(status.message.len() > 3, "{what}: {status:?}");
        if !what.contains("JSON") {
            let response = http1::ask(proxy.http(), &scene::completion(false)).await;
            if what == "a body cut short" && response.status == 200 {
                // It was passed as it came, and broke off as it did.
                assert_eq!(response.end, End::Cut, "{what}");
            } else {
                refused(&response, 502);
            }
        }
    }
}

#[tokio::test]
async fn nobody_is_there() {
    for (protocol, address) in [("openai", nobody().await), ("tgis", nobody().await)] {
        let proxy = Proxy::start(&scene::one(protocol, address, "", NO_RETRY)).await;
        let response = http1::ask(proxy.http(), &scene::completion(false)).await;
        let error = refused(&response, 502);
        assert_eq!(error["type"], "Bad Gateway");
        let (_, _, status) = tgis_stream(&proxy).await;
        assert_eq!(status.code, 14, "{status:?}");
    }
}

#[tokio::test]
async fn errors_of_the_worker_keep_their_meaning() {
    let error = json!({"error": {"message": "the model is asleep", "type": "Whatever", "param": null, "code": 503}});
    for (status, code) in [
        (400, 3),
        (401, 13),
        (404, 5),
        (429, 8),
        (503, 14),
        (500, 13),
    ] {
        let mut body = error.clone();
        body["error"]["code"] = status.into();
        let worker = h::Worker::start(move |_| vec![h::json(status, &body)]).await;
        let proxy = Proxy::start(&scene::one("openai", worker.address, "", NO_RETRY)).await;
        let response = http1::ask(proxy.http(), &scene::completion(false)).await;
        // Passed: the worker's own words.
        assert_eq!(response.status, status);
        assert_eq!(response.json()["error"]["message"], "the model is asleep");
        let (text, told) = tgis_whole(&proxy).await;
        assert_eq!(text, None);
        assert_ne!(told.code, 0, "{status}");
        if status != 401 {
            assert_eq!(told.code, code, "{status}: {told:?}");
            assert!(told.message.contains("asleep"), "{status}: {told:?}");
        }
    }
}

#[tokio::test]
async fn statuses_of_a_grpc_worker_keep_their_meaning() {
    // RESOURCE_EXHAUSTED is how TGIS says that its queue is full.
    for (code, status) in [(3, 400), (5, 404), (8, 503), (14, 503), (13, 500), (4, 504)] {
        let worker =
            g::Worker::start(move |_| vec![g::Act::Status(code, "the model is asleep")]).await;
        let proxy = Proxy::start(&scene::one("tgis", worker.address, "", NO_RETRY)).await;
        let response = http1::ask(proxy.http(), &scene::completion(false)).await;
        let error = refused(&response, status);
        assert!(
            error["message"].as_str().unwrap().contains("asleep"),
            "{error}"
        );
        let (_, told) = tgis_whole(&proxy).await;
        assert_eq!(
            (told.code, told.message.as_str()),
            (code, "the model is asleep")
        );
    }
}

// === another worker ===

async fn good() -> h::Worker {
    h::Worker::start(|_| vec![h::json(200, &scene::completed(" there"))]).await
}

#[tokio::test]
async fn another_worker_is_asked_when_nothing_was_sent() {
    let bad: Vec<(&str, Vec<h::Act>)> = vec![
        ("closed at once", vec![h::Act::Close]),
        ("reset at once", vec![h::Act::Reset]),
    ];
    for (what, acts) in bad {
        let bad = h::Worker::start(move |_| acts.clone()).await;
        let good = good().await;
        let workers = [
            scene::worker("w0", "openai", bad.address, ""),
            scene::worker("w1", "openai", good.address, ""),
        ];
        let proxy = Proxy::start(&scene::workers(&workers, "")).await;
        for number in 0..4 {
            let response = http1::ask(proxy.http(), &scene::completion(false)).await;
            assert_eq!(response.status, 200, "{what}, {number}: {response:?}");
            assert_eq!(response.json()["choices"][0]["text"], " there");
            let (text, status) = tgis_whole(&proxy).await;
            assert_eq!(
                (text.as_deref(), status.code),
                (Some(" there"), 0),
                "{what}: {status:?}"
            );
        }
        assert!(bad.journal.requests() >= 1, "{what}: it was tried");
        assert_eq!(good.journal.requests(), 8);
    }
}

#[tokio::test]
async fn a_dead_worker_is_no_obstacle() {
    let good = good().await;
    let workers = [
        scene::worker("w0", "openai", nobody().await, ""),
        scene::worker("w1", "openai", good.address, ""),
    ];
    let proxy = Proxy::start(&scene::workers(&workers, "")).await;
    for _ in 0..6 {
        http1::ask(proxy.http(), &scene::completion(false))
            .await
            .with_status(200);
    }
    assert_eq!(good.journal.requests(), 6);
}

#[tokio::test]
async fn another_worker_may_speak_another_protocol() {
    let good = g::Worker::start(|_| g::answer(&scene::generated(&[" there"]))).await;
    let workers = [
        scene::worker("w0", "openai", nobody().await, ""),
        scene::worker("w1", "tgis", good.address, ""),
    ];
    let proxy = Proxy::start(&scene::workers(&workers, "")).await;
    for _ in 0..4 {
        let response = http1::ask(proxy.http(), &scene::completion(false)).await;
        assert_eq!(
            response.with_status(200).json()["choices"][0]["text"],
            " there"
        );
    }
    assert_eq!(good.journal.requests(), 4);
}

#[tokio::test]
async fn nobody_else_is_asked_once_something_was_sent() {
    let bad = h::Worker::start(|_| half_a_stream(vec![h::Act::Close])).await;
    let other = h::Worker::start(|_| half_a_stream(vec![h::Act::Close])).await;
    let workers = [
        scene::worker("w0", "openai", bad.address, ""),
        scene::worker("w1", "openai", other.address, ""),
    ];
    let proxy = Proxy::start(&scene::workers(&workers, "")).await;
    broke_off(&openai_stream(&proxy).await, "one two");
    assert_eq!(bad.journal.requests() + other.journal.requests(), 1);
    let (text, stopped, status) = tgis_stream(&proxy).await;
    assert_eq!((text.as_str(), stopped), ("one two", None));
    assert_ne!(status.code, 0);
    assert_eq!(bad.journal.requests() + other.journal.requests(), 2);
}

#[tokio::test]
async fn no_more_workers_are_asked_than_the_route_says() {
    let close = || h::Worker::start(|_| vec![h::Act::Close]);
    let workers = [close().await, close().await, close().await];
    let lines: Vec<_> = workers
        .iter()
        .enumerate()
        .map(|(at, worker)| scene::worker(&format!("w{at}"), "openai", worker.address, ""))
        .collect();
    let proxy = Proxy::start(&scene::workers(&lines, "    retry: { attempts: 2 }\n")).await;
    let response = http1::ask(proxy.http(), &scene::completion(false)).await;
    refused(&response, 502);
    let asked: usize = workers.iter().map(|worker| worker.journal.requests()).sum();
    assert_eq!(asked, 2);
    let each = workers.iter().map(|worker| worker.journal.requests()).max();
    assert_eq!(each, Some(1), "another one, not the same again");
}

// === deadlines ===

#[tokio::test]
async fn the_routes_timeout_ends_a_request_and_its_upstream() {
    let limits = "    limits: { timeout: 300ms }\n";
    let openai = h::Worker::start(|_| vec![h::Act::Hold]).await;
    let proxy = Proxy::start(&scene::one("openai", openai.address, "", limits)).await;
    let response = http1::ask(proxy.http(), &scene::completion(false)).await;
    refused(&response, 504);
    openai.journal.gone(0).await;
    let (_, status) = tgis_whole(&proxy).await;
    assert_eq!(status.code, 4, "{status:?}");
    openai.journal.gone(1).await;

    let tgis = g::Worker::start(|_| vec![g::Act::Hold]).await;
    let proxy = Proxy::start(&scene::one("tgis", tgis.address, "", limits)).await;
    let response = http1::ask(proxy.http(), &scene::completion(true)).await;
    assert!(tgis.journal.gone(0).await.contains("no longer needed"));
    refused(&response, 504);
    let (_, _, status) = tgis_stream(&proxy).await;
    assert_eq!(status.code, 4, "{status:?}");
    tgis.journal.gone(1).await;
}

#[tokio::test]
async fn grpc_timeout_ends_a_request_and_travels_with_it() {
    let tgis = g::Worker::start(|_| half_of_tgis(&[])).await;
    let proxy = Proxy::start(&scene::one("tgis", tgis.address, "", "")).await;
    let request = scene::tgis("GenerateStream").header("grpc-timeout", "400m");
    let (pieces, status) = grpc::ask::<fmaas::GenerationResponse>(
        proxy.http(),
        &request,
        &scene::single("m", "Hello"),
    )
    .await;
    assert_eq!((pieces.len(), status.code), (3, 4), "{status:?}");
    assert!(tgis.journal.gone(0).await.contains("no longer needed"));
    let head = tgis.journal.head(0).await;
    let told = head.get("grpc-timeout").unwrap();
    let (number, unit) = told.split_at(told.len() - 1);
    let number: u64 = number.parse().unwrap();
    let left = match unit {
        "u" => number / 1000,
        "m" => number,
        "n" => number / 1_000_000,
        other => panic!("a unit of less than 400 ms, not {other}"),
    };
    assert!(left <= 400, "{told}");

    // And it ends the waiting in a queue.
    let slow = h::Worker::start(|_| vec![h::Act::Hold]).await;
    let proxy = Proxy::start(&scene::one("openai", slow.address, ", slots: 1", "")).await;
    let mut first = http1::Connection::open(proxy.http()).await;
    first.send(&scene::completion(false)).await;
    slow.journal.holding(0).await;
    let request = scene::tgis("Generate").header("grpc-timeout", "300m");
    let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &request,
        &scene::batch("m", &["Hello"]),
    )
    .await;
    assert_eq!(status.code, 4, "{status:?}");
    assert_eq!(slow.journal.requests(), 1);
}

// === bounds ===

#[tokio::test]
async fn what_does_not_fit_the_queue_is_refused_at_once() {
    let slow =
        h::Worker::start(|_| vec![h::Act::Hold, h::json(200, &scene::completed(" there"))]).await;
    let queue = "    queue: { requests: 1 }\n";
    let proxy = Proxy::start(&scene::one("openai", slow.address, ", slots: 1", queue)).await;
    let mut open = Vec::new();
    for waiting in 0..2 {
        let mut client = http1::Connection::open(proxy.http()).await;
        client.send(&scene::completion(false)).await;
        slow.journal.holding(0).await;
        tollgate_tests::eventually("it waits", async || {
            (proxy.status().await["routes"][0]["queued"] == waiting).then_some(())
        })
        .await;
        open.push(client);
    }
    let response = http1::ask(proxy.http(), &scene::completion(false)).await;
    assert!(response.header("retry-after").is_some());
    refused(&response, 503);
    let (_, status) = tgis_whole(&proxy).await;
    assert_eq!(status.code, 14, "{status:?}");
    slow.release();
    slow.release();
    for mut client in open {
        client.response().await.with_status(200);
    }
}

// === the end of the proxy ===

#[tokio::test]
async fn a_stream_is_finished_before_the_proxy_ends() {
    let worker = h::Worker::start(|_| {
        half_a_stream(vec![
            h::Act::Hold,
            h::event(&scene::chunk(" three", Some("stop"), 3)),
            h::event(&scene::usage_chunk(3)),
            h::event("[DONE]"),
            h::stream_end(),
        ])
    })
    .await;
    let mut proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let (address, admin) = (proxy.http(), proxy.admin());
    let mut old = http1::Connection::open(address).await;
    old.send(&scene::completion(true)).await;
    old.head().await;
    let mut new = http2::Connection::open(address).await;
    let mut stream = new.send(&scene::completion(true)).await;
    stream.head().await.unwrap();
    worker.journal.holding(1).await;

    proxy.ask_to_end();
    proxy
        .logged(|line| line.contains(r#""message":"draining""#))
        .await;
    let ready = http1::ask(admin, &tollgate_tests::client::Request::get("/readyz")).await;
    assert_eq!(ready.status, 503);
    let live = http1::ask(admin, &tollgate_tests::client::Request::get("/livez")).await;
    assert_eq!(live.status, 200);
    tollgate_tests::eventually("nobody new is let in", async || {
        tokio::net::TcpStream::connect(address)
            .await
            .is_err()
            .then_some(())
    })
    .await;

    worker.release();
    worker.release();
    let mut body = Vec::new();
    while let Ok(piece) = old.piece().await {
        body.extend_from_slice(&piece);
    }
    let mut other = Vec::new();
    loop {
        match stream.next().await {
            Next::Data(data) => other.extend_from_slice(&data),
            Next::End(_) => break,
            Next::Reset(reason) => panic!("the stream was reset: {reason:?}"),
        }
    }
    for body in [body, other] {
        let (events, done) = sse::json(&String::from_utf8(body).unwrap());
        assert!(done);
        let text: String = events
            .iter()
            .filter_map(|event| event["choices"][0]["text"].as_str())
            .collect();
        assert_eq!(text, "one two three");
    }
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.log.contains("drained"));
}

#[tokio::test]
async fn the_drain_does_not_wait_for_ever() {
    let worker = h::Worker::start(|_| half_a_stream(vec![h::Act::Hold])).await;
    let config = format!(
        "{}drain: {{ deadline: 200ms }}\n",
        scene::one("openai", worker.address, "", "")
    );
    let mut proxy = Proxy::start(&config).await;
    let mut client = http1::Connection::open(proxy.http()).await;
    client.send(&scene::completion(true)).await;
    worker.journal.holding(0).await;
    proxy.ask_to_end();
    let exit = proxy.exit().await;
    assert_eq!(exit.code, Some(0));
    client.head().await;
    let end = loop {
        if let Err(end) = client.piece().await {
            break end;
        }
    };
    assert_eq!(
        end,
        End::Cut,
        "it was not finished, and the client can tell"
    );
    worker
        .journal
        .until(0, |seen| matches!(seen, Seen::Gone(_)))
        .await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_proxy() {
    let proxy = Proxy::start(&scene::embedded()).await;
    let mut idle = http1::Connection::open(proxy.http()).await;
    idle.send(&tollgate_tests::client::Request::get("/v1/models"))
        .await;
    idle.response().await.with_status(200);
    let h2 = http2::Connection::open(proxy.http()).await;
    assert_eq!(proxy.terminate().await.code, Some(0));
    assert!(idle.closed().await);
    drop(h2);
}
