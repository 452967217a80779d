//! How a worker is: whether it is ready, which models it has, and how loaded it is.
//!
//! 1. Whether it is ready, where it says so.
//! 2. Its index of models, where it has one.
//! 3. Its metrics, where they are on the same port.
//! 4. Metadata of the configured models, as many as there is room for.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::Value;
use tollgate_sdk_protocol::{
    actions,
    backend::{Health, ProbeRequest, ProbeResponse, RestSurface, Surface, Worker},
    health,
    inference::ModelInfo,
};

use super::{
    Link,
    metadata::{model, of_json, of_message},
    v1,
};
use crate::{
    frontend::{Form, model_header, model_in_message, segment_of},
    options::{Index, Target},
    proto::{
        ModelMetadataRequest, ModelMetadataResponse, RepositoryIndexRequest,
        RepositoryIndexResponse, SERVICE, ServerReadyRequest, ServerReadyResponse,
    },
};

/// Requests of one probe.
const REQUESTS: usize = 4;

/// What one request of a probe is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Ready,
    Index,
    Metrics(String),
    Model(String),
}

fn plan(link: &Link, worker: &Worker) -> Vec<Asked> {
    let target = &link.target;
    let mut all = Vec::new();
    if target.health {
        all.push(Asked::Ready);
    }
    let indexed = match target.index {
        Index::None => false,
        Index::Repository => true,
        // These have no form over gRPC.
        Index::Models | Index::Config => !link.grpc,
    };
    if indexed {
        all.push(Asked::Index);
    }
    if let (Some(path), false) = (&target.metrics, link.grpc) {
        all.push(Asked::Metrics(path.clone()));
    }
    let models = worker.models.iter().cloned().map(Asked::Model);
    all.extend(models);
    all.truncate(REQUESTS);
    all
}

/// What to ask a worker.
pub fn probe(link: &Link, worker: &Worker) -> Vec<ProbeRequest> {
    let form = if link.grpc { Form::Grpc } else { Form::Rest };
    let requests = plan(link, worker).into_iter().map(|asked| {
        let headers = match &asked {
            Asked::Model(name) => model_header(&link.target, form, name),
            _ => Vec::new(),
        };
        let (surface, body) = if link.grpc {
            let (method, message) = grpc(&asked, &link.target);
            (Surface::Grpc(format!("{SERVICE}/{method}")), message)
        } else {
            let (method, path, body) = rest(&asked, link);
            let method = method.to_owned();
            (Surface::Rest(RestSurface { method, path }), body)
        };
        let mut request = ProbeRequest {
            surface,
            headers,
            body,
        };
        if !link.grpc && !request.body.is_empty() {
            let json = actions::header("content-type", "application/json");
            request.headers.push(json);
        }
        request
    });
    requests.collect()
}

fn grpc(asked: &Asked, target: &Target) -> (&'static str, Vec<u8>) {
    match asked {
        // Metrics are not asked for over gRPC.
        Asked::Ready | Asked::Metrics(_) => ("ServerReady", ServerReadyRequest {}.encode_to_vec()),
        Asked::Index => {
            let all = RepositoryIndexRequest::default();
            ("RepositoryIndex", all.encode_to_vec())
        }
        Asked::Model(name) => {
            let model = ModelMetadataRequest {
                name: model_in_message(target, name).to_owned(),
                version: String::new(),
            };
            ("ModelMetadata", model.encode_to_vec())
        }
    }
}

fn rest(asked: &Asked, link: &Link) -> (&'static str, String, Vec<u8>) {
    match asked {
        Asked::Model(name) if link.v1 => ("GET", v1::path(name), Vec::new()),
        Asked::Index if link.v1 => ("GET", "/v1/models".to_owned(), Vec::new()),
        Asked::Ready => ("GET", "/v2/health/ready".to_owned(), Vec::new()),
        Asked::Metrics(path) => ("GET", path.clone(), Vec::new()),
        Asked::Model(name) => (
            "GET",
            format!("/v2/models/{}", segment_of(name)),
            Vec::new(),
        ),
        Asked::Index => match link.target.index {
            Index::Models => ("GET", "/v2/models".to_owned(), Vec::new()),
            Index::Config => ("GET", "/v1/config".to_owned(), Vec::new()),
            // MLServer takes no empty body.
            Index::Repository | Index::None => {
                ("POST", "/v2/repository/index".to_owned(), b"{}".to_vec())
            }
        },
    }
}

/// Reads the answers.
pub fn judge(link: &Link, worker: &Worker, responses: &[ProbeResponse]) -> Health {
    let mut health = health::ready(Vec::new());
    let mut models: BTreeMap<String, ModelInfo> = BTreeMap::new();
    let mut any_model = None;
    for (asked, response) in plan(link, worker).iter().zip(responses) {
        let good = match response.code {
            Some(code) => code == 0,
            None => response.status == 200 && !link.grpc,
        };
        match asked {
            Asked::Ready => {
                let says = !link.grpc
                    || ServerReadyResponse::decode(response.body.as_slice())
                        .is_ok_and(|it| it.ready);
                if !good || !says {
                    return health::unwell(why(response));
                }
            }
            Asked::Index if good => {
                for (name, version, ready) in index(link, &response.body) {
                    add(&mut models, link, name, version, ready);
                }
            }
            Asked::Metrics(_) if good => {
                let text = String::from_utf8_lossy(&response.body);
                health.queued = sum(&text, "ovms_infer_req_queue_size")
                    .or_else(|| sum(&text, "nv_inference_pending_request_count"));
                health.running = sum(&text, "ovms_infer_req_active");
            }
            // Of such a worker nothing else tells whether it is there.
            Asked::Index if link.v1 && worker.models.is_empty() => {
                return health::unwell(why(response));
            }
            Asked::Index | Asked::Metrics(_) => {}
            Asked::Model(name) => {
                any_model = Some(any_model.unwrap_or(false) || good);
                let told = if good {
                    metadata(link, name, &response.body)
                } else {
                    None
                };
                let mut info = told.unwrap_or_else(|| ModelInfo {
                    ready: false,
                    ..model(name, &link.target)
                });
                // ModelMesh tells its own name for it.
                info.name.clone_from(name);
                models.insert(name.clone(), info);
            }
        }
    }
    if !link.target.health && any_model == Some(false) {
        let last = responses.last().map(why).unwrap_or_default();
        return health::unwell(last);
    }
    for name in &worker.models {
        // One that there was no room to ask about is taken to be there.
        let absent = models.is_empty() || !indexes(link);
        if !models.contains_key(name) && absent {
            models.insert(name.clone(), model(name, &link.target));
        }
    }
    health.models = models.into_values().collect();
    health
}

fn indexes(link: &Link) -> bool {
    match link.target.index {
        Index::None => false,
        Index::Repository => true,
        Index::Models | Index::Config => !link.grpc,
    }
}

fn why(response: &ProbeResponse) -> String {
    match (response.status, response.code) {
        (0, _) => "it cannot be reached".to_owned(),
        (_, Some(code)) if code != 0 => format!("it answers with gRPC status {code}"),
        (200, _) => "it says that it is not ready".to_owned(),
        (status, _) => format!("it answers with status {status}"),
    }
}

fn add(
    models: &mut BTreeMap<String, ModelInfo>,
    link: &Link,
    name: String,
    version: String,
    ready: bool,
) {
    let info = models.entry(name.clone()).or_insert_with(|| ModelInfo {
        ready: false,
        ..model(&name, &link.target)
    });
    info.ready |= ready;
    if ready && !version.is_empty() {
        info.versions.push(version);
    }
}

/// Name, version and readiness of every model of an index.
fn index(link: &Link, body: &[u8]) -> Vec<(String, String, bool)> {
    if link.grpc {
        let told = RepositoryIndexResponse::decode(body).unwrap_or_default();
        let one = |it: crate::proto::repository_index_response::ModelIndex| {
            // Of a server that does not say, what is listed is there.
            // MLServer writes its own name of the kind before the state.
            let state = it.state.rsplit('.').next().unwrap_or_default();
            let ready = state == "READY" || state.is_empty();
            (it.name, it.version, ready)
        };
        return told.models.into_iter().map(one).collect();
    }
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match link.target.index {
        Index::Models => {
            let names = told["models"].as_array().into_iter().flatten();
            names
                .map(|name| (text(name), String::new(), true))
                .collect()
        }
        Index::Config => {
            let mut all = Vec::new();
            for (name, status) in told.as_object().into_iter().flatten() {
                let versions = status["model_version_status"].as_array();
                for version in versions.into_iter().flatten() {
                    let ready = version["state"] == "AVAILABLE";
                    all.push((name.clone(), text(&version["version"]), ready));
                }
            }
            all
        }
        Index::Repository | Index::None => {
            let list = told.as_array().into_iter().flatten();
            list.map(|it| {
                let state = it["state"].as_str().unwrap_or("READY");
                (
                    text(&it["name"]),
                    text(&it["version"]),
                    state == "READY" || state.is_empty(),
                )
            })
            .collect()
        }
    }
}

fn metadata(link: &Link, name: &str, body: &[u8]) -> Option<ModelInfo> {
    if link.v1 {
        return v1::is_ready(body).then(|| v1::model(name, &link.target));
    }
    if link.grpc {
        let told = ModelMetadataResponse::decode(body).ok()?;
        return Some(of_message(told, &link.target));
    }
    of_json(&serde_json::from_slice(body).ok()?, &link.target)
}

/// The sum of a metric over all its labels; none: it is not there.
fn sum(text: &str, name: &str) -> Option<u32> {
    let mut total = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        if !rest.starts_with(['{', ' ']) {
            continue;
        }
        let value = line.rsplit(' ').next()?.parse::<f64>().ok()?;
        *total.get_or_insert(0.0) += value;
    }
    // A count of requests; what is beyond the type is its limit.
    total.map(|total: f64| total as u32)
}
