//! Answers of KServe V2: the part before the tensor is gathered, the tensor's bytes are compared
//! as they come and kept nowhere.

use http::HeaderMap;
use prost::{
    Message,
    encoding::{DecodeContext, decode_key, decode_varint, skip_field},
};
use serde::Deserialize;

use crate::{
    known::{self, OUTPUT_TENSOR},
    load::fault::Fault,
    proto::{InferResponse, RAW_OUTPUT},
};

/// Longest part before the tensor.
const LONGEST: usize = 1024 * 1024;

/// How far an answer is.
#[derive(Default)]
pub(super) struct Reading {
    /// REST: the length of the JSON part.
    json: usize,
    /// Size of the tensor, once it is told.
    size: Option<usize>,
    /// Bytes of it that have come.
    read: usize,
    /// gRPC: what the frame says is the message's length.
    message: usize,
    /// gRPC: bytes of the message up to the tensor's.
    before: usize,
}

#[derive(Deserialize)]
struct Json {
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    parameters: Parameters,
}

#[derive(Deserialize)]
struct Parameters {
    binary_data_size: usize,
}

fn odd(what: &str) -> Fault {
    Fault::content(what)
}

fn is_expected(name: &str, datatype: &str, shape: &[i64], size: usize) -> bool {
    let values = shape.iter().product::<i64>();
    name == OUTPUT_TENSOR && datatype == "FP32" && usize::try_from(values).ok() == Some(size / 4)
}

impl Reading {
    pub(super) fn begin_rest(&mut self, headers: &HeaderMap) -> Result<(), Fault> {
        let length = headers.get("inference-header-content-length");
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        *self = Self {
            json: length.ok_or_else(|| odd("no inference-header-content-length"))?,
            ..Self::default()
        };
        Ok(())
    }

    pub(super) fn begin_grpc(&mut self) {
        *self = Self::default();
    }

    /// Takes more of a REST answer.
    pub(super) fn rest(
        &mut self,
        buffer: &mut Vec<u8>,
        mut data: &[u8],
        known: &known::Tensor,
    ) -> Result<(), Fault> {
        if self.size.is_none() {
            let missing = self.json.saturating_sub(buffer.len()).min(data.len());
            buffer.extend_from_slice(&data[..missing]);
            data = &data[missing..];
            if buffer.len() < self.json {
                return bounded(buffer);
            }
            let json: Json = serde_json::from_slice(buffer).map_err(Fault::content)?;
            let [output] = &json.outputs[..] else {
                return Err(odd("not one tensor"));
            };
            let size = output.parameters.binary_data_size;
            if !is_expected(&output.name, &output.datatype, &output.shape, size) {
                return Err(odd("another tensor"));
            }
            self.size = Some(size);
            buffer.clear();
        }
        self.bytes(data, known)
    }

    /// Takes more of a gRPC answer, in which the raw contents stand last or not at all.
    pub(super) fn grpc(
        &mut self,
        buffer: &mut Vec<u8>,
        data: &[u8],
        known: &known::Tensor,
    ) -> Result<(), Fault> {
        if self.size.is_some() {
            return self.bytes(data, known);
        }
        // The part before is short: of a long piece the rest is not copied.
        let taken = data.len().min(4096);
        buffer.extend_from_slice(&data[..taken]);
        let Some((&[compressed, a, b, c, d], message)) = buffer.split_first_chunk::<5>() else {
            return Ok(());
        };
        if compressed != 0 {
            return Err(odd("a compressed message"));
        }
        self.message = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(Raw {
            key,
            before,
            length,
        }) = raw(message)?
        else {
            if taken < data.len() {
                return Err(odd("no raw contents"));
            }
            return bounded(buffer);
        };
        let answer = InferResponse::decode(&message[..key]).map_err(Fault::content)?;
        let [output] = &answer.outputs[..] else {
            return Err(odd("not one tensor"));
        };
        if !is_expected(&output.name, &output.datatype, &output.shape, length) {
            return Err(odd("another tensor"));
        }
        (self.size, self.before) = (Some(length), before);
        let from = 5 + before;
        let result = self.bytes(&buffer[from..], known);
        buffer.clear();
        result?;
        self.bytes(&data[taken..], known)
    }

    fn bytes(&mut self, data: &[u8], known: &known::Tensor) -> Result<(), Fault> {
        if self.read + data.len() > self.size.unwrap_or(0) {
            return Err(odd("more than the tensor"));
        }
        if !known.is_at(self.read, data) {
            return Err(odd("other bytes"));
        }
        self.read += data.len();
        Ok(())
    }

    /// The answer has ended.
    pub(super) fn end(&self, buffer: &[u8], expected: Option<usize>) -> Result<(), Fault> {
        let size = self
            .size
            .filter(|size| *size == self.read && buffer.is_empty());
        let size = size.ok_or_else(|| odd("the answer ends too early"))?;
        if self.message != 0 && self.message != self.before + size {
            return Err(odd("a message of another length than its frame says"));
        }
        if expected.is_some_and(|expected| expected != size) {
            return Err(Fault::content(format!("a tensor of {size} bytes")));
        }
        Ok(())
    }
}

fn bounded(buffer: &[u8]) -> Result<(), Fault> {
    if buffer.len() > LONGEST {
        return Err(odd("a tensor's head without an end"));
    }
    Ok(())
}

/// Where the raw contents lie in a message.
struct Raw {
    /// Where their key begins.
    key: usize,
    /// Where they begin.
    before: usize,
    length: usize,
}

/// Finds the raw contents; none when they have not come yet.
fn raw(message: &[u8]) -> Result<Option<Raw>, Fault> {
    let mut rest = message;
    while !rest.is_empty() {
        let key = message.len() - rest.len();
        let Ok((number, wire)) = decode_key(&mut rest) else {
            return Ok(None);
        };
        if number == RAW_OUTPUT {
            let Ok(length) = decode_varint(&mut rest) else {
                return Ok(None);
            };
            let length = usize::try_from(length).map_err(Fault::content)?;
            let before = message.len() - rest.len();
            return Ok(Some(Raw {
                key,
                before,
                length,
            }));
        }
        if skip_field(wire, number, &mut rest, DecodeContext::default()).is_err() {
            return Ok(None);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::answers::{Shape, Tensors};

    fn stub() -> Tensors {
        Tensors::new(&Shape {
            model: "m".to_owned(),
            tokens: 1,
            per_write: 1,
            interval: std::time::Duration::ZERO,
            hold: false,
            tensor_bytes: 150_000,
        })
    }

    fn read(whole: &[u8], step: usize, rest: Option<usize>) -> Result<(), Fault> {
        let (mut reading, mut buffer) = (Reading::default(), Vec::new());
        reading.json = rest.unwrap_or(0);
        let known = known::Tensor::default();
        for part in whole.chunks(step) {
            match rest {
                Some(_) => reading.rest(&mut buffer, part, &known)?,
                None => reading.grpc(&mut buffer, part, &known)?,
            }
        }
        reading.end(&buffer, Some(150_000))
    }

    #[test]
    fn tensors_are_read_whatever_the_pieces() {
        let stub = stub();
        let grpc = [&stub.grpc[..], &stub.data[..]].concat();
        let rest = [&stub.rest[..], &stub.data[..]].concat();
        for step in [1, 7, 64, 1000, 16_384, 1_000_000] {
            read(&grpc, step, None).unwrap();
            read(&rest, step, Some(stub.rest.len())).unwrap();
        }
    }

    #[test]
    fn a_changed_or_cut_tensor_is_refused() {
        let stub = stub();
        let mut grpc = [&stub.grpc[..], &stub.data[..]].concat();
        assert!(read(&grpc[..grpc.len() - 1], 1000, None).is_err());
        grpc[100_000] ^= 1;
        assert!(read(&grpc, 1000, None).is_err());
        let rest = [&stub.rest[..], &stub.data[..], b"x"].concat();
        assert!(read(&rest, 1000, Some(stub.rest.len())).is_err());
    }
}
