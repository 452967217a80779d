//! Figures: over OpenTelemetry's protocol, and on the page as Prometheus' own program reads it.

use std::{
    env,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use opentelemetry_proto::tonic::metrics::v1::Metric;
use tollgate_tests::{
    Proxy,
    client::{Request, grpc as client, http1 as ask},
    fake::{grpc, http1},
    scene,
};

use super::receiver::{Over, Receiver, total};

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

const MODEL: [(&str, &str); 3] = [
    ("gen_ai.operation.name", "text_completion"),
    ("gen_ai.provider.name", "vllm"),
    ("gen_ai.request.model", "m"),
];

async fn figures_over(over: Over) {
    let receiver = Receiver::start(over).await;
    let worker = vllm().await;
    let config = scene::one("openai", worker.address, "", "") + &receiver.section("");
    let proxy = Proxy::start(&config).await;
    for stream in [false, true] {
        ask::ask(proxy.http(), &scene::completion(stream))
            .await
            .with_status(200);
    }
    let counted = |labels: &'static [(&str, &str)], count: u64| {
        move |metric: &Metric| total(metric, labels).filter(|(_, seen)| *seen == count)
    };
    // What is on the page.
    let requests = |metric: &Metric| {
        total(metric, &[("route", "all"), ("outcome", "ok")]).filter(|(sum, _)| *sum == 2.0)
    };
    receiver.metric("tollgate_requests", requests).await;
    // By the conventions.
    for name in [
        "gen_ai.server.request.duration",
        "gen_ai.client.operation.duration",
    ] {
        receiver.metric(name, counted(&MODEL, 2)).await;
    }
    let name = "gen_ai.client.token.usage";
    let kind = |kind: &'static str| {
        move |metric: &Metric| {
            let mut labels = MODEL.to_vec();
            labels.push(("gen_ai.token.type", kind));
            total(metric, &labels).filter(|(_, seen)| *seen == 2)
        }
    };
    assert_eq!(receiver.metric(name, kind("input")).await.0, 4.0);
    assert_eq!(receiver.metric(name, kind("output")).await.0, 6.0);
    // Of the stream alone.
    for name in [
        "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token",
    ] {
        let (_, unit) = receiver
            .metric(name, |metric| {
                let seen = counted(&MODEL, 1)(metric)?;
                Some((seen, metric.unit.clone()))
            })
            .await;
        assert_eq!(unit, "s");
    }
}

#[tokio::test]
async fn metrics_are_sent_over_http() {
    figures_over(Over::Http).await;
}

#[tokio::test]
async fn metrics_are_sent_over_grpc() {
    figures_over(Over::Grpc).await;
}

/// Prometheus' tool, which `cargo xtask test` fetches and names, or one on PATH; without it the test
/// says that it was left out.
fn promtool() -> Option<PathBuf> {
    let named = env::var_os("TOLLGATE_PROMTOOL").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let mut on_path = env::split_paths(&path).map(|folder| folder.join("promtool"));
    let found = named
        .filter(|path| path.is_file())
        .or_else(|| on_path.find(|path| path.is_file()));
    if found.is_none() {
        println!("left out: TOLLGATE_PROMTOOL does not say where promtool is");
    }
    found
}

#[tokio::test]
async fn prometheus_has_nothing_to_say_about_the_page() {
    let worker = vllm().await;
    let other = grpc::Worker::start(|_| grpc::answer(&scene::generated(&["text"]))).await;
    let receiver = Receiver::start(Over::Http).await;
    let workers = [
        scene::worker("w0", "openai", worker.address, ""),
        scene::worker("w1", "tgis", other.address, ""),
    ];
    let config = scene::workers(&workers, "") + &receiver.section("");
    let proxy = Proxy::start(&config).await;
    for _ in 0..3 {
        for stream in [false, true] {
            ask::ask(proxy.http(), &scene::completion(stream)).await;
        }
        let message = scene::batch("m", &["Hello"]);
        let request = scene::tgis("Generate");
        client::ask::<tollgate_tests::fmaas::BatchedGenerationResponse>(
            proxy.http(),
            &request,
            &message,
        )
        .await;
        ask::ask(proxy.http(), &Request::get("/v1/models")).await;
        ask::ask(proxy.http(), &Request::get("/nothing")).await;
    }
    // As one asks who says nothing of formats.
    let page = proxy.ask_admin("/metrics").await;
    let kind = page.header("content-type");
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    let page = page.text();
    assert!(page.contains("# TYPE tollgate_requests_total counter\n"));
    let Some(promtool) = promtool() else { return };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(page.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
}
