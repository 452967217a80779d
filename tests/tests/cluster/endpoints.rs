//! Addresses behind a Service, by its EndpointSlices.

use std::net::SocketAddr;

use tollgate_tests::client::sse;

use super::*;

#[tokio::test]
async fn pods_come_change_and_go_as_the_watch_tells() {
    let cluster = Cluster::start().await;
    let (one, two) = (named("one").await, named("two").await);
    pod(&cluster, "a", &one, ready());
    cluster.put(
        SLICES,
        "other",
        slice("another", "IPv4", &[("z", two.address, ready())]),
    );
    let proxy = Proxy::start(&sliced(&cluster, "", "")).await;
    assert_eq!(ask(&proxy).await, "one", "the first list is waited for");
    assert_eq!(workers(&proxy).await, ["w0@a"]);
    pod(&cluster, "b", &two, ready());
    becomes(&proxy, &["w0@a", "w0@b"]).await;
    cluster.delete(SLICES, "slice-a");
    becomes(&proxy, &["w0@b"]).await;
    assert_eq!(ask(&proxy).await, "two");
    pod(&cluster, "b", &two, json!({"ready": false}));
    becomes(&proxy, &[]).await;
    pod(&cluster, "b", &two, json!({}));
    until(&proxy, "two").await;
    assert_eq!(cluster.lists().len(), 1, "the rest was told by one watch");
    let watch = &cluster.watches()[0];
    assert!(watch.contains("allowWatchBookmarks=true"), "{watch}");
    assert!(
        watch.contains("labelSelector=kubernetes.io%2Fservice-name%3Dgranite"),
        "{watch}"
    );
}

#[tokio::test]
async fn a_pod_that_terminates_ends_its_streams_and_is_given_nothing_new() {
    let cluster = Cluster::start().await;
    let old = h::Worker::start(|_| {
        vec![
            h::stream_head(),
            h::event(&scene::chunk("one ", None, 1)),
            h::Act::Hold,
            h::event(&scene::chunk("two", Some("length"), 2)),
            h::event(&scene::usage_chunk(2)),
            h::event("[DONE]"),
            h::stream_end(),
        ]
    })
    .await;
    let new = named("new").await;
    pod(&cluster, "old", &old, ready());
    let proxy = Proxy::start(&sliced(&cluster, "", "")).await;
    let stream = asking(&proxy, true);
    old.journal.holding(0).await;
    pod(&cluster, "new", &new, ready());
    let ending = json!({"ready": false, "serving": true, "terminating": true});
    pod(&cluster, "old", &old, ending);
    proxy
        .becomes("worker_draining{worker=\"w0@old\"}", 1.0)
        .await;
    until(&proxy, "new").await;
    for _ in 0..8 {
        assert_eq!(ask(&proxy).await, "new");
    }
    assert_eq!(old.journal.requests(), 1, "nothing new");
    old.release();
    let (events, done) = sse::json(&stream.await.unwrap().text());
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!((text.as_str(), done), ("one two", true));
    forgotten(&proxy, "w0@old").await;
}

#[tokio::test]
async fn several_slices_and_both_families_of_addresses_are_one_set() {
    let cluster = Cluster::start().await;
    let (one, two) = (named("one").await, named("two").await);
    let six: SocketAddr = format!("[::1]:{}", one.address.port()).parse().unwrap();
    cluster.put(
        SLICES,
        "four",
        slice("granite", "IPv4", &[("a", one.address, ready())]),
    );
    cluster.put(
        SLICES,
        "six",
        slice("granite", "IPv6", &[("a", six, ready())]),
    );
    cluster.put(
        SLICES,
        "more",
        slice("granite", "IPv4", &[("b", two.address, ready())]),
    );
    cluster.pages_of(1);
    let proxy = Proxy::start(&sliced(&cluster, ", port: http", "")).await;
    assert_eq!(workers(&proxy).await, ["w0@a", "w0@b"]);
    assert_eq!(cluster.lists().len(), 3, "page by page");
    until(&proxy, "one").await;
    // Where both are idle the first is asked.
    proxy.order("workers/w0@a/drain", "").await.with_status(200);
    until(&proxy, "two").await;
    proxy
        .order("workers/w0@a/resume", "")
        .await
        .with_status(200);
    cluster.delete(SLICES, "six");
    pod_at(&cluster, "c", "127.0.0.9:1");
    becomes(&proxy, &["w0@a", "w0@b", "w0@c"]).await;
}

#[tokio::test]
async fn a_port_that_a_service_does_not_have_is_told() {
    let cluster = Cluster::start().await;
    let one = named("one").await;
    pod(&cluster, "a", &one, ready());
    let proxy = Proxy::start(&sliced(&cluster, ", port: grpc", "")).await;
    proxy
        .logged(|line| line.contains("it has no port called grpc"))
        .await;
    assert!(workers(&proxy).await.is_empty());
}

#[tokio::test]
async fn objects_and_workers_are_bounded() {
    let cluster = Cluster::start().await;
    for (at, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        pod_at(&cluster, name, &format!("127.0.0.{}:1", at + 1));
    }
    let proxy = Proxy::start(&sliced(&cluster, ", objects: 3, most: 2", "")).await;
    assert_eq!(workers(&proxy).await.len(), 2);
    proxy
        .becomes("discovery_left_out{section=\"w0\"}", 2.0)
        .await;
    // Room for an object that was left out: it is looked for.
    cluster.delete(SLICES, "slice-a");
    proxy
        .becomes("discovery_left_out{section=\"w0\"}", 1.0)
        .await;
    assert_eq!(workers(&proxy).await.len(), 2);
}

#[tokio::test]
async fn the_token_is_read_anew_when_it_changes() {
    let cluster = Cluster::start().await;
    let one = named("one").await;
    pod(&cluster, "a", &one, ready());
    cluster.demand("token-of-old");
    let yaml = sliced(&cluster, "", "").replace("api: { ", "api: { token: token.txt, ");
    let proxy = Setup::new(&yaml)
        .file("token.txt", "token-of-old\n")
        .start()
        .await;
    assert_eq!(ask(&proxy).await, "one");
    cluster.demand("token-of-new");
    cluster.cut();
    proxy.becomes(STALE, 1.0).await;
    assert_eq!(ask(&proxy).await, "one", "what was known stays");
    proxy
        .logged(|line| line.contains("does not take the token"))
        .await;
    proxy.rewrite("token.txt", "token-of-new");
    // Nothing has changed there since, and what is known is true again.
    proxy.becomes(STALE, 0.0).await;
    assert!(!proxy.log().contains("token-of-"), "no token is logged");
}
