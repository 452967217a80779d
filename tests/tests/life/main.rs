//! The life of the process and of its configuration: what is taken in while it serves, how another
//! process takes its place, how it ends, and what it tells a supervisor.

mod confined;
mod ending;
mod explained;
mod handover;
mod reload;
mod supervised;

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy, Setup,
    client::{End, Request, Response, http1, http2, sse},
    eventually,
    fake::{grpc as g, http1 as h},
    scene, within,
};

/// A worker that says who it is.
async fn named(name: &'static str) -> h::Worker {
    h::Worker::start(move |_| vec![h::json(200, &scene::completed(name))]).await
}

/// A worker whose streams have said something, and wait to be released.
async fn held(name: &'static str) -> h::Worker {
    h::Worker::start(move |_| {
        vec![
            h::stream_head(),
            h::event(&scene::chunk(name, None, 1)),
            h::Act::Hold,
            h::event(&scene::chunk(" and over", Some("stop"), 2)),
            h::event(&scene::usage_chunk(2)),
            h::event("[DONE]"),
            h::stream_end(),
        ]
    })
    .await
}

/// The text of a completion.
fn text(response: &Response) -> String {
    let body = response.json();
    let text = body["choices"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("{body}")).to_owned()
}

/// Asks for a completion.
async fn complete(proxy: &Proxy) -> Response {
    http1::ask(proxy.http(), &scene::completion(false)).await
}

/// A stream that has begun: its connection, and nothing of its body read.
async fn begin_stream(proxy: &Proxy) -> http1::Connection {
    let mut connection = http1::Connection::open(proxy.http()).await;
    connection.send(&scene::completion(true)).await;
    connection.head().await;
    connection
}

/// The rest of a stream, and how it ended.
async fn rest(connection: &mut http1::Connection) -> (String, End) {
    let mut body = Vec::new();
    loop {
        match connection.piece().await {
            Ok(piece) => body.extend_from_slice(&piece),
            Err(end) => return (String::from_utf8_lossy(&body).into_owned(), end),
        }
    }
}

/// What has changed, as the proxy tells it.
async fn reload(proxy: &Proxy) -> Vec<String> {
    let told = proxy.order("reload", "").await.with_status(200).json();
    let changes = told["changed"].as_array().expect("a list");
    let changes = changes.iter().filter_map(Value::as_str);
    changes.map(str::to_owned).collect()
}
