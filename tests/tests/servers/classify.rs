//! Classification across protocols: vLLM's clients before the caikit runtime, and the other way.
//!
//! The workers answer as vLLM's `/classify` (`vllm/entrypoints/pooling/classify`) and caikit's
//! `text-classification` and `token-classification` do; neither server has a model for them here.

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy,
    client::{Request, http1},
    fake::http1::{Act, Received, Worker, json as answer},
};

fn path(request: &Received) -> &str {
    request.head.line.split(' ').nth(1).unwrap_or_default()
}

fn vllm(request: &Received) -> Vec<Act> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if path(request) != "/classify" {
        let absent = json!({"error": {"message": "Not Found", "code": 404, "type": "NotFound"}});
        return vec![answer(404, &absent)];
    }
    assert_eq!(body["model"], "served");
    let data: Vec<Value> = (body["input"].as_array().expect("texts").iter().enumerate())
        .map(|(index, text)| {
            let good = if text == "fine" { 0.75 } else { 0.125 };
            let label = if good > 0.5 { "good" } else { "bad" };
            let mut probs = vec![1.0 - good, good];
            // A text may ask for more classes.
            let more = text.as_str().and_then(|text| text.parse().ok());
            probs.resize(more.unwrap_or(2), 0.0625);
            json!({"index": index, "label": label, "probs": probs, "num_classes": probs.len()})
        })
        .collect();
    let usage = json!({"prompt_tokens": 5, "total_tokens": 5, "completion_tokens": 0,
        "prompt_tokens_details": null});
    vec![answer(
        200,
        &json!({"id": "classify-x", "object": "list", "created": 1, "model": "served",
            "data": data, "usage": usage}),
    )]
}

fn caikit(request: &Received) -> Vec<Act> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let results = match path(request) {
        "/api/v1/task/text-classification" => {
            let good = if body["inputs"] == "fine" {
                0.75
            } else {
                0.125
            };
            json!([{"label": "bad", "score": 1.0 - good}, {"label": "good", "score": good}])
        }
        "/api/v1/task/token-classification" => {
            assert_eq!(body["parameters"]["threshold"], 0.5);
            json!([{"start": 0, "end": 4, "word": "Rome", "entity": "LOC", "entity_group": null,
                "score": 0.5, "token_count": null}])
        }
        _ => return vec![answer(404, &json!({"detail": "Not Found"}))],
    };
    assert_eq!(body["model_id"], "served");
    vec![answer(200, &json!({ "results": results }))]
}

async fn both() -> (Proxy, [Worker; 2]) {
    let workers = [Worker::start(vllm).await, Worker::start(caikit).await];
    let [v, c] = [workers[0].address, workers[1].address];
    let proxy = Proxy::start(&format!(
        "
plugins:
  openai: {{ source: \"bundled:openai\" }}
  caikit: {{ source: \"bundled:caikit\" }}
workers:
  - {{ name: w0, address: \"http://{v}\", protocol: openai, probe: off, models: [{{ name: v, served-as: served, tasks: [classify] }}] }}
  - {{ name: w1, address: \"http://{c}\", protocol: caikit, options: {{ dialect: caikit-rest }}, probe: off, models: [{{ name: c, served-as: served }}] }}
routes:
  - {{ name: all, frontends: [openai, caikit], workers: [w0, w1], auth: open }}
"
    ))
    .await;
    (proxy, workers)
}

async fn ask(proxy: &Proxy, path: &str, body: &Value, status: u16) -> Value {
    let got = http1::ask(proxy.http(), &Request::post(path, body)).await;
    got.with_status(status).json()
}

#[tokio::test]
async fn clients_of_vllm_reach_caikit_a_text_at_a_time() {
    let (proxy, workers) = both().await;
    let texts = json!({"model": "c", "input": ["fine", "poor"]});
    let got = ask(&proxy, "/classify", &texts, 200).await;
    assert_eq!(got["model"], "c");
    assert_eq!(
        got["data"],
        json!([
            {"index": 0, "label": "good", "probs": [0.25, 0.75], "num_classes": 2},
            {"index": 1, "label": "bad", "probs": [0.875, 0.125], "num_classes": 2},
        ])
    );
    assert_eq!(workers[1].journal.requests(), 2);

    // What caikit has no word for is refused by its name, and so are tokens.
    let logits = json!({"model": "c", "input": "fine", "use_activation": false});
    let refused = ask(&proxy, "/classify", &logits, 400).await;
    assert_eq!(refused["error"]["param"], "use_activation");
    let tokens = json!({"model": "c", "input": [1, 2]});
    let refused = ask(&proxy, "/classify", &tokens, 501).await;
    assert_eq!(refused["error"]["param"], "input");
    // To its own kind both go as they are.
    let passed = json!({"model": "v", "input": ["fine"], "use_activation": false});
    let got = ask(&proxy, "/classify", &passed, 200).await;
    assert_eq!(
        (&got["model"], &got["id"]),
        (&json!("v"), &json!("classify-x"))
    );
    let missing = ask(&proxy, "/classify", &json!({"model": "c"}), 400).await;
    assert_eq!(missing["error"]["param"], "input");
}

#[tokio::test]
async fn clients_of_caikit_learn_the_likeliest_class_of_vllm() {
    let (proxy, workers) = both().await;
    let path = "/api/v1/task/text-classification";
    let got = ask(
        &proxy,
        path,
        &json!({"model_id": "v", "inputs": "fine"}),
        200,
    )
    .await;
    assert_eq!(got, json!({"results": [{"label": "good", "score": 0.75}]}));
    // Of its own kind it has them all.
    let got = ask(
        &proxy,
        path,
        &json!({"model_id": "c", "inputs": "fine"}),
        200,
    )
    .await;
    assert_eq!(got["results"].as_array().map(Vec::len), Some(2));

    let parts = json!({"model_id": "c", "inputs": "Rome", "parameters": {"threshold": 0.5}});
    let path = "/api/v1/task/token-classification";
    let got = ask(&proxy, path, &parts, 200).await;
    assert_eq!(got["results"][0]["word"], "Rome");
    // vLLM has no such task, and is not asked.
    let before = workers[0].journal.requests();
    let parts = json!({"model_id": "v", "inputs": "Rome"});
    ask(&proxy, path, &parts, 501).await;
    assert_eq!(workers[0].journal.requests(), before);
    // No parameters here, as at the runtime itself.
    let more = json!({"model_id": "v", "inputs": "fine", "parameters": {"threshold": 0.5}});
    ask(&proxy, "/api/v1/task/text-classification", &more, 422).await;
}

/// What is within the bounds is handed over within a plugin's limits, also where it is all escapes.
#[tokio::test]
async fn texts_and_classes_are_bounded() {
    let (proxy, workers) = both().await;
    let path = "/api/v1/task/text-classification";
    for (more, status) in [(0, 200), (1, 413)] {
        let text = "\u{1}".repeat((1 << 18) + more);
        ask(
            &proxy,
            path,
            &json!({"model_id": "v", "inputs": text}),
            status,
        )
        .await;
        ask(
            &proxy,
            "/classify",
            &json!({"model": "c", "input": text}),
            status,
        )
        .await;
    }
    for (classes, status) in [(1 << 12, 200), ((1 << 12) + 1, 422)] {
        let asked = json!({"model_id": "v", "inputs": classes.to_string()});
        ask(&proxy, path, &asked, status).await;
    }
    // Its worker is not judged by that.
    let before = workers[0].journal.requests();
    for _ in 0..20 {
        let asked = json!({"model_id": "v", "inputs": "70000"});
        ask(&proxy, path, &asked, 422).await;
    }
    assert_eq!(workers[0].journal.requests(), before + 20);
}
