//! The options of the plugin, and those of a worker.

use serde::Deserialize;
use tollgate_sdk_protocol::plugin::Problem;

use crate::manifest;

/// JSON Schema of [`Options`].
pub const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "caikit",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "default-max-new-tokens": {
      "description": "New tokens for a client that names no limit, when its request is translated.",
      "type": "integer", "minimum": 1, "maximum": 4294967295, "default": 20
    },
    "count-usage": {
      "description": "Read token counts from responses that pass through.",
      "type": "boolean", "default": true
    },
    "runtime-version": {
      "description": "What clients are told as the runtime's version. The proxy's own by default.",
      "type": "string"
    },
    "max-new-tokens": {
      "description": "What workers are told for a call without a limit, where their own options do not say: a runtime that is told nothing stops after 20.",
      "type": "integer", "minimum": 1, "maximum": 4294967295, "default": 1024
    },
    "merge-embeddings": {
      "description": "Whether embedding calls may share a request. Its token count is then divided by the inputs' lengths.",
      "type": "boolean", "default": true
    }
  }
}"#;

/// What the configuration says of this plugin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// `max_new_tokens` of a client that names none, when it is translated.
    pub default_max_new_tokens: u32,
    /// Read token counts from passed responses.
    pub count_usage: bool,
    /// What `/info/version` answers.
    pub runtime_version: Option<String>,
    /// For workers: see [`WorkerOptions`].
    pub max_new_tokens: u32,
    /// For workers: see [`WorkerOptions`].
    pub merge_embeddings: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            default_max_new_tokens: 20,
            count_usage: true,
            runtime_version: None,
            max_new_tokens: 1024,
            merge_embeddings: true,
        }
    }
}

impl Options {
    /// Reads the options; empty text is `{}`.
    ///
    /// # Errors
    /// One problem, with the place where it is.
    pub fn parse(options: &str) -> Result<Self, Vec<Problem>> {
        let problem = |at: &str, message: String| {
            vec![Problem {
                at: at.to_owned(),
                message,
            }]
        };
        let text = if options.trim().is_empty() {
            "{}"
        } else {
            options
        };
        // Serde takes a list for a struct.
        if !text.trim_start().starts_with('{') {
            return Err(problem("", "must be an object".to_owned()));
        }
        let options: Self =
            serde_json::from_str(text).map_err(|error| problem("", error.to_string()))?;
        for (name, value) in [
            ("/default-max-new-tokens", options.default_max_new_tokens),
            ("/max-new-tokens", options.max_new_tokens),
        ] {
            if value == 0 {
                return Err(problem(name, "must be at least 1".to_owned()));
            }
        }
        Ok(options)
    }
}

/// How a worker is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `NlpService`.
    Grpc,
    /// `/api/v1/task`.
    Rest,
}

/// What holds for one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerOptions {
    /// How it is spoken to: its dialect.
    pub transport: Transport,
    /// The limit of a call that has none.
    pub max_new_tokens: u32,
    /// Whether embedding calls may share a request.
    pub merge_embeddings: bool,
}

impl WorkerOptions {
    /// Reads a worker's options.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub fn parse(dialect: &str, json: &str, plugin: &Options) -> Result<Self, String> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        struct Given {
            /// The host's: it comes apart.
            #[serde(rename = "dialect")]
            _dialect: Option<String>,
            max_new_tokens: Option<u32>,
            merge_embeddings: Option<bool>,
        }
        let text = json.trim();
        let given: Given = match text {
            "" | "null" => Given::default(),
            text => serde_json::from_str(text)
                .map_err(|error| format!("the worker's options: {error}"))?,
        };
        if given.max_new_tokens == Some(0) {
            return Err("the worker's options: /max-new-tokens must be at least 1".to_owned());
        }
        let transport = match dialect {
            manifest::GRPC => Transport::Grpc,
            manifest::REST => Transport::Rest,
            other => {
                return Err(format!(
                    "the worker's options: /dialect is {other:?}, and not {:?} (gRPC) or {:?}",
                    manifest::GRPC,
                    manifest::REST
                ));
            }
        };
        Ok(Self {
            transport,
            max_new_tokens: given.max_new_tokens.unwrap_or(plugin.max_new_tokens),
            merge_embeddings: given.merge_embeddings.unwrap_or(plugin.merge_embeddings),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_the_default_and_the_schema_says_the_same() {
        assert_eq!(Options::parse(" ").unwrap(), Options::default());
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        let of = |name: &str| schema["properties"][name]["default"].clone();
        let options = Options::default();
        assert_eq!(of("default-max-new-tokens"), options.default_max_new_tokens);
        assert_eq!(of("max-new-tokens"), options.max_new_tokens);
        assert_eq!(of("count-usage"), options.count_usage);
        assert_eq!(of("merge-embeddings"), options.merge_embeddings);
    }

    #[test]
    fn what_is_unknown_or_out_of_its_domain_is_a_problem() {
        for text in [
            "[]",
            "{",
            r#"{"x": 1}"#,
            r#"{"max-new-tokens": 0}"#,
            r#"{"default-max-new-tokens": 0}"#,
        ] {
            assert!(Options::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_worker_has_what_the_plugin_has_unless_it_says() {
        let plugin = Options::default();
        let parse = |dialect: &str, json: &str| WorkerOptions::parse(dialect, json, &plugin);
        let plain = parse("caikit", "").unwrap();
        assert_eq!(plain.transport, Transport::Grpc);
        assert_eq!(plain.max_new_tokens, 1024);
        let own = parse(
            "caikit-rest",
            r#"{"dialect": "caikit-rest", "max-new-tokens": 7, "merge-embeddings": false}"#,
        );
        let own = own.unwrap();
        assert_eq!(own.transport, Transport::Rest);
        assert_eq!((own.max_new_tokens, own.merge_embeddings), (7, false));
        assert!(parse("tgis", "").is_err());
        assert!(parse("caikit", r#"{"max-new-tokens": 0}"#).is_err());
        assert!(parse("caikit", r#"{"transport": "grpc"}"#).is_err());
    }
}
