//! What an autoscaler reads: how much is asked of each model, also before it has a worker.

use super::*;

async fn scale(proxy: &Proxy, query: &str) -> Value {
    let path = format!("/scale{query}");
    proxy.ask_admin(&path).await.with_status(200).json()
}

async fn demand(proxy: &Proxy, waiting: u64, running: u64) {
    eventually(format!("{waiting} wait and {running} run"), async || {
        let told = scale(proxy, "?model=m").await;
        (told["waiting"] == waiting && told["running"] == running).then_some(())
    })
    .await;
}

/// The test is the autoscaler: it reads the figure, and starts a worker when it is not zero.
#[tokio::test]
async fn a_model_without_a_worker_is_scaled_from_zero_and_its_request_is_answered() {
    let cluster = Cluster::start().await;
    cluster.put(SLICES, "empty", slice("granite", "IPv4", &[]));
    let route = "    queue: { workerless-timeout: 20s }\n";
    let proxy = Proxy::start(&sliced(&cluster, "", route)).await;
    assert_eq!(
        scale(&proxy, "?model=m").await,
        json!({"waiting": 0, "running": 0, "demand": 0})
    );
    let asked = asking(&proxy, false);
    demand(&proxy, 1, 0).await;
    proxy.becomes("model_waiting{model=\"m\"}", 1.0).await;
    let told = scale(&proxy, "?model=m").await;
    assert_eq!(told["demand"], 1);
    let worker = named("scaled").await;
    pod(&cluster, "first", &worker, ready());
    assert_eq!(who(asked.await.unwrap()), "scaled");
    demand(&proxy, 0, 0).await;
}

#[tokio::test]
async fn what_waits_and_what_runs_are_told_apart_and_come_back_to_nothing() {
    let cluster = Cluster::start().await;
    let worker =
        h::Worker::start(|_| vec![h::Act::Hold, h::json(200, &scene::completed("done"))]).await;
    pod(&cluster, "a", &worker, ready());
    let yaml = sliced(&cluster, "", "").replace("probe: off,", "probe: off, slots: 2,");
    let proxy = Proxy::start(&yaml).await;
    let asked: Vec<_> = (0..5).map(|_| asking(&proxy, false)).collect();
    demand(&proxy, 3, 2).await;
    let all = scale(&proxy, "").await;
    assert_eq!(
        (&all["demand"], &all["models"]["m"]["waiting"]),
        (&json!(5), &json!(3))
    );
    proxy.becomes("model_running{model=\"m\"}", 2.0).await;
    // One that waits and goes away counts no more.
    let gone = asking(&proxy, false);
    demand(&proxy, 4, 2).await;
    gone.abort();
    demand(&proxy, 3, 2).await;
    for _ in 0..5 {
        worker.release();
    }
    for asked in asked {
        assert_eq!(who(asked.await.unwrap()), "done");
    }
    demand(&proxy, 0, 0).await;
    proxy.ask_admin("/scale?model=ghost").await.with_status(404);
    let encoded = scale(&proxy, "?x=y&model=%6d").await;
    assert_eq!(encoded["demand"], 0);
}

#[tokio::test]
async fn an_attempt_that_fails_is_counted_once() {
    let cluster = Cluster::start().await;
    let broken = h::Worker::start(|_| vec![h::Act::Close]).await;
    pod(&cluster, "a", &broken, ready());
    let proxy = Proxy::start(&sliced(&cluster, "", "")).await;
    for _ in 0..3 {
        let failed = http1::ask(proxy.http(), &scene::completion(false)).await;
        assert!((500..600).contains(&failed.status), "{failed:?}");
    }
    demand(&proxy, 0, 0).await;
}
