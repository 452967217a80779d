//! Makes the calls that one call was taken apart into.
//!
//! 1. The first step begins as many as may run at once; each that ends lets the next begin. A call
//!    is made when it begins: what all have in common is written for those that run, and not for
//!    every input of a list.
//! 2. What they say goes to a [`Goal`], which makes the composed call's events of it.
//! 3. The first that fails ends all: the others are cancelled, and its reason is told.
//! 4. When all have ended, the goal tells the rest, and then the sum of the tokens.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_sdk_compose::{
    Composition,
    composition::{Action, SubCall, SubEvent},
    inference::{Call, Event, Usage},
    types::Failure,
};

/// What is made of the calls' answers. Calls are numbered in the order in which they were given.
pub(crate) trait Goal {
    /// Takes an event of a call in, and adds what can be told by it.
    ///
    /// # Errors
    /// When it is nothing that was asked for.
    fn take(&mut self, call: usize, event: Event, told: &mut Vec<Event>) -> Result<(), Failure>;

    /// All calls have ended: adds what is left to be told, without the end.
    ///
    /// # Errors
    /// When the answers are not whole.
    fn finish(&mut self, told: &mut Vec<Event>) -> Result<(), Failure>;
}

/// Calls that are made one by one, as they are wanted.
pub(crate) type Calls = Box<dyn Iterator<Item = Call>>;

/// See the module.
pub(crate) struct Fan {
    /// Those that have not begun.
    waiting: Calls,
    begun: u32,
    /// At most `at_once`.
    running: BTreeSet<u32>,
    at_once: usize,
    usage: Sum,
    state: State,
}

enum State {
    Working(Box<dyn Goal>),
    /// It is refused before any call.
    Refused(Failure),
    Over,
}

impl Fan {
    /// Calls, of which at most `at_once` run at the same time.
    pub(crate) fn new(calls: Calls, at_once: usize, goal: Box<dyn Goal>) -> Self {
        Self {
            waiting: calls,
            begun: 0,
            running: BTreeSet::new(),
            at_once: at_once.max(1),
            usage: Sum::default(),
            state: State::Working(goal),
        }
    }

    /// Tells a failure, and nothing else.
    pub(crate) fn refused(failure: Failure) -> Self {
        Self {
            waiting: Box::new(std::iter::empty()),
            begun: 0,
            running: BTreeSet::new(),
            at_once: 1,
            usage: Sum::default(),
            state: State::Refused(failure),
        }
    }

    /// Takes events in, and ends when there is nothing left to wait for.
    fn work(
        &mut self,
        goal: &mut dyn Goal,
        events: Vec<SubEvent>,
        told: &mut Vec<Event>,
        actions: &mut Vec<Action>,
    ) -> Result<bool, Failure> {
        for SubEvent { id, event } in events {
            if !self.running.contains(&id) {
                continue;
            }
            match event {
                Event::Usage(usage) => self.usage.set(id, usage),
                Event::End => drop(self.running.remove(&id)),
                Event::Failed(failure) => {
                    self.running.remove(&id);
                    return Err(failure);
                }
                event => goal.take(id as usize, event, told)?,
            }
        }
        while self.running.len() < self.at_once {
            let Some(call) = self.waiting.next() else {
                break;
            };
            let id = self.begun;
            self.begun += 1;
            self.running.insert(id);
            actions.push(Action::Call(SubCall { id, call }));
        }
        if !self.running.is_empty() {
            return Ok(false);
        }
        goal.finish(told)?;
        told.extend(self.usage.total(self.begun).map(Event::Usage));
        told.push(Event::End);
        Ok(true)
    }
}

impl Composition for Fan {
    fn step(&mut self, events: Vec<SubEvent>) -> Vec<Action> {
        let (mut told, mut actions) = (Vec::new(), Vec::new());
        match std::mem::replace(&mut self.state, State::Over) {
            State::Working(mut goal) => {
                match self.work(goal.as_mut(), events, &mut told, &mut actions) {
                    Ok(false) => self.state = State::Working(goal),
                    Ok(true) => {}
                    Err(failure) => {
                        // Nothing is begun that would be taken back at once.
                        actions = self.running.iter().copied().map(Action::Cancel).collect();
                        told.push(Event::Failed(failure));
                    }
                }
            }
            State::Refused(failure) => told.push(Event::Failed(failure)),
            State::Over => {}
        }
        if !told.is_empty() {
            actions.push(Action::Events(told));
        }
        actions
    }
}

/// Tokens of all calls together.
#[derive(Default)]
struct Sum(BTreeMap<u32, Usage>);

impl Sum {
    /// What a call has told last counts.
    fn set(&mut self, call: u32, usage: Usage) {
        self.0.insert(call, usage);
    }

    /// The sums: of what is not known of every call, none is known.
    fn total(&self, calls: u32) -> Option<Usage> {
        if self.0.len() != calls as usize || calls == 0 {
            return None;
        }
        let sum = |part: fn(&Usage) -> Option<u64>| self.0.values().map(part).sum();
        Some(Usage {
            input_tokens: sum(|usage| usage.input_tokens),
            output_tokens: sum(|usage| usage.output_tokens),
            cached_tokens: sum(|usage| usage.cached_tokens),
            extensions: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tollgate_sdk_compose::inference::Task;

    use super::*;

    struct Nothing;

    impl Goal for Nothing {
        fn take(&mut self, _: usize, _: Event, _: &mut Vec<Event>) -> Result<(), Failure> {
            Ok(())
        }

        fn finish(&mut self, _: &mut Vec<Event>) -> Result<(), Failure> {
            Ok(())
        }
    }

    /// Of a thousand calls no more are made than have begun.
    #[test]
    fn a_call_is_made_when_it_begins() {
        let made = Rc::new(Cell::new(0));
        let counter = Rc::clone(&made);
        let calls = (0..1000).map(move |_| {
            counter.set(counter.get() + 1);
            Call {
                model: String::new(),
                version: None,
                streaming: false,
                task: Task::ListModels,
                extensions: Vec::new(),
            }
        });
        let mut fan = Fan::new(Box::new(calls), 3, Box::new(Nothing));
        assert_eq!(fan.step(Vec::new()).len(), 3);
        assert_eq!(made.get(), 3);
        for id in 0..10 {
            let event = Event::End;
            assert_eq!(fan.step(vec![SubEvent { id, event }]).len(), 1);
            assert_eq!(made.get(), id + 4);
        }
    }
}
