//! Every task through both surfaces on both sides: what a client sends is taken apart
//! into a neutral call, asked of a worker, and the worker's answer put together for the
//! client. Each transcript is played four ways, whole and cut everywhere.

mod support;

use std::{fs, path::Path};

use serde_json::{Value, json};
use support::*;

fn transcripts() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/translate");
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, json)
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(all.len() > 12, "only {} transcripts", all.len());
    all
}

/// The task's path and method.
fn doors(transcript: &Value) -> (&'static str, &'static str) {
    let task = transcript["task"].as_str().unwrap();
    let (_, method) = TASKS.iter().find(|(name, _)| *name == task).unwrap();
    let path: &'static str = format!("/api/v1/task/{task}").leak();
    (path, method)
}

fn list(json: &Value) -> Vec<Value> {
    json.as_array()
        .cloned()
        .unwrap_or_else(|| vec![json.clone()])
}

#[test]
fn every_client_reaches_every_worker() {
    for (name, transcript) in transcripts() {
        let (path, method_name) = doors(&transcript);
        let streams = path.contains("streaming");
        for client in ["rest", "grpc"] {
            for dialect in ["rest", "grpc"] {
                println!("{name}: a client of {client}, a worker of {dialect}");
                let ask = match client {
                    "rest" => Ask::rest(path, &transcript["rest"]),
                    _ => Ask::grpc(method_name, &transcript["grpc"]),
                };
                let (worker, answer) = match dialect {
                    "rest" => {
                        let told = &transcript["answer-rest"];
                        let events: Vec<_> =
                            list(told).into_iter().map(|it| ("message", it)).collect();
                        let answer = if streams {
                            sse_answer(&events)
                        } else {
                            rest_answer(told)
                        };
                        ("caikit-rest", answer)
                    }
                    _ => {
                        let told = list(&transcript["answer-grpc"]);
                        ("caikit", grpc_answer(method_name, &told))
                    }
                };
                let (request, outcome) = ask.through(worker, answer);
                let (asked_path, asked_body, model) = asked(&request);
                assert_eq!(model, SERVED);
                match dialect {
                    "rest" => assert_eq!(asked_path, path),
                    _ => assert_eq!(asked_path, format!("{NLP}/{method_name}")),
                }
                let (input, _) = method(NLP, method_name);
                let wanted = &transcript[&format!("worker-{dialect}")];
                let wanted = match dialect {
                    "rest" => wanted.clone(),
                    _ => decode(&input, &encode(&input, wanted)),
                };
                assert_eq!(asked_body, wanted, "{name}");
                responds(&transcript, client, method_name, streams, &outcome);
            }
        }
    }
}

fn responds(
    transcript: &Value,
    client: &str,
    method_name: &'static str,
    streams: bool,
    outcome: &tollgate_sdk_protocol::testing::ClientOutcome,
) {
    assert!(outcome.finished && outcome.refused.is_none(), "{outcome:?}");
    let wanted = &transcript[&format!("response-{client}")];
    let found = match (client, streams) {
        ("rest", false) => {
            assert_eq!(outcome.head.as_ref().unwrap().status, 200);
            body(outcome)
        }
        ("rest", true) => {
            let events = events(outcome);
            assert!(events.iter().all(|(name, _)| name == "message"));
            Value::Array(events.into_iter().map(|(_, data)| data).collect())
        }
        (_, false) => message(outcome, Door::Grpc(NLP, method_name)),
        _ => {
            assert_eq!(code(outcome), 0);
            let (_, output) = method(NLP, method_name);
            let messages = outcome.messages.iter();
            messages.map(|message| decode(&output, message)).collect()
        }
    };
    assert_eq!(found, canonical(client, method_name, wanted));
}

/// Of gRPC: as the descriptor writes it.
fn canonical(client: &str, method_name: &str, wanted: &Value) -> Value {
    if client == "rest" {
        return wanted.clone();
    }
    let (_, output) = method(NLP, method_name);
    let one = |json: &Value| decode(&output, &encode(&output, json));
    match wanted {
        Value::Array(all) => all.iter().map(one).collect(),
        json => one(json),
    }
}

#[test]
fn several_queries_are_as_many_calls_and_one_answer() {
    let documents = json!([{"text": "x"}, {"text": "y"}]);
    let answer = || {
        rest_answer(&json!({"result": {"query": null, "scores": [
            {"document": null, "index": 1, "score": 0.5, "text": null},
            {"document": null, "index": 0, "score": 0.25, "text": null},
        ]}, "producer_id": null, "input_token_count": 4}))
    };
    let ask = Ask::rest(
        "/api/v1/task/rerank-tasks",
        &json!({"model_id": "asked", "inputs": {"queries": ["q", "r"], "documents": documents},
                "parameters": {"return_documents": false}}),
    );
    let (_, outcome) = ask.through("caikit-rest", answer());
    assert_eq!(outcome.calls.len(), 2);
    assert_eq!(outcome.intents.len(), 2);
    let ranking = |query: &str| {
        json!({"query": query, "scores": [
            {"document": null, "index": 1, "score": 0.5, "text": "y"},
            {"document": null, "index": 0, "score": 0.25, "text": "x"},
        ]})
    };
    assert_eq!(
        body(&outcome),
        json!({"results": [ranking("q"), ranking("r")], "producer_id": null,
               "input_token_count": 8})
    );
    let usage: Vec<_> = outcome
        .usage
        .iter()
        .map(|it| (it.id, it.usage.input_tokens))
        .collect();
    assert_eq!(usage, [(0, Some(4)), (1, Some(4))]);
}

#[test]
fn several_sources_too() {
    let ask = Ask::grpc(
        "SentenceSimilarityTasksPredict",
        &json!({"sourceSentences": ["a", "b", "c"], "sentences": ["x", "y"]}),
    );
    let answer = grpc_answer(
        "SentenceSimilarityTaskPredict",
        &[json!({"result": {"scores": [0.5, 1.0]}, "inputTokenCount": "2"})],
    );
    let (_, outcome) = ask.through("caikit", answer);
    assert_eq!(outcome.calls.len(), 3);
    let message = message(&outcome, Door::Grpc(NLP, "SentenceSimilarityTasksPredict"));
    let row = json!({"scores": [0.5, 1.0]});
    assert_eq!(
        message,
        json!({"results": [row, row, row], "inputTokenCount": "6"})
    );
}

#[test]
fn one_source_in_the_plural_form_is_answered_in_it() {
    let ask = Ask::rest(
        "/api/v1/task/sentence-similarity-tasks",
        &json!({"model_id": "m", "inputs": {"source_sentences": ["a"], "sentences": ["x"]}}),
    );
    let answer = rest_answer(&json!({"result": {"scores": [1.0]}}));
    let (_, outcome) = ask.through("caikit-rest", answer);
    assert_eq!(
        body(&outcome),
        json!({"results": [{"scores": [1.0]}], "producer_id": null, "input_token_count": null})
    );
    let ask = Ask::rest(
        "/api/v1/task/embedding-tasks",
        &json!({"model_id": "m", "inputs": ["a"]}),
    );
    let answer = rest_answer(&json!({"result": {"data": {"values": [1.0]}}}));
    let (request, outcome) = ask.through("caikit-rest", answer);
    assert_eq!(asked(&request).0, "/api/v1/task/embedding");
    assert_eq!(
        body(&outcome)["results"],
        json!({"vectors": [{"data": {"values": [1.0]}}]})
    );
}

#[test]
fn usage_is_told_to_the_host() {
    let ask = Ask::rest(
        "/api/v1/task/text-generation",
        &json!({"model_id": "m", "inputs": "a"}),
    );
    let answer = rest_answer(&json!({"generated_text": "b", "generated_tokens": 3,
        "finish_reason": "MAX_TOKENS", "input_token_count": 2}));
    let (_, outcome) = ask.through("caikit-rest", answer);
    let usage = &outcome.usage[0].usage;
    assert_eq!(
        (usage.input_tokens, usage.output_tokens),
        (Some(2), Some(3))
    );
}
