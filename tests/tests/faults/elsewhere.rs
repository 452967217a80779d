//! Another worker is asked: when, and when not.

use super::*;

async fn good() -> h::Worker {
    h::Worker::start(|_| vec![h::json(200, &scene::completed(" there"))]).await
}

#[tokio::test]
async fn another_worker_is_asked_when_nothing_was_sent() {
    let bad: Vec<(&str, Vec<h::Act>)> = vec![
        ("closed at once", vec![h::Act::Close]),
        ("reset at once", vec![h::Act::Reset]),
    ];
    for (what, acts) in bad {
        let bad = h::Worker::start(move |_| acts.clone()).await;
        let good = good().await;
        let workers = [
            scene::worker("w0", "openai", bad.address, ""),
            scene::worker("w1", "openai", good.address, ""),
        ];
        let proxy = Proxy::start(&scene::workers(&workers, "")).await;
        for number in 0..4 {
            let response = http1::ask(proxy.http(), &scene::completion(false)).await;
            assert_eq!(response.status, 200, "{what}, {number}: {response:?}");
            assert_eq!(response.json()["choices"][0]["text"], " there");
            let (text, status) = tgis_whole(&proxy).await;
            assert_eq!(
                (text.as_deref(), status.code),
                (Some(" there"), 0),
                "{what}: {status:?}"
            );
        }
        assert!(bad.journal.requests() >= 1, "{what}: it was tried");
        assert_eq!(good.journal.requests(), 8);
    }
}

#[tokio::test]
async fn a_dead_worker_is_no_obstacle() {
    let good = good().await;
    let workers = [
        scene::worker("w0", "openai", nobody().await, ""),
        scene::worker("w1", "openai", good.address, ""),
    ];
    let proxy = Proxy::start(&scene::workers(&workers, "")).await;
    for _ in 0..6 {
        http1::ask(proxy.http(), &scene::completion(false))
            .await
            .with_status(200);
    }
    assert_eq!(good.journal.requests(), 6);
}

#[tokio::test]
async fn another_worker_may_speak_another_protocol() {
    let good = g::Worker::start(|_| g::answer(&scene::generated(&[" there"]))).await;
    let workers = [
        scene::worker("w0", "openai", nobody().await, ""),
        scene::worker("w1", "tgis", good.address, ""),
    ];
    let proxy = Proxy::start(&scene::workers(&workers, "")).await;
    for _ in 0..4 {
        let response = http1::ask(proxy.http(), &scene::completion(false)).await;
        assert_eq!(
            response.with_status(200).json()["choices"][0]["text"],
            " there"
        );
    }
    assert_eq!(good.journal.requests(), 4);
}

/// Where a worker merges, the content is asked for before the queue. It is then there when a request
/// that was passed must be translated for the next worker, but the guest waits for a response to
/// pass on, and has to be asked again.
#[tokio::test]
async fn what_was_passed_is_translated_for_the_next_where_calls_are_merged() {
    let good = g::Worker::start(|_| g::answer(&scene::generated(&[" there"]))).await;
    let workers = [
        scene::worker("w0", "openai", nobody().await, ", max-batch: 8"),
        scene::worker("w1", "tgis", good.address, ""),
    ];
    let proxy = Proxy::start(&scene::workers(&workers, "")).await;
    for _ in 0..4 {
        let response = http1::ask(proxy.http(), &scene::completion(false)).await;
        assert_eq!(
            response.with_status(200).json()["choices"][0]["text"],
            " there"
        );
    }
    assert_eq!(good.journal.requests(), 4);
}

#[tokio::test]
async fn nobody_else_is_asked_once_something_was_sent() {
    let bad = h::Worker::start(|_| half_a_stream(vec![h::Act::Close])).await;
    let other = h::Worker::start(|_| half_a_stream(vec![h::Act::Close])).await;
    let workers = [
        scene::worker("w0", "openai", bad.address, ""),
        scene::worker("w1", "openai", other.address, ""),
    ];
    let proxy = Proxy::start(&scene::workers(&workers, "")).await;
    broke_off(&openai_stream(&proxy).await, "one two");
    assert_eq!(bad.journal.requests() + other.journal.requests(), 1);
    let (text, stopped, status) = tgis_stream(&proxy).await;
    assert_eq!((text.as_str(), stopped), ("one two", None));
    assert_ne!(status.code, 0);
    assert_eq!(bad.journal.requests() + other.journal.requests(), 2);
}

#[tokio::test]
async fn no_more_workers_are_asked_than_the_route_says() {
    let close = || h::Worker::start(|_| vec![h::Act::Close]);
    let workers = [close().await, close().await, close().await];
    let lines: Vec<_> = workers
        .iter()
        .enumerate()
        .map(|(at, worker)| scene::worker(&format!("w{at}"), "openai", worker.address, ""))
        .collect();
    let proxy = Proxy::start(&scene::workers(&lines, "    retry: { attempts: 2 }\n")).await;
    let response = http1::ask(proxy.http(), &scene::completion(false)).await;
    refused(&response, 502);
    let asked: usize = workers.iter().map(|worker| worker.journal.requests()).sum();
    assert_eq!(asked, 2);
    let each = workers.iter().map(|worker| worker.journal.requests()).max();
    assert_eq!(each, Some(1), "another one, not the same again");
}
