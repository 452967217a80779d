//! A generation as a request to Triton's vLLM backend.

use serde_json::{Map, Value, json};
use tollgate_sdk_protocol::{
    Bytes, failure,
    inference::{
        Call, Generate as Content, Parameter, ParameterValue, Prompt, Settings, Tensor, TensorData,
    },
    text,
    types::{Datatype, Failure, Segment, Text},
};

use super::super::tensors;
use crate::{
    codec::{Body, Kind, grpc_write, parameters},
    options::Generate as Names,
};

/// Refuses what this backend has no word for: dropping it would be a guess.
///
/// # Errors
/// Names the first such thing.
pub fn check(content: &Content) -> Result<(), Failure> {
    let Settings {
        sampling,
        stopping: _,
        detail,
        n,
        truncate,
        constraint,
        adapter,
        extras,
    } = &content.settings;
    if let Some(extra) = extras.first() {
        return Err(refused(&extra.name));
    }
    let refusals = [
        (*n > 1, "n"),
        (sampling.typical_p.is_some_and(|it| it != 1.0), "typical_p"),
        (sampling.length_penalty.is_some(), "length_penalty"),
        (detail.logprobs, "logprobs"),
        (detail.ranks, "ranks"),
        (detail.input_tokens, "input_tokens"),
        (detail.output_tokens, "output_tokens"),
        (detail.top_n > 0, "top_n_tokens"),
        (truncate.is_some(), "truncate_prompt_tokens"),
        (constraint.is_some(), "response_format"),
        (adapter.is_some(), "adapter"),
    ];
    if let Some((_, name)) = refusals.into_iter().find(|it| it.0) {
        return Err(refused(name));
    }
    match content.prompts.as_slice() {
        [Prompt::Text(_)] => Ok(()),
        [Prompt::Tokens(_)] => Err(failure::invalid(
            "this worker takes prompts as text, not as tokens",
            Some("prompt"),
        )),
        _ => Err(failure::invalid(
            "this worker takes one prompt at a time",
            Some("prompt"),
        )),
    }
}

fn refused(name: &str) -> Failure {
    failure::invalid(
        format!("{name} is not supported by this worker"),
        Some(name),
    )
}

/// Sampling parameters in vLLM's names.
fn sampling(settings: &Settings) -> Map<String, Value> {
    let (sampling, stopping) = (&settings.sampling, &settings.stopping);
    let mut all = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            all.insert(name.to_owned(), value);
        }
    };
    put("max_tokens", stopping.max_tokens.map(Value::from));
    put("min_tokens", stopping.min_tokens.map(Value::from));
    if !stopping.stop_sequences.is_empty() {
        put("stop", Some(json!(stopping.stop_sequences)));
        put(
            "include_stop_str_in_output",
            Some(stopping.include_stop.into()),
        );
    }
    if sampling.greedy {
        put("temperature", Some(json!(0.0)));
    } else {
        // Said always: a server may have a default of its own.
        put(
            "temperature",
            Some(json!(sampling.temperature.unwrap_or(1.0))),
        );
        put("top_k", sampling.top_k.map(Value::from));
        put("top_p", sampling.top_p.map(Value::from));
        put("min_p", sampling.min_p.map(Value::from));
        put("seed", sampling.seed.map(Value::from));
    }
    put(
        "repetition_penalty",
        sampling.repetition_penalty.map(Value::from),
    );
    put(
        "frequency_penalty",
        sampling.frequency_penalty.map(Value::from),
    );
    put(
        "presence_penalty",
        sampling.presence_penalty.map(Value::from),
    );
    all
}

/// What is asked for beside the text: name and value of each optional input.
fn flags(names: &Names, streaming: bool) -> impl Iterator<Item = (&'static str, bool)> + '_ {
    [
        ("stream", streaming),
        ("exclude_input_in_output", true),
        ("return_finish_reason", true),
        ("return_num_input_tokens", true),
        ("return_num_output_tokens", true),
    ]
    .into_iter()
    .filter(|flag| names.has(flag.0))
}

/// The body for `generate_stream`.
///
/// # Errors
/// None today; a name that cannot be written would be one.
pub fn json(
    content: &Content,
    prompt: &Text,
    names: &Names,
    streaming: bool,
) -> Result<Vec<Segment>, Failure> {
    let mut members = Map::new();
    for (name, value) in flags(names, streaming) {
        members.insert(name.to_owned(), value.into());
    }
    let sampling = sampling(&content.settings);
    if names.has("sampling_parameters") {
        let text = Value::from(sampling).to_string();
        members.insert("sampling_parameters".to_owned(), text.into());
    } else {
        members.insert("parameters".to_owned(), sampling.into());
    }
    let mut open = b"{".to_vec();
    open.extend(text::quoted(&names.text_input));
    open.push(b':');
    let mut close = b",".to_vec();
    // The members, without their opening brace.
    close.extend_from_slice(&Value::from(members).to_string().as_bytes()[1..]);
    Ok(vec![
        Segment::Inline(open),
        text::json_string(prompt),
        Segment::Inline(close),
    ])
}

/// The tensors and parameters of an inference, or of a request in a stream of them.
///
/// # Errors
/// When the prompt cannot be read, or is too long to be told.
pub fn inference(
    bytes: &dyn Bytes,
    content: &Content,
    prompt: &Text,
    names: &Names,
    streaming: bool,
) -> Result<(Vec<Tensor>, Vec<Parameter>), Failure> {
    let text = text::resolve(bytes, prompt).map_err(|what| failure::invalid(what, None))?;
    let mut inputs = vec![tensors::of_texts(
        &names.text_input,
        &[text],
        names.batch,
        names.content_type.as_deref(),
    )?];
    for (name, value) in flags(names, streaming) {
        inputs.push(Tensor {
            name: name.to_owned(),
            datatype: Datatype::Boolean,
            shape: if names.batch { vec![1, 1] } else { vec![1] },
            data: TensorData::Inline(vec![u8::from(value)]),
            parameters: Vec::new(),
        });
    }
    let sampling = sampling(&content.settings);
    let mut given = Vec::new();
    if names.has("sampling_parameters") {
        let json = Value::from(sampling).to_string();
        inputs.push(tensors::of_texts(
            "sampling_parameters",
            &[json],
            names.batch,
            None,
        )?);
    } else {
        for (name, value) in sampling {
            // A list is told as its JSON, as the backend reads it.
            let value = parameters::value_of(&value)
                .unwrap_or_else(|| ParameterValue::Text(value.to_string()));
            given.push(Parameter { name, value });
        }
    }
    Ok((inputs, given))
}

/// The message for `ModelStreamInfer`.
///
/// # Errors
/// As [`inference`], and when a parameter cannot be written.
pub fn message(
    bytes: &dyn Bytes,
    call: &Call,
    (tensors, parameters): (Vec<Tensor>, Vec<Parameter>),
    wide: bool,
) -> Result<Vec<Segment>, Failure> {
    let body = Body {
        model: call.model.clone(),
        version: call.version.clone().unwrap_or_default(),
        parameters,
        tensors,
        ..Body::default()
    };
    let style = grpc_write::Style { wide, typed: false };
    grpc_write::write(bytes, Kind::Request, &body, style)
        .map(|written| written.segments)
        .map_err(|what| failure::invalid(what, None))
}
