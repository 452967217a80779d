//! Calls of several clients in one request to a worker: each client's answer tells its own usage,
//! or there is none.

use serde_json::{Value, json};
use tollgate_tests::{
    Proxy,
    client::{Request, http1},
    eventually,
    fake::http1::{Act, Received, Worker, json as answer},
    scene,
};

/// Answers as many prompts as it gets, the first request only once it is released; with the ids
/// of tokens if they are asked for, and if it can.
fn completions(received: &Received, tells: bool) -> Vec<Act> {
    let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
    let prompts = match &asked["prompt"] {
        Value::Array(prompts) => prompts.clone(),
        one => vec![one.clone()],
    };
    let ids = tells && asked["return_token_ids"] == true;
    let choice = |(at, prompt): (usize, &Value)| {
        let length = prompt.as_str().map_or(0, str::len);
        let list = |count: usize| {
            if ids {
                json!(vec![7; count])
            } else {
                Value::Null
            }
        };
        json!({"index": at, "text": format!("after {}", prompt.as_str().unwrap_or_default()),
            "logprobs": null, "finish_reason": "length",
            "prompt_token_ids": list(length), "token_ids": list(length + 1)})
    };
    let choices: Vec<Value> = prompts.iter().enumerate().map(choice).collect();
    let all: usize = prompts.iter().filter_map(Value::as_str).map(str::len).sum();
    let body = json!({"id": "cmpl-1", "object": "text_completion", "created": 1,
        "model": "served", "choices": choices, "usage": {"prompt_tokens": all,
            "completion_tokens": all + prompts.len(), "total_tokens": 2 * all + prompts.len()}});
    let hold = (received.number == 0).then_some(Act::Hold);
    hold.into_iter().chain([answer(200, &body)]).collect()
}

/// What three clients get whose calls meet in one request, and how many requests there were.
async fn together(worker: &Worker, options: &str) -> (Vec<(u16, Value)>, usize) {
    let more = format!(", slots: 1, max-batch: 8{options}");
    let mut yaml = scene::one("openai", worker.address, &more, "    scheduler: fcfs");
    yaml.push_str("schedulers: { fcfs: { source: \"bundled:fcfs\" } }\n");
    let proxy = Proxy::start(&yaml).await;
    let address = proxy.http();
    let ask = move |prompt: String| {
        tokio::spawn(async move {
            let body = json!({"model": "m", "prompt": prompt, "max_tokens": 8, "temperature": 0});
            http1::ask(address, &Request::post("/v1/completions", &body)).await
        })
    };
    let first = ask("a".into());
    worker.journal.holding(0).await;
    let others: Vec<_> = (2..5).map(|length| ask("b".repeat(length))).collect();
    eventually("three wait", async || {
        (proxy.status().await["routes"][0]["queued"] == 3).then_some(())
    })
    .await;
    worker.release();
    first.await.expect("it is answered").with_status(200);
    let mut got = Vec::new();
    for other in others {
        let response = other.await.expect("it is answered");
        got.push((response.status, response.json()));
    }
    (got, worker.journal.requests())
}

#[tokio::test]
async fn each_of_merged_completions_knows_its_own_usage() {
    let worker = Worker::start(|received| completions(received, true)).await;
    let (answers, requests) = together(&worker, "").await;
    assert_eq!(requests, 2, "three calls went as one");
    for (length, (status, body)) in (2..).zip(answers) {
        assert_eq!(status, 200, "{body}");
        let text = format!("after {}", "b".repeat(length));
        assert_eq!(body["choices"][0]["text"], text);
        assert_eq!(body["choices"].as_array().map(Vec::len), Some(1));
        assert_eq!(body["usage"]["prompt_tokens"], length, "{body}");
        assert_eq!(body["usage"]["completion_tokens"], length + 1);
        assert_eq!(body["usage"]["total_tokens"], 2 * length + 1);
    }
}

#[tokio::test]
async fn what_nobody_can_count_is_not_merged_or_is_no_answer() {
    let silent = Worker::start(|received| completions(received, false)).await;
    let (answers, requests) = together(&silent, "").await;
    assert_eq!(requests, 2);
    for (status, body) in answers {
        assert_eq!(status, 502, "{body}");
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("merge-completions"), "{body}");
    }
    let apart = Worker::start(|received| completions(received, false)).await;
    let option = ", options: { merge-completions: false }";
    let (answers, requests) = together(&apart, option).await;
    assert_eq!(requests, 4, "each went alone");
    for (length, (status, body)) in (2..).zip(answers) {
        assert_eq!(
            (status, &body["usage"]["prompt_tokens"]),
            (200, &json!(length))
        );
    }
}

/// A server of the Open Inference Protocol: gives each row back, the first request only once it is
/// released.
fn rows(received: &Received) -> Vec<Act> {
    let length = received
        .head
        .headers
        .iter()
        .find(|(name, _)| name == "inference-header-content-length");
    let hold = (received.number == 0).then_some(Act::Hold);
    let Some((_, length)) = length else {
        // One that goes alone is passed as its client wrote it.
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        let input = &asked["inputs"][0];
        let told = json!({"model_name": "m", "id": asked["id"], "outputs": [{"name": "y",
            "datatype": "FP32", "shape": input["shape"], "data": input["data"]}]});
        return hold.into_iter().chain([answer(200, &told)]).collect();
    };
    let length: usize = length.parse().expect("a number");
    let asked: Value = serde_json::from_slice(&received.body[..length]).expect("JSON");
    let raw = &received.body[length..];
    let input = &asked["inputs"][0];
    let head = json!({"model_name": "m", "outputs": [{"name": "y", "datatype": "FP32",
        "shape": input["shape"], "parameters": {"binary_data_size": raw.len()}}]})
    .to_string();
    let mut whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
         inference-header-content-length: {}\r\ncontent-length: {}\r\n\r\n{head}",
        head.len(),
        head.len() + raw.len()
    )
    .into_bytes();
    whole.extend_from_slice(raw);
    hold.into_iter().chain([Act::Write(whole.into())]).collect()
}

#[tokio::test]
async fn rows_of_several_clients_are_one_batch_and_come_apart() {
    let worker = Worker::start(rows).await;
    let proxy = Proxy::start(&format!(
        "
plugins: {{ kserve: {{ source: \"bundled:kserve\" }} }}
schedulers: {{ batches: {{ source: \"bundled:dynamic-batch\" }} }}
workers:
  - {{ name: w0, address: \"http://{}\", protocol: kserve, probe: off, models: [{{ name: m }}],
      options: {{ merge: true }}, slots: 1, max-batch: 8 }}
routes:
  - {{ name: all, frontends: [kserve], workers: [w0], scheduler: batches, auth: open }}
",
        worker.address
    ))
    .await;
    let address = proxy.http();
    let ask = |number: u32, columns: u32| {
        let values: Vec<u32> = (0..columns).map(|at| 10 * number + at).collect();
        let body = json!({"id": number.to_string(), "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, columns], "data": values}]});
        tokio::spawn(async move {
            let asked = Request::post("/v2/models/m/infer", &body);
            let told = http1::ask(address, &asked).await.with_status(200).json();
            let output = &told["outputs"][0];
            assert_eq!(output["shape"], json!([1, columns]), "{told}");
            let data = output["data"].as_array().expect("a list");
            let data: Vec<f64> = data.iter().filter_map(Value::as_f64).collect();
            let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            assert_eq!(data, values, "{told}");
            assert_eq!(told["id"], number.to_string());
        })
    };
    let first = ask(1, 2);
    worker.journal.holding(0).await;
    // Four rows of one shape, and one of another, which goes alone.
    let others: Vec<_> = (2..6).map(|number| ask(number, 2)).collect();
    let odd = ask(6, 3);
    eventually("five wait", async || {
        let waiting = proxy.figure("queue_requests{scheduler=\"batches\"}").await;
        (waiting == Some(5.0)).then_some(())
    })
    .await;
    worker.release();
    for asked in others.into_iter().chain([first, odd]) {
        asked.await.expect("it is answered as it was asked");
    }
    assert_eq!(worker.journal.requests(), 3);
}
