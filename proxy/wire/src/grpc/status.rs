//! Statuses: in trailers, and beside HTTP's.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::code;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What `grpc-message` escapes: all but visible ASCII and space, and the percent sign.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
/// The longest encoded message, in bytes: peers bound their header lists, often at
/// 8 KiB, and a status that does not fit is no status at all.
const MAX_MESSAGE: usize = 4096;

/// How a call ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// One of [`code`]'s, or one that nobody knows yet.
    pub code: u32,
    /// Decoded. Empty for none.
    pub message: String,
}

impl Status {
    /// The status that a header block carries: trailers, or the head of a response
    /// without a body. None when it carries none; a code that is no number is
    /// `UNKNOWN`.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let status = headers.get(STATUS)?;
        let digits = status.as_bytes().iter().all(u8::is_ascii_digit);
        let code = status.to_str().ok().filter(|_| digits);
        let code = code.and_then(|code| code.parse().ok());
        let message = headers.get(MESSAGE);
        Some(Self {
            code: code.unwrap_or(code::UNKNOWN),
            message: message.map_or_else(String::new, |message| decode(message.as_bytes())),
        })
    }

    /// Writes it into a header block, in place of one that is there.
    pub fn put(&self, headers: &mut HeaderMap) {
        headers.insert(STATUS, HeaderValue::from(self.code));
        headers.remove(MESSAGE);
        if !self.message.is_empty()
            && let Ok(message) = HeaderValue::try_from(encode_message(&self.message))
        {
            headers.insert(MESSAGE, message);
        }
    }
}

/// Encodes a `grpc-message`. What goes past 4096 bytes is left out, by whole
/// characters.
#[must_use]
pub fn encode_message(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len().min(MAX_MESSAGE));
    for char in message.chars() {
        let before = encoded.len();
        encoded.extend(utf8_percent_encode(char.encode_utf8(&mut [0; 4]), ESCAPED));
        if encoded.len() > MAX_MESSAGE {
            encoded.truncate(before);
            break;
        }
    }
    encoded
}

/// Decodes a `grpc-message`. As the protocol says, an invalid escape stays as it is and
/// nothing is an error.
#[must_use]
pub fn decode_message(message: &str) -> String {
    percent_decode_str(message).decode_utf8_lossy().into_owned()
}

fn decode(message: &[u8]) -> String {
    percent_encoding::percent_decode(message)
        .decode_utf8_lossy()
        .into_owned()
}

/// The HTTP status for a gRPC code.
#[must_use]
pub fn http_of_code(code: u32) -> u16 {
    match code {
        code::OK => 200,
        code::CANCELLED => 499,
        code::INVALID_ARGUMENT | code::FAILED_PRECONDITION | code::OUT_OF_RANGE => 400,
        code::DEADLINE_EXCEEDED => 504,
        code::NOT_FOUND => 404,
        code::ALREADY_EXISTS | code::ABORTED => 409,
        code::PERMISSION_DENIED => 403,
        code::RESOURCE_EXHAUSTED => 429,
        code::UNIMPLEMENTED => 501,
        code::UNAVAILABLE => 503,
        code::UNAUTHENTICATED => 401,
        _ => 500,
    }
}

/// The gRPC code for an HTTP status, when a peer answered without one.
#[must_use]
pub fn code_of_http(status: u16) -> u32 {
    match status {
        200..=299 => code::OK,
        400 | 415 | 422 => code::INVALID_ARGUMENT,
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 => code::NOT_FOUND,
        405 | 501 => code::UNIMPLEMENTED,
        408 | 504 => code::DEADLINE_EXCEEDED,
        409 => code::ABORTED,
        412 => code::FAILED_PRECONDITION,
        413 | 429 => code::RESOURCE_EXHAUSTED,
        499 => code::CANCELLED,
        500 => code::INTERNAL,
        502 | 503 => code::UNAVAILABLE,
        _ => code::UNKNOWN,
    }
}
