//! Calls with several inputs, for workers that take one at a time.
//!
//! A plugin whose backend writes one input in a request says so in its manifest, by the extension
//! [`ONE_AT_A_TIME`]. A call with more that has been given such a worker goes to a composition
//! of the route that makes the task of itself: of one call with many inputs, many with one.

use std::sync::Arc;

use tollgate_dispatch::catalogue::Resolved;
use tollgate_plugin::{Generation, inference, types};

use crate::{
    house::{House, Reach, Route, Station},
    tasks,
};

/// Names the tasks, one a line, whose calls may have one input only: in manifests and, for
/// compositions, in the context.
const ONE_AT_A_TIME: &str = "one-at-a-time";

/// Inputs of a call; 1 for what has no list of them.
pub(crate) fn inputs(call: &inference::Call) -> usize {
    match &call.task {
        inference::Task::Generate(it) => it.prompts.len(),
        inference::Task::Embed(it) => it.inputs.len(),
        inference::Task::Tokenize(it) => it.inputs.len(),
        _ => 1,
    }
}

/// The composition that takes a call apart, when its worker cannot take it whole.
pub(crate) fn spreader(
    house: &House,
    route: &Route,
    station: &Station,
    call: &inference::Call,
) -> Option<Arc<str>> {
    let task = tasks::of(&call.task);
    if inputs(call) < 2 || !takes_one(house, station, task) {
        return None;
    }
    let spreads = |generation: &Generation| {
        generation.manifest().lowerings.iter().any(|lowering| {
            tasks::name(&lowering.from) == task
                && matches!(lowering.to.as_slice(), [to] if tasks::name(to) == task)
        })
    };
    let mut names = route.spec.compositions.iter();
    names
        .find(|name| {
            house
                .shelf
                .get(name)
                .is_some_and(|generation| spreads(&generation))
        })
        .cloned()
}

/// For a composition's context: the tasks that some worker of the model takes one input at a time of.
pub(crate) fn extension(house: &House, resolved: &Resolved) -> types::Extension {
    let single = |task: &&str| {
        let workers = resolved.offering(task).map(AsRef::as_ref);
        workers.unwrap_or_default().iter().any(|id| {
            house
                .station(*id)
                .is_some_and(|station| takes_one(house, &station, task))
        })
    };
    types::Extension {
        name: ONE_AT_A_TIME.to_owned(),
        payload: resolved
            .tasks()
            .filter(single)
            .collect::<Vec<_>>()
            .join("\n")
            .into_bytes(),
    }
}

fn takes_one(house: &House, station: &Station, task: &str) -> bool {
    let generation = match &station.reach {
        Reach::Network(_) => house.backend(station),
        Reach::Component(name) => house.shelf.get(name),
    };
    generation.is_some_and(|generation| named(&generation.manifest().extensions, task))
}

fn named(extensions: &[(String, Vec<u8>)], task: &str) -> bool {
    extensions
        .iter()
        .filter(|(name, _)| name == ONE_AT_A_TIME)
        .any(|(_, payload)| {
            payload
                .split(|byte| *byte == b'\n')
                .any(|name| name == task.as_bytes())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_named_one_a_line() {
        let all = [
            ("dialect".to_owned(), b"embed".to_vec()),
            (ONE_AT_A_TIME.to_owned(), b"generate\ntokenize".to_vec()),
        ];
        assert!(named(&all, "generate") && named(&all, "tokenize"));
        assert!(!named(&all, "embed") && !named(&all, "token"));
        assert!(!named(&[], "generate"));
    }
}
