//! One request, one trace: its spans, whose parts they are, what they tell, and what a worker is told
//! of them.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, grpc as client, http1 as ask},
    eventually,
    fake::{
        grpc::{self, Act},
        http1,
    },
    scene,
    wire1::Head,
};

use super::{
    PARENT, TRACE,
    receiver::{Over, Receiver, Told, named, only},
    traceparent,
};

/// A TGIS server that streams two tokens.
async fn streaming() -> grpc::Worker {
    grpc::Worker::start(|_| {
        vec![
            Act::Head,
            grpc::send(&scene::first()),
            grpc::send(&scene::piece("one", 1, false)),
            grpc::send(&scene::piece(" two", 2, true)),
            Act::Status(0, ""),
        ]
    })
    .await
}

fn traced(request: Request) -> Request {
    request
        .header("traceparent", &traceparent())
        .header("tracestate", "vendor=x")
        .header("baggage", "user=ann, bad member, plan=free")
}

/// The parent that a worker was told, which has to be of the client's trace and sampled.
fn told_parent(head: &Head) -> String {
    let parent = head.get("traceparent").expect("a parent");
    let parts: Vec<_> = parent.split('-').collect();
    assert_eq!((parts[0], parts[1], parts[3]), ("00", TRACE, "01"));
    parts[2].to_owned()
}

fn fine(spans: &[Told]) {
    for span in spans {
        assert_eq!(span.error(), None, "{span:?}");
        assert!(span.0.start_time_unix_nano <= span.0.end_time_unix_nano);
    }
}

async fn a_translated_stream(over: Over) {
    let receiver = Receiver::start(over).await;
    let worker = streaming().await;
    let config = scene::one("tgis", worker.address, "", "") + &receiver.section("");
    let proxy = Proxy::start(&config).await;
    let request = traced(scene::completion(true)).header("x-request-id", "asked-1");
    ask::ask(proxy.http(), &request).await.with_status(200);

    let spans = receiver.trace(TRACE).await;
    assert_eq!(spans.len(), 5, "{spans:#?}");
    fine(&spans);
    let server = only(&spans, |span| span.kind() == SpanKind::Server);
    let frontend = named(&spans, "frontend");
    let queue = named(&spans, "queue");
    let backend = named(&spans, "backend");
    let request = only(&spans, |span| span.kind() == SpanKind::Client);
    assert_eq!(server.parent(), PARENT);
    assert_eq!(frontend.parent(), server.id());
    assert_eq!(queue.parent(), frontend.id());
    assert_eq!(backend.parent(), frontend.id());
    assert_eq!(request.parent(), backend.id());
    for (inner, outer) in [
        (&frontend, &server),
        (&queue, &frontend),
        (&backend, &frontend),
        (&request, &backend),
    ] {
        assert!(inner.0.start_time_unix_nano >= outer.0.start_time_unix_nano);
        assert!(inner.0.end_time_unix_nano <= outer.0.end_time_unix_nano);
        assert_eq!(inner.0.trace_state, "vendor=x");
    }
    // The parent is another process's, and nobody else's is.
    assert_eq!((server.0.flags, frontend.0.flags), (0x301, 0x101));

    assert_eq!(server.0.name, "POST /v1/completions");
    assert_eq!(server.text("tollgate.request_id"), Some("asked-1"));
    assert_eq!(server.text("http.request.method"), Some("POST"));
    assert_eq!(server.text("http.route"), Some("/v1/completions"));
    assert_eq!(server.number("http.response.status_code"), Some(200));
    assert_eq!(server.text("tollgate.outcome"), Some("ok"));
    assert_eq!(
        server.text("gen_ai.operation.name"),
        Some("text_completion")
    );
    assert_eq!(server.text("gen_ai.request.model"), Some("m"));
    assert_eq!(server.text("gen_ai.response.model"), Some("served"));
    assert_eq!(server.text("gen_ai.provider.name"), Some("tgis"));
    assert_eq!(server.text("tollgate.worker"), Some("w0"));
    for span in [&server, &request] {
        assert_eq!(
            span.number("gen_ai.usage.input_tokens"),
            Some(2),
            "{span:?}"
        );
        assert_eq!(
            span.number("gen_ai.usage.output_tokens"),
            Some(2),
            "{span:?}"
        );
    }
    assert_eq!(frontend.text("tollgate.plugin"), Some("openai"));
    assert!(frontend.number("tollgate.plugin.generation").is_some());
    assert_eq!(queue.text("tollgate.worker"), Some("w0"));
    assert_eq!(queue.number("tollgate.batch.size"), Some(1));
    assert_eq!(backend.text("tollgate.plugin"), Some("tgis"));
    assert_eq!(request.0.name, "text_completion served");
    assert_eq!(
        request.text("gen_ai.operation.name"),
        Some("text_completion")
    );
    assert_eq!(request.text("gen_ai.provider.name"), Some("tgis"));
    assert_eq!(request.text("gen_ai.request.model"), Some("served"));
    assert_eq!(request.text("server.address"), Some("127.0.0.1"));
    let port = i64::from(worker.address.port());
    assert_eq!(request.number("server.port"), Some(port));
    assert_eq!(request.number("http.response.status_code"), Some(200));

    let head = worker.journal.head(0).await;
    assert_eq!(told_parent(&head), request.id());
    assert_eq!(head.get("tracestate"), Some("vendor=x"));
    assert_eq!(head.get("baggage"), Some("user=ann,plan=free"));
}

#[tokio::test]
async fn a_translated_stream_is_one_trace_over_http() {
    a_translated_stream(Over::Http).await;
}

#[tokio::test]
async fn a_translated_stream_is_one_trace_over_grpc() {
    a_translated_stream(Over::Grpc).await;
}

#[tokio::test]
async fn headers_come_from_a_file_that_is_read_anew() {
    let receiver = Receiver::start(Over::Http).await;
    let section = receiver.section(", prefix: /otlp/a, headers-file: secret.headers");
    let worker = streaming().await;
    let config = scene::one("tgis", worker.address, "", "") + &section;
    let proxy = Setup::new(&config)
        .file("secret.headers", "# a token\nauthorization: Bearer first\n")
        .start()
        .await;
    let head = receiver.journal().head(0).await;
    assert!(
        head.line.starts_with("POST /otlp/a/v1/metrics "),
        "{}",
        head.line
    );
    assert_eq!(head.get("authorization"), Some("Bearer first"));
    proxy.rewrite("secret.headers", "authorization: Bearer second\n");
    eventually("the new token", async || {
        let entries = receiver.journal().entries();
        let second = format!("{entries:?}").contains("Bearer second");
        second.then_some(())
    })
    .await;
    assert!(!proxy.log().contains("Bearer"), "no token in the log");
}

/// A vLLM that answers whole or in events, as it is asked.
async fn vllm() -> http1::Worker {
    http1::Worker::start(|received| {
        let streams = String::from_utf8_lossy(&received.body).contains(r#""stream":true"#);
        match streams {
            false => vec![http1::json(200, &scene::completed("text"))],
            true => vec![
                http1::stream_head(),
                http1::event(&scene::chunk("one", None, 1)),
                http1::event(&scene::chunk(" two", Some("length"), 3)),
                http1::event(&scene::usage_chunk(3)),
                http1::event("[DONE]"),
                http1::stream_end(),
            ],
        }
    })
    .await
}

#[tokio::test]
async fn a_passed_request_is_one_trace_and_tells_its_tokens() {
    let receiver = Receiver::start(Over::Http).await;
    let worker = vllm().await;
    let config = scene::one("openai", worker.address, "", "") + &receiver.section("");
    let proxy = Proxy::start(&config).await;
    for (number, stream) in [false, true].into_iter().enumerate() {
        // A trace of its own: the id's beginning is what tells them apart.
        let trace = format!("{number}{}", &TRACE[1..]);
        let parent = format!("00-{trace}-{PARENT}-01");
        let request = scene::completion(stream).header("traceparent", &parent);
        ask::ask(proxy.http(), &request).await.with_status(200);
        let spans = receiver.trace(&trace).await;
        assert_eq!(spans.len(), 4, "{spans:#?}");
        fine(&spans);
        let server = only(&spans, |span| span.kind() == SpanKind::Server);
        let frontend = named(&spans, "frontend");
        let request = only(&spans, |span| span.kind() == SpanKind::Client);
        assert_eq!(named(&spans, "queue").parent(), frontend.id());
        assert_eq!(request.parent(), frontend.id());
        assert_eq!(request.text("gen_ai.provider.name"), Some("vllm"));
        for span in [&server, &request] {
            assert_eq!(
                span.number("gen_ai.usage.input_tokens"),
                Some(2),
                "{span:?}"
            );
            assert_eq!(
                span.number("gen_ai.usage.output_tokens"),
                Some(3),
                "{span:?}"
            );
        }
        let head = worker.journal.head(number).await;
        let expected = format!("00-{trace}-{}-01", request.id());
        assert_eq!(head.get("traceparent"), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn an_attempt_that_fails_and_the_next_have_spans_of_their_own() {
    let receiver = Receiver::start(Over::Http).await;
    let worker = http1::Worker::start(|received| match received.number {
        0 => vec![http1::Act::Close],
        _ => vec![http1::json(200, &scene::completed("text"))],
    })
    .await;
    let workers = ["w0", "w1"].map(|name| scene::worker(name, "openai", worker.address, ""));
    let config = scene::workers(&workers, "    retry: { attempts: 2 }");
    let proxy = Proxy::start(&(config + &receiver.section(""))).await;
    ask::ask(proxy.http(), &traced(scene::completion(false)))
        .await
        .with_status(200);
    let spans = receiver.trace(TRACE).await;
    let requests: Vec<_> = spans
        .iter()
        .filter(|span| span.kind() == SpanKind::Client)
        .collect();
    let failed = requests.iter().filter(|span| span.error().is_some());
    assert_eq!((requests.len(), failed.count()), (2, 1), "{spans:#?}");
    let queues = spans.iter().filter(|span| span.0.name == "queue");
    assert_eq!(queues.count(), 2);
    let server = only(&spans, |span| span.kind() == SpanKind::Server);
    assert_eq!(
        (server.error(), server.number("tollgate.retries")),
        (None, Some(1))
    );
    let mut told: Vec<_> = Vec::new();
    for number in 0..2 {
        told.push(told_parent(&worker.journal.head(number).await));
    }
    let mut ids: Vec<_> = requests.iter().map(|span| span.id()).collect();
    told.sort();
    ids.sort();
    assert_eq!(told, ids, "each attempt was told its own span");
}

#[tokio::test]
async fn failures_are_told_of_whose_they_are() {
    let receiver = Receiver::start(Over::Http).await;
    let worker =
        http1::Worker::start(|_| vec![http1::json(500, &json!({"error": {"message": "no"}}))])
            .await;
    let config = scene::one("openai", worker.address, "", "") + &receiver.section("");
    let proxy = Proxy::start(&config).await;
    let got = ask::ask(proxy.http(), &traced(scene::completion(false))).await;
    assert!(got.status >= 500);
    let spans = receiver.trace(TRACE).await;
    let server = only(&spans, |span| span.kind() == SpanKind::Server);
    let request = only(&spans, |span| span.kind() == SpanKind::Client);
    assert_eq!(request.error(), Some("500"));
    assert_eq!(request.text("error.type"), Some("500"));
    assert_eq!(server.error(), server.text("tollgate.outcome"));
    assert!(server.error().is_some());

    // What a client does wrong is no failure of the server's.
    let trace = format!("a{}", &TRACE[1..]);
    let request = Request::post_bytes("/v1/completions", "{")
        .header("traceparent", &format!("00-{trace}-{PARENT}-01"));
    assert_eq!(ask::ask(proxy.http(), &request).await.status, 400);
    let spans = receiver.trace(&trace).await;
    let server = only(&spans, |span| span.kind() == SpanKind::Server);
    assert_eq!(server.error(), None);
    assert!(server.text("error.type").is_some());
    assert_eq!(server.number("http.response.status_code"), Some(400));
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_its_spans() {
    let receiver = Receiver::start(Over::Http).await;
    let worker = http1::Worker::start(|_| {
        vec![
            http1::stream_head(),
            http1::event(&scene::chunk("one", None, 1)),
            http1::Act::Hold,
        ]
    })
    .await;
    let config = scene::one("openai", worker.address, "", "") + &receiver.section("");
    let proxy = Proxy::start(&config).await;
    let mut connection = ask::Connection::open(proxy.http()).await;
    connection.send(&traced(scene::completion(true))).await;
    connection.head().await;
    worker.journal.holding(0).await;
    drop(connection);
    let spans = receiver.trace(TRACE).await;
    let server = only(&spans, |span| span.kind() == SpanKind::Server);
    assert_eq!(server.text("tollgate.outcome"), Some("client-gone"));
    only(&spans, |span| span.kind() == SpanKind::Client);
    named(&spans, "frontend");
}

#[tokio::test]
async fn who_is_not_sampled_is_not_exported_and_its_trace_goes_on() {
    let receiver = Receiver::start(Over::Http).await;
    let worker = vllm().await;
    let config = scene::one("openai", worker.address, "", "") + &receiver.section("");
    let proxy = Proxy::start(&config).await;
    let parent = format!("00-a{}-{PARENT}-00", &TRACE[1..]);
    let request = scene::completion(false).header("traceparent", &parent);
    ask::ask(proxy.http(), &request).await.with_status(200);
    let head = worker.journal.head(0).await;
    let told = head.get("traceparent").expect("it goes on").to_owned();
    assert!(
        told.starts_with(&format!("00-a{}-", &TRACE[1..])) && told.ends_with("-00"),
        "{told}"
    );
    assert!(!told.contains(PARENT), "the parent is ours");
    // One that is sampled comes later, and is there.
    ask::ask(proxy.http(), &traced(scene::completion(false))).await;
    receiver.trace(TRACE).await;
    let spans = receiver.spans();
    let all_of_it = |span: &Told| hex::encode(&span.0.trace_id) == TRACE;
    assert!(spans.iter().all(all_of_it), "{spans:#?}");
}

#[tokio::test]
async fn a_call_over_grpc_is_named_by_its_method() {
    let receiver = Receiver::start(Over::Grpc).await;
    let worker = grpc::Worker::start(|_| grpc::answer(&scene::generated(&["text"]))).await;
    let config = scene::one("tgis", worker.address, "", "") + &receiver.section("");
    let proxy = Proxy::start(&config).await;
    let request = traced(scene::tgis("Generate"));
    let message = scene::batch("m", &["Hello"]);
    let (_, status) = client::ask::<tollgate_tests::fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &request,
        &message,
    )
    .await;
    assert_eq!(status.code, 0);
    let spans = receiver.trace(TRACE).await;
    fine(&spans);
    let server = only(&spans, |span| span.kind() == SpanKind::Server);
    assert_eq!(server.0.name, "fmaas.GenerationService/Generate");
    assert_eq!(server.text("rpc.system"), Some("grpc"));
    assert_eq!(server.text("rpc.service"), Some("fmaas.GenerationService"));
    assert_eq!(server.text("rpc.method"), Some("Generate"));
    assert_eq!(server.number("rpc.grpc.status_code"), Some(0));
    let request = only(&spans, |span| span.kind() == SpanKind::Client);
    assert_eq!(request.number("gen_ai.usage.output_tokens"), Some(3));
    assert_eq!(request.number("rpc.grpc.status_code"), Some(0));
}

#[tokio::test]
async fn a_batch_names_the_traces_of_its_members() {
    let receiver = Receiver::start(Over::Http).await;
    // The first holds the only slot; the others meet behind it.
    let worker = grpc::Worker::start(|received| {
        let asked: tollgate_tests::fmaas::BatchedGenerationRequest = received.message();
        let texts: Vec<&str> = asked.requests.iter().map(|it| it.text.as_str()).collect();
        let mut acts = grpc::answer(&scene::generated(&texts));
        if received.number == 0 {
            acts.insert(0, Act::Hold);
        }
        acts
    })
    .await;
    let more = ", slots: 1, max-batch: 8";
    let mut config = scene::one("tgis", worker.address, more, "    scheduler: fcfs");
    config.push_str("schedulers: { fcfs: { source: \"bundled:fcfs\" } }\n");
    let proxy = Proxy::start(&(config + &receiver.section(""))).await;
    let address = proxy.http();
    let request = move |number: usize| {
        let trace = format!("{number}{}", &TRACE[1..]);
        let body = json!({"model": "m", "prompt": "p", "max_tokens": 8, "temperature": 0});
        let request = Request::post("/v1/completions", &body)
            .header("traceparent", &format!("00-{trace}-{PARENT}-01"));
        tokio::spawn(async move { ask::ask(address, &request).await.with_status(200) })
    };
    let first = request(0);
    worker.journal.holding(0).await;
    let others = [request(1), request(2)];
    eventually("two wait", async || {
        (proxy.status().await["routes"][0]["queued"] == 2).then_some(())
    })
    .await;
    worker.release();
    first.await.expect("it is answered");
    for other in others {
        other.await.expect("it is answered");
    }
    assert_eq!(worker.journal.requests(), 2, "two went as one");
    let traces = [1, 2].map(|number| format!("{number}{}", &TRACE[1..]));
    let mut spans = receiver.trace(&traces[0]).await;
    spans.extend(receiver.trace(&traces[1]).await);
    let batch = eventually("the batch's span", async || {
        let mut spans = receiver.spans().into_iter();
        spans.find(|span| span.number("tollgate.batch.size") == Some(2) && span.0.name == "backend")
    })
    .await;
    let [link] = &batch.0.links[..] else {
        panic!("{batch:#?}")
    };
    let own = hex::encode(&batch.0.trace_id);
    let other = hex::encode(&link.trace_id);
    assert_ne!(own, other);
    assert!(traces.contains(&own) && traces.contains(&other));
    let linked = only(&spans, |span| span.0.span_id == link.span_id);
    assert_eq!(linked.0.name, "frontend");
}
