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
pub use write::{Form, values};

use std::{borrow::Cow, fmt};

use tollgate_sdk_protocol::{
    Bytes,
    inference::{Tensor, TensorData},
    types::Encoding,
};

use super::contents;
use crate::datatype;

/// Bytes of an element beside its text: the widest have eight, and the shortest text is a digit and
/// a comma.
const WIDEST: u64 = 4;

/// Why a body is not read, or not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not JSON, or not a body of this protocol.
    Malformed(String),
    /// It is one, but of its values no tensors can be made, or of the tensors no values.
    Unfit(String),
    /// It is longer than may be.
    Long(String),
}

impl Problem {
    /// The same, said in more words.
    fn map(self, words: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Malformed(what) => Self::Malformed(words(what)),
            Self::Unfit(what) => Self::Unfit(words(what)),
            Self::Long(what) => Self::Long(words(what)),
        }
    }

    fn long(most: u64) -> Self {
        Self::Long(format!("the values have more than {most} bytes as JSON"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Malformed(what) | Self::Unfit(what) | Self::Long(what)) = self;
        out.write_str(what)
    }
}

/// Something that somebody else wrote, as an error may repeat it: not longer than a line.
pub fn shown(text: &str) -> Cow<'_, str> {
    const MOST: usize = 64;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

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
) -> Result<Vec<Option<Vec<u8>>>, Problem> {
    let keys: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let found = bytes.json_members(source, 0, len, &keys);
    let found = found.map_err(|problem| {
        let (what, at) = (problem.message, problem.offset);
        let what = format!("failed to parse the JSON: {what} at byte {at}");
        if is_word(bytes, source, at) {
            Problem::Unfit(format!(
                "{what}: it has NaN or Infinity, which JSON has not"
            ))
        } else {
            Problem::Malformed(what)
        }
    })?;
    let mut all = vec![None; names.len()];
    for member in found {
        let key = member.key as usize;
        let text = bytes.read_all(source, member.offset, member.len);
        if all[key].replace(text).is_some() {
            let what = format!("'{}' stands twice in the JSON", names[key]);
            return Err(Problem::Malformed(what));
        }
    }
    Ok(all)
}

/// Whether JSON stops at a word that Python and TensorFlow Serving write for numbers that it has not,
/// or at the one behind its sign.
fn is_word(bytes: &dyn Bytes, source: u32, at: u64) -> bool {
    let near = bytes.read(source, at.saturating_sub(1), 10);
    let mut starts = (0..3).filter_map(|from| near.get(from..));
    starts.any(|text| text.starts_with(b"NaN") || text.starts_with(b"Infinity"))
}

/// The raw elements of tensors that have arrived, as many as their shapes say, of which a text of
/// `most` bytes can be written.
///
/// # Errors
/// Says which tensor they are not of.
pub fn raw<'a>(
    bytes: &dyn Bytes,
    tensors: &'a [Tensor],
    most: u64,
) -> Result<Vec<Cow<'a, [u8]>>, Problem> {
    let mut left = most.saturating_mul(WIDEST);
    let each = |tensor: &'a Tensor| {
        let len = match &tensor.data {
            TensorData::Inline(raw) => raw.len() as u64,
            TensorData::None => 0,
            TensorData::Held(held) => held.at.len,
        };
        left = left.checked_sub(len).ok_or_else(|| Problem::long(most))?;
        let problem = |what: String| {
            let name = shown(&tensor.name);
            Problem::Unfit(format!("tensor '{name}': {what}"))
        };
        elements(bytes, tensor).map_err(problem)
    };
    tensors.iter().map(each).collect()
}

fn elements<'a>(bytes: &dyn Bytes, tensor: &'a Tensor) -> Result<Cow<'a, [u8]>, String> {
    let raw = match &tensor.data {
        TensorData::Inline(raw) => Cow::Borrowed(&raw[..]),
        TensorData::None => Cow::Borrowed(&[][..]),
        TensorData::Held(held) => {
            let raw = bytes.read_all(held.at.source, held.at.offset, held.at.len);
            if raw.len() as u64 != held.at.len {
                return Err(
                    "its elements have not arrived: the frontend's plugin reads requests whole \
                     with its option `v1` only"
                        .to_owned(),
                );
            }
            Cow::Owned(match &held.written {
                Encoding::JsonArray(datatype) => {
                    read::flat(&raw, datatype).map_err(|problem| problem.to_string())?
                }
                Encoding::Packed(datatype) => contents::unpack(&raw, datatype)?,
                _ => raw,
            })
        }
    };
    let whole = match datatype::size(&tensor.datatype) {
        Some(_) => datatype::raw_len(&tensor.shape, &tensor.datatype) == Some(raw.len() as u64),
        None => {
            let elements = contents::split_bytes(&raw)?;
            datatype::count(&tensor.shape) == Some(elements.len() as u64)
        }
    };
    match whole {
        true => Ok(raw),
        false => Err("its elements are not as many as its shape says".to_owned()),
    }
}
