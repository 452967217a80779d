//! Swaps under traffic: nobody fails, nothing breaks off, and nothing stays behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::*;

/// The embedded models behind two frontends and a scheduler, whose pace is not what is tested.
fn scheduled() -> String {
    let yaml = scene::embedded().replace("    auth: open", "    scheduler: fcfs\n    auth: open");
    format!("{yaml}schedulers:\n  fcfs: {{ source: \"bundled:fcfs\", limits: {{ step: 0ms }} }}\n")
}

/// Asks until it is over; gives how many answers came. Each has to be whole.
async fn ask_on(address: std::net::SocketAddr, stream: bool, over: &AtomicBool) -> usize {
    let mut asked = 0;
    while !over.load(Ordering::Relaxed) {
        let body = json!({
            "model": "tollgate-ngram", "prompt": "The", "max_tokens": 24, "stream": stream,
        });
        let got = http1::ask(address, &Request::post("/v1/completions", &body)).await;
        let got = got.with_status(200);
        let text = got.text();
        assert!(!stream || text.ends_with("data: [DONE]\n\n"), "{text}");
        asked += 1;
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_traffic_break_nothing() {
    let proxy = Proxy::start(&scheduled()).await;
    let address = proxy.http();
    let over = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..6)
        .map(|at| {
            let (over, asked) = (over.clone(), asked.clone());
            tokio::spawn(async move {
                let many = ask_on(address, at % 2 == 1, &over).await;
                asked.fetch_add(many, Ordering::Relaxed);
            })
        })
        .collect();
    let begun = Instant::now();
    let mut swaps = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        let what = ["plugins/openai", "plugins/embedded", "schedulers/fcfs"][swaps % 3];
        let happened = done(&proxy, &format!("{what}/swap"), "").await;
        assert_eq!(happened[0]["what"], "swapped", "{what}: {happened}");
        swaps += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("every answer was whole");
    }
    let asked = asked.load(Ordering::Relaxed);
    assert!(
        swaps >= 5 && asked >= swaps,
        "{asked} requests, {swaps} swaps"
    );
    let status = proxy.status().await;
    for plugin in status["plugins"].as_array().expect("a list") {
        assert_eq!(plugin["traps"], 0, "{plugin}");
        assert_eq!(plugin["changes"]["rolled-back"], 0, "{plugin}");
        assert_eq!(plugin["changes"]["overdue"], 0, "{plugin}");
    }
    assert_eq!(status["schedulers"][0]["changes"]["rolled-back"], 0);
}

#[tokio::test]
async fn hundreds_of_swaps_leave_nothing_behind() {
    let proxy = Proxy::start(&scheduled()).await;
    let body = json!({"model": "tollgate-ngram", "prompt": "The", "max_tokens": 1});
    let ask = async || {
        let request = Request::post("/v1/completions", &body);
        http1::ask(proxy.http(), &request).await.with_status(200);
    };
    ask().await;
    let held = async |kind: &str, name: &str| {
        let figure = proxy.figure(&format!("{kind}{{{name}}}")).await;
        figure.unwrap_or_else(|| panic!("no {kind} of {name}"))
    };
    let instances = proxy.figure("instances").await.expect("it is told");
    let names = [
        ("plugins/openai", "plugin=\"openai\""),
        ("plugins/embedded", "plugin=\"embedded\""),
        ("schedulers/fcfs", "scheduler=\"fcfs\""),
    ];
    for at in 0..300 {
        let (what, _) = names[at % 3];
        done(&proxy, &format!("{what}/swap"), "").await;
        ask().await;
        // Who loads them is made once.
        assert!((1..=4).contains(&proxy.threads("aside ")), "after {at}");
    }
    eventually("what served is gone", async || {
        let mut leaving = 0.0;
        for (_, name) in names {
            leaving += held("generations_leaving", name).await;
            // In force, the last one and the last proven one.
            assert_eq!(held("generations_held", name).await, 3.0, "{name}");
        }
        (leaving == 0.0).then_some(())
    })
    .await;
    assert!(proxy.figure("instances").await.expect("it is told") <= instances);
    // Of those that were dropped nothing is left in memory, no code and no instance. `tgis` stayed.
    let kept = 3.0 * names.len() as f64 + 1.0;
    eventually("they are gone", async || {
        let alive = proxy.figure("generations_alive").await;
        (alive == Some(kept)).then_some(())
    })
    .await;
    // Series of generations that are gone are gone.
    let page = proxy.metrics().await;
    let series = page
        .lines()
        .filter(|line| line.starts_with("tollgate_generation_slots{") && line.contains("openai"));
    assert_eq!(series.count(), 1, "{page}");
}

#[tokio::test]
async fn what_has_not_begun_begins_with_the_one_in_force() {
    let proxy = bad("").start().await;
    let body = "{\"hello\": \"there\"}";
    let mut connection = http1::Connection::open(proxy.http()).await;
    connection
        .raw(format!(
            "POST /bad/echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        ))
        .await;
    // Its claim is found, and its body is waited for.
    eventually("it is there", async || {
        let running = proxy.figure("route_requests{route=\"bad\"}").await;
        (running == Some(1.0)).then_some(())
    })
    .await;
    let happened = done(&proxy, "plugins/bad/swap", "").await;
    connection.raw(body).await;
    connection.response().await.with_status(200);
    eventually("the new one has served it", async || {
        let stands = standing(&proxy).await;
        assert_eq!(stands["generation"], happened[0]["to"], "{stands}");
        (stands["served"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_keeps_no_generation_but_its_own() {
    let worker = slow().await;
    let yaml = format!(
        r#"
plugins:
  bad: {{ source: bad.wasm }}
  other: {{ source: bad.wasm }}
workers:
  - {{ name: w, address: "http://{}", protocol: bad, models: [{{ name: m }}], probe: off }}
routes:
  - {{ name: bad, frontends: [bad, other], workers: [w], auth: open, default-model: m }}
"#,
        worker.address
    );
    let setup = Setup::new(&yaml).file("bad.wasm", component("fixtures/bad"));
    let proxy = setup.start().await;
    let swap = async || {
        for _ in 0..3 {
            done(&proxy, "plugins/other/swap", "").await;
        }
    };
    swap().await;
    let address = proxy.http();
    let request = Request::post("/bad/tap", &json!({}));
    let asking = tokio::spawn(async move { http1::ask(address, &request).await });
    worker.journal.holding(0).await;
    swap().await;
    // The one of `bad`; of the other frontend of its route those that are kept in any case.
    eventually("the others are gone", async || {
        let alive = proxy.figure("generations_alive").await;
        (alive == Some(1.0 + 3.0)).then_some(())
    })
    .await;
    worker.release();
    let got = asking.await.expect("it is answered").with_status(200);
    assert!(got.text().contains("two"), "{got:?}");
}

/// A worker that holds its first answer back in the middle.
async fn slow() -> fake::Worker {
    fake::Worker::start(|received| match received.number {
        0 => vec![
            fake::stream_head(),
            fake::event("one"),
            fake::Act::Hold,
            fake::event("two"),
            fake::stream_end(),
        ],
        _ => vec![fake::json(200, &json!({"done": true}))],
    })
    .await
}

/// A request that its worker holds, with a generation whose time to drain is over.
async fn overdue(path: &'static str) -> (Proxy, fake::Worker, tokio::task::JoinHandle<Response>) {
    let worker = slow().await;
    let proxy = bad_at(worker.address, ", drain: 300ms").start().await;
    let address = proxy.http();
    let asking =
        tokio::spawn(async move { http1::ask(address, &Request::post(path, &json!({}))).await });
    worker.journal.holding(0).await;
    done(&proxy, "plugins/bad/swap", "").await;
    assert!(standing(&proxy).await["leaving"][0]["exchanges"] != 0);
    eventually("its time is over", async || {
        let stands = standing(&proxy).await;
        (stands["changes"]["overdue"] == 1).then_some(())
    })
    .await;
    proxy
        .logged(|line| line.contains("the time to drain is over"))
        .await;
    let other = http1::ask(address, &Request::post("/bad/call", &json!({}))).await;
    assert_eq!(other.status, 200, "others are not concerned");
    worker.release();
    (proxy, worker, asking)
}

#[tokio::test]
async fn what_has_begun_ends_when_the_time_to_drain_is_over() {
    let (proxy, _worker, asking) = overdue("/bad/tap").await;
    let got = asking.await.expect("it is answered");
    assert_eq!(got.end, tollgate_tests::client::End::Cut, "{got:?}");
    let stands = standing(&proxy).await;
    assert_eq!(stands["leaving"], json!([]), "{stands}");
}

#[tokio::test]
async fn what_has_not_is_asked_again_of_the_one_in_force() {
    let (proxy, _worker, asking) = overdue("/bad/call").await;
    let got = asking.await.expect("it is answered").with_status(200);
    assert!(got.text().contains("done"), "{}", got.text());
    assert_eq!(
        standing(&proxy).await["served"],
        4,
        "two, and an attempt for each"
    );
}
