//! Requests that wait while workers come and go.

use super::*;

async fn waits(proxy: &Proxy, count: f64) {
    proxy
        .becomes("route_queue_requests{route=\"all\"}", count)
        .await;
}

#[tokio::test]
async fn where_no_worker_is_yet_a_request_waits_for_the_first() {
    let one = named("one").await;
    let route = "    queue: { workerless-timeout: 20s }\n";
    // The file is not there yet.
    let proxy = Proxy::start(&listed("", route)).await;
    let models = http1::ask(proxy.http(), &Request::get("/v1/models")).await;
    assert_eq!(models.json()["data"][0]["id"], "m");
    let asked: Vec<_> = (0..4).map(|_| asking(&proxy, false)).collect();
    let streamed = asking(&proxy, true);
    waits(&proxy, 5.0).await;
    replace(&proxy, "fleet.yaml", &list(&[]));
    proxy.becomes("discovery_stale{section=\"w0\"}", 0.0).await;
    waits(&proxy, 5.0).await;
    replace(&proxy, "fleet.yaml", &list(&[("a", one.address)]));
    for asked in asked {
        assert_eq!(who(asked.await.unwrap()), "one");
    }
    streamed.await.unwrap().with_status(200);
    waits(&proxy, 0.0).await;
}

#[tokio::test]
async fn where_none_comes_in_time_it_is_told_when_to_come_again() {
    let route = "    queue: { workerless-timeout: 100ms, requests: 1 }\n";
    let proxy = Setup::new(&listed("", route))
        .file("fleet.yaml", list(&[]))
        .start()
        .await;
    for _ in 0..2 {
        let refused = http1::ask(proxy.http(), &scene::completion(false)).await;
        let refused = refused.with_status(503);
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        assert!(refused.json()["error"]["message"].is_string());
    }
    waits(&proxy, 0.0).await;
}

#[tokio::test]
async fn a_request_that_waits_for_a_busy_worker_takes_a_new_one() {
    let (old, new) = (slow("old").await, named("new").await);
    let proxy = Setup::new(&listed(", slots: 1", ""))
        .file("fleet.yaml", list(&[("a", old.address)]))
        .start()
        .await;
    let first = asking(&proxy, false);
    old.journal.holding(0).await;
    let second = asking(&proxy, false);
    waits(&proxy, 1.0).await;
    replace(
        &proxy,
        "fleet.yaml",
        &list(&[("a", old.address), ("b", new.address)]),
    );
    assert_eq!(who(second.await.unwrap()), "new");
    old.release();
    assert_eq!(who(first.await.unwrap()), "old");
    assert_eq!(old.journal.requests(), 1);
}

#[tokio::test]
async fn a_request_that_waits_for_a_worker_that_goes_takes_its_successor() {
    let (old, new) = (slow("old").await, named("new").await);
    let proxy = Setup::new(&listed(", slots: 1", ""))
        .file("fleet.yaml", list(&[("a", old.address)]))
        .start()
        .await;
    let first = asking(&proxy, false);
    old.journal.holding(0).await;
    let others: Vec<_> = (0..3).map(|_| asking(&proxy, false)).collect();
    waits(&proxy, 3.0).await;
    replace(&proxy, "fleet.yaml", &list(&[]));
    proxy.becomes("worker_draining{worker=\"w0@a\"}", 1.0).await;
    waits(&proxy, 3.0).await;
    replace(&proxy, "fleet.yaml", &list(&[("a", new.address)]));
    for other in others {
        assert_eq!(who(other.await.unwrap()), "new");
    }
    old.release();
    assert_eq!(who(first.await.unwrap()), "old");
    assert_eq!(old.journal.requests(), 1);
}

#[tokio::test]
async fn what_waits_for_one_model_leaves_room_for_another() {
    let worker = slow("one").await;
    let yaml = scene::one(
        "openai",
        worker.address,
        ", slots: 1",
        "    queue: { requests: 8, model-requests: 1 }\n",
    );
    let yaml = yaml.replace(
        "models: [{ name: m, served-as: served }]",
        "models: [{ name: m }, { name: n }]",
    );
    let proxy = Proxy::start(&yaml).await;
    let ask = |model: &str| {
        let body = json!({"model": model, "prompt": "Hello", "max_tokens": 8});
        let (address, request) = (proxy.http(), Request::post("/v1/completions", &body));
        tokio::spawn(async move { http1::ask(address, &request).await })
    };
    let running = ask("m");
    worker.journal.holding(0).await;
    let first = ask("m");
    waits(&proxy, 1.0).await;
    let refused = ask("m").await.unwrap().with_status(503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let other = ask("n");
    waits(&proxy, 2.0).await;
    let of = |model: &str| format!("route_model_queue_requests{{route=\"all\",model=\"{model}\"}}");
    assert_eq!(proxy.figure(&of("m")).await, Some(1.0));
    assert_eq!(proxy.figure(&of("n")).await, Some(1.0));
    for _ in 0..3 {
        worker.release();
    }
    for asked in [running, first, other] {
        asked.await.unwrap().with_status(200);
    }
    assert_eq!(proxy.figure(&of("m")).await, None, "its series has gone");
    assert_eq!(
        proxy.figure("route_queue_models{route=\"all\"}").await,
        Some(0.0)
    );
}
