//! What jobs that are made of inferences have in common: tensors of texts, the inference itself,
//! and its answer when all of it is there.

use tollgate_sdk_protocol::{
    Bytes, actions, failure,
    inference::{
        Call, Event, Infer as Content, Parameter, ParameterValue, Task, Tensor, TensorData,
    },
    types::{Datatype, Failure, Need, Progress},
};

use super::{Job, Link, infer_grpc, infer_rest};
use crate::codec::contents;

/// A tensor of texts: `[n]`, or `[n,1]` where there is a dimension for batches.
///
/// # Errors
/// A text is too long to be told.
pub fn of_texts<T: AsRef<[u8]>>(
    name: &str,
    texts: &[T],
    batch: bool,
    content_type: Option<&str>,
) -> Result<Tensor, Failure> {
    let packed = contents::pack_bytes(texts);
    let packed = packed.ok_or_else(|| failure::invalid("a text is too long", None))?;
    let says = content_type.map(|value| Parameter {
        name: "content_type".to_owned(),
        value: ParameterValue::Text(value.to_owned()),
    });
    let count = texts.len() as i64;
    Ok(Tensor {
        name: name.to_owned(),
        datatype: Datatype::Bytes,
        shape: if batch { vec![count, 1] } else { vec![count] },
        data: TensorData::Inline(packed),
        parameters: says.into_iter().collect(),
    })
}

/// An output that is asked for.
pub fn wanted(name: &str) -> Tensor {
    Tensor {
        name: name.to_owned(),
        datatype: Datatype::Other(String::new()),
        shape: Vec::new(),
        data: TensorData::None,
        parameters: Vec::new(),
    }
}

/// The inference that a call is made of.
pub fn job(
    link: &Link,
    call: &Call,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    parameters: Vec<Parameter>,
) -> Box<dyn Job> {
    let call = Call {
        model: call.model.clone(),
        version: call.version.clone(),
        streaming: false,
        task: Task::Infer(Content {
            id: String::new(),
            inputs,
            outputs,
            parameters,
        }),
        extensions: Vec::new(),
    };
    let link = link.clone();
    match link.grpc {
        true => Box::new(infer_grpc::Infer::new(link, call)),
        false => Box::new(infer_rest::Infer::new(link, call)),
    }
}

/// What has come of an inference.
pub enum Whole {
    /// All of the answer is waited for.
    Need(Need),
    /// It was told before.
    Nothing,
    /// Its outputs, whose bytes are there.
    Outputs(Vec<Tensor>),
}

/// The answer to an inference, once all of it is there.
///
/// # Errors
/// As of the inference.
pub fn whole(
    inner: &mut dyn Job,
    bytes: &dyn Bytes,
    progress: &Progress,
) -> Result<Whole, Failure> {
    if !progress.end {
        return Ok(Whole::Need(actions::whole(progress.source)));
    }
    let mut told = Vec::new();
    if let Some(need) = inner.read(bytes, progress, &mut told)? {
        return Ok(Whole::Need(need));
    }
    let outputs = told.into_iter().find_map(|event| match event {
        Event::Tensors(tensors) => Some(tensors.outputs),
        _ => None,
    });
    Ok(outputs.map_or(Whole::Nothing, Whole::Outputs))
}
