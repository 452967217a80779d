//! Tensors of several calls as rows of one batch: written one after the other behind one head, and
//! taken apart again.
//!
//! Each call brings one row: the first dimension of each of its tensors is 1. Raw bytes are spans in
//! both directions; only elements of BYTES are walked, since they tell their own length.

use serde_json::{Map, Value, json};
use tollgate_sdk_protocol::{
    Bytes,
    inference::{Parameter, Tensor, TensorData},
    types::{Datatype, Encoding, Held, Segment, Span},
};

use super::{Body, Kind, contents, grpc_read, grpc_write, parameters, rest_write, value};
use crate::{datatype, proto};

/// Whether a tensor is one row, whose elements can be written raw.
pub fn is_row(tensor: &Tensor) -> bool {
    let known = datatype::size(&tensor.datatype).is_some() || tensor.datatype == Datatype::Bytes;
    known
        && tensor.shape.first() == Some(&1)
        && !matches!(tensor.data, TensorData::None)
        && !grpc_read::is_shared(&tensor.parameters)
}

/// What must be equal for two calls to be rows of one batch: all but the elements and the id.
pub fn likeness(body: &Body) -> String {
    let tensors = |tensors: &[Tensor]| -> Vec<Value> {
        let one = |it: &Tensor| {
            json!([
                it.name,
                datatype::name(&it.datatype),
                it.shape,
                object(&it.parameters)
            ])
        };
        tensors.iter().map(one).collect()
    };
    json!([
        body.model,
        body.version,
        object(&body.parameters),
        tensors(&body.tensors),
        tensors(&body.outputs),
    ])
    .to_string()
}

fn object(parameters: &[Parameter]) -> Map<String, Value> {
    let members = parameters.iter();
    members
        .map(|it| (it.name.clone(), parameters::to_json(&it.value)))
        .collect()
}

/// A tensor's shape with so many rows.
fn shape(tensor: &Tensor, rows: usize) -> Vec<i64> {
    let rest = tensor.shape.iter().skip(1).copied();
    std::iter::once(rows as i64).chain(rest).collect()
}

/// The elements of the tensor at a place in each body, one after the other.
fn rows(bytes: &dyn Bytes, bodies: &[Body], at: usize) -> Result<(u64, Vec<Segment>), String> {
    let (mut len, mut all) = (0, Vec::new());
    for body in bodies {
        let tensor = &body.tensors[at];
        let to = Encoding::Tensor(tensor.datatype.clone());
        let (more, segments) = value::write_sized(bytes, tensor, &to)?;
        len += more;
        all.extend(segments);
    }
    Ok((len, all))
}

/// A request over HTTP, with raw tensors after its JSON. All bodies are alike, and there is one.
///
/// # Errors
/// Says which tensor cannot be written.
pub fn rest(bytes: &dyn Bytes, bodies: &[Body]) -> Result<rest_write::Written, String> {
    let like = &bodies[0];
    let (mut inputs, mut raw, mut raw_len) = (Vec::new(), Vec::new(), 0);
    for (at, tensor) in like.tensors.iter().enumerate() {
        let (len, segments) = rows(bytes, bodies, at)?;
        let mut parameters = object(&tensor.parameters);
        parameters.insert("binary_data_size".to_owned(), len.into());
        inputs.push(json!({
            "name": tensor.name, "datatype": datatype::name(&tensor.datatype),
            "shape": shape(tensor, bodies.len()), "parameters": parameters,
        }));
        raw_len += len;
        raw.extend(segments);
    }
    let mut parameters = object(&like.parameters);
    parameters.insert("binary_data_output".to_owned(), true.into());
    let mut json = json!({"parameters": parameters, "inputs": inputs});
    if !like.outputs.is_empty() {
        let one = |it: &Tensor| json!({"name": it.name, "parameters": object(&it.parameters)});
        json["outputs"] = like.outputs.iter().map(one).collect();
    }
    let head = json.to_string().into_bytes();
    let len = head.len() as u64;
    let mut segments = vec![Segment::Inline(head)];
    segments.extend(raw);
    Ok(rest_write::Written {
        head: Some(len),
        len: Some(len + raw_len),
        segments,
    })
}

/// A request over gRPC, with raw contents. All bodies are alike, and there is one.
///
/// # Errors
/// Says which tensor or parameter cannot be written.
pub fn grpc(
    bytes: &dyn Bytes,
    bodies: &[Body],
    style: grpc_write::Style,
) -> Result<grpc_write::Written, String> {
    let like = &bodies[0];
    let mut head = Vec::new();
    for (number, text) in [(1, &like.model), (2, &like.version)] {
        if !text.is_empty() {
            head.extend(proto::text(number, text));
        }
    }
    head.extend(parameters::entries(4, &like.parameters, style.wide)?);
    for tensor in &like.tensors {
        let mut meta = proto::text(1, &tensor.name);
        meta.extend(proto::text(2, datatype::name(&tensor.datatype)));
        let shape = shape(tensor, bodies.len());
        prost::encoding::int64::encode_packed(3, &shape, &mut meta);
        meta.extend(parameters::entries(4, &tensor.parameters, style.wide)?);
        head.extend(proto::prefix(5, meta.len() as u64));
        head.extend(meta);
    }
    for output in &like.outputs {
        let mut meta = proto::text(1, &output.name);
        meta.extend(parameters::entries(2, &output.parameters, style.wide)?);
        head.extend(proto::prefix(6, meta.len() as u64));
        head.extend(meta);
    }
    let mut len = head.len() as u64;
    let mut segments = vec![Segment::Inline(head)];
    for at in 0..like.tensors.len() {
        let (raw, rows) = rows(bytes, bodies, at)?;
        let prefix = proto::prefix(Kind::Request.raw_field(), raw);
        len += prefix.len() as u64 + raw;
        segments.push(Segment::Inline(prefix));
        segments.extend(rows);
    }
    Ok(grpc_write::Written { len, segments })
}

/// A tensor of an answer, a row for each of so many calls.
///
/// # Errors
/// Says why it cannot be taken apart.
pub fn split(bytes: &dyn Bytes, tensor: &Tensor, rows: usize) -> Result<Vec<Tensor>, String> {
    let wrong = |why: &str| format!("output '{}' of a batch of {rows}: {why}", tensor.name);
    if tensor.shape.first() != Some(&(rows as i64)) {
        return Err(wrong("its first dimension is another one"));
    }
    let raw = Encoding::Tensor(tensor.datatype.clone());
    let whole = match &tensor.data {
        TensorData::Inline(data) => Piece::Inline(data.clone()),
        TensorData::Held(held) if held.written == raw => Piece::Held(held.at),
        TensorData::Held(held) if matches!(held.written, Encoding::Packed(_)) => {
            let packed = bytes.read_all(held.at.source, held.at.offset, held.at.len);
            let unpacked = contents::unpack(&packed, &tensor.datatype);
            Piece::Inline(unpacked.map_err(|why| wrong(&why))?)
        }
        _ => return Err(wrong("its elements are not raw")),
    };
    let ends = match datatype::size(&tensor.datatype) {
        Some(_) => {
            let expected = datatype::raw_len(&tensor.shape, &tensor.datatype);
            if expected != Some(whole.len()) {
                return Err(wrong("it is not as long as its shape says"));
            }
            let row = whole.len() / rows as u64;
            (1..=rows as u64).map(|at| at * row).collect()
        }
        None => bytes_ends(&whole.read(bytes), &tensor.shape, rows)
            .ok_or_else(|| wrong("its elements are not as many as its shape says, or not whole"))?,
    };
    let mut from = 0;
    let mut all = Vec::with_capacity(rows);
    for to in ends {
        all.push(Tensor {
            shape: shape(tensor, 1),
            data: whole.part(from, to, &raw),
            ..tensor.clone()
        });
        from = to;
    }
    Ok(all)
}

/// Where rows of elements of BYTES end.
fn bytes_ends(raw: &[u8], shape: &[i64], rows: usize) -> Option<Vec<u64>> {
    let elements = contents::split_bytes(raw).ok()?;
    let count = usize::try_from(datatype::count(shape)?).ok()?;
    if elements.len() != count {
        return None;
    }
    let each = count / rows;
    let mut at = 0;
    let mut ends = Vec::with_capacity(rows);
    for row in 0..rows {
        for element in &elements[row * each..(row + 1) * each] {
            at += 4 + element.len() as u64;
        }
        ends.push(at);
    }
    Some(ends)
}

/// Elements, with the host or here.
enum Piece {
    Inline(Vec<u8>),
    Held(Span),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Inline(data) => data.len() as u64,
            Self::Held(at) => at.len,
        }
    }

    fn read(&self, bytes: &dyn Bytes) -> Vec<u8> {
        match self {
            Self::Inline(data) => data.clone(),
            Self::Held(at) => bytes.read_all(at.source, at.offset, at.len),
        }
    }

    fn part(&self, from: u64, to: u64, written: &Encoding) -> TensorData {
        match self {
            Self::Inline(data) => TensorData::Inline(data[from as usize..to as usize].to_vec()),
            Self::Held(at) => TensorData::Held(Held {
                at: Span {
                    source: at.source,
                    offset: at.offset + from,
                    len: to - from,
                },
                written: written.clone(),
            }),
        }
    }
}
