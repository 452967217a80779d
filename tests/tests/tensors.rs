//! Tensors of 16 MiB through every way that does not change them: all bytes arrive, and plugins read
//! no more of them than of small ones.

use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_tests::{
    Proxy,
    client::{Request, grpc, http1},
    inference::ModelInferResponse,
    standin::{
        computed,
        tensor::{self, Tensor},
        triton,
    },
};

const SMALL: usize = 16 << 10;
const LARGE: usize = 16 << 20;
/// What a plugin may read of one exchange: what stands around tensors, once or a few times.
const AROUND: f64 = 64.0 * 1024.0;

/// Bytes that differ from place to place, so that one that is lost or moved is seen.
fn input(len: usize) -> Tensor {
    let raw = (0..len).map(|at| (at % 251) as u8 ^ (at >> 13) as u8);
    Tensor {
        name: "IN".to_owned(),
        datatype: "UINT8".to_owned(),
        shape: vec![len as i64],
        raw: raw.collect(),
    }
}

async fn before(scheme: &str, address: std::net::SocketAddr) -> Proxy {
    let dialect = if scheme == "grpc" { "grpc" } else { "rest" };
    Proxy::start(&format!(
        "
plugins: {{ kserve: {{ source: \"bundled:kserve\" }} }}
workers:
  - {{ name: w0, address: \"{scheme}://{address}\", protocol: kserve, probe: off,
      options: {{ dialect: kserve-{dialect} }}, models: [{{ name: m, served-as: served }}] }}
routes:
  - {{ name: all, frontends: [kserve], workers: [w0], auth: open, default-model: m,
      limits: {{ body: 24MiB, message: 24MiB }} }}
"
    ))
    .await
}

/// Asks over HTTP with raw bytes, and wants them so.
async fn over_rest(proxy: &Proxy, input: &Tensor) -> Vec<Tensor> {
    let body = json!({
        "parameters": {"binary_data_output": true},
        "inputs": [{"name": input.name, "datatype": input.datatype, "shape": input.shape,
                    "parameters": {"binary_data_size": input.raw.len()}}],
    })
    .to_string();
    let head = body.len().to_string();
    let bytes = Bytes::from([body.as_bytes(), &input.raw].concat());
    let request = Request::post_bytes("/v2/models/m/infer", bytes)
        .header("inference-header-content-length", &head);
    let response = http1::ask(proxy.http(), &request).await.with_status(200);
    let head = response.header("inference-header-content-length");
    let head = head.map(|length| length.parse().expect("a length"));
    let read = tensor::read(&response.body, head, "outputs", |_: &Value| false);
    read.expect("tensors").1
}

async fn over_grpc(proxy: &Proxy, input: &Tensor) -> Vec<Tensor> {
    let message = tensor::message("m", std::slice::from_ref(input), false);
    let request = grpc::request("inference.GRPCInferenceService/ModelInfer");
    let (answers, status) = grpc::ask::<ModelInferResponse>(proxy.http(), &request, &message).await;
    assert_eq!(status.code, 0, "{status:?}");
    tensor::of_answer(&answers[0]).0
}

/// Bytes that plugins have read so far.
async fn read(proxy: &Proxy) -> f64 {
    let series = "plugin_read_bytes_total{plugin=\"kserve\"}";
    proxy.figure(series).await.expect("it is on the page")
}

#[tokio::test]
async fn large_tensors_cross_over_unchanged_and_unread() {
    let (rest, grpc) = (triton::rest().await, triton::grpc().await);
    for (scheme, address) in [("http", rest.address), ("grpc", grpc.address)] {
        let proxy = before(scheme, address).await;
        for from_rest in [true, false] {
            let mut took = Vec::new();
            for len in [SMALL, LARGE] {
                let input = input(len);
                let before = read(&proxy).await;
                let got = match from_rest {
                    true => over_rest(&proxy, &input).await,
                    false => over_grpc(&proxy, &input).await,
                };
                assert!(
                    got == computed(vec![input]),
                    "{scheme}, {from_rest}, {len}: other bytes"
                );
                took.push(read(&proxy).await - before);
            }
            let what = format!("worker {scheme}, client of REST {from_rest}: {took:?}");
            assert!(took[0] > 0.0, "nothing was counted: {what}");
            assert!(
                took[1] <= took[0] + AROUND,
                "it grows with the tensor: {what}"
            );
            assert!(took[1] <= AROUND, "{what}");
        }
    }
}
