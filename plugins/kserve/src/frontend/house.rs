//! What the host knows by itself: whether it and its models are ready, and which there are.
//! The calls are made like any other; no worker is asked.

use std::sync::Arc;

use prost::Message;
use serde_json::{Value, json};
use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    frontend::{Action, Intent, RequestHead},
    inference::{Call, Event, ModelInfo, ServerInfo, Task, TaskKind},
    one_call::{self, CALL, Read},
    types::{Failure, FailureKind, Progress, Segment},
};

use super::{
    Form, intent, invalid, known_version, metadata::whole, model_of_headers, no_version, parameter,
    status,
};
use crate::{
    options::{HealthBody, Options},
    proto::{
        ModelReadyRequest, ModelReadyResponse, RepositoryIndexRequest, RepositoryIndexResponse,
        ServerLiveResponse, ServerMetadataResponse, ServerReadyResponse,
        repository_index_response::ModelIndex,
    },
};

/// What is asked of the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Live,
    Ready,
    /// Name, version and extensions.
    Server,
    /// Whether one model is ready.
    Model,
    /// Names of the models.
    Models,
    /// Models with their states.
    Index,
}

/// What is asked at the doors of the house.
pub struct House {
    options: Arc<Options>,
    form: Form,
    kind: Kind,
    head: RequestHead,
    model: String,
    version: String,
    only_ready: bool,
}

/// Extensions of the protocol that are understood here.
const EXTENSIONS: [&str; 6] = [
    "binary_tensor_data",
    "classification",
    "sequence",
    "parameters",
    "model_configuration",
    "statistics",
];

impl House {
    pub fn new(options: Arc<Options>, form: Form, kind: Kind, head: RequestHead) -> Self {
        Self {
            model: parameter(&head, "model"),
            version: parameter(&head, "version"),
            options,
            form,
            kind,
            head,
            only_ready: false,
        }
    }

    fn read_request(&mut self, message: &[u8]) -> Result<(), Failure> {
        let bad = |_| invalid("the message is not valid protocol buffers");
        match (self.kind, self.form) {
            (Kind::Model, Form::Grpc) => {
                let asked = ModelReadyRequest::decode(message).map_err(bad)?;
                (self.model, self.version) = (asked.name, asked.version);
                known_version(&self.version)?;
                if self.model.is_empty() {
                    self.model = model_of_headers(&self.head)?;
                }
            }
            (Kind::Index, Form::Grpc) => {
                self.only_ready = RepositoryIndexRequest::decode(message).map_err(bad)?.ready;
            }
            (Kind::Index, Form::Rest) if !message.is_empty() => {
                let asked: Value = serde_json::from_slice(message)
                    .map_err(|error| invalid(format!("failed to parse the JSON: {error}")))?;
                self.only_ready = asked["ready"].as_bool().unwrap_or(false);
            }
            _ => {}
        }
        Ok(())
    }

    /// A truth, in a body or by a status.
    fn truth(&self, member: &str, is: bool) -> Vec<Action> {
        let code = if is {
            200
        } else {
            self.options.not_ready_status
        };
        match self.options.health_body {
            HealthBody::Empty => actions::respond(code, "application/json", Vec::new()),
            HealthBody::Json => {
                let mut body = json!({ (member): is });
                if self.kind == Kind::Model {
                    body["name"] = self.model.clone().into();
                }
                actions::respond_json(code, body.to_string().into_bytes())
            }
        }
    }

    fn ready(&self, is: bool) -> Vec<Action> {
        match (self.form, self.kind) {
            (Form::Rest, Kind::Live) => self.truth("live", is),
            (Form::Rest, _) => self.truth("ready", is),
            (Form::Grpc, Kind::Live) => message(&ServerLiveResponse { live: is }),
            (Form::Grpc, Kind::Ready) => message(&ServerReadyResponse { ready: is }),
            (Form::Grpc, _) => message(&ModelReadyResponse { ready: is }),
        }
    }

    fn server(&self, info: ServerInfo) -> Vec<Action> {
        let (name, version) = (self.options.server_name.clone(), info.version);
        match self.form {
            Form::Rest => {
                let body = json!({"name": name, "version": version, "extensions": EXTENSIONS});
                actions::respond_json(200, body.to_string().into_bytes())
            }
            Form::Grpc => message(&ServerMetadataResponse {
                name,
                version,
                extensions: EXTENSIONS.map(str::to_owned).to_vec(),
            }),
        }
    }

    fn models(&self, models: Vec<ModelInfo>) -> Result<Vec<Action>, Failure> {
        if self.kind == Kind::Model {
            return self.one_model(&models);
        }
        if self.kind == Kind::Models {
            let names: Vec<&str> = models.iter().map(|it| it.name.as_str()).collect();
            let body = json!({ "models": names }).to_string();
            return Ok(actions::respond_json(200, body.into_bytes()));
        }
        let index: Vec<ModelIndex> = models
            .iter()
            .filter(|model| model.ready || !self.only_ready)
            .flat_map(|model| {
                let state = if model.ready { "READY" } else { "UNAVAILABLE" };
                let versions = match model.versions.as_slice() {
                    [] => vec!["1".to_owned()],
                    known => known.to_vec(),
                };
                versions.into_iter().map(move |version| ModelIndex {
                    name: model.name.clone(),
                    version,
                    state: state.to_owned(),
                    reason: String::new(),
                })
            })
            .collect();
        Ok(match self.form {
            Form::Grpc => message(&RepositoryIndexResponse { models: index }),
            Form::Rest => {
                let one = |it: &ModelIndex| json!({"name": it.name, "version": it.version, "state": it.state});
                let body: Value = index.iter().map(one).collect();
                actions::respond_json(200, body.to_string().into_bytes())
            }
        })
    }

    /// A model in a version, by the list of all.
    fn one_model(&self, models: &[ModelInfo]) -> Result<Vec<Action>, Failure> {
        let unknown = |what: String| {
            failure::of(
                FailureKind::NotFound,
                format!("Request for unknown model: {what} is not found"),
            )
        };
        let found = models.iter().find(|model| model.name == self.model);
        let model = found.ok_or_else(|| unknown(format!("'{}'", self.model)))?;
        let known = match model.versions.as_slice() {
            [] => self.version == "1",
            known => known.contains(&self.version),
        };
        if !known {
            let failed = unknown(format!("'{}' version {}", self.model, self.version));
            return Ok(no_version(&self.options, self.form, failed));
        }
        Ok(self.ready(model.ready))
    }

    fn task(&self) -> TaskKind {
        match self.kind {
            Kind::Live => TaskKind::ServerLive,
            Kind::Ready => TaskKind::ServerReady,
            Kind::Server => TaskKind::ServerMetadata,
            // Which versions there are stands in the list only.
            Kind::Model if !self.version.is_empty() => TaskKind::ListModels,
            Kind::Model => TaskKind::ModelReady,
            Kind::Models | Kind::Index => TaskKind::ListModels,
        }
    }
}

/// A whole gRPC answer.
fn message(message: &impl Message) -> Vec<Action> {
    vec![
        Action::Message(vec![Segment::Inline(message.encode_to_vec())]),
        status(0, None),
        Action::Finish,
    ]
}

impl one_call::Ask for House {
    fn read(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<Read, Failure> {
        // Without a body there is no source either.
        let empty = progress.end && progress.available == 0;
        if !empty {
            let Some(request) = whole(bytes, progress)? else {
                return Ok(Read::Need(actions::whole(progress.source)));
            };
            self.read_request(&request)?;
        } else if self.form == Form::Grpc {
            self.read_request(&[])?;
        }
        Ok(Read::Call(Intent {
            version: (!self.version.is_empty()).then(|| self.version.clone()),
            ..intent(CALL, self.task(), &self.model)
        }))
    }

    fn call(&mut self, model: String) -> Result<Call, Failure> {
        Ok(Call {
            model,
            version: None,
            streaming: false,
            task: match self.task() {
                TaskKind::ServerLive => Task::ServerLive,
                TaskKind::ServerReady => Task::ServerReady,
                TaskKind::ServerMetadata => Task::ServerMetadata,
                TaskKind::ModelReady => Task::ModelReady,
                _ => Task::ListModels,
            },
            extensions: Vec::new(),
        })
    }

    fn event(&mut self, _: &dyn Bytes, event: Event, out: &mut Vec<Action>) -> Result<(), Failure> {
        match event {
            Event::Ready(is) => out.extend(self.ready(is)),
            Event::Metadata(info) => out.extend(self.server(info)),
            Event::Models(models) => out.extend(self.models(models)?),
            _ => {}
        }
        Ok(())
    }
}
