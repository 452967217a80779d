//! Workers that are fresh, and such that come back: a few requests at first, connections ahead, and
//! out again if they still fail.

use super::*;

#[tokio::test]
async fn a_fresh_worker_is_given_one_request_at_first() {
    let worker = slow("one").await;
    let extra = ", slots: 4, slow-start: 1h";
    let proxy = Proxy::start(&scene::one("openai", worker.address, extra, "")).await;
    let asked: Vec<_> = (0..3).map(|_| asking(&proxy, false)).collect();
    proxy
        .becomes("route_queue_requests{route=\"all\"}", 2.0)
        .await;
    assert_eq!(proxy.figure("worker_slots{worker=\"w0\"}").await, Some(1.0));
    for number in 0..3 {
        worker.journal.holding(number).await;
        assert_eq!(held(&worker), number + 1, "one at a time");
        worker.release();
    }
    for asked in asked {
        assert_eq!(who(asked.await.unwrap()), "one");
    }
}

#[tokio::test]
async fn all_slots_come_with_time() {
    let worker = slow("one").await;
    let extra = ", slots: 3, slow-start: 200ms";
    let proxy = Proxy::start(&scene::one("openai", worker.address, extra, "")).await;
    let asked: Vec<_> = (0..3).map(|_| asking(&proxy, false)).collect();
    // Nothing ends, and still all of them run in the end.
    worker.journal.holding(2).await;
    proxy.becomes("worker_slots{worker=\"w0\"}", 3.0).await;
    for _ in 0..3 {
        worker.release();
    }
    for asked in asked {
        assert_eq!(who(asked.await.unwrap()), "one");
    }
}

#[tokio::test]
async fn connections_are_there_before_the_first_request() {
    let worker = named("one").await;
    let extra = ", connections: { max: 8, warm: 3 }";
    let proxy = Proxy::start(&scene::one("openai", worker.address, extra, "")).await;
    assert_eq!(
        proxy.figure("upstream_idle{worker=\"w0\"}").await,
        Some(3.0)
    );
    let accepted = |worker: &h::Worker| {
        let entries = worker.journal.entries();
        let accepted = entries.iter().filter(|entry| entry.seen == Seen::Accepted);
        accepted.count()
    };
    assert_eq!((accepted(&worker), worker.journal.requests()), (3, 0));
    assert_eq!(ask(&proxy).await, "one");
    assert_eq!(accepted(&worker), 3);
}

#[tokio::test]
async fn a_worker_that_fails_every_other_request_is_kept_out_by_its_share() {
    let bad = h::Worker::start(|received| match received.number % 2 {
        0 => vec![h::json(200, &scene::completed("bad"))],
        _ => vec![h::Act::Close],
    })
    .await;
    let good = named("good").await;
    let extra = ", ejection: { failures: 0, percent: 10, first: 1h, longest: 1h }";
    let workers = [
        scene::worker("w0", "openai", bad.address, extra),
        scene::worker("w1", "openai", good.address, extra),
    ];
    let proxy = Proxy::start(&scene::workers(&workers, "")).await;
    eventually("it is kept out", async || {
        // Each is answered: by the other worker, where this one fails.
        ask(&proxy).await;
        let ejected = proxy.figure("worker_ejected{worker=\"w0\"}").await;
        (ejected == Some(1.0)).then_some(())
    })
    .await;
    let failed = bad.journal.requests();
    // Seven are more than a tenth of 64, and six are not.
    assert!((13..=14).contains(&failed), "{failed}");
    for _ in 0..8 {
        assert_eq!(ask(&proxy).await, "good");
    }
}
