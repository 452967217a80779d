//! The one table from a kind of failure to an HTTP status, a gRPC code and a label.
//!
//! Statuses follow the table of `google.rpc.Code` (the gRPC transcoding convention)
//! where that has an entry; the proxy's own failures are 502 and 504, as RFC 9110,
//! section 15.6, says of gateways.

/// How one kind of failure is told to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the WIT case in `failure-kind`, and the metric label.
    pub label: &'static str,
    /// HTTP status.
    pub http: u16,
    /// gRPC status code.
    pub grpc: u32,
}

const fn row(label: &'static str, http: u16, grpc: u32) -> Row {
    Row { label, http, grpc }
}

/// Every case of `failure-kind`, in the order of the WIT.
pub const TABLE: [Row; 19] = [
    row("invalid-argument", 400, 3),
    row("unauthenticated", 401, 16),
    row("permission-denied", 403, 7),
    row("not-found", 404, 5),
    row("method-not-allowed", 405, 12),
    row("conflict", 409, 6),
    row("failed-precondition", 400, 9),
    row("payload-too-large", 413, 8),
    row("unsupported-media-type", 415, 3),
    row("unprocessable", 422, 3),
    row("rate-limited", 429, 8),
    row("overloaded", 503, 14),
    row("unsupported", 501, 12),
    row("deadline-exceeded", 504, 4),
    row("cancelled", 499, 1),
    row("internal", 500, 13),
    row("plugin-failed", 502, 13),
    row("upstream-unavailable", 502, 14),
    row("upstream-invalid", 502, 13),
];

/// The row for a label; an unknown one (an `other` case) is told as `internal`.
#[must_use]
pub fn by_label(label: &str) -> Row {
    TABLE
        .iter()
        .copied()
        .find(|row| row.label == label)
        .unwrap_or(TABLE[15])
}

/// The label for a gRPC status code that a worker or a peer gave.
#[must_use]
pub fn label_of_grpc(code: u32) -> &'static str {
    match code {
        1 => "cancelled",
        3 | 11 => "invalid-argument",
        4 => "deadline-exceeded",
        5 => "not-found",
        6 | 10 => "conflict",
        7 => "permission-denied",
        8 => "rate-limited",
        9 => "failed-precondition",
        12 => "unsupported",
        14 => "overloaded",
        16 => "unauthenticated",
        _ => "internal",
    }
}

/// The label for an HTTP status that a worker or a peer gave.
#[must_use]
pub fn label_of_http(status: u16) -> &'static str {
    match status {
        401 => "unauthenticated",
        403 => "permission-denied",
        404 => "not-found",
        405 => "method-not-allowed",
        408 | 504 => "deadline-exceeded",
        409 => "conflict",
        412 => "failed-precondition",
        413 => "payload-too-large",
        415 => "unsupported-media-type",
        422 => "unprocessable",
        429 => "rate-limited",
        499 => "cancelled",
        501 => "unsupported",
        502 => "upstream-unavailable",
        503 => "overloaded",
        400..=498 => "invalid-argument",
        _ => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_found_and_is_unlike_the_others() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(by_label(row.label), *row);
            assert!(TABLE[at + 1..].iter().all(|other| other.label != row.label));
            assert!((400..600).contains(&row.http) && (1..=16).contains(&row.grpc));
        }
        assert_eq!(by_label("never heard of").label, "internal");
    }

    #[test]
    fn codes_that_come_back_keep_their_class() {
        for code in 1..=16 {
            assert!(TABLE.iter().any(|row| row.label == label_of_grpc(code)));
        }
        for status in 400..600 {
            let label = label_of_http(status);
            assert!(
                TABLE.iter().any(|row| row.label == label),
                "{status} {label}"
            );
        }
    }
}
