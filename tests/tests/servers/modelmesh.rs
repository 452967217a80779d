//! ModelMesh and the gateway before it: four paths, names by headers, base64, internal names.

use tollgate_tests::standin::modelmesh::{self, CONCRETE, INTERNAL_NAME};

use super::*;

/// What its gateway says to everything that it does not know.
fn unknown_path(response: Response) {
    let told = response.with_status(404).json();
    let members: Vec<_> = told.as_object().unwrap().keys().collect();
    assert_eq!(members, ["code", "details", "message"], "{told}");
    assert_eq!((&told["code"], &told["details"]), (&json!(5), &json!([])));
}

#[tokio::test]
async fn tensors_are_the_same_over_http_and_over_grpc() {
    let (rest, grpc) = (modelmesh::rest().await, modelmesh::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = before("modelmesh", &station).await;
        same_in_every_form(&proxy, true).await;
        let told = metadata(&proxy, "m").await.expect("metadata");
        assert_eq!(
            (&*told.name, &*told.inputs[0].shape),
            ("m", &[-1_i64, 2][..])
        );
        fails(&proxy, "broken", 500, 13, "it broke").await;
        fails(&proxy, "ghost", 404, 5, "vmodel not found").await;
    }
}

#[tokio::test]
async fn texts_are_base64_and_sizes_strings_where_the_gateway_has_them_so() {
    let grpc = modelmesh::grpc().await;
    let proxy = before("modelmesh", &over_grpc(&grpc, "")).await;
    let texts = |data: Value, parameters: Value| {
        json!({"inputs": [{"name": "IN", "datatype": "BYTES", "shape": [2], "data": data,
            "parameters": parameters}]})
    };
    for (data, parameters) in [
        (json!(["toll", "é"]), json!({})),
        (
            json!(["dG9sbA==", "w6k="]),
            json!({"content_type": "base64"}),
        ),
        (json!(["dG9sbA==", "w6k="]), json!({"content_type": "b64"})),
    ] {
        let body = texts(data, parameters.clone());
        let told = ask(&proxy, &Request::post("/v2/models/m/infer", &body)).await;
        let told = told.with_status(200).json();
        let output = &told["outputs"][0];
        assert_eq!(output["data"], json!(["dG9sbA==", "w6k="]), "{parameters}");
        assert_eq!(output["parameters"]["content_type"], "base64");
        assert_eq!(output["shape"], json!([2]), "numbers, unlike metadata's");
    }
    let told = get(&proxy, "/v2/models/m").await.with_status(200).json();
    assert_eq!(told["inputs"][0]["shape"], json!(["-1", "2"]));
}

#[tokio::test]
async fn four_paths_are_served_and_no_other() {
    let rest = modelmesh::rest().await;
    let proxy = before("modelmesh", &over_rest(&rest, "")).await;
    get(&proxy, "/v2/models/m").await.with_status(200);
    get(&proxy, "/v2/models/m/versions/1")
        .await
        .with_status(200);
    for path in ["/v2/models/m/infer", "/v2/models/m/versions/1/infer"] {
        let request = asked(path, &inputs(), false, true);
        ask(&proxy, &request).await.with_status(200);
    }
    for path in [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models",
        "/v2/models/m/ready",
        "/v2/models/m/versions/1/ready",
        "/v2/models/m/stats",
    ] {
        unknown_path(get(&proxy, path).await);
    }
    unknown_path(ask(&proxy, &Request::post("/v2/repository/index", &json!({}))).await);
}

#[tokio::test]
async fn calls_that_it_does_not_have_are_unimplemented() {
    let grpc = modelmesh::grpc().await;
    let proxy = before("modelmesh", &over_grpc(&grpc, "")).await;
    for method in [
        "ServerLive",
        "ServerMetadata",
        "RepositoryIndex",
        "ModelStreamInfer",
    ] {
        let message = tensor::message("m", &inputs(), false);
        let (answers, status) =
            grpc::ask::<ModelInferResponse>(proxy.http(), &rpc(method), &message).await;
        assert_eq!(
            (answers.len(), status.code),
            (0, 12),
            "{method}: {status:?}"
        );
    }
}

#[tokio::test]
async fn a_client_may_name_the_model_by_a_header() {
    let (rest, grpc) = (modelmesh::rest().await, modelmesh::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let proxy = before("modelmesh", &station).await;
        let nameless = tensor::message("", &inputs(), false);
        let ask_it = async |headers: &[(&str, &str)]| {
            let request = headers.iter().fold(rpc("ModelInfer"), |it, (name, value)| {
                it.header(name, value)
            });
            grpc::ask::<ModelInferResponse>(proxy.http(), &request, &nameless).await
        };
        for header in ["mm-vmodel-id", "mm-model-id"] {
            let (answers, status) = ask_it(&[(header, "m")]).await;
            assert_eq!(status.code, 0, "{header}: {status:?}");
            assert_eq!(tensor::of_answer(&answers[0]).0, computed(inputs()));
        }
        let (_, status) = ask_it(&[("mm-vmodel-id", "ghost")]).await;
        assert_eq!(status.code, 5, "another model is asked for: {status:?}");
        let (_, status) = ask_it(&[("mm-vmodel-id", "m"), ("mm-model-id", "m")]).await;
        assert_eq!(status.code, 3);
        assert!(status.message.contains("only one of"), "{status:?}");
    }
    // What the client wrote was ours to read; the worker is told by the message and the path.
    assert_eq!(
        rest.journal.head(0).await.get("grpc-metadata-mm-vmodel-id"),
        None
    );
    assert_eq!(grpc.journal.head(0).await.get("mm-vmodel-id"), None);
}

#[tokio::test]
async fn a_worker_is_told_an_inference_service_by_the_header_that_it_reads() {
    let (rest, grpc) = (modelmesh::rest().await, modelmesh::grpc().await);
    let option = "model-header: mm-vmodel-id";
    for station in [over_rest(&rest, option), over_grpc(&grpc, option)] {
        let proxy = before("modelmesh", &station).await;
        same_in_every_form(&proxy, true).await;
    }
    let over_http = rest.journal.head(0).await;
    assert_eq!(over_http.get("grpc-metadata-mm-vmodel-id"), Some("served"));
    assert_eq!(
        grpc.journal.head(0).await.get("mm-vmodel-id"),
        Some("served")
    );
}

#[tokio::test]
async fn a_concrete_model_is_named_by_its_header_alone() {
    let grpc = modelmesh::grpc().await;
    let station = over_grpc(&grpc, "model-header: mm-model-id");
    let models = format!("models: [{{ name: m, served-as: {CONCRETE} }}], probe: off");
    let proxy = started("modelmesh", &station, &models, "m").await;
    same_in_every_form(&proxy, true).await;
    assert_eq!(metadata(&proxy, "m").await.expect("metadata").name, "m");
}

#[tokio::test]
async fn it_is_ready_when_its_models_answer() {
    let (rest, grpc) = (modelmesh::rest().await, modelmesh::grpc().await);
    for station in [over_rest(&rest, ""), over_grpc(&grpc, "")] {
        let models = "models: [{ name: served }], probe: { interval: 1s, timeout: 5s }";
        let proxy = started("modelmesh", &station, models, "served").await;
        let (_, got) = outputs(
            ask(
                &proxy,
                &asked("/v2/models/served/infer", &inputs(), false, true),
            )
            .await,
        );
        assert_eq!(got, computed(inputs()));
    }
}

#[tokio::test]
async fn a_name_that_is_not_changed_is_answered_with_the_internal_one() {
    let rest = modelmesh::rest().await;
    let station = over_rest(&rest, "");
    let models = "models: [{ name: served }], probe: off";
    let proxy = started("modelmesh", &station, models, "served").await;
    let (json, _) = outputs(
        ask(
            &proxy,
            &asked("/v2/models/served/infer", &inputs(), false, true),
        )
        .await,
    );
    assert_eq!(json["model_name"], INTERNAL_NAME, "as it came");
}
