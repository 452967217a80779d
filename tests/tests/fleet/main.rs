//! Workers that come, change and go while the proxy serves: listed in a file, or found in the DNS.
//! None is given anything after it has gone, and none loses what it had.

mod files;
mod fresh;
mod names;
mod swapped;
mod waiting;

use std::net::SocketAddr;

use serde_json::json;
use tollgate_tests::{
    Proxy, Setup,
    client::{End, Request, Response, http1, sse},
    eventually,
    fake::{Seen, dns, http1 as h},
    place, scene,
};

/// A section of workers that are looked for, called `w0`, with its route's extra keys.
fn section(address: &str, extra: &str, route: &str) -> String {
    let section = format!(
        "  - {{ name: w0, address: {address}, protocol: openai, probe: off, \
         models: [{{ name: m, served-as: served }}]{extra} }}\n"
    );
    scene::workers(&[section], route)
}

/// The same of a file that is called `fleet.yaml`.
fn listed(extra: &str, route: &str) -> String {
    section("{ file: fleet.yaml, refresh: 100ms }", extra, route)
}

/// A list of workers.
fn list(workers: &[(&str, SocketAddr)]) -> String {
    let mut list = "workers:\n".to_owned();
    for (name, address) in workers {
        list.push_str(&format!(
            "  - {{ name: {name}, address: \"http://{address}\" }}\n"
        ));
    }
    if workers.is_empty() {
        list = "workers: []\n".to_owned();
    }
    list
}

/// Replaces a file in one step, as the documentation asks for.
fn replace(proxy: &Proxy, name: &str, text: &str) {
    proxy.rewrite("next", text);
    let folder = proxy.folder();
    std::fs::rename(folder.path().join("next"), folder.path().join(name)).expect("one folder");
}

/// A worker that says who it is.
async fn named(name: &'static str) -> h::Worker {
    h::Worker::start(move |_| vec![h::json(200, &scene::completed(name))]).await
}

/// A worker that says who it is once it is released: whole, or as a stream that has begun.
async fn slow(name: &'static str) -> h::Worker {
    h::Worker::start(move |received| holding(name, received)).await
}

fn holding(name: &str, received: &h::Received) -> Vec<h::Act> {
    if !String::from_utf8_lossy(&received.body).contains("\"stream\":true") {
        return vec![h::Act::Hold, h::json(200, &scene::completed(name))];
    }
    vec![
        h::stream_head(),
        h::event(&scene::chunk("one ", None, 1)),
        h::Act::Hold,
        h::event(&scene::chunk(name, Some("length"), 2)),
        h::event(&scene::usage_chunk(2)),
        h::event("[DONE]"),
        h::stream_end(),
    ]
}

/// Who has answered a completion.
fn who(response: Response) -> String {
    let body = response.with_status(200).json();
    body["choices"][0]["text"]
        .as_str()
        .expect("a text")
        .to_owned()
}

async fn ask(proxy: &Proxy) -> String {
    who(http1::ask(proxy.http(), &scene::completion(false)).await)
}

/// Asks beside the test.
fn asking(proxy: &Proxy, stream: bool) -> tokio::task::JoinHandle<Response> {
    let address = proxy.http();
    tokio::spawn(async move { http1::ask(address, &scene::completion(stream)).await })
}

/// Asks until a worker has answered.
async fn until(proxy: &Proxy, name: &str) {
    eventually(format!("{name} answers"), async || {
        (ask(proxy).await == name).then_some(())
    })
    .await;
}

/// Waits until a worker is in no series any more.
async fn forgotten(proxy: &Proxy, name: &str) {
    let label = format!("worker=\"{name}\"");
    eventually(format!("{name} has left"), async || {
        (!proxy.metrics().await.contains(&label)).then_some(())
    })
    .await;
}

/// Requests that have reached the act that holds.
fn held(worker: &h::Worker) -> usize {
    let entries = worker.journal.entries();
    let held = entries.iter().filter(|entry| entry.seen == Seen::Holding);
    held.count()
}
