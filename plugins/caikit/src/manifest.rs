//! Who this plugin is, and what it serves.

use tollgate_sdk_protocol::{
    classify,
    inference::TaskKind,
    plugin::{Attribute, Claim, Gathering, GrpcClaim, Manifest, RestClaim, Surface},
    types::Extension,
};

use crate::{
    endpoint::{Endpoint, Info},
    errors, options,
    proto::{self, INFO_SERVICE, MODEL_ID, NLP_SERVICE},
};

/// The dialect of gRPC, which workers speak unless they are told otherwise.
pub const GRPC: &str = "caikit";
/// The dialect of REST.
pub const REST: &str = "caikit-rest";

/// What a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A task of the library.
    Task(Endpoint),
    /// A fact of the runtime.
    Info(Info),
}

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// HTTP and JSON.
    Rest,
    /// gRPC.
    Grpc,
}

/// Paths of facts. The second of the versions is the documented name, which runtimes
/// themselves do not have.
const INFO_PATHS: [(&str, Info); 4] = [
    ("/info/models", Info::Models),
    ("/info/version", Info::Version),
    ("/info/runtime", Info::Version),
    ("/health", Info::Health),
];

/// What is served, in the order of the claims, with the path or the method of each.
pub fn doors() -> impl Iterator<Item = (Door, What, &'static str)> {
    let tasks = |door: Door| {
        Endpoint::ALL.into_iter().map(move |endpoint| {
            let name = match door {
                Door::Rest => endpoint.path(),
                Door::Grpc => endpoint.method(),
            };
            (door, What::Task(endpoint), name)
        })
    };
    tasks(Door::Rest)
        .chain(INFO_PATHS.map(|(path, info)| (Door::Rest, What::Info(info), path)))
        .chain(tasks(Door::Grpc))
        .chain([
            (Door::Grpc, What::Info(Info::Models), "GetModelsInfo"),
            (Door::Grpc, What::Info(Info::Version), "GetRuntimeInfo"),
        ])
}

/// One a door.
pub fn claims() -> Vec<Claim> {
    doors()
        .map(|(door, what, name)| Claim {
            surface: surface(door, what, name),
            task: Some(match what {
                What::Task(endpoint) => endpoint.task(),
                What::Info(info) => info.task(),
            }),
            errors: match door {
                Door::Rest => errors::templates(),
                Door::Grpc => Vec::new(),
            },
            extensions: match door {
                Door::Rest => vec![Extension {
                    name: "dialect".to_owned(),
                    payload: REST.as_bytes().to_vec(),
                }],
                Door::Grpc => Vec::new(),
            },
        })
        .collect()
}

fn surface(door: Door, what: What, name: &str) -> Surface {
    match (door, what) {
        (Door::Rest, What::Task(_)) => rest("POST", name, Gathering::Whole),
        (Door::Rest, What::Info(_)) => rest("GET", name, Gathering::Nothing),
        (Door::Grpc, What::Task(endpoint)) => grpc(NLP_SERVICE, name, endpoint.streams()),
        (Door::Grpc, What::Info(_)) => grpc(INFO_SERVICE, name, false),
    }
}

fn rest(method: &str, path: &str, gathering: Gathering) -> Surface {
    Surface::Rest(RestClaim {
        method: method.to_owned(),
        path: path.to_owned(),
        gathering,
    })
}

fn grpc(service: &str, method: &str, server_streaming: bool) -> Surface {
    Surface::Grpc(GrpcClaim {
        service: service.to_owned(),
        method: method.to_owned(),
        client_streaming: false,
        server_streaming,
    })
}

/// The same for every instance.
pub fn manifest() -> Manifest {
    Manifest {
        name: "caikit".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        dialects: vec![GRPC.to_owned(), REST.to_owned()],
        tasks: vec![
            TaskKind::Generate,
            TaskKind::Embed,
            TaskKind::Similarity,
            TaskKind::Rerank,
            TaskKind::Tokenize,
            classify::texts_kind(),
            classify::tokens_kind(),
            TaskKind::ListModels,
            TaskKind::ModelMetadata,
            TaskKind::ModelReady,
            TaskKind::ServerLive,
            TaskKind::ServerReady,
            TaskKind::ServerMetadata,
        ],
        options_schema: options::SCHEMA.to_owned(),
        descriptors: vec![proto::DESCRIPTOR.to_vec()],
        read_headers: vec!["content-type".to_owned(), MODEL_ID.to_owned()],
        // The first names a backend by its host; the others a model, which is the
        // proxy's to say.
        strip_headers: vec!["x-route-info".to_owned(), "mm-*".to_owned()],
        telemetry: vec![Attribute {
            name: "rpc.service".to_owned(),
            value: NLP_SERVICE.to_owned(),
        }],
        worker_metrics: Vec::new(),
        errors: errors::of_the_framework(),
        lowerings: Vec::new(),
        // These tasks have no plural: of several prompts or texts each is a request.
        extensions: vec![Extension {
            name: "one-at-a-time".to_owned(),
            payload: b"generate\ntokenize".to_vec(),
        }],
    }
}
