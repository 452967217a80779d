//! The declarations: `section!` for a mapping, `settings!` for one that can be left out, `choice!`
//! for one word of several.

use schemars::{JsonSchema, SchemaGenerator};

use crate::section::kebab;

/// Adds a property to a section's schema; a default is written as the file would have it.
pub(crate) fn describe<T: JsonSchema + serde::Serialize>(
    schema: &mut schemars::Schema,
    generator: &mut SchemaGenerator,
    field: &str,
    doc: &str,
    default: Option<T>,
) {
    let key = kebab(field);
    let mut property = generator.subschema_for::<T>();
    property.insert("description".to_owned(), doc.trim().into());
    match default.map(serde_json::to_value) {
        None => {
            let required = schema.ensure_object().entry("required");
            if let Some(keys) = required
                .or_insert_with(|| serde_json::json!([]))
                .as_array_mut()
            {
                keys.push(key.clone().into());
            }
        }
        Some(Ok(serde_json::Value::Null) | Err(_)) => {}
        Some(Ok(value)) => drop(property.insert("default".to_owned(), value)),
    }
    let properties = schema.ensure_object().entry("properties");
    let properties = properties
        .or_insert_with(|| serde_json::json!({}))
        .as_object_mut();
    if let Some(properties) = properties {
        properties.insert(key, property.to_value());
    }
}

/// Declares a section: a struct whose fields are read from keys of the same name. `= value` is the
/// default; a field without one is required.
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        #[name = $label:literal]
        pub struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])+
                $vis:vis $field:ident: $type:ty $(= $default:expr)?,
            )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct $name {
            $( $(#[doc = $field_doc])+ $vis $field: $type, )+
        }

        impl crate::section::Decode for $name {
            fn decode(
                node: &crate::yaml::Node,
                cx: &mut crate::section::Context<'_>,
            ) -> Option<Self> {
                let mut fields = crate::section::Fields::of(node, $label, cx)?;
                $(
                    let $field: Option<$type> =
                        fields.take(stringify!($field), crate::section::optional!($($default)?), cx);
                )+
                fields.finish(cx).then_some(())?;
                Some(Self { $( $field: $field?, )+ })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = schemars::json_schema!({
                    "type": "object",
                    "description": concat!($($doc, "\n"),+).trim(),
                    "additionalProperties": false,
                });
                $(
                    crate::section::describe::<$type>(
                        &mut schema,
                        generator,
                        stringify!($field),
                        concat!($($field_doc, "\n"),+),
                        crate::section::optional!($($default)?),
                    );
                )+
                schema
            }
        }
    };
}

/// Declares a section whose every field has a default, so that it can be left out altogether.
macro_rules! settings {
    (
        $(#[doc = $doc:literal])+
        #[name = $label:literal]
        pub struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])+
                $vis:vis $field:ident: $type:ty = $default:expr,
            )+
        }
    ) => {
        crate::section::section! {
            $(#[doc = $doc])+
            #[name = $label]
            pub struct $name {
                $( $(#[doc = $field_doc])+ $vis $field: $type = $default, )+
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }
    };
}

/// Declares a choice of words.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident {
            $( $(#[doc = $word_doc:literal])+ $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        pub enum $name {
            $( $(#[doc = $word_doc])+ #[serde(rename = $word)] $variant, )+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// As the configuration writes it.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl crate::section::Decode for $name {
            fn decode(
                node: &crate::yaml::Node,
                cx: &mut crate::section::Context<'_>,
            ) -> Option<Self> {
                let words = [$($word),+];
                if let crate::yaml::Kind::Scalar { text, .. } = &node.kind {
                    if let Some(index) = words.iter().position(|word| word == text) {
                        return Some(Self::ALL[index]);
                    }
                    let what = format!("expected one of {}, found {}", words.join(", "), node.describe());
                    let hint = match node.written {
                        Some(_) => None,
                        None => crate::problem::nearest(text, words),
                    };
                    return cx.refuse(node.at, what, hint);
                }
                cx.refuse(node.at, format!("expected one of {}, found {}", words.join(", "), node.describe()), None)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

pub(crate) use {choice, optional, section, settings};
