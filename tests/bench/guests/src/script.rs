//! What happens in an exchange, in no side's types: the request, and the answer in the steps in
//! which it arrives.

use bytes::Bytes;
use prost::Message;
use serde_json::json;
use tollgate_bench::{
    known,
    proto::{
        BatchedGenerationRequest, GenerationRequest, Parameters, SingleGenerationRequest,
        StoppingCriteria,
    },
    stub::answers::{Answers, Shape, Wanted},
};

/// A protocol that is translated from or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `/v1/completions`.
    Openai,
    /// `fmaas.GenerationService`.
    Tgis,
}

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
    /// The dialect of its workers, as its plugin's manifest names it.
    #[must_use]
    pub fn dialect(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Tgis => "tgis",
        }
    }
}

impl Script {
    /// An exchange with a prompt of so many bytes and an answer of so many tokens, of which
    /// so many arrive at a time when it streams.
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
        let answer = match (worker, stream) {
            (Protocol::Openai, false) => vec![vec![answers.openai.completion.clone()]],
            (Protocol::Openai, true) => {
                // Of a worker the proxy asks for counts in each chunk; a client does not.
                let wanted = if passed {
                    Wanted::Total
                } else {
                    Wanted::Always
                };
                let writes = answers.openai.completion_chunks.telling(wanted);
                writes.iter().map(|write| vec![write.clone()]).collect()
            }
            (Protocol::Tgis, false) => vec![messages(answers.messages.one.clone())],
            (Protocol::Tgis, true) => {
                let writes = answers.messages.stream.iter();
                writes.map(|write| messages(write.clone())).collect()
            }
        };
        Self {
            client,
            worker,
            stream,
            request: request(client, stream, prompt, tokens),
            answer,
        }
    }

    /// The method or path that the client asks for.
    #[must_use]
    pub fn path(&self) -> &'static str {
        match (self.client, self.stream) {
            (Protocol::Openai, _) => "/v1/completions",
            (Protocol::Tgis, false) => "/fmaas.GenerationService/Generate",
            (Protocol::Tgis, true) => "/fmaas.GenerationService/GenerateStream",
        }
    }
}

fn request(client: Protocol, stream: bool, prompt: usize, tokens: u32) -> Bytes {
    // As an application writes: lines, quotes and more than ASCII.
    let text: String = known::text(64).chars().cycle().take(prompt).collect();
    let requested = GenerationRequest { text: text.clone() };
    let params = Some(Parameters {
        stopping: Some(StoppingCriteria {
            max_new_tokens: tokens,
        }),
    });
    let model_id = "m".to_owned();
    match (client, stream) {
        (Protocol::Openai, stream) => {
            let mut body = json!({"model": "m", "prompt": text, "max_tokens": tokens});
            if stream {
                body["stream"] = true.into();
                body["stream_options"] = json!({"include_usage": true});
            }
            body.to_string().into()
        }
        (Protocol::Tgis, false) => {
            let requests = vec![requested];
            let message = BatchedGenerationRequest {
                model_id,
                requests,
                params,
            };
            message.encode_to_vec().into()
        }
        (Protocol::Tgis, true) => {
            let request = Some(requested);
            let message = SingleGenerationRequest {
                model_id,
                request,
                params,
            };
            message.encode_to_vec().into()
        }
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
