//! The options of `least-loaded`, read once and checked.

use serde::Deserialize;
use tollgate_sdk_scheduler::{plugin::Problem, problem};

/// What a configuration may say.
pub(crate) const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "Least loaded",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "max-pending": {
      "description": "Requests that may wait. Of more, the tenant with most of them loses its newest (429); among equals the newcomer is turned away (503).",
      "type": "integer", "minimum": 1, "maximum": 1000000, "default": 65536
    },
    "max-pending-per-tenant": {
      "description": "Requests of one tenant that may wait; one more is turned away as over its share (429).",
      "type": "integer", "minimum": 1, "maximum": 1000000, "default": 65536
    },
    "max-in-flight": {
      "description": "Requests under way at one worker, if its slots are more. What waits here is ordered here.",
      "type": "integer", "minimum": 1, "maximum": 1000000, "default": 1000000
    },
    "max-worker-queue": {
      "description": "A worker in whose own queue more than so many wait, by its last probe, gets nothing while it has work of ours.",
      "type": "integer", "minimum": 0, "maximum": 1000000, "default": 8
    },
    "fair": {
      "description": "Tenants share by what they were served; else all are one.",
      "type": "boolean", "default": true
    },
    "input-weight": {
      "description": "Weight of a unit of input.",
      "type": "integer", "minimum": 0, "maximum": 1000, "default": 1
    },
    "output-weight": {
      "description": "Weight of a unit of output.",
      "type": "integer", "minimum": 0, "maximum": 1000, "default": 2
    },
    "patience-ms": {
      "description": "A request without an earlier deadline should be done after so long: it orders requests of one tenant, and turns none away.",
      "type": "integer", "minimum": 1, "maximum": 86400000, "default": 30000
    },
    "affinity": {
      "description": "Prefer workers that served the same beginning, or the same of several models, before.",
      "type": "boolean", "default": true
    },
    "affinity-blocks": {
      "description": "Beginnings and models that are remembered.",
      "type": "integer", "minimum": 2, "maximum": 262144, "default": 65536
    },
    "affinity-depth": {
      "description": "A beginning that nobody is known to have served is placed by its hash up to this block, or its last one: what is alike so far belongs to one worker at every proxy. 0: it goes to the less loaded of two.",
      "type": "integer", "minimum": 0, "maximum": 32, "default": 4
    },
    "affinity-slack": {
      "description": "Affinity yields when the preferred worker has more outstanding work than another by half and so many requests a slot in a hundred.",
      "type": "integer", "minimum": 0, "maximum": 100000, "default": 50
    }
  }
}"#;

/// The options. See the schema for each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Requests that may wait.
    pub max_pending: usize,
    /// Requests of one tenant that may wait.
    pub max_pending_per_tenant: usize,
    /// Requests under way at one worker.
    pub max_in_flight: u32,
    /// Requests in a worker's own queue.
    pub max_worker_queue: u32,
    /// Tenants share.
    pub fair: bool,
    /// Weight of a unit of input.
    pub input_weight: u32,
    /// Weight of a unit of output.
    pub output_weight: u32,
    /// When a request should be done.
    pub patience_ms: u64,
    /// Prefer workers that served the same before.
    pub affinity: bool,
    /// How much is remembered.
    pub affinity_blocks: usize,
    /// The block by which a new beginning is placed.
    pub affinity_depth: usize,
    /// When affinity yields, in hundredths of a request a slot.
    pub affinity_slack: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_pending: 65_536,
            max_pending_per_tenant: 65_536,
            max_in_flight: 1_000_000,
            max_worker_queue: 8,
            fair: true,
            input_weight: 1,
            output_weight: 2,
            patience_ms: 30_000,
            affinity: true,
            affinity_blocks: 65_536,
            affinity_depth: 4,
            affinity_slack: 50,
        }
    }
}

impl Options {
    /// Reads JSON; nothing is the same as `{}`.
    ///
    /// # Errors
    /// It is not JSON, has an unknown name, or a value out of its range.
    pub fn read(text: &str) -> Result<Self, Vec<Problem>> {
        let text = if text.trim().is_empty() { "{}" } else { text };
        let options: Self =
            serde_json::from_str(text).map_err(|error| problem("", error.to_string()))?;
        let ranges = [
            ("/max-pending", options.max_pending as u64, 1, 1_000_000),
            (
                "/max-pending-per-tenant",
                options.max_pending_per_tenant as u64,
                1,
                1_000_000,
            ),
            (
                "/max-in-flight",
                u64::from(options.max_in_flight),
                1,
                1_000_000,
            ),
            (
                "/max-worker-queue",
                u64::from(options.max_worker_queue),
                0,
                1_000_000,
            ),
            ("/input-weight", u64::from(options.input_weight), 0, 1000),
            ("/output-weight", u64::from(options.output_weight), 0, 1000),
            ("/patience-ms", options.patience_ms, 1, 86_400_000),
            (
                "/affinity-blocks",
                options.affinity_blocks as u64,
                2,
                262_144,
            ),
            ("/affinity-depth", options.affinity_depth as u64, 0, 32),
            (
                "/affinity-slack",
                u64::from(options.affinity_slack),
                0,
                100_000,
            ),
        ];
        for (at, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                let message = format!("{value} is not between {least} and {most}");
                return Err(problem(at, message));
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_refused_by_name() {
        assert!(Options::read("").is_ok());
        let half = Options::read(r#"{"max-in-flight": 7, "fair": false}"#).unwrap();
        assert_eq!((half.max_in_flight, half.fair), (7, false));
        for wrong in [
            r#"{"max-pending": 0}"#,
            r#"{"max_pending": 7}"#,
            r#"{"affinity-blocks": 1}"#,
            r#"{"affinity-blocks": 262145}"#,
            r#"{"affinity-depth": 33}"#,
            "[",
        ] {
            assert!(Options::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_schema_names_every_option_and_its_default() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        let mut options = serde_json::Map::new();
        for (name, property) in schema["properties"].as_object().unwrap() {
            options.insert(name.clone(), property["default"].clone());
        }
        let text = serde_json::Value::from(options).to_string();
        let read = Options::read(&text).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", Options::default()));
    }
}
