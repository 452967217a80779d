//! A cluster that forgets, goes away, talks nonsense, or does not want to talk: what is known stays,
//! and what is true comes in when it can be known again.

use super::*;

#[tokio::test]
async fn a_forgotten_version_is_listed_again_in_a_watch_and_before_one() {
    let cluster = Cluster::start().await;
    let (one, two) = (named("one").await, named("two").await);
    pod(&cluster, "a", &one, ready());
    pod(&cluster, "b", &two, ready());
    let proxy = Proxy::start(&sliced(&cluster, "", "")).await;
    becomes(&proxy, &["w0@a", "w0@b"]).await;
    cluster.watched(1).await;
    // No watch tells that it has gone: only a list can.
    cluster.forget(SLICES, "slice-a");
    becomes(&proxy, &["w0@b"]).await;
    assert_eq!(cluster.lists().len(), 2);
    cluster.watched(2).await;
    // The same while no watch is open.
    cluster.refuse(Some(503));
    cluster.cut();
    proxy.becomes(STALE, 1.0).await;
    assert_eq!(workers(&proxy).await, ["w0@b"], "what was known stays");
    cluster.forget(SLICES, "slice-b");
    cluster.refuse(None);
    becomes(&proxy, &[]).await;
    proxy.becomes(STALE, 0.0).await;
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on_from_where_it_was() {
    let cluster = Cluster::start().await;
    let (one, two) = (named("one").await, named("two").await);
    pod(&cluster, "a", &one, ready());
    let proxy = Proxy::start(&sliced(&cluster, "", "")).await;
    cluster.watched(1).await;
    pod(&cluster, "b", &two, ready());
    becomes(&proxy, &["w0@a", "w0@b"]).await;
    cluster.cut();
    cluster.watched(2).await;
    cluster.delete(SLICES, "slice-b");
    becomes(&proxy, &["w0@a"]).await;
    assert_eq!(cluster.lists().len(), 1, "nothing had to be listed again");
}

#[tokio::test]
async fn a_bookmark_moves_the_place_from_which_it_goes_on() {
    let cluster = Cluster::start().await;
    let one = named("one").await;
    pod(&cluster, "a", &one, ready());
    let proxy = Proxy::start(&sliced(&cluster, "", "")).await;
    cluster.watched(1).await;
    cluster.bookmark(SLICES);
    // Told after it, so that it has been heard.
    pod_at(&cluster, "b", "127.0.0.9:1");
    becomes(&proxy, &["w0@a", "w0@b"]).await;
    cluster.bookmark(SLICES);
    let second = format!("resourceVersion={}", 101 + 7 + 1 + 7);
    eventually("it goes on from the bookmark", async || {
        cluster.cut();
        let watches = cluster.watches();
        let mut later = watches.iter().skip(1);
        later.any(|watch| watch.contains(&second)).then_some(())
    })
    .await;
    assert_eq!(cluster.lists().len(), 1);
}

#[tokio::test]
async fn nonsense_changes_nothing_and_is_listed_anew() {
    let cluster = Cluster::start().await;
    let (one, two) = (named("one").await, named("two").await);
    pod(&cluster, "a", &one, ready());
    let proxy = Proxy::start(&sliced(&cluster, "", "")).await;
    for (at, nonsense) in [
        "this is no JSON",
        "{\"type\":\"ADDED\",\"object\":{\"metadata\":3}}",
        "{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"etcd is gone\"}}",
        "[]",
    ]
    .into_iter()
    .enumerate()
    {
        cluster.watched(at + 1).await;
        cluster.say(SLICES, nonsense);
        eventually("it is listed again", async || {
            (cluster.lists().len() >= at + 2).then_some(())
        })
        .await;
        proxy.becomes(STALE, 0.0).await;
        assert_eq!(ask(&proxy).await, "one");
    }
    let failures = proxy
        .figure("discovery_failures_total{section=\"w0\"}")
        .await;
    assert!(failures.unwrap() >= 4.0);
    // An object that cannot be read keeps what was known of it, and the others go on.
    cluster.watched(5).await;
    cluster.put(
        SLICES,
        "slice-a",
        json!({"addressType": "IPv4", "endpoints": "none of your business"}),
    );
    pod(&cluster, "b", &two, ready());
    becomes(&proxy, &["w0@a", "w0@b"]).await;
    proxy.logged(|line| line.contains("models/slice-a: ")).await;
}

#[tokio::test]
async fn an_account_that_may_not_is_told_what_to_do() {
    let cluster = Cluster::start().await;
    cluster.refuse(Some(403));
    let one = named("one").await;
    let route = "    queue: { workerless-timeout: 100ms }\n";
    let proxy = Proxy::start(&sliced(&cluster, "", route)).await;
    proxy
        .logged(|line| {
            line.contains("may not list and watch endpointslices.discovery.k8s.io")
                && line.contains("not for you")
        })
        .await;
    assert_eq!(proxy.figure(STALE).await, Some(1.0));
    let refused = http1::ask(proxy.http(), &scene::completion(false)).await;
    assert!(refused.with_status(503).json()["error"]["message"].is_string());
    cluster.refuse(None);
    pod(&cluster, "a", &one, ready());
    until(&proxy, "one").await;
    // It was tried again and again, and said once.
    let said = proxy.log().matches("may not list and watch").count();
    assert_eq!(said, 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_delays_nobody_and_is_found_when_it_comes() {
    let cluster = Cluster::start().await;
    let yaml = sliced(&cluster, "", "");
    drop(cluster);
    let proxy = Proxy::start(&yaml).await;
    assert_eq!(proxy.figure(STALE).await, Some(1.0));
    assert!(workers(&proxy).await.is_empty());
    proxy
        .logged(|line| line.contains("the API server does not answer"))
        .await;
}

#[tokio::test]
async fn what_is_longer_than_it_may_be_is_not_read() {
    let cluster = Cluster::start().await;
    let one = named("one").await;
    pod(&cluster, "a", &one, ready());
    let yaml = sliced(&cluster, "", "").replace("api: { ", "api: { largest: 64KiB, ");
    let proxy = Proxy::start(&yaml).await;
    cluster.watched(1).await;
    cluster.say(SLICES, &"x".repeat(40 << 10));
    proxy
        .logged(|line| line.contains("longer than 16384 bytes"))
        .await;
    proxy.becomes(STALE, 0.0).await;
    let mut large = slice("granite", "IPv4", &[("b", one.address, ready())]);
    large["metadata"]["annotations"] = json!({"x": "x".repeat(100 << 10)});
    cluster.put(SLICES, "large", large);
    proxy.becomes(STALE, 1.0).await;
    assert_eq!(ask(&proxy).await, "one");
    cluster.delete(SLICES, "large");
    proxy.becomes(STALE, 0.0).await;
}
