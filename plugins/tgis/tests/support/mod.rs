//! Transcripts as JSON: messages in the canonical JSON of protocol buffers, read and
//! written by way of the descriptor that the plugin shows; calls and events by name.

pub mod neutral;

use std::{fs, path::Path};

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, prost::Message};
use serde_json::Value;
use tollgate_plugin_tgis::Tgis;
use tollgate_sdk_protocol::Protocol;

/// Transcripts in a folder of `transcripts/`, by file name.
pub fn transcripts(folder: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("transcripts")
        .join(folder);
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, json)
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(!all.is_empty());
    all
}

/// Types of a method's request and response.
pub fn method(name: &str) -> (MessageDescriptor, MessageDescriptor) {
    let set = Tgis::manifest().descriptors.remove(0);
    let pool = DescriptorPool::decode(set.as_slice()).unwrap();
    let service = pool.get_service_by_name("fmaas.GenerationService").unwrap();
    let method = service
        .methods()
        .find(|method| method.name() == name)
        .unwrap();
    (method.input(), method.output())
}

/// A message from its JSON.
pub fn encode(kind: &MessageDescriptor, json: &Value) -> Vec<u8> {
    DynamicMessage::deserialize(kind.clone(), json.clone())
        .unwrap()
        .encode_to_vec()
}

/// JSON of a message.
pub fn decode(kind: &MessageDescriptor, bytes: &[u8]) -> Value {
    let message = DynamicMessage::decode(kind.clone(), bytes).unwrap();
    assert_eq!(
        message.unknown_fields().count(),
        0,
        "fields that nobody knows"
    );
    serde_json::to_value(message).unwrap()
}

/// JSON of a message as [`decode`] would write it, from any JSON of it.
pub fn canonical(kind: &MessageDescriptor, json: &Value) -> Value {
    decode(kind, &encode(kind, json))
}

/// A list, empty where the member is missing.
pub fn list<'a>(json: &'a Value, name: &str) -> &'a [Value] {
    json[name].as_array().map_or(&[], Vec::as_slice)
}
