//! `ModelInferRequest` and `ModelInferResponse`, as far as they need reading: raw contents
//! are stepped over, and typed contents that are in one piece are named where they lie.

use prost::encoding::decode_varint;
use tollgate_sdk_protocol::{
    Bytes,
    fields::{Field, Reader, length},
    inference::{Parameter, Tensor, TensorData},
    types::{Datatype, Encoding, Held, Progress, Span},
};

use super::{Body, Kind, Stop, contents, parameters};
use crate::datatype;

/// Tensors in one message; no honest one has more.
const TENSORS: usize = 4096;

/// A message, and where its model's name stands.
#[derive(Debug, PartialEq)]
pub struct Message {
    pub body: Body,
    /// Offset and length of the field `model_name`; nothing where it is not there.
    pub model_at: (u64, u64),
    /// Some tensor had typed contents.
    pub typed: bool,
}

/// Reads a message that is a whole source.
///
/// # Errors
/// [`Stop::More`] when something that is needed has not arrived.
pub fn read(bytes: &dyn Bytes, progress: &Progress, kind: Kind) -> Result<Message, Stop> {
    let len = length(progress)?;
    read_within(&mut Reader::new(bytes, progress), (0, len), kind)
}

/// Reads a message that lies within another one.
///
/// # Errors
/// As [`read`].
pub fn read_within(
    reader: &mut Reader<'_>,
    (start, end): (u64, u64),
    kind: Kind,
) -> Result<Message, Stop> {
    let mut message = Message {
        body: Body::default(),
        model_at: (start, 0),
        typed: false,
    };
    let (mut raw, mut contents) = (Vec::new(), Vec::new());
    let body = &mut message.body;
    let mut at = start;
    while at < end {
        let field = reader.field(at, end)?;
        at = field.end;
        if body.tensors.len() + body.outputs.len() + raw.len() > 2 * TENSORS {
            return Err(Stop::bad("there are too many tensors"));
        }
        match (field.number, kind) {
            (1, _) => {
                // Readers differ in which of two names counts, and the one that was
                // authorized must be the one that is served.
                if message.model_at.1 > 0 {
                    return Err(Stop::bad("`model_name` stands twice"));
                }
                message.model_at = (field.start, field.end - field.start);
                body.model = reader.text(&field)?;
            }
            (2, _) => body.version = reader.text(&field)?,
            (3, _) => body.id = reader.text(&field)?,
            (4, _) => parameters::add_entry(&mut body.parameters, &reader.message(&field)?)?,
            (5, _) => {
                let (tensor, typed) = tensor(reader, &field)?;
                body.tensors.push(tensor);
                contents.push(typed);
            }
            (6, Kind::Request) => body.outputs.push(tensor(reader, &field)?.0),
            (6, Kind::Response) | (7, Kind::Request) if field.delimited => raw.push(Span {
                source: reader.source(),
                offset: field.value,
                len: field.len(),
            }),
            _ => {}
        }
    }
    parameters::settle(&mut body.parameters);
    // MLServer puts a message of no elements beside the raw contents of an answer.
    if kind == Kind::Response && !raw.is_empty() {
        contents.retain_mut(|field| {
            *field = field.take().filter(|field| field.len() > 0);
            true
        });
    }
    message.typed = contents.iter().any(Option::is_some);
    if raw.is_empty() {
        for (tensor, typed) in body.tensors.iter_mut().zip(&contents) {
            if let Some(field) = typed {
                tensor.data = read_contents(reader, field, tensor)?;
            }
        }
    } else {
        assign(body, raw, &contents, kind)?;
    }
    Ok(message)
}

/// Gives each tensor its raw contents.
fn assign(
    body: &mut Body,
    raw: Vec<Span>,
    contents: &[Option<Field>],
    kind: Kind,
) -> Result<(), Stop> {
    let noun = kind.noun();
    let typed = contents.iter().zip(&body.tensors).find(|it| it.0.is_some());
    if let Some((_, tensor)) = typed {
        return Err(Stop::bad(format!(
            "contents field must not be specified when using raw_{noun}_contents for '{}'",
            tensor.name
        )));
    }
    let given = raw.len();
    let mut raw = raw.into_iter();
    let mut wanted = 0;
    // What lies in shared memory takes no place among the raw contents.
    let here = |tensor: &&mut Tensor| !is_shared(&tensor.parameters);
    for tensor in body.tensors.iter_mut().filter(here) {
        wanted += 1;
        let Some(at) = raw.next() else { continue };
        check_len(tensor, at.len, noun)?;
        tensor.data = TensorData::Held(Held {
            at,
            written: Encoding::Tensor(tensor.datatype.clone()),
        });
    }
    if given == wanted {
        return Ok(());
    }
    Err(Stop::bad(format!(
        "{wanted} raw_{noun}_contents were expected, and {given} were given"
    )))
}

/// What the names of parameters begin with that name memory of the server's own machine.
pub const SHARED: &str = "shared_memory_";

/// Whether a tensor names such memory.
pub fn is_shared(parameters: &[Parameter]) -> bool {
    parameters
        .iter()
        .any(|parameter| parameter.name.starts_with(SHARED))
}

/// Checks the length of raw bytes against the shape, for elements of a fixed size.
pub fn check_len(tensor: &Tensor, len: u64, noun: &str) -> Result<(), Stop> {
    if datatype::size(&tensor.datatype).is_none() {
        return Ok(());
    }
    match datatype::raw_len(&tensor.shape, &tensor.datatype) {
        Some(expected) if expected == len => Ok(()),
        Some(expected) => Err(Stop::bad(format!(
            "{noun} '{}' has {len} bytes, but {expected} are expected for the shape {:?} of {}",
            tensor.name,
            tensor.shape,
            datatype::name(&tensor.datatype)
        ))),
        None => Err(Stop::bad(format!(
            "{noun} '{}' has the shape {:?}, which cannot be",
            tensor.name, tensor.shape
        ))),
    }
}

/// A tensor without its elements, and the field of its typed contents.
fn tensor(reader: &mut Reader<'_>, outer: &Field) -> Result<(Tensor, Option<Field>), Stop> {
    if !outer.delimited {
        return Err(Stop::malformed());
    }
    let mut tensor = Tensor {
        name: String::new(),
        datatype: Datatype::Other(String::new()),
        shape: Vec::new(),
        data: TensorData::None,
        parameters: Vec::new(),
    };
    let (mut contents, mut at) = (None, outer.value);
    while at < outer.end {
        let field = reader.field(at, outer.end)?;
        at = field.end;
        match field.number {
            1 => tensor.name = reader.text(&field)?,
            // Of a requested output number 2 is a map.
            2 if outer.number == 6 => {
                parameters::add_entry(&mut tensor.parameters, &reader.message(&field)?)?;
            }
            2 => {
                let name = reader.text(&field)?;
                tensor.datatype = datatype::named(&name).unwrap_or(Datatype::Other(name));
            }
            3 if field.delimited => {
                let packed = reader.message(&field)?;
                let mut rest = packed.as_slice();
                while !rest.is_empty() {
                    tensor.shape.push(size(decode_varint(&mut rest).ok())?);
                }
            }
            3 => tensor.shape.push(size(Some(field.varint))?),
            4 => parameters::add_entry(&mut tensor.parameters, &reader.message(&field)?)?,
            5 if contents.is_some() || !field.delimited => return Err(Stop::malformed()),
            5 => contents = Some(field),
            _ => {}
        }
        if tensor.shape.len() > 64 {
            return Err(Stop::bad("a shape has too many dimensions"));
        }
    }
    parameters::settle(&mut tensor.parameters);
    Ok((tensor, contents))
}

fn size(varint: Option<u64>) -> Result<i64, Stop> {
    varint.map(|value| value as i64).ok_or_else(Stop::malformed)
}

/// The elements of `InferTensorContents`.
fn read_contents(
    reader: &mut Reader<'_>,
    outer: &Field,
    tensor: &Tensor,
) -> Result<TensorData, Stop> {
    let name = datatype::name(&tensor.datatype);
    let Some(number) = datatype::contents_field(&tensor.datatype) else {
        return Err(Stop::bad(format!(
            "tensor '{}' of {name} has no typed contents, only raw ones",
            tensor.name
        )));
    };
    // Most often one packed field; the rest is put together here.
    let (mut first, mut gathered, mut elements) = (None, None::<Vec<u8>>, Vec::new());
    let mut at = outer.value;
    while at < outer.end {
        let field = reader.field(at, outer.end)?;
        at = field.end;
        if field.number != number {
            return Err(Stop::bad(format!(
                "the contents of tensor '{}' are not of {name}",
                tensor.name
            )));
        }
        if tensor.datatype == Datatype::Bytes {
            elements.push(reader.message(&field)?);
        } else if first.is_none() && gathered.is_none() && field.delimited {
            first = Some(field);
        } else {
            let gathered = gathered.get_or_insert_default();
            if let Some(first) = first.take() {
                gathered.extend(reader.copy(first.value, first.len())?);
            }
            gathered.extend(reader.copy(field.value, field.len())?);
        }
    }
    if tensor.datatype == Datatype::Bytes {
        let packed = contents::pack_bytes(elements);
        return Ok(TensorData::Inline(packed.ok_or_else(Stop::malformed)?));
    }
    Ok(match (first, gathered) {
        (Some(field), _) => TensorData::Held(Held {
            at: Span {
                source: reader.source(),
                offset: field.value,
                len: field.len(),
            },
            written: Encoding::Packed(tensor.datatype.clone()),
        }),
        (None, Some(packed)) => {
            TensorData::Inline(contents::unpack(&packed, &tensor.datatype).map_err(Stop::Bad)?)
        }
        (None, None) => TensorData::None,
    })
}
