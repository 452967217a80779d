//! What schedulers are told that requests cost: of a list that is taken apart, and of questions
//! that are several calls, the whole once.

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, grpc, http1},
    fake::{grpc as fake_grpc, http1 as h},
    fmaas, scene,
};

use crate::{body, worker, yaml};

/// Input and output of each request that the scheduler was told, in order.
async fn told(proxy: Proxy) -> Vec<(u64, u64)> {
    let folder = proxy.folder();
    assert_eq!(proxy.terminate().await.code, Some(0));
    let recording = folder.path().join("recorded/fcfs.jsonl");
    let recording = std::fs::read_to_string(recording).expect("it was recorded");
    let lines = recording
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let arrived = lines.filter_map(|line| line.get("arrive").cloned());
    arrived
        .map(|it| {
            (
                it["input"].as_u64().unwrap(),
                it["output"].as_u64().unwrap(),
            )
        })
        .collect()
}

async fn recorded(workers: &[String]) -> Proxy {
    let yaml = yaml(workers, "at-once: 2", "")
        .replace("    auth: open\n", "    auth: open\n    scheduler: fcfs\n");
    let yaml = format!("schedulers:\n  fcfs: {{ source: \"bundled:fcfs\" }}\n{yaml}");
    Setup::new(&yaml).record("recorded").start().await
}

/// A caikit runtime, which takes one prompt at a time.
async fn caikit() -> h::Worker {
    h::Worker::start(|_| {
        vec![h::json(
            200,
            &json!({
                "generated_text": "a", "generated_tokens": 3, "finish_reason": "MAX_TOKENS",
                "producer_id": {"name": "Text Generation", "version": "0.1.0"},
                "input_token_count": 2, "seed": null, "tokens": [], "input_tokens": []
            }),
        )]
    })
    .await
}

async fn batch(proxy: &Proxy) {
    let asked = scene::batch("m", &["a prompt", "another one", "c", "d"]);
    let (_, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &scene::tgis("Generate"),
        &asked,
    )
    .await;
    assert_eq!(status.code, 0, "{status:?}");
}

const REST: &str = ", options: { dialect: caikit-rest }";

#[tokio::test]
async fn a_list_that_nobody_takes_whole_is_charged_by_its_parts() {
    let caikit = caikit().await;
    let line = worker("w0", "caikit", caikit.address, "generate", REST);
    let proxy = recorded(&[line]).await;
    batch(&proxy).await;
    let told = told(proxy).await;
    let outputs: Vec<u64> = told.iter().map(|it| it.1).collect();
    assert_eq!(outputs, [8; 4], "it waited by its parts only");
    // 21 bytes are 5 tokens, as the frontend guesses.
    assert_eq!(told.iter().map(|it| it.0).sum::<u64>(), 5, "{told:?}");
}

#[tokio::test]
async fn a_list_that_some_take_whole_is_charged_as_a_whole() {
    let caikit = caikit().await;
    let tgis = fake_grpc::Worker::start(|received| {
        let asked: fmaas::BatchedGenerationRequest = received.message();
        fake_grpc::answer(&scene::generated(&vec!["a"; asked.requests.len()]))
    })
    .await;
    let lines = [
        worker("w0", "caikit", caikit.address, "generate", REST),
        worker("w1", "tgis", tgis.address, "generate", ""),
    ];
    let proxy = recorded(&lines).await;
    for _ in 0..4 {
        batch(&proxy).await;
    }
    let told = told(proxy).await;
    let (whole, parts): (Vec<(u64, u64)>, Vec<_>) = told.iter().partition(|it| it.1 > 0);
    assert_eq!(whole, [(5, 32); 4], "whoever had them");
    assert!(parts.iter().all(|it| *it == (0, 0)), "{told:?}");
}

#[tokio::test]
async fn the_output_of_a_list_of_prompts_is_that_of_all() {
    let vllm = h::Worker::start(|received| {
        let prompts = match &body(received)["prompt"] {
            Value::Array(all) => all.len(),
            _ => 1,
        };
        let choices: Vec<Value> = (0..prompts)
            .map(|index| {
                json!({"index": index, "text": "a", "logprobs": null, "finish_reason": "length"})
            })
            .collect();
        vec![h::json(
            200,
            &json!({
                "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "served",
                "choices": choices,
                "usage": {"prompt_tokens": 4, "total_tokens": 10, "completion_tokens": 6}
            }),
        )]
    })
    .await;
    let line = worker("w0", "openai", vllm.address, "generate", "");
    let proxy = recorded(&[line]).await;
    for (prompt, n) in [
        (json!(["a", "b, [", "c"]), 2),
        (json!("a, b"), 1),
        (json!([1, 2, 3]), 1),
        (json!([[1], [2, 3]]), 1),
    ] {
        let body = json!({"model": "m", "prompt": prompt, "max_tokens": 5, "n": n});
        let response = http1::ask(proxy.http(), &Request::post("/v1/completions", &body)).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }
    let outputs: Vec<u64> = told(proxy).await.iter().map(|it| it.1).collect();
    assert_eq!(outputs, [30, 5, 5, 10]);
}

#[tokio::test]
async fn pairs_that_are_calls_of_their_own_are_charged_once() {
    let caikit = h::Worker::start(|_| {
        vec![h::json(
            200,
            &json!({
                "result": {"scores": [0.5]}, "input_token_count": 3,
                "producer_id": {"name": "EmbeddingModule", "version": "0.0.1"},
            }),
        )]
    })
    .await;
    let line = worker("w0", "caikit", caikit.address, "similarity", REST);
    let proxy = recorded(&[line]).await;
    let body = json!({
        "model": "m", "text_1": ["one text", "two texts"], "text_2": ["a text", "another text"],
    });
    let response = http1::ask(proxy.http(), &Request::post("/score", &body)).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let told = told(proxy).await;
    assert_eq!(told.len(), 2);
    assert!(told[0].0 > 0 && told[1] == (0, 0), "{told:?}");
}
