//! Requests that are wrong, from clients that may be hostile: each gets the right status in its own
//! dialect with words that help, and the proxy goes on as if nothing had been.

mod asked;
mod framing;
mod messages;
mod size;
mod who;

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
