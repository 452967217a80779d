//! Plays the host: carries out calls with a worker that is a function.

use std::collections::BTreeMap;

use tollgate_plugin_compose::Plugin;
use tollgate_sdk_compose::{
    Compose, Composition,
    composition::{Action, Capability, SubEvent},
    inference::{Call, Document, Event, Extra, Rerank, Similarity, Task, TaskKind},
    types::{Context, Extension, Failure, Text},
};

pub fn text(text: &str) -> Text {
    Text::Inline(text.into())
}

/// What is in a text that lies in the call.
pub fn plain(text: &Text) -> &str {
    match text {
        Text::Inline(text) => text,
        Text::Held(_) => panic!("nobody holds anything here"),
    }
}

pub fn call(task: Task) -> Call {
    Call {
        model: "m".into(),
        version: Some("2".into()),
        streaming: false,
        task,
        extensions: vec![Extension {
            name: "x".into(),
            payload: b"carried".to_vec(),
        }],
    }
}

pub fn rerank(query: &str, documents: &[&str], top_n: Option<u32>) -> Rerank {
    Rerank {
        query: text(query),
        documents: documents
            .iter()
            .map(|document| Document {
                text: text(document),
                original: None,
            })
            .collect(),
        top_n,
        truncate: None,
        extras: Vec::new(),
    }
}

pub fn similarity(source: &str, sentences: &[&str]) -> Similarity {
    Similarity {
        source: text(source),
        sentences: sentences.iter().map(|sentence| text(sentence)).collect(),
        truncate: None,
        extras: Vec::<Extra>::new(),
    }
}

/// A composition over workers with these tasks, some of which take one input at a time.
pub fn begin(options: &str, task: Task, tasks: &[TaskKind], single: &str) -> Box<dyn Composition> {
    let context = Context {
        request_id: "r".into(),
        unix_time: 0,
        seed: 0,
        route: "test".into(),
        default_model: None,
        deadline_ms: None,
        extensions: vec![Extension {
            name: "one-at-a-time".into(),
            payload: single.as_bytes().to_vec(),
        }],
    };
    let capability = |model: &str, tasks: &[TaskKind]| Capability {
        model: model.into(),
        tasks: tasks.to_vec(),
    };
    let capabilities = vec![
        capability("other", &[TaskKind::Embed, TaskKind::Similarity]),
        capability("m", tasks),
    ];
    let plugin = Plugin::configure(options).unwrap_or_else(|problems| panic!("{problems:?}"));
    plugin.compose(context, call(task), capabilities)
}

/// What came of a composed call.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Events of the composed call.
    pub events: Vec<Event>,
    /// The calls that it made, in order.
    pub calls: Vec<Call>,
    /// Most that ran at once.
    pub most: usize,
    /// Calls that it took back.
    pub cancelled: Vec<u32>,
}

impl Outcome {
    pub fn failure(&self) -> &Failure {
        match self.events.last() {
            Some(Event::Failed(failure)) => failure,
            other => panic!("{other:?} is no failure"),
        }
    }

    pub fn scores(&self) -> Vec<(u32, f64)> {
        let scores = self.events.iter().find_map(|event| match event {
            Event::Scores(scores) => Some(scores),
            _ => None,
        });
        let scores = scores.unwrap_or_else(|| panic!("no scores in {:?}", self.events));
        scores
            .iter()
            .map(|score| (score.item, score.value))
            .collect()
    }
}

/// Runs it to its end. `worker` answers a call; `pick` says which of those that run is next.
pub fn run(
    mut composition: Box<dyn Composition>,
    worker: impl Fn(&Call) -> Vec<Event>,
    mut pick: impl FnMut(usize) -> usize,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut running: BTreeMap<u32, Call> = BTreeMap::new();
    let mut events = Vec::new();
    let mut last = None;
    loop {
        for action in composition.step(std::mem::take(&mut events)) {
            match action {
                Action::Call(sub) => {
                    outcome.calls.push(sub.call.clone());
                    assert!(running.insert(sub.id, sub.call).is_none(), "a number twice");
                }
                Action::Cancel(id) => outcome.cancelled.push(id),
                Action::Events(told) => outcome.events.extend(told),
                Action::Other(other) => panic!("{other:?}"),
            }
        }
        outcome.most = outcome.most.max(running.len());
        if matches!(outcome.events.last(), Some(Event::End | Event::Failed(_))) {
            // The call that said the last word may have ended by it.
            outcome.cancelled.retain(|id| Some(*id) != last);
            assert_eq!(
                outcome.cancelled,
                running.keys().copied().collect::<Vec<_>>(),
                "what still runs is taken back, and nothing else"
            );
            assert!(composition.step(Vec::new()).is_empty(), "it is over");
            return outcome;
        }
        let chosen = pick(running.len()) % running.len();
        let id = *running.keys().nth(chosen).expect("one of them");
        let call = running.remove(&id).expect("it runs");
        last = Some(id);
        let told = worker(&call).into_iter();
        events = told.map(|event| SubEvent { id, event }).collect();
    }
}
