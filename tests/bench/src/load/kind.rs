//! A kind of request: what is sent, made once, and what is expected.

use std::{fs, time::Duration};

use bytes::Bytes;
use clap::ValueEnum;
use http::{
    HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, TE},
};
use serde::Deserialize;

use super::{
    content::Content,
    options::{Arguments, PlanError, Target},
};

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// `POST /v1/completions`.
    OpenaiCompletion,
    /// `POST /v1/chat/completions`.
    OpenaiChat,
    /// `fmaas.GenerationService/Generate`, or `GenerateStream`.
    Tgis,
    /// `POST /v2/models/NAME/infer`, tensors in binary.
    V2Rest,
    /// `inference.GRPCInferenceService/ModelInfer`, raw contents.
    V2Grpc,
    /// `POST /v2/models/NAME/generate`, or `generate_stream`, as Triton's vLLM backend has them.
    Generate,
    /// `POST /api/v1/task/text-generation`, or `server-streaming-text-generation`.
    CaikitRest,
    /// `caikit.runtime.Nlp.NlpService/TextGenerationTaskPredict`, or the streaming one.
    CaikitGrpc,
    /// `POST /v1/embeddings`.
    OpenaiEmbedding,
    /// `POST /api/v1/task/embedding`.
    CaikitRestEmbedding,
    /// `caikit.runtime.Nlp.NlpService/EmbeddingTaskPredict`.
    CaikitGrpcEmbedding,
    /// `POST /v1/rerank`, of [`DOCUMENTS`].
    OpenaiRerank,
}

/// Documents of a rerank; the prompt's bytes are divided among them and the query.
pub(super) const DOCUMENTS: u32 = 4;

impl Protocol {
    /// Whether it goes over HTTP/2.
    pub(super) fn is_grpc(self) -> bool {
        use Protocol::{CaikitGrpc, CaikitGrpcEmbedding, Tgis, V2Grpc};
        matches!(self, Tgis | V2Grpc | CaikitGrpc | CaikitGrpcEmbedding)
    }

    /// Whether answers may come piece by piece.
    fn streams(self) -> bool {
        use Protocol::{CaikitGrpc, CaikitRest, Generate, OpenaiChat, OpenaiCompletion, Tgis};
        matches!(
            self,
            OpenaiCompletion | OpenaiChat | Tgis | Generate | CaikitRest | CaikitGrpc
        )
    }
}

/// A kind as the command line or a file of kinds says it. What a file leaves out is as on the
/// command line.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) weight: f64,
    pub(super) protocol: Protocol,
    pub(super) target: Uri,
    token: Option<String>,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) prompt_bytes: usize,
    pub(super) tokens: Option<u32>,
    tensor_bytes: Option<usize>,
    pub(super) rows: Option<u32>,
    abort_fraction: f64,
    read_delay: Duration,
    status: Option<u16>,
    code: Option<u32>,
}

/// One kind in a file of kinds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    #[serde(default = "one")]
    weight: f64,
    protocol: Option<Protocol>,
    target: Option<String>,
    /// Empty: none.
    token: Option<String>,
    model: Option<String>,
    stream: Option<bool>,
    prompt_bytes: Option<usize>,
    tokens: Option<u32>,
    tensor_mib: Option<usize>,
    abort_fraction: Option<f64>,
    /// A slow reader: it waits so long after each read.
    #[serde(default)]
    read_delay_ms: u64,
    /// This HTTP status is the right answer, and its body may be anything.
    expect_status: Option<u16>,
    /// This gRPC status is the right answer.
    expect_code: Option<u32>,
}

fn one() -> f64 {
    1.0
}

impl Spec {
    /// The one kind of the command line, or those of the file.
    pub(super) fn all(arguments: &Arguments) -> Result<Vec<Self>, PlanError> {
        let base = |protocol: Protocol| Self {
            name: protocol.name(),
            weight: 1.0,
            protocol,
            target: arguments.target.clone(),
            token: arguments.token.clone(),
            model: arguments.model.clone(),
            stream: arguments.stream,
            prompt_bytes: arguments.prompt_bytes,
            tokens: arguments.tokens,
            tensor_bytes: arguments.tensor_mib.map(|mib| mib * 1024 * 1024),
            rows: arguments.rows,
            abort_fraction: arguments.abort_fraction,
            read_delay: Duration::ZERO,
            status: arguments.any_answer.then_some(200),
            code: None,
        };
        let specs = match (&arguments.mix, arguments.protocol) {
            (Some(path), default) => {
                let odd = |error: String| PlanError::Mix(path.clone(), error);
                let text = fs::read(path).map_err(|error| odd(error.to_string()))?;
                let entries: Vec<Entry> =
                    serde_json::from_slice(&text).map_err(|error| odd(error.to_string()))?;
                if entries.is_empty() {
                    return Err(odd("it has no kind".to_owned()));
                }
                let merged = entries.into_iter().map(|entry| {
                    let protocol = entry.protocol.or(default);
                    let protocol = protocol.ok_or_else(|| odd("a kind has no protocol".into()))?;
                    entry.over(base(protocol)).map_err(odd)
                });
                merged.collect::<Result<Vec<_>, _>>()?
            }
            (None, Some(protocol)) => vec![base(protocol)],
            (None, None) => return Err(PlanError::Number("protocol", "given, or --mix")),
        };
        for spec in &specs {
            if !(0.0..=1.0).contains(&spec.abort_fraction) {
                return Err(PlanError::Number("abort-fraction", "from 0 to 1"));
            }
            if !(spec.weight.is_finite() && spec.weight >= 0.0) {
                return Err(PlanError::Number("mix: weight", "a number not below 0"));
            }
        }
        if specs.iter().map(|spec| spec.weight).sum::<f64>() <= 0.0 {
            return Err(PlanError::Number("mix: weight", "above 0 for some kind"));
        }
        Ok(specs)
    }
}

impl Entry {
    fn over(self, base: Spec) -> Result<Spec, String> {
        let target = match self.target {
            Some(target) => target
                .parse()
                .map_err(|_| format!("{target} is no target"))?,
            None => base.target,
        };
        Ok(Spec {
            name: self.name.unwrap_or(base.name),
            weight: self.weight,
            protocol: base.protocol,
            target,
            token: self.token.or(base.token).filter(|token| !token.is_empty()),
            model: self.model.unwrap_or(base.model),
            stream: self.stream.unwrap_or(base.stream),
            prompt_bytes: self.prompt_bytes.unwrap_or(base.prompt_bytes),
            tokens: self.tokens.or(base.tokens),
            tensor_bytes: self
                .tensor_mib
                .map(|mib| mib * 1024 * 1024)
                .or(base.tensor_bytes),
            rows: base.rows,
            abort_fraction: self.abort_fraction.unwrap_or(base.abort_fraction),
            read_delay: Duration::from_millis(self.read_delay_ms),
            status: self.expect_status.or(base.status),
            code: self.expect_code,
        })
    }
}

/// A kind, ready to be sent.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) weight: f64,
    pub(super) protocol: Protocol,
    pub(super) stream: bool,
    /// Which target.
    pub(super) target: usize,
    pub(super) head: Request<()>,
    /// In a frame, for gRPC.
    pub(super) body: Bytes,
    pub(super) abort_fraction: f64,
    pub(super) read_delay: Duration,
    /// Of the answer.
    pub(super) tokens: Option<u32>,
    pub(super) tensor_bytes: Option<usize>,
    pub(super) status: Option<u16>,
    pub(super) code: Option<u32>,
}

impl Kind {
    pub(super) fn new(spec: &Spec, at: usize, target: &Target) -> Result<Self, PlanError> {
        if spec.stream && !spec.protocol.streams() {
            return Err(PlanError::Streaming(spec.protocol.name()));
        }
        let Content {
            path,
            content_type,
            header,
            body,
        } = spec.content();
        let http2 = spec.protocol.is_grpc();
        let odd = || PlanError::Target(target.authority.to_string());
        let path = format!("{}{path}", target.prefix);
        let uri = if http2 {
            format!("http://{}{path}", target.authority)
        } else {
            path
        };
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.uri_mut() = uri.parse().map_err(|_| odd())?;
        let headers = head.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if http2 {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        } else {
            let host = HeaderValue::from_str(target.authority.as_str()).map_err(|_| odd())?;
            headers.insert(HOST, host);
        }
        if let Some((name, value)) = header {
            let value = HeaderValue::from_str(&value).map_err(|_| PlanError::Model)?;
            headers.insert(name, value);
        }
        if let Some(token) = &spec.token {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
            headers.insert(AUTHORIZATION, bearer.map_err(|_| PlanError::Token)?);
        }
        Ok(Self {
            name: spec.name.clone(),
            weight: spec.weight,
            protocol: spec.protocol,
            stream: spec.stream,
            target: at,
            head,
            body,
            abort_fraction: spec.abort_fraction,
            read_delay: spec.read_delay,
            tokens: spec.tokens,
            tensor_bytes: spec.tensor_bytes,
            status: spec.status,
            code: spec.code,
        })
    }

    pub(super) fn is_http2(&self) -> bool {
        self.protocol.is_grpc()
    }
}
