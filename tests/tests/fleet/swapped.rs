//! A scheduler that is swapped while batches are in flight gives out no slot twice.

use super::*;

/// Slots of the one worker.
const SLOTS: usize = 3;
/// Requests, which all wait at once.
const REQUESTS: usize = 12;
/// A swap after so many of them.
const EACH: usize = 3;

#[tokio::test]
async fn a_swap_with_batches_in_flight_does_not_over_dispatch() {
    let worker = slow("one").await;
    let yaml = scene::one(
        "openai",
        worker.address,
        &format!(", slots: {SLOTS}"),
        "    scheduler: mine\n",
    );
    let yaml = format!("{yaml}\nschedulers:\n  mine: {{ source: mine.wasm }}\n");
    let components = ["fcfs", "least-loaded", "dynamic-batch", "fixtures/lifo"];
    let components = components.map(|name| std::fs::read(place::component(name)).unwrap());
    let proxy = Setup::new(&yaml)
        .file("mine.wasm", &components[0])
        .start()
        .await;
    let asked: Vec<_> = (0..REQUESTS).map(|_| asking(&proxy, false)).collect();
    let released = |released: usize| REQUESTS.min(released + SLOTS);
    let running = async |count: usize| {
        eventually("the slots are given", async || {
            let now = held(&worker);
            assert!(now <= count, "{now} have begun, and {count} may have");
            (now == count).then_some(())
        })
        .await;
    };
    running(released(0)).await;
    for round in 1..=REQUESTS {
        if round % EACH == 1 {
            let swap = round / EACH + 1;
            replace_bytes(&proxy, &components[swap % components.len()]);
            proxy.hangup();
            swaps(&proxy, swap).await;
        }
        running(released(round - 1)).await;
        worker.release();
        running(released(round)).await;
    }
    for asked in asked {
        assert_eq!(who(asked.await.unwrap()), "one");
    }
    assert_eq!(worker.journal.requests(), REQUESTS, "none twice");
    assert_eq!(
        proxy
            .figure("scheduler_refused_total{scheduler=\"mine\"}")
            .await,
        Some(0.0),
        "no scheduler has tried, either"
    );
}

fn replace_bytes(proxy: &Proxy, bytes: &[u8]) {
    proxy.rewrite("next", bytes);
    let folder = proxy.folder();
    std::fs::rename(folder.path().join("next"), folder.path().join("mine.wasm"))
        .expect("one folder");
}

/// Waits until the log tells of so many swaps.
async fn swaps(proxy: &Proxy, count: usize) {
    eventually(format!("swap {count}"), async || {
        let log = proxy.log();
        let told = log.matches("a new generation is in force").count();
        (told >= count).then_some(())
    })
    .await;
}
