//! Services of models that an operator of the cluster has put up: where they are, what they serve, and
//! what their runtimes speak.

use tollgate_tests::standin::cluster::{LLMS, SERVICES};

use super::*;

const RUNTIMES: &str =
    ", runtimes: { vllm-runtime: { protocol: openai }, v2: { protocol: kserve } }";

fn service(worker: &h::Worker, runtime: &str, version: &str, ready: &str) -> Value {
    json!({
        "spec": {"predictor": {"model": {
            "modelFormat": {"name": "any"}, "runtime": runtime, "protocolVersion": version,
        }}},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "url": "https://public.example.com",
            "address": {"url": format!("http://{}", worker.address)},
        },
    })
}

fn with_kserve(yaml: &str) -> String {
    yaml.replacen(
        "plugins:\n",
        "plugins:\n  kserve: { source: \"bundled:kserve\" }\n",
        1,
    )
    .replace(
        "frontends: [openai, tgis]",
        "frontends: [openai, tgis, kserve]",
    )
    .replace("    default-model: m\n", "")
}

async fn models(proxy: &Proxy) -> Vec<String> {
    let listed = http1::ask(proxy.http(), &Request::get("/v1/models"))
        .await
        .json();
    let listed = listed["data"].as_array().expect("a list").iter();
    let mut names: Vec<String> = listed
        .filter_map(|model| model["id"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

async fn complete(proxy: &Proxy, model: &str) -> Response {
    let body = json!({"model": model, "prompt": "Hello", "max_tokens": 8});
    http1::ask(proxy.http(), &Request::post("/v1/completions", &body)).await
}

#[tokio::test]
async fn a_service_is_a_model_that_its_runtime_serves() {
    let cluster = Cluster::start().await;
    let granite = h::Worker::start(|received| {
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        vec![h::json(
            200,
            &scene::completed(asked["model"].as_str().unwrap_or("none")),
        )]
    })
    .await;
    let iris = h::Worker::start(|received| {
        vec![h::json(
            200,
            &json!({
                "model_name": "iris", "id": received.number.to_string(),
                "outputs": [{"name": "OUT", "datatype": "FP32", "shape": [1], "data": [0.5]}],
            }),
        )]
    })
    .await;
    cluster.put(
        SERVICES,
        "granite",
        service(&granite, "vllm-runtime", "", "True"),
    );
    cluster.put(
        SERVICES,
        "iris",
        service(&iris, "some-mlserver", "v2", "True"),
    );
    cluster.put(SERVICES, "odd", service(&iris, "tensorflow", "v1", "True"));
    cluster.put(
        SERVICES,
        "late",
        service(&granite, "vllm-runtime", "", "False"),
    );
    let extra = format!("cluster: inference-services{RUNTIMES}");
    let proxy = Proxy::start(&with_kserve(&section(&cluster, &extra, "", ""))).await;
    assert_eq!(models(&proxy).await, ["granite", "iris"]);
    assert_eq!(who(complete(&proxy, "granite").await), "granite");
    let infer =
        json!({"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1], "data": [1.0]}]});
    let inferred = http1::ask(
        proxy.http(),
        &Request::post("/v2/models/iris/infer", &infer),
    )
    .await;
    assert_eq!(
        inferred.with_status(200).json()["outputs"][0]["data"][0],
        0.5
    );
    let head = iris.journal.head(0).await;
    assert!(head.line.contains("/v2/models/iris/infer"), "{}", head.line);
    // What nothing here speaks to is left out, and said.
    proxy
        .logged(|line| line.contains("odd: none of its runtimes (tensorflow, v1)"))
        .await;
    let status = proxy.status().await;
    assert_eq!(status["workers"].as_array().unwrap().len(), 2);
    // One that becomes ready joins, one that does not any more leaves.
    cluster.put(
        SERVICES,
        "late",
        service(&granite, "vllm-runtime", "", "True"),
    );
    cluster.put(
        SERVICES,
        "iris",
        service(&iris, "some-mlserver", "v2", "Unknown"),
    );
    becomes(&proxy, &["w0@granite", "w0@late"]).await;
    assert_eq!(models(&proxy).await, ["granite", "late"]);
    assert_eq!(who(complete(&proxy, "late").await), "late");
    complete(&proxy, "iris").await.with_status(404);
}

#[tokio::test]
async fn a_language_model_has_its_adapters_and_stands_below_a_path() {
    let cluster = Cluster::start().await;
    let gateway = h::Worker::start(|received| {
        let asked: Value = serde_json::from_slice(&received.body).expect("JSON");
        vec![h::json(
            200,
            &scene::completed(asked["model"].as_str().unwrap_or("none")),
        )]
    })
    .await;
    cluster.put(
        LLMS,
        "llama",
        json!({
            "spec": {"model": {"uri": "hf://meta/llama", "name": "meta/llama",
                               "lora": {"adapters": [{"name": "sql", "uri": "hf://x/sql"}]}}},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"url": format!("http://{}/models/llama", gateway.address)}],
            },
        }),
    );
    let yaml = section(
        &cluster,
        "cluster: llm-inference-services",
        ", protocol: openai",
        "",
    );
    let proxy = Proxy::start(&yaml.replace("    default-model: m\n", "")).await;
    assert_eq!(models(&proxy).await, ["meta/llama", "sql"]);
    for model in ["meta/llama", "sql"] {
        assert_eq!(who(complete(&proxy, model).await), model);
    }
    let head = gateway.journal.head(0).await;
    assert!(
        head.line.starts_with("POST /models/llama/v1/completions "),
        "{}",
        head.line
    );
    // Another address is another worker.
    let moved = named("moved").await;
    cluster.put(
        LLMS,
        "llama",
        json!({
            "spec": {"model": {"uri": "hf://meta/llama", "name": "meta/llama"}},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "url": format!("http://{}", moved.address),
            },
        }),
    );
    eventually("it has moved", async || {
        let got = complete(&proxy, "meta/llama").await;
        (got.status == 200 && who(got) == "moved").then_some(())
    })
    .await;
    assert_eq!(models(&proxy).await, ["meta/llama"]);
}
