//! The messages of `proto/inference.proto`, generated at build time, and what is written
//! by hand because its values stay with the host.

use prost::encoding::{WireType, encode_key, encode_varint};

#[allow(missing_docs, clippy::all, unreachable_pub, dead_code)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/inference.rs"));
}

pub use generated::*;

/// The one service, by its full name.
pub const SERVICE: &str = "inference.GRPCInferenceService";

/// Serialized `google.protobuf.FileDescriptorSet` of the file, without source information.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.descriptor"));

/// Key and length of a field whose value of `len` bytes follows.
pub fn prefix(number: u32, len: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(len, &mut out);
    out
}

/// A field with a text.
pub fn text(number: u32, text: &str) -> Vec<u8> {
    let mut out = prefix(number, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
    out
}
