//! What is served, and what the host must know of this plugin.

use tollgate_sdk_protocol::{
    inference::TaskKind,
    plugin::{Attribute, Claim, Gathering, Manifest, MetricMapping, RestClaim, Surface},
};

use crate::{errors, options};

/// One thing that clients may ask. The order is the claims'.
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
}

/// Method, path, endpoint and what it is for, in the order of the claims.
pub const ENDPOINTS: [(&str, &str, Endpoint, &str); 13] = [
    (
        "GET",
        "/v1/models",
        Endpoint::Models,
        "Models that may be asked",
    ),
    ("GET", "/v1/models/{id...}", Endpoint::Model, "One model"),
    (
        "POST",
        "/v1/chat/completions",
        Endpoint::Chat,
        "Answer a conversation; `stream` for events",
    ),
    (
        "POST",
        "/v1/completions",
        Endpoint::Completions,
        "Continue a prompt; `stream` for events",
    ),
    (
        "POST",
        "/v1/embeddings",
        Endpoint::Embeddings,
        "Vectors of texts",
    ),
    ("POST", "/tokenize", Endpoint::Tokenize, "Tokens of a text"),
    (
        "POST",
        "/detokenize",
        Endpoint::Detokenize,
        "Text of tokens",
    ),
    (
        "GET",
        "/version",
        Endpoint::Version,
        "Version of the server",
    ),
    ("GET", "/docs", Endpoint::Docs, "This page"),
    (
        "GET",
        "/openapi.json",
        Endpoint::OpenApi,
        "This API, for machines",
    ),
    (
        "GET",
        "/health",
        Endpoint::Health,
        "200 when a worker is ready, else 503",
    ),
    ("GET", "/ping", Endpoint::Health, "As /health"),
    ("POST", "/ping", Endpoint::Health, "As /health"),
];

impl Endpoint {
    /// The endpoint of a claim's number.
    pub fn of_claim(claim: u32) -> Option<Self> {
        ENDPOINTS.get(claim as usize).map(|row| row.2)
    }

    /// What is asked of a worker or of the host's catalogue; none is answered here.
    pub fn task(self) -> Option<TaskKind> {
        match self {
            Self::Models | Self::Model => Some(TaskKind::ListModels),
            Self::Chat => Some(TaskKind::Chat),
            Self::Completions => Some(TaskKind::Generate),
            Self::Embeddings => Some(TaskKind::Embed),
            Self::Tokenize => Some(TaskKind::Tokenize),
            Self::Detokenize => Some(TaskKind::Detokenize),
            Self::Health => Some(TaskKind::ServerReady),
            Self::Version | Self::Docs | Self::OpenApi => None,
        }
    }

    /// Whether the request has a JSON body.
    pub fn has_body(self) -> bool {
        matches!(
            self,
            Self::Chat | Self::Completions | Self::Embeddings | Self::Tokenize | Self::Detokenize
        )
    }
}

/// The claims, with errors in this shape.
pub fn claims(options: &options::Options) -> Vec<Claim> {
    ENDPOINTS
        .iter()
        .map(|(method, path, endpoint, _)| Claim {
            surface: Surface::Rest(RestClaim {
                method: (*method).to_owned(),
                path: (*path).to_owned(),
                gathering: if endpoint.has_body() {
                    Gathering::Whole
                } else {
                    Gathering::Nothing
                },
            }),
            task: endpoint.task(),
            errors: errors::templates(options.error_shape),
            extensions: Vec::new(),
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
        dialects: vec!["openai".to_owned()],
        tasks: vec![
            TaskKind::Generate,
            TaskKind::Chat,
            TaskKind::Embed,
            TaskKind::Tokenize,
            TaskKind::Detokenize,
            TaskKind::ListModels,
            TaskKind::ModelMetadata,
            TaskKind::ModelReady,
            TaskKind::ServerLive,
            TaskKind::ServerReady,
            TaskKind::ServerMetadata,
        ],
        options_schema: options::SCHEMA.to_owned(),
        descriptors: Vec::new(),
        read_headers: vec!["content-type".to_owned(), "x-request-id".to_owned()],
        strip_headers: vec![
            "x-data-parallel-rank".to_owned(),
            "x-vllm-priority".to_owned(),
        ],
        telemetry: vec![Attribute {
            name: "gen_ai.provider.name".to_owned(),
            value: "vllm".to_owned(),
        }],
        worker_metrics: vec![
            metric("queued", "vllm:num_requests_waiting"),
            metric("running", "vllm:num_requests_running"),
            metric("kv-cache-use", "vllm:kv_cache_usage_perc"),
            metric("kv-cache-use", "vllm:gpu_cache_usage_perc"),
        ],
        errors: errors::templates(options::ErrorShape::default()),
        lowerings: Vec::new(),
        extensions: Vec::new(),
    }
}
