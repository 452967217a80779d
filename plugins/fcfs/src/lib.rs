//! A batching scheduler for pools without special wishes: first come first served,
//! each to the least loaded worker that may have it.
//!
//! `serde_json` reads the options; nothing else is needed from outside.

mod policy;
mod queue;
mod sent;
mod workers;

pub use policy::Fcfs;

use serde::Deserialize;
use tollgate_sdk_scheduler::{Policy, Scheduler, export_scheduler, plugin};

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "First come, first served",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "max-pending": {
      "description": "Requests that may wait; one more is turned away as overloaded.",
      "type": "integer",
      "minimum": 1,
      "maximum": 1000000,
      "default": 65536
    }
  }
}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Options {
    max_pending: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_pending: 65_536,
        }
    }
}

/// The configured plugin.
pub struct Plugin {
    options: Options,
}

impl Scheduler for Plugin {
    fn manifest() -> plugin::Manifest {
        plugin::Manifest {
            name: "fcfs".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            dialects: Vec::new(),
            tasks: Vec::new(),
            options_schema: SCHEMA.into(),
            descriptors: Vec::new(),
            read_headers: Vec::new(),
            strip_headers: Vec::new(),
            telemetry: Vec::new(),
            worker_metrics: Vec::new(),
            errors: Vec::new(),
            lowerings: Vec::new(),
            extensions: Vec::new(),
        }
    }

    fn configure(options: &str) -> Result<Self, Vec<plugin::Problem>> {
        let problem = |at: &str, message: String| {
            vec![plugin::Problem {
                at: at.into(),
                message,
            }]
        };
        let text = if options.trim().is_empty() {
            "{}"
        } else {
            options
        };
        let options: Options =
            serde_json::from_str(text).map_err(|error| problem("", error.to_string()))?;
        if !(1..=1_000_000).contains(&options.max_pending) {
            return Err(problem(
                "/max-pending",
                format!("{} is not between 1 and 1000000", options.max_pending),
            ));
        }
        Ok(Plugin { options })
    }

    fn policy(&self) -> Box<dyn Policy> {
        Box::new(Fcfs::new(self.options.max_pending))
    }
}

export_scheduler!(Plugin);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        assert_eq!(
            Plugin::configure("").map(|p| p.options.max_pending).ok(),
            Some(65_536)
        );
        let seven = Plugin::configure(r#"{"max-pending": 7}"#);
        assert_eq!(seven.map(|p| p.options.max_pending).ok(), Some(7));
        for wrong in [
            r#"{"max-pending": 0}"#,
            r#"{"max_pending": 7}"#,
            "[",
            r#"{"max-pending": -1}"#,
        ] {
            assert!(Plugin::configure(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_schema_is_json_and_names_every_option() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        assert!(schema["properties"]["max-pending"].is_object());
    }
}
