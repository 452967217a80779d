//! The lines of the documents, as one copies them: only the places for one's own names are
//! filled in.

/// A line, and what its output has to hold.
pub(crate) struct Example {
    /// The endpoint of the documents' list that it shows.
    pub(crate) endpoint: &'static str,
    /// What is typed.
    pub(crate) line: &'static str,
    /// Parts of what it prints; over HTTP the last line is the status.
    pub(crate) prints: &'static [&'static str],
}

const fn example(
    endpoint: &'static str,
    line: &'static str,
    prints: &'static [&'static str],
) -> Example {
    Example {
        endpoint,
        line,
        prints,
    }
}

/// Every endpoint that the documents name.
pub(crate) const CHECKLIST: [&str; 46] = [
    "caikit POST /api/v1/task/text-generation",
    "caikit POST /api/v1/task/server-streaming-text-generation",
    "caikit POST /api/v1/task/embedding",
    "caikit POST /api/v1/task/embedding-tasks",
    "caikit POST /api/v1/task/sentence-similarity",
    "caikit POST /api/v1/task/sentence-similarity-tasks",
    "caikit POST /api/v1/task/rerank",
    "caikit POST /api/v1/task/rerank-tasks",
    "caikit GET /info/models",
    "caikit GET /info/version",
    "caikit GET /info/runtime",
    "NlpService/EmbeddingTaskPredict",
    "NlpService/EmbeddingTasksPredict",
    "NlpService/SentenceSimilarityTaskPredict",
    "NlpService/SentenceSimilarityTasksPredict",
    "NlpService/RerankTaskPredict",
    "NlpService/RerankTasksPredict",
    "InfoService/GetModelsInfo",
    "InfoService/GetRuntimeInfo",
    "GenerationService/Generate",
    "GenerationService/GenerateStream",
    "ovms POST /v2/models/m/infer",
    "vllm GET /version",
    "vllm GET /docs",
    "vllm GET /v1/models",
    "vllm POST /v1/chat/completions",
    "vllm POST /v1/completions",
    "vllm POST /v1/embeddings",
    "vllm POST /tokenize",
    "vllm POST /detokenize",
    "triton POST /v2/models/m/infer",
    "triton POST /v2/models/m/versions/1/infer",
    "triton GET /v2/models/m",
    "triton GET /v2/models/m/versions/1",
    "triton GET /v2/health/ready",
    "triton GET /v2/health/live",
    "triton GET /v2/models/m/ready",
    "triton GET /v2/models/m/versions/1/ready",
    "triton GET /v2",
    "modelmesh POST /v2/models/m/infer",
    "GRPCInferenceService/ModelInfer",
    "GRPCInferenceService/ModelReady",
    "GRPCInferenceService/ModelMetadata",
    "GRPCInferenceService/ServerReady",
    "GRPCInferenceService/ServerLive",
    "GRPCInferenceService/ServerMetadata",
];

/// `curl`, over HTTP.
pub(crate) const CURL: [Example; 44] = [
    example(
        "caikit POST /api/v1/task/text-generation",
        r#"curl --json '{"model_id": "m", "inputs": "At what temperature does water boil?"}' -k https://caikit.example.com/api/v1/task/text-generation -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""generated_text":"212 degrees""#, "\n200"],
    ),
    // `--json` asks for JSON; the answer is a stream of events all the same.
    example(
        "caikit POST /api/v1/task/server-streaming-text-generation",
        r#"curl --json '{"model_id": "m", "inputs": "At what temperature does water boil?"}' -k https://caikit.example.com/api/v1/task/server-streaming-text-generation -H "Authorization: Bearer ${TOKEN}""#,
        &["event: message", r#""generated_text":" degrees""#, "\n200"],
    ),
    example(
        "caikit POST /api/v1/task/embedding",
        r#"curl -ks -H 'Content-Type: application/json' -d '{"inputs": "first sentence", "model_id": "m"}' -H "Authorization: Bearer ${TOKEN}" https://caikit.example.com/api/v1/task/embedding"#,
        &[r#""values":[0.5,-1"#, "\n200"],
    ),
    example(
        "caikit POST /api/v1/task/embedding-tasks",
        r#"curl -ks -H 'Content-Type: application/json' -d '{"inputs": ["first sentence", "second sentence"], "model_id": "m"}' -H "Authorization: Bearer ${TOKEN}" https://caikit.example.com/api/v1/task/embedding-tasks"#,
        &[r#""vectors":["#, "\n200"],
    ),
    // The header belongs to gRPC; here the body names the model.
    example(
        "caikit POST /api/v1/task/embedding",
        r#"curl -ks -H 'Content-Type: application/json' -d '{"inputs": "a", "model_id": "m", "parameters": {"truncate_input_tokens": 64}}' -H "Authorization: Bearer ${TOKEN}" -H 'mm-model-id: m' https://caikit.example.com/api/v1/task/embedding"#,
        &["\n200"],
    ),
    example(
        "caikit POST /api/v1/task/sentence-similarity",
        r#"curl -ks -H 'Content-Type: application/json' -d '{"inputs": {"source_sentence": "first", "sentences": ["second", "third"]}, "model_id": "m"}' -H "Authorization: Bearer ${TOKEN}" https://caikit.example.com/api/v1/task/sentence-similarity"#,
        &[r#""scores":[1"#, "\n200"],
    ),
    example(
        "caikit POST /api/v1/task/sentence-similarity-tasks",
        r#"curl -ks -H 'Content-Type: application/json' -d '{"inputs": {"source_sentences": ["first", "fourth"], "sentences": ["second", "third"]}, "model_id": "m"}' -H "Authorization: Bearer ${TOKEN}" https://caikit.example.com/api/v1/task/sentence-similarity-tasks"#,
        &[r#""results":["#, "\n200"],
    ),
    example(
        "caikit POST /api/v1/task/rerank",
        r#"curl -ks -H 'Content-Type: application/json' -d '{"inputs": {"documents": [{"text": "first sentence"}, {"text": "another"}], "query": "first sentence"}, "model_id": "m"}' -H "Authorization: Bearer ${TOKEN}" https://caikit.example.com/api/v1/task/rerank"#,
        &[r#""index":1"#, "\n200"],
    ),
    example(
        "caikit POST /api/v1/task/rerank-tasks",
        r#"curl -ks -H 'Content-Type: application/json' -d '{"inputs": {"documents": [{"text": "first sentence"}, {"text": "another"}], "queries": ["first sentence"]}, "model_id": "m"}' -H "Authorization: Bearer ${TOKEN}" https://caikit.example.com/api/v1/task/rerank-tasks"#,
        &[r#""results":["#, "\n200"],
    ),
    example(
        "caikit GET /info/models",
        r#"curl -ks -H 'accept: application/json' https://caikit.example.com/info/models -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""name":"m""#, r#""loaded":true"#, "\n200"],
    ),
    example(
        "caikit GET /info/version",
        r#"curl -ks https://caikit.example.com/info/version -H "Authorization: Bearer ${TOKEN}""#,
        &["runtime_version", "\n200"],
    ),
    // The name that it had before its first release, and that the documents kept.
    example(
        "caikit GET /info/runtime",
        r#"curl -ks https://caikit.example.com/info/runtime -H "Authorization: Bearer ${TOKEN}""#,
        &["runtime_version", "\n200"],
    ),
    // A member that no schema has, and the content type that curl gives by itself.
    example(
        "ovms POST /v2/models/m/infer",
        r#"curl -ks https://ovms.example.com/v2/models/m/infer -d '{ "model_name": "m", "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2] }]}' -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""data":[0.5,-1"#, "\n200"],
    ),
    example(
        "vllm GET /version",
        r#"curl -ks https://vllm.example.com/version -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""version":"#, "\n200"],
    ),
    example(
        "vllm GET /docs",
        r#"curl -ks https://vllm.example.com/docs -H "Authorization: Bearer ${TOKEN}""#,
        &["<!doctype html>", "/v1/chat/completions", "\n200"],
    ),
    example(
        "vllm GET /v1/models",
        r#"curl -ks https://vllm.example.com/v1/models -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""object":"list""#, r#""id":"m""#, "\n200"],
    ),
    example(
        "vllm GET /v1/models",
        r#"curl -ks https://vllm.example.com/v1/models/m -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""id":"m""#, "\n200"],
    ),
    // No model: there is only one.
    example(
        "vllm POST /v1/chat/completions",
        r#"curl -ks -X 'POST' 'https://vllm.example.com/v1/chat/completions' -H 'accept: application/json' -H 'Content-Type: application/json' -d '{"messages": [{"content": "You are helpful.", "role": "system"}, {"content": "Say hello.", "role": "user"}]}' -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""content":"Hello""#, "\n200"],
    ),
    example(
        "vllm POST /v1/chat/completions",
        r#"curl -ks --json '{"model": "m", "stream": true, "messages": [{"role": "user", "content": "Say hello."}]}' 'https://vllm.example.com/v1/chat/completions' -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""content":"Hel""#, "data: [DONE]", "\n200"],
    ),
    example(
        "vllm POST /v1/completions",
        r#"curl -ks https://vllm.example.com/v1/completions -H 'Content-Type: application/json; charset=utf-8' -d '{"model": "m", "prompt": "What is", "max_tokens": 7, "temperature": 0}' -H "Authorization: Bearer ${TOKEN}""#,
        &[" a toll", r#""model":"m""#, "\n200"],
    ),
    example(
        "vllm POST /v1/embeddings",
        r#"curl -ks https://vllm.example.com/v1/embeddings -H 'Content-Type: application/json' -d '{"model": "m", "input": "hello"}' -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""embedding":[0.5,-1"#, "\n200"],
    ),
    example(
        "vllm POST /tokenize",
        r#"curl -ks https://vllm.example.com/tokenize -H 'Content-Type: application/json' -d '{"model": "m", "prompt": "hello"}' -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""tokens":[5,6]"#, "\n200"],
    ),
    example(
        "vllm POST /detokenize",
        r#"curl -ks https://vllm.example.com/detokenize -H 'Content-Type: application/json' -d '{"tokens": [5, 6]}' -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""prompt":"hello""#, "\n200"],
    ),
    // A body that lost its last brace on the way into a document is an error, in words.
    example(
        "vllm POST /v1/completions",
        r#"curl -ks https://vllm.example.com/v1/completions -H 'Content-Type: application/json' -d '{"model": "m", "prompt": "What is"' -H "Authorization: Bearer ${TOKEN}""#,
        &["JSON decode error", "\n400"],
    ),
    example(
        "vllm GET /v1/models",
        r#"curl -ks https://vllm.example.com/v1/models"#,
        &[r#"{"error":"Unauthorized"}"#, "\n401"],
    ),
    // Nobody else's metrics, and no operator's doors.
    example(
        "vllm GET /version",
        r#"curl -ks https://vllm.example.com/metrics -H "Authorization: Bearer ${TOKEN}""#,
        &["Not Found", "\n404"],
    ),
    example(
        "vllm GET /version",
        r#"curl -ks -X POST https://vllm.example.com/sleep -H "Authorization: Bearer ${TOKEN}""#,
        &["Not Found", "\n404"],
    ),
    example(
        "vllm GET /version",
        r#"curl -ks https://vllm.example.com/health -H "Authorization: Bearer ${TOKEN}""#,
        &["\n200"],
    ),
    example(
        "vllm GET /version",
        r#"curl -ks -X POST https://vllm.example.com/ping -H "Authorization: Bearer ${TOKEN}""#,
        &["\n200"],
    ),
    example(
        "vllm GET /version",
        r#"curl -ks https://vllm.example.com/load -H "Authorization: Bearer ${TOKEN}""#,
        &[r#"{"server_load":0}"#, "\n200"],
    ),
    example(
        "triton POST /v2/models/m/infer",
        r#"curl -ks https://triton.example.com/v2/models/m/infer -d '{ "model_name": "m", "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [[1, 2]] }]}' -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""data":[0.5,-1"#, "\n200"],
    ),
    example(
        "triton POST /v2/models/m/versions/1/infer",
        r#"curl -ks https://triton.example.com/v2/models/m/versions/1/infer -H 'Content-Type: application/json' -d '{ "id": "a", "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2] }]}' -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""model_name":"m""#, "\n200"],
    ),
    example(
        "triton GET /v2/models/m",
        r#"curl -ks https://triton.example.com/v2/models/m -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""name":"m""#, r#""platform":"onnxruntime_onnx""#, "\n200"],
    ),
    example(
        "triton GET /v2/models/m/versions/1",
        r#"curl -ks https://triton.example.com/v2/models/m/versions/1 -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""shape":[-1,2]"#, "\n200"],
    ),
    example(
        "triton GET /v2/health/ready",
        r#"curl -ks https://triton.example.com/v2/health/ready -H "Authorization: Bearer ${TOKEN}""#,
        &["\n200"],
    ),
    example(
        "triton GET /v2/health/live",
        r#"curl -ks https://triton.example.com/v2/health/live -H "Authorization: Bearer ${TOKEN}""#,
        &["\n200"],
    ),
    example(
        "triton GET /v2/models/m/ready",
        r#"curl -ks https://triton.example.com/v2/models/m/ready -H "Authorization: Bearer ${TOKEN}""#,
        &["\n200"],
    ),
    example(
        "triton GET /v2/models/m/versions/1/ready",
        r#"curl -ks https://triton.example.com/v2/models/m/versions/1/ready -H "Authorization: Bearer ${TOKEN}""#,
        &["\n200"],
    ),
    example(
        "triton GET /v2",
        r#"curl -ks https://triton.example.com/v2 -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""name":"#, r#""extensions":["#, "\n200"],
    ),
    example(
        "triton GET /v2/models/m/ready",
        r#"curl -ks https://triton.example.com/v2/models/nobody/ready -H "Authorization: Bearer ${TOKEN}""#,
        &[r#"{"error":"#],
    ),
    example(
        "triton GET /v2",
        r#"curl -ks https://triton.example.com/v2/models -H "Authorization: Bearer ${TOKEN}""#,
        &[r#"{"models":["m"]}"#, "\n200"],
    ),
    example(
        "triton GET /v2",
        r#"curl -ks -X POST https://triton.example.com/v2/repository/index -H "Authorization: Bearer ${TOKEN}""#,
        &[r#""name":"m""#, r#""state":"READY""#, "\n200"],
    ),
    example(
        "modelmesh POST /v2/models/m/infer",
        r#"curl -ks https://modelmesh.example.com/v2/models/m/infer -d '{ "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2] }]}' -H "Authorization: Bearer ${TOKEN}""#,
        &["-1", "\n200"],
    ),
    // Which ModelMesh does not have.
    example(
        "modelmesh POST /v2/models/m/infer",
        r#"curl -ks https://modelmesh.example.com/v2/health/live -H "Authorization: Bearer ${TOKEN}""#,
        &["Not Found", "\n404"],
    ),
];

/// `grpcurl`, over gRPC. Where a line names no file, the proxy has to describe itself.
pub(crate) const GRPCURL: [Example; 22] = [
    example(
        "NlpService/EmbeddingTaskPredict",
        r#"grpcurl -insecure -d '{"text": "first sentence"}' -H "mm-model-id: m" -H "Authorization: Bearer ${TOKEN}" caikit.example.com:443 caikit.runtime.Nlp.NlpService/EmbeddingTaskPredict"#,
        &["dataNpfloat32sequence", "0.5", "-1"],
    ),
    example(
        "NlpService/EmbeddingTasksPredict",
        r#"grpcurl -insecure -d '{"texts": ["first", "second"]}' -H "mm-model-id: m" -H "Authorization: Bearer ${TOKEN}" caikit.example.com:443 caikit.runtime.Nlp.NlpService/EmbeddingTasksPredict"#,
        &["vectors"],
    ),
    example(
        "NlpService/SentenceSimilarityTaskPredict",
        r#"grpcurl -insecure -d '{"source_sentence": "first", "sentences": ["second", "third"]}' -H "mm-model-id: m" -H "Authorization: Bearer ${TOKEN}" caikit.example.com:443 caikit.runtime.Nlp.NlpService/SentenceSimilarityTaskPredict"#,
        &["scores", "0.5"],
    ),
    example(
        "NlpService/SentenceSimilarityTasksPredict",
        r#"grpcurl -insecure -d '{"source_sentences": ["first", "fourth"], "sentences": ["second", "third"]}' -H "mm-model-id: m" -H "Authorization: Bearer ${TOKEN}" caikit.example.com:443 caikit.runtime.Nlp.NlpService/SentenceSimilarityTasksPredict"#,
        &["results", "scores"],
    ),
    example(
        "NlpService/RerankTaskPredict",
        r#"grpcurl -insecure -d '{"documents": [{"text": "first"}, {"text": "another"}], "query": "first"}' -H "mm-model-id: m" -H "Authorization: Bearer ${TOKEN}" caikit.example.com:443 caikit.runtime.Nlp.NlpService/RerankTaskPredict"#,
        &["another", "0.75"],
    ),
    example(
        "NlpService/RerankTasksPredict",
        r#"grpcurl -insecure -d '{"documents": [{"text": "first"}, {"text": "another"}], "queries": ["first"]}' -H "mm-model-id: m" -H "Authorization: Bearer ${TOKEN}" caikit.example.com:443 caikit.runtime.Nlp.NlpService/RerankTasksPredict"#,
        &["another", "0.75"],
    ),
    example(
        "InfoService/GetModelsInfo",
        r#"grpcurl -insecure -H "Authorization: Bearer ${TOKEN}" caikit.example.com:443 caikit.runtime.info.InfoService/GetModelsInfo"#,
        &[r#""name": "m""#, r#""loaded": true"#],
    ),
    example(
        "InfoService/GetRuntimeInfo",
        r#"grpcurl -insecure -H "Authorization: Bearer ${TOKEN}" caikit.example.com:443 caikit.runtime.info.InfoService/GetRuntimeInfo"#,
        &["{"],
    ),
    // Neither a model nor parameters.
    example(
        "GenerationService/Generate",
        r#"grpcurl -proto proto/generation.proto -d '{"requests": [{"text":"At what temperature does Nitrogen boil?"}]}' -H 'mm-model-id: m' -H "Authorization: Bearer ${TOKEN}" -insecure tgis.example.com:443 fmaas.GenerationService/Generate"#,
        &["77 kelvin"],
    ),
    example(
        "GenerationService/GenerateStream",
        r#"grpcurl -proto proto/generation.proto -d '{"request": {"text":"At what temperature does Nitrogen boil?"}}' -H 'mm-model-id: m' -H "Authorization: Bearer ${TOKEN}" -insecure tgis.example.com:443 fmaas.GenerationService/GenerateStream"#,
        &[r#""text": " kelvin""#, "EOS_TOKEN"],
    ),
    example(
        "GenerationService/Generate",
        r#"grpcurl -d '{"requests": [{"text":"a"}, {"text":"b"}]}' -H "Authorization: Bearer ${TOKEN}" -insecure tgis.example.com:443 fmaas.GenerationService/Generate"#,
        &["77 kelvin"],
    ),
    example(
        "GenerationService/Generate",
        r#"grpcurl -d '{}' -H "Authorization: Bearer ${TOKEN}" -insecure tgis.example.com:443 list"#,
        &["fmaas.GenerationService"],
    ),
    example(
        "GenerationService/Generate",
        r#"grpcurl -d '{"service": "fmaas.GenerationService"}' -H "Authorization: Bearer ${TOKEN}" -insecure tgis.example.com:443 grpc.health.v1.Health/Check"#,
        &["SERVING"],
    ),
    example(
        "GRPCInferenceService/ModelInfer",
        r#"grpcurl -insecure -import-path proto -proto inference.proto -H "Authorization: Bearer ${TOKEN}" -d '{ "model_name": "m", "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP32", "contents": { "fp32_contents": [1, 2] } }]}' triton.example.com:443 inference.GRPCInferenceService/ModelInfer"#,
        &[r#""modelName": "m""#, "rawOutputContents"],
    ),
    example(
        "GRPCInferenceService/ModelReady",
        r#"grpcurl -insecure -H "Authorization: Bearer ${TOKEN}" -d '{"name": "m"}' triton.example.com:443 inference.GRPCInferenceService/ModelReady"#,
        &[r#""ready": true"#],
    ),
    example(
        "GRPCInferenceService/ModelMetadata",
        r#"grpcurl -insecure -H "Authorization: Bearer ${TOKEN}" -d '{"name": "m"}' triton.example.com:443 inference.GRPCInferenceService/ModelMetadata"#,
        &["onnxruntime_onnx", "FP32"],
    ),
    example(
        "GRPCInferenceService/ServerReady",
        r#"grpcurl -insecure -H "Authorization: Bearer ${TOKEN}" triton.example.com:443 inference.GRPCInferenceService/ServerReady"#,
        &[r#""ready": true"#],
    ),
    example(
        "GRPCInferenceService/ServerLive",
        r#"grpcurl -insecure -H "Authorization: Bearer ${TOKEN}" triton.example.com:443 inference.GRPCInferenceService/ServerLive"#,
        &[r#""live": true"#],
    ),
    example(
        "GRPCInferenceService/ServerMetadata",
        r#"grpcurl -insecure -H "Authorization: Bearer ${TOKEN}" triton.example.com:443 inference.GRPCInferenceService/ServerMetadata"#,
        &[r#""name":"#, "extensions"],
    ),
    example(
        "GRPCInferenceService/ModelReady",
        r#"grpcurl -insecure -H "Authorization: Bearer ${TOKEN}" triton.example.com:443 inference.GRPCInferenceService/RepositoryIndex"#,
        &[r#""name": "m""#, "READY"],
    ),
    example(
        "InfoService/GetModelsInfo",
        r#"grpcurl -insecure caikit.example.com:443 caikit.runtime.info.InfoService/GetModelsInfo 2>&1 || true"#,
        &["Unauthenticated"],
    ),
    example(
        "NlpService/EmbeddingTaskPredict",
        r#"grpcurl -insecure -d '{"text": "a"}' -H "mm-model-id: nobody" -H "Authorization: Bearer ${TOKEN}" caikit.example.com:443 caikit.runtime.Nlp.NlpService/EmbeddingTaskPredict 2>&1 || true"#,
        &["NotFound"],
    ),
];
