//! What clients get: the embedded models through both frontends, and what reaches a worker.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tollgate_tests::{
    Proxy, Setup,
    client::{Request, Response, grpc, http1, http2, sse},
    fake::{self, http1::json as answer},
    fmaas, scene,
    tls::Certificate,
};

const NGRAM: &str = "tollgate-ngram";
const HASH: &str = "tollgate-hash";

async fn post(proxy: &Proxy, path: &str, body: Value) -> Value {
    let got = http1::ask(proxy.http(), &Request::post(path, &body)).await;
    got.with_status(200).json()
}

fn asked(stream: bool) -> Value {
    json!({
        "model": NGRAM, "prompt": "The ferry crosses", "max_tokens": 9, "temperature": 0,
        "stream": stream, "stream_options": if stream { json!({"include_usage": true}) } else { Value::Null }
    })
}

/// The text, the reason and the counts of a completion, however it came.
fn told(response: &Response) -> (String, String, Value) {
    let (chunks, done) = match response.header("content-type") {
        Some(kind) if kind.starts_with("text/event-stream") => sse::json(&response.text()),
        _ => (vec![response.json()], true),
    };
    assert!(done, "{}", response.text());
    let choice =
        |chunk: &Value, member: &str| chunk["choices"][0][member].as_str().map(str::to_owned);
    let text = chunks
        .iter()
        .filter_map(|chunk| choice(chunk, "text"))
        .collect();
    let reason = chunks
        .iter()
        .find_map(|chunk| choice(chunk, "finish_reason"));
    let usage = chunks.last().unwrap()["usage"].clone();
    (text, reason.unwrap(), usage)
}

#[tokio::test]
async fn a_completion_is_the_same_streamed_or_not_over_every_version_of_http() {
    let certificate = Certificate::new(&["localhost"]);
    let config = "listeners:
  - { name: plain, address: \"127.0.0.1:0\" }
  - { name: tls, address: \"127.0.0.1:0\", tls: { certificates: [{ cert: c.pem, key: k.pem }] } }
";
    let proxy = Setup::new(&format!("{config}{}", scene::embedded()))
        .file("c.pem", &certificate.cert)
        .file("k.pem", &certificate.key)
        .start()
        .await;
    let (plain, tls) = (proxy.http(), proxy.listener("tls"));
    let one = certificate.client(&["h2", "http/1.1"]);
    let old = certificate.client(&["http/1.1"]);

    let mut all = Vec::new();
    for stream in [false, true] {
        let request = Request::post("/v1/completions", &asked(stream));
        all.push(http1::ask(plain, &request).await);
        all.push(http2::Connection::open(plain).await.ask(&request).await);
        all.push(
            http2::Connection::open_tls(tls, one.clone())
                .await
                .ask(&request)
                .await,
        );
        let (mut connection, protocol) = http1::Connection::open_tls(tls, old.clone()).await;
        assert_eq!(protocol, "http/1.1");
        connection.send(&request).await;
        all.push(connection.response().await);
    }
    let first = told(&all[0]);
    assert!(!first.0.is_empty());
    assert_eq!(first.1, "length");
    assert_eq!(first.2["completion_tokens"], 9);
    for response in &all {
        assert_eq!(response.status, 200);
        assert_eq!(told(response), first);
    }
}

#[tokio::test]
async fn a_chat_streams_deltas_and_then_stops() {
    let proxy = Proxy::start(&scene::embedded()).await;
    let mut body = json!({
        "model": NGRAM, "max_tokens": 12, "temperature": 0,
        "messages": [{"role": "user", "content": "What is a toll?"}]
    });
    let whole = post(&proxy, "/v1/chat/completions", body.clone()).await;
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["message"]["role"], "assistant");

    body["stream"] = true.into();
    let request = Request::post("/v1/chat/completions", &body);
    let response = http1::ask(proxy.http(), &request).await.with_status(200);
    let (chunks, done) = sse::json(&response.text());
    assert!(done);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let deltas: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(whole["choices"][0]["message"]["content"], deltas);
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
}

#[tokio::test]
async fn models_are_listed_and_found_by_name() {
    let proxy = Proxy::start(&scene::embedded()).await;
    let list = http1::ask(proxy.http(), &Request::get("/v1/models")).await;
    let list = list.with_status(200).json();
    let mut names: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, [HASH, NGRAM]);
    let path = format!("/v1/models/{NGRAM}");
    let one = http1::ask(proxy.http(), &Request::get(&path)).await;
    assert_eq!(one.with_status(200).json()["id"], NGRAM);
    let none = http1::ask(proxy.http(), &Request::get("/v1/models/none")).await;
    assert_eq!(none.with_status(404).json()["error"]["code"], 404);
}

#[tokio::test]
async fn text_becomes_tokens_and_the_same_text_again() {
    let proxy = Proxy::start(&scene::embedded()).await;
    for text in ["The gate opens.", "Grüße — \u{1F6A2}\n\ttab", " a  b "] {
        let tokens = post(
            &proxy,
            "/tokenize",
            json!({"model": NGRAM, "prompt": text, "add_special_tokens": false}),
        )
        .await;
        let count = tokens["tokens"].as_array().unwrap().len();
        assert_eq!(tokens["count"], count);
        let back = post(
            &proxy,
            "/detokenize",
            json!({"model": NGRAM, "tokens": tokens["tokens"]}),
        )
        .await;
        assert_eq!(back["prompt"], text);
    }
}

#[tokio::test]
async fn vectors_are_the_same_as_numbers_and_as_base64() {
    let proxy = Proxy::start(&scene::embedded()).await;
    let mut body = json!({"model": HASH, "input": ["a ferry crosses the river", "a boat crosses the river", "tax law"]});
    let numbers = post(&proxy, "/v1/embeddings", body.clone()).await;
    body["encoding_format"] = "base64".into();
    let encoded = post(&proxy, "/v1/embeddings", body).await;
    let mut vectors = Vec::new();
    for at in 0..3 {
        let plain: Vec<f32> = numbers["data"][at]["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_f64().unwrap() as f32)
            .collect();
        let bytes = STANDARD
            .decode(encoded["data"][at]["embedding"].as_str().unwrap())
            .unwrap();
        let decoded: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
            .collect();
        assert_eq!(plain, decoded);
        assert_eq!(numbers["data"][at]["index"], at);
        vectors.push(plain);
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    assert!(
        dot(&vectors[0], &vectors[1]) > dot(&vectors[0], &vectors[2]),
        "what is alike is nearer"
    );
}

#[tokio::test]
async fn a_seed_decides_what_is_drawn() {
    let proxy = Proxy::start(&scene::embedded()).await;
    let drawn = async |seed: u64| {
        let body = json!({"model": NGRAM, "prompt": "The", "max_tokens": 24, "temperature": 1.5, "seed": seed});
        let got = post(&proxy, "/v1/completions", body).await;
        got["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let first = drawn(7).await;
    assert_eq!(drawn(7).await, first);
    let others = [drawn(8).await, drawn(9).await, drawn(10).await];
    assert!(others.iter().any(|other| *other != first));
}

#[tokio::test]
async fn tgis_generates_for_a_batch_and_streams_the_same() {
    let proxy = Proxy::start(&scene::embedded()).await;
    let texts = ["The bridge", "A traveller", "The ferry"];
    let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
        proxy.http(),
        &scene::tgis("Generate"),
        &scene::batch(NGRAM, &texts),
    )
    .await;
    assert_eq!((status.code, answers.len()), (0, 1), "{status:?}");
    let responses = &answers[0].responses;
    assert_eq!(responses.len(), 3, "one answer each");
    for (text, whole) in texts.iter().zip(responses) {
        let (pieces, status) = grpc::ask::<fmaas::GenerationResponse>(
            proxy.http(),
            &scene::tgis("GenerateStream"),
            &scene::single(NGRAM, text),
        )
        .await;
        assert_eq!(status.code, 0, "{status:?}");
        let streamed: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(streamed, whole.text);
        let last = pieces.last().unwrap();
        assert_eq!(last.stop_reason, whole.stop_reason);
        assert_eq!(last.generated_token_count, whole.generated_token_count);
        assert_eq!(pieces[0].input_token_count, whole.input_token_count);
    }
    let openai = post(
        &proxy,
        "/v1/completions",
        json!({"model": NGRAM, "prompt": texts[0], "max_tokens": 8, "temperature": 0}),
    )
    .await;
    assert_eq!(
        openai["choices"][0]["text"], responses[0].text,
        "one model, two protocols"
    );
}

#[tokio::test]
async fn tgis_tells_tokens_and_the_model() {
    let proxy = Proxy::start(&scene::embedded()).await;
    let request = fmaas::BatchedTokenizeRequest {
        model_id: NGRAM.into(),
        requests: vec![fmaas::TokenizeRequest {
            text: "The gate opens.".into(),
        }],
        return_tokens: true,
        return_offsets: true,
        ..Default::default()
    };
    let (answers, status) = grpc::ask::<fmaas::BatchedTokenizeResponse>(
        proxy.http(),
        &scene::tgis("Tokenize"),
        &request,
    )
    .await;
    assert_eq!(status.code, 0, "{status:?}");
    let tokens = &answers[0].responses[0];
    assert_eq!(tokens.token_count as usize, tokens.tokens.len());
    assert_eq!(tokens.tokens.len(), tokens.offsets.len());
    let request = fmaas::ModelInfoRequest {
        model_id: NGRAM.into(),
    };
    let (answers, status) =
        grpc::ask::<fmaas::ModelInfoResponse>(proxy.http(), &scene::tgis("ModelInfo"), &request)
            .await;
    assert_eq!(status.code, 0, "{status:?}");
    assert!(answers[0].max_sequence_length > 0);
    assert!(answers[0].max_new_tokens > 0);
}

// === what reaches a worker ===

async fn openai_worker() -> (fake::http1::Worker, Proxy) {
    let worker =
        fake::http1::Worker::start(|_| vec![answer(200, &scene::completed(" there"))]).await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    (worker, proxy)
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn ids_and_traces_are_carried_to_the_worker() {
    let (worker, proxy) = openai_worker().await;
    let request = scene::completion(false)
        .header("x-request-id", "my-request.1")
        .header("traceparent", TRACE)
        .header("tracestate", "vendor=value");
    let got = http1::ask(proxy.http(), &request).await.with_status(200);
    assert_eq!(got.header("x-request-id"), Some("my-request.1"));
    let head = worker.journal.head(0).await;
    assert_eq!(head.all("x-request-id"), ["my-request.1"]);
    assert_eq!(head.all("tracestate"), ["vendor=value"]);
    let parent: Vec<_> = head.get("traceparent").unwrap().split('-').collect();
    assert_eq!(
        parent[1], "0af7651916cd43dd8448eb211c80319c",
        "the same trace"
    );
    assert_ne!(parent[2], "b7ad6b7169203331", "a span of our own");
}

#[tokio::test]
async fn ids_and_traces_are_made_when_there_are_none() {
    let (worker, proxy) = openai_worker().await;
    let mut ids = Vec::new();
    for number in 0..2 {
        let got = http1::ask(proxy.http(), &scene::completion(false)).await;
        let id = got.header("x-request-id").expect("one is made").to_owned();
        let head = worker.journal.head(number).await;
        assert_eq!(head.get("x-request-id"), Some(id.as_str()));
        let parent = head.get("traceparent").unwrap().to_owned();
        assert_eq!(
            parent.split('-').map(str::len).collect::<Vec<_>>(),
            [2, 32, 16, 2]
        );
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn only_what_concerns_the_worker_reaches_it() {
    let (worker, proxy) = openai_worker().await;
    let request = scene::completion(false)
        .token("a-secret-of-the-clients")
        .header("cookie", "session=1")
        .header("connection", "x-mine, keep-alive")
        .header("x-mine", "for the next hop alone")
        .header("proxy-authorization", "Basic abc")
        .header("te", "trailers")
        .header("x-forwarded-for", "8.8.8.8")
        .header("x-vllm-priority", "100")
        .header("x-kept", "for the worker");
    http1::ask(proxy.http(), &request).await.with_status(200);
    let head = worker.journal.head(0).await;
    for gone in [
        "authorization",
        "cookie",
        "x-mine",
        "proxy-authorization",
        "x-vllm-priority",
    ] {
        assert_eq!(head.get(gone), None, "{gone} must not reach a worker");
    }
    assert_eq!(
        head.all("x-forwarded-for"),
        ["127.0.0.1"],
        "what a client says of itself is not believed"
    );
    assert_eq!(head.all("x-kept"), ["for the worker"]);
    assert_eq!(head.all("host"), [worker.address.to_string()]);
    assert_eq!(head.line, "POST /v1/completions HTTP/1.1");
}

#[tokio::test]
async fn a_passed_body_is_the_clients_own_but_for_the_models_name() {
    let (worker, proxy) = openai_worker().await;
    let body = "{ \"prompt\":\"H\\u00e9llo\",\"max_tokens\": 8 ,\n \"model\" :\"m\", \"temperature\":1.50 }";
    let got = http1::ask(proxy.http(), &Request::post_bytes("/v1/completions", body)).await;
    let got = got.with_status(200).json();
    assert_eq!(got["model"], "m", "the client's name comes back");
    let sent = worker.journal.body(0).await;
    let sent = String::from_utf8(sent.to_vec()).unwrap();
    assert_eq!(sent, body.replace("\"m\"", "\"served\""));
    let head = worker.journal.head(0).await;
    assert_eq!(
        head.get("content-length"),
        Some(sent.len().to_string().as_str())
    );
}

#[tokio::test]
async fn hop_by_hop_headers_of_the_worker_do_not_reach_the_client() {
    let body = scene::completed(" there").to_string();
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: x-theirs\r\nx-theirs: 1\r\n\
         keep-alive: timeout=5\r\nx-shown: 2\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let worker = fake::http1::Worker::start(move |_| vec![fake::http1::write(text.clone())]).await;
    let proxy = Proxy::start(&scene::one("openai", worker.address, "", "")).await;
    let got = http1::ask(proxy.http(), &scene::completion(false))
        .await
        .with_status(200);
    assert_eq!(got.header("x-theirs"), None);
    assert_eq!(got.header("keep-alive"), None);
    assert_eq!(got.header("x-shown"), Some("2"));
}

#[tokio::test]
async fn a_grpc_worker_is_told_the_same() {
    let worker =
        fake::grpc::Worker::start(|_| fake::grpc::answer(&scene::generated(&[" there"]))).await;
    let proxy = Proxy::start(&scene::one("tgis", worker.address, "", "")).await;
    let request = scene::completion(false)
        .token("a-secret")
        .header("x-request-id", "mine")
        .header("traceparent", TRACE);
    let got = http1::ask(proxy.http(), &request)
        .await
        .with_status(200)
        .json();
    assert_eq!(got["choices"][0]["text"], " there");
    assert_eq!(got["usage"]["completion_tokens"], 3);
    let head = worker.journal.head(0).await;
    assert_eq!(head.line, "POST /fmaas.GenerationService/Generate");
    assert_eq!(head.all("x-request-id"), ["mine"]);
    assert!(
        head.get("traceparent")
            .unwrap()
            .contains("0af7651916cd43dd8448eb211c80319c")
    );
    assert_eq!(head.get("authorization"), None);
    assert!(
        head.get("grpc-timeout").is_some(),
        "the deadline goes along"
    );
    let sent: fmaas::BatchedGenerationRequest = fake::grpc::message(&worker.journal.body(0).await);
    assert_eq!(sent.model_id, "served");
    assert_eq!(sent.requests[0].text, "Hello");
    assert_eq!(sent.params.unwrap().stopping.unwrap().max_new_tokens, 8);
}

#[tokio::test]
async fn connections_to_a_worker_are_used_again() {
    let (worker, proxy) = openai_worker().await;
    let mut client = http1::Connection::open(proxy.http()).await;
    for _ in 0..5 {
        client.send(&scene::completion(false)).await;
        client.response().await.with_status(200);
    }
    let entries = worker.journal.entries();
    let accepted = entries
        .iter()
        .filter(|entry| entry.seen == fake::Seen::Accepted)
        .count();
    assert_eq!((accepted, worker.journal.requests()), (1, 5));
}
