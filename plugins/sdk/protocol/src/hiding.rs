//! Keeps workers' own names of models from clients: an error's text tells the model by the name
//! that the client knows.
//!
//! 1. A frontend asks for a worker: the model's name is remembered, as the client or the route
//!    gives it.
//! 2. The worker is found: its own name of the model is remembered beside it.
//! 3. The call fails: where the text has the worker's name as a word, it gets the client's.
//!
//! Every component has this around its frontends; what is passed is not looked at.

use std::collections::BTreeMap;

use crate::{
    Bytes, Frontend,
    frontend::{Action, Input, Way},
    inference::Event,
};

/// A frontend whose failures name models as the client does.
pub struct Hiding {
    inner: Box<dyn Frontend>,
    default_model: Option<String>,
    /// Calls without an end; the host bounds how many there are.
    calls: BTreeMap<u32, Names>,
}

#[derive(Default)]
struct Names {
    /// The client's or the route's.
    shown: Option<String>,
    /// The worker's.
    served: String,
}

impl Hiding {
    /// Around a frontend of an exchange with this default model.
    #[must_use]
    pub fn new(inner: Box<dyn Frontend>, default_model: Option<String>) -> Self {
        Self {
            inner,
            default_model,
            calls: BTreeMap::new(),
        }
    }

    fn input(&mut self, input: &mut Input) {
        match input {
            Input::Dispatched(dispatched) => {
                let (Way::Pass(crate::frontend::PassTo { model, .. })
                | Way::Translate(crate::frontend::TranslateTo { model })) = &dispatched.way
                else {
                    return;
                };
                if let Some(names) = self.calls.get_mut(&dispatched.call) {
                    names.served.clone_from(model);
                }
            }
            Input::Events(events) => {
                for event in events {
                    match &mut event.event {
                        Event::Failed(failed) => {
                            let Some(names) = self.calls.remove(&event.call) else {
                                continue;
                            };
                            if let Some(shown) = names.shown.filter(|it| *it != names.served) {
                                failed.message = renamed(&failed.message, &names.served, &shown);
                            }
                        }
                        Event::End => {
                            self.calls.remove(&event.call);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

impl Frontend for Hiding {
    fn step(&mut self, bytes: &dyn Bytes, mut inputs: Vec<Input>) -> Vec<Action> {
        for input in &mut inputs {
            self.input(input);
        }
        let actions = self.inner.step(bytes, inputs);
        for action in &actions {
            match action {
                Action::Call(intent) => {
                    let shown = intent.model.clone().or_else(|| self.default_model.clone());
                    let names = Names {
                        shown,
                        served: String::new(),
                    };
                    self.calls.insert(intent.id, names);
                }
                Action::Cancel(call) => {
                    self.calls.remove(call);
                }
                _ => {}
            }
        }
        actions
    }
}

/// A text with another name in place of one, where that is no part of a longer word.
fn renamed(text: &str, name: &str, other: &str) -> String {
    if name.is_empty() {
        return text.to_owned();
    }
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in text.match_indices(name) {
        let end = at + name.len();
        if !text[..at].ends_with(is_part) && !text[end..].starts_with(is_part) {
            out.push_str(&text[from..at]);
            out.push_str(other);
            from = end;
        }
    }
    out.push_str(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actions, failure,
        frontend::{CallEvent, Dispatched, TranslateTo},
        inference::TaskKind,
        testing::Memory,
    };

    /// Asks for a model once, and keeps what it is told of failures.
    struct Asks(Option<Option<String>>);

    impl Frontend for Asks {
        fn step(&mut self, _: &dyn Bytes, inputs: Vec<Input>) -> Vec<Action> {
            if let Some(model) = self.0.take() {
                return vec![Action::Call(actions::intent(0, TaskKind::Chat, model))];
            }
            let failed = inputs.into_iter().find_map(|input| match input {
                Input::Events(events) => events.into_iter().find_map(|event| match event.event {
                    Event::Failed(failed) => Some(failed),
                    _ => None,
                }),
                _ => None,
            });
            failed.map(actions::refuse).into_iter().flatten().collect()
        }
    }

    fn told(asked: Option<&str>, default: Option<&str>, served: &str, text: &str) -> String {
        let asks = Asks(Some(asked.map(str::to_owned)));
        let mut hiding = Hiding::new(Box::new(asks), default.map(str::to_owned));
        let memory = Memory::default();
        hiding.step(&memory, Vec::new());
        let way = Way::Translate(TranslateTo {
            model: served.to_owned(),
        });
        hiding.step(
            &memory,
            vec![Input::Dispatched(Dispatched { call: 0, way })],
        );
        let event = CallEvent {
            call: 0,
            event: Event::Failed(failure::invalid(text, None)),
        };
        let actions = hiding.step(&memory, vec![Input::Events(vec![event])]);
        assert!(hiding.calls.is_empty());
        match actions.as_slice() {
            [Action::Refuse(failed), Action::Finish] => failed.message.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failure_has_the_clients_name_of_the_model() {
        for (asked, default, served, text, wanted) in [
            (
                Some("mine"),
                None,
                "real",
                "no `real` here",
                "no `mine` here",
            ),
            (None, Some("mine"), "real", "real: no", "mine: no"),
            (
                Some("mine"),
                None,
                "org/real-7b",
                "'org/real-7b' died",
                "'mine' died",
            ),
            // Parts of words, nameless workers, and names that nobody knows.
            (
                Some("mine"),
                None,
                "real",
                "really unreal real-time",
                "really unreal real-time",
            ),
            (Some("mine"), None, "", "no", "no"),
            (None, None, "real", "no real", "no real"),
            (Some("real"), None, "real", "no real", "no real"),
        ] {
            assert_eq!(told(asked, default, served, text), wanted);
        }
    }
}
