//! gRPC over HTTP/2, as its protocol document says: frames, compression, timeouts and
//! statuses. What the messages mean is nobody's business here.

mod frame;
mod status;
mod timeout;

pub use self::frame::{
    ACCEPT_ENCODING, Compression, Frame, FrameDecoder, FrameError, MessageReader, PREFIX, prefix,
};
pub use self::status::{Status, code_of_http, decode_message, encode_message, http_of_code};
pub use self::timeout::{format_timeout, parse_timeout};

/// Status codes.
pub mod code {
    /// Not an error.
    pub const OK: u32 = 0;
    /// Taken back by the caller.
    pub const CANCELLED: u32 = 1;
    /// An error of unknown kind.
    pub const UNKNOWN: u32 = 2;
    /// The caller gave something invalid.
    pub const INVALID_ARGUMENT: u32 = 3;
    /// Out of time.
    pub const DEADLINE_EXCEEDED: u32 = 4;
    /// What was asked for is not there.
    pub const NOT_FOUND: u32 = 5;
    /// What should be made is there already.
    pub const ALREADY_EXISTS: u32 = 6;
    /// The caller may not.
    pub const PERMISSION_DENIED: u32 = 7;
    /// Some limit or quota is used up.
    pub const RESOURCE_EXHAUSTED: u32 = 8;
    /// The state it needs is not there.
    pub const FAILED_PRECONDITION: u32 = 9;
    /// Given up because of something else that goes on.
    pub const ABORTED: u32 = 10;
    /// Past the valid range.
    pub const OUT_OF_RANGE: u32 = 11;
    /// Not implemented, or compressed in an unknown way.
    pub const UNIMPLEMENTED: u32 = 12;
    /// Something is broken.
    pub const INTERNAL: u32 = 13;
    /// Not now.
    pub const UNAVAILABLE: u32 = 14;
    /// Data is lost for good.
    pub const DATA_LOSS: u32 = 15;
    /// The caller is not known.
    pub const UNAUTHENTICATED: u32 = 16;
}

/// Whether a content type is gRPC's: `application/grpc`, alone or with `+proto` and
/// the like, in any case, with or without parameters.
#[must_use]
pub fn is_content_type(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim();
    let Some((head, rest)) = essence.split_at_checked("application/grpc".len()) else {
        return false;
    };
    head.eq_ignore_ascii_case("application/grpc") && (rest.is_empty() || rest.starts_with('+'))
}

#[cfg(test)]
mod tests;
