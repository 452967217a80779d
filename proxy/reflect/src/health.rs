//! The messages of `grpc.health.v1.Health`. What is healthy is for the caller to say.

use bytes::Bytes;
use prost::Message;

use crate::messages::{HealthCheckRequest, HealthCheckResponse};

/// gRPC status codes of what can be wrong with a question.
const INVALID_ARGUMENT: u32 = 3;
const NOT_FOUND: u32 = 5;

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It answers.
    Serving,
    /// It is there, and nothing can answer for it now.
    NotServing,
    /// There is none of that name. Only a watch says so in a message.
    ServiceUnknown,
}

/// Answers a `HealthCheckRequest` of `Check`. `status` tells of a service by its full
/// name, the empty name meaning the server as a whole.
///
/// # Errors
/// The gRPC code and message to end with: `INVALID_ARGUMENT` for what is no such request,
/// `NOT_FOUND` for a service that `status` does not know.
pub fn check(
    request: &[u8],
    status: impl Fn(&str) -> Option<Serving>,
) -> Result<Bytes, (u32, String)> {
    let service = service(request)?;
    match status(&service) {
        None | Some(Serving::ServiceUnknown) => {
            Err((NOT_FOUND, format!("unknown service `{service}`")))
        }
        Some(serving) => Ok(encode(serving)),
    }
}

/// The service that a `HealthCheckRequest` names.
///
/// # Errors
/// `INVALID_ARGUMENT` and a message, when it is no such request.
pub fn service(request: &[u8]) -> Result<String, (u32, String)> {
    match HealthCheckRequest::decode(request) {
        Ok(request) => Ok(request.service),
        Err(error) => Err((INVALID_ARGUMENT, format!("no HealthCheckRequest: {error}"))),
    }
}

/// A `HealthCheckResponse`.
#[must_use]
pub fn encode(serving: Serving) -> Bytes {
    let status = match serving {
        Serving::Serving => 1,
        Serving::NotServing => 2,
        Serving::ServiceUnknown => 3,
    };
    HealthCheckResponse { status }.encode_to_vec().into()
}
