//! Where each thing is asked.

use super::Endpoint;
use crate::options::{Admin, Options, Relayed};

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

/// What begins the paths of OpenVINO Model Server.
const OVMS_PREFIX: &str = "/v3/";

/// Paths that it has there (model_server at 7e4df0c7, `docs/model_server_rest_api_*.md`), and the one
/// above that each is another of.
const OVMS_TWINS: [(&str, &str); 10] = [
    ("/v3/models", "/v1/models"),
    ("/v3/models/{id...}", "/v1/models/{id...}"),
    ("/v3/chat/completions", "/v1/chat/completions"),
    ("/v3/completions", "/v1/completions"),
    ("/v3/embeddings", "/v1/embeddings"),
    ("/v3/rerank", "/rerank"),
    ("/v3/tokenize", "/tokenize"),
    ("/v3/responses", "/v1/responses"),
    ("/v3/audio/transcriptions", "/v1/audio/transcriptions"),
    ("/v3/audio/translations", "/v1/audio/translations"),
];

/// What it alone serves there.
const OVMS: [Row; 3] = [
    (
        "POST",
        "/v3/audio/speech",
        Endpoint::Speech,
        "Speech of a text",
    ),
    (
        "POST",
        "/v3/images/generations",
        Endpoint::Images,
        "An image of a text",
    ),
    (
        "POST",
        "/v3/images/edits",
        Endpoint::ImageEdits,
        "Another image of an image",
    ),
];

/// Rows of OpenVINO Model Server, which stand behind all else.
fn ovms() -> impl Iterator<Item = Row> {
    let twins = OVMS_TWINS.iter().filter_map(|(path, other)| {
        let row = ENDPOINTS.iter().find(|row| row.1 == *other)?;
        Some((row.0, *path, row.2, row.3))
    });
    twins.chain(OVMS)
}

/// Whether a row is one of OpenVINO Model Server's.
pub fn is_ovms(row: &Row) -> bool {
    row.1.starts_with(OVMS_PREFIX)
}

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
    let served = |row: &Row| match row.2 {
        Endpoint::Responses | Endpoint::Response => options.relays(Relayed::Responses),
        Endpoint::Audio | Endpoint::Speech => options.relays(Relayed::Audio),
        Endpoint::Images | Endpoint::ImageEdits => options.relays(Relayed::Images),
        Endpoint::Messages => options.relays(Relayed::Messages),
        Endpoint::Pooling | Endpoint::Classify => options.relays(Relayed::Pooling),
        _ => true,
    };
    let admin = ADMIN.iter().filter(|row| options.admin.contains(&row.0));
    let admin = admin.map(|(_, method, path, purpose)| (*method, *path, Endpoint::Admin, *purpose));
    let ovms = options.ovms_paths.then(ovms).into_iter().flatten();
    let endpoints = ENDPOINTS.into_iter().filter(served);
    endpoints.chain(admin).chain(ovms.filter(served)).collect()
}
