//! Why something failed, as it is told to a client, a peer and a metric.

use std::fmt;

use tollgate_contract::failure::{Row, by_label, label_of_grpc, label_of_http};

/// A failure: a row of the contract's table, and what to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    row: Row,
    /// For the client: what is wrong and, where known, what to do.
    pub message: String,
    /// The request's member at fault, as the client's dialect names it.
    pub param: Option<String>,
    /// Milliseconds after which a repetition may succeed.
    pub retry_after_ms: Option<u32>,
    /// Name of the plugin that failed, where one did.
    pub culprit: Option<String>,
    status: Option<u16>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        impl Failure {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(message: impl Into<String>) -> Self {
                Self::of_label($label, message)
            })*
        }

        #[cfg(test)]
        const CONSTRUCTORS: &[(&str, fn(&str) -> Failure)] =
            &[$(($label, |message| Failure::$name(message)),)*];
    };
}

constructors! {
    /// The request is malformed or has a value out of its domain.
    invalid_argument => "invalid-argument",
    /// Who asks is not known.
    unauthenticated => "unauthenticated",
    /// Who asks may not.
    permission_denied => "permission-denied",
    /// No such model, path or method.
    not_found => "not-found",
    /// The path is known, not with this method.
    method_not_allowed => "method-not-allowed",
    /// It does not go together with something else that goes on.
    conflict => "conflict",
    /// The state it needs is not there.
    failed_precondition => "failed-precondition",
    /// Larger than a limit.
    payload_too_large => "payload-too-large",
    /// A content type or encoding that is not understood.
    unsupported_media_type => "unsupported-media-type",
    /// Well formed, and yet without meaning.
    unprocessable => "unprocessable",
    /// The caller has used up a limit of its own.
    rate_limited => "rate-limited",
    /// The proxy or the worker is full.
    overloaded => "overloaded",
    /// Understood, but nothing here can do it.
    unsupported => "unsupported",
    /// Out of time.
    deadline_exceeded => "deadline-exceeded",
    /// The caller has gone.
    cancelled => "cancelled",
    /// A fault of the proxy's own.
    internal => "internal",
    /// A plugin trapped, spent its budget or answered nonsense.
    plugin_failed => "plugin-failed",
    /// The worker could not be reached, or broke off.
    upstream_unavailable => "upstream-unavailable",
    /// The worker answered something that is not its protocol.
    upstream_invalid => "upstream-invalid",
}

// === impl Failure ===

impl Failure {
    /// A failure by its label; a label that the table does not have is told as
    /// `internal`.
    #[must_use]
    pub fn of_label(label: &str, message: impl Into<String>) -> Self {
        Self {
            row: by_label(label),
            message: message.into(),
            param: None,
            retry_after_ms: None,
            culprit: None,
            status: None,
        }
    }

    /// With a status of HTTP's own, which no dialect has another for: 417 and the like.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The status that stands whatever a dialect says, if there is one.
    #[must_use]
    pub fn own_status(&self) -> Option<u16> {
        self.status
    }

    /// The failure that a peer's gRPC status tells of.
    #[must_use]
    pub fn of_grpc(code: u32, message: impl Into<String>) -> Self {
        Self::of_label(label_of_grpc(code), message)
    }

    /// The failure that a peer's HTTP status tells of.
    #[must_use]
    pub fn of_http(status: u16, message: impl Into<String>) -> Self {
        Self::of_label(label_of_http(status), message)
    }

    /// Names the plugin that failed.
    #[must_use]
    pub fn with_culprit(mut self, plugin: &str) -> Self {
        self.culprit = Some(plugin.to_owned());
        self
    }

    /// Names the request's member at fault.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Tells after how many milliseconds a repetition may succeed.
    #[must_use]
    pub fn with_retry_after(mut self, ms: u32) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The label: the WIT case's name, and the metric label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.row.label
    }

    /// The HTTP status.
    #[must_use]
    pub fn http(&self) -> u16 {
        self.status.unwrap_or(self.row.http)
    }

    /// The gRPC status code.
    #[must_use]
    pub fn grpc(&self) -> u32 {
        self.row.grpc
    }

    /// The value of `Retry-After` (RFC 9110, section 10.2.3): seconds, rounded up.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.retry_after_ms.map(|ms| ms.div_ceil(1000))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.label(), self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_contract::failure::TABLE;

    #[test]
    fn every_row_has_its_constructor() {
        let labels: Vec<_> = CONSTRUCTORS.iter().map(|(label, _)| *label).collect();
        assert_eq!(labels, TABLE.map(|row| row.label));
        for ((_, make), row) in CONSTRUCTORS.iter().zip(TABLE) {
            let failure = make("why");
            assert_eq!(
                (failure.label(), failure.http(), failure.grpc()),
                (row.label, row.http, row.grpc)
            );
            assert_eq!(failure.to_string(), format!("{}: why", row.label));
        }
    }

    #[test]
    fn seconds_are_rounded_up() {
        let wait = |ms| {
            Failure::overloaded("")
                .with_retry_after(ms)
                .retry_after_seconds()
        };
        assert_eq!(
            [wait(0), wait(1), wait(1000), wait(1001)],
            [Some(0), Some(1), Some(1), Some(2)]
        );
        assert_eq!(Failure::overloaded("").retry_after_seconds(), None);
    }

    #[test]
    fn what_peers_say_keeps_its_class() {
        assert_eq!(Failure::of_grpc(8, "").label(), "rate-limited");
        assert_eq!(Failure::of_http(404, "").grpc(), 5);
        assert_eq!(Failure::of_label("brand-new", "").label(), "internal");
    }
}
