//! Failures by kind: what a status or code means, and what a kind is called.
//!
//! The table itself is [`tollgate_contract::failure`]; this is the way to it from the
//! generated types.
//!
//! ```
//! use tollgate_sdk_protocol::{failure, types::FailureKind};
//!
//! // What a worker's status means, whichever protocol it speaks …
//! let busy = failure::from_http(503, "later");
//! assert_eq!(busy.kind, failure::from_grpc(14, "later").kind);
//! // … and how a client's protocol tells it.
//! assert_eq!(failure::http_status(&busy.kind), 503);
//! assert_eq!(failure::kind(failure::label(&busy.kind)), busy.kind);
//! // A client's own mistake names the member at fault.
//! let wrong = failure::invalid("it must be positive", Some("max_tokens"));
//! assert_eq!(failure::http_status(&wrong.kind), 400);
//! assert_eq!(wrong.kind, FailureKind::InvalidArgument);
//! ```

use tollgate_contract::failure as table;

use crate::types::{Cut, Failure, FailureKind};

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

/// The worker answered something that is not its protocol.
#[must_use]
pub fn upstream_invalid(message: impl Into<String>) -> Failure {
    of(FailureKind::UpstreamInvalid, message)
}

/// The worker could not be reached, or broke off.
#[must_use]
pub fn upstream_unavailable(message: impl Into<String>) -> Failure {
    of(FailureKind::UpstreamUnavailable, message)
}

/// Checks the version that a call names, for a worker whose protocol has none: its models
/// are told to have the one version `1`.
///
/// # Errors
/// `not-found`, for any other.
pub fn only_version(version: Option<&str>) -> Result<(), Failure> {
    match version {
        None | Some("" | "1") => Ok(()),
        Some(other) => Err(of(
            FailureKind::NotFound,
            format!("the model has no version {other:?}"),
        )),
    }
}

/// What it means that a worker's answer broke off.
#[must_use]
pub fn from_cut(cut: &Cut) -> Failure {
    match cut {
        Cut::Closed | Cut::Other(_) => upstream_unavailable("the worker broke off its answer"),
        Cut::Deadline => of(
            FailureKind::DeadlineExceeded,
            "the worker did not answer in time",
        ),
        // How large it is the client's request decides, and what is allowed the configuration.
        Cut::Limit => of(
            FailureKind::Unprocessable,
            "the worker's answer is larger than is allowed",
        ),
        Cut::Malformed => upstream_invalid("the worker's answer is not framed as it should be"),
    }
}

/// What it means that a worker's answer cannot be read as JSON; `message` is told.
///
/// `NaN` and `Infinity`, which Python's servers write and JSON has not (RFC 8259, section 6), are
/// what a model says to what it was given: its server is not judged by that.
#[must_use]
pub fn from_json(body: &[u8], error: &serde_json::Error, message: impl Into<String>) -> Failure {
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let at = before + error.column().saturating_sub(1);
    // A minus is read before it is known that no number follows.
    let near = [at.saturating_sub(1), at];
    let no_number = near
        .iter()
        .any(|at| body.get(*at..).is_some_and(is_no_number));
    match no_number {
        true => of(FailureKind::Unprocessable, message),
        false => upstream_invalid(message),
    }
}

/// Whether a text begins with one of the words that stand for no number where JSON wants one.
#[must_use]
pub fn is_no_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    text.starts_with(b"NaN") || text.starts_with(b"Infinity")
}

/// What an HTTP status from a worker means.
#[must_use]
pub fn from_http(status: u16, message: impl Into<String>) -> Failure {
    of(kind(table::label_of_http(status)), message)
}

/// What a gRPC status code from a worker means.
#[must_use]
pub fn from_grpc(code: u32, message: impl Into<String>) -> Failure {
    of(kind(table::label_of_grpc(code)), message)
}

/// HTTP status of a kind.
#[must_use]
pub fn http_status(kind: &FailureKind) -> u16 {
    table::by_label(label(kind)).http
}

/// gRPC status code of a kind.
#[must_use]
pub fn grpc_code(kind: &FailureKind) -> u32 {
    table::by_label(label(kind)).grpc
}

/// The label of a kind: its name in the contract.
#[must_use]
pub fn label(kind: &FailureKind) -> &str {
    match kind {
        FailureKind::InvalidArgument => "invalid-argument",
        FailureKind::Unauthenticated => "unauthenticated",
        FailureKind::PermissionDenied => "permission-denied",
        FailureKind::NotFound => "not-found",
        FailureKind::MethodNotAllowed => "method-not-allowed",
        FailureKind::Conflict => "conflict",
        FailureKind::FailedPrecondition => "failed-precondition",
        FailureKind::PayloadTooLarge => "payload-too-large",
        FailureKind::UnsupportedMediaType => "unsupported-media-type",
        FailureKind::Unprocessable => "unprocessable",
        FailureKind::RateLimited => "rate-limited",
        FailureKind::Overloaded => "overloaded",
        FailureKind::Unsupported => "unsupported",
        FailureKind::DeadlineExceeded => "deadline-exceeded",
        FailureKind::Cancelled => "cancelled",
        FailureKind::Internal => "internal",
        FailureKind::PluginFailed => "plugin-failed",
        FailureKind::UpstreamUnavailable => "upstream-unavailable",
        FailureKind::UpstreamInvalid => "upstream-invalid",
        FailureKind::Other(label) => label,
    }
}

/// The kind of a label; one that the contract does not name is an `other`.
#[must_use]
pub fn kind(label: &str) -> FailureKind {
    match label {
        "invalid-argument" => FailureKind::InvalidArgument,
        "unauthenticated" => FailureKind::Unauthenticated,
        "permission-denied" => FailureKind::PermissionDenied,
        "not-found" => FailureKind::NotFound,
        "method-not-allowed" => FailureKind::MethodNotAllowed,
        "conflict" => FailureKind::Conflict,
        "failed-precondition" => FailureKind::FailedPrecondition,
        "payload-too-large" => FailureKind::PayloadTooLarge,
        "unsupported-media-type" => FailureKind::UnsupportedMediaType,
        "unprocessable" => FailureKind::Unprocessable,
        "rate-limited" => FailureKind::RateLimited,
        "overloaded" => FailureKind::Overloaded,
        "unsupported" => FailureKind::Unsupported,
        "deadline-exceeded" => FailureKind::DeadlineExceeded,
        "cancelled" => FailureKind::Cancelled,
        "internal" => FailureKind::Internal,
        "plugin-failed" => FailureKind::PluginFailed,
        "upstream-unavailable" => FailureKind::UpstreamUnavailable,
        "upstream-invalid" => FailureKind::UpstreamInvalid,
        other => FailureKind::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_a_kind_and_comes_back() {
        for row in table::TABLE {
            let kind = kind(row.label);
            assert!(!matches!(kind, FailureKind::Other(_)), "{}", row.label);
            assert_eq!(label(&kind), row.label);
            assert_eq!(http_status(&kind), row.http);
            assert_eq!(grpc_code(&kind), row.grpc);
        }
    }

    #[test]
    fn without_versions_there_is_the_first() {
        for version in [None, Some(""), Some("1")] {
            assert_eq!(only_version(version), Ok(()));
        }
        for version in ["2", "01", "1.0", "../x"] {
            let failed = only_version(Some(version)).unwrap_err();
            assert_eq!(failed.kind, FailureKind::NotFound, "{version}");
        }
    }

    #[test]
    fn a_word_for_no_number_is_not_the_workers() {
        use FailureKind::{Unprocessable, UpstreamInvalid};
        for (body, kind) in [
            (r#"{"a":NaN}"#, Unprocessable),
            ("{\n \"a\":\n [1, Infinity]}", Unprocessable),
            (r#"{"a":[-Infinity]}"#, Unprocessable),
            (r#"{"a":Nothing}"#, UpstreamInvalid),
            (r#"{"NaN":"#, UpstreamInvalid),
            ("NaN", Unprocessable),
            ("", UpstreamInvalid),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(body).unwrap_err();
            assert_eq!(
                from_json(body.as_bytes(), &error, "odd").kind,
                kind,
                "{body}"
            );
        }
    }

    #[test]
    fn a_cut_is_the_workers_unless_the_time_was_up() {
        for (cut, kind) in [
            (Cut::Closed, FailureKind::UpstreamUnavailable),
            (Cut::Limit, FailureKind::Unprocessable),
            (Cut::Malformed, FailureKind::UpstreamInvalid),
            (Cut::Deadline, FailureKind::DeadlineExceeded),
        ] {
            assert_eq!(from_cut(&cut).kind, kind, "{cut:?}");
        }
    }

    #[test]
    fn an_unknown_label_is_kept_and_told_as_internal() {
        let kind = kind("novel");
        assert_eq!(label(&kind), "novel");
        assert_eq!(http_status(&kind), 500);
    }
}
