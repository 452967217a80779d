//! How an exchange went wrong: a kind to be counted, and a sentence about the first of its kind.

use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No connection.
    Connect,
    /// It broke before there was a head.
    Send,
    /// It broke in the answer.
    Cut,
    /// Not done in time.
    Timeout,
    /// Another HTTP status than expected.
    Status(u16),
    /// Another gRPC status than expected.
    Grpc(u32),
    /// An error of this number, told within an answer that had begun.
    Told(u16),
    /// The answer is not what the stub says.
    Content,
    /// Was due, and never sent.
    Unsent,
    /// Was sent, and not done when the load ended.
    Unfinished,
    /// A held stream that ended.
    Ended,
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => out.write_str("connect"),
            Self::Send => out.write_str("send"),
            Self::Cut => out.write_str("cut"),
            Self::Timeout => out.write_str("timeout"),
            Self::Status(status) => write!(out, "status_{status}"),
            Self::Grpc(code) => write!(out, "grpc_{code}"),
            Self::Told(code) => write!(out, "told_{code}"),
            Self::Content => out.write_str("content"),
            Self::Unsent => out.write_str("unsent"),
            Self::Unfinished => out.write_str("unfinished"),
            Self::Ended => out.write_str("ended"),
        }
    }
}

/// A failed exchange.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{trouble}: {detail}")]
pub(super) struct Fault {
    pub(super) trouble: Trouble,
    pub(super) detail: String,
    /// It was told when to come again.
    pub(super) told_when: bool,
}

/// Most of a detail that is kept.
const KEPT: usize = 300;

impl Fault {
    pub(super) fn new(trouble: Trouble, detail: impl fmt::Display) -> Self {
        let mut detail = detail.to_string();
        if let Some((at, _)) = detail.char_indices().nth(KEPT) {
            detail.truncate(at);
        }
        Self {
            trouble,
            detail,
            told_when: false,
        }
    }

    /// Whether the server had no room: it was turned away, and may come again.
    pub(super) fn turned_away(&self) -> bool {
        matches!(self.trouble, Trouble::Status(429 | 503))
    }

    pub(super) fn content(detail: impl fmt::Display) -> Self {
        Self::new(Trouble::Content, detail)
    }
}
