//! The options of the plugin, and those of a worker.
//!
//! Servers of this protocol differ. Each difference is an option of its own, and `server`
//! sets all of them at once, as one of the servers has them; what stands beside it wins. Which
//! tensors are texts no server says, so that those who want other tasks made of tensors, or
//! tensors of other tasks, have to: that is `texts`.

mod target;
mod texts;
mod v1;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use tollgate_sdk_protocol::plugin::Problem;

pub use target::{Index, ModelHeader, Streams, Target};
pub use texts::{Embed, Generate, Offered, Over, Texts, ToText, ToVectors};
pub use v1::{Answers, V1, V1Worker};

/// JSON Schema of the plugin's options.
pub const SCHEMA: &str = include_str!("../options.json");

/// The servers whose ways are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// NVIDIA Triton Inference Server.
    #[default]
    Triton,
    /// OpenVINO Model Server.
    Ovms,
    /// MLServer.
    Mlserver,
    /// The Python server of KServe.
    KservePython,
    /// ModelMesh, with its REST proxy.
    Modelmesh,
}

/// What the body of a good health or readiness answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthBody {
    /// Nothing.
    Empty,
    /// `{"live":true}`, `{"ready":true}`, `{"name":…,"ready":true}`.
    Json,
}

/// What an error's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorShape {
    /// `{"error": message}`.
    Error,
    /// `{"code": gRPC code, "message": message, "details": []}`.
    Status,
}

/// Which paths are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paths {
    /// All of the protocol's.
    All,
    /// Metadata and inference of models, and nothing else (ModelMesh).
    Models,
}

/// What is done with parameters that name memory of the server's own machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SharedMemory {
    /// They are refused.
    Refuse,
    /// They are passed on to a worker of the client's dialect, and never translated.
    Pass,
}

/// Options of the plugin: how it looks to clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Options {
    pub server: Server,
    pub health_body: HealthBody,
    pub error_shape: ErrorShape,
    pub not_ready_status: u16,
    pub wrong_method_status: u16,
    pub not_found_status: u16,
    pub paths: Paths,
    pub base64_bytes: bool,
    pub string_shapes: bool,
    pub typed_answers: bool,
    pub shared_memory: SharedMemory,
    pub openai_paths: bool,
    pub admin: bool,
    pub server_name: String,
    pub default_max_tokens: u32,
    /// Models whose tensors are texts, by the names that clients use.
    #[serde(default)]
    pub models: BTreeMap<String, Texts>,
    /// The protocol's first version; none: it is off.
    #[serde(default)]
    pub v1: Option<V1>,
}

impl Options {
    /// As one of the servers has them.
    pub fn of(server: Server) -> Self {
        let usual = Self {
            server,
            health_body: HealthBody::Empty,
            error_shape: ErrorShape::Error,
            not_ready_status: 503,
            wrong_method_status: 405,
            not_found_status: 404,
            paths: Paths::All,
            base64_bytes: false,
            string_shapes: false,
            typed_answers: false,
            shared_memory: SharedMemory::Refuse,
            openai_paths: false,
            admin: false,
            server_name: "tollgate".to_owned(),
            default_max_tokens: 16,
            models: BTreeMap::new(),
            v1: None,
        };
        match server {
            Server::Triton => Self {
                not_ready_status: 400,
                not_found_status: 400,
                ..usual
            },
            Server::Ovms => Self {
                wrong_method_status: 406,
                openai_paths: true,
                ..usual
            },
            Server::Mlserver => Self {
                typed_answers: true,
                ..usual
            },
            Server::KservePython => Self {
                health_body: HealthBody::Json,
                ..usual
            },
            Server::Modelmesh => Self {
                error_shape: ErrorShape::Status,
                paths: Paths::Models,
                base64_bytes: true,
                string_shapes: true,
                ..usual
            },
        }
    }

    /// Reads the options; empty text is `{}`.
    ///
    /// # Errors
    /// One problem, with the place where it is.
    pub fn parse(json: &str) -> Result<Self, Vec<Problem>> {
        let given = object(json).map_err(problem)?;
        let server = server(&given).map_err(problem)?;
        let preset = Self::of(server.unwrap_or_default());
        let mut all = Map::from_iter([
            ("server".to_owned(), name(preset.server)),
            ("health-body".to_owned(), word(preset.health_body)),
            ("error-shape".to_owned(), word(preset.error_shape)),
            (
                "not-ready-status".to_owned(),
                preset.not_ready_status.into(),
            ),
            (
                "wrong-method-status".to_owned(),
                preset.wrong_method_status.into(),
            ),
            (
                "not-found-status".to_owned(),
                preset.not_found_status.into(),
            ),
            ("paths".to_owned(), word(preset.paths)),
            ("base64-bytes".to_owned(), preset.base64_bytes.into()),
            ("string-shapes".to_owned(), preset.string_shapes.into()),
            ("typed-answers".to_owned(), preset.typed_answers.into()),
            ("shared-memory".to_owned(), word(preset.shared_memory)),
            ("openai-paths".to_owned(), preset.openai_paths.into()),
            ("admin".to_owned(), preset.admin.into()),
            ("server-name".to_owned(), preset.server_name.into()),
            (
                "default-max-tokens".to_owned(),
                preset.default_max_tokens.into(),
            ),
        ]);
        all.extend(given);
        let options: Self =
            serde_json::from_value(all.into()).map_err(|error| problem(error.to_string()))?;
        for (at, status) in [
            ("/not-ready-status", options.not_ready_status),
            ("/wrong-method-status", options.wrong_method_status),
            ("/not-found-status", options.not_found_status),
        ] {
            if !(400..600).contains(&status) {
                return Err(vec![Problem {
                    at: at.to_owned(),
                    message: "must be a status from 400 to 599".to_owned(),
                }]);
            }
        }
        for (name, texts) in &options.models {
            if let Err(message) = texts.check() {
                return Err(vec![Problem {
                    at: format!("/models/{name}"),
                    message,
                }]);
            }
        }
        if let Some(Err((at, message))) = options.v1.as_ref().map(V1::check) {
            let at = format!("/v1{at}");
            return Err(vec![Problem { at, message }]);
        }
        Ok(options)
    }
}

fn object(json: &str) -> Result<Map<String, Value>, String> {
    if json.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(json) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err("must be an object".to_owned()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

fn server(given: &Map<String, Value>) -> Result<Option<Server>, String> {
    given
        .get("server")
        .map(|value| serde_json::from_value(value.clone()).map_err(|error| error.to_string()))
        .transpose()
}

fn problem(message: impl Into<String>) -> Vec<Problem> {
    vec![Problem {
        at: String::new(),
        message: message.into(),
    }]
}

/// The names of cases, as they are written in options.
trait Word: Copy {
    fn name(self) -> &'static str;
}

macro_rules! words {
    ($($type:ty { $($case:ident => $name:literal,)* })*) => {
        $(impl Word for $type {
            fn name(self) -> &'static str {
                match self { $(Self::$case => $name,)* }
            }
        })*
    };
}

words! {
    Server {
        Triton => "triton", Ovms => "ovms", Mlserver => "mlserver",
        KservePython => "kserve-python", Modelmesh => "modelmesh",
    }
    HealthBody { Empty => "empty", Json => "json", }
    ErrorShape { Error => "error", Status => "status", }
    Paths { All => "all", Models => "models", }
    SharedMemory { Refuse => "refuse", Pass => "pass", }
    Streams { None => "none", Wrapped => "wrapped", Bare => "bare", }
    Index { None => "none", Repository => "repository", Models => "models", Config => "config", }
    ModelHeader { None => "none", MmVmodelId => "mm-vmodel-id", MmModelId => "mm-model-id", }
}

fn word(case: impl Word) -> Value {
    case.name().into()
}

fn name(server: Server) -> Value {
    word(server)
}

#[cfg(test)]
mod tests;
