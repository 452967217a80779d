//! MLServer: no raw tensors over HTTP, typed answers, streams that are not wrapped.

use tollgate_tests::{
    client::{grpc::Call, http2},
    eventually,
    inference::ModelStreamInferResponse,
    standin::{mlserver, tensor},
};

use super::*;

#[tokio::test]
async fn tensors_are_the_same_over_http_and_over_grpc() {
    let (rest, grpc) = (mlserver::rest().await, mlserver::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = before("mlserver", &station).await;
        same_in_every_form(&proxy, false).await;
        fails(&proxy, "broken", 500, 13, "it broke").await;
        fails(&proxy, "ghost", 404, 5, "not found").await;
    }
}

#[tokio::test]
async fn an_answer_is_typed_where_the_request_was() {
    let (rest, grpc) = (mlserver::rest().await, mlserver::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = before("mlserver", &station).await;
        for typed in [false, true] {
            let message = tensor::message("m", &inputs(), typed);
            let (answers, _) =
                grpc::ask::<ModelInferResponse>(proxy.http(), &rpc("ModelInfer"), &message).await;
            assert_eq!(tensor::of_answer(&answers[0]).1, typed);
        }
    }
}

#[tokio::test]
async fn it_is_sent_json_whatever_the_client_sent() {
    let rest = mlserver::rest().await;
    let proxy = before("mlserver", &over_rest(&rest, "")).await;
    let (_, got) = outputs(ask(&proxy, &asked("/v2/models/m/infer", &inputs(), true, false)).await);
    assert_eq!(got, computed(inputs()));
    let head = rest.journal.head(0).await;
    assert_eq!(head.get("content-type"), Some("application/json"));
    assert_eq!(head.get("inference-header-content-length"), None);
    // What has no form in JSON cannot be sent to it.
    let half = [tensor("IN", "FP16", &[2], vec![0, 60, 0, 192])];
    let told = ask(&proxy, &asked("/v2/models/m/infer", &half, true, false)).await;
    let told = told.with_status(400).json();
    assert!(told["error"].as_str().unwrap().contains("FP16"), "{told}");
    assert_eq!(rest.journal.requests(), 1);
}

#[tokio::test]
async fn its_index_is_asked_for_with_a_body() {
    let (rest, grpc) = (mlserver::rest().await, mlserver::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = probing("mlserver", &station).await;
        eventually("the models are known", async || {
            (get(&proxy, "/v2/models/served/ready").await.status == 200).then_some(())
        })
        .await;
        assert_eq!(get(&proxy, "/v2/models/nobody/ready").await.status, 404);
    }
}

#[tokio::test]
async fn answers_of_its_streams_are_bare_and_clients_get_them_wrapped() {
    let grpc = mlserver::grpc().await;
    let proxy = before("mlserver", &over_grpc(&grpc, "")).await;
    let mut connection = http2::Connection::open(proxy.http()).await;
    let mut call = Call::begin(&mut connection, &rpc("ModelStreamInfer")).await;
    call.send(&tensor::message("m", &inputs(), false), true)
        .await;
    let (answers, status) = call.all::<ModelStreamInferResponse>().await;
    assert_eq!((status.code, answers.len()), (0, 1), "{status:?}");
    let told = answers[0].infer_response.as_ref().expect("an answer");
    assert_eq!(tensor::of_answer(told).0, computed(inputs()));
}
