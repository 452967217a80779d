//! Clients of every protocol of texts before an OpenVINO Model Server.

use tollgate_tests::{
    client::sse,
    eventually,
    fmaas::{BatchedGenerationResponse, GenerationResponse, StopReason},
    scene,
    standin::ovms::{
        self,
        openai::{BREAKS, TOKENS},
    },
};

use super::*;

/// All protocols of texts before this server; `more` is of the worker.
pub(super) async fn texts_before(address: std::net::SocketAddr, more: &str) -> Proxy {
    let yaml = format!(
        "
plugins:
  openai: {{ source: \"bundled:openai\", options: {{ ovms-paths: true }} }}
  tgis: {{ source: \"bundled:tgis\" }}
  caikit: {{ source: \"bundled:caikit\" }}
  compose: {{ source: \"bundled:compose\" }}
workers:
  - {{ name: w0, address: \"http://{address}\", protocol: openai, {more} }}
routes:
  - {{ name: all, frontends: [openai, tgis, caikit], compositions: [compose], workers: [w0], auth: open, default-model: m }}
"
    );
    Proxy::start(&yaml).await
}

pub(super) const MODELS: &str = "models: [{ name: m, served-as: served }, \
    { name: ranker, served-as: served, tasks: [rerank] }], probe: off";

async fn before_ovms(worker: &tollgate_tests::fake::http1::Worker) -> Proxy {
    let more = format!("options: {{ dialect: openai-ovms }}, {MODELS}");
    texts_before(worker.address, &more).await
}

/// What reached the worker, by number: path and body.
pub(super) async fn reached(
    worker: &tollgate_tests::fake::http1::Worker,
    number: usize,
) -> (String, Value) {
    let line = worker.journal.head(number).await.line;
    let path = line.split(' ').nth(1).expect("a path").to_owned();
    let body = serde_json::from_slice(&worker.journal.body(number).await).unwrap_or_default();
    (path, body)
}

fn completion(more: &Value) -> Request {
    let mut body = json!({"model": "m", "prompt": "What is it?"});
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    Request::post("/v1/completions", &body)
}

#[tokio::test]
async fn a_completion_is_written_in_its_words() {
    let worker = ovms::rest(false).await;
    let proxy = before_ovms(&worker).await;
    let asked = completion(&json!({"max_tokens": null, "seed": 7, "user": "u"}));
    let told = ask(&proxy, &asked).await.with_status(200).json();
    assert_eq!(told["choices"][0]["text"], *TOKENS.concat());
    assert_eq!(told["choices"][0]["finish_reason"], "stop");
    assert_eq!(told["choices"][0]["stop_reason"], Value::Null);
    assert_eq!(told["usage"]["completion_tokens"], TOKENS.len());
    assert_eq!(told["usage"]["prompt_tokens"], 3);
    assert_eq!(told["model"], "m");
    assert!(told["id"].as_str().unwrap().starts_with("cmpl-"), "{told}");
    let (path, body) = reached(&worker, 0).await;
    assert_eq!(path, "/v3/completions");
    // Its own default would be 40, and a limit that is null an error.
    assert_eq!((&body["top_k"], &body["seed"]), (&json!(-1), &json!(7)));
    for absent in ["max_tokens", "min_tokens", "user", "stop", "n", "best_of"] {
        assert!(body.get(absent).is_none(), "{absent}: {body}");
    }
    // Without a word of the limit it is vLLM's.
    ask(&proxy, &completion(&json!({}))).await.with_status(200);
    assert_eq!(reached(&worker, 1).await.1["max_tokens"], 16);
    // One prompt in a request is all that it takes.
    let several = completion(&json!({"prompt": ["a", "b c"]}));
    let told = ask(&proxy, &several).await.with_status(200).json();
    assert_eq!(told["choices"].as_array().map(Vec::len), Some(2));
    assert_eq!(told["usage"]["prompt_tokens"], 3, "{told}");
    assert_eq!(worker.journal.requests(), 4);
}

#[tokio::test]
async fn a_stop_sequence_ends_the_text_where_the_client_wants_it() {
    let worker = ovms::rest(false).await;
    let proxy = before_ovms(&worker).await;
    for (stop, wanted) in [
        (" paid", "A toll is"),
        // Within a token, and over several.
        ("o", "A t"),
        ("ll is p", "A to"),
    ] {
        for include in [false, true] {
            let more = json!({"stop": [stop, "never"], "include_stop_str_in_output": include});
            let wanted = if include {
                format!("{wanted}{stop}")
            } else {
                wanted.to_owned()
            };
            let told = ask(&proxy, &completion(&more))
                .await
                .with_status(200)
                .json();
            let choice = &told["choices"][0];
            assert_eq!(choice["text"], *wanted);
            assert_eq!(
                (&choice["finish_reason"], &choice["stop_reason"]),
                (&json!("stop"), &json!(stop))
            );

            let mut streaming = more.clone();
            streaming["stream"] = json!(true);
            streaming["stream_options"] = json!({"include_usage": true});
            let told = ask(&proxy, &completion(&streaming)).await.with_status(200);
            let (chunks, done) = sse::json(&told.text());
            assert!(done);
            let texts = chunks
                .iter()
                .filter_map(|it| it["choices"][0]["text"].as_str());
            assert_eq!(texts.collect::<String>(), wanted, "streamed");
            let reasons: Vec<_> = chunks
                .iter()
                .filter_map(|it| it["choices"][0]["stop_reason"].as_str())
                .collect();
            assert_eq!(reasons, [stop]);
            let usage = &chunks.last().expect("totals")["usage"];
            assert_eq!(usage["prompt_tokens"], 3, "{usage}");
        }
    }
}

#[tokio::test]
async fn chat_is_asked_of_it_whole_and_in_pieces() {
    let worker = ovms::rest(false).await;
    let proxy = before_ovms(&worker).await;
    let chat = |stream: bool| {
        let schema = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "What is it?"}],
            "max_completion_tokens": 3, "stream": stream, "response_format": schema});
        if !stream {
            body["logprobs"] = json!(true);
        }
        Request::post("/v1/chat/completions", &body)
    };
    let told = ask(&proxy, &chat(false)).await.with_status(200).json();
    let choice = &told["choices"][0];
    assert_eq!(choice["message"]["content"], "A toll is");
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["logprobs"]["content"][1]["token"], " toll");
    assert!(told["id"].is_string());
    let (chunks, done) = sse::json(&ask(&proxy, &chat(true)).await.with_status(200).text());
    assert!(done);
    let text: String = chunks
        .iter()
        .filter_map(|it| it["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "A toll is");
    let (path, body) = reached(&worker, 1).await;
    assert_eq!(path, "/v3/chat/completions");
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
    assert_eq!(
        body["response_format"]["json_schema"]["schema"],
        json!({"type": "object"})
    );
}

#[tokio::test]
async fn what_it_would_ignore_is_refused_by_name() {
    let worker = ovms::rest(false).await;
    let proxy = before_ovms(&worker).await;
    for (more, param) in [
        (json!({"n": 2}), "n"),
        (json!({"min_tokens": 2}), "min_tokens"),
        (json!({"logit_bias": {"1": 2}}), "logit_bias"),
        (json!({"stop_token_ids": [2]}), "stop_token_ids"),
        (
            json!({"truncate_prompt_tokens": 2}),
            "truncate_prompt_tokens",
        ),
        (
            json!({"structured_outputs": {"regex": "a"}}),
            "structured_outputs",
        ),
        (
            json!({"response_format": {"type": "json_object"}}),
            "response_format",
        ),
        (json!({"stop": ["1", "2", "3", "4", "5"]}), "stop"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"seed": 4_294_967_296_u64}), "seed"),
        (json!({"prompt": [1, 2]}), "prompt"),
    ] {
        let told = ask(&proxy, &completion(&more))
            .await
            .with_status(400)
            .json();
        assert_eq!(told["error"]["param"], param, "{told}");
    }
    let asked = json!({"model": "m", "input": "a", "dimensions": 2});
    let told = ask(&proxy, &Request::post("/v1/embeddings", &asked)).await;
    assert_eq!(told.with_status(400).json()["error"]["param"], "dimensions");
    for (path, body) in [
        ("/detokenize", json!({"model": "m", "tokens": [1]})),
        (
            "/v1/responses",
            json!({"model": "m", "input": "a", "instructions": "b"}),
        ),
        ("/v1/messages", json!({"model": "m", "messages": []})),
    ] {
        ask(&proxy, &Request::post(path, &body))
            .await
            .with_status(501);
    }
    assert_eq!(worker.journal.requests(), 0, "nothing reached it");
}

#[tokio::test]
async fn vectors_rankings_and_tokens_come_from_it() {
    let worker = ovms::rest(false).await;
    let proxy = before_ovms(&worker).await;
    let asked = json!({"model": "m", "input": ["ab", "c"], "user": "u"});
    let told = ask(&proxy, &Request::post("/v1/embeddings", &asked)).await;
    let told = told.with_status(200).json();
    assert_eq!(told["data"][0]["embedding"], json!([2.0, 97.0]));
    assert_eq!(told["data"][1]["embedding"], json!([1.0, 99.0]));
    assert_eq!(
        (&told["usage"]["prompt_tokens"], &told["model"]),
        (&json!(2), &json!("m"))
    );

    let asked = json!({"model": "ranker", "query": "q", "documents": ["a", "b", "c"], "top_n": 2});
    let told = ask(&proxy, &Request::post("/v1/rerank", &asked)).await;
    let told = told.with_status(200).json();
    assert_eq!(told["results"][0]["index"], 2, "{told}");
    assert_eq!(told["results"][1]["document"]["text"], "b");
    assert_eq!(
        (told["results"].as_array().map(Vec::len), &told["usage"]),
        (Some(2), &Value::Null)
    );

    let asked = json!({"model": "m", "prompt": "one toll here", "return_token_strs": true});
    let told = ask(&proxy, &Request::post("/tokenize", &asked)).await;
    let told = told.with_status(200).json();
    assert_eq!(
        (&told["count"], &told["tokens"]),
        (&json!(4), &json!([1, 3, 4, 4]))
    );
    assert_eq!(told["token_strs"], Value::Null, "it tells none");
    // It compares nothing itself: that is made of its vectors.
    let asked = json!({"model": "m", "text_1": "ab", "text_2": ["ab"]});
    let told = ask(&proxy, &Request::post("/v1/score", &asked)).await;
    let score = told.with_status(200).json()["data"][0]["score"].as_f64();
    assert!(score.is_some_and(|it| (it - 1.0).abs() < 1e-6), "{score:?}");
    let mut paths = Vec::new();
    for number in 0..3 {
        paths.push(reached(&worker, number).await.0);
    }
    assert_eq!(paths, ["/v3/embeddings", "/v3/rerank", "/v3/tokenize"]);
}

#[tokio::test]
async fn its_failures_are_told_in_the_clients_words() {
    let worker = ovms::rest(true).await;
    let proxy = before_ovms(&worker).await;
    // A key that the proxy has not is none of the client's.
    let told = ask(&proxy, &completion(&json!({})))
        .await
        .with_status(502)
        .json();
    assert!(
        told["error"]["message"]
            .as_str()
            .unwrap()
            .contains("credentials"),
        "{told}"
    );

    let worker = ovms::rest(false).await;
    let more = "options: { dialect: openai-ovms }, models: [{ name: m }], probe: off";
    let proxy = texts_before(worker.address, more).await;
    let told = ask(&proxy, &completion(&json!({})))
        .await
        .with_status(404)
        .json();
    assert!(told["error"]["message"].is_string(), "{told}");

    let proxy = before_ovms(&worker).await;
    let broken = json!({"prompt": BREAKS, "stream": true});
    let told = ask(&proxy, &completion(&broken)).await.with_status(200);
    let (chunks, _) = sse::json(&told.text());
    let last = chunks.last().expect("a failure");
    assert!(
        last["error"]["message"]
            .as_str()
            .unwrap()
            .contains("it broke"),
        "{last}"
    );
    assert!(chunks.len() > 1, "what came before it went out");
}

#[tokio::test]
async fn tgis_clients_reach_it() {
    let worker = ovms::rest(false).await;
    let proxy = before_ovms(&worker).await;
    let mut asked = scene::batch("m", &["What is it?", "And what else?"]);
    let stopping = asked.params.as_mut().and_then(|it| it.stopping.as_mut());
    stopping.expect("there are some").stop_sequences = vec![" at".to_owned()];
    let (answers, status) =
        grpc::ask::<BatchedGenerationResponse>(proxy.http(), &scene::tgis("Generate"), &asked)
            .await;
    assert_eq!(status.code, 0, "{status:?}");
    // One prompt in a request is all that it takes.
    assert_eq!(worker.journal.requests(), 2);
    for answer in &answers[0].responses {
        assert_eq!(answer.text, "A toll is paid");
        assert_eq!(answer.stop_reason, i32::from(StopReason::StopSequence));
        assert_eq!(answer.stop_sequence, " at");
        assert_eq!(
            (answer.input_token_count, answer.generated_token_count),
            (3, 5)
        );
    }
    let (answers, status) = grpc::ask::<GenerationResponse>(
        proxy.http(),
        &scene::tgis("GenerateStream"),
        &scene::single("m", "What is it?"),
    )
    .await;
    assert_eq!(status.code, 0, "{status:?}");
    let text: String = answers.iter().map(|answer| answer.text.as_str()).collect();
    assert_eq!(text, TOKENS.concat());
    let last = answers.last().expect("an end");
    assert_eq!(last.stop_reason, i32::from(StopReason::EosToken));
    assert_eq!(last.generated_token_count as usize, TOKENS.len());
}

#[tokio::test]
async fn caikit_clients_reach_it() {
    let worker = ovms::rest(false).await;
    let proxy = before_ovms(&worker).await;
    let asked = json!({"model_id": "m", "inputs": "What is it?",
        "parameters": {"stop_sequences": [" at"], "include_stop_sequence": true}});
    let path = "/api/v1/task/text-generation";
    let told = ask(&proxy, &Request::post(path, &asked)).await;
    let told = told.with_status(200).json();
    assert_eq!(told["generated_text"], "A toll is paid at", "{told}");
    assert_eq!(told["finish_reason"], "STOP_SEQUENCE");
    let path = "/api/v1/task/server-streaming-text-generation";
    let told = ask(&proxy, &Request::post(path, &asked))
        .await
        .with_status(200);
    let texts = sse::events(&told.text().replace("\r\n", "\n"));
    let text: String = texts
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|event| event["generated_text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, "A toll is paid at");

    let asked = json!({"model_id": "m", "inputs": "ab"});
    let told = ask(&proxy, &Request::post("/api/v1/task/embedding", &asked)).await;
    let told = told.with_status(200).json();
    assert_eq!(
        told["result"]["data"]["values"],
        json!([2.0, 97.0]),
        "{told}"
    );
    let inputs = json!({"query": "q", "documents": [{"text": "a"}, {"text": "b"}]});
    let asked = json!({"model_id": "ranker", "inputs": inputs});
    let told = ask(&proxy, &Request::post("/api/v1/task/rerank", &asked)).await;
    assert_eq!(
        told.with_status(200).json()["result"]["scores"][0]["index"],
        1
    );
}

#[tokio::test]
async fn a_probe_finds_its_models_in_either_list() {
    for worker in [ovms::rest(false).await, ovms::older().await] {
        let more = "options: { dialect: openai-ovms }, probe: { interval: 1s, timeout: 5s }";
        let proxy = texts_before(worker.address, more).await;
        eventually("the models are known", async || {
            let told = get(&proxy, "/v1/models").await.with_status(200).json();
            let ids = told["data"].as_array().expect("a list").iter();
            ids.map(|it| it["id"].clone())
                .any(|id| id == "served")
                .then_some(())
        })
        .await;
        let asked = json!({"model": "served", "prompt": "What is it?"});
        ask(&proxy, &Request::post("/v1/completions", &asked))
            .await
            .with_status(200);
        // Which of its models have no ids to take apart nobody has to ask it.
        let asked = json!({"model": "served", "tokens": [1]});
        ask(&proxy, &Request::post("/detokenize", &asked))
            .await
            .with_status(501);
    }
}
