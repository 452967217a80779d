//! Requests and responses in JSON, and with the binary extension: a JSON head, then the
//! raw tensors that it announces, one after the other.

use serde_json::Value;
use tollgate_sdk_protocol::{
    Bytes,
    body::Member,
    failure,
    inference::{Parameter, ParameterValue, Tensor, TensorData},
    types::{Datatype, Encoding, Held, SourceId, Span},
};

use super::{
    Body, Kind, Stop,
    grpc_read::{check_len, is_shared},
    json_scan::{Found, Scan},
    parameters, value,
};
use crate::datatype;

/// Tensors in one message; no honest one has more.
const TENSORS: usize = 4096;

/// Members of a tensor.
const KEYS: [&str; 5] = ["name", "datatype", "shape", "parameters", "data"];

/// Where a message lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub source: SourceId,
    /// Length of the JSON.
    pub head: u64,
    /// Length of all of it, where it is known.
    pub total: Option<u64>,
    /// Raw tensors follow the JSON.
    pub binary: bool,
    /// BYTES that say so are base64 (ModelMesh).
    pub base64: bool,
}

/// Reads a message whose JSON has arrived. Of the raw tensors nothing need have.
///
/// # Errors
/// What is wrong with it.
pub fn read(bytes: &dyn Bytes, place: Place, kind: Kind) -> Result<Body, String> {
    let keys = [
        "id",
        "parameters",
        kind.member(),
        "outputs",
        "model_name",
        "model_version",
    ];
    let wanted = match kind {
        Kind::Request => &keys[..],
        // Its outputs are the tensors.
        Kind::Response => &[keys[0], keys[1], keys[2], keys[4], keys[5]],
    };
    let members = members(bytes, place, wanted)?;
    let find = |key: &str| {
        let at = wanted.iter().position(|known| *known == key)?;
        members[at].map(|member| member.offset..member.offset + member.len)
    };
    let mut scan = Scan::new(bytes, place.source, place.head);
    let mut text = |key: &str| match find(key) {
        None => Ok(String::new()),
        Some(range) => text_of(&scan.copy(&range), key),
    };
    let mut body = Body {
        model: text("model_name")?,
        version: text("model_version")?,
        id: text("id")?,
        ..Body::default()
    };
    if let Some(range) = find("parameters") {
        body.parameters = parameters::from_json(&scan.copy(&range), kind)?;
    }
    let array = find(kind.member())
        .ok_or_else(|| format!("Unable to find '{}' in the JSON", kind.member()))?;
    let objects = scan
        .objects(array, &KEYS, TENSORS)
        .map_err(|what| format!("'{}' {what}", kind.member()))?;
    let mut reader = Reader {
        place,
        kind,
        at: place.head,
        count: objects.len(),
    };
    for found in objects {
        let tensor = reader.tensor(bytes, &mut scan, &found)?;
        body.tensors.push(tensor);
    }
    reader.end(&body)?;
    if let (Kind::Request, Some(range)) = (kind, find("outputs")) {
        let objects = scan
            .objects(range, &KEYS, TENSORS)
            .map_err(|what| format!("'outputs' {what}"))?;
        for found in objects {
            body.outputs.push(output(&mut scan, &found)?);
        }
    }
    Ok(body)
}

/// Whether reading a JSON ends at a word for no number, as Python's servers write `NaN`.
pub(crate) fn ends_at_no_number(bytes: &dyn Bytes, place: Place) -> bool {
    let Err(problem) = bytes.json_members(place.source, 0, place.head, &[]) else {
        return false;
    };
    // The longest of them, and what may stand before the place.
    let from = problem.offset.saturating_sub(1);
    let word = bytes.read_all(place.source, from, (place.head - from).min(10));
    failure::is_no_number(&word) || word.get(1..).is_some_and(failure::is_no_number)
}

/// The top level's members, each of which may stand once.
fn members(
    bytes: &dyn Bytes,
    place: Place,
    wanted: &[&str],
) -> Result<Vec<Option<Member>>, String> {
    let keys: Vec<String> = wanted.iter().map(|key| (*key).to_owned()).collect();
    let found = bytes
        .json_members(place.source, 0, place.head, &keys)
        .map_err(|problem| {
            format!(
                "failed to parse the JSON: {} at byte {}",
                problem.message, problem.offset
            )
        })?;
    let mut members = vec![None; wanted.len()];
    for member in found {
        let key = member.key as usize;
        if members[key].replace(member).is_some() {
            return Err(format!("'{}' stands twice in the JSON", wanted[key]));
        }
    }
    Ok(members)
}

fn text_of(raw: &[u8], name: &str) -> Result<String, String> {
    match serde_json::from_slice(raw) {
        Ok(Value::String(text)) => Ok(text),
        Ok(Value::Null) => Ok(String::new()),
        // Some clients number their requests.
        Ok(Value::Number(number)) if name == "id" => Ok(number.to_string()),
        _ => Err(format!("'{name}' must be a string")),
    }
}

/// Goes through the tensors, and through the raw bytes that belong to them.
struct Reader {
    place: Place,
    kind: Kind,
    /// Where the next raw tensor begins.
    at: u64,
    count: usize,
}

impl Reader {
    fn tensor(
        &mut self,
        bytes: &dyn Bytes,
        scan: &mut Scan<'_>,
        found: &Found,
    ) -> Result<Tensor, String> {
        let noun = self.kind.noun();
        let mut copy = |index: usize| found[index].clone().map(|range| scan.copy(&range));
        let name = copy(0).ok_or_else(|| format!("Unable to find 'name' in an {noun}"))?;
        let name = text_of(&name, "name")?;
        let missing = |what: &str| format!("Unable to find '{what}' in {noun} '{name}'");
        let datatype = text_of(&copy(1).ok_or_else(|| missing("datatype"))?, "datatype")?;
        let datatype = datatype::named(&datatype)
            .ok_or_else(|| format!("{noun} '{name}' has an unknown datatype '{datatype}'"))?;
        let shape = shape(&copy(2).ok_or_else(|| missing("shape"))?)
            .ok_or_else(|| format!("the shape of {noun} '{name}' must be a list of sizes"))?;
        let mut parameters = match copy(3) {
            Some(raw) => parameters::from_json(&raw, self.kind)?,
            None => Vec::new(),
        };
        let announced = parameters::count(&parameters, "binary_data_size")?;
        parameters.retain(|parameter| parameter.name != "binary_data_size");
        let mut tensor = Tensor {
            name,
            datatype,
            shape,
            data: TensorData::None,
            parameters,
        };
        let written = found[4].clone();
        let ways = [
            written.is_some(),
            announced.is_some(),
            is_shared(&tensor.parameters),
        ];
        if ways.iter().filter(|way| **way).count() > 1 {
            return Err(format!(
                "{noun} '{}' must set only one of the following: data, binary_data_size, \
                 shared_memory_region",
                tensor.name
            ));
        }
        if let Some(range) = written {
            tensor.data = TensorData::Held(Held {
                at: Span {
                    source: self.place.source,
                    offset: range.start,
                    len: range.end - range.start,
                },
                written: Encoding::JsonArray(tensor.datatype.clone()),
            });
            self.written(bytes, &mut tensor)?;
        } else if !is_shared(&tensor.parameters) {
            self.raw(&mut tensor, announced)?;
        }
        Ok(tensor)
    }

    /// Elements in JSON.
    fn written(&self, bytes: &dyn Bytes, tensor: &mut Tensor) -> Result<(), String> {
        if !datatype::has_text(&tensor.datatype) {
            return Err(format!(
                "{} '{}' of {} cannot be JSON; use the binary form",
                self.kind.noun(),
                tensor.name,
                datatype::name(&tensor.datatype)
            ));
        }
        let says = parameters::get(&tensor.parameters, "content_type");
        let base64 =
            matches!(says, Some(ParameterValue::Text(it)) if it == "base64" || it == "b64");
        if self.place.base64 && base64 && tensor.datatype == Datatype::Bytes {
            tensor.data = TensorData::Inline(value::from_base64_json(bytes, tensor)?);
            tensor.parameters.retain(|it| it.name != "content_type");
        }
        Ok(())
    }

    /// Elements after the JSON.
    fn raw(&mut self, tensor: &mut Tensor, announced: Option<u64>) -> Result<(), String> {
        let noun = self.kind.noun();
        let rest = self
            .place
            .total
            .and_then(|total| total.checked_sub(self.at));
        let len = match announced {
            Some(len) => Some(len),
            // Some servers let the size be left out where it follows from the shape, or
            // where one text is all there is.
            None if self.place.binary => datatype::raw_len(&tensor.shape, &tensor.datatype)
                .or_else(|| rest.filter(|_| self.count == 1)),
            None => None,
        };
        let Some(len) = len else {
            // A response may leave out what is empty.
            if self.kind == Kind::Response && datatype::count(&tensor.shape) == Some(0) {
                return Ok(());
            }
            return Err(format!("Unable to find 'data' in {noun} '{}'", tensor.name));
        };
        if !self.place.binary && len > 0 {
            return Err(format!(
                "{noun} '{}' announces binary data, but there is no \
                 Inference-Header-Content-Length",
                tensor.name
            ));
        }
        check_len(tensor, len, noun).map_err(|stop| match stop {
            Stop::Bad(reason) => reason,
            Stop::More(_) => "the body is not complete".to_owned(),
        })?;
        if let Some(rest) = rest
            && rest < len
        {
            return Err(format!(
                "{noun} '{}' is expecting {} additional bytes of binary data",
                tensor.name,
                len - rest
            ));
        }
        tensor.data = TensorData::Held(Held {
            at: Span {
                source: self.place.source,
                offset: self.at,
                len,
            },
            written: Encoding::Tensor(tensor.datatype.clone()),
        });
        self.at = self
            .at
            .checked_add(len)
            .ok_or_else(|| format!("{noun} '{}' is too large", tensor.name))?;
        Ok(())
    }

    /// Nothing may follow the last raw tensor.
    fn end(&self, body: &Body) -> Result<(), String> {
        match self.place.total {
            Some(total) if self.place.binary && total > self.at => Err(format!(
                "unexpected additional {} data for model '{}': {} bytes",
                self.kind.noun(),
                body.model,
                total - self.at
            )),
            _ => Ok(()),
        }
    }
}

/// A shape. Where JSON is made of protocol buffers, its numbers are strings.
pub fn shape(raw: &[u8]) -> Option<Vec<i64>> {
    let values: Vec<Value> = serde_json::from_slice(raw).ok()?;
    let size = |value: &Value| match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    values
        .iter()
        .map(|value| size(value).filter(|size| *size >= 0))
        .collect::<Option<Vec<_>>>()
        .filter(|shape| shape.len() <= 64)
}

/// An output that is asked for.
fn output(scan: &mut Scan<'_>, found: &Found) -> Result<Tensor, String> {
    let mut copy = |index: usize| found[index].clone().map(|range| scan.copy(&range));
    let name = copy(0).ok_or("Unable to find 'name' in an output")?;
    let parameters: Vec<Parameter> = match copy(3) {
        Some(raw) => parameters::from_json(&raw, Kind::Request)?,
        None => Vec::new(),
    };
    Ok(Tensor {
        name: text_of(&name, "name")?,
        datatype: Datatype::Other(String::new()),
        shape: Vec::new(),
        data: TensorData::None,
        parameters,
    })
}
