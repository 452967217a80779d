//! Values of one word: names, counts, sizes, periods, paths. Each is checked where it is made, so
//! that no invalid one can exist.

mod names;
mod places;
mod quantities;

use crate::section::Context;
use crate::yaml::{Kind, Node};

pub use names::{ModelName, Name};
pub use places::FilePath;
pub use quantities::{Count, Period, Size};
pub(crate) use quantities::{GIB, KIB, MIB};

/// Why a word is not the value that was wanted; completes "`word`: …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Invalid {
    what: String,
    hint: Option<String>,
}

impl Invalid {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// Reads a text, plain or quoted, by a type's own rule.
pub(crate) fn text<T>(
    node: &Node,
    cx: &mut Context<'_>,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Option<T> {
    match &node.kind {
        Kind::Scalar { text, .. } if !node.is_null() => match parse(text) {
            Ok(value) => Some(value),
            // What is wrong with it, and what it is near to, may tell of what a reference stands for.
            Err(_) if node.written.is_some() => {
                let what = format!("{}: what it stands for is not {expected}", node.describe());
                cx.refuse(node.at, what, None)
            }
            Err(Invalid { what, hint }) => {
                cx.refuse(node.at, format!("{}: {what}", node.describe()), hint)
            }
        },
        _ => cx.refuse(
            node.at,
            format!("expected {expected}, found {}", node.describe()),
            None,
        ),
    }
}

/// `JsonSchema` and `Decode` for a type read from a text and written as one.
macro_rules! word {
    ($name:ident $(<$(const $p:ident: $t:ty),+>)?, $expected:expr, $schema:expr) => {
        impl $(<$(const $p: $t),+>)? crate::section::Decode for $name $(<$($p),+>)? {
            fn decode(node: &crate::yaml::Node, cx: &mut crate::section::Context<'_>) -> Option<Self> {
                crate::scalar::text(node, cx, &$expected, Self::parse)
            }
        }

        impl $(<$(const $p: $t),+>)? schemars::JsonSchema for $name $(<$($p),+>)? {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }

        impl $(<$(const $p: $t),+>)? serde::Serialize for $name $(<$($p),+>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
pub(crate) use word;
