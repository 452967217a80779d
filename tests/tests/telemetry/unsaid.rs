//! What must not be told: prompts, answers, tokens of clients, queries. Each way of a request is gone
//! with words that stand nowhere else, at the loudest level of the log, and then looked for in the log,
//! in what was exported and on the page of metrics.

use serde_json::json;
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, grpc as client, http1 as ask, http2},
    fake::{
        grpc::{self, Act},
        http1,
    },
    scene, tokens,
};

use super::receiver::{Over, Receiver};

const PROMPT: &str = "sesameprompt";
const ANSWER: &str = "sesameanswer";
const TOKEN: &str = "sesametoken";
const QUERY: &str = "sesamequery";

/// Answers, breaks off, refuses with the prompt in its words, and answers what is no answer.
async fn worker() -> http1::Worker {
    http1::Worker::start(|received| {
        let streams = String::from_utf8_lossy(&received.body).contains(r#""stream":true"#);
        let error = json!({"error": {"message": format!("{PROMPT} is too long {ANSWER}")}});
        match (received.number % 5, streams) {
            (0, false) => vec![http1::json(200, &scene::completed(ANSWER))],
            (0, true) => vec![
                http1::stream_head(),
                http1::event(&scene::chunk(ANSWER, Some("length"), 1)),
                http1::event("[DONE]"),
                http1::stream_end(),
            ],
            (1, _) => vec![http1::json(400, &error)],
            (2, _) => vec![http1::json(500, &error)],
            (3, false) => vec![http1::answer(
                200,
                "application/json",
                &format!("{{\"{ANSWER}"),
            )],
            (3, true) => vec![
                http1::stream_head(),
                http1::event(&format!("{{\"{ANSWER}")),
                http1::Act::Close,
            ],
            (_, false) => vec![
                http1::write(format!("HTTP/1.1 200 OK\r\n{ANSWER}")),
                http1::Act::Close,
            ],
            (_, true) => vec![
                http1::stream_head(),
                http1::write(ANSWER),
                http1::Act::Close,
            ],
        }
    })
    .await
}

async fn generating() -> grpc::Worker {
    grpc::Worker::start(|received| match received.number % 3 {
        0 => vec![
            Act::Head,
            grpc::send(&scene::piece(ANSWER, 1, true)),
            Act::Status(0, ""),
        ],
        1 => vec![Act::Status(3, "sesameprompt sesameanswer")],
        _ => vec![Act::Head, Act::Write(ANSWER.into()), Act::Status(0, "")],
    })
    .await
}

fn requests() -> Vec<Request> {
    let mut all = Vec::new();
    for stream in [false, true] {
        for (path, body) in [
            (
                "/v1/completions",
                json!({"model": "m", "prompt": PROMPT, "stream": stream}),
            ),
            (
                "/v1/chat/completions",
                json!({"model": "m", "stream": stream,
                    "messages": [{"role": "user", "content": PROMPT}]}),
            ),
            (
                "/v1/completions",
                json!({"model": "nosuch", "prompt": PROMPT}),
            ),
            (
                "/v1/completions",
                json!({"model": "m", "prompt": {"bad": PROMPT}}),
            ),
            ("/v1/embeddings", json!({"model": "m", "input": [PROMPT]})),
        ] {
            all.push(Request::post(&format!("{path}?q={QUERY}"), &body));
        }
    }
    for broken in [
        format!("{{\"model\": \"m\", \"prompt\": \"{PROMPT}"),
        PROMPT.to_owned(),
        format!("{{\"model\": \"m\", \"{PROMPT}\": \"\\ud800\"}}"),
    ] {
        all.push(Request::post_bytes("/v1/completions", broken));
    }
    let unknown = Request::post_bytes("/v1/nothing", PROMPT);
    all.push(unknown);
    all
}

async fn ask_everything(proxy: &Proxy) {
    for request in requests() {
        // Often enough that each answer of the worker's meets each of them.
        for _ in 0..5 {
            let mut connection = ask::Connection::open(proxy.http()).await;
            connection.send(&request.clone().token(TOKEN)).await;
            // Whatever it is.
            let _ = connection.try_response().await;
        }
        let (address, asked) = (proxy.http(), request.clone().token(TOKEN));
        // A task of its own: a response that breaks off panics with the client, and is as well.
        let asking = tokio::spawn(async move {
            http2::Connection::open(address).await.ask(&asked).await;
        });
        let _ = asking.await;
        let mut connection = ask::Connection::open(proxy.http()).await;
        connection.send(&request.token("sesametokenofnobody")).await;
        let _ = connection.try_response().await;
    }
    for _ in 0..3 {
        for method in ["Generate", "GenerateStream", "Tokenize"] {
            let request = scene::tgis(method).token(TOKEN);
            let address = proxy.http();
            let asking = tokio::spawn(async move {
                let mut connection = http2::Connection::open(address).await;
                let mut call = client::Call::begin(&mut connection, &request).await;
                call.send(&scene::batch("m", &[PROMPT]), true).await;
                while call.next().await.is_some() {}
            });
            let _ = asking.await;
        }
    }
}

#[tokio::test]
async fn no_word_of_a_request_or_an_answer_is_told_to_anybody() {
    let (passed, translated) = (worker().await, generating().await);
    for (protocol, address) in [("openai", passed.address), ("tgis", translated.address)] {
        let receiver = Receiver::start(Over::Http).await;
        let mut yaml =
            scene::one(protocol, address, "", "").replace("auth: open", "auth: required");
        yaml.push_str("tokens: { file: tokens.yaml }\n");
        let proxy = Setup::new(&(yaml + &receiver.section("")))
            .file(
                "tokens.yaml",
                tokens::file(&[tokens::entry("ann", TOKEN, "models: [\"*\"]")]),
            )
            .start()
            .await;
        let loud = proxy.order("log-level", r#"{"level": "trace"}"#).await;
        loud.with_status(200);
        ask_everything(&proxy).await;
        // All of it has been exported when this has.
        proxy.becomes("trace_spans_waiting", 0.0).await;
        let page = proxy.metrics().await;
        let exit = proxy.terminate().await;
        assert!(exit.log.contains(r#""level":"TRACE""#) || exit.log.contains(r#""level":"DEBUG""#));
        assert!(!receiver.spans().is_empty());
        for (where_, text) in [
            ("log", exit.log),
            ("exports", receiver.text()),
            ("page", page),
        ] {
            for word in ["sesame", "c2VzYW1l"] {
                let around = text.find(word).map(|at| {
                    let shown = text.floor_char_boundary(at.saturating_sub(80))
                        ..text.ceil_char_boundary(text.len().min(at + 80));
                    &text[shown]
                });
                assert_eq!(around, None, "the {where_} of {protocol}");
            }
        }
    }
}
