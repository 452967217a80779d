//! What changes in a body that is passed on: the model's name, the wish for usage, and the id
//! of a response that is kept.

use tollgate_sdk_protocol::{Bytes, front::Front, frontend::Edit, text::quoted, types::Segment};

use super::request::Request;

/// The edits, in order, for a worker that knows the model as `served`. A name that is
/// absent is written: what goes upstream is the model that was authorized.
pub fn edits(request: &Request, bytes: &dyn Bytes, served: &str, ask_for_usage: bool) -> Vec<Edit> {
    if let Some(form) = &request.form {
        return form.naming(served).into_iter().collect();
    }
    let mut edits = Vec::new();
    let mut inserted = Vec::new();
    match request.fields.place("model") {
        Some(_) if request.model.as_deref() == Some(served) => {}
        Some((offset, len)) => edits.push(replace(offset, len, quoted(served))),
        None => inserted.push([&b"\"model\":"[..], &quoted(served)].concat()),
    }
    if ask_for_usage {
        match request.fields.place("stream_options") {
            Some((offset, len)) => {
                let raw = request
                    .fields
                    .raw(bytes, "stream_options")
                    .unwrap_or_default();
                edits.push(replace(offset, len, asking_for_usage(&raw)));
            }
            None => inserted.push(b"\"stream_options\":{\"include_usage\":true}".to_vec()),
        }
    }
    if let Some(id) = request
        .sticky
        .as_ref()
        .and_then(|sticky| sticky.id.as_ref())
    {
        match request.fields.place("request_id") {
            Some((offset, len)) => edits.push(replace(offset, len, quoted(id))),
            None => inserted.push([&b"\"request_id\":"[..], &quoted(id)].concat()),
        }
    }
    if !inserted.is_empty() {
        edits.push(Front::of(bytes, request.len).write(&inserted));
    }
    edits.sort_by_key(|edit| edit.offset);
    edits
}

fn replace(offset: u64, len: u64, with: Vec<u8>) -> Edit {
    Edit {
        offset,
        len,
        replacement: vec![Segment::Inline(with)],
    }
}

/// `stream_options` as the client wrote them, asking for usage once at the end.
fn asking_for_usage(raw: &[u8]) -> Vec<u8> {
    let mut given: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(raw).unwrap_or_default();
    given.remove("continuous_usage_stats");
    given.insert("include_usage".to_owned(), true.into());
    serde_json::Value::Object(given).to_string().into_bytes()
}
