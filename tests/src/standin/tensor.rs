//! Tensors as the stand-ins keep them: raw bytes, made of every form and written in every form.
//!
//! Written apart from the plugin's own codec on purpose: what the two agree on is the protocol.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::inference::{
    InferTensorContents, ModelInferRequest, ModelInferResponse,
    model_infer_request::InferInputTensor,
};

/// A tensor: little-endian elements, row by row; of BYTES each with its length before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// As the protocol writes it: `FP32`, `INT64`, `BYTES`, …
    pub datatype: String,
    /// Sizes, outermost first.
    pub shape: Vec<i64>,
    /// The elements.
    pub raw: Vec<u8>,
}

impl Tensor {
    /// Its elements as JSON, flat; BYTES as texts, or as base64.
    ///
    /// # Errors
    /// Names what JSON cannot carry.
    pub fn json(&self, base64: bool) -> Result<Value, String> {
        let cannot = || format!("{} of {} has no form in JSON", self.name, self.datatype);
        let all = |size: usize, read: &dyn Fn(&[u8]) -> Value| -> Value {
            self.raw.chunks_exact(size).map(read).collect()
        };
        Ok(match self.datatype.as_str() {
            "BOOL" => all(1, &|it| (it[0] != 0).into()),
            "INT32" => all(4, &|it| i32::from_le_bytes(array(it)).into()),
            "INT64" => all(8, &|it| i64::from_le_bytes(array(it)).into()),
            "FP32" => all(4, &|it| f32::from_le_bytes(array(it)).into()),
            "FP64" => all(8, &|it| f64::from_le_bytes(array(it)).into()),
            "BYTES" => {
                let texts = split(&self.raw).into_iter().map(|text| match base64 {
                    true => Some(STANDARD.encode(text).into()),
                    false => Some(std::str::from_utf8(text).ok()?.into()),
                });
                Value::Array(texts.collect::<Option<_>>().ok_or_else(cannot)?)
            }
            _ => return Err(cannot()),
        })
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("chunks are of this size")
}

/// Elements of BYTES, without their lengths.
///
/// # Panics
/// When they are not as long as they say: a stand-in is told so by the test that fails.
#[must_use]
pub fn split(mut raw: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while !raw.is_empty() {
        let (length, rest) = raw.split_at(4);
        let length = u32::from_le_bytes(array(length)) as usize;
        let (text, rest) = rest.split_at(length);
        all.push(text);
        raw = rest;
    }
    all
}

/// Elements of BYTES with their lengths.
///
/// # Panics
/// When one is longer than 4 GiB.
#[must_use]
pub fn joined(texts: &[&[u8]]) -> Vec<u8> {
    let mut raw = Vec::new();
    for text in texts {
        let length = u32::try_from(text.len()).expect("texts of tests are short");
        raw.extend_from_slice(&length.to_le_bytes());
        raw.extend_from_slice(text);
    }
    raw
}

/// Elements of JSON as raw bytes, in whatever nesting they stand.
fn raw_of(datatype: &str, data: &Value, base64: bool, out: &mut Vec<u8>) -> Result<(), String> {
    if let Value::Array(all) = data {
        return all
            .iter()
            .try_for_each(|it| raw_of(datatype, it, base64, out));
    }
    let wrong = || format!("{data} is no element of {datatype}");
    let int = || data.as_i64().ok_or_else(wrong);
    let float = || data.as_f64().ok_or_else(wrong);
    match datatype {
        "BOOL" => out.push(u8::from(data.as_bool().ok_or_else(wrong)?)),
        "INT32" => out.extend(i32::try_from(int()?).map_err(|_| wrong())?.to_le_bytes()),
        "INT64" => out.extend(int()?.to_le_bytes()),
        "FP32" => out.extend((float()? as f32).to_le_bytes()),
        "FP64" => out.extend(float()?.to_le_bytes()),
        "BYTES" => {
            let text = data.as_str().ok_or_else(wrong)?;
            let text = match base64 {
                true => STANDARD.decode(text).map_err(|_| wrong())?,
                false => text.as_bytes().to_vec(),
            };
            out.extend(joined(&[&text]));
        }
        other => return Err(format!("{other} has no form in JSON")),
    }
    Ok(())
}

/// The tensors of a body: `head` bytes of JSON, then raw ones. `member` is where they stand,
/// `inputs` or `outputs`; `base64` says of a tensor's parameters whether its texts are base64.
///
/// # Errors
/// What is wrong with it.
pub fn read(
    body: &[u8],
    head: Option<usize>,
    member: &str,
    base64: fn(&Value) -> bool,
) -> Result<(Value, Vec<Tensor>), String> {
    let head = head.unwrap_or(body.len());
    let (json, mut rest) = body.split_at_checked(head).ok_or("the body is too short")?;
    let json: Value = serde_json::from_slice(json).map_err(|problem| problem.to_string())?;
    let mut all = Vec::new();
    for tensor in json[member].as_array().ok_or("no tensors")? {
        let text = |key: &str| tensor[key].as_str().unwrap_or_default().to_owned();
        let (name, datatype) = (text("name"), text("datatype"));
        let shape = tensor["shape"].as_array().ok_or("no shape")?;
        let shape = shape
            .iter()
            .map(|it| it.as_i64().ok_or("sizes are numbers"));
        let shape = shape.collect::<Result<Vec<_>, _>>()?;
        let mut raw = Vec::new();
        if let Some(length) = tensor["parameters"]["binary_data_size"].as_u64() {
            let length = usize::try_from(length).map_err(|_| "too long")?;
            let (own, after) = rest.split_at_checked(length).ok_or("bytes are missing")?;
            (raw, rest) = (own.to_vec(), after);
        } else {
            let base64 = base64(&tensor["parameters"]);
            raw_of(&datatype, &tensor["data"], base64, &mut raw)?;
        }
        all.push(Tensor {
            name,
            datatype,
            shape,
            raw,
        });
    }
    match rest.is_empty() {
        true => Ok((json, all)),
        false => Err("unexpected additional input data".to_owned()),
    }
}

/// Whether the answer to a request is asked for as raw tensors.
#[must_use]
pub fn wants_binary(json: &Value) -> bool {
    json["parameters"]["binary_data_output"] == true
}

/// Tensors as they stand in JSON, and the raw ones after it.
///
/// # Errors
/// Names what JSON cannot carry.
pub fn written(tensors: &[Tensor], binary: bool, base64: bool) -> Result<(Value, Vec<u8>), String> {
    let (mut all, mut raw) = (Vec::new(), Vec::new());
    for tensor in tensors {
        let mut output = Map::new();
        output.insert("name".to_owned(), tensor.name.clone().into());
        output.insert("datatype".to_owned(), tensor.datatype.clone().into());
        output.insert("shape".to_owned(), tensor.shape.clone().into());
        if binary {
            let parameters = json!({"binary_data_size": tensor.raw.len()});
            output.insert("parameters".to_owned(), parameters);
            raw.extend_from_slice(&tensor.raw);
        } else {
            if base64 && tensor.datatype == "BYTES" {
                let parameters = json!({"content_type": "base64"});
                output.insert("parameters".to_owned(), parameters);
            }
            output.insert("data".to_owned(), tensor.json(base64)?);
        }
        all.push(output.into());
    }
    Ok((Value::Array(all), raw))
}

/// The tensors of a message, raw or typed; true: they were typed.
///
/// # Errors
/// When both forms are mixed, or raw contents are missing.
pub fn of_message(asked: &ModelInferRequest) -> Result<(Vec<Tensor>, bool), &'static str> {
    let raw = &asked.raw_input_contents;
    let typed = asked.inputs.iter().any(|input| input.contents.is_some());
    if typed && !raw.is_empty() {
        return Err("contents field must not be specified when using raw_input_contents");
    }
    if !typed && raw.len() != asked.inputs.len() {
        return Err("the number of inputs does not match that of raw input contents");
    }
    let all = asked.inputs.iter().enumerate().map(|(at, input)| Tensor {
        name: input.name.clone(),
        datatype: input.datatype.clone(),
        shape: input.shape.clone(),
        raw: match &input.contents {
            Some(contents) => raw_of_contents(contents),
            None => raw.get(at).cloned().unwrap_or_default(),
        },
    });
    Ok((all.collect(), typed))
}

/// The tensors of an answer, raw or typed; true: they were typed.
#[must_use]
pub fn of_answer(answer: &ModelInferResponse) -> (Vec<Tensor>, bool) {
    let raw = &answer.raw_output_contents;
    let all = answer
        .outputs
        .iter()
        .enumerate()
        .map(|(at, output)| Tensor {
            name: output.name.clone(),
            datatype: output.datatype.clone(),
            shape: output.shape.clone(),
            raw: match (&output.contents, raw.get(at)) {
                (_, Some(raw)) => raw.clone(),
                (Some(contents), None) => raw_of_contents(contents),
                (None, None) => Vec::new(),
            },
        });
    (all.collect(), raw.is_empty())
}

/// A message that asks a model for something, raw or typed.
#[must_use]
pub fn message(model: &str, tensors: &[Tensor], typed: bool) -> ModelInferRequest {
    let inputs = tensors.iter().map(|tensor| InferInputTensor {
        name: tensor.name.clone(),
        datatype: tensor.datatype.clone(),
        shape: tensor.shape.clone(),
        contents: typed.then(|| contents_of(tensor)),
        ..InferInputTensor::default()
    });
    ModelInferRequest {
        model_name: model.to_owned(),
        id: "one".to_owned(),
        inputs: inputs.collect(),
        raw_input_contents: match typed {
            true => Vec::new(),
            false => tensors.iter().map(|tensor| tensor.raw.clone()).collect(),
        },
        ..ModelInferRequest::default()
    }
}

/// Only one of the members has elements.
fn raw_of_contents(contents: &InferTensorContents) -> Vec<u8> {
    let texts: Vec<&[u8]> = contents.bytes_contents.iter().map(Vec::as_slice).collect();
    let mut raw = joined(&texts);
    raw.extend(contents.bool_contents.iter().map(|it| u8::from(*it)));
    raw.extend(contents.int_contents.iter().flat_map(|it| it.to_le_bytes()));
    raw.extend(
        contents
            .int64_contents
            .iter()
            .flat_map(|it| it.to_le_bytes()),
    );
    raw.extend(
        contents
            .fp32_contents
            .iter()
            .flat_map(|it| it.to_le_bytes()),
    );
    raw.extend(
        contents
            .fp64_contents
            .iter()
            .flat_map(|it| it.to_le_bytes()),
    );
    raw
}

/// Typed contents of a tensor.
///
/// # Panics
/// For a datatype that the tests do not ask for as such.
#[must_use]
pub fn contents_of(tensor: &Tensor) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    let raw = &tensor.raw;
    match tensor.datatype.as_str() {
        "INT64" => {
            let all = raw.chunks_exact(8);
            contents.int64_contents = all.map(|it| i64::from_le_bytes(array(it))).collect();
        }
        "FP32" => {
            let all = raw.chunks_exact(4);
            contents.fp32_contents = all.map(|it| f32::from_le_bytes(array(it))).collect();
        }
        "BYTES" => contents.bytes_contents = split(raw).into_iter().map(<[u8]>::to_vec).collect(),
        other => panic!("no typed {other} here"),
    }
    contents
}
