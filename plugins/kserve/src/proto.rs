//! The messages of `proto/inference.proto`, generated at build time, and what is written
//! by hand because its values stay with the host.

#[allow(missing_docs, clippy::all, unreachable_pub, dead_code)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/inference.rs"));
}

pub use generated::*;
pub use tollgate_sdk_protocol::fields::{prefix, text};

/// The one service, by its full name.
pub const SERVICE: &str = "inference.GRPCInferenceService";

/// Serialized `google.protobuf.FileDescriptorSet` of the file, without source information.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.descriptor"));
