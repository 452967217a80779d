//! Exports to collectors that are away, slow, refuse, or take a part: what is sent again, how often,
//! and what is counted. What is in them is looked at with OpenTelemetry's own crate in `tests/`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tollgate_otlp::{Exporter, Protocol, Spec};
use tollgate_telemetry::{Metrics, TraceContext, Tracer, TracerSpec};

const ATTEMPTS: u32 = 4;

/// Answers each request with what it is told to, by number; none: not at all.
struct Collector {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Collector {
    async fn start(answer: impl Fn(usize) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (asked.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (count, answer) = (count.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut held = Vec::new();
                    loop {
                        let mut piece = [0; 4096];
                        let Ok(read @ 1..) = stream.read(&mut piece).await else {
                            return;
                        };
                        held.extend_from_slice(&piece[..read]);
                        let Some(end) = request_end(&held) else {
                            continue;
                        };
                        held.drain(..end);
                        match answer(count.fetch_add(1, Ordering::SeqCst)) {
                            Some(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                            None => std::future::pending().await,
                        }
                    }
                });
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn request_end(held: &[u8]) -> Option<usize> {
    let head = held.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&held[..head]).to_lowercase();
    let length = text.split("content-length:").nth(1)?;
    let length: usize = length.lines().next()?.trim().parse().ok()?;
    (held.len() >= head + length).then_some(head + length)
}

fn answer(status: &str, headers: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"
    ))
}

fn spec(address: SocketAddr) -> Spec {
    Spec {
        protocol: Protocol::Http,
        authority: address.to_string(),
        tls: None,
        prefix: String::new(),
        headers: String::new(),
        headers_file: None,
        timeout: Duration::from_secs(5),
        attempts: ATTEMPTS,
        pause: Duration::from_millis(1),
        resource: vec![("service.name".into(), "t".into())],
    }
}

fn tracer() -> Arc<Tracer> {
    Tracer::new(TracerSpec {
        ratio: 1.0,
        follow: true,
        queue: 256,
        batch: 2,
    })
    .unwrap()
}

/// Requests of one span each.
fn requests(tracer: &Arc<Tracer>, count: usize) {
    for _ in 0..count {
        let context = TraceContext::from_headers(&HeaderMap::new());
        let trail = tracer.begin(&context);
        trail
            .step(tollgate_telemetry::spans::Kind::Internal, "step")
            .end();
    }
}

/// Waits for what must come, and not for ever.
async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let ceiling = Duration::from_secs(20);
    tokio::time::timeout(ceiling, wait).await.expect("it comes");
}

fn figure(exporter: &Arc<Exporter>, name: &'static str) -> u64 {
    let metrics = Metrics::new();
    let exporter = exporter.clone();
    metrics.register_collector(Box::new(move |samples| {
        Exporter::collect(Some(&exporter), samples);
    }));
    let page = metrics.encode();
    let series = format!("tollgate_{name}_total{{signal=\"traces\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&series));
    let value: f64 = line
        .unwrap_or_else(|| panic!("{name}: {page}"))
        .parse()
        .unwrap();
    value as u64
}

#[tokio::test]
async fn what_is_taken_is_counted() {
    let collector = Collector::start(|_| answer("200 OK", "", "")).await;
    let exporter = Exporter::new(spec(collector.address)).unwrap();
    let tracer = tracer();
    requests(&tracer, 3);
    exporter.flush(Some(&tracer), None).await;
    assert_eq!((collector.asked(), tracer.held()), (2, 0));
    assert_eq!(figure(&exporter, "otlp_exported"), 3);
    assert_eq!(figure(&exporter, "otlp_lost"), 0);
}

#[tokio::test]
async fn what_a_collector_rejects_is_counted_apart() {
    // partial_success { rejected: 1, error_message: "no" }
    let body = "\u{a}\u{6}\u{8}\u{1}\u{12}\u{2}no";
    let collector = Collector::start(move |_| answer("200 OK", "", body)).await;
    let exporter = Exporter::new(spec(collector.address)).unwrap();
    let tracer = tracer();
    requests(&tracer, 2);
    exporter.flush(Some(&tracer), None).await;
    assert_eq!(figure(&exporter, "otlp_exported"), 1);
    assert_eq!(figure(&exporter, "otlp_rejected"), 1);
}

#[tokio::test]
async fn what_may_be_sent_again_is_and_the_rest_is_not() {
    for (status, headers, attempts) in [
        ("503 Away", "", ATTEMPTS),
        ("429 Slowly", "retry-after: 0\r\n", ATTEMPTS),
        ("400 No", "", 1),
        ("401 Who", "", 1),
        ("500 Oops", "", 1),
    ] {
        let collector = Collector::start(move |_| answer(status, headers, "")).await;
        let exporter = Exporter::new(spec(collector.address)).unwrap();
        let tracer = tracer();
        requests(&tracer, 2);
        let keeping = exporter
            .clone()
            .keep_traces(tracer.clone(), Duration::from_millis(1));
        let keeping = tokio::spawn(keeping);
        until(|| figure(&exporter, "otlp_lost") > 0).await;
        keeping.abort();
        assert_eq!(collector.asked(), attempts as usize, "{status}");
        assert_eq!(figure(&exporter, "otlp_failures"), u64::from(attempts));
        assert_eq!(figure(&exporter, "otlp_lost"), 2);
    }
}

#[tokio::test]
async fn one_that_comes_back_gets_what_waited() {
    let collector = Collector::start(|number| match number {
        0 | 1 => answer("502 Away", "", ""),
        _ => answer("200 OK", "", ""),
    })
    .await;
    let exporter = Exporter::new(spec(collector.address)).unwrap();
    let tracer = tracer();
    requests(&tracer, 2);
    let keeping = exporter
        .clone()
        .keep_traces(tracer.clone(), Duration::from_millis(1));
    let keeping = tokio::spawn(keeping);
    until(|| figure(&exporter, "otlp_exported") >= 2).await;
    keeping.abort();
    assert_eq!(figure(&exporter, "otlp_failures"), 2);
    assert_eq!(figure(&exporter, "otlp_lost"), 0);
}

#[tokio::test]
async fn one_that_does_not_answer_holds_no_more_than_the_queue() {
    let collector = Collector::start(|_| None).await;
    let exporter = Exporter::new(spec(collector.address)).unwrap();
    let tracer = tracer();
    let keeping = exporter
        .clone()
        .keep_traces(tracer.clone(), Duration::from_millis(1));
    let keeping = tokio::spawn(keeping);
    requests(&tracer, 2);
    until(|| collector.asked() > 0).await;
    requests(&tracer, 1000);
    assert_eq!(tracer.held(), 256);
    assert_eq!(tracer.dropped(), 1000 - 256);
    assert_eq!(collector.asked(), 1, "one export at a time");
    keeping.abort();
}

#[tokio::test]
async fn nobody_there_is_trouble_and_no_more() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let exporter = Exporter::new(spec(address)).unwrap();
    let tracer = tracer();
    requests(&tracer, 6);
    exporter
        .flush(Some(&tracer), Some(&Arc::new(Metrics::new())))
        .await;
    assert_eq!(figure(&exporter, "otlp_failures"), 1, "the end waits once");
    assert_eq!(figure(&exporter, "otlp_lost"), 2);
}

#[test]
fn nonsense_is_refused() {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let with = |change: fn(&mut Spec)| {
        let mut spec = spec(address);
        change(&mut spec);
        Exporter::new(spec).unwrap_err().to_string()
    };
    assert!(with(|spec| spec.timeout = Duration::ZERO).contains("timeout"));
    assert!(with(|spec| spec.authority = "no port".into()).contains("no port"));
    assert!(with(|spec| spec.headers = "a".into()).contains("entry 1"));
    assert!(with(|spec| spec.headers_file = Some("/nowhere/at/all".into())).contains("nowhere"));
}
