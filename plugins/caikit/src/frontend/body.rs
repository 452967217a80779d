//! A REST body, as far as it must be known before a worker is found: where its members
//! lie, and that it has no others. Their values are read when the request is taken apart.

use std::ops::Range;

use serde_json::value::RawValue;
use tollgate_sdk_protocol::{
    Bytes, cost, failure,
    frontend::Edit,
    text,
    types::{Segment, Text},
};

use crate::{
    endpoint::Endpoint,
    request::Request,
    rest::request::{self, Refusal},
    strict::{InOrder, Loc, Problem, Reader},
};

const KEYS: [&str; 3] = ["model_id", "inputs", "parameters"];
/// Strings up to this length are decoded here; longer ones stay with the host.
const SHORT: u64 = 1024;
/// Bytes looked at at once for the brace that opens the body.
const WINDOW: u32 = 256;

/// Places of a body's members.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// As the client wrote it; none where it did not.
    pub model: Option<String>,
    model_at: Option<Range<u64>>,
    inputs: Option<Range<u64>>,
    parameters: Option<Range<u64>>,
}

impl Body {
    /// Finds the members of a body that has arrived whole.
    ///
    /// # Errors
    /// When it is no object, has another member, or its model is no string or stands
    /// twice.
    pub fn find(bytes: &dyn Bytes, len: u64) -> Result<Self, Refusal> {
        let keys = KEYS.map(str::to_owned);
        let members = bytes
            .json_members(0, 0, len, &keys)
            .map_err(|problem| Refusal::Problems(no_object(bytes, len, &problem.message)))?;
        let mut reader = Reader::default();
        let mut body = Self::default();
        for member in &members {
            let at = member.offset..member.offset + member.len;
            match member.key {
                // Whichever of two a worker would read: what is authorized is what is sent.
                0 if body.model_at.is_some() => {
                    return Err(Refusal::Failure(failure::invalid(
                        "model_id is given more than once",
                        Some("model_id"),
                    )));
                }
                0 => {
                    let json = read(bytes, &at);
                    // As for every member of this runtime's, null is none.
                    if json != "null" {
                        body.model = reader.inside(Loc::Name("model_id".to_owned()), |reader| {
                            reader.string(&json)
                        });
                    }
                    body.model_at = Some(at);
                }
                1 => body.inputs = Some(at),
                _ => body.parameters = Some(at),
            }
        }
        others(bytes, len, &members, &mut reader);
        reader.finish(body).map_err(Refusal::Problems)
    }

    /// Bytes of the inputs.
    pub fn size(&self) -> u64 {
        self.inputs.as_ref().map_or(0, |at| at.end - at.start)
    }

    /// The most that a worker may take a parameter for that is a count, to guess the work.
    pub fn count(&self, bytes: &dyn Bytes, name: &str) -> Option<u32> {
        let at = self.parameters.as_ref()?;
        let keys = [name.to_owned()];
        let members = bytes
            .json_members(0, at.start, at.end - at.start, &keys)
            .ok()?;
        let counts = members.iter().filter_map(|member| {
            let json = read(bytes, &(member.offset..member.offset + member.len));
            cost::at_most(json.as_bytes())
        });
        counts.max()
    }

    /// The body with the name that the model has at the worker.
    pub fn edits(&self, bytes: &dyn Bytes, len: u64, model: &str) -> Vec<Edit> {
        let quoted = text::quoted(model);
        let (at, replacement) = match &self.model_at {
            Some(at) if self.model.as_deref() == Some(model) => {
                debug_assert!(at.end <= len);
                return Vec::new();
            }
            Some(at) => (at.clone(), quoted),
            None => {
                let start = opened(bytes, len);
                let comma = if self.inputs.is_some() || self.parameters.is_some() {
                    ","
                } else {
                    ""
                };
                let member = [b"\"model_id\":", quoted.as_slice(), comma.as_bytes()].concat();
                (start..start, member)
            }
        };
        vec![Edit {
            offset: at.start,
            len: at.end - at.start,
            replacement: vec![Segment::Inline(replacement)],
        }]
    }

    /// Takes the body apart.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn request(&self, bytes: &dyn Bytes, endpoint: Endpoint) -> Result<Request, Refusal> {
        let inputs = self.inputs.as_ref();
        // An escape takes more room than its letter, so a long string is not empty.
        let held = inputs
            .filter(|at| at.end - at.start > SHORT && bytes.read(0, at.start, 1) == b"\"")
            .filter(|_| takes_text(endpoint))
            .map(|at| text::held_json(0, at.start, at.end - at.start));
        let json = match &held {
            Some(Text::Held(_)) => None,
            _ => inputs.map(|at| read(bytes, at)),
        };
        let parameters = self.parameters.as_ref().map(|at| read(bytes, at));
        request::read(endpoint, json.as_deref(), parameters.as_deref(), held)
    }
}

fn takes_text(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::Generate | Endpoint::GenerateStream | Endpoint::Embed | Endpoint::Tokenize
    )
}

/// A value that the host has found to be JSON, and JSON is UTF-8.
fn read(bytes: &dyn Bytes, at: &Range<u64>) -> String {
    let raw = bytes.read_all(0, at.start, at.end - at.start);
    String::from_utf8_lossy(&raw).trim().to_owned()
}

/// Members that nobody knows: what is left of the body when the known values are taken
/// out is small, whatever they hold.
fn others(
    bytes: &dyn Bytes,
    len: u64,
    members: &[tollgate_sdk_protocol::body::Member],
    reader: &mut Reader,
) {
    let mut left = Vec::new();
    let mut from = 0;
    for member in members {
        left.extend(bytes.read_all(0, from, member.offset - from));
        left.extend_from_slice(b"null");
        from = member.offset + member.len;
    }
    left.extend(bytes.read_all(0, from, len - from));
    if let Ok(InOrder(all)) = serde_json::from_slice(&left) {
        for (name, json) in all {
            if !KEYS.contains(&name.as_str()) {
                reader.extra(&name, RawValue::get(json));
            }
        }
    }
}

/// Why a body is no object: it is other JSON, or none.
fn no_object(bytes: &dyn Bytes, len: u64, why: &str) -> Vec<Problem> {
    let raw = bytes.read_all(0, 0, len);
    let text = String::from_utf8_lossy(&raw);
    let mut reader = Reader::default();
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(json) if !json.get().starts_with('{') => reader.not_an_object(json.get()),
        _ => reader.not_json(why, &text),
    }
    reader.finish(()).err().unwrap_or_default()
}

/// Past the brace that opens the body.
fn opened(bytes: &dyn Bytes, len: u64) -> u64 {
    let mut from = 0;
    while from < len {
        let piece = bytes.read(0, from, WINDOW);
        if let Some(at) = piece.iter().position(|byte| *byte == b'{') {
            return from + at as u64 + 1;
        }
        if piece.is_empty() {
            break;
        }
        from += piece.len() as u64;
    }
    unreachable!("the host found an object here")
}
