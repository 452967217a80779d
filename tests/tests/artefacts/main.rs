//! A hundred broken artefacts, one after the other in the place of a running plugin's: what it is,
//! what is wrong and what to do is said each time, and the generation in force serves on without
//! one request that fails.
//!
//! `cases.rs` is the table of what is wrong in a component itself, `forge.rs` makes components of
//! any shape, `places.rs` has what is wrong around them: files, options, pins, signatures.

mod cases;
mod forge;
mod places;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinHandle;
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, http1},
    eventually, place,
};

/// The plugin that is in force: `tests/fixtures/bad`, which answers itself.
fn good() -> Vec<u8> {
    fs::read(place::component("fixtures/bad")).expect("the component")
}

/// A proxy whose plugin is `mine.wasm` beside its configuration; `more` is more of the plugin.
fn yaml(more: &str, sections: &str) -> String {
    format!(
        r#"
plugins:
  mine: {{ source: mine.wasm{more}, limits: {{ memory: 16MiB, cpu: 20ms, cpu-large: 100ms }} }}
workers:
  - {{ name: w, address: "http://127.0.0.1:9", protocol: mine, models: [{{ name: m }}], probe: off }}
routes:
  - {{ name: r, frontends: [mine], workers: [w], auth: open, default-model: m }}
{sections}
"#
    )
}

/// A running proxy, with a client that asks all the time.
struct Stage {
    proxy: Proxy,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    client: JoinHandle<Vec<String>>,
    /// The generation that has to stay.
    generation: u64,
}

impl Stage {
    async fn new(setup: Setup) -> Self {
        let proxy = setup.start().await;
        let (stop, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let client = tokio::spawn(ask(proxy.http(), stop.clone(), asked.clone()));
        let generation = number(&proxy).await;
        Self {
            proxy,
            stop,
            asked,
            client,
            generation,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.proxy.folder().path().join(name)
    }

    /// Puts a file there in whole: a reader sees the old or the new.
    fn put(&self, name: &str, content: &[u8]) {
        let new = self.path("coming");
        fs::write(&new, content).expect("the folder can be written");
        self.clear(name);
        fs::rename(&new, self.path(name)).expect("in one folder");
    }

    /// Takes away whatever has that name.
    fn clear(&self, name: &str) {
        let path = self.path(name);
        match fs::symlink_metadata(&path) {
            Ok(it) if it.is_dir() => fs::remove_dir_all(path).expect("ours"),
            Ok(it) if !it.is_file() => fs::remove_file(path).expect("ours"),
            _ => {}
        }
    }

    /// Tells the proxy to load what is there now, and waits for what it says: one line of its log
    /// has every one of the words, and the generation is the same.
    async fn refuses(&self, case: &str, words: &[&str]) {
        let seen = self.proxy.log().lines().count();
        let before = self.asked.load(Ordering::Relaxed);
        self.proxy.hangup();
        let found = eventually(format!("{case}: {words:?}"), async || {
            let log = self.proxy.log();
            let mut lines = log.lines().skip(seen);
            let line = lines.find(|line| {
                line.contains("in force stays") && words.iter().all(|word| line.contains(word))
            });
            line.map(ToOwned::to_owned)
        });
        let said = found.await;
        // By its name, or by its place in the configuration.
        assert!(
            said.contains("mine") || said.contains("tollgate.yaml:"),
            "{case}: it does not say which: {said}"
        );
        // The client was answered since, by the same generation.
        eventually(format!("{case}: the client is served"), async || {
            (self.asked.load(Ordering::Relaxed) > before).then_some(())
        })
        .await;
        assert_eq!(number(&self.proxy).await, self.generation, "{case}: {said}");
    }

    /// Loads a good one at last, which is another generation, and says how many were asked.
    async fn recovers(self) -> u64 {
        self.proxy.hangup();
        eventually("a good one is taken", async || {
            (number(&self.proxy).await != self.generation).then_some(())
        })
        .await;
        self.stop.store(true, Ordering::Relaxed);
        let wrong = self.client.await.expect("the client ends");
        assert!(
            wrong.is_empty(),
            "{} failed: {:?}",
            wrong.len(),
            wrong.first()
        );
        self.asked.load(Ordering::Relaxed)
    }
}

async fn number(proxy: &Proxy) -> u64 {
    let status = proxy.status().await;
    status["plugins"][0]["generation"]
        .as_u64()
        .expect("a number")
}

/// One request after the other; says what was not answered as it should.
async fn ask(
    address: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let body = json!({ "number": number });
        let got = http1::ask(address, &Request::post("/bad/echo", &body)).await;
        if got.status != 200 || got.json() != body {
            wrong.push(format!("{number}: {} {}", got.status, got.text()));
        }
        asked.fetch_add(1, Ordering::Relaxed);
        // Not to wait for something, only to leave the processor to the compiler.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_broken_components_are_refused_and_nobody_notices() {
    let setup = Setup::new(&yaml("", "")).file("mine.wasm", good());
    let stage = Stage::new(setup).await;
    let cases = cases::all();
    assert!(cases.len() >= 100, "{} cases", cases.len());
    for case in &cases {
        stage.put("mine.wasm", &case.bytes);
        stage.refuses(&case.name, &case.words).await;
    }
    stage.put("mine.wasm", &changed(&good()));
    let asked = stage.recovers().await;
    assert!(asked > cases.len() as u64, "{asked} requests");
}

/// The same component with a section more that means nothing: another digest.
fn changed(component: &[u8]) -> Vec<u8> {
    [component, b"\0\x05\x04note"].concat()
}
