//! Why a call cannot be served, in the contract's words.

use tollgate_sdk_worker::inference::Extra;
use tollgate_sdk_worker::types::{Failure, FailureKind, Text};

fn failure(kind: FailureKind, param: Option<&str>, message: String) -> Failure {
    Failure {
        kind,
        message,
        param: param.map(str::to_owned),
        retry_after_ms: None,
        extensions: Vec::new(),
    }
}

/// A value out of its domain, or one that this worker does not know.
pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Failure {
    failure(FailureKind::InvalidArgument, Some(param), message.into())
}

/// Something sensible that this worker cannot do.
pub(crate) fn unsupported(param: Option<&str>, message: impl Into<String>) -> Failure {
    failure(FailureKind::Unsupported, param, message.into())
}

pub(crate) fn not_found(param: &str, message: impl Into<String>) -> Failure {
    failure(FailureKind::NotFound, Some(param), message.into())
}

pub(crate) fn internal(message: impl Into<String>) -> Failure {
    failure(FailureKind::Internal, None, message.into())
}

/// A field that would change the result and that nothing here understands.
pub(crate) fn no_extras(extras: &[Extra]) -> Result<(), Failure> {
    match extras.first() {
        None => Ok(()),
        Some(extra) => Err(invalid(
            &extra.name,
            format!("this worker does not know `{}`", extra.name),
        )),
    }
}

/// The text itself. The host resolves held texts before it calls a worker.
pub(crate) fn inline(text: Text) -> Result<String, Failure> {
    match text {
        Text::Inline(text) => Ok(text),
        Text::Held(_) => Err(internal("a held text reached a worker that cannot read it")),
    }
}
