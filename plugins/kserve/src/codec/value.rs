//! One tensor's elements in the encoding in which they are to be written.

use base64::{Engine, engine::general_purpose::STANDARD};
use tollgate_sdk_protocol::{
    Bytes,
    inference::{Tensor, TensorData},
    text::written_as,
    types::{Datatype, Encoding, Held, Segment},
};

use super::contents;
use crate::datatype;

/// Output, and how long it is; none: that hangs on what has not arrived.
pub struct Written {
    pub len: Option<u64>,
    pub segments: Vec<Segment>,
}

impl Written {
    fn inline(bytes: Vec<u8>) -> Self {
        Self {
            len: Some(bytes.len() as u64),
            segments: vec![Segment::Inline(bytes)],
        }
    }
}

/// Whether two encodings of fixed-size elements are the same bytes, so that a length is
/// known although nothing has arrived.
fn same_bytes(held: &Held, to: &Encoding) -> bool {
    held.written == *to
        || matches!(
            (&held.written, to),
            (
                Encoding::Packed(Datatype::Fp32 | Datatype::Fp64),
                Encoding::Tensor(_)
            ) | (
                Encoding::Tensor(Datatype::Fp32 | Datatype::Fp64),
                Encoding::Packed(_)
            )
        )
}

/// Whether a tensor can be written so at once: as it lies, or because all of it is here.
pub fn is_ready(bytes: &dyn Bytes, tensor: &Tensor, to: &Encoding) -> bool {
    match &tensor.data {
        TensorData::Held(held) if !same_bytes(held, to) => {
            bytes.available(held.at.source).0 >= held.at.offset + held.at.len
        }
        _ => true,
    }
}

/// As [`write`], of a length that is known.
///
/// # Errors
/// As [`write`], and when what must be converted has not arrived.
pub fn write_sized(
    bytes: &dyn Bytes,
    tensor: &Tensor,
    to: &Encoding,
) -> Result<(u64, Vec<Segment>), String> {
    let written = write(bytes, tensor, to)?;
    match written.len {
        Some(len) => Ok((len, written.segments)),
        None => Err(format!(
            "tensor '{}': its data has not arrived",
            tensor.name
        )),
    }
}

/// A tensor's elements in another encoding. Those of a fixed size have to be as many as its
/// shape says.
///
/// # Errors
/// Says which tensor cannot be written, and why.
pub fn write(bytes: &dyn Bytes, tensor: &Tensor, to: &Encoding) -> Result<Written, String> {
    let problem = |what: String| format!("tensor '{}': {what}", tensor.name);
    let written = match &tensor.data {
        TensorData::Held(held) if same_bytes(held, to) => Written {
            len: Some(held.at.len),
            segments: vec![Segment::Span(held.at)],
        },
        // The host converts it when it has come.
        TensorData::Held(held) if !is_ready(bytes, tensor, to) => Written {
            len: None,
            segments: vec![written_as(held, to.clone())],
        },
        TensorData::Held(held) => {
            if let Encoding::JsonArray(_) = to {
                let raw = Encoding::Tensor(tensor.datatype.clone());
                if held.written != raw {
                    // Whether the elements are as many as they should be is not seen in JSON.
                    let len = bytes.converted_len(held, &raw).map_err(problem)?;
                    counted(tensor, len).map_err(problem)?;
                }
            }
            let len = bytes.converted_len(held, to).map_err(problem)?;
            Written {
                len: Some(len),
                segments: vec![written_as(held, to.clone())],
            }
        }
        TensorData::Inline(raw) => {
            counted(tensor, raw.len() as u64).map_err(problem)?;
            Written::inline(match to {
                Encoding::JsonArray(datatype) => {
                    contents::to_json(raw, datatype).map_err(problem)?
                }
                Encoding::Packed(datatype) => contents::repack(raw, datatype)
                    .ok_or_else(|| problem("it has no typed contents".to_owned()))?,
                _ => raw.clone(),
            })
        }
        TensorData::None if datatype::count(&tensor.shape) == Some(0) => {
            Written::inline(match to {
                Encoding::JsonArray(_) => b"[]".to_vec(),
                _ => Vec::new(),
            })
        }
        TensorData::None => return Err(problem("it has no data".to_owned())),
    };
    if let (Encoding::Tensor(_), Some(len)) = (to, written.len) {
        counted(tensor, len).map_err(problem)?;
    }
    Ok(written)
}

/// Checks the length of the raw bytes against the shape.
fn counted(tensor: &Tensor, len: u64) -> Result<(), String> {
    match datatype::size(&tensor.datatype) {
        None => Ok(()),
        Some(_) if datatype::raw_len(&tensor.shape, &tensor.datatype) == Some(len) => Ok(()),
        Some(_) => Err(format!(
            "its data is {len} bytes, which is not the shape {:?} of {}",
            tensor.shape,
            datatype::name(&tensor.datatype)
        )),
    }
}

/// The elements of a BYTES tensor, one after the other.
///
/// # Errors
/// They have not arrived, or are not what they should be.
pub fn elements(bytes: &dyn Bytes, tensor: &Tensor) -> Result<Vec<Vec<u8>>, String> {
    let raw = match &tensor.data {
        TensorData::Inline(raw) => raw.clone(),
        TensorData::None => Vec::new(),
        TensorData::Held(held) => {
            let raw = bytes.read_all(held.at.source, held.at.offset, held.at.len);
            if raw.len() as u64 != held.at.len {
                return Err("the elements have not arrived".to_owned());
            }
            if let Encoding::JsonArray(_) = held.written {
                let mut all = Vec::new();
                let json = serde_json::from_slice(&raw).map_err(|error| error.to_string())?;
                strings(json, &mut all)?;
                return Ok(all);
            }
            raw
        }
    };
    let elements = contents::split_bytes(&raw)?;
    Ok(elements.into_iter().map(<[u8]>::to_vec).collect())
}

/// The one element of a BOOL tensor.
///
/// # Errors
/// It has not arrived, or is something else.
pub fn truth(bytes: &dyn Bytes, tensor: &Tensor) -> Result<bool, String> {
    let wrong = || "it must be one truth".to_owned();
    let (raw, json) = match &tensor.data {
        TensorData::Inline(raw) => (raw.clone(), false),
        TensorData::None => return Err(wrong()),
        TensorData::Held(held) => {
            // A packed truth is the byte that a raw one is.
            let json = matches!(held.written, Encoding::JsonArray(_));
            let at = held.at;
            (bytes.read_all(at.source, at.offset, at.len), json)
        }
    };
    if !json {
        return match raw[..] {
            [byte] => Ok(byte != 0),
            _ => Err(wrong()),
        };
    }
    let mut value: serde_json::Value = serde_json::from_slice(&raw).map_err(|_| wrong())?;
    loop {
        value = match value {
            serde_json::Value::Bool(truth) => return Ok(truth),
            serde_json::Value::Array(mut all) if all.len() == 1 => all.remove(0),
            _ => return Err(wrong()),
        };
    }
}

fn strings(json: serde_json::Value, all: &mut Vec<Vec<u8>>) -> Result<(), String> {
    match json {
        serde_json::Value::Array(values) => values.into_iter().try_for_each(|it| strings(it, all)),
        serde_json::Value::String(text) => {
            all.push(text.into_bytes());
            Ok(())
        }
        _ => Err("an element of BYTES must be a string".to_owned()),
    }
}

/// A BYTES tensor as a JSON array of base64.
///
/// # Errors
/// As [`elements`].
pub fn base64_json(bytes: &dyn Bytes, tensor: &Tensor) -> Result<Written, String> {
    let elements =
        elements(bytes, tensor).map_err(|what| format!("tensor '{}': {what}", tensor.name))?;
    let texts: Vec<String> = elements.iter().map(|it| STANDARD.encode(it)).collect();
    Ok(Written::inline(
        serde_json::to_vec(&texts).expect("texts are JSON"),
    ))
}

/// A BYTES tensor whose JSON strings are base64, as raw bytes.
///
/// # Errors
/// As [`elements`], or when one is no base64.
pub fn from_base64_json(bytes: &dyn Bytes, tensor: &Tensor) -> Result<Vec<u8>, String> {
    let problem = |what: &str| format!("tensor '{}': {what}", tensor.name);
    let elements = elements(bytes, tensor).map_err(|what| problem(&what))?;
    let decoded: Vec<Vec<u8>> = elements
        .iter()
        .map(|it| STANDARD.decode(it))
        .collect::<Result<_, _>>()
        .map_err(|_| problem("an element is not base64"))?;
    contents::pack_bytes(decoded).ok_or_else(|| problem("an element is too long"))
}
