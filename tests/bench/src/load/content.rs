//! What a request says, protocol by protocol.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use serde_json::{Value, json};

use super::kind::{DOCUMENTS, Protocol, Spec};
use crate::{
    frames::framed,
    known::{self, INPUT_TENSOR},
    proto::{
        BatchedGenerationRequest, GenerationRequest, InferRequest, Parameters, RAW_INPUT,
        SingleGenerationRequest, StoppingCriteria, Tensor, caikit, framed_before,
    },
};

const JSON: &str = "application/json";
const GRPC: &str = "application/grpc";

/// A request but for what every one has.
pub(super) struct Content {
    pub(super) path: String,
    pub(super) content_type: &'static str,
    /// One that this protocol wants beside the usual ones.
    pub(super) header: Option<(&'static str, String)>,
    pub(super) body: Bytes,
}

fn json_to(path: impl Into<String>, body: &Value) -> Content {
    Content {
        path: path.into(),
        content_type: JSON,
        header: None,
        body: body.to_string().into(),
    }
}

fn grpc_to(method: &str, body: Bytes) -> Content {
    Content {
        path: format!("/{method}"),
        content_type: GRPC,
        header: None,
        body,
    }
}

impl Spec {
    /// What is sent.
    pub(super) fn content(&self) -> Content {
        match self.protocol {
            Protocol::OpenaiCompletion => {
                self.openai("/v1/completions", json!({"prompt": self.prompt()}))
            }
            Protocol::OpenaiChat => {
                let messages = json!([{"role": "user", "content": self.prompt()}]);
                self.openai("/v1/chat/completions", json!({"messages": messages}))
            }
            Protocol::Tgis => self.tgis(),
            Protocol::V2Rest => self.v2_rest(),
            Protocol::V2Grpc => self.v2_grpc(),
            Protocol::Generate => self.generate(),
            Protocol::CaikitRest => {
                let task = if self.stream {
                    "server-streaming-text-generation"
                } else {
                    "text-generation"
                };
                let mut body = json!({"model_id": self.model, "inputs": self.prompt()});
                body["parameters"] = json!({"max_new_tokens": self.wanted()});
                json_to(format!("/api/v1/task/{task}"), &body)
            }
            Protocol::CaikitGrpc => {
                let message = caikit::TextGenerationRequest {
                    text: self.prompt(),
                    max_new_tokens: Some(self.wanted().into()),
                };
                let before = if self.stream { "ServerStreaming" } else { "" };
                self.caikit(&format!("{before}TextGenerationTaskPredict"), &message)
            }
            Protocol::OpenaiEmbedding => {
                let body = json!({"model": self.model, "input": self.prompt()});
                json_to("/v1/embeddings", &body)
            }
            Protocol::CaikitRestEmbedding => {
                let body = json!({"model_id": self.model, "inputs": self.prompt()});
                json_to("/api/v1/task/embedding", &body)
            }
            Protocol::CaikitGrpcEmbedding => {
                let text = self.prompt();
                self.caikit("EmbeddingTaskPredict", &caikit::EmbeddingRequest { text })
            }
            Protocol::OpenaiRerank => {
                let each = words(self.prompt_bytes / (DOCUMENTS as usize + 1));
                let documents = vec![each.clone(); DOCUMENTS as usize];
                let body = json!({"model": self.model, "query": each, "documents": documents});
                json_to("/v1/rerank", &body)
            }
        }
    }

    /// Tokens that are asked for.
    fn wanted(&self) -> u32 {
        self.tokens.unwrap_or(known::TOKENS)
    }

    fn openai(&self, path: &str, mut body: Value) -> Content {
        body["model"] = self.model.as_str().into();
        body["max_tokens"] = self.wanted().into();
        if self.stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        json_to(path, &body)
    }

    fn tgis(&self) -> Content {
        let request = GenerationRequest {
            text: self.prompt(),
        };
        let params = Some(Parameters {
            stopping: Some(StoppingCriteria {
                max_new_tokens: self.wanted(),
            }),
        });
        let model_id = self.model.clone();
        if self.stream {
            let request = Some(request);
            let message = SingleGenerationRequest {
                model_id,
                request,
                params,
            };
            return grpc_to("fmaas.GenerationService/GenerateStream", framed(&message));
        }
        let requests = vec![request];
        let message = BatchedGenerationRequest {
            model_id,
            requests,
            params,
        };
        grpc_to("fmaas.GenerationService/Generate", framed(&message))
    }

    /// With all that the backend tells beside the text, and without the prompt in the answer.
    fn generate(&self) -> Content {
        let verb = if self.stream {
            "generate_stream"
        } else {
            "generate"
        };
        let body = json!({
            "text_input": self.prompt(), "parameters": {"max_tokens": self.wanted()},
            "stream": self.stream, "exclude_input_in_output": true,
            "return_finish_reason": true, "return_num_input_tokens": true,
            "return_num_output_tokens": true,
        });
        json_to(format!("/v2/models/{}/{verb}", self.model), &body)
    }

    fn caikit(&self, method: &str, message: &impl Message) -> Content {
        Content {
            header: Some(("mm-model-id", self.model.clone())),
            ..grpc_to(
                &format!("caikit.runtime.Nlp.NlpService/{method}"),
                framed(message),
            )
        }
    }

    fn v2_rest(&self) -> Content {
        let length = self.tensor_length();
        let head = json!({"inputs": [{
            "name": INPUT_TENSOR, "datatype": "FP32", "shape": self.shape(),
            "parameters": {"binary_data_size": length},
        }], "parameters": {"binary_data_output": true}})
        .to_string();
        let mut body = BytesMut::from(head.as_bytes());
        body.put(known::tensor(length));
        Content {
            path: format!("/v2/models/{}/infer", self.model),
            content_type: "application/octet-stream",
            header: Some(("inference-header-content-length", head.len().to_string())),
            body: body.freeze(),
        }
    }

    fn v2_grpc(&self) -> Content {
        let length = self.tensor_length();
        let message = InferRequest {
            model_name: self.model.clone(),
            inputs: vec![Tensor {
                name: INPUT_TENSOR.to_owned(),
                datatype: "FP32".to_owned(),
                shape: self.shape(),
            }],
        };
        let mut body = BytesMut::from(framed_before(&message, RAW_INPUT, length));
        body.put(known::tensor(length));
        grpc_to("inference.GRPCInferenceService/ModelInfer", body.freeze())
    }

    fn prompt(&self) -> String {
        words(self.prompt_bytes)
    }

    /// Whole values, and whole rows.
    fn tensor_length(&self) -> usize {
        let unit = 4 * self.rows.unwrap_or(1) as usize;
        self.prompt_bytes / unit * unit
    }

    fn shape(&self) -> Vec<i64> {
        let values = self.tensor_length() as i64 / 4;
        match self.rows {
            Some(rows) => vec![rows.into(), values / i64::from(rows)],
            None => vec![values],
        }
    }
}

/// Words, as long as asked for.
fn words(bytes: usize) -> String {
    let words = "tell me once more how the answer is made, word by word, ";
    words.chars().cycle().take(bytes).collect()
}
