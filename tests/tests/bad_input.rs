//! Requests that are wrong, from clients that may be hostile: each gets the right status in its own
//! dialect with words that help, and the proxy goes on as if nothing had been.

use bytes::Bytes;
use flate2::{Compression, write::DeflateEncoder};
use serde_json::{Value, json};
use std::io::Write as _;
use tollgate_tests::{
    CEILING, Proxy, Setup,
    client::{
        End, Request, Response,
        grpc::{self, Call, Status},
        http1::{self, ask_raw},
        http2::{self, Next},
    },
    fake::{self, http1::json as json_answer},
    fmaas, scene, tokens,
};

const NGRAM: &str = "tollgate-ngram";
const LIMIT: usize = 64 << 10;

async fn proxy() -> Proxy {
    let limits = "    limits: { body: 64KiB, message: 64KiB }\n";
    Proxy::start(&format!("{}{limits}", scene::embedded())).await
}

fn good() -> Value {
    json!({"model": NGRAM, "prompt": "The ferry", "max_tokens": 2})
}

/// The next requests of others, of both protocols, work.
async fn still_serves(proxy: &Proxy) {
    let got = http1::ask(proxy.http(), &Request::post("/v1/completions", &good())).await;
    assert_eq!(got.with_status(200).json()["object"], "text_completion");
    let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &scene::tgis("Generate"),
        &scene::batch(NGRAM, &["The ferry"]),
    )
    .await;
    assert_eq!((status.code, answers.len()), (0, 1), "{status:?}");
}

/// The error as an OpenAI client reads it.
fn told(response: &Response, status: u16) -> Value {
    let text = String::from_utf8_lossy(&response.body);
    assert_eq!(response.status, status, "{text}");
    assert_eq!(response.end, End::Whole);
    assert_eq!(
        response.header("content-type"),
        Some("application/json"),
        "{text}"
    );
    assert!(
        response.header("x-request-id").is_some(),
        "whoever asks for help can name it"
    );
    let body = response.json();
    let error = &body["error"];
    assert_eq!(error["code"], status, "{text}");
    assert!(
        error["type"].as_str().is_some_and(|kind| !kind.is_empty()),
        "{text}"
    );
    assert!(
        error["message"].as_str().is_some_and(|text| text.len() > 3),
        "{text}"
    );
    error.clone()
}

// === REST: what is asked ===

#[tokio::test]
async fn bodies_that_say_nothing_sensible() {
    let proxy = proxy().await;
    let deep = "[".repeat(30_000);
    let model = format!("\"model\": \"{NGRAM}\"");
    let cases: Vec<(&str, String, &str, Option<&str>)> = vec![
        ("/v1/completions", "{".into(), "", None),
        ("/v1/completions", String::new(), "", None),
        ("/v1/completions", "[]".into(), "", None),
        ("/v1/completions", "null".into(), "", None),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\",}}"),
            "JSON",
            None,
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\"}} {{}}"),
            "JSON",
            None,
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x"),
            "JSON",
            None,
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"\\x\"}}"),
            "JSON",
            None,
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": {deep}"),
            "",
            None,
        ),
        ("/v1/completions", deep.clone(), "", None),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\", \"model\": \"other\"}}"),
            "more than once",
            Some("model"),
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\", \"mod\\u0065l\": \"other\"}}"),
            "more than once",
            Some("model"),
        ),
        ("/v1/completions", format!("{{{model}}}"), "prompt", None),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": 7}}"),
            "",
            Some("prompt"),
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\", \"max_tokens\": \"many\"}}"),
            "",
            Some("max_tokens"),
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\", \"temperature\": -1}}"),
            "",
            Some("temperature"),
        ),
        (
            "/v1/completions",
            format!("{{{model}, \"prompt\": \"x\", \"stream\": \"yes\"}}"),
            "",
            Some("stream"),
        ),
        (
            "/v1/completions",
            "{\"model\": 1, \"prompt\": \"x\"}".into(),
            "",
            Some("model"),
        ),
        (
            "/v1/chat/completions",
            format!("{{{model}}}"),
            "messages",
            None,
        ),
        (
            "/v1/chat/completions",
            format!("{{{model}, \"messages\": \"hi\"}}"),
            "",
            Some("messages"),
        ),
        ("/v1/embeddings", format!("{{{model}}}"), "input", None),
        ("/tokenize", format!("{{{model}}}"), "", None),
        (
            "/detokenize",
            format!("{{{model}, \"tokens\": [\"a\"]}}"),
            "",
            Some("tokens"),
        ),
    ];
    let mut connection = http1::Connection::open(proxy.http()).await;
    for (path, body, words, param) in cases {
        connection
            .send(&Request::post_bytes(path, body.clone()))
            .await;
        let response = connection.response().await;
        let shown: String = body.chars().take(120).collect();
        let error = told(&response, 400);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{shown}: {message}");
        if let Some(param) = param {
            assert_eq!(error["param"], param, "{shown}: {message}");
        }
    }
    // The connection is as good as ever, too.
    connection
        .send(&Request::post("/v1/completions", &good()))
        .await;
    connection.response().await.with_status(200);
    still_serves(&proxy).await;
}

#[tokio::test]
async fn bytes_that_are_no_text() {
    let proxy = proxy().await;
    let mut body = format!("{{\"model\": \"{NGRAM}\", \"prompt\": \"a").into_bytes();
    body.extend_from_slice(b"\xff\xfe\"}");
    let got = http1::ask(proxy.http(), &Request::post_bytes("/v1/completions", body)).await;
    told(&got, 400);
    still_serves(&proxy).await;
}

#[tokio::test]
async fn what_is_not_there() {
    let proxy = proxy().await;
    let ask = async |request: &Request| http1::ask(proxy.http(), request).await;
    let mut body = good();
    body["model"] = "no-such-model".into();
    let error = told(&ask(&Request::post("/v1/completions", &body)).await, 404);
    assert!(error["message"].as_str().unwrap().contains("no-such-model"));
    assert_eq!(error["param"], "model");
    assert_eq!(error["type"], "NotFoundError");
    for path in [
        "/",
        "/v1/nothing",
        "/v1/completions/",
        "//v1/completions",
        "/v1/%63ompletions",
    ] {
        told(&ask(&Request::post(path, &good())).await, 404);
    }
    let got = ask(&Request::get("/v1/completions")).await;
    let error = told(&got, 405);
    assert!(
        error["message"].as_str().unwrap().contains("POST"),
        "it says what would do"
    );
    still_serves(&proxy).await;
}

#[tokio::test]
async fn media_types_that_are_not_json() {
    let proxy = proxy().await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "nonsense",
    ] {
        let mut request = Request::post("/v1/completions", &good());
        request.headers = vec![("content-type".into(), kind.into())];
        told(&http1::ask(proxy.http(), &request).await, 400);
    }
    still_serves(&proxy).await;
}

// === REST: how much ===

#[tokio::test]
async fn bodies_that_are_too_large() {
    let proxy = proxy().await;
    let mut body = good();
    body["prompt"] = "a".repeat(LIMIT).into();
    let request = Request::post("/v1/completions", &body);
    told(&http1::ask(proxy.http(), &request).await, 413);
    let mut h2 = http2::Connection::open(proxy.http()).await;
    told(&h2.ask(&request).await, 413);
    h2.ask(&Request::post("/v1/completions", &good()))
        .await
        .with_status(200);

    // Without a length told before, and without an end: the answer comes before either.
    let mut connection = http1::Connection::open(proxy.http()).await;
    connection
        .raw("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("4000\r\n{}\r\n", "a".repeat(0x4000));
    for _ in 0..5 {
        connection.raw(&chunk).await;
    }
    told(&connection.response().await, 413);
    // A length that is told is believed before a byte of it has come.
    let got = ask_raw(
        proxy.http(),
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n",
    )
    .await;
    told(&got.unwrap(), 413);
    still_serves(&proxy).await;
}

#[tokio::test]
async fn bodies_that_unpack_to_more_than_may_be() {
    let proxy = proxy().await;
    let packed = |bytes: Vec<u8>, encoding: &str| {
        Request::post_bytes("/v1/completions", bytes).header("content-encoding", encoding)
    };
    let bomb = vec![b' '; 64 << 20];
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
    deflated.write_all(&bomb[..8 << 20]).unwrap();
    for (encoding, body) in [
        ("gzip", grpc::gzip(&bomb[..16 << 20])[..].to_vec()),
        ("gzip", grpc::gzip(&grpc::gzip(&bomb))),
        ("deflate", deflated.finish().unwrap()),
    ] {
        let got = http1::ask(proxy.http(), &packed(body, encoding)).await;
        assert!([400, 413].contains(&got.status), "{got:?}");
        told(&got, got.status);
    }
    let bomb = grpc::gzip(&bomb[..16 << 20]);
    assert!(bomb.len() < LIMIT * 2);
    let whole = grpc::gzip(good().to_string().as_bytes());
    for (body, encoding, status) in [
        (whole.clone(), "gzip", 200),
        (whole[..whole.len() - 4].to_vec(), "gzip", 400),
        (b"not gzip at all".to_vec(), "gzip", 400),
        (whole.clone(), "br", 400),
        (whole.clone(), "gzip, gzip", 400),
        (good().to_string().into_bytes(), "identity", 200),
    ] {
        let got = http1::ask(proxy.http(), &packed(body, encoding)).await;
        if status == 200 {
            got.with_status(200);
        } else {
            told(&got, status);
        }
    }
    still_serves(&proxy).await;
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let proxy = proxy().await;
    let long = Request::get("/v1/models").header("x-long", &"a".repeat(LIMIT));
    let mut many = Request::get("/v1/models");
    for number in 0..150 {
        many = many.header(&format!("x-{number}"), "y");
    }
    for request in [&long, &many] {
        assert_eq!(http1::ask(proxy.http(), request).await.status, 431);
        let mut h2 = http2::Connection::open(proxy.http()).await;
        assert_eq!(h2.ask(request).await.status, 431);
        h2.ask(&Request::get("/v1/models")).await.with_status(200);
    }
    let target = Request::get(&format!("/v1/models?{}", "a".repeat(LIMIT * 2)));
    let status = http1::ask(proxy.http(), &target).await.status;
    assert!([414, 431].contains(&status), "{status}");
    still_serves(&proxy).await;
}

// === REST: requests that two parsers could read in two ways ===

#[tokio::test]
async fn requests_that_could_smuggle_another() {
    let proxy = proxy().await;
    let body = good().to_string();
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let post = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let inner = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    let cases = [
        format!("{post}content-length: {length}\r\ncontent-length: 4\r\n\r\n{body}{inner}"),
        format!("{post}content-length: {length}, {length}\r\n\r\n{body}"),
        format!("{post}content-length: +{length}\r\n\r\n{body}"),
        format!("{post}content-length: -1\r\n\r\n{body}"),
        format!("{post}content-length: 0x10\r\n\r\n{body}"),
        format!("{post}content-length: 99999999999999999999999\r\n\r\n{body}"),
        format!("{post}content-length : {length}\r\n\r\n{body}"),
        format!("{post}x-a: b\r\n content-length: 4\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!("{post}transfer-encoding: xchunked\r\n\r\n{chunked}"),
        format!("{post}transfer-encoding: chunked, identity\r\n\r\n{chunked}"),
        format!("{post}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"),
        format!("{post}transfer-encoding: gzip, chunked\r\n\r\n{chunked}"),
        format!(
            "{}transfer-encoding: chunked\r\n\r\n{chunked}",
            post.replace("HTTP/1.1", "HTTP/1.0")
        ),
        format!("{post}host: y\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!(
            "{}content-length: {length}\r\n\r\n{body}",
            post.replace("host: x\r\n", "")
        ),
        format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n"),
        format!("{post}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{body}\r\n0\r\n\r\n"),
        format!("{post}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}XX0\r\n\r\n"),
        format!("{post}x-a: b\0c\r\ncontent-length: {length}\r\n\r\n{body}"),
        "GET http://other.example/v1/models HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "GET /v1/models HTTP/1.1\r\nhost: user@x\r\n\r\n".to_owned(),
        "GET /v1/models HTTP/9.9\r\nhost: x\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
    ];
    for case in cases {
        let mut connection = http1::Connection::open(proxy.http()).await;
        connection.raw(&case).await;
        // Closed without a word would do; served would not.
        if let Some(response) = connection.try_response().await {
            assert_eq!(response.status, 400, "{case}: {response:?}");
        }
        // Where the end was never in doubt the connection may stay, and then the next request is
        // the one that we send, not something that stood behind the bad one.
        let next = Request::get("/v1/models").header("x-request-id", "the-next");
        connection.send(&next).await;
        if let Some(response) = connection.try_response().await {
            assert_eq!(response.header("x-request-id"), Some("the-next"), "{case}");
            assert_eq!(response.status, 200, "{case}");
        }
    }
    still_serves(&proxy).await;
}

/// RFC 9112, section 6.3: a server may believe the chunks alone, if it then closes.
#[tokio::test]
async fn of_two_lengths_the_chunks_count_and_the_connection_ends() {
    let worker =
        fake::http1::Worker::start(|_| vec![json_answer(200, &scene::completed("!"))]).await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let body = "{\"model\": \"m\", \"prompt\": \"x\"}";
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let post = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let inner = "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    for (number, lengths) in [
        format!(
            "content-length: {}\r\ntransfer-encoding: chunked\r\n",
            chunked.len()
        ),
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let mut connection = http1::Connection::open(proxy.http()).await;
        connection
            .raw(format!("{post}{lengths}\r\n{chunked}{inner}"))
            .await;
        connection.response().await.with_status(200);
        assert!(
            connection.try_head().await.is_none(),
            "what stood behind it is not served"
        );
        // The worker is told one length, and it is the right one.
        let head = worker.journal.head(number).await;
        assert_eq!(head.get("transfer-encoding"), None);
        let sent = worker.journal.body(number).await;
        assert_eq!(head.all("content-length"), [sent.len().to_string()]);
        assert_eq!(sent, body.replace("\"m\"", "\"served\""));
    }
    // Twice the same is one length (RFC 9110, section 8.6), and the worker is told it once.
    let mut connection = http1::Connection::open(proxy.http()).await;
    let twice = format!("content-length: {0}\r\ncontent-length: {0}\r\n", body.len());
    connection.raw(format!("{post}{twice}\r\n{body}")).await;
    connection.response().await.with_status(200);
    assert_eq!(worker.journal.head(2).await.all("content-length").len(), 1);
    assert_eq!(worker.journal.requests(), 3);
}

#[tokio::test]
async fn clients_that_stop_in_the_middle() {
    let proxy = proxy().await;
    let body = good().to_string();
    let whole = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for at in [1, 10, 40, whole.len() - body.len() - 1, whole.len() - 1] {
        let mut connection = http1::Connection::open(proxy.http()).await;
        connection.raw(&whole[..at]).await;
        drop(connection);
    }
    let mut h2 = http2::Connection::open(proxy.http()).await;
    let mut open = h2
        .begin(&Request::post("/v1/completions", &good()), false)
        .await;
    open.write(Bytes::from_static(b"{\"model\""), false).await;
    open.reset();
    drop(h2);
    still_serves(&proxy).await;
    let running = async || proxy.status().await["routes"][0]["running"].as_u64();
    tollgate_tests::eventually("nobody is left", async || {
        (running().await == Some(0)).then_some(())
    })
    .await;
}

// === gRPC ===

async fn call_with(proxy: &Proxy, request: &Request, bytes: Bytes) -> Status {
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, request).await;
    call.raw(bytes, true).await;
    call.all::<fmaas::BatchedGenerationResponse>().await.1
}

#[tokio::test]
async fn frames_that_are_none() {
    use prost::Message as _;
    let proxy = proxy().await;
    let request = scene::tgis("Generate");
    let message = scene::batch(NGRAM, &["The ferry"]).encode_to_vec();
    let whole = grpc::framed(&message);
    let two = [&whole[..], &whole[..]].concat();
    let cases: Vec<(&str, Bytes, u32)> = vec![
        ("no message", Bytes::new(), 3),
        ("a byte of a prefix", whole.slice(..1), 3),
        ("a prefix alone", whole.slice(..5), 3),
        ("all but the last byte", whole.slice(..whole.len() - 1), 3),
        ("a byte too many", [&whole[..], b"\0"].concat().into(), 3),
        ("two messages", two.into(), 3),
        ("an unknown flag", grpc::frame(2, &message), 3),
        ("another", grpc::frame(255, &message), 3),
        (
            "compressed, says the flag alone",
            grpc::frame(1, &grpc::gzip(&message)),
            3,
        ),
        ("no protobuf", grpc::framed(b"\xff\xff\xff\xff\xff"), 3),
        (
            "a field cut short",
            grpc::framed(&message[..message.len() - 1]),
            3,
        ),
        ("larger than may be", grpc::framed(&vec![0; LIMIT + 1]), 8),
    ];
    for (what, bytes, code) in cases {
        let status = call_with(&proxy, &request, bytes).await;
        assert_eq!(status.code, code, "{what}: {status:?}");
        assert!(status.message.len() > 3, "{what}: {status:?}");
    }
    still_serves(&proxy).await;
}

#[tokio::test]
async fn a_message_that_says_it_is_too_large_is_not_waited_for() {
    let proxy = proxy().await;
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &scene::tgis("Generate")).await;
    call.raw(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]), false)
        .await;
    let (_, status) = call.all::<fmaas::BatchedGenerationResponse>().await;
    assert_eq!(status.code, 8, "{status:?}");
    still_serves(&proxy).await;
}

#[tokio::test]
async fn compressed_messages() {
    use prost::Message as _;
    let proxy = proxy().await;
    let message = scene::batch(NGRAM, &["The ferry"]).encode_to_vec();
    let gzipped = scene::tgis("Generate").header("grpc-encoding", "gzip");
    let cases = [
        ("whole", grpc::gzip(&message), 0),
        ("cut short", grpc::gzip(&message)[..12].to_vec(), 3),
        ("no gzip", message.clone(), 3),
        ("a bomb", grpc::gzip(&vec![0; 16 << 20]), 8),
    ];
    for (what, bytes, code) in cases {
        let status = call_with(&proxy, &gzipped, grpc::frame(1, &bytes)).await;
        assert_eq!(status.code, code, "{what}: {status:?}");
    }
    // Announced is not done: each message says for itself.
    let status = call_with(&proxy, &gzipped, grpc::framed(&message)).await;
    assert_eq!(status.code, 0, "{status:?}");

    let unknown = scene::tgis("Generate").header("grpc-encoding", "snappy");
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &unknown).await;
    call.raw(grpc::frame(1, &message), true).await;
    let (_, status) = call.all::<fmaas::BatchedGenerationResponse>().await;
    assert_eq!(status.code, 12, "{status:?}");
    assert!(
        status.message.contains("gzip"),
        "it says what would do: {status:?}"
    );
    still_serves(&proxy).await;
}

#[tokio::test]
async fn methods_and_models_that_are_not_there() {
    let proxy = proxy().await;
    let message = scene::batch("no-such-model", &["x"]);
    let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &scene::tgis("Generate"),
        &message,
    )
    .await;
    assert_eq!(status.code, 5, "{status:?}");
    assert!(status.message.contains("no-such-model"));
    for method in [
        "fmaas.GenerationService/Nothing",
        "fmaas.Nothing/Generate",
        "Generate",
        "fmaas.GenerationService/generate",
    ] {
        let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
            proxy.http(),
            &grpc::request(method),
            &message,
        )
        .await;
        assert_eq!(status.code, 12, "{method}: {status:?}");
    }
    still_serves(&proxy).await;
}

#[tokio::test]
async fn parameters_out_of_their_domain() {
    let proxy = proxy().await;
    let bad = |change: fn(&mut fmaas::Parameters)| {
        let mut message = scene::batch(NGRAM, &["The ferry"]);
        change(message.params.as_mut().unwrap());
        message
    };
    let cases = [
        bad(|it| it.stopping.as_mut().unwrap().min_new_tokens = 9),
        bad(|it| it.stopping.as_mut().unwrap().stop_sequences = vec!["x".into(); 7]),
        bad(|it| it.stopping.as_mut().unwrap().stop_sequences = vec!["x".repeat(241)]),
        bad(|it| {
            it.method = fmaas::DecodingMethod::Sample.into();
            it.sampling = Some(fmaas::SamplingParameters {
                top_p: 1.5,
                ..Default::default()
            });
        }),
    ];
    for message in cases {
        let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
            proxy.http(),
            &scene::tgis("Generate"),
            &message,
        )
        .await;
        assert_eq!(
            (status.code, answers.len()),
            (3, 0),
            "{message:?}: {status:?}"
        );
        assert!(status.message.len() > 3);
    }
    still_serves(&proxy).await;
}

// === tokens ===

async fn guarded() -> Proxy {
    let yaml = format!(
        "{}tokens: {{ file: tokens.yaml }}\n",
        scene::embedded().replace("auth: open", "auth: required")
    );
    Setup::new(&yaml)
        .file(
            "tokens.yaml",
            tokens::file(&[
                tokens::entry("all", "token-of-all", "models: [\"*\"]"),
                tokens::entry("vectors", "token-of-vectors", "models: [tollgate-hash]"),
                tokens::entry(
                    "lister",
                    "token-of-lister",
                    "models: [\"*\"], tasks: [list-models]",
                ),
                tokens::entry(
                    "late",
                    "token-of-late",
                    "models: [\"*\"], expires: 2020-01-01T00:00:00Z",
                ),
            ]),
        )
        .start()
        .await
}

async fn calls_of_guests(proxy: &Proxy) -> Vec<Value> {
    let status = proxy.status().await;
    let plugins = status["plugins"].as_array().unwrap();
    plugins
        .iter()
        .map(|plugin| plugin["calls"].clone())
        .collect()
}

#[tokio::test]
async fn without_a_token_nobody_comes_in_and_no_guest_is_called() {
    let proxy = guarded().await;
    let before = calls_of_guests(&proxy).await;
    let variants: Vec<(&str, Vec<&str>)> = vec![
        ("none", vec![]),
        ("a wrong one", vec!["Bearer token-of-al"]),
        ("another wrong one", vec!["Bearer token-of-all-"]),
        ("an expired one", vec!["Bearer token-of-late"]),
        ("two", vec!["Bearer token-of-all", "Bearer token-of-all"]),
        ("another scheme", vec!["Basic token-of-all"]),
        ("no scheme", vec!["token-of-all"]),
        ("nothing behind the scheme", vec!["Bearer "]),
    ];
    for (what, values) in variants {
        for request in [
            Request::post("/v1/completions", &good()),
            Request::get("/v1/models"),
            Request::get("/docs"),
            // So long that it would be refused for it, were it looked at.
            Request::post_bytes("/v1/completions", "a".repeat(100_000)),
        ] {
            let request = values
                .iter()
                .fold(request, |it, value| it.header("authorization", value));
            let got = http1::ask(proxy.http(), &request).await;
            assert_eq!(got.status, 401, "{what}");
            assert_eq!(
                got.json(),
                json!({"error": "Unauthorized"}),
                "as vLLM says it"
            );
            assert!(
                got.header("www-authenticate")
                    .unwrap()
                    .starts_with("Bearer")
            );
        }
        for method in [
            "fmaas.GenerationService/Generate",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "grpc.health.v1.Health/Check",
        ] {
            let request = values.iter().fold(grpc::request(method), |it, value| {
                it.header("authorization", value)
            });
            let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
                proxy.http(),
                &request,
                &scene::batch(NGRAM, &["x"]),
            )
            .await;
            assert_eq!(status.code, 16, "{what}: {status:?}");
            assert!(
                !status.message.contains("token-of"),
                "tokens are not repeated"
            );
        }
    }
    assert_eq!(calls_of_guests(&proxy).await, before);
    assert!(!proxy.log().contains("token-of"), "nor written down");
    let request = Request::post("/v1/completions", &good()).token("token-of-all");
    http1::ask(proxy.http(), &request).await.with_status(200);
}

#[tokio::test]
async fn a_token_opens_only_its_own_models_and_tasks() {
    let proxy = guarded().await;
    let ask =
        async |request: Request, token: &str| http1::ask(proxy.http(), &request.token(token)).await;
    let error = told(
        &ask(
            Request::post("/v1/completions", &good()),
            "token-of-vectors",
        )
        .await,
        403,
    );
    assert!(error["message"].as_str().unwrap().contains(NGRAM));
    let vectors = json!({"model": "tollgate-hash", "input": "a"});
    ask(
        Request::post("/v1/embeddings", &vectors),
        "token-of-vectors",
    )
    .await
    .with_status(200);
    let error = told(
        &ask(Request::post("/v1/embeddings", &vectors), "token-of-lister").await,
        403,
    );
    assert!(
        error["message"].as_str().unwrap().contains("embed"),
        "{error}"
    );
    // The route's default model is not a way around it.
    let unnamed = json!({"prompt": "x", "max_tokens": 1});
    told(
        &ask(
            Request::post("/v1/completions", &unnamed),
            "token-of-vectors",
        )
        .await,
        403,
    );

    let names = async |token: &str| -> Vec<String> {
        let list = ask(Request::get("/v1/models"), token)
            .await
            .with_status(200)
            .json();
        let models = list["data"].as_array().unwrap();
        models
            .iter()
            .map(|model| model["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("token-of-vectors").await, ["tollgate-hash"]);
    assert_eq!(names("token-of-lister").await.len(), 2);

    let request = scene::tgis("Generate").token("token-of-vectors");
    let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &request,
        &scene::batch(NGRAM, &["x"]),
    )
    .await;
    assert_eq!(status.code, 7, "{status:?}");
}

#[tokio::test]
async fn tokens_are_read_again_when_their_file_changes_and_kept_when_it_breaks() {
    let proxy = guarded().await;
    let status = async |token: &str| {
        let request = Request::get("/v1/models").token(token);
        http1::ask(proxy.http(), &request).await.status
    };
    proxy.rewrite("tokens.yaml", "tokens: [{ name: broken }]\n");
    proxy.hangup();
    proxy
        .logged(|line| line.contains("the tokens in force stay"))
        .await;
    assert_eq!(status("token-of-all").await, 200);
    proxy.rewrite(
        "tokens.yaml",
        tokens::file(&[tokens::entry("new", "token-of-new", "models: [\"*\"]")]),
    );
    proxy.hangup();
    proxy
        .logged(|line| line.contains("the tokens were read again"))
        .await;
    assert_eq!(status("token-of-all").await, 401);
    assert_eq!(status("token-of-new").await, 200);
}

#[tokio::test]
async fn a_crowd_of_bad_requests_leaves_nothing_behind() {
    let proxy = proxy().await;
    let address = proxy.http();
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..60 {
        crowd.spawn(async move {
            match number % 3 {
                0 => {
                    let request = Request::post_bytes("/v1/completions", "{\"model\": [");
                    assert_eq!(http1::ask(address, &request).await.status, 400);
                }
                1 => {
                    let mut connection = http2::Connection::open(address).await;
                    let mut call = Call::begin(&mut connection, &scene::tgis("Generate")).await;
                    call.raw(Bytes::from_static(&[7, 0, 0, 0, 1, 1]), true).await;
                    assert_eq!(call.all::<fmaas::GenerationResponse>().await.1.code, 3);
                }
                _ => {
                    let bytes = "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n";
                    if let Some(got) = ask_raw(address, bytes).await {
                        assert_eq!(got.status, 400);
                    }
                }
            }
        });
    }
    let joined = tokio::time::timeout(CEILING, crowd.join_all()).await;
    joined.expect("they are all answered");
    still_serves(&proxy).await;
    let status = proxy.status().await;
    assert_eq!(status["routes"][0]["running"], 0, "{status}");
    for plugin in status["plugins"].as_array().unwrap() {
        assert_eq!(plugin["traps"], 0, "{status}");
        assert_eq!(plugin["exchanges"], 0, "{status}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_complete_over_http2() {
    let proxy = guarded().await;
    let mut connection = http2::Connection::open(proxy.http()).await;
    for _ in 0..20 {
        let request = Request::post("/v1/completions", &good());
        let mut open = connection.begin(&request, false).await;
        let (status, _) = open.head().await.expect("an answer, not a reset");
        assert_eq!(status, 401);
        // RFC 9113, section 8.1: what may follow the answer is a reset that says NO_ERROR.
        loop {
            match open.next().await {
                Next::Data(data) => assert_eq!(&data[..], b"{\"error\":\"Unauthorized\"}"),
                Next::End(_) => break,
                Next::Reset(reason) => panic!("the answer was cut by {reason:?}"),
            }
        }
        assert_eq!(open.reset_by_peer().await, Some(h2::Reason::NO_ERROR));
    }
}

/// Some clients lose an answer whose stream ends before they have sent all of a small request.
#[tokio::test]
async fn a_small_body_is_read_before_a_refusal_over_http2() {
    let proxy = guarded().await;
    let body = good().to_string();
    for path in ["/v1/completions", "/nothing"] {
        let mut connection = http2::Connection::open(proxy.http()).await;
        let request = Request::post(path, &good());
        let request = request.header("content-length", &body.len().to_string());
        let mut open = connection.begin(&request, false).await;
        // The proxy has seen that head: it answers what came after it.
        connection
            .ask(&Request::get("/v1/models"))
            .await
            .with_status(401);
        assert!(
            open.write(Bytes::from(body.clone()), true).await,
            "the stream is open"
        );
        let (status, _) = open.head().await.expect("an answer, not a reset");
        assert_eq!(status, if path == "/nothing" { 404 } else { 401 });
    }
}
