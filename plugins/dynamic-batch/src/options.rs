//! The options of `dynamic-batch`, read once and checked.

use serde::Deserialize;
use tollgate_sdk_scheduler::{plugin::Problem, problem};

/// What a configuration may say.
pub(crate) const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "Dynamic batches",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "max-batch": {
      "description": "Most requests in one batch, if the worker's own bound is not less.",
      "type": "integer", "minimum": 1, "maximum": 65536, "default": 65536
    },
    "preferred": {
      "description": "Sizes that go at once when they are reached, in rising order; without any, the largest batch is the only one.",
      "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": 65536 },
      "maxItems": 64, "default": []
    },
    "max-queue-delay-us": {
      "description": "Longest wait for company, in microseconds. 0: nobody waits beside a free worker.",
      "type": "integer", "minimum": 0, "maximum": 60000000, "default": 0
    },
    "ahead": {
      "description": "Of each worker's slots, so many do no work: what is sent into them waits at the worker until one that runs has ended, so that it is never without work. A batch for such a slot grows until its turn is near. A worker of fewer slots is taken to do one batch at once. 0: a worker does as many as it has slots.",
      "type": "integer", "minimum": 0, "maximum": 1024, "default": 0
    },
    "ahead-lead-us": {
      "description": "So long before the turn that it is hoped to have at its worker, in microseconds, a batch that waits ahead is sent: what it takes to be made, sent and read there. Too long costs little: what comes in that time is in the batch after it. Too short leaves the worker without work.",
      "type": "integer", "minimum": 0, "maximum": 1000000, "default": 2000
    },
    "latency-target-ms": {
      "description": "Batches grow no further than lets their members be done so long after they came. 0: there is no such target.",
      "type": "integer", "minimum": 0, "maximum": 86400000, "default": 0
    },
    "early-rejection": {
      "description": "Turn away at once what by the learned times cannot make its deadline.",
      "type": "boolean", "default": true
    },
    "max-pending": {
      "description": "Requests that may wait. Of more, the tenant with most of them loses its newest (429); among equals the newcomer is turned away (503).",
      "type": "integer", "minimum": 1, "maximum": 1000000, "default": 65536
    },
    "max-pending-per-tenant": {
      "description": "Requests of one tenant that may wait; one more is turned away as over its share (429).",
      "type": "integer", "minimum": 1, "maximum": 1000000, "default": 65536
    },
    "fair": {
      "description": "Tenants share by what they were served; else all are one.",
      "type": "boolean", "default": true
    },
    "patience-ms": {
      "description": "A request without an earlier deadline should be done after so long: it orders requests of one tenant, and turns none away.",
      "type": "integer", "minimum": 1, "maximum": 86400000, "default": 30000
    }
  }
}"#;

/// The options. See the schema for each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// Most requests in one batch.
    pub max_batch: u32,
    /// Sizes that go at once, rising.
    pub preferred: Vec<u32>,
    /// Longest wait for company, in microseconds.
    pub max_queue_delay_us: u64,
    /// Slots of each worker in which a batch only waits there.
    pub ahead: u32,
    /// How long before its turn there it is sent, in microseconds.
    pub ahead_lead_us: u64,
    /// When requests should be done, in milliseconds; 0: there is no such target.
    pub latency_target_ms: u64,
    /// Turn away what cannot make its deadline.
    pub early_rejection: bool,
    /// Requests that may wait.
    pub max_pending: usize,
    /// Requests of one tenant that may wait.
    pub max_pending_per_tenant: usize,
    /// Tenants share.
    pub fair: bool,
    /// When a request should be done.
    pub patience_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_batch: 65_536,
            preferred: Vec::new(),
            max_queue_delay_us: 0,
            ahead: 0,
            ahead_lead_us: 2000,
            latency_target_ms: 0,
            early_rejection: true,
            max_pending: 65_536,
            max_pending_per_tenant: 65_536,
            fair: true,
            patience_ms: 30_000,
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
        let pending = 1..=1_000_000;
        let day = 86_400_000;
        let checks = [
            ("/max-batch", (1..=65_536).contains(&options.max_batch)),
            (
                "/max-queue-delay-us",
                options.max_queue_delay_us <= 60_000_000,
            ),
            ("/ahead", options.ahead <= 1024),
            ("/ahead-lead-us", options.ahead_lead_us <= 1_000_000),
            ("/latency-target-ms", options.latency_target_ms <= day),
            ("/max-pending", pending.contains(&options.max_pending)),
            (
                "/max-pending-per-tenant",
                pending.contains(&options.max_pending_per_tenant),
            ),
            ("/patience-ms", (1..=day).contains(&options.patience_ms)),
        ];
        if let Some((at, _)) = checks.iter().find(|(_, fine)| !fine) {
            return Err(problem(at, "it is out of its range; see the schema"));
        }
        let sizes = &options.preferred;
        let rising = sizes.windows(2).all(|pair| pair[0] < pair[1]);
        let within = sizes.iter().all(|size| (1..=65_536).contains(size));
        if !rising || !within || sizes.len() > 64 {
            let message = "sizes are from 1 to 65536, at most 64 of them, and each is larger than \
                           the one before";
            return Err(problem("/preferred", message));
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
        assert_eq!(
            Options::read(r#"{"preferred": [4, 8]}"#).unwrap().preferred,
            [4, 8]
        );
        for wrong in [
            r#"{"max-batch": 0}"#,
            r#"{"max_batch": 7}"#,
            r#"{"preferred": [8, 4]}"#,
            r#"{"preferred": [0]}"#,
            r#"{"max-queue-delay-us": 60000001}"#,
            r#"{"ahead": 1025}"#,
            r#"{"ahead-lead-us": 1000001}"#,
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
