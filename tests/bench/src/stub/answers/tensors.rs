//! Answers of KServe V2: one model with one tensor in and one out, whose bytes lie in one buffer
//! that every answer shares.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Shape;
use crate::{
    frames::framed,
    known::{self, INPUT_TENSOR, OUTPUT_TENSOR},
    proto::{
        InferResponse, ModelIndex, ModelMetadata, RAW_OUTPUT, RepositoryIndex, ServerMetadata,
        Tensor, Well, framed_before,
    },
};

/// Every answer. Of inference: what stands before the tensor's bytes.
pub struct Tensors {
    /// The tensor's bytes.
    pub data: Bytes,
    /// REST: the JSON part of a binary answer.
    pub rest: Bytes,
    /// gRPC: frame and message up to the tensor's bytes.
    pub grpc: Bytes,
    /// REST: `GET /v2`.
    pub rest_server: Bytes,
    /// REST: `GET /v2/models/NAME`.
    pub rest_model: Bytes,
    /// REST: `POST /v2/repository/index`.
    pub rest_index: Bytes,
    /// gRPC: `ServerMetadata`.
    pub grpc_server: Bytes,
    /// gRPC: `ModelMetadata`.
    pub grpc_model: Bytes,
    /// gRPC: `RepositoryIndex`.
    pub grpc_index: Bytes,
    /// gRPC: live, ready, model ready.
    pub grpc_well: Bytes,
    model: String,
    json: OnceLock<Bytes>,
}

impl Tensors {
    /// Makes them.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let values = shape.tensor_bytes / 4;
        let size = values * 4;
        let model = &shape.model;
        let tensor = |name: &str, length: i64| Tensor {
            name: name.to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![length],
        };
        let told = |name: &str| json!([{"name": name, "datatype": "FP32", "shape": [-1]}]);
        let extensions = ["model_repository", "binary_tensor_data"];
        let answer = InferResponse {
            model_name: model.clone(),
            model_version: "1".to_owned(),
            outputs: vec![tensor(OUTPUT_TENSOR, values as i64)],
        };
        Self {
            data: known::tensor(size),
            rest: bytes(
                &json!({"model_name": model, "model_version": "1", "outputs": [{
                    "name": OUTPUT_TENSOR, "datatype": "FP32", "shape": [values],
                    "parameters": {"binary_data_size": size},
                }]}),
            ),
            grpc: framed_before(&answer, RAW_OUTPUT, size),
            rest_server: bytes(&json!({
                "name": "triton", "version": "2.0.0", "extensions": extensions,
            })),
            rest_model: bytes(&json!({
                "name": model, "versions": ["1"], "platform": "stub",
                "inputs": told(INPUT_TENSOR), "outputs": told(OUTPUT_TENSOR),
            })),
            rest_index: bytes(&json!([{"name": model, "version": "1", "state": "READY"}])),
            grpc_server: framed(&ServerMetadata {
                name: "triton".to_owned(),
                version: "2.0.0".to_owned(),
                extensions: extensions.map(str::to_owned).to_vec(),
            }),
            grpc_model: framed(&ModelMetadata {
                name: model.clone(),
                versions: vec!["1".to_owned()],
                platform: "stub".to_owned(),
                inputs: vec![tensor(INPUT_TENSOR, -1)],
                outputs: vec![tensor(OUTPUT_TENSOR, -1)],
            }),
            grpc_index: framed(&RepositoryIndex {
                models: vec![ModelIndex {
                    name: model.clone(),
                    version: "1".to_owned(),
                    state: "READY".to_owned(),
                }],
            }),
            grpc_well: framed(&Well { well: true }),
            model: model.clone(),
            json: OnceLock::new(),
        }
    }

    /// REST: the answer with the values as JSON; made when first asked for, since it is several
    /// times as long as the tensor.
    pub fn json(&self) -> Bytes {
        let made = || {
            let values = self
                .data
                .chunks_exact(4)
                .map(|value| f32::from_le_bytes(value.try_into().expect("four bytes")));
            let values: Vec<f32> = values.collect();
            bytes(
                &json!({"model_name": self.model, "model_version": "1", "outputs": [{
                    "name": OUTPUT_TENSOR, "datatype": "FP32", "shape": [values.len()],
                    "data": values,
                }]}),
            )
        };
        self.json.get_or_init(made).clone()
    }
}

fn bytes(value: &Value) -> Bytes {
    value.to_string().into()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::stub::answers::shape;

    #[test]
    fn answers_parse_and_tell_their_size() {
        let all = Tensors::new(&shape(1, 1));
        let head: Value = serde_json::from_slice(&all.rest).unwrap();
        let output = &head["outputs"][0];
        assert_eq!(output["parameters"]["binary_data_size"], all.data.len());
        assert_eq!(output["shape"], json!([all.data.len() / 4]));
        let prefix = u32::from_be_bytes(all.grpc[1..5].try_into().unwrap()) as usize;
        assert_eq!(prefix + 5, all.grpc.len() + all.data.len());
        let whole = [&all.grpc[5..], &all.data[..]].concat();
        let answer = InferResponse::decode(&whole[..]).unwrap();
        assert_eq!(answer.outputs[0].shape, [all.data.len() as i64 / 4]);
        let json: Value = serde_json::from_slice(&all.json()).unwrap();
        assert_eq!(json["outputs"][0]["data"][1], json!(-1023.75));
    }
}
