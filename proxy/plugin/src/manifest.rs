//! What a plugin says of itself, as plain data: the same for every world.
//!
//! Documentation of the fields stands with the contract, in `wit/plugin.wit`.

use crate::inference::TaskKind;

/// Who a plugin is.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    pub name: String,
    pub version: String,
    pub description: String,
    pub dialects: Vec<String>,
    pub tasks: Vec<TaskKind>,
    pub options_schema: String,
    pub descriptors: Vec<Vec<u8>>,
    pub read_headers: Vec<String>,
    pub strip_headers: Vec<String>,
    pub telemetry: Vec<(String, String)>,
    pub worker_metrics: Vec<(String, String)>,
    pub errors: Vec<ErrorTemplate>,
    pub lowerings: Vec<Lowering>,
    pub extensions: Vec<(String, Vec<u8>)>,
}

/// How errors without a guest look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorTemplate {
    pub label: String,
    pub status: Option<u16>,
    pub content_type: String,
    pub body: String,
}

/// What a composition makes of what.
#[derive(Clone, Debug)]
pub struct Lowering {
    /// The task it answers.
    pub from: TaskKind,
    /// The tasks it needs.
    pub to: Vec<TaskKind>,
}

/// How much of a body is gathered before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathering {
    Nothing,
    Whole,
    Streamed,
}

/// Where a claim is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Surface {
    Rest {
        method: String,
        path: String,
        gathering: Gathering,
    },
    Grpc {
        service: String,
        method: String,
        client_streaming: bool,
        server_streaming: bool,
    },
}

/// One thing that clients may ask.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Where.
    pub surface: Surface,
    /// What, when the head tells.
    pub task: Option<TaskKind>,
    /// How its errors look.
    pub errors: Vec<ErrorTemplate>,
    /// By name.
    pub extensions: Vec<(String, Vec<u8>)>,
}

impl Claim {
    /// The dialect that this claim speaks, where it is not the manifest's first.
    #[must_use]
    pub fn dialect(&self) -> Option<&str> {
        self.extensions
            .iter()
            .find(|(name, _)| name == "dialect")
            .and_then(|(_, payload)| std::str::from_utf8(payload).ok())
    }
}

/// What is wrong with a plugin's options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct Problem {
    /// JSON pointer (RFC 6901).
    pub at: String,
    /// What is wrong.
    pub message: String,
}

macro_rules! template {
    ($it:expr) => {
        $crate::manifest::ErrorTemplate {
            label: $it.label,
            status: $it.status,
            content_type: $it.content_type,
            body: $it.body,
        }
    };
}

macro_rules! manifest {
    ($generated:ident, $it:expr) => {{
        let it = $it;
        $crate::manifest::Manifest {
            name: it.name,
            version: it.version,
            description: it.description,
            dialects: it.dialects,
            tasks: it.tasks,
            options_schema: it.options_schema,
            descriptors: it.descriptors,
            read_headers: it.read_headers,
            strip_headers: it.strip_headers,
            telemetry: it
                .telemetry
                .into_iter()
                .map(|it| (it.name, it.value))
                .collect(),
            worker_metrics: it
                .worker_metrics
                .into_iter()
                .map(|it| (it.meaning, it.metric))
                .collect(),
            errors: it
                .errors
                .into_iter()
                .map(|it| $crate::manifest::template!(it))
                .collect(),
            lowerings: it
                .lowerings
                .into_iter()
                .map(|it| $crate::manifest::Lowering {
                    from: it.from,
                    to: it.to,
                })
                .collect(),
            extensions: it
                .extensions
                .into_iter()
                .map(|it| (it.name, it.payload))
                .collect(),
        }
    }};
}

macro_rules! claim {
    ($generated:ident, $it:expr) => {{
        let it = $it;
        $crate::manifest::Claim {
            surface: match it.surface {
                $generated::Surface::Rest(it) => $crate::manifest::Surface::Rest {
                    method: it.method,
                    path: it.path,
                    gathering: match it.gathering {
                        $generated::Gathering::Nothing => $crate::manifest::Gathering::Nothing,
                        $generated::Gathering::Whole => $crate::manifest::Gathering::Whole,
                        $generated::Gathering::Streamed => $crate::manifest::Gathering::Streamed,
                    },
                },
                $generated::Surface::Grpc(it) => $crate::manifest::Surface::Grpc {
                    service: it.service,
                    method: it.method,
                    client_streaming: it.client_streaming,
                    server_streaming: it.server_streaming,
                },
            },
            task: it.task,
            errors: it
                .errors
                .into_iter()
                .map(|it| $crate::manifest::template!(it))
                .collect(),
            extensions: it
                .extensions
                .into_iter()
                .map(|it| (it.name, it.payload))
                .collect(),
        }
    }};
}

pub(crate) use claim;
pub(crate) use manifest;
pub(crate) use template;
