//! What happens in an exchange, in no side's types: the request, and the answer in the steps in
//! which it arrives.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use serde_json::json;
use tollgate_bench::{
    known,
    proto::{
        BatchedGenerationRequest, GenerationRequest, Parameters, SingleGenerationRequest,
        StoppingCriteria, caikit,
    },
    stub::answers::{Answers, Shape, Wanted, Writes},
};

/// A protocol that is translated from or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `/v1/completions`.
    Openai,
    /// `fmaas.GenerationService`.
    Tgis,
    /// The caikit runtime's text generation over REST.
    CaikitRest,
    /// The same over gRPC.
    CaikitGrpc,
    /// Triton's `generate` and `generate_stream`.
    TritonHttp,
    /// Triton's `ModelStreamInfer`, of workers only.
    TritonGrpc,
}

/// The plugins that speak them, by the names of their components.
pub const PLUGINS: [&str; 4] = ["openai", "tgis", "caikit", "kserve"];

/// One exchange.
#[derive(Clone, Debug)]
pub struct Script {
    /// What the client speaks.
    pub client: Protocol,
    /// What the worker speaks.
    pub worker: Protocol,
    /// The client asks for a stream.
    pub stream: bool,
    /// Body, or message without its frame.
    pub request: Bytes,
    /// What arrives together, step by step: bytes of a body, or messages.
    pub answer: Vec<Vec<Bytes>>,
}

impl Protocol {
    /// The number of its plugin among [`PLUGINS`].
    #[must_use]
    pub const fn plugin(self) -> usize {
        match self {
            Self::Openai => 0,
            Self::Tgis => 1,
            Self::CaikitRest | Self::CaikitGrpc => 2,
            Self::TritonHttp | Self::TritonGrpc => 3,
        }
    }

    /// What it is called in the names of cases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openai => "OpenAI",
            Self::Tgis => "TGIS",
            Self::CaikitRest => "caikit REST",
            Self::CaikitGrpc => "caikit gRPC",
            Self::TritonHttp => "Triton HTTP",
            Self::TritonGrpc => "Triton gRPC",
        }
    }

    /// The dialect of its workers, as its plugin's manifest names it.
    #[must_use]
    pub const fn dialect(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Tgis => "tgis",
            Self::CaikitRest => "caikit-rest",
            Self::CaikitGrpc => "caikit",
            Self::TritonHttp => "kserve-rest",
            Self::TritonGrpc => "kserve-grpc",
        }
    }

    /// Options of its workers.
    #[must_use]
    pub const fn options(self) -> &'static str {
        match self {
            Self::TritonHttp | Self::TritonGrpc => "{\"generate\":{}}",
            _ => "",
        }
    }

    /// Whether it comes in messages.
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        matches!(self, Self::Tgis | Self::CaikitGrpc | Self::TritonGrpc)
    }
}

impl Script {
    /// An exchange with a prompt of so many bytes and an answer of so many tokens, of which
    /// so many arrive at a time when it streams.
    ///
    /// # Panics
    /// When the client speaks what only workers do.
    #[must_use]
    pub fn new(
        (client, worker): (Protocol, Protocol),
        prompt: usize,
        tokens: u32,
        per_step: Option<u32>,
    ) -> Self {
        let answers = Answers::new(Shape {
            model: "m".to_owned(),
            tokens,
            per_write: per_step.unwrap_or(1),
            interval: std::time::Duration::ZERO,
            hold: false,
            tensor_bytes: 4,
        });
        let stream = per_step.is_some();
        let passed = client == worker;
        let together = |writes: &Writes| -> Vec<Vec<Bytes>> {
            let writes = writes.iter().cloned();
            if worker.is_grpc() {
                writes.map(messages).collect()
            } else {
                writes.map(|write| vec![write]).collect()
            }
        };
        let one = |whole: &Bytes| together(&Arc::from([whole.clone()]));
        let Answers {
            openai,
            messages: tgis,
            caikit,
            texts,
            ..
        } = &answers;
        let answer = match (worker, stream) {
            (Protocol::Openai, false) => one(&openai.completion),
            (Protocol::Openai, true) => {
                // Of a worker the proxy asks for counts in each chunk; a client does not.
                let wanted = if passed {
                    Wanted::Total
                } else {
                    Wanted::Always
                };
                together(&openai.completion_chunks.telling(wanted))
            }
            (Protocol::Tgis, false) => one(&tgis.one),
            (Protocol::Tgis, true) => together(&tgis.stream),
            (Protocol::CaikitRest, false) => one(&caikit.rest_text),
            (Protocol::CaikitRest, true) => together(&caikit.rest_stream),
            (Protocol::CaikitGrpc, false) => one(&caikit.grpc_text),
            (Protocol::CaikitGrpc, true) => together(&caikit.grpc_stream),
            // Such models are always asked for a stream, of one piece if need be.
            (Protocol::TritonHttp, false) => one(&texts.event),
            (Protocol::TritonHttp, true) => together(&texts.events),
            (Protocol::TritonGrpc, false) => one(&texts.message),
            (Protocol::TritonGrpc, true) => together(&texts.messages),
        };
        Self {
            client,
            worker,
            stream,
            request: request(client, stream, prompt, tokens),
            answer,
        }
    }

    /// The claim that the client's request meets: a path, with its parameters open, or a method.
    #[must_use]
    pub const fn claim(&self) -> &'static str {
        match (self.client, self.stream) {
            (Protocol::Openai, _) => "/v1/completions",
            (Protocol::Tgis, false) => "/fmaas.GenerationService/Generate",
            (Protocol::Tgis, true) => "/fmaas.GenerationService/GenerateStream",
            (Protocol::CaikitRest, false) => "/api/v1/task/text-generation",
            (Protocol::CaikitRest, true) => "/api/v1/task/server-streaming-text-generation",
            (Protocol::CaikitGrpc, false) => {
                "/caikit.runtime.Nlp.NlpService/TextGenerationTaskPredict"
            }
            (Protocol::CaikitGrpc, true) => {
                "/caikit.runtime.Nlp.NlpService/ServerStreamingTextGenerationTaskPredict"
            }
            (Protocol::TritonHttp, false) => "/v2/models/{model}/generate",
            (Protocol::TritonHttp, true) => "/v2/models/{model}/generate_stream",
            (Protocol::TritonGrpc, _) => "/inference.GRPCInferenceService/ModelStreamInfer",
        }
    }

    /// The content type of the worker's answer.
    #[must_use]
    pub const fn content_type(&self) -> &'static str {
        match (self.worker, self.stream) {
            (worker, _) if worker.is_grpc() => "application/grpc",
            (Protocol::TritonHttp, _) | (_, true) => "text/event-stream",
            _ => "application/json",
        }
    }
}

fn request(client: Protocol, stream: bool, prompt: usize, tokens: u32) -> Bytes {
    // As an application writes: lines, quotes and more than ASCII.
    let text: String = known::text(64).chars().cycle().take(prompt).collect();
    let model_id = "m".to_owned();
    match client {
        Protocol::Openai => {
            let mut body = json!({"model": "m", "prompt": text, "max_tokens": tokens});
            if stream {
                body["stream"] = true.into();
                body["stream_options"] = json!({"include_usage": true});
            }
            body.to_string().into()
        }
        Protocol::Tgis => {
            let requested = GenerationRequest { text };
            let params = Some(Parameters {
                stopping: Some(StoppingCriteria {
                    max_new_tokens: tokens,
                }),
            });
            if stream {
                let request = Some(requested);
                let message = SingleGenerationRequest {
                    model_id,
                    request,
                    params,
                };
                return message.encode_to_vec().into();
            }
            let requests = vec![requested];
            let message = BatchedGenerationRequest {
                model_id,
                requests,
                params,
            };
            message.encode_to_vec().into()
        }
        Protocol::CaikitRest => {
            let parameters = json!({"max_new_tokens": tokens});
            let body = json!({"model_id": "m", "inputs": text, "parameters": parameters});
            body.to_string().into()
        }
        Protocol::CaikitGrpc => {
            let message = caikit::TextGenerationRequest {
                text,
                max_new_tokens: Some(tokens.into()),
            };
            message.encode_to_vec().into()
        }
        Protocol::TritonHttp => json!({
            "text_input": text, "parameters": {"max_tokens": tokens}, "stream": stream,
            "exclude_input_in_output": true, "return_finish_reason": true,
            "return_num_input_tokens": true, "return_num_output_tokens": true,
        })
        .to_string()
        .into(),
        Protocol::TritonGrpc => panic!("texts are not asked for so: only workers speak it here"),
    }
}

/// Messages out of their frames.
fn messages(mut framed: Bytes) -> Vec<Bytes> {
    let mut all = Vec::new();
    while let Some(prefix) = framed.first_chunk::<5>() {
        let [_, a, b, c, d] = *prefix;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        all.push(framed.split_to(5 + length).slice(5..));
    }
    all
}
