//! What clients may ask, where, and what the host must know of it.

use tollgate_sdk_protocol::{
    inference::TaskKind,
    plugin::{Attribute, Claim, Gathering, GrpcClaim, Manifest, MetricMapping, RestClaim, Surface},
    types::Extension,
};

use crate::{
    errors,
    options::{self, Options, Paths, Server},
    proto,
};

/// The dialect over HTTP with JSON.
pub const REST: &str = "kserve-rest";
/// The dialect over gRPC.
pub const GRPC: &str = "kserve-grpc";

/// The protocol's first version, over HTTP with JSON.
pub const V1: &str = "kserve-v1";

/// Header with the length of the JSON before raw tensors.
pub const HEAD_LENGTH: &str = "inference-header-content-length";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Live,
    Ready,
    ServerMetadata,
    Models,
    Index,
    ModelReady,
    ModelMetadata,
    Infer,
    StreamInfer,
    Generate,
    GenerateStream,
    /// Passed to a worker of the same dialect or refused; the task's name.
    Forward(&'static str),
    /// The same, with the model in the body.
    OpenAi(&'static str),
    /// What a path of the first version says behind the model's name: `:predict`, as a rule.
    V1Verb,
    /// Whether a model is ready, in the first version.
    V1Ready,
    /// A method that this path does not take.
    WrongMethod,
    /// A path of the protocol that this server has not: said in its own words.
    Absent,
}

/// One thing that clients may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Rest(&'static str, &'static str, Endpoint),
    /// A method of the one service.
    Grpc(&'static str, Endpoint),
}

use Door::{Grpc, Rest};

/// Paths of models, with and without versions.
const MODELS: [Door; 4] = [
    Rest("POST", "/v2/models/{model}/infer", Endpoint::Infer),
    Rest(
        "POST",
        "/v2/models/{model}/versions/{version}/infer",
        Endpoint::Infer,
    ),
    Rest("GET", "/v2/models/{model}", Endpoint::ModelMetadata),
    Rest(
        "GET",
        "/v2/models/{model}/versions/{version}",
        Endpoint::ModelMetadata,
    ),
];

const MODEL_METHODS: [Door; 3] = [
    Grpc("ModelInfer", Endpoint::Infer),
    Grpc("ModelMetadata", Endpoint::ModelMetadata),
    Grpc("ModelReady", Endpoint::ModelReady),
];

const MORE: [Door; 23] = [
    Rest("GET", "/v2/health/live", Endpoint::Live),
    Rest("GET", "/v2/health/ready", Endpoint::Ready),
    Rest("GET", "/v2", Endpoint::ServerMetadata),
    Rest("GET", "/v2/models", Endpoint::Models),
    Rest("GET", "/v2/models/{model}/ready", Endpoint::ModelReady),
    Rest(
        "GET",
        "/v2/models/{model}/versions/{version}/ready",
        Endpoint::ModelReady,
    ),
    Rest("POST", "/v2/repository/index", Endpoint::Index),
    Rest("POST", "/v2/models/{model}/generate", Endpoint::Generate),
    Rest(
        "POST",
        "/v2/models/{model}/versions/{version}/generate",
        Endpoint::Generate,
    ),
    Rest(
        "POST",
        "/v2/models/{model}/generate_stream",
        Endpoint::GenerateStream,
    ),
    Rest(
        "POST",
        "/v2/models/{model}/versions/{version}/generate_stream",
        Endpoint::GenerateStream,
    ),
    Rest(
        "GET",
        "/v2/models/{model}/config",
        Endpoint::Forward(CONFIG),
    ),
    Rest(
        "GET",
        "/v2/models/{model}/versions/{version}/config",
        Endpoint::Forward(CONFIG),
    ),
    Rest(
        "GET",
        "/v2/models/{model}/stats",
        Endpoint::Forward(STATISTICS),
    ),
    Rest(
        "GET",
        "/v2/models/{model}/versions/{version}/stats",
        Endpoint::Forward(STATISTICS),
    ),
    Grpc("ServerLive", Endpoint::Live),
    Grpc("ServerReady", Endpoint::Ready),
    Grpc("ServerMetadata", Endpoint::ServerMetadata),
    Grpc("ModelStreamInfer", Endpoint::StreamInfer),
    Grpc("RepositoryIndex", Endpoint::Index),
    Grpc("ModelConfig", Endpoint::Forward(CONFIG)),
    Grpc("ModelStatistics", Endpoint::Forward(STATISTICS)),
    // MLServer's other name for it.
    Rest(
        "POST",
        "/v2/models/{model}/infer_stream",
        Endpoint::Forward(INFER_STREAM),
    ),
];

const CONFIG: &str = "kserve-config";
const STATISTICS: &str = "kserve-statistics";
/// Streams of inferences over HTTP, as MLServer has them.
pub const INFER_STREAM: &str = "kserve-infer-stream";
/// What operators ask: only tokens whose tasks name it may.
pub const OPERATORS: &str = "admin";

const ADMIN: [Door; 11] = [
    // Of all models at once, whoever may ask which.
    Rest("GET", "/v2/models/stats", Endpoint::Forward(OPERATORS)),
    Rest(
        "POST",
        "/v2/repository/models/{model}/load",
        Endpoint::Forward(OPERATORS),
    ),
    Rest(
        "POST",
        "/v2/repository/models/{model}/unload",
        Endpoint::Forward(OPERATORS),
    ),
    Rest("GET", "/v2/trace/setting", Endpoint::Forward(OPERATORS)),
    Rest("POST", "/v2/trace/setting", Endpoint::Forward(OPERATORS)),
    Rest(
        "GET",
        "/v2/models/{model}/trace/setting",
        Endpoint::Forward(OPERATORS),
    ),
    Rest(
        "POST",
        "/v2/models/{model}/trace/setting",
        Endpoint::Forward(OPERATORS),
    ),
    Rest("GET", "/v2/logging", Endpoint::Forward(OPERATORS)),
    Rest("POST", "/v2/logging", Endpoint::Forward(OPERATORS)),
    Grpc("RepositoryModelLoad", Endpoint::Forward(OPERATORS)),
    Grpc("RepositoryModelUnload", Endpoint::Forward(OPERATORS)),
];

const OPENAI: [Door; 7] = [
    Rest(
        "POST",
        "/v3/chat/completions",
        Endpoint::OpenAi("openai-v3"),
    ),
    Rest("POST", "/v3/completions", Endpoint::OpenAi("openai-v3")),
    Rest("POST", "/v3/embeddings", Endpoint::OpenAi("openai-v3")),
    Rest("POST", "/v3/rerank", Endpoint::OpenAi("openai-v3")),
    Rest("POST", "/v3/tokenize", Endpoint::OpenAi("openai-v3")),
    Rest("POST", "/v3/responses", Endpoint::OpenAi("openai-v3")),
    Rest(
        "POST",
        "/v3/images/generations",
        Endpoint::OpenAi("openai-v3"),
    ),
];

/// Patterns are of whole segments: what stands behind the colon is looked at here.
const V1_VERB: Door = Rest("POST", "/v1/models/{model}", Endpoint::V1Verb);
const V1_READY: Door = Rest("GET", "/v1/models/{model}", Endpoint::V1Ready);

impl Door {
    /// What is asked here.
    pub fn endpoint(self) -> Endpoint {
        match self {
            Rest(_, _, endpoint) | Grpc(_, endpoint) => endpoint,
        }
    }

    fn claim(self, options: &Options) -> Claim {
        let (surface, dialect) = match self {
            Rest(method, path, endpoint) => {
                let rest = RestClaim {
                    method: method.to_owned(),
                    path: path.to_owned(),
                    gathering: match endpoint {
                        Endpoint::Infer => Gathering::Streamed,
                        _ if method == "GET" => Gathering::Nothing,
                        Endpoint::WrongMethod | Endpoint::Absent => Gathering::Nothing,
                        _ => Gathering::Whole,
                    },
                };
                let dialect = if endpoint.is_v1() { V1 } else { REST };
                (Surface::Rest(rest), dialect)
            }
            Grpc(method, endpoint) => {
                let stream = endpoint == Endpoint::StreamInfer;
                let grpc = GrpcClaim {
                    service: proto::SERVICE.to_owned(),
                    method: method.to_owned(),
                    client_streaming: stream,
                    server_streaming: stream,
                };
                (Surface::Grpc(grpc), GRPC)
            }
        };
        Claim {
            surface,
            task: self.endpoint().task(),
            errors: if self.endpoint().is_v1() {
                errors::v1_templates()
            } else {
                errors::templates(options)
            },
            // Which of the manifest's dialects it is: what may be passed hangs on it.
            extensions: vec![Extension {
                name: "dialect".to_owned(),
                payload: dialect.as_bytes().to_vec(),
            }],
        }
    }
}

impl Endpoint {
    /// Whether it is of the protocol's first version.
    pub fn is_v1(self) -> bool {
        matches!(self, Self::V1Verb | Self::V1Ready)
    }

    /// The task, for the host's authorization.
    pub fn task(self) -> Option<TaskKind> {
        Some(match self {
            Self::Live => TaskKind::ServerLive,
            Self::Ready => TaskKind::ServerReady,
            Self::ServerMetadata => TaskKind::ServerMetadata,
            Self::Models | Self::Index => TaskKind::ListModels,
            Self::ModelReady | Self::V1Ready => TaskKind::ModelReady,
            Self::ModelMetadata => TaskKind::ModelMetadata,
            Self::Infer | Self::StreamInfer | Self::V1Verb => TaskKind::Infer,
            Self::Generate | Self::GenerateStream => TaskKind::Generate,
            Self::Forward(name) | Self::OpenAi(name) => TaskKind::Other(name.to_owned()),
            Self::WrongMethod | Self::Absent => return None,
        })
    }
}

/// All that clients may ask with these options, in the order of the claims.
pub fn doors(options: &Options) -> Vec<Door> {
    let mut doors = MODELS.to_vec();
    doors.extend(MODEL_METHODS);
    match options.paths {
        Paths::All => doors.extend(MORE),
        // Over gRPC the host says by itself that there is no such method.
        Paths::Models => doors.extend(MORE.into_iter().filter_map(|door| match door {
            Rest(method, path, _) => Some(Rest(method, path, Endpoint::Absent)),
            Grpc(..) => None,
        })),
    }
    if options.openai_paths {
        doors.extend(OPENAI);
    }
    if options.admin {
        doors.extend(ADMIN);
    }
    // The host says 405 by itself; a server with another word needs doors for it.
    if options.wrong_method_status != 405 {
        let all = doors.clone();
        let rest = |door: &Door| match *door {
            Rest(method, path, _) => Some((method, path)),
            Grpc(..) => None,
        };
        for (_, path) in all.iter().filter_map(rest) {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                let door = Rest(method, path, Endpoint::WrongMethod);
                let taken = |door: &Door| rest(door) == Some((method, path));
                if !doors.iter().any(taken) {
                    doors.push(door);
                }
            }
        }
    }
    // After those: another frontend has the other methods of these paths (OpenAI's list of models).
    if let Some(v1) = &options.v1 {
        doors.extend(v1.clients.then_some(V1_VERB));
        doors.extend(v1.readiness.then_some(V1_READY));
    }
    doors
}

/// One claim a door.
pub fn claims(doors: &[Door], options: &Options) -> Vec<Claim> {
    doors.iter().map(|door| door.claim(options)).collect()
}

/// The same for every instance.
pub fn manifest() -> Manifest {
    let metric = |meaning: &str, metric: &str| MetricMapping {
        meaning: meaning.to_owned(),
        metric: metric.to_owned(),
    };
    Manifest {
        name: "kserve".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        dialects: vec![REST.to_owned(), GRPC.to_owned(), V1.to_owned()],
        tasks: vec![
            TaskKind::Infer,
            TaskKind::Generate,
            TaskKind::ModelMetadata,
            TaskKind::ModelReady,
        ],
        options_schema: options::SCHEMA.to_owned(),
        descriptors: vec![proto::DESCRIPTOR.to_vec()],
        read_headers: [
            HEAD_LENGTH,
            "triton_grpc_error",
            "mm-model-id",
            "mm-vmodel-id",
            "grpc-metadata-mm-model-id",
            "grpc-metadata-mm-vmodel-id",
        ]
        .map(str::to_owned)
        .to_vec(),
        // Which model it is was decided here; a worker's own routing must not decide again.
        // Ranks and priorities are the proxy's to give.
        strip_headers: [
            "mm-*",
            "grpc-metadata-mm-*",
            "tas-model-id",
            "x-route-info",
            "x-data-parallel-rank",
            "x-vllm-priority",
        ]
        .map(str::to_owned)
        .to_vec(),
        telemetry: vec![Attribute {
            name: "rpc.service".to_owned(),
            value: proto::SERVICE.to_owned(),
        }],
        worker_metrics: vec![
            metric("queued", "nv_inference_pending_request_count"),
            metric("queued", "ovms_infer_req_queue_size"),
            metric("running", "ovms_infer_req_active"),
        ],
        errors: errors::templates(&Options {
            // Here it is an unknown path, not an unknown model.
            not_found_status: 404,
            ..Options::of(Server::Triton)
        }),
        lowerings: Vec::new(),
        // A request to generate has one prompt.
        extensions: vec![Extension {
            name: "one-at-a-time".to_owned(),
            payload: b"generate".to_vec(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_doors_are_one() {
        for server in [Server::Triton, Server::Ovms, Server::Modelmesh] {
            let options = Options {
                admin: true,
                ..Options::of(server)
            };
            let doors = doors(&options);
            let places: HashSet<_> = doors
                .iter()
                .map(|door| match door {
                    Rest(method, path, _) => (*method, *path),
                    Grpc(method, _) => ("gRPC", *method),
                })
                .collect();
            assert_eq!(places.len(), doors.len());
            assert_eq!(claims(&doors, &options).len(), doors.len());
        }
    }

    #[test]
    fn what_shows_or_changes_more_than_one_model_is_for_operators() {
        let usual = doors(&Options::of(Server::Triton));
        let admin = doors(&Options {
            admin: true,
            ..Options::of(Server::Triton)
        });
        let added: Vec<_> = admin.iter().filter(|door| !usual.contains(door)).collect();
        assert_eq!(added.len(), ADMIN.len());
        for door in added {
            let task = door.endpoint().task();
            assert_eq!(task, Some(TaskKind::Other("admin".to_owned())), "{door:?}");
        }
        let path = |door: &Door| match *door {
            Rest(_, path, _) => path,
            Grpc(method, _) => method,
        };
        let theirs = |path: &str| {
            path == "/v2/models/stats"
                || ["/v2/logging", "trace/setting", "load", "Load", "Unload"]
                    .iter()
                    .any(|end| path.ends_with(end))
        };
        assert!(!usual.iter().map(path).any(theirs));
    }

    #[test]
    fn modelmesh_has_four_paths() {
        let doors = doors(&Options::of(Server::Modelmesh));
        let served = doors
            .iter()
            .filter(|door| matches!(door, Rest(_, _, endpoint) if *endpoint != Endpoint::Absent));
        assert_eq!(served.count(), 4);
        assert!(doors.contains(&Rest("GET", "/v2/health/live", Endpoint::Absent)));
    }

    #[test]
    fn ovms_says_406_where_others_say_405() {
        let wrong = Rest("GET", "/v2/models/{model}/infer", Endpoint::WrongMethod);
        assert!(doors(&Options::of(Server::Ovms)).contains(&wrong));
        assert!(!doors(&Options::of(Server::Triton)).contains(&wrong));
    }
}
