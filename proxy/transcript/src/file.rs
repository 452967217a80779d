//! A file, read.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tollgate_plugin::{backend, composition, frontend, inference, types};

use crate::{CUT, END, FORMAT, Side, value};

/// A file that cannot be played.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadFile {
    /// Which one, from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

/// What happened to one exchange, attempt, composition or session.
#[derive(Debug)]
pub struct Script {
    /// Whose it is.
    pub side: Side,
    /// The plugin's name in the configuration of the proxy that wrote it.
    pub plugin: String,
    /// The options that it was configured with, without secrets.
    pub options: String,
    /// Something is missing at the end.
    pub cut: bool,
    pub(crate) context: types::Context,
    pub(crate) given: Given,
    pub(crate) sources: Vec<Feed>,
    pub(crate) steps: Vec<Step>,
}

/// What a constructor is given beside the context.
#[derive(Debug)]
pub(crate) enum Given {
    Frontend(frontend::RequestHead),
    Backend(backend::Worker, Vec<inference::Call>),
    Composition(Box<inference::Call>, Vec<composition::Capability>),
    Session(Box<inference::Call>),
}

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) sources: Vec<Feed>,
    pub(crate) inputs: Inputs,
    /// What came of it; none: its instance was ended.
    pub(crate) actions: Option<Value>,
}

/// What goes into a step.
#[derive(Clone, Debug)]
pub(crate) enum Inputs {
    Frontend(Vec<frontend::Input>),
    Backend(Vec<backend::Input>),
    Composition(Vec<composition::SubEvent>),
    Session,
}

/// Bytes of a source that arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feed {
    pub(crate) id: u32,
    pub(crate) at: u64,
    pub(crate) bytes: Bytes,
    pub(crate) total: Option<u64>,
    pub(crate) end: bool,
}

impl Script {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is none, is of another format or contract, or has no bodies.
    pub fn read(text: &str) -> Result<Self, BadFile> {
        let mut lines = text.lines().zip(1..).filter(|(line, _)| !line.is_empty());
        let (first, number) = lines.next().ok_or(BadFile {
            line: 1,
            why: "the file is empty".into(),
        })?;
        let mut script = first_line(first).map_err(|why| BadFile { line: number, why })?;
        let mut whole = false;
        for (line, number) in lines {
            if line == END || line == CUT {
                script.cut = line == CUT;
                whole = true;
                break;
            }
            let step = step(script.side, line).map_err(|why| BadFile { line: number, why })?;
            script.steps.push(step);
        }
        // A proxy that was killed writes no last line.
        script.cut |= !whole;
        Ok(script)
    }

    /// Whether a text is one of these files, by its beginning.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        let first = text.lines().next().unwrap_or_default();
        serde_json::from_str::<Value>(first).is_ok_and(|line| !line["transcript"].is_null())
    }

    /// Everything that arrives in the course of it.
    pub(crate) fn feeds(&self) -> impl Iterator<Item = &Feed> {
        let steps = self.steps.iter().flat_map(|step| &step.sources);
        self.sources.iter().chain(steps)
    }
}

fn first_line(line: &str) -> Result<Script, String> {
    let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if line["transcript"] != FORMAT {
        return Err(format!("not a transcript of format {FORMAT}"));
    }
    if line["contract"] != tollgate_plugin::CONTRACT {
        return Err(format!(
            "it is of contract {}; this is {}",
            line["contract"],
            tollgate_plugin::CONTRACT
        ));
    }
    if line["bodies"] == false {
        return Err("it was written without bodies, and cannot be played".to_owned());
    }
    let side = Side::ALL
        .into_iter()
        .find(|side| line["side"] == side.name())
        .ok_or_else(|| format!("there is no side {}", line["side"]))?;
    let given = match side {
        Side::Frontend => Given::Frontend(member(&line, "head")?),
        Side::Backend => Given::Backend(member(&line, "worker")?, member(&line, "members")?),
        Side::Composition => Given::Composition(
            Box::new(member(&line, "call")?),
            member(&line, "capabilities")?,
        ),
        Side::Session => Given::Session(Box::new(member(&line, "call")?)),
    };
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    Ok(Script {
        side,
        plugin: text("plugin"),
        options: text("options"),
        cut: false,
        context: member(&line, "context")?,
        given,
        sources: feeds(&line)?,
        steps: Vec::new(),
    })
}

fn step(side: Side, line: &str) -> Result<Step, String> {
    let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let inputs = match side {
        Side::Frontend => Inputs::Frontend(member(&line, "inputs")?),
        Side::Backend => Inputs::Backend(member(&line, "inputs")?),
        Side::Composition => Inputs::Composition(member(&line, "inputs")?),
        Side::Session => Inputs::Session,
    };
    let actions = match (&line["actions"], &line["failed"]) {
        (Value::Null, Value::String(_)) => None,
        (Value::Null, _) => return Err("a step has `actions`, or `failed`".to_owned()),
        (actions, _) => Some(actions.clone()),
    };
    Ok(Step {
        sources: feeds(&line)?,
        inputs,
        actions,
    })
}

fn member<T: DeserializeOwned>(line: &Value, name: &str) -> Result<T, String> {
    value::from_value(&line[name]).map_err(|error| format!("`{name}`: {error}"))
}

fn feeds(line: &Value) -> Result<Vec<Feed>, String> {
    let Some(all) = line["sources"].as_array() else {
        return Ok(Vec::new());
    };
    all.iter()
        .map(|it| {
            let id = it["id"].as_u64().and_then(|id| u32::try_from(id).ok());
            let bytes = value::bytes_of(&it["bytes"]).map_err(|error| error.to_string())?;
            Ok(Feed {
                id: id.ok_or("a source has an `id`")?,
                at: it["at"].as_u64().unwrap_or_default(),
                bytes: bytes.into(),
                total: it["total"].as_u64(),
                end: it["end"] == true,
            })
        })
        .collect()
}
