//! The options of the plugin, and those of a worker.

use serde_json::{Map, Value};
use tollgate_sdk_protocol::plugin::Problem;

/// Which revision of the service a worker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// The original server: no adapters, no guided decoding, truncates on the left.
    Plain,
    /// The vLLM adapter.
    Adapter,
}

/// Options of the plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// `max_new_tokens` of a client that names none, when its request is translated;
    /// 0 leaves it to the worker.
    pub default_max_new_tokens: u32,
    /// The most a client may ask for, when its request is translated.
    pub max_new_tokens: Option<u32>,
    /// `include_stop_sequence` of a client that says nothing, when it is translated.
    pub default_include_stop_sequence: bool,
    /// Route every request to the default model, as servers of this protocol do.
    pub ignore_model_id: bool,
    /// Read token counts from passed responses.
    pub count_usage: bool,
    /// Revision of workers that do not say.
    pub revision: Revision,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            default_max_new_tokens: 20,
            max_new_tokens: None,
            default_include_stop_sequence: false,
            ignore_model_id: false,
            count_usage: true,
            revision: Revision::Plain,
        }
    }
}

/// JSON Schema of [`Options`].
pub const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "default-max-new-tokens": {
      "type": "integer", "minimum": 0, "maximum": 4294967295, "default": 20,
      "description": "New tokens for a client that names no limit, when its request is translated; 0 leaves it to the worker."
    },
    "max-new-tokens": {
      "type": "integer", "minimum": 1, "maximum": 4294967295,
      "description": "The most new tokens that a client may ask for, when its request is translated."
    },
    "default-include-stop-sequence": {
      "type": "boolean", "default": false,
      "description": "Whether the text ends with the matched stop sequence, for a client that does not say, when its request is translated."
    },
    "ignore-model-id": {
      "type": "boolean", "default": false,
      "description": "Send every request to the route's default model, whatever model_id says."
    },
    "count-usage": {
      "type": "boolean", "default": true,
      "description": "Read token counts from responses that pass through."
    },
    "revision": {
      "enum": ["plain", "adapter"], "default": "plain",
      "description": "Revision of the service that workers speak, unless their own options say; adapter is the vLLM adapter's."
    }
  }
}"#;

/// Where a worker cuts an input that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The last tokens stay.
    Left,
    /// The first tokens stay.
    Right,
}

/// Options of one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerOptions {
    /// Which fields the worker knows.
    pub revision: Revision,
    /// The worker's own limit of new tokens. The original server gives 20 tokens to
    /// whoever names no limit, so a call without one is sent with this.
    pub max_new_tokens: u32,
    /// Where generation cuts an input: a fact of the worker, not a wish.
    pub truncation_side: Side,
    /// The model's name there, for probes.
    pub model: Option<String>,
}

/// The original server's limit of new tokens, unless it was started with another.
const SERVER_MAX_NEW_TOKENS: u32 = 1024;

impl Options {
    /// Reads the plugin's options. Nothing at all is the default.
    ///
    /// # Errors
    /// Every problem there is, with a pointer to it.
    pub fn parse(json: &str) -> Result<Self, Vec<Problem>> {
        let mut options = Self::default();
        let mut reader = Reader::new(json)?;
        reader.u32("default-max-new-tokens", 0, |value| {
            options.default_max_new_tokens = value
        });
        reader.u32("max-new-tokens", 1, |value| {
            options.max_new_tokens = Some(value)
        });
        reader.boolean("default-include-stop-sequence", |value| {
            options.default_include_stop_sequence = value;
        });
        reader.boolean("ignore-model-id", |value| options.ignore_model_id = value);
        reader.boolean("count-usage", |value| options.count_usage = value);
        reader.revision(|value| options.revision = value);
        reader.finish()?;
        if options
            .max_new_tokens
            .is_some_and(|most| options.default_max_new_tokens > most)
        {
            return Err(vec![problem(
                "/default-max-new-tokens",
                "must be <= max-new-tokens: a client that names no limit would be refused",
            )]);
        }
        Ok(options)
    }
}

impl WorkerOptions {
    /// Reads a worker's options.
    ///
    /// # Errors
    /// One sentence for the operator, naming every problem.
    pub fn parse(json: &str, plugin: &Options) -> Result<Self, String> {
        Self::read(json, plugin).map_err(|problems| {
            let all: Vec<_> = problems
                .iter()
                .map(|p| format!("{} {}", p.at, p.message))
                .collect();
            format!("the worker's options: {}", all.join("; "))
        })
    }

    fn read(json: &str, plugin: &Options) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(json)?;
        let mut revision = plugin.revision;
        reader.revision(|value| revision = value);
        // What the two families do unless they are told otherwise.
        let (limit, side) = match revision {
            Revision::Plain => (SERVER_MAX_NEW_TOKENS, Side::Left),
            Revision::Adapter => (0, Side::Right),
        };
        let mut options = Self {
            revision,
            max_new_tokens: limit,
            truncation_side: side,
            model: None,
        };
        reader.u32("max-new-tokens", 1, |value| options.max_new_tokens = value);
        reader.word("truncation-side", &["left", "right"], |at| {
            options.truncation_side = [Side::Left, Side::Right][at];
        });
        reader.text("model", |value| options.model = Some(value));
        // The host may put the dialect there; it is not this plugin's to read.
        reader.text("dialect", drop);
        reader.finish()?;
        Ok(options)
    }
}

/// Takes known members out of a JSON object; what is left is unknown.
struct Reader {
    members: Map<String, Value>,
    problems: Vec<Problem>,
}

impl Reader {
    fn new(json: &str) -> Result<Self, Vec<Problem>> {
        if json.trim().is_empty() {
            return Ok(Self {
                members: Map::new(),
                problems: Vec::new(),
            });
        }
        match serde_json::from_str(json) {
            Ok(Value::Object(members)) => Ok(Self {
                members,
                problems: Vec::new(),
            }),
            Ok(Value::Null) => Ok(Self {
                members: Map::new(),
                problems: Vec::new(),
            }),
            Ok(_) => Err(vec![problem("", "must be an object")]),
            Err(error) => Err(vec![problem("", &format!("is not JSON: {error}"))]),
        }
    }

    fn member<T>(
        &mut self,
        name: &str,
        what: &str,
        read: impl FnOnce(&Value) -> Option<T>,
        put: impl FnOnce(T),
    ) {
        if let Some(value) = self.members.remove(name) {
            match read(&value) {
                Some(value) => put(value),
                None => {
                    self.problems
                        .push(problem(&format!("/{name}"), &format!("must be {what}")));
                }
            }
        }
    }

    fn u32(&mut self, name: &str, least: u32, put: impl FnOnce(u32)) {
        let read = |value: &Value| {
            value
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| *n >= least)
        };
        self.member(
            name,
            &format!("an integer from {least} to {}", u32::MAX),
            read,
            put,
        );
    }

    fn boolean(&mut self, name: &str, put: impl FnOnce(bool)) {
        self.member(name, "true or false", Value::as_bool, put);
    }

    fn text(&mut self, name: &str, put: impl FnOnce(String)) {
        self.member(
            name,
            "a string",
            |value| value.as_str().map(str::to_owned),
            put,
        );
    }

    fn word(&mut self, name: &str, words: &[&str], put: impl FnOnce(usize)) {
        let read = |value: &Value| words.iter().position(|word| value.as_str() == Some(*word));
        self.member(name, &format!("one of {}", words.join(", ")), read, put);
    }

    fn revision(&mut self, put: impl FnOnce(Revision)) {
        self.word("revision", &["plain", "adapter"], |at| {
            put([Revision::Plain, Revision::Adapter][at]);
        });
    }

    fn finish(mut self) -> Result<(), Vec<Problem>> {
        for name in self.members.keys() {
            // RFC 6901 writes these two characters otherwise.
            let name = name.replace('~', "~0").replace('/', "~1");
            self.problems
                .push(problem(&format!("/{name}"), "is not an option"));
        }
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(self.problems)
        }
    }
}

fn problem(at: &str, message: &str) -> Problem {
    Problem {
        at: at.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
