//! The servers behind the documents' runtimes: scripted, and strict about what only the proxy
//! can have put right.

use serde_json::{Value, json};
use tollgate_tests::{
    fake::{
        grpc,
        http1::{self, Act, Received, event, stream_end, stream_head, write},
    },
    fmaas, scene,
};

/// The model's name at each of them.
const SERVED: &str = "served";

fn asked(received: &Received) -> (String, String, Value) {
    let mut words = received.head.line.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let body = serde_json::from_slice(&received.body).unwrap_or(Value::Null);
    (method, path, body)
}

fn refuse(status: u16, what: &str) -> Vec<Act> {
    let error = json!({"error": {"message": what, "type": "X", "param": null, "code": status}});
    vec![http1::json(status, &error)]
}

/// vLLM: a chat model that embeds, too.
pub(crate) fn vllm(received: &Received) -> Vec<Act> {
    let (method, path, body) = asked(received);
    if method != "POST" {
        return refuse(404, "Not Found");
    }
    if body["model"] != SERVED {
        return refuse(404, "The model does not exist.");
    }
    let usage = json!({"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6});
    let answer = match path.as_str() {
        "/v1/chat/completions" if body["stream"] == true => {
            let chunk = |choices: Value, usage: Value| {
                let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk",
                    "created": 1, "model": SERVED, "choices": choices, "usage": usage});
                event(&chunk.to_string())
            };
            let delta = |delta: Value, end: Value| json!([{"index": 0, "delta": delta, "finish_reason": end}]);
            return vec![
                stream_head(),
                chunk(
                    delta(json!({"role": "assistant", "content": ""}), Value::Null),
                    Value::Null,
                ),
                chunk(delta(json!({"content": "Hel"}), Value::Null), Value::Null),
                chunk(delta(json!({"content": "lo"}), json!("stop")), Value::Null),
                chunk(json!([]), usage),
                event("[DONE]"),
                stream_end(),
            ];
        }
        "/v1/chat/completions" => {
            json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1,
            "model": SERVED, "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hello"}}], "usage": usage})
        }
        "/v1/completions" => scene::completed(" a toll"),
        "/v1/embeddings" => json!({"id": "embd-1", "object": "list", "created": 1, "model": SERVED,
            "data": [{"index": 0, "object": "embedding", "embedding": [0.5, -1.0]}],
            "usage": {"prompt_tokens": 4, "total_tokens": 4}}),
        "/tokenize" => json!({"count": 2, "max_model_len": 64, "tokens": [5, 6]}),
        "/detokenize" => json!({"prompt": "hello"}),
        _ => return refuse(404, "Not Found"),
    };
    vec![http1::json(200, &answer)]
}

/// The caikit runtime with its REST port alone: a client's gRPC is translated.
pub(crate) fn caikit(received: &Received) -> Vec<Act> {
    let (_, path, body) = asked(received);
    let kind = received
        .head
        .headers
        .iter()
        .find(|header| header.0 == "content-type");
    let problem = |status: u16, why: &str| {
        let body = json!({"details": why, "code": status, "id": "0"});
        vec![http1::json(status, &body)]
    };
    if kind.is_none_or(|kind| kind.1 != "application/json") {
        return problem(415, "Unsupported media type");
    }
    if body["model_id"] != SERVED {
        return problem(404, "Model not found");
    }
    let vector = json!({"data": {"values": [0.5, -1.0]}});
    let scores = json!({"scores": [1.0, 0.5]});
    let ranked = json!({"query": null, "scores": [
        {"index": 1, "score": 0.75, "document": null, "text": null},
        {"index": 0, "score": 0.25, "document": null, "text": null}]});
    let with = |name: &str, value: Value| {
        let mut body = json!({"producer_id": {"name": "x", "version": "0.0.1"},
            "input_token_count": 6});
        body[name] = value;
        body
    };
    let many = |name: &str| body["inputs"][name].as_array().map_or(1, Vec::len);
    let answer = match path.trim_start_matches("/api/v1/task/") {
        "text-generation" => json!({"generated_text": "212 degrees", "generated_tokens": 2,
            "finish_reason": "EOS_TOKEN", "producer_id": null, "input_token_count": 4,
            "seed": null, "tokens": [], "input_tokens": []}),
        "server-streaming-text-generation" => {
            let message = |text: &str, reason: &str, so_far: u32| {
                let data = json!({"generated_text": text, "tokens": [], "input_tokens": [],
                    "details": {"finish_reason": reason, "generated_tokens": so_far, "seed": 0,
                        "input_token_count": if so_far == 0 { 4 } else { 0 }},
                    "producer_id": null});
                let event = format!("event: message\r\ndata: {data}\r\n\r\n");
                write(format!("{:x}\r\n{event}\r\n", event.len()))
            };
            return vec![
                stream_head(),
                message("", "NOT_FINISHED", 0),
                message("212", "NOT_FINISHED", 1),
                message(" degrees", "EOS_TOKEN", 2),
                stream_end(),
            ];
        }
        "embedding" => with("result", vector),
        "embedding-tasks" => {
            let count = body["inputs"].as_array().map_or(0, Vec::len);
            with("results", json!({"vectors": vec![vector; count]}))
        }
        "sentence-similarity" => with("result", scores),
        "sentence-similarity-tasks" => {
            with("results", vec![scores; many("source_sentences")].into())
        }
        "rerank" => with("result", ranked),
        "rerank-tasks" => with("results", vec![ranked; many("queries")].into()),
        _ => return problem(404, "Not Found"),
    };
    vec![http1::json(200, &answer)]
}

/// TGIS: gRPC and nothing else.
pub(crate) fn tgis(received: &grpc::Received) -> Vec<grpc::Act> {
    match received.head.line.as_str() {
        "POST /fmaas.GenerationService/Generate" => {
            let asked: fmaas::BatchedGenerationRequest = received.message();
            let texts: Vec<&str> = asked.requests.iter().map(|_| "77 kelvin").collect();
            grpc::answer(&scene::generated(&texts))
        }
        "POST /fmaas.GenerationService/GenerateStream" => {
            let piece = |text: &str, reason: fmaas::StopReason, so_far| fmaas::GenerationResponse {
                text: text.to_owned(),
                stop_reason: reason.into(),
                generated_token_count: so_far,
                ..Default::default()
            };
            vec![
                grpc::Act::Head,
                grpc::send(&scene::first()),
                grpc::send(&piece("77", fmaas::StopReason::NotFinished, 1)),
                grpc::send(&piece(" kelvin", fmaas::StopReason::EosToken, 2)),
                grpc::Act::Status(0, ""),
            ]
        }
        _ => vec![grpc::Act::Status(12, "unknown")],
    }
}

/// A server of the Open Inference Protocol with its REST port alone. It does not look at the
/// content type of a body, as Triton and OpenVINO Model Server do not.
pub(crate) fn v2(received: &Received) -> Vec<Act> {
    let (method, path, _) = asked(received);
    let path = path
        .strip_prefix("/v2/models/served")
        .unwrap_or("elsewhere");
    let tensor = |name: &str| json!({"name": name, "datatype": "FP32", "shape": [-1, 2]});
    let answer = match (method.as_str(), path) {
        ("GET", "" | "/versions/1") => json!({"name": SERVED, "versions": ["1"],
            "platform": "onnxruntime_onnx", "inputs": [tensor("x")], "outputs": [tensor("y")]}),
        ("POST", "/infer" | "/versions/1/infer") => json!({"model_name": SERVED,
            "model_version": "1", "outputs": [
                {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -1.0]}]}),
        ("GET", "/ready" | "/versions/1/ready") => {
            return vec![http1::answer(200, "text/plain", "")];
        }
        _ => return vec![http1::json(400, &json!({"error": "unknown"}))],
    };
    vec![http1::json(200, &answer)]
}
