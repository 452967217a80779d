//! OpenVINO Model Server: its statuses, its list of models, its OpenAI paths.

mod openai;
mod texts;

use tollgate_tests::{
    client::sse,
    eventually,
    standin::{
        ovms::{self, KEY, SPACED},
        tensor, triton,
    },
};

use super::*;

#[tokio::test]
async fn tensors_are_the_same_over_http_and_over_grpc() {
    let (rest, grpc) = (ovms::rest(false).await, ovms::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = before("ovms", &station).await;
        same_in_every_form(&proxy, false).await;
        let name = metadata(&proxy, "m").await.expect("metadata").name;
        assert_eq!(name, "m");
        fails(&proxy, "broken", 500, 13, "Internal inference error").await;
        fails(&proxy, "ghost", 404, 5, ovms::UNKNOWN).await;
    }
}

#[tokio::test]
async fn a_wrong_method_is_406() {
    let rest = ovms::rest(false).await;
    let proxy = before("ovms", &over_rest(&rest, "")).await;
    let wrong = [
        Request::get("/v2/models/m/infer"),
        Request::post("/v2/models/m/ready", &json!({})),
        Request::post("/v2/health/live", &json!({})),
    ];
    for request in wrong {
        let response = ask(&proxy, &request).await.with_status(406);
        assert!(response.json()["error"].is_string(), "{request:?}");
    }
}

#[tokio::test]
async fn its_list_of_models_and_its_load_are_read() {
    let rest = ovms::rest(false).await;
    let proxy = probing("ovms", &over_rest(&rest, "")).await;
    eventually("the models are known", async || {
        (get(&proxy, "/v2/models/served/ready").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(get(&proxy, "/v2/models/loading/ready").await.status, 503);
    assert_eq!(get(&proxy, "/v2/models/nobody/ready").await.status, 404);
    let ready = get(&proxy, "/v2/health/ready").await.with_status(200);
    assert!(ready.body.is_empty());
}

#[tokio::test]
async fn a_name_is_written_as_a_path_can_have_it() {
    let rest = ovms::rest(false).await;
    let station = over_rest(&rest, "");
    let models = format!("models: [{{ name: m, served-as: \"{SPACED}\" }}], probe: off");
    let proxy = started("ovms", &station, &models, "m").await;
    let (json, got) = outputs(
        ask(
            &proxy,
            &asked("/v2/models/m/infer", &inputs(), false, false),
        )
        .await,
    );
    assert_eq!(got, computed(inputs()));
    assert_eq!(json["model_name"], "m");
    let line = rest.journal.head(0).await.line;
    assert!(line.contains("/a%20model%2Fwith%20all/infer"), "{line}");
}

#[tokio::test]
async fn halves_are_raw_or_refused() {
    let (rest, grpc) = (ovms::rest(false).await, ovms::grpc().await);
    let half = [tensor("IN", "FP16", &[2], vec![0, 60, 0, 192])];
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = before("ovms", &station).await;
        let (_, got) = outputs(ask(&proxy, &asked("/v2/models/m/infer", &half, true, false)).await);
        assert_eq!(got, computed(half.to_vec()));
        let message = tensor::message("m", &half, false);
        let (answers, status) =
            grpc::ask::<ModelInferResponse>(proxy.http(), &rpc("ModelInfer"), &message).await;
        assert_eq!(status.code, 0, "{status:?}");
        assert_eq!(tensor::of_answer(&answers[0]).0, computed(half.to_vec()));
    }
    // As JSON they are refused by whoever reads them: passed on, by the server.
    let proxy = before("ovms", &over_grpc(&grpc, "")).await;
    let tensor = json!({"name": "IN", "datatype": "FP16", "shape": [2], "data": [1, -2]});
    let request = Request::post("/v2/models/m/infer", &json!({"inputs": [tensor]}));
    let told = ask(&proxy, &request).await.with_status(400).json();
    assert!(told["error"].as_str().unwrap().contains("FP16"), "{told}");
}

#[tokio::test]
async fn a_parameter_that_it_could_not_read_is_refused_before_it() {
    let grpc = ovms::grpc().await;
    let proxy = before("ovms", &over_grpc(&grpc, "")).await;
    let mut request = json!({"parameters": {"weight": 0.5}, "inputs": [
        {"name": "IN", "datatype": "FP32", "shape": [1], "data": [1]}]});
    let ask_it = |body: &Value| Request::post("/v2/models/m/infer", body);
    let told = ask(&proxy, &ask_it(&request)).await.with_status(400).json();
    assert!(told["error"].as_str().unwrap().contains("weight"), "{told}");
    assert_eq!(grpc.journal.requests(), 0, "nothing reached it");
    request["parameters"] = json!({"priority": 2, "name": "x", "is": true});
    ask(&proxy, &ask_it(&request)).await.with_status(200);
}

#[tokio::test]
async fn its_openai_paths_are_passed_on_with_its_name_of_the_model() {
    let rest = ovms::rest(false).await;
    let proxy = before("ovms", &over_rest(&rest, "")).await;
    let chat = |stream: bool| {
        let messages = json!([{"role": "user", "content": "What is it?"}]);
        json!({"model": "m", "messages": messages, "stream": stream})
    };
    let post = |path: &str, body: &Value| Request::post(path, body);
    let whole = ask(&proxy, &post("/v3/chat/completions", &chat(false))).await;
    let whole = whole.with_status(200).json();
    let said = ovms::openai::TOKENS.concat();
    assert_eq!(whole["choices"][0]["message"]["content"], *said);
    let asked: Value = serde_json::from_slice(&rest.journal.body(0).await).unwrap();
    assert_eq!(asked["model"], "served");
    assert_eq!(asked["messages"], chat(false)["messages"]);

    let stream = ask(&proxy, &post("/v3/chat/completions", &chat(true))).await;
    let (chunks, done) = sse::json(&stream.with_status(200).text());
    assert!(done);
    let text: String = chunks
        .iter()
        .filter_map(|it| it["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, said);

    for (path, body, member) in [
        (
            "/v3/embeddings",
            json!({"model": "m", "input": "x"}),
            "data",
        ),
        (
            "/v3/rerank",
            json!({"model": "m", "query": "x", "documents": ["y"]}),
            "results",
        ),
        ("/v3/tokenize", json!({"model": "m", "text": "x"}), "tokens"),
    ] {
        let told = ask(&proxy, &post(path, &body)).await.with_status(200);
        assert!(told.json()[member].is_array(), "{path}");
    }
    // What it says itself is passed on as it is, its odd statuses too.
    let absent = json!({"model": "ghost", "messages": [], "stream": false});
    ask(&proxy, &post("/v3/responses", &absent))
        .await
        .with_status(404);
    ask(&proxy, &Request::post_bytes("/v3/tokenize", "{"))
        .await
        .with_status(400);
}

#[tokio::test]
async fn a_clients_token_is_no_key_of_the_servers() {
    let rest = ovms::rest(true).await;
    let proxy = before("ovms", &over_rest(&rest, "")).await;
    let request = Request::post("/v3/embeddings", &json!({"model": "m", "input": "x"}));
    // A client's own is not handed on, and the server's word for that is 500.
    let got = ask(&proxy, &request.token(KEY)).await;
    let told = got.with_status(500).json();
    assert!(
        told["error"].as_str().unwrap().contains("api-key"),
        "{told}"
    );
    assert_eq!(rest.journal.head(0).await.get("authorization"), None);
}

#[tokio::test]
async fn its_openai_paths_are_refused_where_no_worker_has_them() {
    let grpc = ovms::grpc().await;
    let proxy = before("ovms", &over_grpc(&grpc, "")).await;
    let request = Request::post("/v3/embeddings", &json!({"model": "m", "input": "x"}));
    let told = ask(&proxy, &request).await.with_status(501).json();
    assert!(told["error"].is_string());
    // And the paths are no others' than this server's.
    let rest = triton::rest().await;
    let proxy = before("triton", &over_rest(&rest, "")).await;
    ask(&proxy, &request).await.with_status(404);
}
