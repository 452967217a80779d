//! What the users of a cluster's operators expect: workers that the cluster tells of, metrics to scale
//! by, pages of other origins, payloads as events.
//!
//! The cluster is a stand-in ([`tollgate_tests::standin::cluster`]); workers, pages and sinks speak
//! over real sockets.

mod cors;
mod endpoints;
mod payloads;
mod scaling;
mod services;
mod trouble;

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, Response, http1},
    eventually,
    fake::http1 as h,
    scene,
    standin::cluster::{Cluster, SLICES, slice},
};

/// A section of workers that a cluster tells of, called `w0`; `extra` is more of its address.
fn section(cluster: &Cluster, extra: &str, worker: &str, route: &str) -> String {
    let address = format!(
        "{{ namespace: models, retry: 20ms, retry-longest: 100ms, \
         api: {{ server: \"http://{}\" }}, {extra} }}",
        cluster.address
    );
    let section = format!("  - {{ name: w0, address: {address}, probe: off{worker} }}\n");
    scene::workers(&[section], route)
}

/// The same of the Service `granite`, with the model `m`.
fn sliced(cluster: &Cluster, extra: &str, route: &str) -> String {
    section(
        cluster,
        &format!("cluster: endpoint-slices, service: granite{extra}"),
        ", protocol: openai, models: [{ name: m, served-as: served }]",
        route,
    )
}

fn ready() -> Value {
    json!({"ready": true, "serving": true, "terminating": false})
}

/// A worker that says who it is.
async fn named(name: &'static str) -> h::Worker {
    h::Worker::start(move |_| vec![h::json(200, &scene::completed(name))]).await
}

/// Puts a slice of one pod.
fn pod(cluster: &Cluster, name: &str, worker: &h::Worker, conditions: Value) {
    let endpoints = [(name, worker.address, conditions)];
    cluster.put(
        SLICES,
        &format!("slice-{name}"),
        slice("granite", "IPv4", &endpoints),
    );
}

/// A pod at an address where nobody need be.
fn pod_at(cluster: &Cluster, name: &str, address: &str) {
    let address = address.parse().expect("an address");
    let endpoints = [(name, address, ready())];
    cluster.put(
        SLICES,
        &format!("slice-{name}"),
        slice("granite", "IPv4", &endpoints),
    );
}

fn who(response: Response) -> String {
    let body = response.with_status(200).json();
    let text = body["choices"][0]["text"].as_str();
    text.expect("a text").to_owned()
}

async fn ask(proxy: &Proxy) -> String {
    who(http1::ask(proxy.http(), &scene::completion(false)).await)
}

fn asking(proxy: &Proxy, stream: bool) -> tokio::task::JoinHandle<Response> {
    let address = proxy.http();
    tokio::spawn(async move { http1::ask(address, &scene::completion(stream)).await })
}

/// Asks until a worker has answered.
async fn until(proxy: &Proxy, name: &str) {
    eventually(format!("{name} answers"), async || {
        let got = http1::ask(proxy.http(), &scene::completion(false)).await;
        (got.status == 200 && who(got) == name).then_some(())
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

async fn workers(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status().await;
    let workers = status["workers"].as_array().expect("a list").iter();
    let mut names: Vec<String> = workers
        .filter(|worker| worker["draining"] == false)
        .filter_map(|worker| worker["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

async fn becomes(proxy: &Proxy, names: &[&str]) {
    eventually(format!("the workers are {names:?}"), async || {
        (workers(proxy).await == names).then_some(())
    })
    .await;
}

const STALE: &str = "discovery_stale{section=\"w0\"}";
