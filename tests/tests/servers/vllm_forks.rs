//! vLLM of 2025, as the forks for Gaudi and for AMD have it: other words than today's for the same.

use tollgate_tests::{
    fmaas::{
        self, BatchedGenerationResponse, DecodingParameters, GenerationResponse,
        decoding_parameters::Guided,
    },
    scene,
    standin::vllm::{self, BREAKS, Fork, TOO_LONG},
};

use super::*;

/// All protocols of texts in front of a fork. `plugin` and `worker` are options.
async fn fork_behind(
    worker: &tollgate_tests::fake::http1::Worker,
    plugin: &str,
    options: &str,
) -> Proxy {
    let yaml = format!(
        "
plugins:
  openai: {{ source: \"bundled:openai\", options: {{ {plugin} }} }}
  tgis: {{ source: \"bundled:tgis\", options: {{ revision: adapter }} }}
  caikit: {{ source: \"bundled:caikit\" }}
workers:
  - {{ name: w0, address: \"http://{}\", protocol: openai, options: {{ {options} }}, models: [{{ name: m, served-as: served }}, {{ name: ranker, served-as: served, tasks: [rerank] }}], probe: off }}
routes:
  - {{ name: all, frontends: [openai, tgis, caikit], workers: [w0], auth: open, default-model: m }}
",
        worker.address
    );
    Proxy::start(&yaml).await
}

async fn generated(
    proxy: &Proxy,
    asked: &fmaas::BatchedGenerationRequest,
) -> Result<String, (u32, String)> {
    let (answers, status) =
        grpc::ask::<BatchedGenerationResponse>(proxy.http(), &scene::tgis("Generate"), asked).await;
    match status.code {
        0 => Ok(answers[0].responses[0].text.clone()),
        code => Err((code, status.message)),
    }
}

#[tokio::test]
async fn a_form_of_the_output_is_asked_for_in_their_words() {
    for fork in [Fork::Gaudi, Fork::Rocm] {
        let worker = vllm::start(fork).await;
        let proxy = fork_behind(&worker, "", "generation: old").await;
        for (form, said) in [
            (Guided::Regex("a+".to_owned()), "guided_regex, 0 stops"),
            (Guided::JsonSchema("{}".to_owned()), "guided_json, 0 stops"),
            (
                Guided::Grammar("root ::= \"a\"".to_owned()),
                "guided_grammar, 0 stops",
            ),
        ] {
            let mut asked = scene::batch("m", &["Hello"]);
            let params = asked.params.as_mut().expect("there are some");
            params.decoding = Some(DecodingParameters {
                guided: Some(form),
                ..Default::default()
            });
            assert_eq!(generated(&proxy, &asked).await.as_deref(), Ok(said));
        }
    }
}

#[tokio::test]
async fn they_take_as_many_stop_sequences_as_one_likes() {
    let worker = vllm::start(Fork::Gaudi).await;
    let mut asked = scene::batch("m", &["Hello"]);
    let stopping = asked.params.as_mut().and_then(|it| it.stopping.as_mut());
    stopping.expect("there are some").stop_sequences =
        ["1", "2", "3", "4", "5"].map(str::to_owned).to_vec();
    let old = fork_behind(&worker, "", "generation: old").await;
    assert_eq!(
        generated(&old, &asked).await.as_deref(),
        Ok("free, 5 stops")
    );
    // Today's takes four.
    let new = fork_behind(&worker, "", "").await;
    let (code, message) = generated(&new, &asked)
        .await
        .expect_err("five are too many");
    assert_eq!(code, 3, "{message}");
}

#[tokio::test]
async fn flat_errors_are_told_in_the_clients_words() {
    let worker = vllm::start(Fork::Rocm).await;
    let proxy = fork_behind(&worker, "", "generation: old").await;
    let (code, message) = generated(&proxy, &scene::batch("m", &[TOO_LONG]))
        .await
        .expect_err("it does not fit");
    assert_eq!(code, 3);
    assert!(message.contains("maximum context length"), "{message}");

    let caikit = json!({"model_id": "m", "inputs": TOO_LONG});
    let told = ask(
        &proxy,
        &Request::post("/api/v1/task/text-generation", &caikit),
    )
    .await;
    let told = told.with_status(400).json();
    let details = told["details"].as_str().unwrap_or_default();
    assert!(details.contains("maximum context length"), "{told}");

    // To a client of the same API it goes on as it came.
    let own = json!({"model": "m", "prompt": TOO_LONG});
    let told = ask(&proxy, &Request::post("/v1/completions", &own)).await;
    let told = told.with_status(400).json();
    assert_eq!(told["object"], "error", "{told}");
}

#[tokio::test]
async fn a_flat_error_in_a_stream_ends_it_as_one() {
    let worker = vllm::start(Fork::Gaudi).await;
    let proxy = fork_behind(&worker, "", "generation: old").await;
    let (answers, status) = grpc::ask::<GenerationResponse>(
        proxy.http(),
        &scene::tgis("GenerateStream"),
        &scene::single("m", BREAKS),
    )
    .await;
    assert!(!answers.is_empty(), "the text before it has come");
    assert_ne!(status.code, 0);
    assert!(status.message.contains("device was lost"), "{status:?}");
}

#[tokio::test]
async fn old_clients_are_told_errors_as_they_know_them() {
    let worker = vllm::start(Fork::Gaudi).await;
    for (clients, flat) in [("clients: old", true), ("clients: new", false)] {
        let proxy = fork_behind(&worker, clients, "generation: old").await;
        // The proxy's own words: no worker has this model.
        let asked = json!({"model": "nobody", "prompt": "x"});
        let told = ask(&proxy, &Request::post("/v1/completions", &asked)).await;
        let told = told.with_status(404).json();
        assert_eq!(told["object"] == "error", flat, "{told}");
        assert_eq!(told["error"].is_object(), !flat, "{told}");
    }
}

#[tokio::test]
async fn their_rerank_counts_only_the_sum() {
    let worker = vllm::start(Fork::Gaudi).await;
    let proxy = fork_behind(&worker, "", "generation: old").await;
    let inputs = json!({"query": "q", "documents": [{"text": "a"}, {"text": "b"}]});
    let asked = json!({"model_id": "ranker", "inputs": inputs});
    let told = ask(&proxy, &Request::post("/api/v1/task/rerank", &asked)).await;
    let told = told.with_status(200).json();
    assert_eq!(told["input_token_count"], 11, "{told}");
    assert_eq!(told["result"]["scores"][0]["index"], 1, "{told}");
}

#[tokio::test]
async fn reasoning_keeps_its_old_name_on_the_way_through() {
    let worker = vllm::start(Fork::Rocm).await;
    let proxy = fork_behind(&worker, "clients: old", "generation: old").await;
    let asked = json!({"model": "m", "messages": [{"role": "user", "content": "Is it?"}]});
    let told = ask(&proxy, &Request::post("/v1/chat/completions", &asked)).await;
    let message = told.with_status(200).json()["choices"][0]["message"].clone();
    assert_eq!(message["reasoning_content"], "It is so.", "{message}");
}

#[tokio::test]
async fn what_a_fork_has_not_is_its_own_answer() {
    for (fork, status) in [(Fork::Gaudi, 404), (Fork::Rocm, 200)] {
        let worker = vllm::start(fork).await;
        let proxy = fork_behind(&worker, "", "generation: old").await;
        let asked = json!({"model": "m", "input": "Hello"});
        ask(&proxy, &Request::post("/v1/responses", &asked))
            .await
            .with_status(status);
        // All paths are there, and a model that cannot says so.
        let told = ask(&proxy, &Request::post("/v1/embeddings", &asked)).await;
        let told = told.with_status(400).text();
        assert!(told.contains("does not support Embeddings API"), "{told}");
    }
}
