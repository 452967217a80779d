//! Bodies of KServe's first protocol, which it has from TensorFlow Serving: values nested in lists
//! as the shape says, by rows (`instances`, `predictions`) or by columns (`inputs`, `outputs`).
//!
//! What a body does not say is which tensor of which datatype the values are: that is told by the
//! configuration. Sources: tensorflow/serving, `tensorflow_serving/g3doc/api_rest.md`; kserve/kserve,
//! `python/kserve/kserve/utils/utils.py` (`get_predict_input`, `get_predict_response`).

mod element;
mod read;
mod scan;
mod write;

pub use read::tensors;
pub use write::{Column, columns, rows};

use tollgate_sdk_protocol::{
    Bytes,
    inference::{Tensor, TensorData},
    types::Encoding,
};

use super::contents;
use crate::datatype;

/// How the values of several tensors stand beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A list with an item for each row; of several tensors an object in each.
    Rows,
    /// Each tensor as a whole; of several an object of them.
    Columns,
}

/// Members of an object that are looked for, each of which may stand once.
///
/// # Errors
/// It is no JSON object, or has one of them twice.
pub fn members(
    bytes: &dyn Bytes,
    source: u32,
    len: u64,
    names: &[&str],
) -> Result<Vec<Option<Vec<u8>>>, String> {
    let keys: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let found = bytes
        .json_members(source, 0, len, &keys)
        .map_err(|problem| {
            format!(
                "failed to parse the JSON: {} at byte {}",
                problem.message, problem.offset
            )
        })?;
    let mut all = vec![None; names.len()];
    for member in found {
        let key = member.key as usize;
        let text = bytes.read_all(source, member.offset, member.len);
        if all[key].replace(text).is_some() {
            return Err(format!("'{}' stands twice in the JSON", names[key]));
        }
    }
    Ok(all)
}

/// The raw elements of a tensor that has arrived, as many as its shape says.
///
/// # Errors
/// Says which tensor they are not of.
pub fn raw(bytes: &dyn Bytes, tensor: &Tensor) -> Result<Vec<u8>, String> {
    let problem = |what: &str| format!("tensor '{}': {what}", tensor.name);
    let raw = match &tensor.data {
        TensorData::Inline(raw) => raw.clone(),
        TensorData::None => Vec::new(),
        TensorData::Held(held) => {
            let raw = bytes.read_all(held.at.source, held.at.offset, held.at.len);
            if raw.len() as u64 != held.at.len {
                return Err(problem(
                    "its elements have not arrived: the frontend's plugin reads requests whole \
                     with its option `v1` only",
                ));
            }
            match &held.written {
                Encoding::JsonArray(datatype) => {
                    read::flat(&raw, datatype).map_err(|what| problem(&what))?
                }
                Encoding::Packed(datatype) => {
                    contents::unpack(&raw, datatype).map_err(|what| problem(&what))?
                }
                _ => raw,
            }
        }
    };
    let whole = match datatype::size(&tensor.datatype) {
        Some(_) => datatype::raw_len(&tensor.shape, &tensor.datatype) == Some(raw.len() as u64),
        None => {
            let elements = contents::split_bytes(&raw).map_err(|what| problem(&what))?;
            datatype::count(&tensor.shape) == Some(elements.len() as u64)
        }
    };
    if whole {
        Ok(raw)
    } else {
        Err(problem("its elements are not as many as its shape says"))
    }
}
