//! Classification: tasks that the contract has no record of, told by its open cases.
//!
//! | task | a call's payload | an event's payload |
//! |---|---|---|
//! | `classify`: what a text is | [`Texts`] | [`Classes`], one for each text |
//! | `classify-tokens`: what its parts are | [`Tokens`] | [`Entities`], one |
//!
//! Payloads are JSON. Texts are in them, and not held by the host: a text that is to be classified
//! is short. Whoever makes a payload asks first whether there is room for it, by [`check_texts`] and
//! [`check_found`].

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    failure,
    inference::{Event, Task, TaskKind},
    types::{Failure, FailureKind, Other},
};

/// Name of the task, and of its events: each text is one class of several.
pub const TEXTS: &str = "classify";
/// Name of the task, and of its event: parts of a text are something.
pub const TOKENS: &str = "classify-tokens";

/// Most bytes of the texts of a request, with what is said beside them for each. Written as JSON they
/// may be six times as many, and who reads the answer may read them once more, in the time of a short
/// call.
const MOST_TEXT: u64 = 1 << 18;
/// Most classes or entities of an answer: they are one event, and a route's `event-buffer` has to have
/// room for it where it is followed by another.
const MOST_FOUND: usize = 1 << 12;

/// Whether so many bytes of texts may be asked of in one request.
///
/// # Errors
/// When they are too many.
pub fn check_texts(bytes: u64) -> Result<(), Failure> {
    if bytes <= MOST_TEXT {
        return Ok(());
    }
    Err(failure::of(
        FailureKind::PayloadTooLarge,
        format!("The texts to classify have {bytes} bytes, at most {MOST_TEXT}."),
    ))
}

/// Whether so many classes, or entities, may be told in one answer.
///
/// # Errors
/// When they are too many: the model has them, and its worker did nothing wrong.
pub fn check_found(count: usize) -> Result<(), Failure> {
    if count <= MOST_FOUND {
        return Ok(());
    }
    Err(failure::of(
        FailureKind::Unprocessable,
        format!(
            "The model told {count} classes or entities, of which {MOST_FOUND} at most are passed on."
        ),
    ))
}

/// Texts of which each is to be classified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    /// The texts.
    pub inputs: Vec<String>,
    /// Fields of the client's that change the result, by name: a backend that does not know one
    /// refuses the call.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extras: Map<String, Value>,
}

/// The classes of one text, in the worker's order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classes {
    /// Which text, counted from 0.
    pub item: u32,
    /// All of them, or as many as the worker told.
    pub classes: Vec<Class>,
}

/// A class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name, where the worker told it: some name the likeliest alone.
    pub label: Option<String>,
    /// How likely it is, or what else the model gives.
    pub score: f64,
}

/// A text of which parts are to be classified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// The text.
    pub text: String,
    /// What is less likely is left out.
    pub threshold: Option<f64>,
}

/// What was found in a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entities {
    /// In the text's order.
    pub entities: Vec<Entity>,
}

/// A part of a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// Where it begins, in characters.
    pub start: i64,
    /// Where it ends, in characters.
    pub end: i64,
    /// The part.
    pub word: String,
    /// What it is.
    pub entity: String,
    /// Of which group.
    pub entity_group: Option<String>,
    /// How likely that is.
    pub score: f64,
    /// Tokens of the part.
    pub token_count: Option<i64>,
}

/// What [`Texts`] are, among tasks.
#[must_use]
pub fn texts_kind() -> TaskKind {
    TaskKind::Other(TEXTS.to_owned())
}

/// What [`Tokens`] are, among tasks.
#[must_use]
pub fn tokens_kind() -> TaskKind {
    TaskKind::Other(TOKENS.to_owned())
}

/// A payload under its name.
fn named(name: &str, payload: &impl Serialize) -> Other {
    Other {
        name: name.to_owned(),
        payload: serde_json::to_vec(payload).unwrap_or_default(),
    }
}

/// A payload of that name; one that cannot be read is none.
fn read<T: DeserializeOwned>(other: &Other, name: &str) -> Option<T> {
    (other.name == name)
        .then(|| serde_json::from_slice(&other.payload).ok())
        .flatten()
}

impl Texts {
    /// As a task.
    #[must_use]
    pub fn task(&self) -> Task {
        Task::Other(named(TEXTS, self))
    }

    /// The texts of a task, if it is this one.
    #[must_use]
    pub fn of(task: &Task) -> Option<Self> {
        match task {
            Task::Other(other) => read(other, TEXTS),
            _ => None,
        }
    }
}

impl Tokens {
    /// As a task.
    #[must_use]
    pub fn task(&self) -> Task {
        Task::Other(named(TOKENS, self))
    }

    /// The text of a task, if it is this one.
    #[must_use]
    pub fn of(task: &Task) -> Option<Self> {
        match task {
            Task::Other(other) => read(other, TOKENS),
            _ => None,
        }
    }
}

impl Classes {
    /// As an event.
    #[must_use]
    pub fn event(&self) -> Event {
        Event::Other(named(TEXTS, self))
    }

    /// The classes of an event, if it is this one.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Other(other) => read(other, TEXTS),
            _ => None,
        }
    }

    /// The likeliest, and where it stands; of equal ones the first.
    #[must_use]
    pub fn best(&self) -> Option<(usize, &Class)> {
        let classes = self.classes.iter().enumerate();
        classes.reduce(|best, next| {
            if next.1.score > best.1.score {
                next
            } else {
                best
            }
        })
    }
}

impl Class {
    /// Its label, or else what models call a class that was given no name: by its place.
    #[must_use]
    pub fn named(&self, place: usize) -> String {
        let label = self.label.clone();
        label.unwrap_or_else(|| format!("LABEL_{place}"))
    }
}

impl Entities {
    /// As an event.
    #[must_use]
    pub fn event(&self) -> Event {
        Event::Other(named(TOKENS, self))
    }

    /// What an event found, if it is this one.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Other(other) => read(other, TOKENS),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again() {
        let mut extras = Map::new();
        extras.insert("use_activation".to_owned(), Value::Bool(false));
        let texts = Texts {
            inputs: vec!["a \"text\"".to_owned(), String::new()],
            extras,
        };
        assert_eq!(Texts::of(&texts.task()), Some(texts.clone()));
        let tokens = Tokens {
            text: "\u{e9}".to_owned(),
            threshold: Some(0.5),
        };
        assert_eq!(Tokens::of(&tokens.task()), Some(tokens.clone()));
        assert_eq!(Texts::of(&tokens.task()), None);
        assert_eq!(Tokens::of(&texts.task()), None);
        let entities = Entities {
            entities: vec![Entity {
                start: 1,
                end: 3,
                word: "x".to_owned(),
                entity: "B-LOC".to_owned(),
                entity_group: Some("LOC".to_owned()),
                score: 0.25,
                token_count: None,
            }],
        };
        assert_eq!(Entities::of(&entities.event()), Some(entities));
    }

    #[test]
    fn the_likeliest_is_the_first_of_equals_and_has_a_name() {
        let class = |label: Option<&str>, score| Class {
            label: label.map(str::to_owned),
            score,
        };
        let classes = Classes {
            item: 0,
            classes: vec![class(None, 0.1), class(Some("b"), 0.4), class(None, 0.4)],
        };
        let (place, best) = classes.best().unwrap();
        assert_eq!((place, best.named(place)), (1, "b".to_owned()));
        assert_eq!(classes.classes[2].named(2), "LABEL_2");
        assert_eq!(Classes::of(&classes.event()), Some(classes));
        assert_eq!(Classes::default().best(), None);
    }
}
