//! Failures, as compositions tell them.

use crate::types::{Failure, FailureKind};

/// A failure of this kind with no parameter named.
#[must_use]
pub fn of(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure {
        kind,
        message: message.into(),
        param: None,
        retry_after_ms: None,
        extensions: Vec::new(),
    }
}

/// The request is wrong; `param` is its member at fault.
#[must_use]
pub fn invalid(message: impl Into<String>, param: Option<&str>) -> Failure {
    Failure {
        param: param.map(str::to_owned),
        ..of(FailureKind::InvalidArgument, message)
    }
}

/// The request is understood, and nothing here can do it.
#[must_use]
pub fn unsupported(message: impl Into<String>) -> Failure {
    of(FailureKind::Unsupported, message)
}

/// A worker answered something that was not asked for.
#[must_use]
pub fn upstream_invalid(message: impl Into<String>) -> Failure {
    of(FailureKind::UpstreamInvalid, message)
}
