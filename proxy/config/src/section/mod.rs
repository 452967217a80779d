//! How a section of the configuration is read: one declaration gives the struct, its decoder and
//! its JSON Schema, so that the three cannot drift apart.
//!
//! A decoder records every problem that it meets and goes on, so that one run shows them all; it
//! answers `None` when it could not make its value.

mod declare;

use std::collections::BTreeMap;
use std::path::Path;

use crate::problem::{Position, Problem, is_near, suggest};
use crate::scalar::Name;
use crate::yaml::{Key, Kind, Node};

pub(crate) use declare::{choice, describe, optional, section, settings};

/// What decoding needs beside the node, and where it leaves its complaints.
pub(crate) struct Context<'a> {
    /// For messages.
    pub(crate) file: &'a Path,
    /// Relative paths begin here.
    pub(crate) base: &'a Path,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Context<'a> {
    /// For a file: its folder is where relative paths begin.
    pub(crate) fn new(file: &'a Path) -> Self {
        let base = file.parent().unwrap_or(Path::new(""));
        Self {
            file,
            base,
            problems: Vec::new(),
        }
    }

    /// Records a problem; `None`, for the decoder to return.
    pub(crate) fn refuse<T>(
        &mut self,
        at: Position,
        what: impl Into<String>,
        hint: Option<String>,
    ) -> Option<T> {
        self.problems
            .push(Problem::new(self.file, Some(at), what).hint(hint));
        None
    }
}

/// A value that can be read from a node.
pub(crate) trait Decode: Sized {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self>;
}

/// `null` is as good as absent.
impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if node.is_null() {
            Some(None)
        } else {
            T::decode(node, cx).map(Some)
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, plain: true } if text == "true" => Some(true),
            Kind::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => cx.refuse(
                node.at,
                format!("expected true or false, found {}", node.describe()),
                None,
            ),
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::List(items) = &node.kind else {
            return cx.refuse(
                node.at,
                format!("expected a list, found {}", node.describe()),
                None,
            );
        };
        // Every item is looked at before the first failure counts.
        let items: Vec<Option<T>> = items.iter().map(|item| T::decode(item, cx)).collect();
        items.into_iter().collect()
    }
}

impl<T: Decode> Decode for BTreeMap<Name, T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            let what = format!("expected a mapping of names, found {}", node.describe());
            return cx.refuse(node.at, what, None);
        };
        let mut whole = true;
        let mut map = Self::new();
        for (key, value) in entries {
            let name = Name::new(&key.text).map_err(|error| {
                cx.refuse::<()>(key.at, format!("`{}` is no name: {error}", key.text), None)
            });
            match (name.ok(), T::decode(value, cx)) {
                (Some(name), Some(value)) => drop(map.insert(name, value)),
                _ => whole = false,
            }
        }
        whole.then_some(map)
    }
}

/// The entries of a mapping, taken one by one; those that nobody took are unknown.
pub(crate) struct Fields<'n> {
    at: Position,
    entries: Vec<(&'n Key, &'n Node)>,
    known: Vec<String>,
    /// Indices into `known`.
    missing: Vec<usize>,
    section: &'static str,
}

impl<'n> Fields<'n> {
    pub(crate) fn of(node: &'n Node, section: &'static str, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            let what = format!("expected a mapping ({section}), found {}", node.describe());
            return cx.refuse(node.at, what, None);
        };
        let entries = entries.iter().map(|(key, node)| (key, node)).collect();
        Some(Self {
            at: node.at,
            entries,
            known: Vec::new(),
            missing: Vec::new(),
            section,
        })
    }

    /// The value of `key` (with `_` for `-`); the default, or a problem, when it is absent.
    pub(crate) fn take<T: Decode>(
        &mut self,
        field: &str,
        default: Option<T>,
        cx: &mut Context<'_>,
    ) -> Option<T> {
        let key = kebab(field);
        let found = self.entries.iter().position(|(k, _)| k.text == key);
        self.known.push(key);
        match (found, default) {
            (Some(index), default) => {
                let (_, node) = self.entries.remove(index);
                match default {
                    // `key:` with nothing behind it reads as the default, as if it were absent.
                    Some(default) if node.is_null() => Some(default),
                    _ => T::decode(node, cx),
                }
            }
            (None, Some(default)) => Some(default),
            (None, None) => {
                self.missing.push(self.known.len() - 1);
                None
            }
        }
    }

    /// Complains about what is left and what is missing; false when something is.
    pub(crate) fn finish(self, cx: &mut Context<'_>) -> bool {
        for (key, _) in &self.entries {
            let hint = suggest(&key.text, "keys", self.known.iter().map(String::as_str));
            let what = format!("unknown key `{}` in this {}", key.text, self.section);
            cx.refuse::<()>(key.at, what, hint);
        }
        for key in self.missing.iter().map(|index| &self.known[*index]) {
            // A misspelt key was reported as such; that it is missing would only repeat it.
            if !self
                .entries
                .iter()
                .any(|(unknown, _)| is_near(&unknown.text, key))
            {
                let what = format!("`{key}` is missing from this {}", self.section);
                cx.refuse::<()>(self.at, what, None);
            }
        }
        self.entries.is_empty() && self.missing.is_empty()
    }
}

/// `served_as` is written `served-as`.
pub(crate) fn kebab(field: &str) -> String {
    field.replace('_', "-")
}
