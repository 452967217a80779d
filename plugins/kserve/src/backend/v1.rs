//! A worker of the protocol's first version: tensors are asked as values of `:predict`, and its
//! predictions are the tensors that its options name.

use serde_json::Value;
use tollgate_sdk_protocol::{
    Bytes, actions,
    backend::Request,
    failure,
    inference::{Call, Event, Infer, ModelInfo, ParameterValue, Task, Tensor, TensorData},
    types::{Datatype, Failure, FailureKind, Need, Progress, Segment},
};

use super::{Job, Link, gathered, infer_grpc::told, metadata, rest, unreadable, unsupported};
use crate::{
    codec::{
        Body,
        v1::{self, Column, Layout},
    },
    frontend::segment_of,
    options::Target,
};

/// Longest answer to the question whether a model is ready.
const ANSWER: u64 = 1 << 20;

/// The parameter of a request that the first version has a member for.
const SIGNATURE: &str = "signature_name";

/// What an attempt for a call is.
///
/// # Errors
/// It is no task of tensors.
pub fn job(link: Link, call: Call) -> Result<Box<dyn Job>, Failure> {
    match &call.task {
        Task::Infer(_) => Ok(Box::new(Predict {
            link,
            call,
            told: false,
        })),
        Task::ModelMetadata | Task::ModelReady => Ok(Box::new(Ready {
            link,
            call,
            told: false,
        })),
        _ => Err(unsupported("workers of this protocol have no such task")),
    }
}

/// The path of a model.
pub fn path(model: &str) -> String {
    format!("/v1/models/{}", segment_of(model))
}

fn path_of(call: &Call) -> String {
    let mut path = path(&call.model);
    if let Some(version) = &call.version {
        path.push_str("/versions/");
        path.push_str(&segment_of(version));
    }
    path
}

/// Whether a model is ready: as KServe's Python server says it, or TensorFlow Serving of versions
/// (tensorflow/serving, `tensorflow_serving/g3doc/api_rest.md`).
pub fn is_ready(body: &[u8]) -> bool {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let versions = told["model_version_status"].as_array();
    let mut versions = versions.into_iter().flatten();
    told["ready"] == true || versions.any(|it| it["state"] == "AVAILABLE")
}

/// A model, as its worker's options describe it: sizes are not known.
pub fn model(name: &str, target: &Target) -> ModelInfo {
    let all = |names: Vec<(String, Datatype)>| {
        let one = |(name, datatype)| Tensor {
            name,
            datatype,
            shape: vec![-1],
            data: TensorData::None,
            parameters: Vec::new(),
        };
        names.into_iter().map(one).collect()
    };
    ModelInfo {
        inputs: all(target.v1.inputs_of(name)),
        outputs: all(target.v1.outputs_of(name)),
        ..metadata::model(name, target)
    }
}

fn invalid(what: impl Into<String>) -> Failure {
    failure::invalid(what, None)
}

/// The job of tensors.
struct Predict {
    link: Link,
    call: Call,
    told: bool,
}

impl Predict {
    fn content(&self) -> Result<&Infer, Failure> {
        match &self.call.task {
            Task::Infer(content) => Ok(content),
            _ => Err(unsupported("no tensors")),
        }
    }

    fn outputs(&self) -> Vec<(String, Datatype)> {
        self.link.target.v1.outputs_of(&self.call.model)
    }

    /// The signature that is asked for. There is no place for other parameters.
    fn signature(content: &Infer) -> Result<Option<&str>, Failure> {
        let mut signature = None;
        for parameter in &content.parameters {
            match (parameter.name.as_str(), &parameter.value) {
                (SIGNATURE, ParameterValue::Text(name)) => signature = Some(name.as_str()),
                (name, _) => {
                    let what = format!("the model's worker takes no parameters: '{name}'");
                    return Err(invalid(what));
                }
            }
        }
        let mut tensors = content.inputs.iter().chain(&content.outputs);
        match tensors.find(|it| !it.parameters.is_empty()) {
            None => Ok(signature),
            Some(tensor) => Err(invalid(format!(
                "the model's worker takes no parameters of tensors: '{}' has some",
                tensor.name
            ))),
        }
    }

    fn body(&self, bytes: &dyn Bytes) -> Result<Vec<u8>, Failure> {
        let content = self.content()?;
        let signature = Self::signature(content)?;
        let known = self.outputs();
        let unknown = |it: &&Tensor| !known.iter().any(|known| known.0 == it.name);
        if let Some(output) = content.outputs.iter().find(unknown) {
            let what = format!("the model has no output '{}'", output.name);
            return Err(invalid(what));
        }
        if content.inputs.is_empty() {
            return Err(invalid("there is no input"));
        }
        let (most, mut len) = (self.link.target.v1.max_body, 0);
        let mut all = Vec::with_capacity(content.inputs.len());
        for tensor in &content.inputs {
            let raw = v1::raw(bytes, tensor).map_err(invalid)?;
            len += raw.len() as u64;
            if len > most {
                let what = format!("the model's worker takes {most} bytes of tensors at most");
                return Err(failure::of(FailureKind::PayloadTooLarge, what));
            }
            all.push(raw);
        }
        let pairs = content.inputs.iter().zip(&all);
        let columns = pairs.map(|(it, raw)| Column::new(&it.name, &it.datatype, &it.shape, raw));
        let mut columns: Vec<Column<'_>> = columns.collect::<Result<_, _>>().map_err(invalid)?;
        let mut body = b"{".to_vec();
        if let Some(name) = signature {
            let member = format!("\"{SIGNATURE}\":{},", Value::from(name));
            body.extend_from_slice(member.as_bytes());
        }
        if self.link.target.v1.columns {
            body.extend_from_slice(b"\"inputs\":");
            v1::columns(&mut columns, false, &mut body).map_err(invalid)?;
        } else {
            body.extend_from_slice(b"\"instances\":");
            v1::rows(&mut columns, &mut body).map_err(invalid)?;
        }
        body.push(b'}');
        Ok(body)
    }

    fn tensors(&self, bytes: &dyn Bytes, progress: &Progress) -> Result<Vec<Tensor>, String> {
        let keys = ["predictions", "outputs"];
        let mut found = v1::members(bytes, progress.source, progress.available, &keys)?;
        let (outputs, predictions) = (found.pop().flatten(), found.pop().flatten());
        let (layout, values) = match (predictions, outputs) {
            // KServe's Python server calls them so whatever was asked.
            (Some(values), None) if values.first() == Some(&b'{') => (Layout::Columns, values),
            (Some(values), None) => (Layout::Rows, values),
            (None, Some(values)) => (Layout::Columns, values),
            _ => return Err("it must have either 'predictions' or 'outputs'".to_owned()),
        };
        v1::tensors(&values, layout, &self.outputs(), "output")
    }
}

impl Job for Predict {
    fn request(&mut self, bytes: &dyn Bytes) -> Result<Request, Failure> {
        let body = vec![Segment::Inline(self.body(bytes)?)];
        let path = format!("{}:predict", path_of(&self.call));
        let mut request = rest(&self.link, "POST", &path, &self.call.model, body);
        let json = actions::header("content-type", "application/json");
        request.headers.push(json);
        Ok(request)
    }

    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure> {
        if self.told {
            return Ok(None);
        }
        if progress.available > self.link.target.v1.max_body {
            return Err(unreadable("it is longer than the worker's `v1.max-body`"));
        }
        if !progress.end {
            return Ok(Some(actions::whole(progress.source)));
        }
        let content = self.content()?;
        let mut tensors = self.tensors(bytes, progress).map_err(unreadable)?;
        let wanted = |it: &Tensor| {
            content.outputs.is_empty() || content.outputs.iter().any(|one| one.name == it.name)
        };
        tensors.retain(wanted);
        let body = Body {
            model: self.call.model.clone(),
            version: self.call.version.clone().unwrap_or_default(),
            id: content.id.clone(),
            tensors,
            ..Body::default()
        };
        self.told = true;
        said.push(told(body, true));
        Ok(None)
    }

    fn complete(&mut self, _: &mut Vec<Event>) -> Result<bool, Failure> {
        Ok(self.told)
    }
}

/// The job of readiness, and of metadata, of which there is no more than that and the options.
struct Ready {
    link: Link,
    call: Call,
    told: bool,
}

impl Job for Ready {
    fn request(&mut self, _: &dyn Bytes) -> Result<Request, Failure> {
        let path = path_of(&self.call);
        Ok(rest(&self.link, "GET", &path, &self.call.model, Vec::new()))
    }

    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure> {
        if self.told {
            return Ok(None);
        }
        let answer = match gathered(bytes, progress, ANSWER)? {
            Ok(answer) => answer,
            Err(need) => return Ok(Some(need)),
        };
        let ready = is_ready(&answer);
        said.push(match self.call.task {
            Task::ModelReady => Event::Ready(ready),
            _ => Event::Models(vec![ModelInfo {
                ready,
                ..model(&self.call.model, &self.link.target)
            }]),
        });
        self.told = true;
        Ok(None)
    }

    fn complete(&mut self, _: &mut Vec<Event>) -> Result<bool, Failure> {
        Ok(self.told)
    }
}
