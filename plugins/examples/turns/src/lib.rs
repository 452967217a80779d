//! A scheduler: whoever comes first goes first, to the least busy of the workers that may serve
//! it. `policy.rs` decides; this file is who it is and what may be set.

mod policy;

pub use policy::InTurn;

use serde::Deserialize;
use tollgate_sdk_scheduler::{Policy, Scheduler, export_scheduler, manifest, plugin, problem};

const OPTIONS: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "max-pending": {
      "description": "Requests that may wait; one more is turned away.",
      "type": "integer", "minimum": 1, "default": 1000
    }
  }
}"#;

/// What an operator may set.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Options {
    /// Requests that may wait.
    pub max_pending: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_pending: 1000 }
    }
}

/// The configured plugin.
pub struct Plugin {
    options: Options,
}

impl Scheduler for Plugin {
    fn manifest() -> plugin::Manifest {
        manifest(
            "turns",
            env!("CARGO_PKG_VERSION"),
            "Whoever comes first goes first",
            OPTIONS,
        )
    }

    fn configure(options: &str) -> Result<Self, Vec<plugin::Problem>> {
        let text = match options.trim() {
            "" => "{}",
            text => text,
        };
        let options: Options =
            serde_json::from_str(text).map_err(|error| problem("", error.to_string()))?;
        if options.max_pending == 0 {
            return Err(problem("/max-pending", "it must be at least 1"));
        }
        Ok(Self { options })
    }

    fn policy(&self) -> Box<dyn Policy> {
        Box::new(InTurn::new(self.options))
    }
}

export_scheduler!(Plugin);
