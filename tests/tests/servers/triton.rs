//! Triton: raw tensors, versions, streams that go on after a failure.

use tollgate_tests::{
    client::grpc::Call,
    client::http2,
    eventually,
    inference::ModelStreamInferResponse,
    standin::{tensor, triton},
};

use super::*;

#[tokio::test]
async fn tensors_are_the_same_over_http_and_over_grpc() {
    let (rest, grpc) = (triton::rest().await, triton::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = before("triton", &station).await;
        same_in_every_form(&proxy, false).await;
        let name = metadata(&proxy, "m").await.expect("metadata").name;
        assert_eq!(name, "m");
    }
}

#[tokio::test]
async fn what_json_has_no_word_for_is_asked_for_raw() {
    let rest = triton::rest().await;
    let proxy = before("triton", &over_rest(&rest, "")).await;
    let odd = [f32::NAN, f32::INFINITY];
    let raw: Vec<u8> = odd.iter().flat_map(|it| it.to_le_bytes()).collect();
    let message = tensor::message("m", &[tensor("IN", "FP32", &[2], raw.clone())], false);
    let (answers, status) =
        grpc::ask::<ModelInferResponse>(proxy.http(), &rpc("ModelInfer"), &message).await;
    assert_eq!(status.code, 0, "{status:?}");
    assert_eq!(answers[0].raw_output_contents, [raw]);
}

#[tokio::test]
async fn a_model_that_nobody_knows_is_400_and_one_that_is_not_loaded_keeps_its_class() {
    let (rest, grpc) = (triton::rest().await, triton::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = before("triton", &station).await;
        // Passed on it is the server's own word; translated it is the preset's.
        let response = get(&proxy, "/v2/models/nobody").await;
        assert!(response.with_status(400).json()["error"].is_string());
    }
}

#[tokio::test]
async fn the_index_is_the_servers() {
    let rest = triton::rest().await;
    let proxy = probing("triton", &over_rest(&rest, "")).await;
    eventually("the index is read", async || {
        let index = ask(&proxy, &Request::post("/v2/repository/index", &json!({}))).await;
        let index = index.json();
        let mut states: Vec<_> = index
            .as_array()?
            .iter()
            .map(|it| (it["name"].clone(), it["state"].clone()))
            .collect();
        states.sort_by_key(|it| it.0.to_string());
        let wanted = [
            (json!("broken"), json!("READY")),
            (json!("loading"), json!("UNAVAILABLE")),
            (json!("served"), json!("READY")),
        ];
        (states == wanted).then_some(())
    })
    .await;
    assert_eq!(get(&proxy, "/v2/models/loading/ready").await.status, 400);
    assert_eq!(get(&proxy, "/v2/models/served/ready").await.status, 200);
    assert!(!is_ready(&proxy, "loading").await);
}

#[tokio::test]
async fn a_stream_tells_a_failure_and_goes_on() {
    let grpc = triton::grpc().await;
    let proxy = before("triton", &over_grpc(&grpc, "")).await;
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &rpc("ModelStreamInfer")).await;
    for (id, model) in [("a", "m"), ("b", "broken"), ("c", "m")] {
        let mut message = tensor::message(model, &inputs(), false);
        message.id = id.to_owned();
        call.send(&message, id == "c").await;
    }
    let (answers, status) = call.all::<ModelStreamInferResponse>().await;
    assert_eq!(status.code, 0, "{status:?}");
    let mut told: Vec<_> = answers
        .into_iter()
        .map(|it| (it.infer_response.unwrap_or_default().id, it.error_message))
        .collect();
    told.sort();
    let ids: Vec<_> = told.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert!(told[1].1.contains("it broke"), "{told:?}");
    assert!(told[0].1.is_empty() && told[2].1.is_empty(), "{told:?}");
}
