//! Batches of clients over workers that take one prompt or text at a time, and over one that takes
//! all.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tollgate_tests::{
    Proxy,
    client::{Request, grpc, http1},
    fake::http1 as h,
    fmaas, scene,
};

use crate::{body, setup, worker};

/// What a caikit runtime answers to a prompt.
fn generated(text: &str) -> h::Act {
    h::json(
        200,
        &json!({
            "generated_text": text, "generated_tokens": 3, "finish_reason": "MAX_TOKENS",
            "producer_id": {"name": "Text Generation", "version": "0.1.0"},
            "input_token_count": 2, "seed": null, "tokens": [], "input_tokens": []
        }),
    )
}

async fn batch(proxy: &Proxy, texts: &[&str]) -> (Vec<fmaas::GenerationResponse>, grpc::Status) {
    let asked = scene::batch("m", texts);
    let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &scene::tgis("Generate"),
        &asked,
    )
    .await;
    let answers = answers.into_iter().flat_map(|answer| answer.responses);
    (answers.collect(), status)
}

#[tokio::test]
async fn a_batch_over_a_worker_that_takes_one_prompt() {
    let caikit = h::Worker::start(|received| {
        let asked = body(received);
        let text = asked["inputs"].as_str().expect("one prompt");
        match text {
            "broken" => vec![h::json(
                400,
                &json!({"details": "no such word", "code": 400, "id": "1"}),
            )],
            text => vec![generated(&format!("{text}!"))],
        }
    })
    .await;
    let options = ", options: { dialect: caikit-rest }";
    let line = worker("w0", "caikit", caikit.address, "generate", options);
    let proxy = setup(&[line], "at-once: 2, fan-out: 3", "").start().await;
    let (answers, status) = batch(&proxy, &["a", "b", "c"]).await;
    assert_eq!(status.code, 0, "{status:?}");
    let texts: Vec<_> = answers.iter().map(|answer| answer.text.as_str()).collect();
    assert_eq!(texts, ["a!", "b!", "c!"]);
    for answer in &answers {
        assert_eq!(
            (answer.input_token_count, answer.generated_token_count),
            (2, 3)
        );
        assert_eq!(answer.stop_reason, i32::from(fmaas::StopReason::MaxTokens));
    }
    assert_eq!(caikit.journal.requests(), 3);

    let (_, status) = batch(&proxy, &["a", "broken"]).await;
    assert_eq!((status.code, status.message.as_str()), (3, "no such word"));
    let before = caikit.journal.requests();
    let (_, status) = batch(&proxy, &["a", "b", "c", "d"]).await;
    assert_eq!(status.code, 3, "{status:?}");
    assert!(status.message.contains("at most 3"), "{status:?}");
    assert_eq!(caikit.journal.requests(), before);
    // One prompt is no list.
    let (answers, status) = batch(&proxy, &["one"]).await;
    assert_eq!((answers.len(), status.code), (1, 0), "{status:?}");
}

#[tokio::test]
async fn a_batch_over_vllm_is_one_request() {
    let vllm = h::Worker::start(|received| {
        let asked = body(received);
        let prompts = asked["prompt"].as_array().expect("all prompts");
        let choices: Vec<_> = (0..)
            .zip(prompts)
            .map(|(index, prompt): (usize, _)| {
                let text = format!("{}!", prompt.as_str().unwrap());
                json!({
                    "index": index, "text": text, "logprobs": null, "finish_reason": "length",
                    "token_ids": [1, 2, 3], "prompt_token_ids": [1, 2]
                })
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
    let line = worker("w0", "openai", vllm.address, "generate, tokenize", "");
    let proxy = setup(&[line], "", "").start().await;
    let (answers, status) = batch(&proxy, &["a", "b"]).await;
    assert_eq!(status.code, 0, "{status:?}");
    let told: Vec<_> = answers
        .iter()
        .map(|it| {
            (
                it.text.as_str(),
                it.input_token_count,
                it.generated_token_count,
            )
        })
        .collect();
    assert_eq!(told, [("a!", 2, 3), ("b!", 2, 3)]);
    assert_eq!(vllm.journal.requests(), 1);
}

#[tokio::test]
async fn texts_are_tokenized_one_by_one_over_vllm() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let seen = ids.clone();
    let vllm = h::Worker::start(move |received| {
        let id = received.head.get("x-request-id").expect("each has an id");
        seen.lock().unwrap().push(id.to_owned());
        let asked = body(received);
        let count = asked["prompt"].as_str().expect("one text").len();
        let tokens: Vec<_> = (0..count).collect();
        vec![h::json(
            200,
            &json!({"count": count, "max_model_len": 9, "tokens": tokens, "token_strs": null}),
        )]
    })
    .await;
    let line = worker("w0", "openai", vllm.address, "tokenize", "");
    let proxy = setup(&[line], "", "").start().await;
    let request = fmaas::BatchedTokenizeRequest {
        model_id: "m".into(),
        requests: ["a", "bbb", "cc"]
            .map(|text| fmaas::TokenizeRequest { text: text.into() })
            .to_vec(),
        ..Default::default()
    };
    let (answers, status) = grpc::ask::<fmaas::BatchedTokenizeResponse>(
        proxy.http(),
        &scene::tgis("Tokenize"),
        &request,
    )
    .await;
    assert_eq!(status.code, 0, "{status:?}");
    let counts: Vec<_> = answers[0]
        .responses
        .iter()
        .map(|it| it.token_count)
        .collect();
    assert_eq!(counts, [1, 3, 2]);
    // vLLM refuses a request whose id another one under way has.
    let mut ids = ids.lock().unwrap().clone();
    ids.sort();
    let first = ids[0].clone();
    assert_eq!(
        ids,
        [first.clone(), format!("{first}-2"), format!("{first}-3")]
    );
}

/// What all prompts have in common is not written down for each of them at once: that would be more
/// than an instance may hold.
#[tokio::test]
async fn a_long_list_with_long_settings_is_made_call_by_call() {
    let caikit = h::Worker::start(|_| {
        vec![h::json(
            400,
            &json!({"details": "no such word", "code": 400, "id": "1"}),
        )]
    })
    .await;
    let triton = h::Worker::start(|_| vec![h::json(400, &json!({"error": "no such word"}))]).await;
    for (protocol, address, options) in [
        ("caikit", caikit.address, "dialect: caikit-rest"),
        ("kserve", triton.address, "generate: {}"),
    ] {
        let options = format!(", options: {{ {options} }}");
        let line = worker("w0", protocol, address, "generate", &options);
        let proxy = setup(&[line], "", "").start().await;
        let body = json!({
            "model": "m", "prompt": vec!["p"; 1024], "max_tokens": 4, "stop": "s".repeat(66 << 10),
        });
        let request = Request::post("/v1/completions", &body);
        let told = http1::ask(proxy.http(), &request).await;
        assert_eq!(told.status, 400, "{}", told.text());
    }
    let asked = triton.journal.requests();
    assert!((1..=16).contains(&asked), "{asked}");
}
