//! The upstream request of an attempt. Prompts that the host holds are named, not copied.

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};
use tollgate_sdk_protocol::{
    Bytes, actions,
    backend::{Request, Surface},
    failure,
    inference::{Call, Generate, Prompt, Settings, Task, Tokenize, TruncationSide},
    text,
    types::{Failure, Segment, Text},
};

use super::parameters::{LEAST_TEMPERATURE, parameters};
use crate::{
    fmaas::{BatchedTokenizeRequest, ModelInfoRequest, SERVICE, number},
    options::{Revision, WorkerOptions},
};

/// The request for these members: one call, or several generations with equal keys.
///
/// # Errors
/// Why the worker cannot be asked this.
pub fn build(
    bytes: &dyn Bytes,
    request_id: &str,
    members: &[Call],
    worker: &WorkerOptions,
) -> Result<Request, Failure> {
    let first = members
        .first()
        .ok_or_else(|| failure::upstream_invalid("nothing to ask"))?;
    only_version(first)?;
    let (method, body) = match &first.task {
        Task::Generate(generate) if streams(members) => (
            "GenerateStream",
            generation(bytes, first, &[generate], worker)?,
        ),
        Task::Generate(_) => {
            let all: Vec<_> = members.iter().filter_map(generate_of).collect();
            ("Generate", generation(bytes, first, &all, worker)?)
        }
        Task::Tokenize(tokenize) => ("Tokenize", tokenization(bytes, first, tokenize)?),
        Task::ModelMetadata | Task::ModelReady => {
            let request = ModelInfoRequest {
                model_id: first.model.clone(),
            };
            ("ModelInfo", vec![Segment::Inline(request.encode_to_vec())])
        }
        _ => {
            return Err(failure::of(
                tollgate_sdk_protocol::types::FailureKind::Unsupported,
                "this worker generates and tokenizes text, and does nothing else",
            ));
        }
    };
    Ok(Request {
        surface: Surface::Grpc(format!("{SERVICE}/{method}")),
        // Servers log it; the vLLM adapter takes it as its own request id.
        headers: vec![actions::header("x-correlation-id", request_id)],
        body,
        end: true,
    })
}

/// Whether the worker is asked to answer piece by piece: it can for one prompt.
pub fn streams(members: &[Call]) -> bool {
    matches!(members, [call]
        if call.streaming && generate_of(call).is_some_and(|g| g.prompts.len() == 1))
}

pub fn generate_of(call: &Call) -> Option<&Generate> {
    match &call.task {
        Task::Generate(generate) => Some(generate),
        _ => None,
    }
}

/// Servers of this protocol have one version of one model.
fn only_version(call: &Call) -> Result<(), Failure> {
    match call.version.as_deref() {
        None | Some("" | "1") => Ok(()),
        Some(version) => Err(failure::of(
            tollgate_sdk_protocol::types::FailureKind::NotFound,
            format!("the model {} has no version {version} here", call.model),
        )),
    }
}

/// What must be equal for two generations to be one request: everything that is written
/// but the prompts. None: it cannot be merged.
pub fn key(call: &Call, worker: &WorkerOptions) -> Option<String> {
    let generate = generate_of(call)?;
    if call.streaming || only_version(call).is_err() {
        return None;
    }
    let [Prompt::Text(_)] = generate.prompts.as_slice() else {
        return None;
    };
    let parameters = parameters(&generate.settings, worker).ok()?;
    let mut key = String::new();
    for part in [
        call.model.as_bytes(),
        adapter(&generate.settings).as_bytes(),
    ] {
        key.push_str(&format!("{}:", part.len()));
        key.push_str(&String::from_utf8_lossy(part));
    }
    for byte in parameters.encode_to_vec() {
        key.push_str(&format!("{byte:02x}"));
    }
    Some(key)
}

fn adapter(settings: &Settings) -> &str {
    settings.adapter.as_deref().unwrap_or_default()
}

/// `BatchedGenerationRequest`, or `SingleGenerationRequest` with one prompt: the fields
/// have the same numbers.
fn generation(
    bytes: &dyn Bytes,
    call: &Call,
    all: &[&Generate],
    worker: &WorkerOptions,
) -> Result<Vec<Segment>, Failure> {
    let Some(settings) = all.first().map(|generate| &generate.settings) else {
        return Err(failure::upstream_invalid("nothing to generate"));
    };
    let params = parameters(settings, worker)?;
    if params.sampling.is_some()
        && settings
            .sampling
            .temperature
            .is_some_and(|given| given < LEAST_TEMPERATURE)
    {
        tollgate_sdk_protocol::note("a temperature below this worker's least was raised to it");
    }
    let mut body = Body::default();
    body.string(number::MODEL_ID, &call.model);
    let adapter_field = match worker.revision {
        Revision::Plain => number::PREFIX_ID,
        Revision::Adapter => number::ADAPTER_ID,
    };
    body.string(adapter_field, adapter(settings));
    for prompt in all.iter().flat_map(|generate| &generate.prompts) {
        let Prompt::Text(text) = prompt else {
            return Err(failure::invalid(
                "this worker takes prompts as text, not as token ids",
                Some("prompt"),
            ));
        };
        body.nested_text(bytes, number::REQUESTS, number::REQUEST_TEXT, text)?;
    }
    body.bytes(number::PARAMS, &params.encode_to_vec());
    Ok(body.finish())
}

fn tokenization(
    bytes: &dyn Bytes,
    call: &Call,
    tokenize: &Tokenize,
) -> Result<Vec<Segment>, Failure> {
    if tokenize.add_special_tokens == Some(false) {
        return Err(failure::invalid(
            "add_special_tokens must be true: this worker always adds them",
            Some("add_special_tokens"),
        ));
    }
    let truncate = match tokenize.truncate {
        None => 0,
        Some(truncate) if truncate.tokens == 0 || truncate.side == Some(TruncationSide::Right) => {
            return Err(failure::invalid(
                "this worker keeps the last tokens of a text, at least 1",
                Some("truncate"),
            ));
        }
        Some(truncate) => truncate.tokens,
    };
    let mut rest = BatchedTokenizeRequest {
        model_id: call.model.clone(),
        return_tokens: tokenize.tokens,
        return_offsets: tokenize.offsets,
        truncate_input_tokens: truncate,
        ..Default::default()
    };
    for extra in &tokenize.extras {
        let id = serde_json::from_str::<String>(&extra.json).ok();
        match (extra.name.as_str(), id) {
            ("prefix_id", Some(id)) => rest.prefix_id = Some(id),
            ("adapter_id", Some(id)) => rest.adapter_id = Some(id),
            (name, _) => {
                return Err(failure::invalid(
                    format!("{name} is not supported by this worker"),
                    Some(name),
                ));
            }
        }
    }
    let mut body = Body::default();
    body.inline.extend(rest.encode_to_vec());
    for text in &tokenize.inputs {
        body.nested_text(
            bytes,
            number::TOKENIZE_REQUESTS,
            number::TOKENIZE_TEXT,
            text,
        )?;
    }
    Ok(body.finish())
}

/// A message in the making: bytes of our own, and values of the host's between them.
#[derive(Default)]
struct Body {
    segments: Vec<Segment>,
    inline: Vec<u8>,
}

impl Body {
    fn bytes(&mut self, number: u32, value: &[u8]) {
        encode_key(number, WireType::LengthDelimited, &mut self.inline);
        encode_varint(value.len() as u64, &mut self.inline);
        self.inline.extend_from_slice(value);
    }

    /// A string field; an empty one is left out.
    fn string(&mut self, number: u32, value: &str) {
        if !value.is_empty() {
            self.bytes(number, value.as_bytes());
        }
    }

    /// A message field that holds one text field.
    fn nested_text(
        &mut self,
        bytes: &dyn Bytes,
        outer: u32,
        inner: u32,
        value: &Text,
    ) -> Result<(), Failure> {
        let len = text::plain_len(bytes, value).map_err(|why| {
            failure::invalid(format!("the text cannot be read: {why}"), Some("prompt"))
        })?;
        encode_key(outer, WireType::LengthDelimited, &mut self.inline);
        encode_varint(
            (key_len(inner) + encoded_len_varint(len)) as u64 + len,
            &mut self.inline,
        );
        encode_key(inner, WireType::LengthDelimited, &mut self.inline);
        encode_varint(len, &mut self.inline);
        match value {
            Text::Inline(text) => self.inline.extend_from_slice(text.as_bytes()),
            Text::Held(_) => {
                self.flush();
                self.segments.push(text::plain(value));
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        if !self.inline.is_empty() {
            self.segments
                .push(Segment::Inline(std::mem::take(&mut self.inline)));
        }
    }

    fn finish(mut self) -> Vec<Segment> {
        self.flush();
        self.segments
    }
}
