//! Requests that two parsers could read in two ways.

use http::header::{self, HeaderMap};
use http::{Version, request};

use super::authority::{authority, normalise};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// RFC 9112, section 6.1: the way in which requests are smuggled.
    #[error("both Content-Length and Transfer-Encoding")]
    TwoLengths,
    /// Several `Content-Length` values, or one that is no number.
    #[error("an ambiguous Content-Length")]
    ContentLength,
    /// `Transfer-Encoding` other than `chunked`, more than once, or in HTTP/1.0.
    #[error("a Transfer-Encoding that is not understood")]
    TransferEncoding,
    /// `Host` is missing, there more than once, or differs from the target.
    #[error("a missing or ambiguous Host")]
    Host,
    /// The target is of another scheme than `http` and `https` (RFC 9110, section 7.4).
    #[error("a target that is not of HTTP")]
    Scheme,
    /// The host asked for is not well formed.
    #[error("an invalid Host")]
    Authority,
    /// Fields of one connection in HTTP/2 (RFC 9113, section 8.2.2).
    #[error("a connection's own field in HTTP/2")]
    ConnectionSpecific,
}

/// Refuses requests whose length or host could be read in two ways. HTTP libraries
/// settle some of these silently; what stands behind may settle them otherwise.
///
/// # Errors
/// See [`HeaderProblem`]; all are to be answered with 400.
pub fn check_request(head: &request::Parts) -> Result<(), HeaderProblem> {
    content_length(&head.headers)?;
    if head.version >= Version::HTTP_2 {
        connection_specific(&head.headers)?;
    } else {
        transfer_encoding(head.version, &head.headers)?;
    }
    host(head)
}

fn content_length(headers: &HeaderMap) -> Result<(), HeaderProblem> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(());
    };
    let digits = value.as_bytes();
    let number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let fits = value
        .to_str()
        .is_ok_and(|digits| digits.parse::<u64>().is_ok());
    if !number || !fits || values.next().is_some() {
        return Err(HeaderProblem::ContentLength);
    }
    Ok(())
}

fn transfer_encoding(version: Version, headers: &HeaderMap) -> Result<(), HeaderProblem> {
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(value) = values.next() else {
        return Ok(());
    };
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Err(HeaderProblem::TwoLengths);
    }
    let chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if version < Version::HTTP_11 || !chunked || values.next().is_some() {
        return Err(HeaderProblem::TransferEncoding);
    }
    Ok(())
}

fn connection_specific(headers: &HeaderMap) -> Result<(), HeaderProblem> {
    let fields = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    let te = headers.get_all(header::TE).iter();
    let trailers_only = te
        .into_iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if !trailers_only || fields.iter().any(|name| headers.contains_key(*name)) {
        return Err(HeaderProblem::ConnectionSpecific);
    }
    Ok(())
}

fn host(head: &request::Parts) -> Result<(), HeaderProblem> {
    if !matches!(head.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(HeaderProblem::Scheme);
    }
    let mut values = head.headers.get_all(header::HOST).iter();
    let host = values.next();
    if values.next().is_some() {
        return Err(HeaderProblem::Host);
    }
    if host.is_none() && head.uri.authority().is_none() {
        // HTTP/1.0 knows no Host.
        return match head.version {
            Version::HTTP_09 | Version::HTTP_10 => Ok(()),
            _ => Err(HeaderProblem::Host),
        };
    }
    let asked = authority(head)?;
    if let Some(host) = host {
        let scheme = head.uri.scheme_str();
        let host = host.to_str().map_err(|_| HeaderProblem::Authority)?;
        if asked != Some(normalise(host, scheme)?) {
            return Err(HeaderProblem::Host);
        }
    }
    Ok(())
}
