//! Answers whose size or content the client's own request decides: they are told as they are, or
//! refused clearly and at once, and no worker is judged by them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy,
    client::{Request, Response, http1},
    fake::http1::{Act, Received, Worker, json as answer, write},
};

/// Texts of a request, and numbers of each vector: together beyond what waits for a slow client.
const TEXTS: usize = 64;
const NUMBERS: usize = 4096;

/// OpenAI's embeddings; what the first text says decides what is answered.
fn embeddings(request: &Received) -> Vec<Act> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let texts = match &body["input"] {
        Value::Array(texts) => texts.clone(),
        one => vec![one.clone()],
    };
    let usage = json!({"prompt_tokens": 5, "total_tokens": 5});
    if texts[0] == "nothing" {
        let body = r#"{"object":"list","model":"served","data":[{"object":"embedding","index":0,"embedding":[0.5,NaN]}],"usage":{"prompt_tokens":1,"total_tokens":1}}"#;
        return vec![write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))];
    }
    if texts[0] == "endless" {
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        let mut acts = vec![write(head)];
        acts.extend((0..64).map(|_| write(chunk.clone())));
        acts.push(Act::Hold);
        return acts;
    }
    let vector = vec![0.25; NUMBERS];
    let data: Vec<Value> = (0..texts.len())
        .map(|index| json!({"object": "embedding", "index": index, "embedding": vector}))
        .collect();
    vec![answer(
        200,
        &json!({"object": "list", "model": "served", "data": data, "usage": usage}),
    )]
}

async fn before(limits: &str) -> (Proxy, Worker) {
    let worker = Worker::start(embeddings).await;
    let address = worker.address;
    let proxy = Proxy::start(&format!(
        "
plugins:
  openai: {{ source: \"bundled:openai\" }}
  caikit: {{ source: \"bundled:caikit\" }}
workers:
  - {{ name: w0, address: \"http://{address}\", protocol: openai, probe: off, models: [{{ name: v, served-as: served }}] }}
routes:
  - {{ name: all, frontends: [caikit], workers: [w0], auth: open{limits} }}
"
    ))
    .await;
    (proxy, worker)
}

async fn embed(proxy: &Proxy, texts: &[&str]) -> Response {
    let (task, inputs) = match texts {
        [one] => ("embedding", json!(one)),
        texts => ("embedding-tasks", json!(texts)),
    };
    let body = json!({"model_id": "v", "inputs": inputs});
    http1::ask(
        proxy.http(),
        &Request::post(&format!("/api/v1/task/{task}"), &body),
    )
    .await
}

#[tokio::test]
async fn an_answer_larger_than_what_waits_for_a_client_is_told() {
    let (proxy, _worker) = before("").await;
    let got = embed(&proxy, &["A ferry."; TEXTS]).await.with_status(200);
    let vectors = &got.json()["results"]["vectors"];
    assert_eq!(vectors.as_array().map(Vec::len), Some(TEXTS));
    let last = &vectors[TEXTS - 1]["data"]["values"];
    assert_eq!(last.as_array().map(Vec::len), Some(NUMBERS));
}

#[tokio::test]
async fn an_answer_larger_than_is_allowed_is_refused_at_once() {
    let (proxy, _worker) = before(", limits: { body: 1MiB, message: 1MiB, timeout: 60s }").await;
    // More often than would take the model from its worker.
    for _ in 0..7 {
        let begun = Instant::now();
        let refused = embed(&proxy, &["endless"]).await.with_status(422);
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert!(refused.text().contains("too long") || refused.text().contains("larger"));
    }
    embed(&proxy, &["A ferry."]).await.with_status(200);
}

#[tokio::test]
async fn what_is_no_number_is_not_the_workers_fault() {
    let (proxy, _worker) = before("").await;
    for _ in 0..7 {
        embed(&proxy, &["nothing"]).await.with_status(422);
    }
    embed(&proxy, &["A ferry."]).await.with_status(200);
}
