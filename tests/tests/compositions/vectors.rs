//! Ranking and comparing over a worker that makes vectors, and ranking over one that ranks.

use prost::Message;
use serde_json::{Value, json};
use tollgate_tests::{
    Proxy,
    client::{Request, grpc, http1},
    eventually,
    fake::{Seen, http1 as h},
};

use crate::{body, embedder, gone, inputs, setup, vectors, worker};

/// A proxy over one worker that makes vectors, and ranks nothing by itself.
async fn over(worker: &h::Worker, compose: &str) -> Proxy {
    let line = crate::worker("w0", "openai", worker.address, "embed", "");
    setup(&[line], compose, "").start().await
}

async fn ask(proxy: &Proxy, path: &str, asked: &Value) -> Value {
    let response = http1::ask(proxy.http(), &Request::post(path, asked)).await;
    response.with_status(200).json()
}

fn caikit(task: &str) -> String {
    format!("/api/v1/task/{task}")
}

fn near(value: &Value, wanted: f64) {
    let value = value.as_f64().expect("a number");
    assert!((value - wanted).abs() < 1e-6, "{value}, not {wanted}");
}

/// The documents of the tests, and their cosines with `1 0`.
const DOCUMENTS: [(&str, f64); 3] = [
    ("0 2", 0.0),
    ("3 0", 1.0),
    ("1 1", std::f64::consts::FRAC_1_SQRT_2),
];

#[tokio::test]
async fn a_caikit_rerank_over_vectors() {
    let worker = embedder().await;
    let proxy = over(&worker, "").await;
    let documents: Vec<Value> = DOCUMENTS
        .map(|(text, _)| json!({"text": text, "id": text.len()}))
        .into();
    let asked = json!({
        "model_id": "m",
        "inputs": {"query": "1 0", "documents": documents},
        "parameters": {"top_n": 2}
    });
    let got = ask(&proxy, &caikit("rerank"), &asked).await;
    let scores = got["result"]["scores"].as_array().expect("scores");
    let order: Vec<_> = scores
        .iter()
        .map(|score| score["index"].as_u64().unwrap())
        .collect();
    assert_eq!(order, [1, 2], "{got}");
    near(&scores[0]["score"], 1.0);
    near(&scores[1]["score"], DOCUMENTS[2].1);
    assert_eq!(scores[0]["document"], documents[1], "the client's own");
    assert_eq!(got["input_token_count"], 8);
    assert_eq!(worker.journal.requests(), 1, "one call for all texts");
}

#[tokio::test]
async fn a_vllm_rerank_and_score_over_vectors() {
    let worker = embedder().await;
    let proxy = over(&worker, "texts-per-call: 2, at-once: 1").await;
    let texts = DOCUMENTS.map(|(text, _)| text);
    let got = ask(
        &proxy,
        "/rerank",
        &json!({"model": "m", "query": "1 0", "documents": texts}),
    )
    .await;
    let results = got["results"].as_array().expect("results");
    let order: Vec<_> = results
        .iter()
        .map(|it| it["index"].as_u64().unwrap())
        .collect();
    assert_eq!(order, [1, 2, 0], "{got}");
    assert_eq!(results[0]["document"]["text"], "3 0");
    assert_eq!(got["usage"]["total_tokens"], 8, "of two calls together");
    assert_eq!(worker.journal.requests(), 2);

    let got = ask(
        &proxy,
        "/score",
        &json!({"model": "m", "text_1": "1 0", "text_2": texts}),
    )
    .await;
    let data = got["data"].as_array().expect("data");
    assert_eq!(data.len(), 3, "{got}");
    for (at, (score, (_, cosine))) in data.iter().zip(DOCUMENTS).enumerate() {
        assert_eq!(score["index"], at);
        near(&score["score"], cosine);
    }
}

#[derive(Clone, PartialEq, Message)]
struct Sentences {
    #[prost(string, tag = "1")]
    source_sentence: String,
    #[prost(string, repeated, tag = "2")]
    sentences: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Similarity {
    #[prost(message, optional, tag = "1")]
    result: Option<Scores>,
    #[prost(int64, tag = "3")]
    input_token_count: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Scores {
    #[prost(double, repeated, tag = "1")]
    scores: Vec<f64>,
}

#[tokio::test]
async fn sentences_are_compared_over_rest_and_over_grpc() {
    let worker = embedder().await;
    let proxy = over(&worker, "").await;
    let texts = DOCUMENTS.map(|(text, _)| text);
    let asked = json!({"model_id": "m", "inputs": {"source_sentence": "1 0", "sentences": texts}});
    let got = ask(&proxy, &caikit("sentence-similarity"), &asked).await;
    for (score, (_, cosine)) in got["result"]["scores"]
        .as_array()
        .unwrap()
        .iter()
        .zip(DOCUMENTS)
    {
        near(score, cosine);
    }
    let asked = json!({
        "model_id": "m", "inputs": {"source_sentences": ["1 0", "0 1"], "sentences": texts}
    });
    let got = ask(&proxy, &caikit("sentence-similarity-tasks"), &asked).await;
    let rows = got["results"].as_array().expect("rows");
    assert_eq!(rows.len(), 2, "{got}");
    near(&rows[0]["scores"][1], 1.0);
    near(&rows[1]["scores"][0], 1.0);
    assert_eq!(
        worker.journal.requests(),
        3,
        "each source is a call of its own"
    );

    let request = grpc::request("caikit.runtime.Nlp.NlpService/SentenceSimilarityTaskPredict")
        .header("mm-model-id", "m");
    let asked = Sentences {
        source_sentence: "1 0".into(),
        sentences: texts.map(str::to_owned).to_vec(),
    };
    let (answers, status) = grpc::ask::<Similarity>(proxy.http(), &request, &asked).await;
    assert_eq!(status.code, 0, "{status:?}");
    assert_eq!(answers[0].input_token_count, 8);
    let scores = &answers[0].result.as_ref().expect("scores").scores;
    assert!((scores[2] - DOCUMENTS[2].1).abs() < 1e-6, "{scores:?}");
}

#[tokio::test]
async fn several_queries_over_a_worker_that_ranks_one() {
    let worker = h::Worker::start(|received| {
        assert!(received.head.line.contains("/rerank"), "{}", received.head.line);
        let asked = body(received);
        let best = asked["documents"]
            .as_array()
            .unwrap()
            .iter()
            .position(|document| document == &asked["query"])
            .expect("one of them");
        let result = |index: usize, score: f64| {
            json!({"index": index, "relevance_score": score, "document": {"text": ""}})
        };
        vec![h::json(
            200,
            &json!({
                "id": "rerank-1", "model": "served", "usage": {"total_tokens": 5},
                "results": [result(best, 0.9), result(1 - best, 0.1)]
            }),
        )]
    })
    .await;
    let line = crate::worker("w0", "openai", worker.address, "rerank", "");
    let proxy = setup(&[line], "", "").start().await;
    let asked = json!({
        "model_id": "m",
        "inputs": {"queries": ["a", "b", "a"], "documents": [{"text": "a"}, {"text": "b"}]}
    });
    let got = ask(&proxy, &caikit("rerank-tasks"), &asked).await;
    let rows = got["results"].as_array().expect("rows");
    let best: Vec<_> = rows
        .iter()
        .map(|row| row["scores"][0]["index"].as_u64().unwrap())
        .collect();
    assert_eq!(best, [0, 1, 0], "{got}");
    assert_eq!(worker.journal.requests(), 3);
}

#[tokio::test]
async fn a_rerank_over_a_worker_that_scores() {
    let worker = h::Worker::start(|received| {
        assert!(received.head.line.contains("/score"), "{}", received.head.line);
        let asked = body(received);
        let texts = match &asked["text_2"] {
            Value::Array(texts) => texts.clone(),
            one => vec![one.clone()],
        };
        let data: Vec<Value> = (0..)
            .zip(&texts)
            .map(|(index, text): (usize, _)| {
                let score = text.as_str().unwrap().len();
                json!({"index": index, "object": "score", "score": score})
            })
            .collect();
        vec![h::json(
            200,
            &json!({"id": "score-1", "object": "list", "created": 1, "model": "served", "data": data,
                    "usage": {"prompt_tokens": 4, "total_tokens": 4, "completion_tokens": 0}}),
        )]
    })
    .await;
    let line = crate::worker("w0", "openai", worker.address, "similarity, embed", "");
    let proxy = setup(&[line], "", "").start().await;
    let asked = json!({"model": "m", "query": "q", "documents": ["a", "ccc", "bb"]});
    let got = ask(&proxy, "/v1/rerank", &asked).await;
    let order: Vec<_> = got["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["index"].as_u64().unwrap())
        .collect();
    assert_eq!(order, [1, 2, 0], "{got}");
}

// === what goes wrong ===

fn rerank(count: usize) -> Request {
    let documents: Vec<_> = (0..count).map(|at| format!("1 {at}")).collect();
    let asked = json!({"model": "m", "query": "1 0", "documents": documents});
    Request::post("/rerank", &asked)
}

/// Of the calls with one text each, that with this one does something else.
async fn odd(text: &'static str, acts: Vec<h::Act>) -> h::Worker {
    h::Worker::start(move |received| {
        let texts = inputs(received);
        if texts == [text] {
            acts.clone()
        } else {
            vec![h::Act::Hold, vectors(&texts)]
        }
    })
    .await
}

#[tokio::test]
async fn one_that_fails_fails_all_with_the_workers_reason() {
    let busy =
        json!({"error": {"message": "too hot here", "type": "x", "param": null, "code": 503}});
    for (acts, status, words) in [
        (vec![h::json(503, &busy)], 503, "too hot here"),
        (vec![h::Act::Close], 502, ""),
    ] {
        let worker = odd("1 2", acts).await;
        let proxy = over(&worker, "texts-per-call: 1, at-once: 8").await;
        let response = http1::ask(proxy.http(), &rerank(6))
            .await
            .with_status(status);
        assert!(response.text().contains(words), "{}", response.text());
        // Those of the others that had come hold, and are let go.
        let journal = &worker.journal;
        eventually("the others are gone", || async {
            (gone(journal) + 1 == journal.requests()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_all_calls_along() {
    let worker = odd("nothing", Vec::new()).await;
    let proxy = over(&worker, "texts-per-call: 1, at-once: 3").await;
    let mut connection = http1::Connection::open(proxy.http()).await;
    connection.send(&rerank(6)).await;
    let journal = &worker.journal;
    let holding = || async {
        let entries = journal.entries();
        let holding = entries.iter().filter(|entry| entry.seen == Seen::Holding);
        (holding.count() == 3).then_some(())
    };
    eventually("three at once", holding).await;
    drop(connection);
    eventually("all are gone", || async {
        (gone(journal) == 3).then_some(())
    })
    .await;
    assert_eq!(journal.requests(), 3, "no further one was begun");
}

#[tokio::test]
async fn more_than_the_limit_is_refused_and_reaches_nobody() {
    let worker = embedder().await;
    let proxy = over(&worker, "fan-out: 5").await;
    http1::ask(proxy.http(), &rerank(5)).await.with_status(200);
    let refused = http1::ask(proxy.http(), &rerank(6))
        .await
        .with_status(400)
        .json();
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.contains("at most 5"), "{message}");
    assert_eq!(worker.journal.requests(), 1);
}

#[tokio::test]
async fn a_worker_that_may_rank_is_not_bypassed() {
    let vectors = embedder().await;
    let ranker = h::Worker::start(|received| {
        assert!(
            received.head.line.contains("/rerank"),
            "{}",
            received.head.line
        );
        vec![h::json(
            200,
            &json!({"id": "r", "model": "served", "results": [], "usage": {"total_tokens": 1}}),
        )]
    })
    .await;
    let workers = [
        worker("w0", "openai", vectors.address, "embed", ""),
        worker("w1", "openai", ranker.address, "rerank", ""),
    ];
    let proxy = setup(&workers, "", "").start().await;
    http1::ask(proxy.http(), &rerank(2)).await.with_status(200);
    assert_eq!(
        (vectors.journal.requests(), ranker.journal.requests()),
        (0, 1)
    );
}
