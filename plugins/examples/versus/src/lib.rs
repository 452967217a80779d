//! How alike sentences are, where no worker says so: their vectors are asked for in one call, and
//! the answer is the cosine of each with the source's.

use serde::Deserialize;
use tollgate_sdk_compose::{
    Compose, Composition,
    composition::{Action, Capability, SubCall, SubEvent},
    export_compose, failure,
    inference::{Call, Embed, Event, Prompt, Score, Similarity, Task, TaskKind, Vector},
    manifest, plugin, problem,
    types::{Context, Failure},
};

/// The only sub-call's number.
const VECTORS: u32 = 0;

/// What an operator may set: nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {}

/// The configured plugin.
pub struct Plugin;

impl Compose for Plugin {
    fn manifest() -> plugin::Manifest {
        let mut it = manifest(
            "versus",
            env!("CARGO_PKG_VERSION"),
            "Similarity by the vectors of some other worker",
            r#"{"type": "object", "additionalProperties": false}"#,
        );
        it.lowerings = vec![plugin::Lowering {
            from: TaskKind::Similarity,
            to: vec![TaskKind::Embed],
        }];
        it
    }

    fn configure(options: &str) -> Result<Self, Vec<plugin::Problem>> {
        let text = match options.trim() {
            "" => "{}",
            text => text,
        };
        serde_json::from_str::<Options>(text).map_err(|error| problem("", error.to_string()))?;
        Ok(Self)
    }

    fn compose(
        &self,
        _: Context,
        call: Call,
        capabilities: Vec<Capability>,
    ) -> Box<dyn Composition> {
        Box::new(Comparing::new(call, &capabilities))
    }
}

export_compose!(Plugin);

/// One comparison.
struct Comparing {
    /// To be asked in the first step; or what cannot be.
    ask: Option<Result<Call, Failure>>,
    /// The source's first.
    vectors: Vec<Option<Vec<f32>>>,
    over: bool,
}

impl Comparing {
    fn new(call: Call, capabilities: &[Capability]) -> Self {
        let Task::Similarity(task) = call.task else {
            return Self {
                ask: Some(Err(failure::unsupported("only similarity is made here"))),
                vectors: Vec::new(),
                over: false,
            };
        };
        let count = task.sentences.len() + 1;
        Self {
            ask: Some(embed(call.model, call.version, task, capabilities)),
            vectors: vec![None; count],
            over: false,
        }
    }

    fn event(&mut self, event: Event) -> Result<Vec<Event>, Failure> {
        match event {
            Event::Embeddings(embeddings) => {
                for embedding in embeddings {
                    let place = self.vectors.get_mut(embedding.item as usize);
                    let (Some(place @ None), Vector::Floats(values)) = (place, embedding.values)
                    else {
                        return Err(failure::upstream_invalid("a vector that was not asked for"));
                    };
                    *place = Some(values);
                }
                Ok(Vec::new())
            }
            Event::Usage(usage) => Ok(vec![Event::Usage(usage)]),
            Event::End => Ok(vec![Event::Scores(self.scores()?), Event::End]),
            Event::Failed(failure) => Err(failure),
            _ => Ok(Vec::new()),
        }
    }

    fn scores(&self) -> Result<Vec<Score>, Failure> {
        let vectors: Option<Vec<&Vec<f32>>> = self.vectors.iter().map(Option::as_ref).collect();
        let vectors = vectors.unwrap_or_default();
        let Some((source, sentences)) = vectors.split_first() else {
            return Err(failure::upstream_invalid("vectors are missing"));
        };
        if sentences.iter().any(|other| other.len() != source.len()) {
            return Err(failure::upstream_invalid("vectors of unlike length"));
        }
        let score = |(other, item): (&&Vec<f32>, u32)| Score {
            item,
            value: cosine(source, other),
        };
        Ok(sentences.iter().zip(0..).map(score).collect())
    }

    fn fail(&mut self, failure: Failure) -> Vec<Action> {
        self.over = true;
        vec![Action::Events(vec![Event::Failed(failure)])]
    }
}

/// The one call for all vectors, of the same model if some worker embeds with it.
fn embed(
    model: String,
    version: Option<String>,
    task: Similarity,
    capabilities: &[Capability],
) -> Result<Call, Failure> {
    if let Some(extra) = task.extras.first() {
        let what = format!("`{}` is not known here", extra.name);
        return Err(failure::invalid(what, Some(&extra.name)));
    }
    let embeds = |it: &&Capability| it.tasks.contains(&TaskKind::Embed);
    let with = |it: &&Capability| it.model == model;
    let own = capabilities.iter().filter(embeds).find(with);
    let any = own.or_else(|| capabilities.iter().find(embeds));
    let chosen = any.ok_or_else(|| failure::unsupported("no worker here makes vectors"))?;
    Ok(Call {
        version: version.filter(|_| chosen.model == model),
        model: chosen.model.clone(),
        streaming: false,
        task: Task::Embed(Embed {
            inputs: std::iter::once(task.source)
                .chain(task.sentences)
                .map(Prompt::Text)
                .collect(),
            dimensions: None,
            truncate: task.truncate,
            extras: Vec::new(),
        }),
        extensions: Vec::new(),
    })
}

/// Cosine of the angle between two vectors; 0 when one of them has no direction.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    match lengths > 0.0 {
        true => dot(a, b) / lengths,
        false => 0.0,
    }
}

impl Composition for Comparing {
    fn step(&mut self, events: Vec<SubEvent>) -> Vec<Action> {
        match self.ask.take() {
            Some(Ok(call)) => return vec![Action::Call(SubCall { id: VECTORS, call })],
            Some(Err(failure)) => return self.fail(failure),
            None => {}
        }
        let mut said = Vec::new();
        for event in events {
            if self.over {
                break;
            }
            match self.event(event.event) {
                Ok(more) => said.extend(more),
                Err(failure) => return self.fail(failure),
            }
            self.over = matches!(said.last(), Some(Event::End));
        }
        match said.is_empty() {
            true => Vec::new(),
            false => vec![Action::Events(said)],
        }
    }
}
