//! Several proxies on one Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tollgate_tests::{eventually, redis::Redis};

use super::*;

/// A proxy before this worker, with the limits of `default` and more of the store.
async fn proxy(worker: &h::Worker, redis: &Redis, limits: &str, store: &str) -> Proxy {
    let scene = scene::one("openai", worker.address, ", slots: 64", "");
    let address = redis.address();
    let proxy = Proxy::start(&format!(
        "{scene}limits:\n  default: {limits}\n  store: {{ address: \"redis://{address}\", \
         timeout: 2s, pause: 10ms, longest-pause: 100ms{store} }}\n"
    ))
    .await;
    proxy.becomes("limit_store_there", 1.0).await;
    proxy
}

/// A worker that counts the tokens that it was asked for.
async fn counting() -> (h::Worker, Arc<AtomicU64>) {
    let tokens = Arc::new(AtomicU64::new(0));
    let counted = tokens.clone();
    let worker = h::Worker::start(move |_| {
        counted.fetch_add(EACH, Ordering::Relaxed);
        vec![h::json(200, &answer(1, 8))]
    })
    .await;
    (worker, tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_proxies_together_never_grant_more_than_the_limit() {
    let Some(redis) = Redis::start().await else {
        return;
    };
    for lease in [0, 5] {
        redis.command("FLUSHALL").await;
        let (worker, tokens) = counting().await;
        let limits = "{ tokens: { amount: 1, per: 24h, burst: 900 } }";
        let store = format!(", lease: {lease}, lease-life: 200ms");
        let mut proxies = Vec::new();
        for _ in 0..3 {
            proxies.push(proxy(&worker, &redis, limits, &store).await);
        }
        let mut clients = tokio::task::JoinSet::new();
        for at in 0..24 {
            let address = proxies[at % 3].http();
            clients.spawn(async move {
                let mut granted = 0;
                for _ in 0..15 {
                    let got = http1::ask(address, &scene::completion(false)).await;
                    match got.status {
                        200 => granted += 1,
                        429 => {}
                        other => panic!("{other}: {got:?}"),
                    }
                }
                granted
            });
        }
        let granted: u64 = clients.join_all().await.into_iter().sum();
        let counted = tokens.load(Ordering::Relaxed);
        assert_eq!(granted * EACH, counted);
        assert!(counted <= 900, "{counted} tokens with leases of {lease} %");
        // What one held and did not use the others have then; and not a token more.
        eventually("all of it is granted", async || {
            for proxy in &proxies {
                ask(proxy).await;
            }
            (tokens.load(Ordering::Relaxed) == 900).then_some(())
        })
        .await;
        for proxy in &proxies {
            for _ in 0..3 {
                ask(proxy).await.with_status(429);
            }
        }
        assert_eq!(tokens.load(Ordering::Relaxed), 900);
        if lease == 0 {
            let mut asked = 0.0;
            for proxy in &proxies {
                let granted = r#"limit_decisions_total{outcome="granted"}"#;
                asked += proxy.figure(granted).await.unwrap();
            }
            assert_eq!(asked, 100.0, "each was a question");
        }
    }
}

#[tokio::test]
async fn what_one_proxy_gives_back_another_grants() {
    let Some(redis) = Redis::start().await else {
        return;
    };
    let hold = h::Worker::start(|_| vec![h::Act::Hold, h::json(200, &answer(1, 1))]).await;
    let worker = whole().await;
    let limits = "{ tokens: { amount: 1, per: 24h, burst: 10 } }";
    let store = ", lease: 0, lease-life: 100ms";
    let first = proxy(&hold, &redis, limits, store).await;
    let second = proxy(&worker, &redis, limits, store).await;
    let mut client = http1::Connection::open(first.http()).await;
    client.send(&scene::completion(false)).await;
    hold.journal.holding(0).await;
    // Nine of ten are reserved.
    ask(&second).await.with_status(429);
    // A client that leaves: its worker had it, and how far it got is not known: it stands. Nothing
    // comes back before the answer, which tells that two were used.
    hold.release();
    client.response().await.with_status(200);
    // Eight are left, and nine needed: the tenant's other requests see it.
    first
        .becomes("limit_settled_total{what=\"returned\"}", 7.0)
        .await;
    let got = eventually("what was given back is seen", async || {
        let got = ask(&second).await;
        (told(&got, "ratelimit", "tokens", "r") == 8).then_some(got)
    })
    .await;
    assert_eq!(got.status, 429);
}

#[tokio::test]
async fn each_policy_holds_when_redis_dies_and_ends_when_it_is_back() {
    for (policy, away) in [
        ("deny", [503, 503, 503, 503]),
        ("allow", [200, 200, 200, 200]),
        ("local, share: 50", [200, 200, 429, 429]),
    ] {
        let Some(mut redis) = Redis::start().await else {
            return;
        };
        let worker = whole().await;
        let limits = "{ requests: { amount: 4, per: 24h } }";
        let store = format!(", lease: 0, lease-life: 100ms, away: {policy}");
        let proxy = proxy(&worker, &redis, limits, &store).await;
        ask(&proxy).await.with_status(200);
        redis.stop();
        proxy.becomes("limit_store_there", 0.0).await;
        for status in away {
            let got = ask(&proxy).await;
            assert_eq!(got.status, status, "{policy}: {got:?}");
            assert_eq!(
                got.header("retry-after").is_some(),
                status != 200,
                "{policy}"
            );
        }
        proxy
            .logged(|line| line.contains("the limits' store is away"))
            .await;
        redis.again().await;
        proxy.becomes("limit_store_there", 1.0).await;
        // It has forgotten everything: four are there again.
        for left in (0..4).rev() {
            let got = ask(&proxy).await.with_status(200);
            assert_eq!(told(&got, "ratelimit", "requests", "r"), left, "{policy}");
        }
        ask(&proxy).await.with_status(429);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_kept_while_redis_dies_under_load() {
    let Some(mut redis) = Redis::start().await else {
        return;
    };
    let (worker, tokens) = counting().await;
    let limits = "{ tokens: { amount: 1, per: 24h, burst: 900 } }";
    let store = ", lease: 5, lease-life: 200ms";
    let mut proxies = Vec::new();
    for _ in 0..3 {
        proxies.push(proxy(&worker, &redis, limits, store).await);
    }
    let mut clients = tokio::task::JoinSet::new();
    for at in 0..12 {
        let address = proxies[at % 3].http();
        clients.spawn(async move {
            let mut seen = [0; 3];
            for _ in 0..30 {
                let got = http1::ask(address, &scene::completion(false)).await;
                match got.status {
                    200 => seen[0] += 1,
                    429 => seen[1] += 1,
                    503 => seen[2] += 1,
                    other => panic!("{other}: {got:?}"),
                }
            }
            seen
        });
    }
    // While they ask.
    eventually("some were granted", async || {
        (tokens.load(Ordering::Relaxed) >= 20 * EACH).then_some(())
    })
    .await;
    redis.stop();
    let before = tokens.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.again().await;
    let seen = clients.join_all().await;
    let counted = tokens.load(Ordering::Relaxed);
    // A Redis that forgets begins anew: at most twice the limit.
    assert!(counted <= 1800, "{counted}, {before} before: {seen:?}");
    for proxy in &proxies {
        proxy.becomes("limit_store_there", 1.0).await;
    }
    eventually("all of it is granted", async || {
        for proxy in &proxies {
            ask(proxy).await;
        }
        (tokens.load(Ordering::Relaxed) >= 900).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_at_once_are_bounded_over_all_proxies() {
    let Some(redis) = Redis::start().await else {
        return;
    };
    let worker = h::Worker::start(|_| vec![h::Act::Hold, h::json(200, &answer(1, 8))]).await;
    let limits = "{ concurrency: 2 }";
    let mut proxies = Vec::new();
    for _ in 0..2 {
        proxies.push(proxy(&worker, &redis, limits, ", lease: 0").await);
    }
    let mut open = Vec::new();
    for (at, proxy) in proxies.iter().enumerate() {
        let mut client = http1::Connection::open(proxy.http()).await;
        client.send(&scene::completion(false)).await;
        worker.journal.holding(at).await;
        open.push(client);
    }
    for proxy in &proxies {
        ask(proxy).await.with_status(429);
    }
    worker.release();
    worker.release();
    for mut client in open {
        client.response().await.with_status(200);
    }
    // The first gives its place back, and the second may have both.
    let second = &proxies[1];
    eventually("its places are free", async || {
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = http1::Connection::open(second.http()).await;
            client.send(&scene::completion(false)).await;
            clients.push(client);
        }
        worker.release();
        worker.release();
        let mut granted = 0;
        for client in &mut clients {
            granted += u32::from(client.response().await.status == 200);
        }
        (granted == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_proxy_that_ends_gives_back_what_it_had() {
    let Some(redis) = Redis::start().await else {
        return;
    };
    let (worker, tokens) = counting().await;
    let limits = "{ tokens: { amount: 1, per: 24h, burst: 900 } }";
    // Nothing comes back by itself within the test.
    let store = ", lease: 50, lease-life: 60s";
    let first = proxy(&worker, &redis, limits, store).await;
    let second = proxy(&worker, &redis, limits, ", lease: 0").await;
    for _ in 0..5 {
        ask(&first).await.with_status(200);
    }
    let leased = first.figure("limit_leased{unit=\"tokens\"}").await.unwrap();
    assert!(leased >= 100.0, "{leased}");
    assert_eq!(first.terminate().await.code, Some(0));
    for _ in 5..100 {
        ask(&second).await.with_status(200);
    }
    ask(&second).await.with_status(429);
    assert_eq!(tokens.load(Ordering::Relaxed), 900);
}
