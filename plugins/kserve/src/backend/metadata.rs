//! What a worker says of a model.

use prost::Message;
use serde_json::Value;
use tollgate_sdk_protocol::{
    Bytes,
    backend::Request,
    inference::{Call, Event, ModelInfo, Task, TaskKind, Tensor, TensorData},
    types::{Datatype, Failure, Need, Progress, Segment},
};

use super::{Job, Link, gathered, grpc, path_of, rest, unreadable};
use crate::{
    datatype,
    frontend::model_in_message,
    options::Target,
    proto::{
        ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse,
        model_metadata_response::TensorMetadata,
    },
};

/// Longest answer.
const ANSWER: u64 = 1 << 20;

/// The job of metadata, or of readiness.
pub struct Metadata {
    link: Link,
    call: Call,
    told: bool,
}

impl Metadata {
    pub fn new(link: Link, call: Call) -> Self {
        Self {
            link,
            call,
            told: false,
        }
    }

    fn only_ready(&self) -> bool {
        self.call.task == Task::ModelReady
    }
}

impl Job for Metadata {
    fn request(&mut self, _: &dyn Bytes) -> Result<Request, Failure> {
        let name = model_in_message(&self.link.target, &self.call.model).to_owned();
        let version = self.call.version.clone().unwrap_or_default();
        let model = &self.call.model;
        Ok(match (self.link.grpc, self.only_ready()) {
            (false, ready) => {
                let path = path_of(&self.call, if ready { "/ready" } else { "" });
                rest(&self.link, "GET", &path, model, Vec::new())
            }
            (true, true) => {
                let message = ModelReadyRequest { name, version }.encode_to_vec();
                grpc(
                    &self.link,
                    "ModelReady",
                    model,
                    vec![Segment::Inline(message)],
                )
            }
            (true, false) => {
                let message = ModelMetadataRequest { name, version }.encode_to_vec();
                grpc(
                    &self.link,
                    "ModelMetadata",
                    model,
                    vec![Segment::Inline(message)],
                )
            }
        })
    }

    fn read(
        &mut self,
        bytes: &dyn Bytes,
        progress: &Progress,
        said: &mut Vec<Event>,
    ) -> Result<Option<Need>, Failure> {
        let answer = match gathered(bytes, progress, ANSWER)? {
            Ok(answer) => answer,
            Err(need) => return Ok(Some(need)),
        };
        if self.only_ready() {
            if self.link.grpc {
                let ready = ModelReadyResponse::decode(answer.as_slice()).map_err(unreadable)?;
                said.push(Event::Ready(ready.ready));
                self.told = true;
            }
            return Ok(None);
        }
        let info = if self.link.grpc {
            let told = ModelMetadataResponse::decode(answer.as_slice()).map_err(unreadable)?;
            of_message(told, &self.link.target)
        } else {
            let told: Value = serde_json::from_slice(&answer).map_err(unreadable)?;
            of_json(&told, &self.link.target)
                .ok_or_else(|| unreadable("it is not the metadata of a model"))?
        };
        self.told = true;
        said.push(Event::Models(vec![info]));
        Ok(None)
    }

    fn complete(&mut self, said: &mut Vec<Event>) -> Result<bool, Failure> {
        if self.only_ready() && !self.told {
            // Over HTTP the status says it all.
            said.push(Event::Ready(true));
            return Ok(true);
        }
        Ok(self.told)
    }
}

/// A model of which only the name is known.
pub fn model(name: &str, target: &Target) -> ModelInfo {
    let mut tasks = vec![
        TaskKind::Infer,
        TaskKind::ModelMetadata,
        TaskKind::ModelReady,
    ];
    if target.generate_of(name).is_some() {
        tasks.push(TaskKind::Generate);
    }
    if target.embed_of(name).is_some() {
        tasks.push(TaskKind::Embed);
    }
    ModelInfo {
        name: name.to_owned(),
        versions: Vec::new(),
        max_length: None,
        max_new_tokens: None,
        parent: None,
        tasks,
        ready: true,
        platform: String::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        extensions: Vec::new(),
    }
}

fn tensor(name: String, datatype: &str, shape: Vec<i64>) -> Tensor {
    Tensor {
        name,
        datatype: datatype::named(datatype).unwrap_or(Datatype::Other(datatype.to_owned())),
        shape,
        data: TensorData::None,
        parameters: Vec::new(),
    }
}

/// A model, from a message.
pub fn of_message(told: ModelMetadataResponse, target: &Target) -> ModelInfo {
    let all = |list: Vec<TensorMetadata>| {
        list.into_iter()
            .map(|it| tensor(it.name, &it.datatype, it.shape))
            .collect()
    };
    ModelInfo {
        versions: told.versions,
        platform: told.platform,
        inputs: all(told.inputs),
        outputs: all(told.outputs),
        ..model(&told.name, target)
    }
}

/// A model, from JSON; none: it is something else.
pub fn of_json(told: &Value, target: &Target) -> Option<ModelInfo> {
    // Where JSON is made of protocol buffers, sizes are strings.
    let size = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let one = |value: &Value| {
        let shape = value["shape"].as_array().map_or(Some(Vec::new()), |all| {
            all.iter().map(size).collect::<Option<Vec<_>>>()
        })?;
        let name = value["name"].as_str()?.to_owned();
        Some(tensor(name, value["datatype"].as_str()?, shape))
    };
    let all = |name: &str| match told[name].as_array() {
        None => Some(Vec::new()),
        Some(list) => list.iter().map(one).collect::<Option<Vec<_>>>(),
    };
    let version = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let versions = told["versions"].as_array();
    Some(ModelInfo {
        versions: versions.map_or(Vec::new(), |all| all.iter().filter_map(version).collect()),
        platform: told["platform"].as_str().unwrap_or_default().to_owned(),
        inputs: all("inputs")?,
        outputs: all("outputs")?,
        ..model(told["name"].as_str()?, target)
    })
}
