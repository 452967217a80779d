//! Models, version and health: what the host's catalogue answers, in the runtime's words.

use std::collections::BTreeMap;

use prost::Message;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use tollgate_sdk_protocol::{
    failure,
    frontend::RequestHead,
    inference::{Event, ModelInfo as Neutral, ServerInfo},
    types::{Failure, FailureKind},
};

use crate::{
    carried,
    endpoint::Info,
    grpc::structs,
    manifest::Door,
    options::Options,
    proto::{ModelInfo, ModelInfoResponse, RuntimeInfoResponse},
};

/// An answer in the making.
#[derive(Debug)]
pub struct Facts {
    info: Info,
    door: Door,
    /// The models that are asked about; none: all.
    ids: Vec<String>,
    body: Option<Vec<u8>>,
}

/// A model, in the order of members in which the runtime writes it.
#[derive(Serialize)]
struct Model<'a> {
    model_path: &'a str,
    name: &'a str,
    size: i64,
    metadata: &'a Map<String, Value>,
    loaded: bool,
    module_id: &'a str,
    module_metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Version<'a> {
    runtime_version: &'a str,
    python_packages: &'a BTreeMap<String, String>,
}

impl Facts {
    /// The beginning of an answer.
    pub fn new(info: Info, door: Door, ids: Vec<String>) -> Self {
        Self {
            info,
            door,
            ids,
            body: None,
        }
    }

    /// Takes an event; the answer, once it has ended.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(&mut self, event: Event, options: &Options) -> Result<Option<Vec<u8>>, Failure> {
        match (event, self.info) {
            (Event::Failed(failure), _) => return Err(failure),
            (Event::Models(models), Info::Models) => self.body = Some(self.models(&models)?),
            (Event::Metadata(server), Info::Version) => {
                self.body = Some(self.version(&server, options));
            }
            (Event::Ready(true), Info::Health) => self.body = Some(b"OK".to_vec()),
            (Event::Ready(false), Info::Health) => {
                let message = "no worker is ready";
                return Err(failure::of(FailureKind::Overloaded, message));
            }
            (Event::End, _) => {
                let message = "the catalogue gave no answer";
                return self
                    .body
                    .take()
                    .map(Some)
                    .ok_or_else(|| failure::of(FailureKind::Internal, message));
            }
            _ => {}
        }
        Ok(None)
    }

    fn models(&self, models: &[Neutral]) -> Result<Vec<u8>, Failure> {
        let find = |id: &String| {
            let found = models.iter().find(|model| model.name == *id);
            found.ok_or_else(|| {
                failure::of(FailureKind::NotFound, format!("Model {id} is not loaded"))
            })
        };
        let wanted: Vec<&Neutral> = if self.ids.is_empty() {
            models.iter().collect()
        } else {
            self.ids.iter().map(find).collect::<Result<_, _>>()?
        };
        let models: Vec<ModelInfo> = wanted.into_iter().map(model).collect();
        Ok(match self.door {
            Door::Grpc => ModelInfoResponse { models }.encode_to_vec(),
            Door::Rest => {
                let json = |model: &ModelInfo| {
                    let metadata = model.metadata.as_ref().map(structs::to_json);
                    let json = Model {
                        model_path: &model.model_path,
                        name: &model.name,
                        size: model.size,
                        metadata: &metadata.unwrap_or_default(),
                        loaded: model.loaded,
                        module_id: &model.module_id,
                        module_metadata: &model.module_metadata,
                    };
                    serde_json::value::to_raw_value(&json).expect("our own types are JSON")
                };
                let models: Vec<Box<RawValue>> = models.iter().map(json).collect();
                let body = BTreeMap::from([("models", models)]);
                serde_json::to_vec(&body).expect("our own types are JSON")
            }
        })
    }

    fn version(&self, server: &ServerInfo, options: &Options) -> Vec<u8> {
        let version = options.runtime_version.as_ref().unwrap_or(&server.version);
        // There is no Python here, and so there are no packages of it.
        let packages = BTreeMap::new();
        match self.door {
            Door::Grpc => RuntimeInfoResponse {
                runtime_version: version.clone(),
                python_packages: packages,
            }
            .encode_to_vec(),
            Door::Rest => serde_json::to_vec(&Version {
                runtime_version: version,
                python_packages: &packages,
            })
            .expect("our own types are JSON"),
        }
    }
}

/// A model as its worker told it, by the name that clients know; of another kind of
/// worker only what is known.
fn model(neutral: &Neutral) -> ModelInfo {
    let mut info = carried::model_of(neutral).unwrap_or_else(|| {
        let limit = neutral
            .max_length
            .map(|limit| ("max_seq_length".to_owned(), Value::from(limit)));
        ModelInfo {
            metadata: Some(structs::from_json(&limit.into_iter().collect())),
            ..ModelInfo::default()
        }
    });
    info.name.clone_from(&neutral.name);
    info.loaded = neutral.ready;
    info
}

/// Values of `model_ids` in a query.
pub fn ids(head: &RequestHead) -> Vec<String> {
    head.query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("model_ids="))
        .map(unescaped)
        .filter(|id| !id.is_empty())
        .collect()
}

/// Percent-decoded, `+` being a space (the form of HTML's forms).
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let hex = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
        };
        match (first, after.get(..2).and_then(hex)) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        assert_eq!(unescaped("a%2Fb+c%"), "a/b c%");
        assert_eq!(unescaped("%c3%bc%zz%+1"), "ü%zz% 1");
    }
}
