//! KServe's first version, `:predict`: its clients before workers of the second version over HTTP
//! and over gRPC and before one of their own, and clients of the second before a worker of the first.

use tollgate_tests::standin::{kserve_python, triton};

use super::*;

/// The inputs of the models that clients ask. The worker's model makes `OUT` of `IN`.
const V1: &str = "readiness: true, inputs: [{ name: IN, datatype: INT64 }], models: { pair: { inputs: [\
                  { name: IN_T, datatype: BYTES }, { name: IN_F, datatype: FP32 }] }, \
                  texts: { inputs: [{ name: IN, datatype: BYTES }] }, \
                  halves: { inputs: [{ name: IN, datatype: FP16 }] }, \
                  doubles: { inputs: [{ name: IN, datatype: FP64 }] } }";

/// The plugin with the first version, in front of a worker.
async fn predicting(station: &Station) -> Proxy {
    let Station {
        scheme,
        address,
        options,
    } = station;
    let yaml = format!(
        "
plugins:
  kserve: {{ source: \"bundled:kserve\", options: {{ v1: {{ {V1} }} }} }}
workers:
  - name: w0
    address: \"{scheme}://{address}\"
    protocol: kserve
    options: {{ {options} }}
    models: [{{ name: m, served-as: served }}, {{ name: pair, served-as: served }}, {{ name: texts, served-as: served }},
             {{ name: halves, served-as: served }}, {{ name: doubles, served-as: served }}, {{ name: broken }}, {{ name: ghost }}]
    probe: off
routes:
  - {{ name: all, frontends: [kserve], workers: [w0], auth: open }}
"
    );
    Proxy::start(&yaml).await
}

fn of_v1(worker: &tollgate_tests::fake::http1::Worker, outputs: &str) -> Station {
    over_rest(
        worker,
        &format!("dialect: kserve-v1, server: kserve-python, v1: {{ outputs: [{outputs}] }}"),
    )
}

async fn predict(proxy: &Proxy, model: &str, body: &str) -> Response {
    let path = format!("/v1/models/{model}:predict");
    ask(proxy, &Request::post_bytes(&path, body.to_owned())).await
}

#[tokio::test]
async fn values_go_to_workers_of_every_form_and_come_back() {
    let rest = [triton::rest().await, kserve_python::rest().await];
    let grpc = [triton::grpc().await, kserve_python::grpc().await];
    let stations = rest.iter().map(|worker| over_rest(worker, ""));
    let plain = over_rest(&rest[0], "binary: false");
    let stations = stations.chain([plain]);
    for station in stations.chain(grpc.iter().map(|worker| over_grpc(worker, ""))) {
        let proxy = predicting(&station).await;
        // Beyond the integers of a double: compared as texts.
        let values = "[[9007199254740993,-1],[9223372036854775807,0]]";
        for (member, value) in [("instances", values), ("inputs", values), ("inputs", "7")] {
            let told = predict(&proxy, "m", &format!("{{\"{member}\":{value}}}")).await;
            let told = told.with_status(200).text();
            assert_eq!(told, format!("{{\"predictions\":{value}}}"));
        }
        let rows = r#"{"instances":[{"IN_T":"é","IN_F":[0.5]},{"IN_T":"","IN_F":[-1.0]}]}"#;
        let told = predict(&proxy, "pair", rows).await.with_status(200).json();
        let expected = json!({"predictions": [
            {"OUT_T": "é", "OUT_F": [0.5]}, {"OUT_T": "", "OUT_F": [-1.0]},
        ]});
        assert_eq!(told, expected);
        let columns = r#"{"inputs":{"IN_T":["x"],"IN_F":[[1.5,2.5]]}}"#;
        let told = predict(&proxy, "pair", columns).await;
        let expected = json!({"predictions": {"OUT_T": ["x"], "OUT_F": [[1.5, 2.5]]}});
        assert_eq!(told.with_status(200).json(), expected);
    }
}

#[tokio::test]
async fn errors_are_in_the_words_of_the_first_version() {
    let rest = kserve_python::rest().await;
    let proxy = predicting(&over_rest(&rest, "")).await;
    let good = r#"{"instances":[1]}"#;
    for (model, body, status, words) in [
        ("broken", good, 500, "it broke"),
        ("ghost", good, 404, "does not exist"),
        ("nobody", good, 404, "nobody"),
        (
            "m",
            r#"{"instances":[[1],[2,3]]}"#,
            400,
            "'IN': its lists are ragged",
        ),
        (
            "m",
            r#"{"instances":[1.5]}"#,
            400,
            "1.5 is not a value of INT64",
        ),
        ("pair", r#"{"instances":[1]}"#, 400, "'IN_T', 'IN_F'"),
        ("m", "{", 400, "JSON"),
        ("m", "", 400, "body"),
    ] {
        let told = predict(&proxy, model, body)
            .await
            .with_status(status)
            .json();
        let message = told["error"].as_str().expect("an error");
        assert!(message.contains(words), "{model} {body}: {message}");
        assert_eq!(told.as_object().unwrap().len(), 1, "{told}");
    }
    for (path, status) in [
        ("/v1/models/m:explain", 501),
        ("/v1/models/m:regress", 404),
        ("/v1/models/m", 404),
    ] {
        let told = ask(&proxy, &Request::post_bytes(path, good)).await;
        assert!(
            told.with_status(status).json()["error"].is_string(),
            "{path}"
        );
    }
}

/// The longest body that is taken unless the options say otherwise.
const BOUND: usize = 2 << 20;

/// A list of nothing but this value, not longer than so many bytes.
fn longest(bytes: usize, value: &str) -> String {
    let count = (bytes - 1) / (value.len() + 1);
    format!("[{}]", vec![value; count].join(","))
}

#[tokio::test]
async fn a_body_is_bounded() {
    let rest = kserve_python::rest().await;
    let proxy = predicting(&over_rest(&rest, "")).await;
    let body = format!("{{\"instances\":{}}}", longest(BOUND, "1"));
    let told = predict(&proxy, "m", &body).await.with_status(413).json();
    assert!(told["error"].is_string(), "{told}");
    assert_eq!(rest.journal.requests(), 0);
}

/// What is within the bound is read and written within the time and memory of a plugin.
#[tokio::test]
async fn the_longest_bodies_are_served() {
    const MODELS: [(&str, &str); 4] = [
        ("m", "1"),
        ("texts", "\"\""),
        ("halves", "0.5"),
        ("doubles", "0.5"),
    ];
    let rest = kserve_python::rest().await;
    let grpc = kserve_python::grpc().await;
    for (station, models) in [
        (over_rest(&rest, ""), &MODELS[..]),
        (over_rest(&rest, "binary: false"), &MODELS[..1]),
        (over_grpc(&grpc, ""), &MODELS[..]),
    ] {
        let proxy = predicting(&station).await;
        for (model, value) in models {
            let values = longest(BOUND - 20, value);
            let body = format!("{{\"instances\":{values}}}");
            let told = predict(&proxy, model, &body).await.with_status(200);
            let expected = format!("{{\"predictions\":{values}}}");
            assert!(told.text() == expected, "{model}");
        }
    }
    let values = longest(BOUND - 20, "1");
    let count = (values.len() / 2) as i64;
    let sent = vec![tensor("IN", "INT8", &[count], vec![1; values.len() / 2])];
    let proxy = predicting(&of_v1(&rest, "{ name: OUT, datatype: INT8 }")).await;
    let request = asked("/v2/models/m/infer", &sent, true, false);
    let (_, got) = super::outputs(ask(&proxy, &request).await);
    assert_eq!((&got[0].shape, &got[0].raw), (&sent[0].shape, &sent[0].raw));
    // A few more are too many.
    let sent = vec![tensor(
        "IN",
        "INT8",
        &[count + 20],
        vec![1; sent[0].raw.len() + 20],
    )];
    let request = asked("/v2/models/m/infer", &sent, true, false);
    ask(&proxy, &request).await.with_status(413);
}

/// A model that answers what is no tensor, or too much, fails those who asked, and its worker serves on.
#[tokio::test]
async fn a_worker_is_not_judged_by_what_its_model_answers() {
    let rest = kserve_python::rest().await;
    let proxy = predicting(&of_v1(&rest, "{ name: OUT, datatype: INT8 }")).await;
    let ones = |count: usize| tensor("IN", "INT8", &[count as i64], vec![1; count]);
    let asked = |tensor| asked("/v2/models/m/infer", &[tensor], true, false);
    let halves = tensor("IN", "FP32", &[1], 0.5_f32.to_le_bytes().to_vec());
    for _ in 0..20 {
        let told = ask(&proxy, &asked(halves.clone())).await;
        let told = told.with_status(422).json();
        let message = told["error"].as_str().expect("an error");
        assert!(message.contains("0.5 is not a value of INT8"), "{message}");
    }
    ask(&proxy, &asked(ones(3))).await.with_status(200);
}

#[tokio::test]
async fn readiness_is_what_the_proxy_knows() {
    let rest = kserve_python::rest().await;
    let proxy = predicting(&over_rest(&rest, "")).await;
    let told = get(&proxy, "/v1/models/m").await.with_status(200).json();
    assert_eq!(told, json!({"name": "m", "ready": true}));
    let told = get(&proxy, "/v1/models/nobody").await;
    assert!(told.with_status(404).json()["error"].is_string());
    assert_eq!(rest.journal.requests(), 0);
}

#[tokio::test]
async fn two_of_the_first_version_pass_what_no_tensor_is_made_of() {
    let rest = kserve_python::rest().await;
    let proxy = predicting(&of_v1(&rest, "{ name: OUT, datatype: INT64 }")).await;
    let values = r#"[{"any":[1,[2]],"thing":null}]"#;
    let told = predict(&proxy, "m", &format!("{{\"instances\":{values}}}")).await;
    let expected: Value = serde_json::from_str(values).unwrap();
    assert_eq!(told.with_status(200).json()["predictions"], expected);
    let told = predict(&proxy, "broken", r#"{"instances":[1]}"#)
        .await
        .with_status(500)
        .json();
    assert_eq!(told["error"], "RuntimeError : it broke");
}

#[tokio::test]
async fn tensors_are_asked_of_a_worker_of_the_first_version() {
    let rest = kserve_python::rest().await;
    let outputs = "{ name: IN_T, datatype: BYTES }, { name: IN_N, datatype: INT64 }";
    let proxy = predicting(&of_v1(&rest, outputs)).await;
    let large = [9_007_199_254_740_993_i64, -1]
        .map(i64::to_le_bytes)
        .concat();
    let sent = vec![
        tensor(
            "IN_T",
            "BYTES",
            &[2],
            joined(&["é".as_bytes(), &[0xff, 0xfe]]),
        ),
        tensor("IN_N", "INT64", &[2], large),
    ];
    let request = asked("/v2/models/pair/infer", &sent, true, false);
    let (json, got) = super::outputs(ask(&proxy, &request).await);
    assert_eq!(got, sent, "it gives back what it is asked");
    assert_eq!(
        (&json["id"], &json["model_name"]),
        (&json!("one"), &json!("pair"))
    );
    for typed in [false, true] {
        let message = tensor::message("pair", &sent, typed);
        let (answers, status) =
            grpc::ask::<ModelInferResponse>(proxy.http(), &rpc("ModelInfer"), &message).await;
        assert_eq!(status.code, 0, "typed: {typed}: {status:?}");
        assert_eq!(tensor::of_answer(&answers[0]).0, sent, "typed: {typed}");
    }
    let told = metadata(&proxy, "m").await.expect("metadata");
    let names: Vec<_> = told.outputs.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["IN_T", "IN_N"]);
    fails(&proxy, "broken", 500, 13, "it broke").await;
}

/// A large tensor comes in many pieces; all of them are there before the worker is asked.
#[tokio::test]
async fn a_large_raw_tensor_is_waited_for() {
    let rest = kserve_python::rest().await;
    let proxy = predicting(&of_v1(&rest, "{ name: OUT, datatype: INT32 }")).await;
    let raw: Vec<u8> = (0..50_000_i32).flat_map(i32::to_le_bytes).collect();
    let sent = vec![tensor("IN", "INT32", &[25_000, 2], raw)];
    let request = asked("/v2/models/m/infer", &sent, true, false);
    let (_, got) = super::outputs(ask(&proxy, &request).await);
    assert_eq!((&got[0].shape, &got[0].raw), (&sent[0].shape, &sent[0].raw));
}

#[tokio::test]
async fn a_worker_of_the_first_version_is_probed() {
    let rest = kserve_python::rest().await;
    let station = of_v1(&rest, "{ name: OUT, datatype: FP32 }");
    let proxy = probing("kserve-python", &station).await;
    tollgate_tests::eventually("the models are known", async || {
        let listed = get(&proxy, "/v2/models").await.with_status(200).json();
        (listed["models"].as_array()?.len() == 3).then_some(())
    })
    .await;
}
