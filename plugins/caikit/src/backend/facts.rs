//! Asks a worker for facts of its own: models, version, health; and reads the answers,
//! which probes get too.

use std::collections::BTreeMap;

use prost::Message;
use serde::Deserialize;
use serde_json::{Map, Value};
use tollgate_sdk_protocol::{
    backend::{Request, RestSurface, Surface},
    failure,
    inference::{Call, Event, Extra, ModelInfo as Neutral, ServerInfo, Task, TaskKind},
    types::{Failure, Segment},
};

use crate::{
    carried,
    endpoint::Info,
    grpc::{decode_answer, structs},
    options::Transport,
    proto::{ModelInfo, ModelInfoRequest, ModelInfoResponse, RuntimeInfoResponse},
};

/// Modules of caikit-nlp, and what each can do. Of others the runtime does not tell: they
/// are asked anything.
const MODULES: [(&str, &[TaskKind]); 3] = [
    (
        "eeb12558-b4fa-4f34-a9fd-3f5890e9cd3f",
        &[
            TaskKind::Embed,
            TaskKind::Similarity,
            TaskKind::Rerank,
            TaskKind::Tokenize,
        ],
    ),
    (
        "1673f8f2-726f-48cb-93a1-540c81f0f3c9",
        &[TaskKind::Rerank, TaskKind::Tokenize],
    ),
    (
        "f9181353-4ccf-4572-bd1e-f12bcda26792",
        &[TaskKind::Generate, TaskKind::Tokenize],
    ),
];

/// Which fact a task is for.
pub fn of(task: &Task) -> Option<Info> {
    match task {
        Task::ListModels | Task::ModelMetadata | Task::ModelReady => Some(Info::Models),
        Task::ServerMetadata => Some(Info::Version),
        Task::ServerLive | Task::ServerReady => Some(Info::Health),
        _ => None,
    }
}

/// The request for a fact; none for a task that is about none.
pub fn request(call: &Call, transport: Transport) -> Option<Request> {
    let info = of(&call.task)?;
    let id = match call.task {
        Task::ModelMetadata | Task::ModelReady => Some(call.model.as_str()),
        _ => None,
    };
    let (surface, body) = ask(info, id, transport);
    Some(Request {
        surface,
        headers: Vec::new(),
        body: if body.is_empty() {
            Vec::new()
        } else {
            vec![Segment::Inline(body)]
        },
        end: true,
    })
}

/// Where a fact is asked for, and how.
pub fn ask(info: Info, id: Option<&str>, transport: Transport) -> (Surface, Vec<u8>) {
    match transport {
        Transport::Grpc => {
            let request = ModelInfoRequest {
                model_ids: id.map(str::to_owned).into_iter().collect(),
            };
            (Surface::Grpc(info.rpc()), request.encode_to_vec())
        }
        Transport::Rest => {
            let mut path = info.path().to_owned();
            if let Some(id) = id {
                path.push_str("?model_ids=");
                path.push_str(&escaped(id));
            }
            let surface = RestSurface {
                method: "GET".to_owned(),
                path,
            };
            (Surface::Rest(surface), Vec::new())
        }
    }
}

/// Percent-encoded: everything but the unreserved characters (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The event that an answer is.
///
/// # Errors
/// When it is none.
pub fn event(call: &Call, transport: Transport, body: &[u8]) -> Result<Event, Failure> {
    Ok(match &call.task {
        Task::ListModels => Event::Models(models(body, transport)?),
        Task::ModelMetadata => {
            let mut models = models(body, transport)?;
            models.retain(|model| model.name == call.model);
            if models.is_empty() {
                return Err(failure::of(
                    tollgate_sdk_protocol::types::FailureKind::NotFound,
                    format!("Model {} is not loaded", call.model),
                ));
            }
            Event::Models(models)
        }
        Task::ModelReady => {
            let models = models(body, transport)?;
            Event::Ready(models.iter().any(|it| it.name == call.model && it.ready))
        }
        Task::ServerMetadata => Event::Metadata(version(body, transport)?),
        _ => Event::Ready(healthy(body, transport)),
    })
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct HealthReply {
    /// 1 is SERVING.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Whether a health check that succeeded says that the runtime serves.
pub fn healthy(body: &[u8], transport: Transport) -> bool {
    match transport {
        Transport::Grpc => HealthReply::decode(body).is_ok_and(|reply| reply.status == 1),
        Transport::Rest => true,
    }
}

#[derive(Deserialize)]
struct List {
    models: Vec<Listed>,
}

/// A model as REST tells it; any member may be null.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Listed {
    model_path: Option<String>,
    name: Option<String>,
    size: Option<i64>,
    metadata: Option<Map<String, Value>>,
    loaded: Option<bool>,
    module_id: Option<String>,
    module_metadata: Option<BTreeMap<String, String>>,
}

/// The models of a list.
///
/// # Errors
/// When it is no list.
pub fn models(body: &[u8], transport: Transport) -> Result<Vec<Neutral>, Failure> {
    let all = match transport {
        Transport::Grpc => decode_answer::<ModelInfoResponse>(body)?.models,
        Transport::Rest => {
            let list: List = parse(body)?;
            let info = |model: Listed| ModelInfo {
                model_path: model.model_path.unwrap_or_default(),
                name: model.name.unwrap_or_default(),
                size: model.size.unwrap_or_default(),
                metadata: model.metadata.as_ref().map(structs::from_json),
                module_id: model.module_id.unwrap_or_default(),
                module_metadata: model.module_metadata.unwrap_or_default(),
                loaded: model.loaded.unwrap_or_default(),
            };
            list.models.into_iter().map(info).collect()
        }
    };
    Ok(all.iter().map(neutral).collect())
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        failure::upstream_invalid(format!("the worker's answer cannot be read: {error}"))
    })
}

fn neutral(info: &ModelInfo) -> Neutral {
    let limit = info
        .metadata
        .as_ref()
        .map(structs::to_json)
        .and_then(|facts| facts.get("max_seq_length")?.as_u64())
        .and_then(|limit| u32::try_from(limit).ok());
    let module = MODULES.iter().find(|(id, _)| *id == info.module_id);
    Neutral {
        name: info.name.clone(),
        versions: Vec::new(),
        max_length: limit,
        max_new_tokens: None,
        parent: None,
        tasks: module.map_or_else(Vec::new, |(_, tasks)| tasks.to_vec()),
        ready: info.loaded,
        platform: "caikit".to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        extensions: vec![carried::model(info)],
    }
}

#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    runtime_version: Option<String>,
    #[serde(default)]
    python_packages: Option<BTreeMap<String, String>>,
}

fn version(body: &[u8], transport: Transport) -> Result<ServerInfo, Failure> {
    let (version, packages) = match transport {
        Transport::Grpc => {
            let info: RuntimeInfoResponse = decode_answer(body)?;
            (info.runtime_version, info.python_packages)
        }
        Transport::Rest => {
            let info: Version = parse(body)?;
            (
                info.runtime_version.unwrap_or_default(),
                info.python_packages.unwrap_or_default(),
            )
        }
    };
    // A runtime that was given no version of its own says none: it is its package's.
    let version = if version.is_empty() {
        packages.get("caikit").cloned().unwrap_or_default()
    } else {
        version
    };
    let fact = |(name, version): (&String, &String)| Extra {
        name: name.clone(),
        json: Value::from(version.as_str()).to_string(),
    };
    Ok(ServerInfo {
        name: "caikit".to_owned(),
        version,
        features: Vec::new(),
        facts: packages.iter().map(fact).collect(),
    })
}
