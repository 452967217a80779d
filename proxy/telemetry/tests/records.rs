//! A request's record: its line and its counts.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::Value;
use tollgate_telemetry::spans::{Kind, Value as Told};
use tollgate_telemetry::{Metrics, Record, RecordStart, TraceContext, Tracer, TracerSpec};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Lines;

    fn make_writer(&'l self) -> Lines {
        self.clone()
    }
}

/// One test at a time: whether anyone listens to an event is kept for the whole process, so that
/// tests with a listener and tests without one disturb each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was logged, in JSON and as text.
fn logged(work: impl Fn()) -> (Vec<Value>, String) {
    let (json, text) = (Lines::default(), Lines::default());
    let log = tracing_subscriber::fmt().with_writer(json.clone());
    tracing::subscriber::with_default(log.json().flatten_event(true).finish(), &work);
    let log = tracing_subscriber::fmt()
        .with_writer(text.clone())
        .with_ansi(false);
    tracing::subscriber::with_default(log.finish(), &work);
    let read = |lines: Lines| String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines = read(json)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (lines, read(text))
}

fn start(path: &str) -> RecordStart {
    RecordStart {
        request_id: "r-1".to_owned(),
        route: "all".into(),
        listener: "front".into(),
        method: Method::POST,
        path: path.to_owned(),
        protocol: "h2",
        peer: ([10, 0, 0, 7], 4242).into(),
    }
}

fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn the_last_clone_writes_one_line_and_counts_once() {
    let _alone = alone();
    let (lines, _) = logged(|| {
        let metrics = Arc::new(Metrics::new());
        let record = Record::begin(&metrics, start("/v1/ask?token=secret"));
        let page = metrics.encode();
        assert_eq!(value(&page, "tollgate_in_flight{route=\"all\"}"), Some(1.0));
        let other = record.clone();
        record.frontend(&"speaker".into(), 7);
        record.dialect(&"speech".into());
        record.identity("ann");
        record.tenant("house");
        record.queued(Duration::from_millis(2));
        record.queued(Duration::from_millis(3));
        record.batch(4);
        record.backend(&"asker".into(), 9);
        record.worker_dialect("questions");
        record.received(100);
        record.received(80);
        record.task("chat");
        record.model("llama");
        record.worker("w1");
        drop(record);
        other.status(200);
        other.grpc_status(0);
        other.sent(0);
        other.sent(10);
        other.sent(32);
        other.usage(Some(5), None);
        other.usage(None, Some(9));
        other.retried();
        drop(other);

        let page = metrics.encode();
        let labels = "{route=\"all\",frontend=\"speaker\",task=\"chat\",outcome=\"ok\"}";
        for (series, expected) in [
            (format!("tollgate_requests_total{labels}"), 1.0),
            ("tollgate_in_flight{route=\"all\"}".to_owned(), 0.0),
            (
                "tollgate_response_body_bytes_total{route=\"all\"}".to_owned(),
                42.0,
            ),
            ("tollgate_retries_total{route=\"all\"}".to_owned(), 1.0),
            (
                "tollgate_tokens_total{route=\"all\",direction=\"in\"}".to_owned(),
                5.0,
            ),
            (
                "tollgate_tokens_total{route=\"all\",direction=\"out\"}".to_owned(),
                9.0,
            ),
            (
                "tollgate_request_duration_seconds_count{route=\"all\"}".to_owned(),
                1.0,
            ),
            (
                "tollgate_first_byte_seconds_count{route=\"all\"}".to_owned(),
                1.0,
            ),
            (
                "tollgate_request_body_bytes_total{route=\"all\"}".to_owned(),
                100.0,
            ),
            (
                "tollgate_queue_wait_seconds_count{route=\"all\"}".to_owned(),
                1.0,
            ),
        ] {
            assert_eq!(value(&page, &series), Some(expected), "{series}\n{page}");
        }
        assert!(!page.contains("llama"), "models are no labels");
        assert!(page.ends_with("# EOF\n"));
    });
    let [line] = &*lines else { panic!("{lines:?}") };
    for (key, expected) in [
        ("target", "access"),
        ("request_id", "r-1"),
        ("listener", "front"),
        ("route", "all"),
        ("peer", "10.0.0.7:4242"),
        ("protocol", "h2"),
        ("method", "POST"),
        ("path", "/v1/ask"),
        ("frontend", "speaker"),
        ("identity", "ann"),
        ("tenant", "house"),
        ("dialect", "speech"),
        ("backend", "asker"),
        ("worker_dialect", "questions"),
        ("task", "chat"),
        ("model", "llama"),
        ("worker", "w1"),
        ("outcome", "ok"),
    ] {
        assert_eq!(line[key], expected, "{key}");
    }
    for (key, expected) in [
        ("generation", 7),
        ("status", 200),
        ("grpc_status", 0),
        ("input_tokens", 5),
        ("output_tokens", 9),
        ("sent_bytes", 42),
        ("retries", 1),
        ("backend_generation", 9),
        ("batch_size", 4),
        ("received_bytes", 100),
    ] {
        assert_eq!(line[key], expected, "{key}");
    }
    assert_eq!(line["queue_ms"], 5.0);
    assert!(line["duration_ms"].as_f64() >= line["first_byte_ms"].as_f64());
    assert!(!line.to_string().contains("secret"));
}

#[test]
fn the_outcome_says_how_it_ended() {
    let _alone = alone();
    type Note = fn(&Record);
    let cases: [(&str, Note); 9] = [
        ("client-gone", |_| {}),
        ("ok", |r| r.status(204)),
        ("client-error", |r| r.status(404)),
        ("server-error", |r| r.status(503)),
        ("grpc-error", |r| (r.status(200), r.grpc_status(13)).0),
        ("ok", |r| (r.status(200), r.grpc_status(0)).0),
        ("overloaded", |r| {
            (r.failed("overloaded"), r.failed("internal"), r.status(503)).0
        }),
        ("client-gone", |r| (r.status(200), r.gone()).0),
        ("timed-out", |r| (r.failed("timed-out"), r.gone()).0),
    ];
    let metrics = Arc::new(Metrics::new());
    for (n, (outcome, note)) in cases.into_iter().enumerate() {
        let route = format!("route-{n}");
        let begin = RecordStart {
            route: route.as_str().into(),
            ..start("/")
        };
        note(&Record::begin(&metrics, begin));
        let labels =
            format!("{{route=\"{route}\",frontend=\"none\",task=\"none\",outcome=\"{outcome}\"}}");
        let series = format!("tollgate_requests_total{labels}");
        assert_eq!(value(&metrics.encode(), &series), Some(1.0), "{outcome}");
    }
}

#[test]
fn nothing_that_a_client_names_makes_a_second_line() {
    let _alone = alone();
    let (lines, text) = logged(|| {
        let metrics = Arc::new(Metrics::new());
        let record = Record::begin(&metrics, start("/a\nb#c"));
        record.model("x\n{\"level\":\"ERROR\"}\u{1b}[31m");
        record.status(200);
    });
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["path"], "/a\nb");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn long_names_are_cut_between_characters() {
    let _alone = alone();
    let (lines, _) = logged(|| {
        let metrics = Arc::new(Metrics::new());
        let record = Record::begin(&metrics, start(&"ä".repeat(1000)));
        record.model(&format!("a{}", "ä".repeat(1000)));
    });
    assert_eq!(lines[0]["path"].as_str().unwrap().len(), 256);
    assert_eq!(lines[0]["model"].as_str().unwrap().len(), 255);
}

#[test]
fn labels_are_bounded() {
    let _alone = alone();
    let metrics = Arc::new(Metrics::new());
    for n in 0..3000 {
        let record = Record::begin(
            &metrics,
            RecordStart {
                route: format!("route-{n}").into(),
                ..start("/")
            },
        );
        record.task(&format!("task-{n}"));
        record.failed(&format!("failure-{n}"));
    }
    let page = metrics.encode();
    let series = page
        .lines()
        .filter(|l| l.starts_with("tollgate_in_flight{"))
        .count();
    assert_eq!(series, 1025);
    assert!(page.contains("route=\"other\",frontend=\"none\",task=\"other\",outcome=\"other\""));
    assert!(!page.contains("task-64\"") && !page.contains("failure-64\""));
}

#[test]
fn what_ended_badly_is_remembered_by_names_and_numbers() {
    let _alone = alone();
    type Note = fn(&Record);
    let cases: [(&str, Note); 9] = [
        ("well", |r| r.status(200)),
        ("refused", |r| r.status(404)),
        ("refused", |r| (r.status(429), r.failed("rate-limited")).0),
        ("failed", |r| r.status(502)),
        ("failed", |r| (r.status(200), r.grpc_status(13)).0),
        ("refused", |r| (r.status(200), r.grpc_status(8)).0),
        ("failed", |r| (r.failed("broken"), r.status(200)).0),
        ("gone", |r| (r.status(200), r.gone()).0),
        ("gone", |_| {}),
    ];
    let metrics = Arc::new(Metrics::new());
    let mut wanted = Vec::new();
    for (ending, note) in cases {
        let record = Record::begin(&metrics, start("/v1/ask?token=secret"));
        record.model("llama");
        record.worker("w1");
        note(&record);
        drop(record);
        if ending != "well" {
            wanted.insert(0, ending);
        }
    }
    let pulse = metrics.pulse();
    let told = pulse.failures().last(100);
    let endings: Vec<_> = told.iter().map(|it| it.ending.as_str()).collect();
    assert_eq!(endings, wanted);
    assert_eq!(pulse.failures().total(), 8);
    let beat = pulse.beat();
    assert_eq!((beat.refused, beat.failed, beat.gone), (3, 3, 2));
    assert_eq!((beat.took.total(), beat.first_byte.total()), (9, 0));
    assert!(!format!("{told:?}").contains("secret"));
    let last = &told[0];
    assert_eq!(
        (last.number, &*last.route, &*last.request_id),
        (8, "all", "r-1")
    );
    assert_eq!(last.worker.as_deref(), Some("w1"));
    assert_eq!(metrics.sums().in_flight, 0);
}

#[test]
fn a_traced_request_has_its_span_and_its_line_names_the_trace() {
    let _alone = alone();
    let tracer = Tracer::new(TracerSpec {
        ratio: 0.0,
        follow: true,
        queue: 1024,
        batch: 16,
    })
    .unwrap();
    let mut headers = HeaderMap::new();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent", parent.parse().unwrap());
    type Note = fn(&Record);
    let cases: [(Note, &str, Option<&str>); 5] = [
        (|r| r.status(200), "POST /v1/{which}", None),
        (|r| r.status(404), "POST /v1/{which}", None),
        (|r| r.status(503), "POST /v1/{which}", Some("server-error")),
        (
            |r| (r.status(200), r.failed("broken")).0,
            "POST /v1/{which}",
            Some("broken"),
        ),
        (
            |r| (r.status(200), r.grpc_status(13)).0,
            "v1/{which}",
            Some("grpc-error"),
        ),
    ];
    for (note, name, error) in cases {
        let (lines, _) = logged(|| {
            let context = TraceContext::from_headers(&headers);
            let trail = tracer.begin(&context);
            let record = Record::begin(&Arc::new(Metrics::new()), start("/v1/ask"));
            record.trace(&context, &trail);
            record.claim(&"/v1/{which}".into());
            record.task("chat");
            record.usage(Some(3), None);
            note(&record);
        });
        assert_eq!(lines[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        let span = tracer.batch().remove(0).spans.remove(0);
        assert_eq!((&*span.name, span.kind), (name, Kind::Server));
        assert_eq!(span.parent.to_string(), "00f067aa0ba902b7");
        assert_eq!(span.error.as_deref(), error);
        let told = |name: &str| {
            let mut attributes = span.attributes.iter();
            let found = attributes.find(|(of, _)| of == name);
            found.map(|(_, value)| value.clone())
        };
        assert_eq!(told("url.path"), Some(Told::Text("/v1/ask".into())));
        assert_eq!(
            told("gen_ai.operation.name"),
            Some(Told::Text("chat".into()))
        );
        assert_eq!(told("gen_ai.usage.input_tokens"), Some(Told::Number(3)));
        assert_eq!(told("gen_ai.usage.output_tokens"), None);
    }
}
