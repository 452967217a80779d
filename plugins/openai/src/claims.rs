//! What is served, and what the host must know of this plugin.

use tollgate_sdk_protocol::{
    inference::TaskKind,
    plugin::{Attribute, Claim, Gathering, Manifest, MetricMapping, RestClaim, Surface},
    types::Extension,
};

use crate::{
    backend, errors,
    options::{self, Admin, Options, Relayed},
};

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
    /// What only operators may ask, where the options say so.
    Admin,
}

/// Method, path, endpoint and what it is for.
pub type Row = (&'static str, &'static str, Endpoint, &'static str);

/// What is served unless options say otherwise, in the order of the claims.
pub const ENDPOINTS: [Row; 29] = [
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
    (
        "GET",
        "/load",
        Endpoint::Load,
        "Requests that are being served",
    ),
    (
        "POST",
        "/rerank",
        Endpoint::Rerank,
        "Documents, best first for a query",
    ),
    ("POST", "/v1/rerank", Endpoint::Rerank, "As /rerank"),
    ("POST", "/v2/rerank", Endpoint::Rerank, "As /rerank"),
    ("POST", "/score", Endpoint::Score, "How alike texts are"),
    ("POST", "/v1/score", Endpoint::Score, "As /score"),
    (
        "POST",
        "/v1/responses",
        Endpoint::Responses,
        "A response, kept where the server keeps them",
    ),
    (
        "GET",
        "/v1/responses/{id}",
        Endpoint::Response,
        "A response that was kept",
    ),
    (
        "POST",
        "/v1/responses/{id}/cancel",
        Endpoint::Response,
        "Stop a response in the background",
    ),
    (
        "POST",
        "/v1/audio/transcriptions",
        Endpoint::Audio,
        "Text of speech",
    ),
    (
        "POST",
        "/v1/audio/translations",
        Endpoint::Audio,
        "English text of speech",
    ),
    (
        "POST",
        "/v1/messages",
        Endpoint::Messages,
        "Answer a conversation, Messages API",
    ),
    (
        "POST",
        "/v1/messages/count_tokens",
        Endpoint::Messages,
        "Length of a conversation",
    ),
    (
        "POST",
        "/pooling",
        Endpoint::Pooling,
        "What the model pools of texts",
    ),
    ("POST", "/classify", Endpoint::Classify, "Classes of texts"),
    ("GET", "/redoc", Endpoint::Docs, "As /docs"),
];

/// What operators may be served, by family.
const ADMIN: [(Admin, &str, &str, &str); 19] = [
    (
        Admin::Lora,
        "POST",
        "/v1/load_lora_adapter",
        "Load an adapter",
    ),
    (
        Admin::Lora,
        "POST",
        "/v1/unload_lora_adapter",
        "Unload an adapter",
    ),
    (Admin::Sleep, "POST", "/sleep", "Give memory back"),
    (Admin::Sleep, "POST", "/wake_up", "Take memory again"),
    (
        Admin::Sleep,
        "GET",
        "/is_sleeping",
        "Whether memory was given back",
    ),
    (Admin::Sleep, "POST", "/pause", "Begin nothing new"),
    (Admin::Sleep, "POST", "/resume", "Go on"),
    (
        Admin::Sleep,
        "GET",
        "/is_paused",
        "Whether nothing new is begun",
    ),
    (Admin::Profile, "POST", "/start_profile", "Begin a profile"),
    (Admin::Profile, "POST", "/stop_profile", "End a profile"),
    (
        Admin::Cache,
        "POST",
        "/reset_prefix_cache",
        "Forget prompts",
    ),
    (Admin::Cache, "POST", "/reset_mm_cache", "Forget images"),
    (
        Admin::Scale,
        "POST",
        "/scale_elastic_ep",
        "Change the number of experts' devices",
    ),
    (
        Admin::Scale,
        "POST",
        "/is_scaling_elastic_ep",
        "Whether that is going on",
    ),
    (
        Admin::Scale,
        "POST",
        "/collective_rpc",
        "Call a method of every device",
    ),
    (
        Admin::Scale,
        "POST",
        "/v1/models/switch",
        "Load another model",
    ),
    (
        Admin::Info,
        "GET",
        "/server_info",
        "What the worker was started with",
    ),
    (
        Admin::Info,
        "GET",
        "/tokenizer_info",
        "The worker's tokenizer",
    ),
    (
        Admin::Metrics,
        "GET",
        "/metrics",
        "The worker's own metrics",
    ),
];

/// The rows that these options switch on, in the order of the claims.
pub fn rows(options: &Options) -> Vec<Row> {
    let served = |row: &&Row| match row.2 {
        Endpoint::Responses | Endpoint::Response => options.relays(Relayed::Responses),
        Endpoint::Audio => options.relays(Relayed::Audio),
        Endpoint::Messages => options.relays(Relayed::Messages),
        Endpoint::Pooling | Endpoint::Classify => options.relays(Relayed::Pooling),
        _ => true,
    };
    let admin = ADMIN.iter().filter(|row| options.admin.contains(&row.0));
    let admin = admin.map(|(_, method, path, purpose)| (*method, *path, Endpoint::Admin, *purpose));
    ENDPOINTS
        .iter()
        .filter(served)
        .copied()
        .chain(admin)
        .collect()
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
            Self::Audio => other("audio"),
            Self::Messages => other("messages"),
            Self::Pooling => other("pooling"),
            Self::Classify => other("classify"),
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
                | Self::Classify
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
        )
    }
}

/// The claims, with errors in this shape.
pub fn claims(options: &Options) -> Vec<Claim> {
    rows(options)
        .iter()
        .map(|(method, path, endpoint, _)| Claim {
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
                Endpoint::Messages => errors::of_messages(),
                _ => errors::templates(options.error_shape()),
            },
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
        // Not every server can rank or compare: a probe or the configuration says so.
        tasks: backend::probe::usual_tasks(),
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
        // `/tokenize` takes one text.
        extensions: vec![Extension {
            name: "one-at-a-time".to_owned(),
            payload: b"tokenize".to_vec(),
        }],
    }
}
