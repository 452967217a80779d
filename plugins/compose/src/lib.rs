//! Makes tasks of others that a model's workers offer:
//!
//! | asked | made of |
//! |---|---|
//! | rerank | similarity of the query and the documents, or else their vectors' cosines |
//! | similarity | the vectors' cosines |
//! | generate, embed, tokenize with several inputs | as many calls with one input each |
//!
//! `lowering` says which calls are made, `fan` makes them, several at once, and the other
//! modules make an answer of what comes.
#![deny(missing_docs)]

mod fan;
mod lists;
mod lowering;
mod offers;
mod options;
mod ranking;
mod scores;
mod vectors;

use tollgate_sdk_compose::{
    Compose, Composition,
    composition::Capability,
    export_compose,
    inference::{Call, TaskKind},
    plugin::{Lowering, Manifest, Problem},
    types::Context,
};

pub use options::Options;
pub use vectors::cosine;

/// The configured plugin.
pub struct Plugin {
    options: Options,
}

impl Compose for Plugin {
    fn manifest() -> Manifest {
        let made_of = |from: TaskKind, to: TaskKind| Lowering { from, to: vec![to] };
        Manifest {
            name: "compose".into(),
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
            lowerings: vec![
                made_of(TaskKind::Rerank, TaskKind::Similarity),
                made_of(TaskKind::Rerank, TaskKind::Embed),
                made_of(TaskKind::Similarity, TaskKind::Embed),
                made_of(TaskKind::Generate, TaskKind::Generate),
                made_of(TaskKind::Embed, TaskKind::Embed),
                made_of(TaskKind::Tokenize, TaskKind::Tokenize),
            ],
            extensions: Vec::new(),
        }
    }

    fn configure(options: &str) -> Result<Self, Vec<Problem>> {
        let options = Options::parse(options)?;
        Ok(Self { options })
    }

    fn compose(
        &self,
        context: Context,
        call: Call,
        capabilities: Vec<Capability>,
    ) -> Box<dyn Composition> {
        let offers = offers::Offers::new(&context, &call.model, &capabilities);
        Box::new(lowering::lower(call, &offers, &self.options))
    }
}

export_compose!(Plugin);
