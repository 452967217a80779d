//! Clients of OpenVINO Model Server's OpenAI API, before workers of every kind; and workers of the
//! OpenAI API behind another prefix.

use tollgate_tests::{
    client::sse,
    fake::http1::{self as h, Worker},
    standin::ovms::{self, openai::TOKENS},
};

use super::{
    texts::{MODELS, reached, texts_before},
    *,
};

/// A vLLM that says what it was asked.
async fn vllm() -> Worker {
    Worker::start(|received| {
        let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        let path = received.head.line.split(' ').nth(1).unwrap_or_default();
        let usage = json!({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5});
        let choice = json!({"index": 0, "finish_reason": "stop", "stop_reason": null, "logprobs": null});
        match path {
            "/v1/completions" if asked["stream"] == true => {
                let chunk = |text: &str, reason: Value| {
                    json!({"id": "cmpl-1", "object": "text_completion", "created": 1,
                        "model": "served", "choices": [{"index": 0, "text": text,
                        "logprobs": null, "finish_reason": reason}], "usage": usage})
                    .to_string()
                };
                let (first, last) = (chunk("A", Value::Null), chunk(" toll", json!("stop")));
                vec![
                    h::stream_head(),
                    h::event(&first),
                    h::event(&last),
                    h::event("[DONE]"),
                    h::stream_end(),
                ]
            }
            "/v1/completions" => {
                let mut choice = choice;
                choice["text"] = json!("A toll");
                vec![h::json(
                    200,
                    &json!({"id": "cmpl-1", "object": "text_completion", "created": 1,
                        "model": "served", "choices": [choice], "usage": usage}),
                )]
            }
            "/v1/chat/completions" => {
                let mut choice = choice;
                choice["message"] = json!({"role": "assistant", "content": "Yes.",
                    "reasoning": "It is so.", "tool_calls": []});
                vec![h::json(
                    200,
                    &json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1,
                        "model": "served", "choices": [choice], "usage": usage}),
                )]
            }
            "/v1/embeddings" => vec![h::json(
                200,
                &json!({"object": "list", "model": "served", "usage": {"prompt_tokens": 4, "total_tokens": 4},
                    "data": [{"index": 0, "object": "embedding", "embedding": [0.5, -0.5]}]}),
            )],
            "/v1/rerank" => vec![h::json(
                200,
                &json!({"id": "rerank-1", "model": "served", "usage": {"total_tokens": 4},
                    "results": [{"index": 1, "relevance_score": 0.5, "document": {"text": "b"}},
                        {"index": 0, "relevance_score": 0.25, "document": {"text": "a"}}]}),
            )],
            "/tokenize" => vec![h::json(
                200,
                &json!({"count": 2, "max_model_len": 16, "tokens": [7, 8], "token_strs": null}),
            )],
            _ => vec![h::json(404, &json!({"detail": "Not Found"}))],
        }
    })
    .await
}

async fn before_vllm(worker: &Worker) -> Proxy {
    texts_before(worker.address, MODELS).await
}

fn members(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    let mut names: Vec<_> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_client_of_it_is_answered_by_vllm_in_its_words() {
    let worker = vllm().await;
    let proxy = before_vllm(&worker).await;
    let asked = json!({"model": "m", "prompt": "What is it?", "min_tokens": 3});
    let told = ask(&proxy, &Request::post("/v3/completions", &asked)).await;
    let told = told.with_status(200).json();
    assert_eq!(
        members(&told),
        ["choices", "created", "model", "object", "usage"]
    );
    let choice = &told["choices"][0];
    assert_eq!(
        members(choice),
        ["finish_reason", "index", "logprobs", "text"]
    );
    assert_eq!(
        (&choice["text"], &told["model"]),
        (&json!("A toll"), &json!("m"))
    );
    let (path, body) = reached(&worker, 0).await;
    assert_eq!(path, "/v1/completions");
    // Its defaults, and what it does not know, ignored as it does.
    assert_eq!(
        (&body["top_k"], &body["max_tokens"]),
        (&json!(40), &Value::Null)
    );
    assert_eq!(body["min_tokens"], 0);
    assert_eq!(body["include_stop_str_in_output"], false);

    let asked = json!({"model": "m", "messages": [{"role": "user", "content": "Is it?"}]});
    let told = ask(&proxy, &Request::post("/v3/chat/completions", &asked)).await;
    let told = told.with_status(200).json();
    let message = &told["choices"][0]["message"];
    assert_eq!(
        members(message),
        ["content", "reasoning_content", "role", "tool_calls"]
    );
    assert_eq!(message["reasoning_content"], "It is so.");

    let asked = json!({"model": "m", "input": "a"});
    let told = ask(&proxy, &Request::post("/v3/embeddings", &asked)).await;
    let told = told.with_status(200).json();
    assert_eq!(members(&told), ["data", "object", "usage"]);
    assert_eq!(members(&told["usage"]), ["prompt_tokens", "total_tokens"]);

    for (wanted, first) in [
        (None, json!({"index": 1, "relevance_score": 0.5})),
        (
            Some(true),
            json!({"index": 1, "document": {"text": "b"}, "relevance_score": 0.5}),
        ),
    ] {
        let mut asked = json!({"model": "ranker", "query": "q", "documents": ["a", "b"]});
        asked["return_documents"] = json!(wanted);
        let told = ask(&proxy, &Request::post("/v3/rerank", &asked)).await;
        let told = told.with_status(200).json();
        assert_eq!(members(&told), ["results"]);
        assert_eq!(told["results"][0], first);
    }
    for (text, tokens) in [
        (json!("a toll"), json!([7, 8])),
        (json!(["a toll", "b"]), json!([[7, 8], [7, 8]])),
    ] {
        let asked = json!({"model": "m", "text": text, "add_special_tokens": false});
        let told = ask(&proxy, &Request::post("/v3/tokenize", &asked)).await;
        assert_eq!(told.with_status(200).json(), json!({"tokens": tokens}));
    }
}

#[tokio::test]
async fn a_stream_has_its_form() {
    let worker = vllm().await;
    let proxy = before_vllm(&worker).await;
    let asked = json!({"model": "m", "prompt": "What is it?", "stream": true, "stop": "x",
        "stream_options": {"include_usage": true}});
    let told = ask(&proxy, &Request::post("/v3/completions", &asked)).await;
    let (chunks, done) = sse::json(&told.with_status(200).text());
    assert!(done);
    for chunk in &chunks {
        assert_eq!(
            members(chunk),
            ["choices", "created", "model", "object", "usage"]
        );
        assert_eq!(chunk["object"], "text_completion.chunk");
    }
    let last = chunks.last().expect("totals");
    assert_eq!(
        last["usage"],
        json!({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5})
    );
    let texts = chunks
        .iter()
        .filter_map(|it| it["choices"][0]["text"].as_str());
    assert_eq!(texts.collect::<String>(), "A toll");
    // In a stream the sequence stays in the text.
    let (_, body) = reached(&worker, 0).await;
    assert_eq!(body["include_stop_str_in_output"], true);
    let mut asked = asked;
    asked["include_stop_str_in_output"] = json!(false);
    let told = ask(&proxy, &Request::post("/v3/completions", &asked)).await;
    let told = told.with_status(400).json();
    assert!(
        told["error"].as_str().unwrap().contains("streaming"),
        "{told}"
    );
}

#[tokio::test]
async fn errors_and_lists_have_its_form() {
    let worker = vllm().await;
    let proxy = before_vllm(&worker).await;
    let told = ask(&proxy, &Request::post_bytes("/v3/completions", "{")).await;
    assert!(told.with_status(412).json()["error"].is_string());
    let told = get(&proxy, "/v3/completions").await.with_status(406);
    assert!(told.json()["error"].is_string());
    let nobody = json!({"model": "nobody", "prompt": "x"});
    let told = ask(&proxy, &Request::post("/v3/completions", &nobody)).await;
    assert!(told.with_status(404).json()["error"].is_string());
    let several = json!({"model": "m", "prompt": ["a", "b"]});
    let told = ask(&proxy, &Request::post("/v3/completions", &several)).await;
    assert_eq!(
        told.with_status(400).json(),
        json!({"error": "prompt is not a string"})
    );
    let list = get(&proxy, "/v3/models").await.with_status(200).json();
    assert_eq!(
        members(&list["data"][0]),
        ["created", "id", "object", "owned_by"]
    );
    assert_eq!(list["data"][0]["owned_by"], "OVMS");
    get(&proxy, "/v3/models/m").await.with_status(200);
    let told = get(&proxy, "/v3/models/nobody").await.with_status(404);
    assert_eq!(told.json(), json!({"error": "Model not found"}));
    // What only a worker of its own could answer.
    for path in [
        "/v3/responses",
        "/v3/images/generations",
        "/v3/audio/speech",
    ] {
        let asked = json!({"model": "m", "input": "a", "prompt": "a"});
        let told = ask(&proxy, &Request::post(path, &asked)).await;
        assert!(told.with_status(501).json()["error"].is_string(), "{path}");
    }
    assert_eq!(worker.journal.requests(), 0, "nothing reached it");
}

#[tokio::test]
async fn a_client_of_it_is_passed_on_to_it() {
    let worker = ovms::rest(false).await;
    for (more, prefix) in [("", "/v3"), (", prefix: /v1", "/v1")] {
        let more = format!("options: {{ dialect: openai-ovms{more} }}, {MODELS}");
        let proxy = texts_before(worker.address, &more).await;
        let before = worker.journal.requests();
        let asked = json!({"model": "m", "prompt": "What is it?", "best_of": 2, "n": 2,
            "num_assistant_tokens": 3});
        let told = ask(&proxy, &Request::post("/v3/completions", &asked)).await;
        let told = told.with_status(200).json();
        assert_eq!(
            (&told["model"], &told["choices"][0]["text"]),
            (&json!("m"), &json!(TOKENS.concat()))
        );
        let (path, body) = reached(&worker, before).await;
        assert_eq!(path, format!("{prefix}/completions"));
        let mut wanted = asked.clone();
        wanted["model"] = json!("served");
        assert_eq!(body, wanted, "as it came but for the name");

        let asked = json!({"model": "m", "text": ["one", "two"], "max_length": 1});
        let told = ask(&proxy, &Request::post("/v3/tokenize", &asked)).await;
        assert_eq!(told.with_status(200).json(), json!({"tokens": [[1], [1]]}));

        let asked = json!({"model": "m", "input": "a"});
        let told = ask(&proxy, &Request::post("/v3/responses", &asked)).await;
        let told = told.with_status(200).json();
        assert_eq!(
            (&told["model"], &told["id"]),
            (&json!("m"), &json!("resp-1"))
        );
        let asked = json!({"model": "m", "prompt": "a"});
        let told = ask(&proxy, &Request::post("/v3/images/generations", &asked)).await;
        assert_eq!(told.with_status(200).json()["data"][0]["b64_json"], "AAAA");
        for path in ["/v3/audio/transcriptions", "/v3/images/edits"] {
            let form = "--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x\r\n\
                content-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nRIFF\r\n--x--\r\n";
            let mut request = Request::post_bytes(path, form);
            request.headers.clear();
            let request = request.header("content-type", "multipart/form-data; boundary=x");
            ask(&proxy, &request).await.with_status(200);
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_passed_keeps_its_form() {
    let worker = ovms::rest(false).await;
    let more = format!("options: {{ dialect: openai-ovms }}, {MODELS}");
    let proxy = texts_before(worker.address, &more).await;
    let asked = json!({"model": "m", "prompt": "What is it?", "stream": true, "stop": [" paid"]});
    let told = ask(&proxy, &Request::post("/v3/completions", &asked)).await;
    let (chunks, done) = sse::json(&told.with_status(200).text());
    assert!(done);
    let texts = chunks
        .iter()
        .filter_map(|it| it["choices"][0]["text"].as_str());
    assert_eq!(texts.collect::<String>(), "A toll is paid");
    assert!(chunks.iter().all(|it| it["model"] == "m"));
    // The totals were asked for by the proxy, not by the client.
    assert!(chunks.iter().all(|it| it["choices"] != json!([])));
}

#[tokio::test]
async fn a_client_of_it_reaches_the_model_in_the_sandbox() {
    let yaml = "
plugins:
  openai: { source: \"bundled:openai\", options: { ovms-paths: true } }
  embedded: { source: \"bundled:embedded\" }
workers:
  - { name: here, address: \"component:embedded\" }
routes:
  - { name: all, frontends: [openai], workers: [here], auth: open, default-model: tollgate-ngram }
";
    let proxy = Proxy::start(yaml).await;
    let asked = json!({"model": "tollgate-ngram", "prompt": "The ferry", "max_tokens": 4, "temperature": 0});
    let told = ask(&proxy, &Request::post("/v3/completions", &asked)).await;
    let told = told.with_status(200).json();
    let tokens = &told["usage"]["completion_tokens"];
    assert!(
        tokens.as_u64().is_some_and(|it| (1..=4).contains(&it)),
        "{told}"
    );
    assert!(told.get("id").is_none());
}

#[tokio::test]
async fn a_worker_behind_another_prefix_is_passed_what_it_knows() {
    let worker = Worker::start(|received| {
        let path = received.head.line.split(' ').nth(1).unwrap_or_default();
        vec![h::json(200, &json!({"path": path, "model": "served"}))]
    })
    .await;
    // As KServe's Python server has it (kserve/kserve at aaac4e29,
    // `python/kserve/kserve/protocol/rest/openai/endpoints.py`).
    let more = format!("options: {{ prefix: /openai/v1 }}, {MODELS}");
    let proxy = texts_before(worker.address, &more).await;
    for (path, there, body) in [
        (
            "/v1/completions",
            "/openai/v1/completions",
            json!({"model": "m", "prompt": "a"}),
        ),
        (
            "/v1/chat/completions",
            "/openai/v1/chat/completions",
            json!({"model": "m", "messages": []}),
        ),
        (
            "/v1/embeddings",
            "/openai/v1/embeddings",
            json!({"model": "m", "input": "a"}),
        ),
        (
            "/rerank",
            "/openai/v1/rerank",
            json!({"model": "ranker", "query": "q", "documents": ["a"]}),
        ),
        (
            "/v2/rerank",
            "/openai/v1/rerank",
            json!({"model": "ranker", "query": "q", "documents": ["a"]}),
        ),
    ] {
        let told = ask(&proxy, &Request::post(path, &body))
            .await
            .with_status(200);
        assert_eq!(told.json()["path"], there, "{path}");
    }
    // What is translated is asked there too.
    let before = worker.journal.requests();
    let asked = json!({"model_id": "m", "inputs": "a"});
    ask(&proxy, &Request::post("/api/v1/task/embedding", &asked)).await;
    assert_eq!(reached(&worker, before).await.0, "/openai/v1/embeddings");
}
