//! Makes `chat` of `generate`: the conversation is written as one prompt by the chat template that
//! came with the model, as its own server would, and what the worker generates is the answer.
//!
//! `options` reads the templates, `template` runs them as transformers does, `python` is what
//! Python does differently from Rust, `conversation` is what templates see, and `chat` is the
//! composed call.
#![deny(missing_docs)]

mod chat;
mod conversation;
mod options;
mod python;
mod strftime;
mod template;

use std::sync::Arc;

use tollgate_sdk_compose::{
    Compose, Composition,
    composition::Capability,
    export_compose,
    inference::{Call, TaskKind},
    plugin::{Lowering, Manifest, Problem},
    types::Context,
};

use crate::options::Options;
pub use crate::template::{RenderError, Template, Variables};

/// The configured plugin.
pub struct Plugin {
    options: Arc<Options>,
}

impl Compose for Plugin {
    fn manifest() -> Manifest {
        Manifest {
            name: "compose-chat".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            dialects: Vec::new(),
            tasks: Vec::new(),
            options_schema: options::SCHEMA.into(),
            descriptors: Vec::new(),
            read_headers: Vec::new(),
            strip_headers: Vec::new(),
            telemetry: Vec::new(),
            worker_metrics: Vec::new(),
            errors: Vec::new(),
            lowerings: vec![Lowering {
                from: TaskKind::Chat,
                to: vec![TaskKind::Generate],
            }],
            extensions: Vec::new(),
        }
    }

    fn configure(options: &str) -> Result<Self, Vec<Problem>> {
        let options = Arc::new(Options::parse(options)?);
        Ok(Self { options })
    }

    fn compose(
        &self,
        context: Context,
        call: Call,
        _capabilities: Vec<Capability>,
    ) -> Box<dyn Composition> {
        Box::new(chat::Chat::new(self.options.clone(), context, call))
    }
}

export_compose!(Plugin);
