//! A client that goes away, wherever its request is: the place in the queue is free again, or the
//! worker sees the reset, at once and not when the answer would have been complete.
//!
//! Each case is played for HTTP/1.1 and HTTP/2 clients, and for a worker that speaks the client's
//! protocol (passed) and one that does not (translated).

use serde_json::Value;
use tollgate_tests::{
    Proxy,
    client::{
        Request,
        grpc::Call,
        http1,
        http2::{self, Next},
    },
    eventually,
    fake::{Journal, Seen, grpc as g, http1 as h},
    fmaas, scene,
};

/// A client that has asked, and can go away.
enum Client {
    Http1(http1::Connection),
    Http2(http2::Connection, http2::Open),
    Grpc(http2::Connection, Box<Call>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Http1,
    Http2,
    Grpc,
}

const KINDS: [Kind; 3] = [Kind::Http1, Kind::Http2, Kind::Grpc];

impl Client {
    /// Asks for a stream.
    async fn ask(kind: Kind, proxy: &Proxy) -> Self {
        let request = scene::completion(true);
        match kind {
            Kind::Http1 => {
                let mut connection = http1::Connection::open(proxy.http()).await;
                connection.send(&request).await;
                Self::Http1(connection)
            }
            Kind::Http2 => {
                let mut connection = http2::Connection::open(proxy.http()).await;
                let open = connection.send(&request).await;
                Self::Http2(connection, open)
            }
            Kind::Grpc => {
                let mut connection = http2::Connection::open(proxy.http()).await;
                let mut call = Call::begin(&mut connection, &scene::tgis("GenerateStream")).await;
                call.send(&scene::single("m", "Hello"), true).await;
                Self::Grpc(connection, Box::new(call))
            }
        }
    }

    /// Reads until this text has come.
    async fn until(&mut self, text: &str) {
        let mut all = String::new();
        match self {
            Self::Http1(connection) => {
                assert_eq!(http1::status_of(&connection.head().await), 200);
                while !all.contains(text) {
                    let piece = connection.piece().await.expect("the stream goes on");
                    all.push_str(&String::from_utf8_lossy(&piece));
                }
            }
            Self::Http2(_, open) => {
                assert_eq!(open.head().await.expect("it begins").0, 200);
                while !all.contains(text) {
                    match open.next().await {
                        Next::Data(data) => all.push_str(&String::from_utf8_lossy(&data)),
                        other => panic!("the stream goes on: {other:?}"),
                    }
                }
            }
            Self::Grpc(_, call) => {
                while !all.contains(text) {
                    let message: fmaas::GenerationResponse =
                        call.message().await.expect("the stream goes on");
                    all.push_str(&message.text);
                }
            }
        }
    }

    /// Goes: HTTP/1.1 by closing, HTTP/2 by resetting the stream, the connection staying open.
    fn go(self) -> Option<http2::Connection> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(connection, open) => {
                open.reset();
                Some(connection)
            }
            Self::Grpc(connection, call) => {
                call.reset();
                Some(connection)
            }
        }
    }
}

/// Both fake workers that hold where they are told to.
enum Worker {
    OpenAi(h::Worker),
    Tgis(g::Worker),
}

#[derive(Clone, Copy, PartialEq)]
enum Where {
    BeforeTheHead,
    BeforeTheFirstToken,
    MidStream,
}

impl Worker {
    async fn openai(place: Where) -> Self {
        let acts = match place {
            Where::BeforeTheHead => vec![h::Act::Hold],
            Where::BeforeTheFirstToken => vec![h::stream_head(), h::Act::Hold],
            Where::MidStream => vec![
                h::stream_head(),
                h::event(&scene::chunk("one ", None, 1)),
                h::event(&scene::chunk("two ", None, 2)),
                h::Act::Hold,
            ],
        };
        Self::OpenAi(h::Worker::start(move |_| acts.clone()).await)
    }

    async fn tgis(place: Where) -> Self {
        let acts = match place {
            Where::BeforeTheHead => vec![g::Act::Hold],
            Where::BeforeTheFirstToken => {
                vec![g::Act::Head, g::send(&scene::first()), g::Act::Hold]
            }
            Where::MidStream => vec![
                g::Act::Head,
                g::send(&scene::first()),
                g::send(&scene::piece("one ", 1, false)),
                g::send(&scene::piece("two ", 2, false)),
                g::Act::Hold,
            ],
        };
        Self::Tgis(g::Worker::start(move |_| acts.clone()).await)
    }

    fn config(&self, extra: &str) -> String {
        match self {
            Self::OpenAi(worker) => scene::one("openai", worker.address, extra, ""),
            Self::Tgis(worker) => scene::one("tgis", worker.address, extra, ""),
        }
    }

    fn journal(&self) -> &Journal {
        match self {
            Self::OpenAi(worker) => &worker.journal,
            Self::Tgis(worker) => &worker.journal,
        }
    }
}

async fn route(proxy: &Proxy) -> Value {
    proxy.status().await["routes"][0].clone()
}

/// Waits until nothing of any request is left in the proxy.
async fn empty(proxy: &Proxy) {
    eventually("nothing is left", async || {
        let status = proxy.status().await;
        let plugins = status["plugins"].as_array()?;
        let free = plugins.iter().all(|plugin| plugin["exchanges"] == 0);
        let route = &status["routes"][0];
        (free && route["running"] == 0 && route["queued"] == 0).then_some(())
    })
    .await;
}

async fn goes_from(worker: Worker, kind: Kind, place: Where) {
    let proxy = Proxy::start(&worker.config("")).await;
    let mut client = Client::ask(kind, &proxy).await;
    worker.journal().holding(0).await;
    if place == Where::MidStream {
        client.until("two").await;
    }
    assert!(
        !worker
            .journal()
            .entries()
            .iter()
            .any(|entry| matches!(entry.seen, Seen::Gone(_))),
        "nobody has gone yet"
    );
    let connection = client.go();
    let how = worker.journal().gone(0).await;
    match &worker {
        // Bytes that the proxy has not read make the difference.
        Worker::OpenAi(_) => assert!(how == "closed" || how.contains("reset"), "{how}"),
        Worker::Tgis(_) => assert!(how.contains("no longer needed"), "CANCEL, not {how}"),
    }
    assert_eq!(worker.journal().requests(), 1, "it is not asked again");
    empty(&proxy).await;
    let line = proxy
        .logged(|line| line.contains(r#""target":"access""#))
        .await;
    assert!(line.contains(r#""outcome":"client-gone""#), "{line}");
    // Only the stream has gone, where there are streams.
    if let Some(mut connection) = connection {
        connection
            .ask(&Request::get("/v1/models"))
            .await
            .with_status(200);
    }
}

#[tokio::test]
async fn before_the_worker_has_answered() {
    for kind in KINDS {
        goes_from(
            Worker::openai(Where::BeforeTheHead).await,
            kind,
            Where::BeforeTheHead,
        )
        .await;
        goes_from(
            Worker::tgis(Where::BeforeTheHead).await,
            kind,
            Where::BeforeTheHead,
        )
        .await;
    }
}

#[tokio::test]
async fn before_the_first_token() {
    for kind in KINDS {
        let place = Where::BeforeTheFirstToken;
        goes_from(Worker::openai(place).await, kind, place).await;
        goes_from(Worker::tgis(place).await, kind, place).await;
    }
}

#[tokio::test]
async fn mid_stream() {
    for kind in KINDS {
        goes_from(
            Worker::openai(Where::MidStream).await,
            kind,
            Where::MidStream,
        )
        .await;
        goes_from(Worker::tgis(Where::MidStream).await, kind, Where::MidStream).await;
    }
}

#[tokio::test]
async fn while_it_waits_in_the_queue() {
    for kind in KINDS {
        for worker in [
            Worker::openai(Where::MidStream).await,
            Worker::tgis(Where::MidStream).await,
        ] {
            let proxy = Proxy::start(&worker.config(", slots: 1")).await;
            let mut first = Client::ask(Kind::Http1, &proxy).await;
            worker.journal().holding(0).await;
            first.until("two").await;
            let second = Client::ask(kind, &proxy).await;
            eventually("the second waits", async || {
                (route(&proxy).await["queued"] == 1).then_some(())
            })
            .await;
            let third = Client::ask(kind, &proxy).await;
            eventually("the third, too", async || {
                (route(&proxy).await["queued"] == 2).then_some(())
            })
            .await;
            drop(second.go());
            eventually("one has left the queue", async || {
                (route(&proxy).await["queued"] == 1).then_some(())
            })
            .await;
            assert_eq!(
                worker.journal().requests(),
                1,
                "and never got to the worker"
            );
            // Its place was not given to nobody: the third goes next, when the first has gone.
            drop(first.go());
            worker.journal().holding(1).await;
            drop(third.go());
            worker.journal().gone(1).await;
            empty(&proxy).await;
            assert_eq!(worker.journal().requests(), 2);
        }
    }
}

#[tokio::test]
async fn one_of_many_on_a_shared_connection() {
    let worker = g::Worker::start(|_| {
        vec![
            g::Act::Head,
            g::send(&scene::first()),
            g::send(&scene::piece("one ", 1, false)),
            g::Act::Hold,
            g::send(&scene::piece("end", 2, true)),
            g::Act::Status(0, ""),
        ]
    })
    .await;
    let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = Client::ask(Kind::Grpc, &proxy).await;
        client.until("one").await;
        worker.journal.holding(number).await;
        clients.push(client);
    }
    drop(clients.remove(1).go());
    worker.journal.gone(1).await;
    worker.release();
    worker.release();
    for mut client in clients {
        client.until("end").await;
    }
    let entries = worker.journal.entries();
    let gone = entries
        .iter()
        .filter(|entry| matches!(entry.seen, Seen::Gone(_)));
    assert_eq!(gone.count(), 1, "the others are served to their ends");
    let accepted = entries.iter().filter(|entry| entry.seen == Seen::Accepted);
    assert_eq!(accepted.count(), 1, "all on one connection");
}

#[tokio::test]
async fn a_unary_request_too() {
    let worker = h::Worker::start(|_| vec![h::Act::Hold]).await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    for (number, passed) in [(0, true), (1, false)] {
        if passed {
            let mut client = http1::Connection::open(proxy.http()).await;
            client.send(&scene::completion(false)).await;
            worker.journal.holding(number).await;
            drop(client);
        } else {
            let mut connection = http2::Connection::open(proxy.http()).await;
            let mut call = Call::begin(&mut connection, &scene::tgis("Generate")).await;
            call.send(&scene::batch("m", &["Hello"]), true).await;
            worker.journal.holding(number).await;
            // The whole connection this time.
            drop(call);
            drop(connection);
        }
        worker.journal.gone(number).await;
    }
    empty(&proxy).await;
}

#[tokio::test]
async fn a_batch_that_is_made_of_many_requests() {
    // Generate with three texts may be three requests for a worker of another protocol, or one.
    let worker = h::Worker::start(|_| vec![h::Act::Hold]).await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &scene::tgis("Generate")).await;
    call.send(&scene::batch("m", &["a", "b", "c"]), true).await;
    worker.journal.holding(0).await;
    call.reset();
    worker.journal.gone(0).await;
    empty(&proxy).await;
    let entries = worker.journal.entries();
    let begun = worker.journal.requests();
    let gone = entries
        .iter()
        .filter(|entry| matches!(entry.seen, Seen::Gone(_)))
        .count();
    assert_eq!(begun, gone, "{entries:#?}");
}

#[tokio::test]
async fn with_an_embedded_model() {
    let proxy = Proxy::start(&scene::embedded().replace("slots: 4", "slots: 1")).await;
    let body = serde_json::json!({
        "model": "tollgate-ngram", "prompt": "The", "max_tokens": 4000, "stream": true, "ignore_eos": true,
        "temperature": 1.0
    });
    for _ in 0..3 {
        let mut client = http1::Connection::open(proxy.http()).await;
        client.send(&Request::post("/v1/completions", &body)).await;
        client.head().await;
        client.piece().await.expect("it begins");
        drop(client);
    }
    empty(&proxy).await;
    let request = Request::post(
        "/v1/completions",
        &serde_json::json!({"model": "tollgate-ngram", "prompt": "The", "max_tokens": 2}),
    );
    http1::ask(proxy.http(), &request).await.with_status(200);
}
