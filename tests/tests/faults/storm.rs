//! Everything at once: 500 clients, and workers of which most are broken, each in its own way. Every
//! request ends in an answer or in a clear error, within its deadline; nothing stays behind.
//!
//! In the gate a few requests a client; for longer with `cargo xtask soak --faults`, which sets
//! `TOLLGATE_STORM_SECONDS`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::*;
use tollgate_tests::eventually;

const CLIENTS: usize = 500;
/// Requests of a client, unless a time is set.
const REQUESTS: usize = 4;
/// The worker that dies is killed and started again after so many requests.
const KILL_AFTER: usize = 50;

/// How requests have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    answered: usize,
    streamed: usize,
    /// An error before anything else, by its status.
    refused: std::collections::BTreeMap<u16, usize>,
    /// A stream that began, and was seen to be broken off.
    broken: usize,
    killed: usize,
}

impl Counts {
    fn all(&self) -> usize {
        self.answered + self.streamed + self.broken + self.refused.values().sum::<usize>()
    }
}

fn is_stream(received: &h::Received) -> bool {
    String::from_utf8_lossy(&received.body).contains("\"stream\":true")
}

fn good(received: &h::Received) -> Vec<h::Act> {
    if !is_stream(received) {
        return vec![h::json(200, &scene::completed("one two"))];
    }
    vec![
        h::stream_head(),
        h::event(&scene::chunk("one ", None, 1)),
        h::event(&scene::chunk("two", Some("length"), 2)),
        h::event(&scene::usage_chunk(2)),
        h::event("[DONE]"),
        h::stream_end(),
    ]
}

/// Resets before an answer, within one, and within a stream, in turn.
fn resetting(received: &h::Received) -> Vec<h::Act> {
    let half = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 400\r\n\r\n{";
    match (is_stream(received), received.number % 2) {
        (_, 0) => vec![h::Act::Reset],
        (false, _) => vec![h::write(half), h::Act::Reset],
        (true, _) => half_a_stream(vec![h::Act::Reset]),
    }
}

/// What is no HTTP, or contradicts itself, each in turn. (What is, a client of the worker's dialect is
/// given as it is; what translation makes of other garbage, the tests beside this one show.)
fn garbage(received: &h::Received) -> Vec<h::Act> {
    let text = match received.number % 5 {
        0 => "no HTTP at all\r\n\r\n",
        1 => "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        2 => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        3 => "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}",
        _ => "HTTP/1.1 99999 OK\r\n\r\n",
    };
    vec![h::write(text), h::Act::Close]
}

/// A socket that listens, and whose connections nobody takes: soon none can be made.
fn slow_to_connect() -> (socket2::Socket, SocketAddr) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// How a request ended, or what is wrong with how it did.
fn judge(response: &Response, stream: bool, counts: &mut Counts) -> Result<(), String> {
    let body = String::from_utf8_lossy(&response.body).into_owned();
    let wrong = |what: &str| Err(format!("{what}: {} {body}", response.status));
    if response.status != 200 {
        let told: Value = serde_json::from_str(&body).unwrap_or_default();
        if response.end != End::Whole || !told["error"]["message"].is_string() {
            return wrong("an error that says nothing");
        }
        *counts.refused.entry(response.status).or_default() += 1;
        return Ok(());
    }
    if !stream {
        let told: Value = serde_json::from_str(&body).unwrap_or_default();
        if response.end != End::Whole || told["choices"][0]["text"] != "one two" {
            return wrong("another answer than a worker gave");
        }
        counts.answered += 1;
        return Ok(());
    }
    let (events, done) = sse::json(&body);
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    let error = events
        .iter()
        .any(|event| event["error"]["message"].is_string());
    let reason = events
        .iter()
        .any(|event| event["choices"][0]["finish_reason"].is_string());
    match (response.end, done && reason && !error) {
        (End::Whole, true) if text == "one two" => counts.streamed += 1,
        (End::Cut, false) => counts.broken += 1,
        (End::Whole, false) if error => counts.broken += 1,
        _ => return wrong("a part that looks like the whole"),
    }
    Ok(())
}

struct Storm {
    address: SocketAddr,
    counts: Mutex<Counts>,
    wrong: Mutex<Vec<String>>,
    ended: AtomicUsize,
    progress: Notify,
    until: Option<Instant>,
}

impl Storm {
    async fn client(self: Arc<Self>, number: usize) {
        for at in 0.. {
            let over = match self.until {
                Some(until) => Instant::now() > until,
                None => at == REQUESTS,
            };
            if over {
                return;
            }
            let stream = (number + at).is_multiple_of(2);
            // It panics when it has no end before the ceiling.
            let response = http1::ask(self.address, &scene::completion(stream)).await;
            let judged = judge(&response, stream, &mut self.counts.lock().unwrap());
            if let Err(wrong) = judged {
                self.wrong.lock().unwrap().push(wrong);
            }
            self.ended.fetch_add(1, Ordering::Relaxed);
            self.progress.notify_waiters();
        }
    }

    /// Kills a worker again and again, by what has ended, and starts it at the same address.
    async fn killer(self: Arc<Self>, mut worker: h::Worker) {
        let address = worker.address;
        let mut next = KILL_AFTER;
        loop {
            let progress = self.progress.notified();
            if self.ended.load(Ordering::Relaxed) < next {
                progress.await;
                continue;
            }
            next += KILL_AFTER;
            drop(worker);
            self.counts.lock().unwrap().killed += 1;
            // Somebody finds nobody there.
            self.progress.notified().await;
            worker = h::Worker::start_at(address, good).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_ends_in_an_answer_or_a_clear_error() {
    let healthy = [h::Worker::start(good).await, h::Worker::start(good).await];
    let dying = h::Worker::start(good).await;
    let stalled = h::Worker::start(|_| vec![h::Act::Hold]).await;
    let resets = h::Worker::start(resetting).await;
    let garbled = h::Worker::start(garbage).await;
    let (_socket, slow) = slow_to_connect();
    let addresses = [
        healthy[0].address,
        healthy[1].address,
        dying.address,
        stalled.address,
        resets.address,
        garbled.address,
        slow,
    ];
    let extra = ", slots: 32, connections: { connect-timeout: 300ms }, \
                 ejection: { first: 100ms, longest: 1s }";
    let workers: Vec<_> = addresses
        .iter()
        .enumerate()
        .map(|(at, address)| scene::worker(&format!("w{at}"), "openai", *address, extra))
        .collect();
    let route = "    limits: { timeout: 3s }\n    retry: { attempts: 3 }\n";
    let proxy = Proxy::start(&scene::workers(&workers, route)).await;

    let seconds = std::env::var("TOLLGATE_STORM_SECONDS").ok();
    let seconds = seconds.map(|text| Duration::from_secs(text.parse().expect("seconds")));
    let storm = Arc::new(Storm {
        address: proxy.http(),
        counts: Mutex::default(),
        wrong: Mutex::default(),
        ended: AtomicUsize::new(0),
        progress: Notify::new(),
        until: seconds.map(|seconds| Instant::now() + seconds),
    });
    let killer = tokio::spawn(storm.clone().killer(dying));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(storm.clone().client(number)))
        .collect();
    for client in clients {
        client.await.expect("it ends within the ceiling");
    }
    killer.abort();
    let counts = storm.counts.lock().unwrap().clone();
    println!("{} requests: {counts:?}", counts.all());
    let wrong = storm.wrong.lock().unwrap().clone();
    assert!(
        wrong.is_empty(),
        "{} of them: {:#?}",
        wrong.len(),
        wrong.first()
    );
    assert_eq!(counts.all(), storm.ended.load(Ordering::Relaxed));
    assert!(seconds.is_some() || counts.all() == CLIENTS * REQUESTS);
    assert!(counts.answered > 0 && counts.streamed > 0 && counts.killed > 0);
    let known = [429, 500, 502, 503, 504];
    assert!(counts.refused.keys().all(|status| known.contains(status)));

    // Nothing stays behind, and who is well goes on.
    proxy.becomes("route_requests{route=\"all\"}", 0.0).await;
    proxy.becomes("request_memory_bytes", 0.0).await;
    for at in 0..addresses.len() {
        proxy
            .becomes(&format!("upstream_streams{{worker=\"w{at}\"}}"), 0.0)
            .await;
    }
    eventually("a request is answered", async || {
        let response = http1::ask(proxy.http(), &scene::completion(false)).await;
        (response.status == 200).then_some(())
    })
    .await;
}
