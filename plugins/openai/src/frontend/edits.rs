//! What changes in a body that is passed on: the model's name, the wish for usage, and the id
//! of a response that is kept.

use tollgate_sdk_protocol::{Bytes, frontend::Edit, text::quoted, types::Segment};

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
        None => {
            inserted.extend_from_slice(b"\"model\":");
            inserted.extend(quoted(served));
            inserted.push(b',');
        }
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
            None => inserted.extend_from_slice(b"\"stream_options\":{\"include_usage\":true},"),
        }
    }
    if let Some(id) = request
        .sticky
        .as_ref()
        .and_then(|sticky| sticky.id.as_ref())
    {
        match request.fields.place("request_id") {
            Some((offset, len)) => edits.push(replace(offset, len, quoted(id))),
            None => {
                inserted.extend_from_slice(b"\"request_id\":");
                inserted.extend(quoted(id));
                inserted.push(b',');
            }
        }
    }
    if !inserted.is_empty() {
        if request.fields.is_empty() {
            // Nothing follows what is written into an empty object.
            inserted.pop();
        }
        edits.push(replace(after_brace(bytes, request.len), 0, inserted));
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

/// The place past the body's opening brace.
fn after_brace(bytes: &dyn Bytes, len: u64) -> u64 {
    let mut from = 0;
    while from < len {
        let piece = bytes.read_all(0, from, (len - from).min(256));
        if let Some(at) = piece.iter().position(|byte| *byte == b'{') {
            return from + at as u64 + 1;
        }
        from += piece.len() as u64;
        if piece.is_empty() {
            break;
        }
    }
    unreachable!("the host found an object here")
}
