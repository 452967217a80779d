//! The neutral task that an inference with texts is. What does not fit the words of the options is
//! refused as Triton refuses it (triton-inference-server/core, src/infer_request.cc).

use serde_json::{Map, Value};
use tollgate_sdk_protocol::{
    Bytes, failure,
    frontend::Intent,
    inference::{Embed, Generate, Prompt, Task, Tensor},
    types::{Datatype, Failure, Text},
};

use super::{inputs, told};
use crate::{
    codec::{Body, parameters, value},
    datatype,
    frontend::settings::{self, FLAGS, param},
    options::{self, Options, ToText, ToVectors},
};

/// Most texts of one request.
const MOST: usize = 4096;

/// The input with sampling parameters as JSON.
pub const SAMPLING: &str = "sampling_parameters";

/// A request in neutral words, and how its answer is to look.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub task: Task,
    /// The answer is wanted in pieces.
    pub streaming: bool,
    /// The client's own mark.
    pub id: String,
    /// Output with texts or vectors.
    pub output: String,
    /// Tensors have a dimension for batches.
    pub batch: bool,
    /// Answers: of a generation one for each prompt and choice, or else one for each text.
    pub items: usize,
    /// Outputs beside texts that are wanted: why they ended, and counts of tokens.
    pub beside: Vec<&'static str>,
    /// Texts are wanted.
    pub texts: bool,
}

impl Asked {
    /// The intent, with what is known of the work.
    pub fn intent(&self, mut intent: Intent) -> Intent {
        let limit = match &self.task {
            Task::Generate(it) => it.settings.stopping.max_tokens,
            _ => None,
        };
        intent.streaming = self.streaming;
        let bytes = texts_of(&self.task).map(String::len).sum::<usize>();
        intent.cost.input = u32::try_from(bytes / 4).unwrap_or(u32::MAX);
        let items = u32::try_from(self.items).unwrap_or(u32::MAX);
        intent.cost.output = limit.unwrap_or(0).saturating_mul(items);
        intent
    }
}

fn texts_of(task: &Task) -> impl Iterator<Item = &String> {
    let prompts = match task {
        Task::Generate(it) => &it.prompts[..],
        Task::Embed(it) => &it.inputs[..],
        _ => &[],
    };
    prompts.iter().filter_map(|prompt| match prompt {
        Prompt::Text(Text::Inline(text)) => Some(text),
        _ => None,
    })
}

/// Reads a request. See [`super::Texts::read`].
///
/// # Errors
/// In the protocol's words, what does not fit.
pub fn read(
    bytes: &dyn Bytes,
    options: &Options,
    words: &options::Texts,
    body: &Body,
    pieces: bool,
) -> Result<Asked, Failure> {
    match words {
        options::Texts::Generate(to) => {
            generate(bytes, options.default_max_tokens, to, body, pieces)
        }
        options::Texts::Embed(to) => embed(bytes, to, body),
    }
}

/// New tokens of a generation that was not understood.
pub fn guessed(bytes: &dyn Bytes, body: &Body) -> u32 {
    let members = body.parameters.iter();
    let members: Map<String, Value> = members
        .map(|it| (it.name.clone(), parameters::to_json(&it.value)))
        .collect();
    let tensors = body.tensors.iter().filter(|tensor| tensor.name == SAMPLING);
    let mut texts: Vec<String> = tensors
        .filter_map(|tensor| strings(bytes, body, tensor).ok())
        .flatten()
        .collect();
    let named = members.get(SAMPLING).and_then(Value::as_str);
    texts.extend(named.map(str::to_owned));
    let mut objects = vec![Value::Object(members)];
    objects.extend(
        texts
            .iter()
            .filter_map(|text| serde_json::from_str::<Value>(text).ok()),
    );
    settings::guessed(&objects.iter().collect::<Vec<_>>())
}

fn generate(
    bytes: &dyn Bytes,
    default_max_tokens: u32,
    to: &ToText,
    body: &Body,
    pieces: bool,
) -> Result<Asked, Failure> {
    let known = |name: &str| name == to.text_input || name == SAMPLING || FLAGS.contains(&name);
    only(body, known)?;
    let prompts = texts(bytes, body, &to.text_input, to.batch)?;
    let mut members: Map<String, Value> = body
        .parameters
        .iter()
        .map(|it| (it.name.clone(), parameters::to_json(&it.value)))
        .collect();
    for tensor in &body.tensors {
        let name = tensor.name.as_str();
        if name == SAMPLING {
            let [text] = &mut strings(bytes, body, tensor)?[..] else {
                return Err(shape(body, tensor, &one(to.batch)));
            };
            members.insert(name.to_owned(), std::mem::take(text).into());
        } else if name != to.text_input {
            members.insert(name.to_owned(), flag(bytes, body, tensor, to.batch)?.into());
        }
    }
    let beside = settings::beside(members, default_max_tokens, |stream| to.echo && !stream)?;
    let count = prompts.len();
    let items = count
        .checked_mul(beside.settings.n as usize)
        .filter(|items| *items <= MOST)
        .ok_or_else(|| param("n", &format!("makes more than {MOST} texts")))?;
    let streaming = pieces && beside.stream.unwrap_or(true);
    if streaming && items > 1 {
        let what = "must be one text, and 'n' must be 1, in a stream";
        return Err(param(&to.text_input, what));
    }
    let named = |name: &str| body.outputs.iter().any(|output| output.name == name);
    outputs(body, |name| {
        name == to.text_output || told::BESIDE.contains(&name)
    })?;
    let asked_for = [
        beside.finish_reason,
        beside.input_tokens,
        beside.output_tokens,
    ];
    let wanted = told::BESIDE.into_iter().zip(asked_for);
    let wanted = wanted.filter(|(name, asked)| *asked || named(name));
    Ok(Asked {
        beside: wanted.map(|(name, _)| name).collect(),
        texts: body.outputs.is_empty() || named(&to.text_output),
        task: Task::Generate(Generate {
            prompts: prompts.into_iter().map(prompt).collect(),
            settings: beside.settings,
        }),
        streaming,
        id: body.id.clone(),
        output: to.text_output.clone(),
        batch: to.batch,
        items,
    })
}

fn embed(bytes: &dyn Bytes, to: &ToVectors, body: &Body) -> Result<Asked, Failure> {
    only(body, |name| name == to.input)?;
    outputs(body, |name| name == to.output)?;
    let texts = texts(bytes, body, &to.input, to.batch)?;
    let members: Map<String, Value> = body
        .parameters
        .iter()
        .map(|it| (it.name.clone(), parameters::to_json(&it.value)))
        .collect();
    let extras = settings::extras(members);
    let task = Task::Embed(Embed {
        inputs: texts.into_iter().map(prompt).collect(),
        dimensions: None,
        truncate: None,
        extras,
    });
    Ok(Asked {
        items: inputs(&task),
        task,
        streaming: false,
        id: body.id.clone(),
        output: to.output.clone(),
        batch: to.batch,
        beside: Vec::new(),
        texts: true,
    })
}

fn prompt(text: String) -> Prompt {
    Prompt::Text(Text::Inline(text))
}

fn invalid(message: String) -> Failure {
    failure::invalid(message, None)
}

/// Every input is a known one, and stands there once.
fn only(body: &Body, known: impl Fn(&str) -> bool) -> Result<(), Failure> {
    for (at, tensor) in body.tensors.iter().enumerate() {
        let (name, model) = (&tensor.name, &body.model);
        if !known(name) {
            return Err(invalid(format!(
                "unexpected inference input '{name}' for model '{model}'"
            )));
        }
        if body.tensors[..at].iter().any(|other| other.name == *name) {
            return Err(invalid(format!(
                "input '{name}' already exists in request for model '{model}'"
            )));
        }
    }
    Ok(())
}

/// Every output that is asked for is a known one, and not as something else.
fn outputs(body: &Body, known: impl Fn(&str) -> bool) -> Result<(), Failure> {
    let model = &body.model;
    for output in &body.outputs {
        let name = &output.name;
        if !known(name) {
            return Err(invalid(format!(
                "unexpected inference output '{name}' for model '{model}'"
            )));
        }
        if parameters::get(&output.parameters, "classification").is_some() {
            return Err(param("classification", "is not known of texts"));
        }
    }
    Ok(())
}

/// The texts of the one input that there has to be.
fn texts(bytes: &dyn Bytes, body: &Body, name: &str, batch: bool) -> Result<Vec<String>, Failure> {
    let model = &body.model;
    let Some(tensor) = body.tensors.iter().find(|tensor| tensor.name == *name) else {
        return Err(invalid(format!(
            "expected input '{name}' for model '{model}', which the request has not"
        )));
    };
    let fits = match (&tensor.shape[..], batch) {
        ([count], false) | ([count, 1], true) => *count > 0,
        _ => false,
    };
    if !fits {
        let wanted: &[i64] = if batch { &[-1, 1] } else { &[-1] };
        return Err(shape(body, tensor, wanted));
    }
    if tensor.shape[0] > MOST as i64 {
        return Err(invalid(format!("at most {MOST} texts are taken at once")));
    }
    strings(bytes, body, tensor)
}

/// The texts of a tensor, as many as its shape says.
fn strings(bytes: &dyn Bytes, body: &Body, tensor: &Tensor) -> Result<Vec<String>, Failure> {
    typed(body, tensor, &Datatype::Bytes)?;
    let wrong = |what: &str| invalid(format!("input '{}': {what}", tensor.name));
    let elements = value::elements(bytes, tensor).map_err(|what| wrong(&what))?;
    if datatype::count(&tensor.shape) != Some(elements.len() as u64) {
        return Err(wrong("it has not as many elements as its shape says"));
    }
    let text = |(at, raw): (usize, Vec<u8>)| {
        String::from_utf8(raw).map_err(|_| wrong(&format!("element {at} is not UTF-8")))
    };
    elements.into_iter().enumerate().map(text).collect()
}

/// The one truth of a tensor.
fn flag(bytes: &dyn Bytes, body: &Body, tensor: &Tensor, batch: bool) -> Result<bool, Failure> {
    typed(body, tensor, &Datatype::Boolean)?;
    if datatype::count(&tensor.shape) != Some(1) {
        return Err(shape(body, tensor, &one(batch)));
    }
    value::truth(bytes, tensor).map_err(|what| invalid(format!("input '{}': {what}", tensor.name)))
}

fn typed(body: &Body, tensor: &Tensor, wanted: &Datatype) -> Result<(), Failure> {
    if tensor.datatype == *wanted {
        return Ok(());
    }
    Err(invalid(format!(
        "inference input '{}' data-type is '{}', but model '{}' expects '{}'",
        tensor.name,
        datatype::name(&tensor.datatype),
        body.model,
        datatype::name(wanted)
    )))
}

fn one(batch: bool) -> Vec<i64> {
    vec![1; 1 + usize::from(batch)]
}

fn shape(body: &Body, tensor: &Tensor, wanted: &[i64]) -> Failure {
    invalid(format!(
        "unexpected shape for input '{}' for model '{}'. Expected {wanted:?}, got {:?}",
        tensor.name, body.model, tensor.shape
    ))
}
