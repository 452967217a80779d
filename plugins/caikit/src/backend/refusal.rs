//! What a worker's error means.
//!
//! A runtime passes on what the server behind it said, in statuses of its own: an
//! overloaded one looks like a bad request, and one that is gone like a method that does
//! not exist. The texts tell.

use serde::Deserialize;
use tollgate_sdk_protocol::{
    failure,
    types::{Failure, FailureKind},
};

const INVALID_ARGUMENT: u32 = 3;
const RESOURCE_EXHAUSTED: u32 = 8;
const OVERLOADED: [&str; 2] = ["Model is overloaded", "Server too busy"];
const GONE: &str = "The underlying TCP connection is closed";
const TOO_LARGE: [&str; 2] = [
    "Received message larger than max",
    "Sent message larger than max",
];

/// A body of an error: the runtime's `details`, or its framework's `detail`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    details: Option<String>,
    detail: Option<serde_json::Value>,
    code: Option<u16>,
}

impl Body {
    fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    fn message(&self) -> Option<String> {
        self.details.clone().or_else(|| match &self.detail {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        })
    }
}

fn overloaded(message: &str) -> bool {
    OVERLOADED.iter().any(|text| message.contains(text))
}

/// Of an HTTP status and its body.
pub fn of_http(status: u16, body: &[u8]) -> Failure {
    told(status, &Body::read(body))
}

fn told(status: u16, body: &Body) -> Failure {
    let message = body
        .message()
        .unwrap_or_else(|| format!("the worker answered with status {status}"));
    match status {
        // A worker that refuses the proxy does not refuse the client.
        401 | 403 => failure::upstream_invalid("the worker refuses the proxy's credentials"),
        400 if overloaded(&message) => failure::of(FailureKind::Overloaded, message),
        501 if message.contains(GONE) => failure::upstream_unavailable(message),
        _ => failure::from_http(status, message),
    }
}

/// Of an event `error` of a stream; none where the data is none of an error's.
pub fn of_event(data: &[u8]) -> Option<Failure> {
    let body = Body::read(data);
    body.details.as_ref()?;
    Some(match body.code {
        Some(status @ 400..=599) => told(status, &body),
        _ => failure::of(FailureKind::Internal, body.message().unwrap_or_default()),
    })
}

/// Of a gRPC status.
pub fn of_grpc(code: u32, message: String) -> Failure {
    match code {
        INVALID_ARGUMENT if overloaded(&message) => failure::of(FailureKind::Overloaded, message),
        // The gRPC libraries' own limit, which no repetition passes.
        RESOURCE_EXHAUSTED if TOO_LARGE.iter().any(|text| message.starts_with(text)) => {
            failure::of(FailureKind::PayloadTooLarge, message)
        }
        // It is the server that is full, and not a share of the caller's.
        RESOURCE_EXHAUSTED => failure::of(FailureKind::Overloaded, message),
        _ => failure::from_grpc(code, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_tell_what_statuses_hide() {
        let kind = |status, body: &str| of_http(status, body.as_bytes()).kind;
        assert_eq!(
            kind(400, r#"{"details": "x: Model is overloaded"}"#),
            FailureKind::Overloaded
        );
        assert_eq!(
            kind(400, r#"{"details": "top_p"}"#),
            FailureKind::InvalidArgument
        );
        assert_eq!(
            kind(501, &format!(r#"{{"details": "{GONE}"}}"#)),
            FailureKind::UpstreamUnavailable
        );
        assert_eq!(kind(501, "{}"), FailureKind::Unsupported);
        assert_eq!(kind(401, ""), FailureKind::UpstreamInvalid);
        assert_eq!(
            of_http(404, br#"{"detail":"Not Found"}"#).message,
            "Not Found"
        );
        assert_eq!(
            of_http(404, b"<").message,
            "the worker answered with status 404"
        );
        assert_eq!(
            of_grpc(3, "Server too busy".to_owned()).kind,
            FailureKind::Overloaded
        );
    }

    #[test]
    fn an_event_is_an_error_by_its_details() {
        let failed = of_event(br#"{"details": "gone", "code": 404, "id": "x"}"#).unwrap();
        assert_eq!(
            (failed.kind, failed.message.as_str()),
            (FailureKind::NotFound, "gone")
        );
        assert!(of_event(br#"{"generated_text": "a", "details": {"seed": 0}}"#).is_none());
        assert!(of_event(b"[]").is_none());
    }
}
