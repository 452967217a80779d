//! The plugin's options, and a worker's.

use serde::Deserialize;
use tollgate_sdk_protocol::plugin::Problem;

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

/// What the configuration says of one worker.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct WorkerOptions {
    dialect: Option<String>,
    prefix: Option<String>,
    generation: Option<Generation>,
    max_stop_sequences: Option<usize>,
    max_tokens: Option<u32>,
    merge_completions: Option<bool>,
    merge_embeddings: Option<bool>,
}

/// A worker, with the plugin's options for what its own leave open.
#[derive(Clone, Debug)]
pub struct Target {
    /// It is an OpenVINO Model Server.
    pub ovms: bool,
    /// What its paths begin with: `/v1`.
    pub prefix: String,
    /// What is wrong with its options. Nothing is asked of it then.
    pub problem: Option<String>,
    /// Its generation.
    pub generation: Generation,
    /// Most stop sequences that it takes.
    pub max_stop_sequences: usize,
    /// Limit of a completion that has none; none: as many as fit.
    pub max_tokens: Option<u32>,
    /// Whether completion calls may be merged for it.
    pub merge_completions: bool,
    /// Whether embedding calls may be merged for it.
    pub merge_embeddings: bool,
}

impl Target {
    /// Path of what is asked below the prefix.
    pub fn path(&self, what: &str) -> String {
        format!("{}/{what}", self.prefix)
    }
}

/// A prefix is a path: it begins with a slash, does not end with one, and has nothing in it that a
/// server could take for more than its segments.
fn prefix(own: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
    let trimmed = own.trim_end_matches('/');
    let path = |rest: &str| rest.split('/').all(segment);
    match trimmed.strip_prefix('/') {
        Some(rest) if path(rest) => Ok(trimmed.to_owned()),
        None if own.starts_with('/') => Ok(String::new()),
        _ => Err(format!("`prefix` is no path: {own:?}")),
    }
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

    /// What holds for a worker with these options of its own.
    pub fn target(&self, worker: &str) -> Target {
        let given = if worker.trim().is_empty() {
            Ok(WorkerOptions::default())
        } else {
            serde_json::from_str(worker).map_err(|error| error.to_string())
        };
        let (own, mut problem): (WorkerOptions, _) = match given {
            Ok(own) => (own, None),
            Err(problem) => (WorkerOptions::default(), Some(problem)),
        };
        let ovms = match own.dialect.as_deref() {
            None | Some(OPENAI) => false,
            Some(OVMS) => true,
            Some(other) => {
                problem = Some(format!("`dialect` is {OPENAI} or {OVMS}, not {other:?}"));
                false
            }
        };
        let usual = if ovms { "/v3" } else { "/v1" };
        let prefix = prefix(own.prefix.as_deref().unwrap_or(usual)).unwrap_or_else(|wrong| {
            problem = Some(wrong);
            usual.to_owned()
        });
        if ovms && own.generation.is_some() {
            problem = Some(format!("`generation` says nothing of {OVMS}"));
        }
        let generation = own.generation.unwrap_or(self.generation);
        let usual = match generation {
            Generation::Old if !ovms => usize::MAX,
            _ => 4,
        };
        let most = if ovms { None } else { self.max_stop_sequences };
        Target {
            ovms,
            prefix,
            problem,
            generation,
            max_stop_sequences: own.max_stop_sequences.or(most).unwrap_or(usual),
            max_tokens: own.max_tokens.or(self.max_tokens),
            // One prompt in a request is all that it takes.
            merge_completions: !ovms
                && own
                    .merge_completions
                    .or(self.merge_completions)
                    .unwrap_or(true),
            merge_embeddings: own
                .merge_embeddings
                .or(self.merge_embeddings)
                .unwrap_or(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(worker: &str) -> Target {
        Options::default().target(worker)
    }

    #[test]
    fn a_worker_has_the_paths_of_its_dialect_or_its_own() {
        assert_eq!(target("").path("completions"), "/v1/completions");
        let ovms = target(r#"{"dialect":"openai-ovms"}"#);
        assert!(ovms.ovms && ovms.problem.is_none() && !ovms.merge_completions);
        assert_eq!(ovms.path("rerank"), "/v3/rerank");
        assert_eq!(ovms.max_stop_sequences, 4);
        let later = target(r#"{"dialect":"openai-ovms","prefix":"/v1/","max-stop-sequences":16}"#);
        assert_eq!(later.path("rerank"), "/v1/rerank");
        assert_eq!(later.max_stop_sequences, 16);
        let kserve = target(r#"{"prefix":"/openai/v1"}"#);
        assert_eq!(kserve.path("models"), "/openai/v1/models");
        assert_eq!(target(r#"{"prefix":"/"}"#).path("models"), "/models");
    }

    #[test]
    fn options_of_a_worker_that_say_nothing_are_a_problem() {
        for wrong in [
            "{",
            r#"{"generation":"ovms"}"#,
            r#"{"dialect":"ovms"}"#,
            r#"{"dialect":"openai-ovms","generation":"old"}"#,
            r#"{"prefix":"v3"}"#,
            r#"{"prefix":"/v3/../admin"}"#,
            r#"{"prefix":"/v3?x"}"#,
            r#"{"prefix":"//v3"}"#,
        ] {
            assert!(target(wrong).problem.is_some(), "{wrong}");
        }
        assert_eq!(target("{}").problem, None);
    }

    #[test]
    fn what_the_plugin_says_of_vllm_says_nothing_of_ovms() {
        let options = Options::parse(r#"{"generation":"old","max-stop-sequences":9}"#).unwrap();
        let ovms = options.target(r#"{"dialect":"openai-ovms"}"#);
        assert_eq!((ovms.problem, ovms.max_stop_sequences), (None, 4));
    }
}
