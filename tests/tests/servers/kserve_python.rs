//! KServe's Python server: bodies of health, no versions, a list of its own.

use tollgate_tests::{eventually, standin::kserve_python};

use super::*;

#[tokio::test]
async fn tensors_are_the_same_over_http_and_over_grpc() {
    let (rest, grpc) = (kserve_python::rest().await, kserve_python::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = before("kserve-python", &station).await;
        same_in_every_form(&proxy, false).await;
        let versions = metadata(&proxy, "m").await.expect("metadata").versions;
        assert!(versions.len() <= 1, "{versions:?}");
        fails(&proxy, "broken", 500, 13, "it broke").await;
        fails(&proxy, "ghost", 404, 5, "does not exist").await;
        fails(&proxy, "loading", 503, 14, "is not ready").await;
    }
}

#[tokio::test]
async fn versions_are_501_before_it_is_asked() {
    let (rest, grpc) = (kserve_python::rest().await, kserve_python::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = before("kserve-python", &station).await;
        let path = "/v2/models/m/versions/2/infer";
        let told = ask(&proxy, &asked(path, &inputs(), false, false)).await;
        let told = told.with_status(501).json();
        assert!(
            told["error"].as_str().unwrap().contains("version"),
            "{told}"
        );
        let mut message = tensor::message("m", &inputs(), false);
        message.model_version = "2".to_owned();
        let (_, status) =
            grpc::ask::<ModelInferResponse>(proxy.http(), &rpc("ModelInfer"), &message).await;
        assert_eq!(status.code, 12, "{status:?}");
    }
    assert_eq!(rest.journal.requests() + grpc.journal.requests(), 0);
}

#[tokio::test]
async fn health_and_readiness_have_bodies_and_models_are_listed() {
    let rest = kserve_python::rest().await;
    let proxy = probing("kserve-python", &over_rest(&rest, "")).await;
    let listed = eventually("the models are known", async || {
        let listed = get(&proxy, "/v2/models").await.with_status(200).json();
        (listed["models"].as_array()?.len() == 3).then_some(listed)
    })
    .await;
    let mut names: Vec<_> = listed["models"].as_array().unwrap().iter().collect();
    names.sort_by_key(|it| it.to_string());
    assert_eq!(names, ["broken", "loading", "served"]);
    for (path, body) in [
        ("/v2/health/live", json!({"live": true})),
        ("/v2/health/ready", json!({"ready": true})),
        (
            "/v2/models/served/ready",
            json!({"name": "served", "ready": true}),
        ),
    ] {
        let told = get(&proxy, path).await.with_status(200).json();
        assert_eq!(told, body, "{path}");
    }
    get(&proxy, "/v2/models/nobody/ready")
        .await
        .with_status(404);
}

/// Its answer reaches the client's side in events that hold the numbers: typed contents are read on
/// the worker's side. Writing them out takes longer than a small step may.
#[tokio::test]
async fn a_large_typed_answer_has_the_time_of_a_large_step() {
    let grpc = kserve_python::grpc().await;
    let Station {
        scheme,
        address,
        options,
    } = over_grpc(&grpc, "");
    let yaml = format!(
        "
plugins:
  kserve:
    source: \"bundled:kserve\"
    options: {{ server: kserve-python }}
    limits: {{ cpu-large: 60s, wall: 120s }}
workers:
  - {{ name: w0, address: \"{scheme}://{address}\", protocol: kserve, options: {{ {options} }}, models: [{{ name: typed }}], probe: off }}
routes:
  - {{ name: all, frontends: [kserve], workers: [w0], auth: open }}
"
    );
    let proxy = Proxy::start(&yaml).await;
    let raw: Vec<u8> = (0..900_000_u32)
        .flat_map(|it| (it as f32).to_le_bytes())
        .collect();
    let sent = vec![tensor("IN_F", "FP32", &[900_000], raw)];
    let told = ask(
        &proxy,
        &asked("/v2/models/typed/infer", &sent, false, false),
    )
    .await;
    let (_, got) = outputs(told);
    assert_eq!(got[0].raw, sent[0].raw);
}
