//! One proxy, which counts by itself.

use tollgate_tests::{
    Setup,
    client::{
        grpc::{self, Call},
        http2,
    },
    fake::grpc as g,
    fmaas, tokens,
};

use super::*;

fn limited(worker: &h::Worker, limits: &str, route: &str) -> String {
    let scene = scene::one("openai", worker.address, "", route);
    format!("{scene}limits: {limits}\n")
}

#[tokio::test]
async fn a_limit_that_is_used_up_is_told_in_each_dialect() {
    let worker = whole().await;
    let limits = "{ default: { requests: { amount: 2, per: 24h } } }";
    let proxy = Proxy::start(&limited(&worker, limits, "")).await;
    for left in [1, 0] {
        let got = ask(&proxy).await.with_status(200);
        assert_eq!(told(&got, "ratelimit", "requests", "r"), left);
        assert_eq!(told(&got, "ratelimit-policy", "requests", "q"), 2);
        assert_eq!(told(&got, "ratelimit-policy", "requests", "w"), 86_400);
    }
    let got = ask(&proxy).await.with_status(429);
    let wait: u64 = got.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=43_200).contains(&wait), "{wait}");
    assert_eq!(told(&got, "ratelimit", "requests", "r"), 0);
    let error = &got.json()["error"];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("2 requests in 86400 s"),
        "{error}"
    );

    // The head alone is refused: no body is read for what no request has room for.
    let mut client = http1::Connection::open(proxy.http()).await;
    client
        .raw("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n")
        .await;
    client.response().await.with_status(429);

    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &scene::tgis("Generate")).await;
    call.send(&scene::batch("m", &["Hello"]), true).await;
    let (answers, status) = call.all::<fmaas::BatchedGenerationResponse>().await;
    assert_eq!((answers.len(), status.code), (0, 8), "{status:?}");
    let pushback = call.headers["grpc-retry-pushback-ms"].to_str().unwrap();
    assert!(pushback.parse::<u64>().unwrap() > 0);
    assert_eq!(worker.journal.requests(), 2);
    let denied = r#"rejected_total{route="all",why="tenant-limit"}"#;
    assert!(
        proxy.figure(denied).await.is_some(),
        "{}",
        proxy.metrics().await
    );
}

#[tokio::test]
async fn a_request_that_never_fits_is_told_so_without_a_time() {
    let worker = whole().await;
    let limits = "{ default: { tokens: { amount: 1000, burst: 8 } } }";
    let proxy = Proxy::start(&limited(&worker, limits, "")).await;
    let got = ask(&proxy).await.with_status(429);
    assert_eq!(got.header("retry-after"), None, "{got:?}");
    let error = got.json()["error"]["message"].to_string();
    assert!(error.contains("may need 9 tokens"), "{error}");
    assert_eq!(worker.journal.requests(), 0);
}

#[tokio::test]
async fn what_was_not_used_is_given_back_and_what_was_used_beyond_is_charged() {
    let used = [(2, 3), (2, 40), (1, 8)];
    let worker = h::Worker::start(move |asked| {
        let (input, output) = used[asked.number.min(2)];
        vec![h::json(200, &answer(input, output))]
    })
    .await;
    let limits = "{ default: { tokens: { amount: 100, per: 24h } } }";
    let proxy = Proxy::start(&limited(&worker, limits, "")).await;
    let mut left = 100;
    for (input, output) in used {
        let got = ask(&proxy).await.with_status(200);
        let said = told(&got, "ratelimit", "tokens", "r");
        // A drop of it may have come back meanwhile.
        assert!(
            (left - EACH..=left - EACH + 1).contains(&said),
            "{said} of {left}"
        );
        left -= input + output;
        let settled = [("returned", 4.0), ("charged", 33.0)];
        for (what, tokens) in settled.iter().take(if output == 3 { 1 } else { 2 }) {
            let series = format!("limit_settled_total{{what=\"{what}\"}}");
            proxy.becomes(&series, *tokens).await;
        }
    }
}

#[tokio::test]
async fn what_fails_before_any_output_costs_a_request_and_no_tokens() {
    let worker = h::Worker::start(|_| vec![h::json(500, &json!({"error": "broken"}))]).await;
    let limits =
        "{ default: { requests: { amount: 5, per: 24h }, tokens: { amount: 100, per: 24h } } }";
    let route = "    retry: { attempts: 1 }\n";
    let proxy = Proxy::start(&limited(&worker, limits, route)).await;
    for count in 1..=2u32 {
        assert!(ask(&proxy).await.status >= 500);
        let returned = f64::from(count) * EACH as f64;
        proxy
            .becomes("limit_settled_total{what=\"returned\"}", returned)
            .await;
    }
    let got = ask(&proxy).await;
    assert_eq!(told(&got, "ratelimit", "requests", "r"), 2);
    assert!(told(&got, "ratelimit", "tokens", "r") >= 100 - EACH);
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_pays_for_what_came() {
    // Translated: the proxy follows the stream.
    let worker = h::Worker::start(|_| {
        vec![
            h::stream_head(),
            h::event(&scene::chunk("one", None, 1)),
            h::event(&scene::chunk("two", None, 2)),
            h::Act::Hold,
        ]
    })
    .await;
    let limits = "{ default: { tokens: { amount: 100, per: 24h } } }";
    let proxy = Proxy::start(&limited(&worker, limits, "")).await;
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &scene::tgis("GenerateStream")).await;
    call.send(&scene::single("m", "Hello"), true).await;
    let mut text = String::new();
    while !text.contains("two") {
        let message: fmaas::GenerationResponse = call.message().await.expect("it goes on");
        text.push_str(&message.text);
    }
    call.reset();
    worker.journal.gone(0).await;
    // Nine were reserved; two came, and one or two went in, as is known by then.
    let returned = tollgate_tests::eventually("it is settled", async || {
        let returned = proxy.figure("limit_settled_total{what=\"returned\"}").await;
        returned.filter(|returned| *returned > 0.0)
    })
    .await;
    assert!((5.0..=6.0).contains(&returned), "{returned}");
}

#[tokio::test]
async fn a_request_that_never_reached_a_worker_costs_nothing() {
    let worker = h::Worker::start(|_| vec![h::Act::Hold, h::json(200, &answer(1, 8))]).await;
    let scene = scene::one(
        "openai",
        worker.address,
        ", slots: 1",
        "    queue: { requests: 1, timeout: 200ms }\n",
    );
    let limits = "limits: { default: { requests: { amount: 10, per: 24h } } }\n";
    let proxy = Proxy::start(&format!("{scene}{limits}")).await;
    let mut first = http1::Connection::open(proxy.http()).await;
    first.send(&scene::completion(false)).await;
    worker.journal.holding(0).await;
    for _ in 0..3 {
        ask(&proxy).await.with_status(503);
    }
    worker.release();
    first.response().await.with_status(200);
    worker.release();
    let got = ask(&proxy).await.with_status(200);
    assert_eq!(told(&got, "ratelimit", "requests", "r"), 8);
}

#[tokio::test]
async fn tenants_have_limits_of_their_own_and_models_have_theirs() {
    let worker = whole().await;
    let scene =
        scene::one("openai", worker.address, "", "").replace("auth: open", "auth: required");
    let yaml = format!(
        "{scene}tokens: {{ file: tokens.yaml }}
tenants:
  free: {{ limits: {{ }} }}
  small: {{ limits: {{ models: [{{ model: \"m*\", quotas: [{{ tokens: 20, per: month }}] }}] }} }}
  other: {{ concurrency: 9 }}
limits:
  default: {{ requests: {{ amount: 1, per: 24h }} }}
  headers: false
"
    );
    let entries = ["free", "small", "other", "another"]
        .map(|name| tokens::entry(name, &format!("token-{name}"), "models: [\"*\"]"));
    let proxy = Setup::new(&yaml)
        .file("tokens.yaml", tokens::file(&entries))
        .start()
        .await;
    let ask = async |name: &str| {
        let request = scene::completion(false).token(&format!("token-{name}"));
        let got = http1::ask(proxy.http(), &request).await;
        assert_eq!(got.header("ratelimit"), None, "{got:?}");
        got.status
    };
    for (name, granted) in [("free", 5), ("small", 2), ("other", 1), ("another", 1)] {
        for _ in 0..granted {
            assert_eq!(ask(name).await, 200, "{name}");
        }
        if name != "free" {
            assert_eq!(ask(name).await, 429, "{name}");
        }
    }
    assert_eq!(proxy.figure("limit_accounts").await, Some(4.0));
}

#[tokio::test]
async fn requests_at_once_are_bounded_by_tenant() {
    let worker = h::Worker::start(|_| vec![h::Act::Hold, h::json(200, &answer(1, 8))]).await;
    let limits = "{ default: { concurrency: 1 } }";
    let proxy = Proxy::start(&limited(&worker, limits, "")).await;
    let mut first = http1::Connection::open(proxy.http()).await;
    first.send(&scene::completion(false)).await;
    worker.journal.holding(0).await;
    let got = ask(&proxy).await.with_status(429);
    assert!(got.header("retry-after").is_some());
    let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &scene::tgis("Generate"),
        &scene::batch("m", &["Hello"]),
    )
    .await;
    assert_eq!(status.code, 8, "{status:?}");
    worker.release();
    first.response().await.with_status(200);
    proxy.becomes("limit_places{what=\"used\"}", 0.0).await;
    worker.release();
    ask(&proxy).await.with_status(200);
}

#[tokio::test]
async fn calls_that_are_translated_are_counted_like_those_that_pass() {
    let worker = g::Worker::start(|_| g::answer(&scene::generated(&[" there"]))).await;
    let scene = scene::one("tgis", worker.address, "", "");
    let limits = "limits: { default: { tokens: { amount: 100, per: 24h } } }\n";
    let proxy = Proxy::start(&format!("{scene}{limits}")).await;
    let got = ask(&proxy).await.with_status(200);
    assert!(told(&got, "ratelimit", "tokens", "r") >= 100 - EACH);
    // Two in and three out, of nine.
    proxy
        .becomes("limit_settled_total{what=\"returned\"}", 4.0)
        .await;
}
