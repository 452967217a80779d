//! Workers that break, and a proxy that ends: what clients are told. Never an answer that was not
//! given: what breaks off is an error in the client's dialect.

mod answers;
mod drain;
mod elsewhere;
mod limits;
mod storm;
mod streams;

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

fn half_a_stream(then: Vec<h::Act>) -> Vec<h::Act> {
    let mut acts = vec![
        h::stream_head(),
        h::event(&scene::chunk("one ", None, 1)),
        h::event(&scene::chunk("two", None, 2)),
    ];
    acts.extend(then);
    acts
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
