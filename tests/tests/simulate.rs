//! `tollgate simulate`: what a live proxy's schedulers decided is decided again, and a run is a
//! function of its arguments.

use std::path::Path;
use std::process::{Command, Output};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate_tests::{
    Setup,
    client::{Request, http1},
    fake::http1 as h,
    place, scene,
};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(place::binary())
        .arg("simulate")
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn replay(recording: &Path, scheduler: &Path) -> Output {
    simulate(&[
        "--replay",
        recording.to_str().unwrap(),
        "--scheduler",
        scheduler.to_str().unwrap(),
    ])
}

#[tokio::test]
async fn what_a_live_proxy_decided_is_decided_again() {
    for (name, options) in [
        ("fcfs", "{}"),
        ("least-loaded", "{ max-in-flight: 2 }"),
        ("dynamic-batch", "{ max-queue-delay-us: 2000 }"),
    ] {
        let component = place::component(name);
        let yaml = scene::embedded().replace("slots: 4", "slots: 3").replace(
            "    auth: open\n",
            "    auth: open\n    scheduler: under-test\n",
        );
        // Options of the command line are the configuration's.
        let yaml = format!(
            "schedulers:\n  under-test: {{ source: \"{}\", options: {options} }}\n{yaml}",
            component.display()
        );
        let proxy = Setup::new(&yaml).record("recorded").start().await;
        for _ in 0..3 {
            let body = json!({"model": "tollgate-ngram", "prompt": "The", "max_tokens": 9});
            let request = Request::post("/v1/completions", &body);
            let asked = (0..16).map(|_| http1::ask(proxy.http(), &request));
            for answer in join_all(asked).await {
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
        let folder = proxy.folder();
        assert_eq!(proxy.terminate().await.code, Some(0));
        let recording = folder.path().join("recorded/under-test.jsonl");
        // What each answer said that it has used was told.
        let told = std::fs::read_to_string(&recording).unwrap();
        assert_eq!(told.matches(r#""settled":"#).count(), 48, "{name}");
        assert!(told.contains(r#""output":9"#), "{told}");
        let json = match options {
            "{}" => String::new(),
            other => {
                let (name, value) = other
                    .trim_matches(['{', '}', ' '])
                    .split_once(": ")
                    .unwrap();
                format!("={{\"{name}\": {value}}}")
            }
        };
        let scheduler = format!("{}{json}", component.display());
        let same = replay(&recording, Path::new(&scheduler));
        assert!(same.status.success(), "{name}: {}", text(&same));
        let told = text(&same);
        assert!(told.contains("decided 48"), "{told}");
        assert!(told.ends_with("the same\n"), "{told}");
        let other = place::component("fixtures/lifo");
        let other = replay(&recording, &other);
        assert!(!other.status.success(), "lifo is not {name}");
        assert!(text(&other).contains("recorded"), "{}", text(&other));
    }
}

/// Also of an answer that is passed on as it is, and whose end says what it has used.
#[tokio::test]
async fn what_a_passed_answer_has_used_is_told() {
    let worker = h::Worker::start(|_| vec![h::json(200, &scene::completed(" there"))]).await;
    let yaml = scene::one("openai", worker.address, "", "");
    let proxy = Setup::new(&yaml).record("recorded").start().await;
    for _ in 0..3 {
        let answer = http1::ask(proxy.http(), &scene::completion(false)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let folder = proxy.folder();
    assert_eq!(proxy.terminate().await.code, Some(0));
    let recording = folder.path().join("recorded/built-in.jsonl");
    let told = std::fs::read_to_string(recording).unwrap();
    let lines = told.lines().map(|line| serde_json::from_str(line).unwrap());
    let settled: Vec<Value> = lines
        .filter_map(|line: Value| line.get("settled").cloned())
        .collect();
    assert_eq!(settled.len(), 3, "{told}");
    for one in settled {
        assert_eq!((&one["input"], &one["output"]), (&json!(2), &json!(3)));
        assert_eq!(one["believed"][1], 8, "what the client allowed");
    }
}

#[test]
fn a_run_is_a_function_of_its_arguments() {
    let folder = tempfile::TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let component = |name: &str| place::component(name).to_str().unwrap().to_owned();
    let batches = format!(
        "{}={{\"max-queue-delay-us\":1000}}",
        component("dynamic-batch")
    );
    let run = |seed: &str, trace: &str, json: &str| {
        let output = simulate(&[
            "--scheduler",
            &batches,
            "--compare",
            &component("least-loaded"),
            &component("fcfs"),
            "fallback",
            "--trace",
            trace,
            "--workers",
            "8",
            "--seed",
            seed,
            "--json",
            &at(json),
            "--html",
            &at("page.html"),
            "--write-trace",
            &at(&format!("{json}.csv")),
        ]);
        assert!(output.status.success(), "{}", text(&output));
        let json = std::fs::read_to_string(at(json)).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        (text(&output), json["reports"].clone())
    };
    let trace = "bursty:rate=4000,seconds=1,tenants=3,keys=2,deadline-ms=300";
    let (table, first) = run("1", trace, "first");
    assert!(
        table.contains("fallback") && table.contains("throughput"),
        "{table}"
    );
    assert_eq!(run("1", trace, "again").1, first);
    assert_ne!(run("2", trace, "other").1, first);
    // The requests, written and read, are the same requests.
    assert_eq!(run("1", &at("first.csv"), "read").1, first);
    for report in first.as_array().unwrap() {
        let report = &report["report"];
        assert_eq!(report["refused"], 0);
        let rejected = report["rejected"].as_object().unwrap();
        let rejected: u64 = rejected.values().filter_map(Value::as_u64).sum();
        let done = report["done"].as_u64().unwrap();
        assert_eq!(report["came"].as_u64(), Some(done + rejected));
    }
    let page = std::fs::read_to_string(at("page.html")).unwrap();
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
}

#[test]
fn what_is_wrong_is_said() {
    for (arguments, part) in [
        (&["--scheduler", "bundled:nobody"][..], "nobody"),
        (&["--scheduler", "/nowhere.wasm"], "/nowhere.wasm"),
        (
            &["--scheduler", "fallback", "--trace", "poisson:speed=1"],
            "speed",
        ),
        (
            &["--scheduler", "fallback", "--trace", "nowhere.csv"],
            "nowhere.csv",
        ),
        (&["--scheduler", "fallback", "--service", "slow"], "slow"),
        (&["--scheduler", "fallback", "--workers", "0"], "workers"),
    ] {
        let output = simulate(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text(&output).contains(part), "{}", text(&output));
    }
}
