//! The runtime's gRPC surface: messages of requests and of results, read and written.

pub mod request;
pub mod result;
pub mod structs;

use prost::Message;
use tollgate_sdk_protocol::{failure, types::Failure};

/// A client's message.
///
/// # Errors
/// When it is not valid protocol buffers.
pub fn decode<M: Message + Default>(message: &[u8]) -> Result<M, Failure> {
    M::decode(message).map_err(|error| failure::invalid(error.to_string(), None))
}

/// A worker's message.
///
/// # Errors
/// When it is another task's, or none.
pub fn decode_answer<M: Message + Default>(message: &[u8]) -> Result<M, Failure> {
    M::decode(message).map_err(|error| {
        failure::upstream_invalid(format!("the worker's answer cannot be read: {error}"))
    })
}
