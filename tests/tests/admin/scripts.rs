//! The port of operators as real clients see it: its description held against its answers, and the
//! page in a real browser (`tests/clients`).
//!
//! They need the Python environment that `cargo xtask test` makes and names in `TOLLGATE_VENV`; without
//! it each says that it was left out. Where there is that environment and no Chromium, the test of the
//! page fails.

use std::{
    env,
    f64::consts::TAU,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinSet;
use tollgate_tests::{
    fake::http1::{Act, Received, Worker, json as answer},
    place,
};

use super::*;

/// Runs a script; all of its checks must pass.
async fn run(script: &str, arguments: Vec<String>) {
    let Some(venv) = env::var_os("TOLLGATE_VENV").map(PathBuf::from) else {
        println!("left out: TOLLGATE_VENV does not say where the clients are");
        return;
    };
    let mut command = Command::new(venv.join("bin/python"));
    command
        .arg(place::root().join("tests/clients").join(script))
        .args(arguments)
        .stdin(Stdio::null());
    let asked = tokio::task::spawn_blocking(move || command.output());
    // A browser starts slowly on a busy machine, and is asked hundreds of things.
    let output = tokio::time::timeout(Duration::from_secs(480), asked)
        .await
        .expect("the client ends")
        .expect("waiting for it does not panic")
        .expect("the client starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.ends_with(", 0 failed") && !last.starts_with("0 passed"),
        "{said}"
    );
    println!("{script}: {last}");
}

#[tokio::test]
async fn the_description_is_what_is_served() {
    let proxy = watched().start().await;
    complete(&proxy).await.with_status(200);
    mistake(&proxy).await.with_status(404);
    let url = format!("http://{}", proxy.admin());
    let arguments = ["--url", &url, "--plugin", "openai", "--worker", "here"];
    run("admin_api.py", arguments.map(str::to_owned).to_vec()).await;
}

/// A server that is given several prompts at once; a batch takes the longer the more there are.
fn merging(received: &Received) -> Vec<Act> {
    let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
    let prompts = asked["prompt"].as_array().map_or(1, Vec::len);
    let choice = |index: usize| {
        json!({"index": index, "text": " and so on", "logprobs": null, "finish_reason": "length",
            "prompt_token_ids": [7, 7, 7], "token_ids": [7, 7]})
    };
    let choices: Vec<Value> = (0..prompts).map(choice).collect();
    let usage = json!({"prompt_tokens": 3 * prompts, "completion_tokens": 2 * prompts,
        "total_tokens": 5 * prompts});
    let body = json!({"id": "cmpl-1", "object": "text_completion", "created": 1,
        "model": "served", "choices": choices, "usage": usage});
    let time = 20 + 4 * u64::try_from(prompts).expect("there are few");
    vec![Act::Work(Duration::from_millis(time)), answer(200, &body)]
}

/// Clients that ask again and again: many whose prompts are merged, some who read streams, and one who
/// makes mistakes.
async fn keep_busy(address: SocketAddr) {
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..20 {
        clients.spawn(in_company(address, began, number));
    }
    for number in 0..3 {
        clients.spawn(reading(address, number));
    }
    clients.spawn(mistaken(address));
    // None of them comes to an end.
    while clients.join_next().await.is_some() {}
}

/// More and fewer of these are there, as a tide comes and goes in twelve seconds.
async fn in_company(address: SocketAddr, began: Instant, number: u32) {
    let body = json!({
        "model": "m", "prompt": format!("Hello {CANARY}"), "max_tokens": 2, "temperature": 0,
    });
    let request = Request::post("/v1/completions", &body);
    loop {
        let tide = (began.elapsed().as_secs_f64() * TAU / 12.0).sin();
        if f64::from(number) < 10.0 * (1.0 + tide) {
            // Whatever becomes of it: a worker is drained meanwhile.
            http1::ask(address, &request).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every other answer is a stream; some are longer than others.
async fn reading(address: SocketAddr, number: u32) {
    for turn in number.. {
        let body = json!({
            "model": "tollgate-ngram", "prompt": format!("Hello {CANARY}"),
            "max_tokens": 8 << (turn % 4), "stream": turn.is_multiple_of(2),
        });
        http1::ask(address, &Request::post("/v1/completions", &body)).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

/// Of a model that is not there, or with what cannot be.
async fn mistaken(address: SocketAddr) {
    for turn in 0_u32.. {
        let (model, most) = match turn.is_multiple_of(2) {
            true => ("nothing", 4),
            false => ("tollgate-ngram", -1),
        };
        let body = json!({"model": model, "prompt": CANARY, "max_tokens": most});
        http1::ask(address, &Request::post("/v1/completions", &body)).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

#[tokio::test]
async fn the_page_in_a_browser() {
    let worker = Worker::start(merging).await;
    let beside = scene::worker(
        "beside",
        "openai",
        worker.address,
        ", slots: 1, max-batch: 16",
    );
    let yaml = scene::embedded()
        .replace("routes:\n", &format!("{beside}routes:\n"))
        .replace(
            "workers: [here]\n",
            "workers: [here, beside]\n    scheduler: batches\n",
        );
    let schedulers = "schedulers: { batches: { source: \"bundled:dynamic-batch\" } }\n";
    let proxy = guard(Setup::new(&(yaml + schedulers))).start().await;
    let url = format!("http://{}", proxy.admin());
    let screens = place::target().join("screenshots").display().to_string();
    let arguments = [
        "--url",
        &url,
        "--plugin",
        "openai",
        "--canary",
        CANARY,
        "--token",
        TOKEN,
        "--screens",
        &screens,
    ];
    tokio::select! {
        () = run("dashboard.py", arguments.map(str::to_owned).to_vec()) => {}
        () = keep_busy(proxy.http()) => {}
    }
}
