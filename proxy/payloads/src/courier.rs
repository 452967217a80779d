//! The task that posts events.
//!
//! 1. It takes an event when fewer are under way than may be, and the sink is not being left alone.
//! 2. What the sink does not take (another status than 2xx, no answer in time, no connection) is not
//!    posted again: it may have been taken all the same.
//! 3. From the third failure in a row on it leaves the sink alone for a while, twice as long each
//!    time; meanwhile the queue fills, and what does not fit is dropped where it is made.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::USER_AGENT;
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tollgate_upstream::{Spec, Tls, Transport, Upstream};

use crate::event::{Content, Event};
use crate::log::{PayloadLog, PayloadLogError, SinkSpec};

/// Failures in a row after which the sink is left alone.
const PATIENCE: u32 = 3;
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read, so that its connection can be used again.
const ANSWER: usize = 64 << 10;

/// Posts the events of one log.
#[must_use = "without its task nothing is told"]
pub struct Courier {
    events: mpsc::Receiver<Event>,
    log: Arc<PayloadLog>,
    sink: Arc<Sink>,
    connections: usize,
}

struct Sink {
    upstream: Arc<Upstream>,
    /// Its host and port.
    address: String,
    uri: Uri,
    timeout: Duration,
    content: Content,
    log: Arc<PayloadLog>,
}

impl Courier {
    pub(crate) fn new(
        spec: &SinkSpec,
        events: mpsc::Receiver<Event>,
        log: Arc<PayloadLog>,
    ) -> Result<Self, PayloadLogError> {
        let wrong = |error: &dyn std::fmt::Display| PayloadLogError::Sink(error.to_string());
        let ca_pem = spec.ca.as_ref().filter(|_| spec.tls).map(std::fs::read);
        let ca_pem = ca_pem.transpose().map_err(|error| wrong(&error))?;
        let upstream = Upstream::new(Spec {
            authority: spec
                .authority
                .parse::<Authority>()
                .map_err(|error| wrong(&error))?,
            address: spec.authority.clone(),
            transport: Transport::H1,
            tls: spec.tls.then_some(Tls {
                ca_pem,
                server_name: None,
            }),
            max_connections: spec.connections,
            max_streams: 1,
            connect_timeout: spec.timeout,
            idle_timeout: Duration::from_secs(30),
        });
        let sink = Sink {
            upstream: upstream.map_err(|error| wrong(&error))?,
            address: spec.authority.clone(),
            uri: spec.path.parse::<Uri>().map_err(|error| wrong(&error))?,
            timeout: spec.timeout,
            content: spec.content,
            log: log.clone(),
        };
        Ok(Self {
            events,
            log,
            sink: Arc::new(sink),
            connections: spec.connections,
        })
    }

    /// Posts until the log is closed and what waits is posted.
    pub async fn run(mut self) {
        let mut under_way = FuturesUnordered::new();
        let (mut failures, mut alone_until) = (0_u32, Instant::now());
        let mut open = true;
        loop {
            let leaves_alone = Instant::now() < alone_until;
            tokio::select! {
                biased;
                () = self.log.closing.notified(), if open => {
                    open = false;
                    self.events.close();
                }
                Some(taken) = under_way.next(), if !under_way.is_empty() => match taken {
                    Ok(()) => failures = 0,
                    Err(problem) => {
                        failures = failures.saturating_add(1);
                        if failures >= PATIENCE {
                            alone_until = Instant::now() + pause(failures - PATIENCE);
                        }
                        if failures == PATIENCE {
                            let Sink { address, uri, .. } = &*self.sink;
                            tracing::warn!(sink = %format_args!("{address}{uri}"), problem, "payloads are not taken by their sink");
                        }
                    }
                },
                () = tokio::time::sleep_until(alone_until), if leaves_alone => {}
                event = self.events.recv(),
                    if !leaves_alone && under_way.len() < self.connections => match event {
                    Some(event) => {
                        let sink = self.sink.clone();
                        under_way.push(async move { sink.post(event).await });
                    }
                    None if under_way.is_empty() => return,
                    // Those that are under way end in time.
                    None => {
                        while under_way.next().await.is_some() {}
                        return;
                    }
                },
            }
        }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.events.close();
        while self.events.try_recv().is_ok() {
            self.log.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.log.counts.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn pause(doublings: u32) -> Duration {
    FIRST.saturating_mul(1 << doublings.min(16)).min(LONGEST)
}

/// An event that waits no more, whatever comes of it.
struct Waits(Arc<Sink>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.log.counts.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sink {
    async fn post(self: Arc<Self>, event: Event) -> Result<(), String> {
        let _waits = Waits(self.clone());
        let posted = tokio::time::timeout(self.timeout, self.posted(event)).await;
        let posted = posted.unwrap_or_else(|_| Err("not taken in time".to_owned()));
        let counts = &self.log.counts;
        let count = match posted {
            Ok(()) => &counts.sent,
            Err(_) => &counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        posted
    }

    async fn posted(&self, event: Event) -> Result<(), String> {
        let (headers, body) = event.written(&self.log.common, self.content, SystemTime::now());
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = self.uri.clone();
        *head.headers_mut() = headers;
        let agent = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
        head.headers_mut()
            .insert(USER_AGENT, HeaderValue::from_static(agent));
        let sent = self.upstream.send(head, Full::new(body)).await;
        let mut answer = sent.map_err(|error| error.to_string())?;
        let status = answer.head.status;
        let mut read = 0;
        while let Some(Ok(data)) = answer.body.data().await {
            read += data.len();
            if read > ANSWER {
                break;
            }
        }
        match status.is_success() {
            true => Ok(()),
            false => Err(format!("status {}", status.as_u16())),
        }
    }
}
