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
        v1::{self, Layout, Problem},
    },
    datatype,
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

    fn inputs(&self) -> Vec<(String, Datatype)> {
        self.link.target.v1.inputs_of(&self.call.model)
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
                    let name = v1::shown(name);
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
                v1::shown(&tensor.name)
            ))),
        }
    }

    fn body(&self, bytes: &dyn Bytes) -> Result<Vec<u8>, Failure> {
        let content = self.content()?;
        let signature = Self::signature(content)?;
        let known = self.outputs();
        let unknown = |it: &&Tensor| !known.iter().any(|known| known.0 == it.name);
        if let Some(output) = content.outputs.iter().find(unknown) {
            let what = format!("the model has no output '{}'", v1::shown(&output.name));
            return Err(invalid(what));
        }
        if content.inputs.is_empty() {
            return Err(invalid("there is no input"));
        }
        self.check_inputs(content)?;
        let mut body = b"{".to_vec();
        if let Some(name) = signature {
            let member = format!("\"{SIGNATURE}\":{},", Value::from(name));
            body.extend_from_slice(member.as_bytes());
        }
        let v1 = &self.link.target.v1;
        let (layout, member) = match v1.columns {
            true => (Layout::Columns, "inputs"),
            false => (Layout::Rows, "instances"),
        };
        body.extend_from_slice(format!("\"{member}\":").as_bytes());
        let form = v1::Form {
            layout,
            // Of a model with one input values without its name are what all servers take.
            bare: !v1.columns && self.inputs().len() < 2,
            most: v1.max_body,
        };
        v1::raw(bytes, &content.inputs, v1.max_body)
            .and_then(|raw| v1::values(&content.inputs, &raw, form, &mut body))
            .map_err(|problem| match problem {
                Problem::Long(what) => failure::of(FailureKind::PayloadTooLarge, what),
                Problem::Malformed(what) | Problem::Unfit(what) => invalid(what),
            })?;
        body.push(b'}');
        Ok(body)
    }

    /// Inputs against what the worker's options say of the model's, where they say it.
    fn check_inputs(&self, content: &Infer) -> Result<(), Failure> {
        let known = self.inputs();
        if known.is_empty() {
            return Ok(());
        }
        for tensor in &content.inputs {
            let name = v1::shown(&tensor.name);
            let Some((_, datatype)) = known.iter().find(|it| it.0 == tensor.name) else {
                let names: Vec<&str> = known.iter().map(|it| it.0.as_str()).collect();
                let names = names.join("', '");
                let what = format!("the model has no input '{name}'; it has '{names}'");
                return Err(invalid(what));
            };
            if tensor.datatype != *datatype {
                let given = v1::shown(datatype::name(&tensor.datatype));
                let wanted = datatype::name(datatype);
                let what = format!("input '{name}' is of {given}, and the model's of {wanted}");
                return Err(invalid(what));
            }
        }
        Ok(())
    }

    fn tensors(&self, bytes: &dyn Bytes, progress: &Progress) -> Result<Vec<Tensor>, Problem> {
        let keys = ["predictions", "outputs"];
        let mut found = v1::members(bytes, progress.source, progress.available, &keys)?;
        let (outputs, predictions) = (found.pop().flatten(), found.pop().flatten());
        let (layout, values) = match (predictions, outputs) {
            // KServe's Python server calls them so whatever was asked.
            (Some(values), None) if values.first() == Some(&b'{') => (Layout::Columns, values),
            (Some(values), None) => (Layout::Rows, values),
            (None, Some(values)) => (Layout::Columns, values),
            _ => {
                let what = "it must have either 'predictions' or 'outputs'";
                return Err(Problem::Malformed(what.to_owned()));
            }
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
        // How many rows there are the client decides: it is no fault of the worker's.
        let most = self.link.target.v1.max_body;
        if progress.total.unwrap_or(0).max(progress.available) > most {
            let what = format!(
                "the model's answer has more than {most} bytes, which are all that are read of one \
                 in this protocol; ask for fewer rows"
            );
            return Err(failure::of(FailureKind::Unprocessable, what));
        }
        if !progress.end {
            return Ok(Some(super::up_to(progress, most)));
        }
        let content = self.content()?;
        let mut tensors = self
            .tensors(bytes, progress)
            .map_err(|problem| match problem {
                Problem::Malformed(what) => unreadable(what),
                // What a model says to these inputs is not what its server is judged by.
                Problem::Unfit(what) | Problem::Long(what) => {
                    let what = format!("the model's answer is no tensors: {what}");
                    failure::of(FailureKind::Unprocessable, what)
                }
            })?;
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
