//! The plugin's options.

use serde::Deserialize;
use tollgate_sdk_compose::plugin::Problem;

/// JSON Schema of [`Options`].
pub(crate) const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "compose",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "fan-out": {
      "description": "Most documents, sentences or prompts of one request; more are refused.",
      "type": "integer", "minimum": 1, "maximum": 16384, "default": 1024
    },
    "at-once": {
      "description": "Calls of one request that wait or run at the same time.",
      "type": "integer", "minimum": 1, "maximum": 64, "default": 16
    },
    "texts-per-call": {
      "description": "Most texts in one call for vectors or scores.",
      "type": "integer", "minimum": 1, "maximum": 16384, "default": 256
    }
  }
}"#;

/// Calls that the host runs at once for one composed call.
const MOST_AT_ONCE: usize = 64;
/// Most texts of anything.
const MOST_TEXTS: usize = 16_384;

/// What the configuration says of this plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Most documents, sentences or prompts of one request.
    pub fan_out: usize,
    /// Calls of one request at the same time.
    pub at_once: usize,
    /// Most texts in one call for vectors or scores.
    pub texts_per_call: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fan_out: 1024,
            at_once: 16,
            texts_per_call: 256,
        }
    }
}

impl Options {
    /// Reads the options; empty text is `{}`.
    ///
    /// # Errors
    /// Every value that is not in its range, or the one that cannot be read.
    pub fn parse(options: &str) -> Result<Self, Vec<Problem>> {
        let options = if options.trim().is_empty() {
            "{}"
        } else {
            options
        };
        let read: Self = serde_json::from_str(options).map_err(|error| {
            vec![Problem {
                at: String::new(),
                message: error.to_string(),
            }]
        })?;
        let problems: Vec<Problem> = [
            ("fan-out", read.fan_out, MOST_TEXTS),
            ("at-once", read.at_once, MOST_AT_ONCE),
            ("texts-per-call", read.texts_per_call, MOST_TEXTS),
        ]
        .into_iter()
        .filter(|(_, value, most)| !(1..=*most).contains(value))
        .map(|(name, value, most)| Problem {
            at: format!("/{name}"),
            message: format!("must be from 1 to {most}, not {value}"),
        })
        .collect();
        if problems.is_empty() {
            Ok(read)
        } else {
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_the_defaults() {
        for nothing in ["", " ", "{}"] {
            assert_eq!(Options::parse(nothing), Ok(Options::default()));
        }
    }

    #[test]
    fn values_out_of_range_are_named_and_unknown_ones_refused() {
        let problems = Options::parse(r#"{"fan-out": 0, "at-once": 65}"#).unwrap_err();
        let places: Vec<_> = problems.iter().map(|problem| problem.at.as_str()).collect();
        assert_eq!(places, ["/fan-out", "/at-once"]);
        let problems = Options::parse(r#"{"fanout": 3}"#).unwrap_err();
        assert!(problems[0].message.contains("fanout"), "{problems:?}");
    }

    /// The schema says what the parser holds to.
    #[test]
    fn the_schema_tells_the_defaults() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        let default = |name: &str| schema["properties"][name]["default"].as_u64().unwrap() as usize;
        let options = Options::default();
        assert_eq!(default("fan-out"), options.fan_out);
        assert_eq!(default("at-once"), options.at_once);
        assert_eq!(default("texts-per-call"), options.texts_per_call);
    }
}
