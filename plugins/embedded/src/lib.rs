//! A model server inside the proxy: two models that are tiny, but real.
//!
//! * `tollgate-ngram` is an interpolated 4-gram model over byte-pair tokens, trained
//!   when this crate is built on the prose in `corpus/`. It writes about gates, ferries
//!   and queues, mostly grammatically and to no purpose: it is for trying out the whole
//!   way of a request, streams and logprobs included, without any other server.
//! * `tollgate-hash` turns texts into vectors by hashing their words.
//!
//! All is deterministic for a seed. A session has no clock, so `time-limit-ms` is the
//! caller's to watch; a full context takes well under a second. `serde_json` reads the
//! options and the content parts of chats.

pub mod bpe;
pub mod embedding;
pub mod generation;
pub mod hash;
pub mod model;
pub mod output;
pub mod prompt;
mod refusal;
pub mod sampler;
pub mod tokenization;

use std::sync::Arc;

use tollgate_sdk_worker::inference::{
    Call, Event, Extra, ModelInfo, Prompt, ServerInfo, Task, TaskKind,
};
use tollgate_sdk_worker::serving::{Progress, Stepped};
use tollgate_sdk_worker::types::{Context, Failure, Text};
use tollgate_sdk_worker::{Session, Worker, export_worker, inference, plugin, types};

use embedding::Embedder;
use generation::Generation;
use model::Model;
use prompt::Reading;
use refusal::{invalid, not_found, unsupported};
use tokenization::Tokenizer;

/// Name of the language model.
pub const NGRAM: &str = "tollgate-ngram";
/// Name of the embedding model.
pub const HASH: &str = "tollgate-hash";

const VERSION: &str = "1";

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "Embedded models",
  "type": "object",
  "additionalProperties": false
}"#;

/// The configured plugin.
pub struct Embedded {
    model: Arc<Model>,
}

impl Worker for Embedded {
    fn manifest() -> plugin::Manifest {
        plugin::Manifest {
            name: "embedded".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            dialects: Vec::new(),
            tasks: vec![
                TaskKind::Generate,
                TaskKind::Chat,
                TaskKind::Embed,
                TaskKind::Tokenize,
                TaskKind::Detokenize,
                TaskKind::ListModels,
                TaskKind::ModelMetadata,
                TaskKind::ModelReady,
                TaskKind::ServerLive,
                TaskKind::ServerReady,
                TaskKind::ServerMetadata,
            ],
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
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct None {}
        let text = if options.trim().is_empty() {
            "{}"
        } else {
            options
        };
        serde_json::from_str::<None>(text).map_err(|error| {
            vec![plugin::Problem {
                at: String::new(),
                message: error.to_string(),
            }]
        })?;
        Ok(Embedded {
            model: Arc::new(Model::load()),
        })
    }

    fn models(&self) -> Vec<ModelInfo> {
        let information = [TaskKind::ModelMetadata, TaskKind::ModelReady];
        let tokens = [TaskKind::Tokenize, TaskKind::Detokenize];
        let model = |name: &str, max_length, max_new_tokens, own: &[TaskKind]| ModelInfo {
            name: name.into(),
            versions: vec![VERSION.into()],
            max_length: Some(max_length as u32),
            max_new_tokens,
            parent: None,
            tasks: own
                .iter()
                .chain(&tokens)
                .chain(&information)
                .cloned()
                .collect(),
            ready: true,
            platform: "tollgate-embedded".into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            extensions: Vec::new(),
        };
        let most_new = Some(model::CONTEXT as u32 - 1);
        vec![
            model(
                NGRAM,
                model::CONTEXT,
                most_new,
                &[TaskKind::Generate, TaskKind::Chat],
            ),
            model(HASH, embedding::LONGEST, None, &[TaskKind::Embed]),
        ]
    }

    fn session(&self, context: types::Context, call: inference::Call) -> Box<dyn Session> {
        self.begin(&context, call)
            .unwrap_or_else(|failure| answer(Event::Failed(failure)))
    }
}

impl Embedded {
    fn begin(&self, context: &Context, call: Call) -> Result<Box<dyn Session>, Failure> {
        match &call.task {
            Task::ListModels => return Ok(answer(Event::Models(self.models()))),
            Task::ServerLive | Task::ServerReady => return Ok(answer(Event::Ready(true))),
            Task::ServerMetadata => return Ok(answer(Event::Metadata(server()))),
            _ => {}
        }
        let mut models = self.models().into_iter();
        let Some(info) = models.find(|model| model.name == call.model) else {
            return Err(not_found(
                "model",
                format!("there is no model `{}` here", call.model),
            ));
        };
        if let Some(version) = call.version.as_deref()
            && !version.is_empty()
            && version != VERSION
        {
            let message = format!("`{}` has no version `{version}`", call.model);
            return Err(not_found("version", message));
        }
        let (kind, name) = kind_of(&call.task);
        if !info.tasks.contains(&kind) {
            let message = format!("`{}` does not offer {name}", call.model);
            return Err(unsupported(None, message));
        }
        let model = Arc::clone(&self.model);
        Ok(match call.task {
            Task::Generate(task) => {
                let prompts = task
                    .prompts
                    .into_iter()
                    .map(|prompt| Reading::prompt(prompt, model.vocabulary(), true))
                    .collect::<Result<_, _>>()?;
                let (settings, streaming) = (task.settings, call.streaming);
                let seed = context.seed;
                Box::new(Generation::new(
                    model, prompts, settings, seed, streaming, false,
                )?)
            }
            Task::Chat(task) => {
                if task.tools.is_some() || task.tool_choice.is_some() {
                    return Err(unsupported(Some("tools"), "this model cannot call tools"));
                }
                let prompt = Prompt::Text(Text::Inline(prompt::chat(task.messages)?));
                let prompts = vec![Reading::prompt(prompt, model.vocabulary(), true)?];
                let (settings, streaming) = (task.settings, call.streaming);
                let seed = context.seed;
                Box::new(Generation::new(
                    model, prompts, settings, seed, streaming, true,
                )?)
            }
            Task::Embed(task) => Box::new(Embedder::new(model, task)?),
            Task::Tokenize(task) => Box::new(Tokenizer::new(model, task)?),
            Task::Detokenize(task) => {
                let tokens = prompt::tokens(&task.tokens, model.vocabulary())?;
                let text = model.vocabulary().decode(&tokens);
                answer(Event::Detokenized(Text::Inline(text)))
            }
            Task::ModelMetadata => answer(Event::Models(vec![info])),
            Task::ModelReady => answer(Event::Ready(true)),
            _ => return Err(invalid("task", format!("{name} has no place here"))),
        })
    }
}

fn server() -> ServerInfo {
    let fact = |name: &str, json: String| Extra {
        name: name.into(),
        json,
    };
    ServerInfo {
        name: "tollgate-embedded".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        features: Vec::new(),
        facts: vec![
            fact("context", model::CONTEXT.to_string()),
            fact("dimensions", hash::DIMENSIONS.to_string()),
        ],
    }
}

fn kind_of(task: &Task) -> (TaskKind, &str) {
    match task {
        Task::Generate(_) => (TaskKind::Generate, "generate"),
        Task::Chat(_) => (TaskKind::Chat, "chat"),
        Task::Embed(_) => (TaskKind::Embed, "embed"),
        Task::Rerank(_) => (TaskKind::Rerank, "rerank"),
        Task::Similarity(_) => (TaskKind::Similarity, "similarity"),
        Task::Tokenize(_) => (TaskKind::Tokenize, "tokenize"),
        Task::Detokenize(_) => (TaskKind::Detokenize, "detokenize"),
        Task::Infer(_) => (TaskKind::Infer, "infer"),
        Task::ListModels => (TaskKind::ListModels, "list-models"),
        Task::ModelMetadata => (TaskKind::ModelMetadata, "model-metadata"),
        Task::ModelReady => (TaskKind::ModelReady, "model-ready"),
        Task::ServerLive => (TaskKind::ServerLive, "server-live"),
        Task::ServerReady => (TaskKind::ServerReady, "server-ready"),
        Task::ServerMetadata => (TaskKind::ServerMetadata, "server-metadata"),
        Task::Other(other) => (TaskKind::Other(other.name.clone()), &other.name),
    }
}

/// A session that is over with its first step.
struct Single(Option<Event>);

fn answer(event: Event) -> Box<dyn Session> {
    Box::new(Single(Some(event)))
}

impl Session for Single {
    fn step(&mut self) -> Stepped {
        let mut events: Vec<Event> = self.0.take().into_iter().collect();
        if !matches!(events.last(), Some(Event::Failed(_)) | None) {
            events.push(Event::End);
        }
        Stepped {
            events,
            progress: Progress::Done,
        }
    }
}

export_worker!(Embedded);
