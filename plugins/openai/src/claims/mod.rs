//! What is served, and what the host must know of this plugin.

mod rows;

use tollgate_sdk_protocol::{
    classify,
    inference::TaskKind,
    plugin::{Attribute, Claim, Gathering, Manifest, MetricMapping, RestClaim, Surface},
    types::Extension,
};

use crate::{
    backend, errors,
    options::{self, ErrorShape, OPENAI, OVMS, Options},
};

pub use rows::{ENDPOINTS, Row, is_ovms, rows};

/// One thing that clients may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{id...}`
    Model,
    /// `POST /v1/chat/completions`
    Chat,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /rerank`, `/v1/rerank`, `/v2/rerank`
    Rerank,
    /// `POST /score`, `/v1/score`
    Score,
    /// `POST /tokenize`
    Tokenize,
    /// `POST /detokenize`
    Detokenize,
    /// `GET /version`
    Version,
    /// `GET /docs`
    Docs,
    /// `GET /openapi.json`
    OpenApi,
    /// `GET /health`, `GET /ping`, `POST /ping`
    Health,
    /// `GET /load`
    Load,
    /// `POST /v1/responses`
    Responses,
    /// `GET /v1/responses/{id}`, `POST /v1/responses/{id}/cancel`
    Response,
    /// `POST /v1/audio/transcriptions`, `POST /v1/audio/translations`
    Audio,
    /// `POST /v1/messages`, `POST /v1/messages/count_tokens`
    Messages,
    /// `POST /pooling`
    Pooling,
    /// `POST /classify`
    Classify,
    /// `POST /v3/images/generations`
    Images,
    /// `POST /v3/images/edits`
    ImageEdits,
    /// `POST /v3/audio/speech`
    Speech,
    /// What only operators may ask, where the options say so.
    Admin,
}

impl Endpoint {
    /// What is asked of a worker or of the host's catalogue; none is answered here.
    pub fn task(self) -> Option<TaskKind> {
        let other = |name: &str| Some(TaskKind::Other(name.to_owned()));
        match self {
            Self::Models | Self::Model => Some(TaskKind::ListModels),
            Self::Chat => Some(TaskKind::Chat),
            Self::Completions => Some(TaskKind::Generate),
            Self::Embeddings => Some(TaskKind::Embed),
            Self::Rerank => Some(TaskKind::Rerank),
            Self::Score => Some(TaskKind::Similarity),
            Self::Tokenize => Some(TaskKind::Tokenize),
            Self::Detokenize => Some(TaskKind::Detokenize),
            Self::Health => Some(TaskKind::ServerReady),
            Self::Load => Some(TaskKind::ServerMetadata),
            Self::Responses | Self::Response => other("responses"),
            Self::Audio | Self::Speech => other("audio"),
            Self::Images | Self::ImageEdits => other("images"),
            Self::Messages => other("messages"),
            Self::Pooling => other("pooling"),
            Self::Classify => Some(classify::texts_kind()),
            Self::Admin => other("admin"),
            Self::Version | Self::Docs | Self::OpenApi => None,
        }
    }

    /// Whether it has no neutral form: it goes on as it came, or not at all.
    pub fn is_relayed(self) -> bool {
        matches!(
            self,
            Self::Responses
                | Self::Response
                | Self::Audio
                | Self::Messages
                | Self::Pooling
                | Self::Images
                | Self::ImageEdits
                | Self::Speech
                | Self::Admin
        )
    }

    /// Whether `stream` makes events of the answer.
    pub fn streams(self) -> bool {
        matches!(
            self,
            Self::Chat | Self::Completions | Self::Responses | Self::Messages | Self::Audio
        )
    }

    /// Whether the request has a body that must be read.
    pub fn has_body(self) -> bool {
        matches!(
            self,
            Self::Chat
                | Self::Completions
                | Self::Embeddings
                | Self::Rerank
                | Self::Score
                | Self::Tokenize
                | Self::Detokenize
                | Self::Responses
                | Self::Audio
                | Self::Messages
                | Self::Pooling
                | Self::Classify
                | Self::Images
                | Self::ImageEdits
                | Self::Speech
        )
    }

    /// Whether the body is a form that carries a file.
    pub fn is_form(self) -> bool {
        matches!(self, Self::Audio | Self::ImageEdits)
    }
}

/// The claims, with errors in this shape.
pub fn claims(options: &Options) -> Vec<Claim> {
    rows(options)
        .iter()
        .map(|row| (row, is_ovms(row)))
        .map(|((method, path, endpoint, _), ovms)| Claim {
            surface: Surface::Rest(RestClaim {
                method: (*method).to_owned(),
                path: (*path).to_owned(),
                gathering: if endpoint.has_body() || *endpoint == Endpoint::Admin {
                    Gathering::Whole
                } else {
                    Gathering::Nothing
                },
            }),
            task: endpoint.task(),
            errors: match endpoint {
                _ if ovms => errors::templates(ErrorShape::Plain),
                Endpoint::Messages => errors::of_messages(),
                _ => errors::templates(options.error_shape()),
            },
            // Which of the manifest's dialects it is: what may be passed hangs on it.
            extensions: Vec::from_iter(ovms.then(|| Extension {
                name: "dialect".to_owned(),
                payload: OVMS.as_bytes().to_vec(),
            })),
        })
        .collect()
}

/// The manifest. Errors of a request that meets no claim have the default shape.
pub fn manifest() -> Manifest {
    let metric = |meaning: &str, metric: &str| MetricMapping {
        meaning: meaning.to_owned(),
        metric: metric.to_owned(),
    };
    Manifest {
        name: "openai".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        dialects: vec![OPENAI.to_owned(), OVMS.to_owned()],
        // Not every server can rank or compare: a probe or the configuration says so.
        tasks: backend::probe::usual_tasks(),
        options_schema: options::SCHEMA.to_owned(),
        descriptors: Vec::new(),
        read_headers: vec!["content-type".to_owned(), "x-request-id".to_owned()],
        // Ranks and priorities are the proxy's to give; the others choose a server behind a
        // server. A session's name chooses nothing of anybody else's, and is passed.
        strip_headers: [
            "x-data-parallel-rank",
            "x-vllm-priority",
            "x-route-info",
            "mm-*",
        ]
        .map(str::to_owned)
        .to_vec(),
        telemetry: vec![Attribute {
            name: "gen_ai.provider.name".to_owned(),
            value: "vllm".to_owned(),
        }],
        worker_metrics: vec![
            metric("queued", "vllm:num_requests_waiting"),
            metric("running", "vllm:num_requests_running"),
            metric("kv-cache-use", "vllm:kv_cache_usage_perc"),
            metric("kv-cache-use", "vllm:gpu_cache_usage_perc"),
            metric("running", "ovms_current_graphs"),
        ],
        errors: errors::templates(options::ErrorShape::default()),
        lowerings: Vec::new(),
        // `/tokenize` takes one text, and OpenVINO Model Server one prompt.
        extensions: vec![Extension {
            name: "one-at-a-time".to_owned(),
            payload: format!("tokenize\ngenerate {OVMS}").into_bytes(),
        }],
    }
}
