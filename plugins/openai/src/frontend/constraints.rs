//! Forms that the output must have: `response_format`, `structured_outputs` and the
//! older `guided_*` fields.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_sdk_protocol::{
    Bytes, failure,
    inference::{Constraint, Extra},
    types::{Failure, Other},
};

use super::fields::{Fields, wrong_type};

/// The constraint, if any. Schemas stay the text that the client wrote: the order of
/// their properties is the order in which models write them.
pub fn read(
    bytes: &dyn Bytes,
    fields: &Fields,
    extras: &mut Vec<Extra>,
) -> Result<Option<Constraint>, Failure> {
    let mut found = Vec::new();
    if let Some(json) = fields.small_json(bytes, "response_format")? {
        found.extend(response_format(&json)?);
    }
    if let Some(json) = fields.small_json(bytes, "structured_outputs")? {
        match structured(&json)? {
            Structured::Nothing => {}
            Structured::One(one) => found.push(one),
            Structured::Particular => extras.push(Extra {
                name: "structured_outputs".to_owned(),
                json,
            }),
        }
    }
    for (name, kind) in [
        ("guided_json", "json"),
        ("guided_regex", "regex"),
        ("guided_choice", "choice"),
        ("guided_grammar", "grammar"),
    ] {
        if let Some(json) = fields.small_json(bytes, name)? {
            found.push(one(kind, &json).ok_or_else(|| wrong_type(name, "a valid constraint"))?);
        }
    }
    let particular = extras
        .iter()
        .any(|extra| extra.name == "structured_outputs");
    if found.len() + usize::from(particular) > 1 {
        return Err(failure::invalid(
            "You can only use one kind of constraints for structured outputs.",
            Some("structured_outputs"),
        ));
    }
    Ok(found.pop())
}

fn response_format(json: &str) -> Result<Option<Constraint>, Failure> {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(rename = "type")]
        kind: String,
        #[serde(borrow)]
        json_schema: Option<Schema<'a>>,
    }
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
    }
    let wrong = |kind: &str| wrong_type("response_format", kind);
    let format: Format =
        serde_json::from_str(json).map_err(|_| wrong("a valid dictionary with a 'type'"))?;
    match format.kind.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Constraint::JsonObject)),
        "json_schema" => format
            .json_schema
            .and_then(|schema| schema.schema)
            .map(|schema| Some(Constraint::JsonSchema(schema.get().to_owned())))
            .ok_or_else(|| wrong("one with a 'json_schema' that has a 'schema'")),
        "structural_tag" => Ok(Some(Constraint::Other(Other {
            name: "structural_tag".to_owned(),
            payload: json.as_bytes().to_vec(),
        }))),
        _ => Err(wrong(
            "of type 'text', 'json_object', 'json_schema' or 'structural_tag'",
        )),
    }
}

enum Structured {
    Nothing,
    One(Constraint),
    /// With options that only vLLM knows.
    Particular,
}

fn structured(json: &str) -> Result<Structured, Failure> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(json)
        .map_err(|_| wrong_type("structured_outputs", "a valid dictionary"))?;
    let set: Vec<(&String, &str)> = members
        .iter()
        .map(|(name, value)| (name, value.get()))
        .filter(|(_, value)| !matches!(*value, "null" | "false"))
        .collect();
    match set[..] {
        [] => Ok(Structured::Nothing),
        [(name, value)] => match one(name, value) {
            Some(constraint) => Ok(Structured::One(constraint)),
            None if matches!(name.as_str(), "json" | "regex" | "choice" | "grammar") => {
                Err(wrong_type("structured_outputs", "a valid constraint"))
            }
            None => Ok(Structured::Particular),
        },
        _ => Ok(Structured::Particular),
    }
}

fn one(kind: &str, json: &str) -> Option<Constraint> {
    let text = || serde_json::from_str::<String>(json).ok();
    Some(match kind {
        "json_object" if json == "true" => Constraint::JsonObject,
        "json" if json.starts_with('{') => Constraint::JsonSchema(json.to_owned()),
        "json" => Constraint::JsonSchema(text()?),
        "regex" => Constraint::Regex(text()?),
        "grammar" => Constraint::Grammar(text()?),
        "choice" => Constraint::Choice(serde_json::from_str(json).ok()?),
        _ => return None,
    })
}
