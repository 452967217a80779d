//! A new generation beside the one in force, and what becomes of it.

use super::*;

/// Asks until so many of the canary's exchanges have ended.
async fn served(proxy: &Proxy, by_canary: u64) {
    eventually("the canary has served", async || {
        assert_eq!(echo(proxy, "").await.status, 200);
        let stands = standing(proxy).await;
        let canary = stands["candidate"]["served"].as_u64();
        canary
            .is_none_or(|served| served >= by_canary)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_canary_gets_its_share_and_is_promoted_when_it_held() {
    let canary = ", canary: { percent: 25, hold: 1h, exchanges: 10 }";
    let proxy = bad(canary).start().await;
    let happened = done(&proxy, "plugins/bad/swap", "").await;
    assert_eq!(happened[0]["what"], "canary", "{happened}");
    for _ in 0..40 {
        assert_eq!(echo(&proxy, "").await.status, 200);
    }
    let stands = standing(&proxy).await;
    assert_eq!(stands["candidate"]["generation"], happened[0]["to"]);
    assert_eq!(stands["candidate"]["percent"], 25);
    assert_eq!(stands["candidate"]["served"], 10, "{stands}");
    assert_eq!(stands["served"], 30);

    let promoted = done(&proxy, "plugins/bad/promote", "").await;
    assert_eq!(promoted[0]["what"], "promoted");
    let stands = standing(&proxy).await;
    assert_eq!(stands["generation"], happened[0]["to"]);
    assert!(stands["candidate"].is_null());
    assert_eq!(echo(&proxy, "").await.status, 200);
    assert_eq!(standing(&proxy).await["served"], 11);
}

#[tokio::test]
async fn one_that_held_is_promoted_by_itself() {
    let canary = ", canary: { percent: 50, hold: 100ms, exchanges: 5 }";
    let proxy = bad(canary).start().await;
    let happened = done(&proxy, "plugins/bad/swap", "").await;
    served(&proxy, 5).await;
    let promoted = eventually("it is promoted", async || {
        let stands = standing(&proxy).await;
        stands["candidate"].is_null().then_some(stands)
    })
    .await;
    assert_eq!(promoted["generation"], happened[0]["to"]);
    assert_eq!(promoted["changes"]["promoted"], 1);
    proxy
        .logged(|line| line.contains("a canary is in force"))
        .await;
}

#[tokio::test]
async fn one_that_traps_is_taken_back_and_no_client_notices() {
    let proxy = bad(", options: { fault: { file: fault.txt } }")
        .file("fault.txt", "log-flood")
        .start()
        .await;
    let first = standing(&proxy).await["generation"].clone();
    proxy.rewrite("fault.txt", "trap");
    let happened = done(&proxy, "plugins/bad/swap", "{\"canary\": 50}").await;
    assert_eq!(happened[0]["what"], "canary");
    for _ in 0..20 {
        // What the canary lost is asked of the one in force, as long as it is still held.
        assert_eq!(echo(&proxy, "").await.status, 200);
    }
    let stands = eventually("it is taken back", async || {
        let stands = standing(&proxy).await;
        stands["candidate"].is_null().then_some(stands)
    })
    .await;
    assert_eq!(stands["generation"], first);
    assert_eq!(stands["barred"][0]["why"], "traps", "{stands}");
    assert_eq!(stands["changes"]["withdrawn"], 1);
    proxy
        .logged(|line| line.contains("a canary is taken back") && line.contains("traps"))
        .await;
    // Neither a hangup nor a look puts it there again; an operator may.
    proxy.hangup();
    proxy
        .logged(|line| line.contains("lost its place stays out"))
        .await;
    assert!(standing(&proxy).await["candidate"].is_null());
}

#[tokio::test]
async fn one_whose_requests_fail_more_often_is_taken_back() {
    let worker = fake::Worker::start(|_| vec![fake::json(200, &json!({"done": true}))]).await;
    let options = ", options: { fault: { file: fault.txt }, when: answer }";
    let proxy = bad_at(worker.address, options)
        .file("fault.txt", "log-flood")
        .start()
        .await;
    let call = async || {
        let request = Request::post("/bad/call", &json!({"hello": "there"}));
        http1::ask(proxy.http(), &request).await.status
    };
    assert_eq!(call().await, 200);
    // It ends its calls without an end, which is no trap.
    proxy.rewrite("fault.txt", "no-end");
    let happened = done(&proxy, "plugins/bad/swap", "{\"canary\": 50}").await;
    assert_eq!(happened[0]["what"], "canary");
    let stands = eventually("it is taken back", async || {
        let status = call().await;
        assert!([200, 502].contains(&status), "{status}");
        let stands = standing(&proxy).await;
        stands["candidate"].is_null().then_some(stands)
    })
    .await;
    assert_eq!(stands["barred"][0]["why"], "errors", "{stands}");
    assert_eq!(stands["traps"], 0);
    for _ in 0..10 {
        assert_eq!(call().await, 200);
    }
}

#[tokio::test]
async fn an_operator_takes_a_canary_back() {
    let proxy = bad("").start().await;
    done(&proxy, "plugins/bad/swap", "{\"canary\": 5}").await;
    let happened = done(&proxy, "plugins/bad/rollback", "").await;
    assert_eq!(happened[0]["what"], "withdrawn", "{happened}");
    assert_eq!(standing(&proxy).await["barred"][0]["why"], "asked");
}

#[tokio::test]
async fn a_generation_that_only_fails_gives_its_place_back_to_the_last_good_one() {
    let setup = bad(", options: { fault: { file: fault.txt } }, quarantine: { traps: 4 }");
    let proxy = setup.file("fault.txt", "log-flood").start().await;
    let first = standing(&proxy).await["generation"].clone();
    proxy.rewrite("fault.txt", "trap");
    let happened = done(&proxy, "plugins/bad/swap", "").await;
    let second = happened[0]["to"].clone();
    // Two requests, each replayed once, are four traps.
    for _ in 0..2 {
        let got = echo(&proxy, "").await.with_status(502);
        let status = got.header("proxy-status").expect("it names the culprit");
        assert!(status.contains("plugin bad failed"), "{status}");
    }
    // Nobody meets it any more, whether or not anybody has looked after it since.
    assert_eq!(echo(&proxy, "").await.status, 200);
    let stands = standing(&proxy).await;
    assert_eq!(stands["generation"], first);
    assert_eq!(stands["barred"][0]["generation"], second);
    assert_eq!(stands["barred"][0]["why"], "failing");
    assert_eq!(
        proxy
            .figure("generation_changes_total{plugin=\"bad\",change=\"rolled-back\"}")
            .await,
        Some(1.0)
    );
    proxy
        .logged(|line| {
            line.contains("an earlier generation is in force again") && line.contains("failing")
        })
        .await;
    // Its own quarantine is not the other's.
    for _ in 0..10 {
        assert_eq!(echo(&proxy, "").await.status, 200);
    }
}

#[tokio::test]
async fn who_is_lost_by_the_last_trap_is_served_by_the_one_that_is_put_back() {
    let setup = bad(", options: { fault: { file: fault.txt } }, quarantine: { traps: 3 }");
    let proxy = setup.file("fault.txt", "log-flood").start().await;
    proxy.rewrite("fault.txt", "trap");
    for round in 1..=5 {
        done(&proxy, "plugins/bad/swap", "").await;
        // It traps twice, in its first run and in the one that follows.
        echo(&proxy, "").await.with_status(502);
        // The third trap ends the generation's time, and the run that follows is another's.
        assert_eq!(echo(&proxy, "").await.status, 200, "{round}");
        let stands = standing(&proxy).await;
        assert_eq!(stands["changes"]["rolled-back"], round, "{stands}");
        assert_eq!(stands["traps"], 0, "{stands}");
    }
    // It is told of though nobody who looks after plugins has done it.
    proxy
        .logged(|line| {
            line.contains("an earlier generation is in force again") && line.contains("failing")
        })
        .await;
}
