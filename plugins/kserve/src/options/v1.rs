//! The options of the protocol's first version: its bodies do not say which tensors they have, so
//! the configuration does.

use std::collections::BTreeMap;

use serde::Deserialize;
use tollgate_sdk_protocol::types::Datatype;

use crate::datatype;

/// Longest body, where nothing else is said. A million numbers of two bytes are read and written
/// well within the time and the memory that a plugin is given; of four times as many it would be the
/// host's bound of what a call hands over that is met first, and by all that the instance serves.
const MAX_BODY: u64 = 2 << 20;

/// A tensor's name and datatype.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub name: String,
    pub datatype: String,
}

impl Named {
    fn single(name: &str) -> Vec<Self> {
        vec![Self {
            name: name.to_owned(),
            datatype: "FP32".to_owned(),
        }]
    }
}

/// The member that answers to requests by columns have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// `predictions`, whatever the request was (kserve/kserve, `python/kserve/kserve/utils/utils.py`).
    #[default]
    Predictions,
    /// `outputs` (tensorflow/serving, `tensorflow_serving/g3doc/api_rest.md`).
    Outputs,
}

/// Inputs of one model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    pub inputs: Vec<Named>,
}

/// The first version, to clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct V1 {
    /// Clients may ask `:predict`.
    pub clients: bool,
    /// `GET /v1/models/NAME` is answered.
    pub readiness: bool,
    /// Longest body of a request, and of an answer.
    pub max_body: u64,
    pub answers: Answers,
    pub inputs: Vec<Named>,
    /// By the names that clients use.
    pub models: BTreeMap<String, Inputs>,
}

impl Default for V1 {
    fn default() -> Self {
        Self {
            clients: true,
            readiness: false,
            max_body: MAX_BODY,
            answers: Answers::default(),
            // The Python server of KServe names no input of the first version; its output in the
            // second is `output-0` (`get_predict_response`), and its examples ask `input-0`.
            inputs: Named::single("input-0"),
            models: BTreeMap::new(),
        }
    }
}

impl V1 {
    /// Where something is wrong, and what.
    ///
    /// # Errors
    /// The place and the problem.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.max_body == 0 {
            let what = "must be at least 1".to_owned();
            return Err(("/max-body".to_owned(), what));
        }
        check(&self.inputs).map_err(|what| ("/inputs".to_owned(), what))?;
        for (name, model) in &self.models {
            check(&model.inputs).map_err(|what| (format!("/models/{name}/inputs"), what))?;
        }
        Ok(())
    }

    /// The inputs of a model.
    pub fn inputs_of(&self, model: &str) -> Vec<(String, Datatype)> {
        names(self.models.get(model).map_or(&self.inputs, |it| &it.inputs))
    }
}

/// What the models of a worker of the first version are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct V1Worker {
    /// Inputs of its models, which requests are held to; none: they are not said.
    pub inputs: Vec<Named>,
    /// What its predictions are.
    pub outputs: Vec<Named>,
    /// Tensors are sent by columns, and not by rows.
    pub columns: bool,
    /// It has versions of models, in its paths (TensorFlow Serving).
    pub versions: bool,
    /// Longest body of a request, and of an answer.
    pub max_body: u64,
    /// The same of single models, by the names that the worker knows.
    pub models: BTreeMap<String, V1Model>,
}

/// What one model of a worker is: all that is said of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V1Model {
    #[serde(default)]
    pub inputs: Vec<Named>,
    pub outputs: Vec<Named>,
}

impl Default for V1Worker {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            outputs: Named::single("output-0"),
            columns: false,
            versions: false,
            max_body: MAX_BODY,
            models: BTreeMap::new(),
        }
    }
}

impl V1Worker {
    /// What is wrong.
    ///
    /// # Errors
    /// Says it.
    pub fn check(&self) -> Result<(), String> {
        check(&self.outputs)?;
        let mut models = self.models.values();
        models.try_for_each(|it| check(&it.outputs))?;
        let inputs = self.models.values().map(|it| &it.inputs);
        let mut inputs = inputs.chain([&self.inputs]).filter(|it| !it.is_empty());
        inputs.try_for_each(|it| check(it))?;
        match self.max_body {
            0 => Err("v1.max-body must be at least 1".to_owned()),
            _ => Ok(()),
        }
    }

    /// The inputs of a model, where they are said.
    pub fn inputs_of(&self, model: &str) -> Vec<(String, Datatype)> {
        names(self.models.get(model).map_or(&self.inputs, |it| &it.inputs))
    }

    /// The outputs of a model.
    pub fn outputs_of(&self, model: &str) -> Vec<(String, Datatype)> {
        let own = self.models.get(model);
        names(own.map_or(&self.outputs, |it| &it.outputs))
    }
}

fn names(all: &[Named]) -> Vec<(String, Datatype)> {
    let datatype = |it: &Named| {
        let known = datatype::named(&it.datatype);
        known.unwrap_or_else(|| Datatype::Other(it.datatype.clone()))
    };
    all.iter()
        .map(|it| (it.name.clone(), datatype(it)))
        .collect()
}

fn check(all: &[Named]) -> Result<(), String> {
    if all.is_empty() {
        return Err("must name at least one tensor".to_owned());
    }
    for (at, one) in all.iter().enumerate() {
        if one.name.is_empty() {
            return Err("a tensor's name must not be empty".to_owned());
        }
        if datatype::named(&one.datatype).is_none() {
            return Err(format!("'{}' is no datatype", one.datatype));
        }
        if all[..at].iter().any(|other| other.name == one.name) {
            return Err(format!("tensor '{}' is named twice", one.name));
        }
    }
    Ok(())
}
