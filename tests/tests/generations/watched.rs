//! Files that change, and are taken in by themselves.

use super::*;

const WATCH: &str = "watch: 50ms";

#[tokio::test]
async fn a_changed_component_is_taken_in_by_itself() {
    let proxy = bad("").runtime(WATCH).start().await;
    let before = standing(&proxy).await;
    assert_eq!(proxy.figure("watched_files").await, Some(1.0));
    proxy.rewrite("bad.wasm", marked(component("fixtures/bad"), 1));
    let after = eventually("it is in force", async || {
        let stands = standing(&proxy).await;
        (stands["generation"] != before["generation"]).then_some(stands)
    })
    .await;
    assert_ne!(after["sha256"], before["sha256"]);
    assert_eq!(after["changes"]["swapped"], 1);
    assert_eq!(echo(&proxy, "").await.status, 200);
}

#[tokio::test]
async fn a_changed_option_and_a_file_that_is_renamed_into_place_are_seen() {
    let proxy = bad(", options: { fault: { file: fault.txt }, marked: true }")
        .file("fault.txt", "trap")
        .runtime(WATCH)
        .start()
        .await;
    assert_eq!(proxy.figure("watched_files").await, Some(2.0));
    let mut last = standing(&proxy).await["generation"].clone();
    for (at, fault) in ["loop", "trap"].into_iter().enumerate() {
        proxy.rewrite("next.txt", fault);
        let folder = proxy.folder();
        let folder = folder.path();
        fs::rename(folder.join("next.txt"), folder.join("fault.txt")).expect("it is ours");
        last = eventually(format!("change {at} is in force"), async || {
            let now = standing(&proxy).await["generation"].clone();
            (now != last).then_some(now)
        })
        .await;
    }
    assert_eq!(echo(&proxy, "").await.status, 200);
}

#[tokio::test]
async fn what_does_not_load_is_tried_again_when_it_changes() {
    let proxy = bad("").runtime(WATCH).start().await;
    let before = standing(&proxy).await["generation"].clone();
    let whole = marked(component("fixtures/bad"), 1);
    // Half of it is there, and its writer has been stopped.
    proxy.rewrite("bad.wasm", &whole[..whole.len() / 2]);
    let bad = "loads_total{plugin=\"bad\",outcome=\"bad\"}";
    proxy.becomes(bad, 1.0).await;
    proxy
        .logged(|line| line.contains("the generation in force stays"))
        .await;
    assert_eq!(standing(&proxy).await["generation"], before);
    assert_eq!(echo(&proxy, "").await.status, 200);
    assert_eq!(proxy.ask_admin("/readyz").await.status, 200);
    // It is not tried again and again.
    let looked = proxy.figure(bad).await;
    proxy.rewrite("bad.wasm", &whole);
    eventually("it is in force", async || {
        let now = standing(&proxy).await["generation"].clone();
        (now != before).then_some(())
    })
    .await;
    assert_eq!(proxy.figure(bad).await, looked);
    assert!(standing(&proxy).await["problem"].is_null());
}

#[tokio::test]
async fn a_changed_file_begins_as_a_canary_where_that_is_configured() {
    let canary = ", canary: { percent: 50, hold: 1ms, exchanges: 3 }";
    let proxy = bad(canary).runtime(WATCH).start().await;
    proxy.rewrite("bad.wasm", marked(component("fixtures/bad"), 1));
    let after = eventually("it is promoted", async || {
        assert_eq!(echo(&proxy, "").await.status, 200);
        let stands = standing(&proxy).await;
        (stands["changes"]["promoted"] == 1).then_some(stands)
    })
    .await;
    assert_eq!(after["changes"]["canary"], 1);
    assert_eq!(after["changes"]["swapped"], 0);
}

#[tokio::test]
async fn what_cannot_serve_is_found_before_anybody_depends_on_it() {
    for (place, step) in [("constructor", "exchange"), ("attempt", "attempt")] {
        let options = format!(", options: {{ fault: {{ file: fault.txt }}, when: {place} }}");
        let proxy = bad(&options).file("fault.txt", "log-flood").start().await;
        proxy.rewrite("fault.txt", "trap");
        let got = proxy.order("plugins/bad/swap", "").await.with_status(422);
        let said = got.text();
        assert!(said.contains(&format!("on trial, in {step}")), "{said}");
        assert_eq!(echo(&proxy, "").await.status, 200);
    }
}
