//! A file that lists workers.

use super::*;

#[tokio::test]
async fn a_worker_that_goes_ends_what_it_has_and_gets_nothing_new() {
    let (old, new) = (slow("old").await, named("new").await);
    let setup = Setup::new(&listed("", ""));
    let proxy = setup
        .file("fleet.yaml", list(&[("a", old.address)]))
        .start()
        .await;
    let stream = asking(&proxy, true);
    let whole = asking(&proxy, false);
    old.journal.holding(0).await;
    old.journal.holding(1).await;
    replace(&proxy, "fleet.yaml", &list(&[("b", new.address)]));
    proxy.becomes("worker_draining{worker=\"w0@a\"}", 1.0).await;
    until(&proxy, "new").await;
    let asked = old.journal.requests();
    for _ in 0..8 {
        assert_eq!(ask(&proxy).await, "new");
    }
    assert_eq!(old.journal.requests(), asked, "nothing new");
    for _ in 0..asked {
        old.release();
    }
    assert_eq!(who(whole.await.unwrap()), "old");
    let stream = stream.await.unwrap();
    let (events, done) = sse::json(&stream.text());
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!((text.as_str(), done), ("one old", true));
    forgotten(&proxy, "w0@a").await;
    assert_eq!(ask(&proxy).await, "new");
}

#[tokio::test]
async fn what_runs_at_a_worker_that_has_gone_is_cut_at_the_deadline() {
    let (old, new) = (slow("old").await, named("new").await);
    let address = "{ file: fleet.yaml, refresh: 100ms, drain: 300ms }";
    let proxy = Setup::new(&section(address, "", "    retry: { attempts: 1 }\n"))
        .file("fleet.yaml", list(&[("a", old.address)]))
        .start()
        .await;
    let stream = asking(&proxy, true);
    let whole = asking(&proxy, false);
    old.journal.holding(0).await;
    old.journal.holding(1).await;
    replace(&proxy, "fleet.yaml", &list(&[("b", new.address)]));
    let whole = whole.await.unwrap();
    assert!((500..600).contains(&whole.status), "{whole:?}");
    assert!(whole.json()["error"]["message"].is_string());
    let stream = stream.await.unwrap();
    let body = String::from_utf8_lossy(&stream.body).into_owned();
    assert!(
        stream.end == End::Cut || body.contains("\"error\""),
        "nobody takes a part for the whole: {body}"
    );
    for number in 0..2 {
        old.journal.gone(number).await;
    }
    forgotten(&proxy, "w0@a").await;
    until(&proxy, "new").await;
}

#[tokio::test]
async fn a_name_is_free_at_once_and_who_had_it_is_not_mixed_up() {
    let (old, new) = (slow("old").await, named("new").await);
    let proxy = Setup::new(&listed("", ""))
        .file("fleet.yaml", list(&[("x", old.address)]))
        .start()
        .await;
    let first = asking(&proxy, false);
    old.journal.holding(0).await;
    replace(&proxy, "fleet.yaml", &list(&[("x", new.address)]));
    proxy.logged(|line| line.contains("a worker leaves")).await;
    until(&proxy, "new").await;
    for _ in 0..held(&old) {
        old.release();
    }
    assert_eq!(who(first.await.unwrap()), "old");
    proxy.becomes("worker_draining{worker=\"w0@x\"}", 0.0).await;
    assert_eq!(ask(&proxy).await, "new");
}

#[tokio::test]
async fn a_broken_list_changes_nothing_and_is_told() {
    let (one, two) = (named("one").await, named("two").await);
    let proxy = Setup::new(&listed("", ""))
        .file("fleet.yaml", list(&[("a", one.address)]))
        .start()
        .await;
    assert_eq!(ask(&proxy).await, "one");
    let stale = "discovery_stale{section=\"w0\"}";
    assert_eq!(proxy.figure(stale).await, Some(0.0));
    for broken in [
        "workers:\n  - { name: a, addres: x }\n",
        "workers:\n  - { name: b, address: \"http://127.0",
        "",
    ] {
        replace(&proxy, "fleet.yaml", broken);
        proxy.becomes(stale, 1.0).await;
        assert_eq!(ask(&proxy).await, "one");
        replace(&proxy, "fleet.yaml", &list(&[("a", one.address)]));
        proxy.becomes(stale, 0.0).await;
    }
    proxy
        .logged(|line| line.contains("unknown key `addres`") && line.contains("fleet.yaml:2:"))
        .await;
    std::fs::remove_file(proxy.folder().path().join("fleet.yaml")).unwrap();
    proxy.becomes(stale, 1.0).await;
    assert_eq!(ask(&proxy).await, "one");
    let failures = proxy.figure("discovery_failures_total{section=\"w0\"}");
    assert!(failures.await.unwrap() >= 4.0);
    assert_eq!(one.journal.entries()[0].seen, Seen::Accepted);
    // JSON is as good.
    let json = json!({"workers": [{"name": "b", "address": format!("http://{}", two.address)}]});
    replace(&proxy, "fleet.yaml", &json.to_string());
    until(&proxy, "two").await;
    forgotten(&proxy, "w0@a").await;
}

#[tokio::test]
async fn a_listed_worker_has_what_its_section_says_but_for_what_it_says_itself() {
    let one = h::Worker::start(|received| {
        let body = String::from_utf8_lossy(&received.body).into_owned();
        vec![h::json(200, &scene::completed(&body))]
    })
    .await;
    let text = format!(
        "workers:\n  - {{ name: a, address: \"http://{}\", slots: 3, \
         models: [{{ name: own, served-as: mine }}] }}\n",
        one.address
    );
    let proxy = Setup::new(&listed(", slots: 5", ""))
        .file("fleet.yaml", text)
        .start()
        .await;
    assert_eq!(
        proxy.figure("worker_slots{worker=\"w0@a\"}").await,
        Some(3.0)
    );
    let own = json!({"model": "own", "prompt": "Hello", "max_tokens": 8});
    let asked = who(http1::ask(proxy.http(), &Request::post("/v1/completions", &own)).await);
    assert!(asked.contains("mine"), "{asked}");
    replace(&proxy, "fleet.yaml", &list(&[("a", one.address)]));
    proxy.becomes("worker_slots{worker=\"w0@a\"}", 5.0).await;
    let asked = ask(&proxy).await;
    assert!(asked.contains("served"), "{asked}");
}

#[tokio::test]
async fn more_than_may_be_are_left_out_and_those_that_are_there_stay() {
    let (one, two) = (named("one").await, named("two").await);
    let address = "{ file: fleet.yaml, refresh: 100ms, most: 1 }";
    let proxy = Setup::new(&section(address, "", ""))
        .file("fleet.yaml", list(&[("b", two.address)]))
        .start()
        .await;
    replace(
        &proxy,
        "fleet.yaml",
        &list(&[("a", one.address), ("b", two.address)]),
    );
    proxy
        .becomes("discovery_left_out{section=\"w0\"}", 1.0)
        .await;
    for _ in 0..4 {
        assert_eq!(ask(&proxy).await, "two");
    }
    assert_eq!(one.journal.requests(), 0);
}
