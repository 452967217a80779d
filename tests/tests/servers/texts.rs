//! Texts as tensors, by the words of the configuration: workers of tensors asked for vectors and
//! texts, and clients of tensors answered by workers of other protocols.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_tests::{
    client::{grpc::Call, http2, sse},
    fake::{grpc as fake_grpc, http1 as fake},
    fmaas,
    inference::ModelStreamInferResponse,
    scene,
    standin::{mlserver, tensor as tensors, triton},
};

use super::*;

/// A worker behind every frontend. `options` are those of the kserve plugin, `worker` is more of
/// the worker's line.
async fn behind_all(options: &str, worker: &str) -> Proxy {
    Proxy::start(&format!(
        "
plugins:
  kserve: {{ source: \"bundled:kserve\", options: {{ {options} }} }}
  openai: {{ source: \"bundled:openai\" }}
  tgis: {{ source: \"bundled:tgis\" }}
  caikit: {{ source: \"bundled:caikit\" }}
  compose: {{ source: \"bundled:compose\" }}
workers:
  - {{ name: w0, probe: off, {worker} }}
routes:
  - {{ name: all, frontends: [kserve, openai, tgis, caikit], compositions: [compose], workers: [w0],
      auth: open, default-model: m }}
"
    ))
    .await
}

/// A stand-in of the protocol, whose model `m` does some tasks by tensors.
async fn of_tensors(station: &Station, server: &str, words: &str, tasks: &str) -> Proxy {
    let Station {
        scheme,
        address,
        options,
    } = station;
    let comma = if options.is_empty() { "" } else { ", " };
    let worker = format!(
        "address: \"{scheme}://{address}\", protocol: kserve, \
         options: {{ {options}{comma}server: {server}, {words} }}, \
         models: [{{ name: m, served-as: served, tasks: [{tasks}] }}]"
    );
    behind_all("", &worker).await
}

const EMBED: &str = "embed: { input: TEXTS, output: VECTORS }";

#[tokio::test]
async fn vectors_come_of_tensors_in_every_form() {
    let (rest, grpc) = (triton::rest().await, triton::grpc().await);
    let (ml_rest, ml_grpc) = (mlserver::rest().await, mlserver::grpc().await);
    for (station, server) in [
        (over_rest(&rest, ""), "triton"),
        (over_grpc(&grpc, ""), "triton"),
        (over_rest(&ml_rest, ""), "mlserver"),
        (over_grpc(&ml_grpc, ""), "mlserver"),
    ] {
        let proxy = of_tensors(&station, server, EMBED, "embed").await;
        let body = json!({"model": "m", "input": ["ab", "é"], "encoding_format": "float"});
        let told = ask(&proxy, &Request::post("/v1/embeddings", &body)).await;
        let told = told.with_status(200).json();
        let vectors: Vec<_> = told["data"].as_array().unwrap().iter().collect();
        assert_eq!(vectors[0]["embedding"], json!([2.0, 97.0]), "{server}");
        assert_eq!(vectors[1]["embedding"], json!([2.0, 195.0]));
        let body = json!({"model": "m", "input": "ab", "encoding_format": "base64"});
        let told = ask(&proxy, &Request::post("/v1/embeddings", &body)).await;
        let told = told.with_status(200).json();
        let raw = STANDARD.decode(told["data"][0]["embedding"].as_str().unwrap());
        assert_eq!(raw.unwrap(), [2_f32, 97.0].map(f32::to_le_bytes).concat());
        // A count of tokens is what nobody told.
        let body = json!({"model_id": "m", "inputs": ["abc"]});
        let told = ask(
            &proxy,
            &Request::post("/api/v1/task/embedding-tasks", &body),
        )
        .await;
        let told = told.with_status(200).json();
        let vector = &told["results"]["vectors"][0]["data"]["values"];
        assert_eq!(*vector, json!([3.0, 97.0]));
        // And what is made of vectors comes with them.
        let body = json!({"model": "m", "query": "aa", "documents": ["\u{1}\u{1}", "ab"]});
        let told = ask(&proxy, &Request::post("/rerank", &body)).await;
        let told = told.with_status(200).json();
        assert_eq!(told["results"][0]["index"], 1, "{told}");
    }
    assert_eq!(rest.journal.requests(), 4, "all texts in one request");
}

#[tokio::test]
async fn what_a_tensor_cannot_say_is_refused() {
    let rest = triton::rest().await;
    let proxy = of_tensors(&over_rest(&rest, ""), "triton", EMBED, "embed").await;
    let tokens = json!({"model": "m", "input": [1, 2]});
    let told = ask(&proxy, &Request::post("/v1/embeddings", &tokens)).await;
    let told = told.with_status(400).text();
    assert!(told.contains("texts, not tokens"), "{told}");
    let shorter = json!({"model": "m", "input": "a", "dimensions": 1});
    let told = ask(&proxy, &Request::post("/v1/embeddings", &shorter)).await;
    let told = told.with_status(400).text();
    assert!(told.contains("2 dimensions"), "{told}");
}

#[tokio::test]
async fn a_text_comes_of_one_inference() {
    let (rest, grpc) = (triton::rest().await, triton::grpc().await);
    let ml_grpc = mlserver::grpc().await;
    let words = "generate: { text-input: PROMPT, text-output: TEXT, over: infer, batch: true }";
    for (station, server) in [
        (over_rest(&rest, ""), "triton"),
        (over_grpc(&grpc, ""), "triton"),
        (over_grpc(&ml_grpc, ""), "mlserver"),
    ] {
        // Parameters of MLServer's have no fractions over gRPC.
        let proxy = of_tensors(&station, server, words, "generate").await;
        let body = json!({"model": "m", "prompt": "so é", "max_tokens": 5, "top_k": 4,
            "temperature": 1});
        let response = ask(&proxy, &Request::post("/v1/completions", &body)).await;
        if server == "mlserver" {
            let told = response.with_status(400).text();
            assert!(told.contains("temperature"), "{told}");
            continue;
        }
        let told = response.with_status(200).json();
        assert_eq!(told["choices"][0]["text"], "SO é", "{server}");
        assert_eq!(told["choices"][0]["finish_reason"], "length");
        let asked = scene::batch("m", &["one", "two"]);
        let (answers, status) = grpc::ask::<fmaas::BatchedGenerationResponse>(
            proxy.http(),
            &scene::tgis("Generate"),
            &asked,
        )
        .await;
        assert_eq!(status.code, 0, "{status:?}");
        let texts: Vec<_> = answers[0].responses.iter().map(|it| &*it.text).collect();
        assert_eq!(texts, ["ONE", "TWO"]);
        let response = ask(&proxy, &scene::completion(true)).await;
        let told = response.with_status(501).text();
        assert!(told.contains("wrap-streams"), "{told}");
    }
}

#[tokio::test]
async fn a_stream_has_one_piece_where_the_operator_allows_it() {
    let grpc = triton::grpc().await;
    let words = "generate: { text-input: PROMPT, text-output: TEXT, over: infer, \
                 wrap-streams: true }";
    let proxy = of_tensors(&over_grpc(&grpc, ""), "triton", words, "generate").await;
    let response = ask(&proxy, &scene::completion(true)).await.with_status(200);
    let (events, done) = sse::json(&response.text());
    let texts: Vec<_> = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .filter(|text| !text.is_empty())
        .collect();
    assert_eq!((texts, done), (vec!["HELLO"], true));
}

const GENERATES: &str =
    "models: { m: { generate: { text-input: PROMPT, text-output: TEXT, batch: true } } }";

fn prompt_tensor(text: &str) -> Tensor {
    tensor("PROMPT", "BYTES", &[1, 1], joined(&[text.as_bytes()]))
}

/// What a client of tensors is told in each of its forms.
async fn told_in_every_form(proxy: &Proxy, text: &str) {
    for binary in [false, true] {
        let request = asked(
            "/v2/models/m/infer",
            &[prompt_tensor("Hello")],
            binary,
            false,
        );
        let (json, got) = outputs(ask(proxy, &request).await);
        let wanted = tensor("TEXT", "BYTES", &[1, 1], joined(&[text.as_bytes()]));
        assert_eq!(got, [wanted], "binary: {binary}");
        assert_eq!(
            (&json["id"], &json["model_name"]),
            (&json!("one"), &json!("m"))
        );
    }
    for typed in [false, true] {
        let message = tensors::message("m", &[prompt_tensor("Hello")], typed);
        let (answers, status) =
            grpc::ask::<ModelInferResponse>(proxy.http(), &rpc("ModelInfer"), &message).await;
        assert_eq!(status.code, 0, "{status:?}");
        let (got, _) = tensors::of_answer(&answers[0]);
        assert_eq!(got[0].raw, joined(&[text.as_bytes()]), "typed: {typed}");
    }
}

#[tokio::test]
async fn clients_of_tensors_are_answered_by_servers_of_texts() {
    let vllm = fake::Worker::start(|received| {
        let body: Value = serde_json::from_slice(&received.body).expect("JSON");
        assert_eq!(body["model"], "served");
        let prompts = match &body["prompt"] {
            Value::Array(all) => all.len(),
            _ => 1,
        };
        assert_eq!(prompts, 1);
        vec![fake::json(200, &scene::completed("it é"))]
    })
    .await;
    let tgis = fake_grpc::Worker::start(|_| fake_grpc::answer(&scene::generated(&["it é"]))).await;
    let caikit = fake::Worker::start(|_| {
        let told = json!({
            "generated_text": "it é", "generated_tokens": 3, "finish_reason": "MAX_TOKENS",
            "producer_id": {"name": "Text Generation", "version": "0.1.0"},
            "input_token_count": 2, "seed": null, "tokens": [], "input_tokens": []
        });
        vec![fake::json(200, &told)]
    })
    .await;
    let model = "models: [{ name: m, served-as: served, tasks: [generate] }]";
    for worker in [
        format!(
            "address: \"http://{}\", protocol: openai, {model}",
            vllm.address
        ),
        format!(
            "address: \"grpc://{}\", protocol: tgis, {model}",
            tgis.address
        ),
        format!(
            "address: \"http://{}\", protocol: caikit, options: {{ dialect: caikit-rest }}, {model}",
            caikit.address
        ),
    ] {
        let proxy = behind_all(GENERATES, &worker).await;
        told_in_every_form(&proxy, "it é").await;
        let told = get(&proxy, "/v2/models/m").await.with_status(200).json();
        assert_eq!(told["versions"], json!(["1"]), "{told}");
        let input = json!({"name": "PROMPT", "datatype": "BYTES", "shape": [-1, 1]});
        assert_eq!(told["inputs"][0], input);
        assert_eq!(told["outputs"][0]["name"], "TEXT");
        let told = metadata(&proxy, "m").await.expect("metadata");
        assert_eq!(told.inputs[0].name, "PROMPT");
        assert!(!told.platform.is_empty());
        assert!(is_ready(&proxy, "m").await);
        let other = asked(
            "/v2/models/m/versions/7/infer",
            &[prompt_tensor("a")],
            false,
            false,
        );
        let told = ask(&proxy, &other).await.with_status(404).json();
        let told = told["error"].as_str().unwrap();
        assert!(told.contains("version 7 is not found"), "{told}");
    }
    assert_eq!(vllm.journal.requests(), 4);
}

#[tokio::test]
async fn tensors_that_do_not_fit_are_errors_in_the_protocols_words() {
    let vllm = fake::Worker::start(|_| vec![fake::json(200, &scene::completed("no"))]).await;
    let worker = format!(
        "address: \"http://{}\", protocol: openai, models: [{{ name: m, tasks: [generate] }}]",
        vllm.address
    );
    let proxy = behind_all(GENERATES, &worker).await;
    for (bad, words) in [
        (
            tensor("IN", "BYTES", &[1, 1], joined(&[b"a"])),
            "unexpected inference input 'IN' for model 'm'",
        ),
        (
            tensor("PROMPT", "FP32", &[1, 1], vec![0; 4]),
            "inference input 'PROMPT' data-type is 'FP32', but model 'm' expects 'BYTES'",
        ),
        (
            tensor("PROMPT", "BYTES", &[1], joined(&[b"a"])),
            "unexpected shape for input 'PROMPT' for model 'm'. Expected [-1, 1], got [1]",
        ),
    ] {
        let request = asked(
            "/v2/models/m/infer",
            std::slice::from_ref(&bad),
            false,
            false,
        );
        let told = ask(&proxy, &request).await.with_status(400).json();
        assert_eq!(told["error"], words);
        let message = tensors::message("m", &[bad], false);
        let (_, status) =
            grpc::ask::<ModelInferResponse>(proxy.http(), &rpc("ModelInfer"), &message).await;
        assert_eq!((status.code, status.message.as_str()), (3, words));
    }
    assert_eq!(vllm.journal.requests(), 0);
}

#[tokio::test]
async fn every_message_of_a_stream_is_a_generation_in_pieces() {
    let vllm = fake::Worker::start(|_| {
        vec![
            fake::stream_head(),
            fake::event(&scene::chunk("so ", None, 1)),
            fake::event(&scene::chunk("it", Some("length"), 2)),
            fake::event(&scene::usage_chunk(2)),
            fake::event("[DONE]"),
            fake::stream_end(),
        ]
    })
    .await;
    let worker = format!(
        "address: \"http://{}\", protocol: openai, models: [{{ name: m, tasks: [generate] }}]",
        vllm.address
    );
    let proxy = behind_all(GENERATES, &worker).await;
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &rpc("ModelStreamInfer")).await;
    for id in ["a", "b"] {
        let mut message = tensors::message("m", &[prompt_tensor("Hello")], false);
        message.id = id.to_owned();
        call.send(&message, id == "b").await;
    }
    let (answers, status) = call.all::<ModelStreamInferResponse>().await;
    assert_eq!(status.code, 0, "{status:?}");
    for id in ["a", "b"] {
        let own = answers.iter().filter_map(|it| it.infer_response.as_ref());
        let texts: Vec<u8> = own
            .filter(|it| it.id == id)
            .flat_map(|it| tensors::of_answer(it).0[0].raw[4..].to_vec())
            .collect();
        assert_eq!(String::from_utf8(texts).unwrap(), "so it", "{id}");
    }
    assert!(answers.len() >= 4, "in pieces: {answers:?}");
    assert_eq!(vllm.journal.requests(), 2);
}

#[tokio::test]
async fn texts_are_given_vectors_by_servers_of_vectors() {
    let vllm = fake::Worker::start(|received| {
        let body: Value = serde_json::from_slice(&received.body).expect("JSON");
        let texts = match &body["input"] {
            Value::String(text) => vec![text.clone()],
            all => serde_json::from_value(all.clone()).expect("texts"),
        };
        let data: Vec<Value> = (0..)
            .zip(&texts)
            .map(|(index, text): (usize, _)| {
                let numbers = [text.len() as f32, -0.5].map(f32::to_le_bytes).concat();
                json!({"index": index, "object": "embedding", "embedding": STANDARD.encode(numbers)})
            })
            .collect();
        let told = json!({
            "id": "embd-1", "object": "list", "created": 1, "model": "served", "data": data,
            "usage": {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0}
        });
        vec![fake::json(200, &told)]
    })
    .await;
    let worker = format!(
        "address: \"http://{}\", protocol: openai, \
         models: [{{ name: m, served-as: served, tasks: [embed] }}]",
        vllm.address
    );
    let options = "models: { m: { embed: { input: TEXTS, output: VECTORS, dimensions: 2 } } }";
    let proxy = behind_all(options, &worker).await;
    let texts = tensor("TEXTS", "BYTES", &[2], joined(&["é".as_bytes(), b"abc"]));
    let raw = [2_f32, -0.5, 3.0, -0.5].map(f32::to_le_bytes).concat();
    let wanted = [tensor("VECTORS", "FP32", &[2, 2], raw)];
    for binary in [false, true] {
        let request = asked(
            "/v2/models/m/infer",
            std::slice::from_ref(&texts),
            binary,
            false,
        );
        assert_eq!(outputs(ask(&proxy, &request).await).1, wanted);
    }
    let message = tensors::message("m", &[texts], false);
    let (answers, _) =
        grpc::ask::<ModelInferResponse>(proxy.http(), &rpc("ModelInfer"), &message).await;
    assert_eq!(tensors::of_answer(&answers[0]).0, wanted);
    assert_eq!(vllm.journal.requests(), 3);
}

#[tokio::test]
async fn a_worker_of_the_clients_form_is_passed_the_tensors() {
    let rest = triton::rest().await;
    let worker = format!(
        "address: \"http://{}\", protocol: kserve, models: [{{ name: m, served-as: served }}]",
        rest.address
    );
    let proxy = behind_all(GENERATES, &worker).await;
    // Of other names than those that the options say, which are for others.
    let one = tensor("IN", "FP32", &[1], vec![0; 4]);
    let request = asked(
        "/v2/models/m/infer",
        std::slice::from_ref(&one),
        true,
        false,
    );
    let (_, got) = outputs(ask(&proxy, &request).await);
    assert_eq!(got, computed(vec![one]));
    let head = rest.journal.head(0).await;
    assert!(
        head.line.contains("/v2/models/served/infer"),
        "{}",
        head.line
    );
}
