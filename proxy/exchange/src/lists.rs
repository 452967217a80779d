//! Calls with several inputs, for workers that take one at a time.
//!
//! A plugin whose backend writes one input in a request says so in its manifest, by the extension
//! [`ONE_AT_A_TIME`]. A call with more that has been given such a worker goes to a composition
//! of the route that makes the task of itself: of one call with many inputs, many with one.
//!
//! **What it costs** is charged once. Where no worker of a model could take a list whole, its call
//! does not wait for a worker at all, and each part is charged its own share ([`Shares`]). Where some
//! could, the list waits, and is charged, as a whole: picked for one that cannot, its parts are free.

use std::sync::Arc;

use tollgate_dispatch::{catalogue::Resolved, policy::WorkerId};
use tollgate_plugin::{Generation, inference, types};

use crate::{
    house::{House, Reach, Route, Station},
    tasks,
};

/// Names the tasks, one a line, whose calls may have one input only: in manifests and, for
/// compositions, in the context. In a manifest a dialect may follow a task, behind a space: then it
/// holds for workers of that dialect alone.
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

/// How much of the work a call is: its texts, where it has a list of them.
fn weight(call: &inference::Call) -> u64 {
    let texts = match &call.task {
        inference::Task::Rerank(it) => it.documents.len() + 1,
        inference::Task::Similarity(it) => it.sentences.len() + 1,
        _ => inputs(call),
    };
    texts.max(1) as u64
}

/// What the calls that a composition makes are charged of the whole: of a list each its share by
/// texts, and together no more than the whole. What is no list is charged to each.
pub(crate) struct Shares {
    whole: u64,
    given: u64,
}

/// One call's share.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    from: u64,
    to: u64,
    whole: u64,
}

impl Shares {
    /// Of this call.
    pub(crate) fn of(call: &inference::Call) -> Self {
        Self {
            whole: weight(call),
            given: 0,
        }
    }

    /// The share of the next call.
    pub(crate) fn next(&mut self, call: &inference::Call) -> Share {
        if self.whole == 1 {
            return Share {
                from: 0,
                to: 1,
                whole: 1,
            };
        }
        let from = self.given;
        self.given = self.given.saturating_add(weight(call)).min(self.whole);
        Share {
            from,
            to: self.given,
            whole: self.whole,
        }
    }
}

impl Share {
    /// Its part of a cost. Those of all shares, one after the other, are the cost.
    pub(crate) fn part(self, cost: u32) -> u32 {
        let upto = |texts: u64| u128::from(cost) * u128::from(texts) / u128::from(self.whole);
        u32::try_from(upto(self.to) - upto(self.from)).unwrap_or(u32::MAX)
    }

    /// The same of bytes.
    pub(crate) fn part_of_bytes(self, bytes: u64) -> u64 {
        let upto = |texts: u64| u128::from(bytes) * u128::from(texts) / u128::from(self.whole);
        u64::try_from(upto(self.to) - upto(self.from)).unwrap_or(u64::MAX)
    }
}

/// Whether no worker could take a list of this task whole, and a composition of the route takes it
/// apart. Those of the client's own dialect may be passed what their backends could not write.
pub(crate) fn always_apart(
    house: &House,
    route: &Route,
    eligible: &[WorkerId],
    dialect: &str,
    task: &str,
) -> Option<Arc<str>> {
    let single = |id: &WorkerId| {
        let station = house.station(*id);
        station.is_some_and(|station| {
            let passes = station.dialect == dialect && matches!(station.reach, Reach::Network(_));
            !passes && takes_one(house, &station, task)
        })
    };
    let all = !eligible.is_empty() && eligible.iter().all(single);
    all.then(|| spreading(house, route, task)).flatten()
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
    spreading(house, route, task)
}

/// The composition of a route that makes a task of itself.
fn spreading(house: &House, route: &Route, task: &str) -> Option<Arc<str>> {
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
    let dialect = &station.dialect;
    generation.is_some_and(|generation| named(&generation.manifest().extensions, task, dialect))
}

fn named(extensions: &[(String, Vec<u8>)], task: &str, dialect: &str) -> bool {
    let names = |line: &[u8]| {
        let mut words = line.split(|byte| *byte == b' ');
        let of_task = words.next() == Some(task.as_bytes());
        of_task && words.next().is_none_or(|only| only == dialect.as_bytes())
    };
    extensions
        .iter()
        .filter(|(name, _)| name == ONE_AT_A_TIME)
        .any(|(_, payload)| payload.split(|byte| *byte == b'\n').any(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embed(texts: usize) -> inference::Call {
        let text = |_| inference::Prompt::Text(types::Text::Inline(String::new()));
        called(inference::Task::Embed(inference::Embed {
            inputs: (0..texts).map(text).collect(),
            dimensions: None,
            truncate: None,
            extras: Vec::new(),
        }))
    }

    fn called(task: inference::Task) -> inference::Call {
        inference::Call {
            model: String::new(),
            version: None,
            streaming: false,
            task,
            extensions: Vec::new(),
        }
    }

    #[test]
    fn parts_of_a_list_are_charged_the_whole_and_no_more() {
        for (whole, each, cost) in [(7, 1, 100), (7, 3, 5), (1024, 1, 500), (2, 1, u32::MAX)] {
            let mut shares = Shares::of(&embed(whole));
            let (mut left, mut sum) = (whole, 0_u64);
            while left > 0 {
                let texts = each.min(left);
                left -= texts;
                let part = u64::from(shares.next(&embed(texts)).part(cost));
                let fair = u64::from(cost) * texts as u64 / whole as u64;
                assert!((fair..=fair + 1).contains(&part), "{part} of {cost}");
                sum += part;
            }
            assert_eq!(sum, u64::from(cost));
            let more = shares.next(&embed(5));
            assert_eq!((more.part(cost), more.part_of_bytes(9)), (0, 0));
        }
    }

    #[test]
    fn what_is_no_list_is_charged_to_each() {
        let mut shares = Shares::of(&called(inference::Task::ListModels));
        for _ in 0..2 {
            assert_eq!(shares.next(&embed(3)).part(70), 70);
        }
    }

    #[test]
    fn tasks_are_named_one_a_line() {
        let all = [
            ("dialect".to_owned(), b"embed".to_vec()),
            (ONE_AT_A_TIME.to_owned(), b"generate\ntokenize".to_vec()),
        ];
        assert!(named(&all, "generate", "x") && named(&all, "tokenize", ""));
        assert!(!named(&all, "embed", "") && !named(&all, "token", ""));
        assert!(!named(&[], "generate", ""));
    }

    #[test]
    fn a_task_may_be_of_one_dialect() {
        let all = [(ONE_AT_A_TIME.to_owned(), b"tokenize\ngenerate shy".to_vec())];
        assert!(named(&all, "generate", "shy") && named(&all, "tokenize", "shy"));
        assert!(!named(&all, "generate", "") && !named(&all, "generate", "sh"));
        assert!(!named(&all, "shy", "shy"));
    }
}
