//! `ModelInferRequest` and `ModelInferResponse`, with the elements of tensors as segments.
//! Raw contents come last, so that they stream.

use prost::encoding::int64;
use tollgate_sdk_protocol::{
    Bytes,
    inference::Tensor,
    types::{Datatype, Encoding, Segment},
};

use super::{Body, Kind, parameters, value};
use crate::{datatype, proto};

/// How a server or client likes its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Parameters may be `double` and `uint64`.
    pub wide: bool,
    /// Typed contents, where every datatype has them.
    pub typed: bool,
}

/// A message, and its length.
pub struct Written {
    pub len: u64,
    pub segments: Vec<Segment>,
}

/// Whether the message can be written at once: nothing that must be converted is still to
/// come.
pub fn is_ready(bytes: &dyn Bytes, body: &Body, style: Style) -> bool {
    let typed = typed(body, style);
    body.tensors.iter().all(|tensor| {
        let datatype = tensor.datatype.clone();
        let to = if typed {
            Encoding::Packed(datatype)
        } else {
            Encoding::Tensor(datatype)
        };
        value::is_ready(bytes, tensor, &to)
    })
}

fn typed(body: &Body, style: Style) -> bool {
    let mut all = body.tensors.iter();
    style.typed && all.all(|it| datatype::contents_field(&it.datatype).is_some())
}

/// Writes a message.
///
/// # Errors
/// Says which tensor or parameter cannot be written.
pub fn write(bytes: &dyn Bytes, kind: Kind, body: &Body, style: Style) -> Result<Written, String> {
    let mut out = Output::default();
    for (number, text) in [(1, &body.model), (2, &body.version), (3, &body.id)] {
        if !text.is_empty() {
            out.inline(proto::text(number, text));
        }
    }
    out.inline(parameters::entries(4, &body.parameters, style.wide)?);
    let typed = typed(body, style);
    for tensor in &body.tensors {
        let mut meta = proto::text(1, &tensor.name);
        meta.extend(proto::text(2, datatype::name(&tensor.datatype)));
        int64::encode_packed(3, &tensor.shape, &mut meta);
        meta.extend(parameters::entries(4, &tensor.parameters, style.wide)?);
        let contents = if typed {
            Some(contents(bytes, tensor)?)
        } else {
            None
        };
        let inner = contents.as_ref().map_or(0, |it| it.len);
        out.inline(proto::prefix(5, meta.len() as u64 + inner));
        out.inline(meta);
        if let Some(contents) = contents {
            out.append(contents.len, contents.segments);
        }
    }
    for output in &body.outputs {
        let mut meta = proto::text(1, &output.name);
        meta.extend(parameters::entries(2, &output.parameters, style.wide)?);
        out.inline(proto::prefix(6, meta.len() as u64));
        out.inline(meta);
    }
    if !typed {
        for tensor in &body.tensors {
            let to = Encoding::Tensor(tensor.datatype.clone());
            let (len, segments) = value::write_sized(bytes, tensor, &to)?;
            out.inline(proto::prefix(kind.raw_field(), len));
            out.append(len, segments);
        }
    }
    Ok(Written {
        len: out.len,
        segments: out.segments,
    })
}

/// The field `contents` of a tensor.
fn contents(bytes: &dyn Bytes, tensor: &Tensor) -> Result<Written, String> {
    let number = datatype::contents_field(&tensor.datatype)
        .ok_or_else(|| format!("tensor '{}' has no typed contents", tensor.name))?;
    let (len, segments) = if tensor.datatype == Datatype::Bytes {
        let mut inner = Vec::new();
        for element in value::elements(bytes, tensor)? {
            inner.extend(proto::prefix(number, element.len() as u64));
            inner.extend(element);
        }
        (inner.len() as u64, vec![Segment::Inline(inner)])
    } else {
        let to = Encoding::Packed(tensor.datatype.clone());
        let (inner, packed) = value::write_sized(bytes, tensor, &to)?;
        let prefix = proto::prefix(number, inner);
        let len = prefix.len() as u64 + inner;
        let mut segments = vec![Segment::Inline(prefix)];
        segments.extend(packed);
        (len, segments)
    };
    let prefix = proto::prefix(5, len);
    let whole = prefix.len() as u64 + len;
    let mut all = vec![Segment::Inline(prefix)];
    all.extend(segments);
    Ok(Written {
        len: whole,
        segments: all,
    })
}

/// Segments in the making: inline bytes that follow each other are one.
#[derive(Default)]
struct Output {
    len: u64,
    segments: Vec<Segment>,
}

impl Output {
    fn inline(&mut self, bytes: Vec<u8>) {
        self.len += bytes.len() as u64;
        self.push(Segment::Inline(bytes));
    }

    fn append(&mut self, len: u64, segments: Vec<Segment>) {
        self.len += len;
        for segment in segments {
            self.push(segment);
        }
    }

    fn push(&mut self, segment: Segment) {
        match (self.segments.last_mut(), segment) {
            (_, Segment::Inline(more)) if more.is_empty() => {}
            (Some(Segment::Inline(last)), Segment::Inline(more)) => last.extend(more),
            (_, segment) => self.segments.push(segment),
        }
    }
}
