//! Which calls a call is made of.

use tollgate_sdk_compose::{
    failure,
    inference::{Call, Embed, Extra, Prompt, Similarity, Task, TaskKind, Truncation},
    types::{Failure, Text},
};

use crate::{
    fan::Fan, lists::List, offers::Offers, options::Options, ranking::Order, scores::Scores,
    vectors::Vectors,
};

/// Takes a call apart.
pub(crate) fn lower(call: Call, offers: &Offers, options: &Options) -> Fan {
    calls(call, offers, options).unwrap_or_else(Fan::refused)
}

fn calls(mut call: Call, offers: &Offers, options: &Options) -> Result<Fan, Failure> {
    let task = std::mem::replace(&mut call.task, Task::ListModels);
    let count = match &task {
        Task::Rerank(task) => task.documents.len(),
        Task::Similarity(task) => task.sentences.len(),
        Task::Generate(task) => task.prompts.len(),
        Task::Embed(task) => task.inputs.len(),
        Task::Tokenize(task) => task.inputs.len(),
        _ => return Err(failure::unsupported("this task is not composed here")),
    };
    if count > options.fan_out {
        let message = format!(
            "{count} inputs in one request: at most {} are taken here",
            options.fan_out
        );
        return Err(failure::invalid(message, None));
    }
    match task {
        Task::Rerank(task) => {
            known(&task.extras)?;
            let order = Order::best(task.top_n);
            let documents = task.documents.into_iter().map(|document| document.text);
            Comparison {
                texts: (task.query, documents.collect()),
                truncate: task.truncate,
                order,
                call,
            }
            .calls(offers, options)
        }
        Task::Similarity(task) => {
            known(&task.extras)?;
            Comparison {
                texts: (task.source, task.sentences),
                truncate: task.truncate,
                order: Order::AsAsked,
                call,
            }
            .calls(offers, options)
        }
        list => {
            let (tasks, goal) = List::of(list)?;
            let calls = tasks.map(move |task| sub_call(&call, task));
            Ok(Fan::new(Box::new(calls), options.at_once, Box::new(goal)))
        }
    }
}

/// What a call for vectors or scores has no member for would change the result.
fn known(extras: &[Extra]) -> Result<(), Failure> {
    match extras.first() {
        None => Ok(()),
        Some(extra) => {
            let message = format!(
                "{} is not known where this is made of other calls",
                extra.name
            );
            Err(failure::invalid(message, Some(&extra.name)))
        }
    }
}

/// A text with which others are compared.
struct Comparison {
    /// The call without its task.
    call: Call,
    texts: (Text, Vec<Text>),
    truncate: Option<Truncation>,
    order: Order,
}

impl Comparison {
    fn calls(self, offers: &Offers, options: &Options) -> Result<Fan, Failure> {
        let Self {
            call,
            texts: (source, others),
            truncate,
            order,
        } = self;
        let count = others.len();
        // Nothing to compare with: no worker is needed to say so.
        let nothing = count == 0;
        let ranked = matches!(order, Order::BestFirst(_));
        // A model that scores pairs is asked for scores; its vectors would say something else.
        if ranked && offers.has(&TaskKind::Similarity) {
            let each = offers.inputs("similarity", options.texts_per_call);
            let calls = pieces(others, each).map(move |sentences| {
                let task = Similarity {
                    source: source.clone(),
                    sentences,
                    truncate,
                    extras: Vec::new(),
                };
                sub_call(&call, Task::Similarity(task))
            });
            let goal = Scores::new(count, each, order);
            return Ok(Fan::new(Box::new(calls), options.at_once, Box::new(goal)));
        }
        if !offers.has(&TaskKind::Embed) {
            let message = format!("no worker of the model `{}` makes vectors", call.model);
            return Err(failure::unsupported(message));
        }
        let each = offers.inputs("embed", options.texts_per_call);
        let texts: Vec<Text> = if nothing {
            Vec::new()
        } else {
            std::iter::once(source).chain(others).collect()
        };
        let calls = pieces(texts, each).map(move |texts| {
            let task = Embed {
                inputs: texts.into_iter().map(Prompt::Text).collect(),
                dimensions: None,
                truncate,
                extras: Vec::new(),
            };
            sub_call(&call, Task::Embed(task))
        });
        let goal = Vectors::new(count, each, order);
        Ok(Fan::new(Box::new(calls), options.at_once, Box::new(goal)))
    }
}

/// A call of the same model, with what other plugins have written on the whole.
fn sub_call(whole: &Call, task: Task) -> Call {
    Call {
        model: whole.model.clone(),
        version: whole.version.clone(),
        streaming: whole.streaming && matches!(task, Task::Generate(_)),
        task,
        extensions: whole.extensions.clone(),
    }
}

/// Pieces of at most `each`, in order.
fn pieces(texts: Vec<Text>, each: usize) -> impl Iterator<Item = Vec<Text>> {
    let mut texts = texts.into_iter();
    std::iter::from_fn(move || {
        let piece: Vec<Text> = texts.by_ref().take(each.max(1)).collect();
        (!piece.is_empty()).then_some(piece)
    })
}
