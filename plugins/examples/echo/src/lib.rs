//! A model server inside the proxy that gives back the words of its prompt, one a step: how
//! something that computes its own answers becomes a worker.

use serde::Deserialize;
use tollgate_sdk_worker::{
    Session, Worker, event, export_worker,
    inference::{Call, Event, FinishReason, ModelInfo, Prompt, Task, TaskKind},
    manifest, model, plugin, problem,
    serving::{Progress, Stepped},
    types::{Context, FailureKind, Text},
};

const OPTIONS: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "model": {
      "description": "Name of the one model.",
      "type": "string", "minLength": 1, "default": "echo"
    }
  }
}"#;

/// What an operator may set.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Options {
    model: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: "echo".to_owned(),
        }
    }
}

/// The configured plugin.
pub struct Plugin {
    options: Options,
}

impl Worker for Plugin {
    fn manifest() -> plugin::Manifest {
        let mut it = manifest(
            "echo",
            env!("CARGO_PKG_VERSION"),
            "A model that gives back what it is told",
            OPTIONS,
        );
        it.tasks = vec![TaskKind::Generate];
        it
    }

    fn configure(options: &str) -> Result<Self, Vec<plugin::Problem>> {
        let text = match options.trim() {
            "" => "{}",
            text => text,
        };
        let options: Options =
            serde_json::from_str(text).map_err(|error| problem("", error.to_string()))?;
        if options.model.is_empty() {
            return Err(problem("/model", "a model has a name"));
        }
        Ok(Self { options })
    }

    fn models(&self) -> Vec<ModelInfo> {
        vec![model(&self.options.model, vec![TaskKind::Generate])]
    }

    fn session(&self, _: Context, call: Call) -> Box<dyn Session> {
        Box::new(GivenBack::new(call))
    }
}

export_worker!(Plugin);

/// One prompt that is given back.
struct GivenBack {
    /// What has not been said, the next word last; or what cannot be done.
    words: Result<Vec<String>, Event>,
    read: u32,
    said: u32,
    max: u32,
}

impl GivenBack {
    fn new(call: Call) -> Self {
        let (words, max) = match Self::words(call) {
            Ok((words, max)) => (Ok(words), max),
            Err(why) => (Err(event::failed(FailureKind::Unsupported, why)), 0),
        };
        Self {
            read: words.as_ref().map_or(0, |words| words.len() as u32),
            words,
            said: 0,
            max,
        }
    }

    fn words(call: Call) -> Result<(Vec<String>, u32), &'static str> {
        let Task::Generate(task) = call.task else {
            return Err("only generation");
        };
        let [Prompt::Text(Text::Inline(prompt))] = task.prompts.as_slice() else {
            return Err("one prompt, as text");
        };
        let mut words: Vec<String> = prompt
            .split_inclusive(char::is_whitespace)
            .map(str::to_owned)
            .collect();
        words.reverse();
        Ok((words, task.settings.stopping.max_tokens.unwrap_or(u32::MAX)))
    }

    /// The last events, once there is nothing more to say.
    fn end(&self, reason: FinishReason) -> Stepped {
        Stepped {
            events: vec![
                event::finished(reason),
                event::usage(self.read, self.said),
                Event::End,
            ],
            progress: Progress::Done,
        }
    }
}

impl Session for GivenBack {
    fn step(&mut self) -> Stepped {
        let words = match &mut self.words {
            Ok(words) => words,
            Err(failed) => {
                return Stepped {
                    events: vec![failed.clone()],
                    progress: Progress::Done,
                };
            }
        };
        if words.is_empty() {
            return self.end(FinishReason::EndOfSequence);
        }
        if self.said == self.max {
            return self.end(FinishReason::MaxTokens);
        }
        let word = words.pop().unwrap_or_default();
        self.said += 1;
        Stepped {
            events: vec![event::delta(word)],
            progress: Progress::More,
        }
    }
}
