//! What a model takes and gives: as its worker says it, or as the catalogue knows it.

use std::sync::Arc;

use prost::Message;
use serde_json::{Map, Value, json};
use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    frontend::{Action, Edit, Input, Intent, PassTo, Passed, RequestHead},
    inference::{Call, Event, ModelInfo, Task, TaskKind, Tensor},
    one_call::{self, CALL, Read},
    types::{Failure, FailureKind, Progress, Segment},
};

use super::{
    Form, check_version, intent, invalid, known_version, model_header, model_in_message,
    model_of_headers, no_version, parameter, passing::Passing, path, refused, status, target,
    texts,
};
use crate::{
    codec::rest_write::{Style, shape},
    datatype,
    options::Options,
    proto::{ModelMetadataRequest, ModelMetadataResponse, model_metadata_response::TensorMetadata},
};

/// What is asked at the doors of metadata.
pub struct Metadata {
    options: Arc<Options>,
    form: Form,
    default_model: String,
    head: RequestHead,
    model: String,
    version: String,
    /// Length of the message.
    len: u64,
    info: Option<ModelInfo>,
    passing: Option<Passing>,
}

impl Metadata {
    pub fn new(
        options: Arc<Options>,
        form: Form,
        default_model: String,
        head: RequestHead,
    ) -> Self {
        Self {
            model: parameter(&head, "model"),
            version: parameter(&head, "version"),
            options,
            form,
            default_model,
            head,
            len: 0,
            info: None,
            passing: None,
        }
    }

    fn tell(&self, mut info: ModelInfo) -> Result<Vec<Action>, Failure> {
        if let Some(words) = texts::Texts::words(&self.options, &self.model, &self.default_model) {
            texts::describe(words, &mut info);
        }
        let name = if self.model.is_empty() {
            info.name
        } else {
            self.model.clone()
        };
        let mut versions = info.versions;
        if versions.is_empty() {
            // One that nobody tells is the only one there is.
            versions.push("1".to_owned());
        }
        if !self.version.is_empty() && !versions.contains(&self.version) {
            let failed = failure::of(
                FailureKind::NotFound,
                format!(
                    "Request for unknown model: '{name}' version {} is not found",
                    self.version
                ),
            );
            return Ok(no_version(&self.options, self.form, failed));
        }
        let platform = if info.platform.is_empty() {
            "tollgate".to_owned()
        } else {
            info.platform
        };
        Ok(match self.form {
            Form::Grpc => {
                let message = ModelMetadataResponse {
                    name,
                    versions,
                    platform,
                    inputs: info.inputs.into_iter().map(message_of).collect(),
                    outputs: info.outputs.into_iter().map(message_of).collect(),
                };
                vec![
                    Action::Message(vec![Segment::Inline(message.encode_to_vec())]),
                    status(0, None),
                    Action::Finish,
                ]
            }
            Form::Rest => {
                let style = Style {
                    string_shapes: self.options.string_shapes,
                    ..Style::default()
                };
                let list = |all: Vec<Tensor>| -> Value {
                    let one = |it: &Tensor| {
                        json!({
                            "name": it.name,
                            "datatype": datatype::name(&it.datatype),
                            "shape": shape(&it.shape, style),
                        })
                    };
                    all.iter().map(one).collect()
                };
                let mut members = Map::new();
                members.insert("name".to_owned(), name.into());
                members.insert("versions".to_owned(), versions.into());
                members.insert("platform".to_owned(), platform.into());
                members.insert("inputs".to_owned(), list(info.inputs));
                members.insert("outputs".to_owned(), list(info.outputs));
                actions::respond_json(200, Value::from(members).to_string().into_bytes())
            }
        })
    }
}

fn message_of(tensor: Tensor) -> TensorMetadata {
    TensorMetadata {
        name: tensor.name,
        datatype: datatype::name(&tensor.datatype).to_owned(),
        shape: tensor.shape,
    }
}

impl one_call::Ask for Metadata {
    fn read(&mut self, bytes: &dyn Bytes, progress: &Progress) -> Result<Read, Failure> {
        if self.form == Form::Grpc {
            let Some(message) = whole(bytes, progress)? else {
                return Ok(Read::Need(actions::whole(progress.source)));
            };
            self.len = progress.available;
            let asked = ModelMetadataRequest::decode(message.as_slice())
                .map_err(|_| invalid("the message is not valid protocol buffers"))?;
            (self.model, self.version) = (asked.name, asked.version);
            known_version(&self.version)?;
            if self.model.is_empty() {
                self.model = model_of_headers(&self.head)?;
            }
        }
        Ok(Read::Call(Intent {
            version: (!self.version.is_empty()).then(|| self.version.clone()),
            ..intent(CALL, TaskKind::ModelMetadata, &self.model)
        }))
    }

    fn pass(&mut self, to: &PassTo) -> Result<Option<Passed>, Failure> {
        let target = target(&self.options, to)?;
        check_version(&target, &self.version)?;
        if self.form == Form::Rest && self.options.string_shapes != target.base64_bytes {
            return Ok(None);
        }
        let renamed = self.model != to.model;
        let alias = (renamed && !self.model.is_empty()).then(|| self.model.clone());
        let passing = Passing::new(self.form, "name", alias);
        let response = passing.mode();
        self.passing = Some(passing);
        let asked = ModelMetadataRequest {
            name: model_in_message(&target, &to.model).to_owned(),
            version: self.version.clone(),
        };
        let (path, edits) = match self.form {
            Form::Rest => {
                let path = path::with_model("/v2/models/{model}", &self.head.path, &to.model);
                (Some(path), Vec::new())
            }
            Form::Grpc => {
                let edit = Edit {
                    offset: 0,
                    len: self.len,
                    replacement: vec![Segment::Inline(asked.encode_to_vec())],
                };
                (None, vec![edit])
            }
        };
        Ok(Some(Passed {
            id: CALL,
            path,
            query: None,
            set_headers: model_header(&target, self.form, &to.model),
            remove_headers: Vec::new(),
            edits,
            response,
        }))
    }

    fn call(&mut self, model: String) -> Result<Call, Failure> {
        self.info = None;
        Ok(Call {
            model,
            version: (!self.version.is_empty()).then(|| self.version.clone()),
            streaming: false,
            task: Task::ModelMetadata,
            extensions: Vec::new(),
        })
    }

    fn event(&mut self, _: &dyn Bytes, event: Event, out: &mut Vec<Action>) -> Result<(), Failure> {
        match event {
            Event::Models(models) => {
                self.info = models.into_iter().next();
                Ok(())
            }
            Event::End => {
                let info = self.info.take().ok_or_else(|| {
                    failure::upstream_invalid("the worker said nothing of the model")
                })?;
                out.extend(self.tell(info)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn refused(&self, failure: Failure, dispatched: bool) -> Vec<Action> {
        refused(&self.options, self.form, &self.version, failure, dispatched)
    }

    fn upstream(
        &mut self,
        bytes: &dyn Bytes,
        input: Input,
        out: &mut Vec<Action>,
    ) -> Result<(), Failure> {
        match &mut self.passing {
            Some(passing) => passing.input(bytes, input, out),
            None => Ok(()),
        }
    }
}

/// A small message, once all of it is there.
pub fn whole(bytes: &dyn Bytes, progress: &Progress) -> Result<Option<Vec<u8>>, Failure> {
    if !progress.end {
        return Ok(None);
    }
    if progress.available > 64 << 10 {
        return Err(invalid("the message is too long for what it asks"));
    }
    Ok(Some(bytes.read_all(progress.source, 0, progress.available)))
}
