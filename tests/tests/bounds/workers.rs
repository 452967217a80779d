//! Workers that fail: how far their failures reach, and how often others are asked instead.

use super::*;

/// Two workers of the models `m` and `n`.
fn two(first: std::net::SocketAddr, second: std::net::SocketAddr, route: &str) -> String {
    let worker = |name, address| {
        scene::worker(name, "openai", address, "").replace(
            "models: [{ name: m, served-as: served }]",
            "models: [{ name: m }, { name: n }]",
        )
    };
    scene::workers(&[worker("w0", first), worker("w1", second)], route)
}

async fn ask(proxy: &Proxy, model: &str) -> u16 {
    let body = serde_json::json!({"model": model, "prompt": "Hello", "max_tokens": 8});
    http1::ask(proxy.http(), &Request::post("/v1/completions", &body))
        .await
        .status
}

fn asked_for(worker: &h::Worker, model: &str) -> usize {
    let wanted = format!("\"model\":\"{model}\"");
    let entries = worker.journal.entries().into_iter();
    entries
        .filter(|entry| match &entry.seen {
            tollgate_tests::fake::Seen::Body(body) => String::from_utf8_lossy(body)
                .replace(' ', "")
                .contains(&wanted),
            _ => false,
        })
        .count()
}

#[tokio::test]
async fn a_worker_that_fails_one_model_keeps_the_others() {
    let answer = || h::json(200, &scene::completed(" there"));
    let bad = h::Worker::start(move |received| {
        let text = String::from_utf8_lossy(&received.body).replace(' ', "");
        if text.contains("\"model\":\"m\"") {
            vec![h::json(
                503,
                &serde_json::json!({"error": {"message": "not loaded"}}),
            )]
        } else {
            vec![answer()]
        }
    })
    .await;
    let good = h::Worker::start(move |_| vec![answer()]).await;
    let proxy = Proxy::start(&two(bad.address, good.address, "")).await;
    let mut refused = 0;
    let mut served = 0;
    while served < 8 {
        match ask(&proxy, "m").await {
            200 => served += 1,
            503 => refused += 1,
            other => panic!("{other}"),
        }
        assert!(refused <= 5, "it is still asked for it");
        if refused < 5 {
            served = 0;
        }
    }
    assert_eq!(asked_for(&bad, "m"), 5, "five in a row");
    assert_eq!(
        proxy.figure("worker_ejected_models{worker=\"w0\"}").await,
        Some(1.0)
    );
    assert_eq!(
        proxy.figure("worker_ejected{worker=\"w0\"}").await,
        Some(0.0)
    );
    assert_eq!(
        proxy.figure("worker_accepting{worker=\"w0\"}").await,
        Some(1.0)
    );
    tollgate_tests::eventually("it is asked for the other", async || {
        assert_eq!(ask(&proxy, "n").await, 200);
        (asked_for(&bad, "n") > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn where_all_fail_only_a_reserve_is_repeated() {
    let close = || h::Worker::start(|_| vec![h::Act::Close]);
    let workers = [close().await, close().await];
    let retry = "    retry: { attempts: 2, percent: 0, reserve: 3 }\n";
    let proxy = Proxy::start(&two(workers[0].address, workers[1].address, retry)).await;
    for _ in 0..8 {
        assert_eq!(ask(&proxy, "m").await, 502);
    }
    let asked: usize = workers.iter().map(|worker| worker.journal.requests()).sum();
    assert_eq!(asked, 8 + 3);
    assert_eq!(
        proxy.figure("route_retries_left{route=\"all\"}").await,
        Some(0.0)
    );
    assert_eq!(
        proxy
            .figure("route_retries_refused_total{route=\"all\"}")
            .await,
        Some(5.0)
    );
}
