//! The plugin's options, and a worker's.

mod worker;

use serde::Deserialize;
use tollgate_sdk_protocol::plugin::Problem;

pub use worker::Target;

/// JSON Schema of [`Options`].
pub const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "openai",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "clients": {
      "description": "Which vLLM the clients were written for. old: the forks for Gaudi and ROCm of 2025: flat errors, reasoning_content, rerank usage without prompt_tokens. error-shape and reasoning-field have the last word.",
      "enum": ["new", "old"], "default": "new"
    },
    "error-shape": {
      "description": "nested: {\"error\": {…}}, as vLLM since late 2025; flat: {\"object\": \"error\", …}, as before. What clients expect by default.",
      "enum": ["nested", "flat"]
    },
    "reasoning-field": {
      "description": "Name of the member of messages and deltas that carries reasoning. What clients expect by default.",
      "enum": ["reasoning", "reasoning_content"]
    },
    "ovms-paths": {
      "description": "Whether the paths of OpenVINO Model Server, /v3/…, are served too, in its own words.",
      "type": "boolean", "default": false
    },
    "relayed": {
      "description": "Families of endpoints that go on to a worker of this API as they came, and to no other.",
      "type": "array", "items": { "enum": ["responses", "audio", "messages", "pooling", "images"] },
      "default": ["responses", "audio", "messages", "pooling", "images"]
    },
    "sticky-responses": {
      "description": "Whether a stored response is given an id that leads later requests about it to the worker that has it.",
      "type": "boolean", "default": true
    },
    "admin": {
      "description": "Families of endpoints for operators that are served too, to tokens whose tasks name admin. Each request goes to one worker of the route.",
      "type": "array", "items": { "enum": ["lora", "sleep", "profile", "cache", "scale", "info", "metrics"] },
      "default": []
    },
    "affinity": {
      "description": "prefix: ask for the worker that has seen the prompt's beginning.",
      "enum": ["none", "prefix"], "default": "none"
    },
    "version": {
      "description": "What GET /version answers. The plugin's own version by default.",
      "type": "string"
    },
    "generation": {
      "description": "Which vLLM workers are, where their own options do not say. Of OpenVINO Model Server nothing has to be said here: that is a dialect of the worker's.",
      "enum": ["new", "old"], "default": "new"
    },
    "max-stop-sequences": {
      "description": "How many stop sequences a worker takes. 4 for new workers and OpenVINO Model Server, no limit for old workers.",
      "type": "integer", "minimum": 0
    },
    "max-tokens": {
      "description": "What a completion without a limit of its own is given, for workers that take no null there. Without it, null: as many as fit.",
      "type": "integer", "minimum": 1
    },
    "merge-completions": {
      "description": "Whether completion calls may share a request. Only for new workers: they tell each prompt's and each answer's token ids, and without those no call would know its own usage.",
      "type": "boolean", "default": true
    },
    "merge-embeddings": {
      "description": "Whether embedding calls may share a request. Its token count is then divided by the inputs' lengths.",
      "type": "boolean", "default": true
    }
  }
}"#;

/// What the configuration says of this plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// What the clients were written for.
    pub clients: Clients,
    /// Whether paths of OpenVINO Model Server are served too.
    pub ovms_paths: bool,
    /// Shape of error bodies, whatever the clients' generation.
    error_shape: Option<ErrorShape>,
    /// Where reasoning goes, whatever the clients' generation.
    reasoning_field: Option<ReasoningField>,
    /// What is relayed; all families when absent.
    relayed: Option<Vec<Relayed>>,
    /// Whether responses are found again.
    sticky_responses: Option<bool>,
    /// What operators are served.
    pub admin: Vec<Admin>,
    /// Whether a worker is wished for.
    pub affinity: AffinityOption,
    /// Answer of `GET /version`.
    pub version: Option<String>,
    /// Workers' generation, unless they have their own.
    pub generation: Generation,
    /// Most stop sequences in a request to a worker.
    pub max_stop_sequences: Option<usize>,
    /// Limit of a completion that has none.
    pub max_tokens: Option<u32>,
    /// Whether completion calls are merged.
    pub merge_completions: Option<bool>,
    /// Whether embedding calls are merged.
    pub merge_embeddings: Option<bool>,
}

/// A family of endpoints that are relayed as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relayed {
    /// The Responses API.
    Responses,
    /// Transcription and translation of speech.
    Audio,
    /// The Messages API.
    Messages,
    /// Pooling and classification.
    Pooling,
    /// Images: on OpenVINO Model Server's paths alone.
    Images,
}

/// A family of endpoints for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admin {
    /// Adapters come and go.
    Lora,
    /// The worker gives its memory back, or its work a pause.
    Sleep,
    /// A profile is taken.
    Profile,
    /// Caches are emptied.
    Cache,
    /// Experts are spread over more or fewer devices.
    Scale,
    /// What the worker was started with.
    Info,
    /// The worker's own metrics.
    Metrics,
}

/// Shape of error bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorShape {
    /// `{"error": {"message", "type", "param", "code"}}`.
    #[default]
    Nested,
    /// `{"object": "error", "message", "type", "param", "code"}`.
    Flat,
    /// `{"error": "message"}`: OpenVINO Model Server's, which is chosen by the path.
    #[serde(skip)]
    Plain,
}

/// Name of the member that carries reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ReasoningField {
    /// Today's name.
    #[default]
    #[serde(rename = "reasoning")]
    Reasoning,
    /// The name until late 2025.
    #[serde(rename = "reasoning_content")]
    ReasoningContent,
}

impl ReasoningField {
    /// The name itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reasoning => "reasoning",
            Self::ReasoningContent => "reasoning_content",
        }
    }
}

/// Whether a worker is wished for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AffinityOption {
    /// Any worker will do.
    #[default]
    None,
    /// The one that has seen the prompt's beginning.
    Prefix,
}

/// What clients were written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clients {
    /// Today's vLLM.
    #[default]
    New,
    /// The forks of 2025.
    Old,
    /// OpenVINO Model Server. No option says so: its paths do.
    #[serde(skip)]
    Ovms,
}

/// The dialect of vLLM, and of all that nothing else is said of.
pub const OPENAI: &str = "openai";
/// The dialect of OpenVINO Model Server.
pub const OVMS: &str = "openai-ovms";

/// Which vLLM a worker is: the names of some fields differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generation {
    /// `structured_outputs`, `truncation_side`, `return_token_ids`.
    #[default]
    New,
    /// `guided_*`, truncation on the task's own side.
    Old,
}

impl Options {
    /// Reads the options; empty text is `{}`.
    ///
    /// # Errors
    /// One problem, with the place where it is.
    pub fn parse(options: &str) -> Result<Self, Vec<Problem>> {
        if options.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(options).map_err(|error| {
            vec![Problem {
                at: String::new(),
                message: error.to_string(),
            }]
        })
    }

    /// Shape of error bodies.
    pub fn error_shape(&self) -> ErrorShape {
        match (self.clients, self.error_shape) {
            (Clients::Ovms, _) => ErrorShape::Plain,
            (_, Some(shape)) => shape,
            (Clients::New, None) => ErrorShape::Nested,
            (Clients::Old, None) => ErrorShape::Flat,
        }
    }

    /// Name of the member that carries reasoning.
    pub fn reasoning_field(&self) -> &'static str {
        let field = match (self.clients, self.reasoning_field) {
            (Clients::Ovms, _) | (Clients::Old, None) => ReasoningField::ReasoningContent,
            (_, Some(field)) => field,
            (Clients::New, None) => ReasoningField::Reasoning,
        };
        field.name()
    }

    /// Whether a family is relayed.
    pub fn relays(&self, family: Relayed) -> bool {
        let named = self.relayed.as_ref();
        named.is_none_or(|families| families.contains(&family))
    }

    /// Whether stored responses are given ids that lead to their worker.
    pub fn sticky_responses(&self) -> bool {
        // OpenVINO Model Server keeps none.
        self.sticky_responses.unwrap_or(true) && self.clients != Clients::Ovms
    }

    /// The same for clients of OpenVINO Model Server.
    pub fn for_ovms(&self) -> Self {
        Self {
            clients: Clients::Ovms,
            ..self.clone()
        }
    }

    /// The dialect of the clients.
    pub fn dialect(&self) -> &'static str {
        match self.clients {
            Clients::New | Clients::Old => OPENAI,
            Clients::Ovms => OVMS,
        }
    }
}
