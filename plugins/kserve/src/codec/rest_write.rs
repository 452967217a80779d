//! Requests and responses in JSON, and with the binary extension.

use serde_json::{Map, Value};
use tollgate_sdk_protocol::{
    Bytes,
    inference::{Parameter, Tensor},
    text::quoted,
    types::{Datatype, Encoding, Segment},
};

use super::{Body, Kind, parameters, value};
use crate::datatype;

/// How JSON is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// BYTES as base64, and saying so (ModelMesh).
    pub base64: bool,
    /// Shapes as strings, as JSON is made of protocol buffers.
    pub string_shapes: bool,
}

/// What was written.
pub struct Written {
    /// Length of the JSON, when raw tensors follow it.
    pub head: Option<u64>,
    /// Length of all of it; none: that hangs on what has not arrived.
    pub len: Option<u64>,
    pub segments: Vec<Segment>,
}

/// Whether a message can be written at once: nothing that must be converted is still to
/// come.
pub fn is_ready(bytes: &dyn Bytes, body: &Body, binary: &[bool]) -> bool {
    body.tensors.iter().zip(binary).all(|(tensor, binary)| {
        let datatype = tensor.datatype.clone();
        let to = if *binary {
            Encoding::Tensor(datatype)
        } else {
            Encoding::JsonArray(datatype)
        };
        value::is_ready(bytes, tensor, &to)
    })
}

/// Writes a message; `binary` says of each tensor whether its bytes follow the JSON.
///
/// # Errors
/// Says which tensor cannot be written.
pub fn write(
    bytes: &dyn Bytes,
    kind: Kind,
    body: &Body,
    binary: &[bool],
    style: Style,
) -> Result<Written, String> {
    let mut head = Head::default();
    head.open(b'{');
    for (name, text) in [
        ("id", &body.id),
        ("model_name", &body.model),
        ("model_version", &body.version),
    ] {
        if !text.is_empty() {
            head.member(name);
            head.inline(&quoted(text));
        }
    }
    if !body.parameters.is_empty() {
        head.member("parameters");
        head.inline(&object(&body.parameters));
    }
    head.member(kind.member());
    head.open(b'[');
    let (mut raw, mut raw_len) = (Vec::new(), 0);
    for (tensor, binary) in body.tensors.iter().zip(binary) {
        head.element();
        head.open(b'{');
        head.member("name");
        head.inline(&quoted(&tensor.name));
        head.member("datatype");
        head.inline(&quoted(datatype::name(&tensor.datatype)));
        head.member("shape");
        head.inline(shape(&tensor.shape, style).to_string().as_bytes());
        if *binary {
            let to = Encoding::Tensor(tensor.datatype.clone());
            let (len, segments) = value::write_sized(bytes, tensor, &to)?;
            let size = Value::from(len);
            head.parameters(&tensor.parameters, Some(("binary_data_size", size)));
            raw_len += len;
            raw.extend(segments);
        } else {
            let base64 = style.base64 && tensor.datatype == Datatype::Bytes;
            let says = base64.then(|| ("content_type", Value::from("base64")));
            head.parameters(&tensor.parameters, says);
            head.member("data");
            let written = elements(bytes, kind, tensor, base64)?;
            head.append(written, &tensor.name);
        }
        head.close(b'}');
    }
    head.close(b']');
    if !body.outputs.is_empty() {
        head.member("outputs");
        head.open(b'[');
        for output in &body.outputs {
            head.element();
            head.open(b'{');
            head.member("name");
            head.inline(&quoted(&output.name));
            head.parameters(&output.parameters, None);
            head.close(b'}');
        }
        head.close(b']');
    }
    head.close(b'}');
    let len = head.unknown.is_none().then_some(head.len);
    if let (Some(name), true) = (head.unknown, raw_len > 0) {
        return Err(format!("tensor '{name}': its data has not arrived"));
    }
    let mut segments = head.segments;
    segments.extend(raw);
    Ok(Written {
        head: len.filter(|_| raw_len > 0),
        len: len.map(|len| len + raw_len),
        segments,
    })
}

fn elements(
    bytes: &dyn Bytes,
    kind: Kind,
    tensor: &Tensor,
    base64: bool,
) -> Result<value::Written, String> {
    if base64 {
        return value::base64_json(bytes, tensor);
    }
    if !datatype::has_text(&tensor.datatype) {
        let instead = match kind {
            // Whoever asked may have sent raw elements, or values of which the options say what they are.
            Kind::Request => {
                "which is all that the model's worker takes: ask with another datatype, which of \
                 `:predict` is what the option `v1.inputs` names"
            }
            Kind::Response => "in which the answer is asked for; ask for binary data",
        };
        return Err(format!(
            "tensor '{}' of {} has no form in JSON, {instead}",
            tensor.name,
            datatype::name(&tensor.datatype)
        ));
    }
    value::write(bytes, tensor, &Encoding::JsonArray(tensor.datatype.clone()))
}

/// A shape as JSON.
pub fn shape(shape: &[i64], style: Style) -> Value {
    let size = |size: &i64| match style.string_shapes {
        true => Value::from(size.to_string()),
        false => Value::from(*size),
    };
    shape.iter().map(size).collect()
}

/// Parameters as a JSON object.
fn object(parameters: &[Parameter]) -> Vec<u8> {
    let members: Map<String, Value> = parameters
        .iter()
        .map(|it| (it.name.clone(), parameters::to_json(&it.value)))
        .collect();
    Value::from(members).to_string().into_bytes()
}

/// JSON in the making; its last segment is the one that grows.
#[derive(Default)]
struct Head {
    len: u64,
    segments: Vec<Segment>,
    /// A tensor of which it is not known how long it will be.
    unknown: Option<String>,
    /// Nothing stands yet in the innermost object or array.
    fresh: bool,
}

impl Head {
    fn inline(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        match self.segments.last_mut() {
            Some(Segment::Inline(last)) => last.extend_from_slice(bytes),
            _ => self.segments.push(Segment::Inline(bytes.to_vec())),
        }
    }

    fn append(&mut self, written: value::Written, name: &str) {
        for segment in written.segments {
            match (self.segments.last_mut(), segment) {
                (Some(Segment::Inline(last)), Segment::Inline(more)) => last.extend(more),
                (_, segment) => self.segments.push(segment),
            }
        }
        match written.len {
            Some(len) => self.len += len,
            None => self.unknown = Some(name.to_owned()),
        }
    }

    fn open(&mut self, bracket: u8) {
        self.inline(&[bracket]);
        self.fresh = true;
    }

    fn close(&mut self, bracket: u8) {
        self.inline(&[bracket]);
        self.fresh = false;
    }

    fn element(&mut self) {
        if !std::mem::replace(&mut self.fresh, false) {
            self.inline(b",");
        }
    }

    fn member(&mut self, name: &str) {
        self.element();
        self.inline(&quoted(name));
        self.inline(b":");
    }

    fn parameters(&mut self, parameters: &[Parameter], more: Option<(&str, Value)>) {
        let mut members: Map<String, Value> = parameters
            .iter()
            .map(|it| (it.name.clone(), parameters::to_json(&it.value)))
            .collect();
        if let Some((name, value)) = more {
            members.insert(name.to_owned(), value);
        }
        if !members.is_empty() {
            self.member("parameters");
            self.inline(Value::from(members).to_string().as_bytes());
        }
    }
}
